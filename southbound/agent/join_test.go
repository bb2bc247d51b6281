package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/southbound/leafstate"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// registry answers announcements one after the other; the last answer stays.
type registry struct {
	answers []any // an error, or an Admission
	got     []switchstate.Announcement
}

func (r *registry) Announce(_ context.Context, a switchstate.Announcement) (switchstate.Admission, error) {
	r.got = append(r.got, a)
	next := r.answers[0]
	if len(r.answers) > 1 {
		r.answers = r.answers[1:]
	}
	if err, ok := next.(error); ok {
		return switchstate.Admission{}, err
	}
	return next.(switchstate.Admission), nil
}

func joiningOf(r *registry) *Joining {
	return &Joining{Registrar: r, Wires: wires{&world{rewired: make(chan struct{}, 1)}}, Logger: slog.New(slog.DiscardHandler),
		Describe: func(context.Context) switchstate.Announcement { return switchstate.Announcement{Serial: "S1"} }}
}

// A switch announces itself through whatever is in the way, until it has a name.
func TestAnnouncedUntilItIsANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &registry{answers: []any{errors.New("connection refused"), switchstate.Admission{Message: "it waits"}, switchstate.ErrRefused, switchstate.Admission{Node: "leaf7"}}}
		node, err := joiningOf(r).Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, "leaf7", node)
		require.Len(t, r.got, 4)
		require.Equal(t, switchstate.Announcement{Serial: "S1", Ports: []switchstate.Port{{Name: "eth1"}}}, r.got[0])
	})
}

func TestAnnouncementsEndWithTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		r := &registry{answers: []any{switchstate.Admission{Message: "it waits"}}}
		_, err := joiningOf(r).Run(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Less(t, len(r.got), 25, "a switch that waits does not flood the controller")
	})
}

// An agent whose name is not taken any more announces its switch and goes on with what
// is in place; it ends when the switch is another node.
func TestAgentOfANodeThatIsGone(t *testing.T) {
	for _, cause := range []error{switchstate.ErrNoNode, switchstate.ErrRefused} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{fresh: true, rewired: make(chan struct{}, 1), changed: make(chan struct{}, 1), state: leafstate.State{Revision: 7}}
			r := &registry{answers: slices.Repeat([]any{errors.New("busy"), switchstate.Admission{Message: "it waits"}, switchstate.Admission{Node: "leaf1"}}, 10)}
			r.answers = append(r.answers, switchstate.Admission{Node: "leaf9"})
			j := joiningOf(r)
			a := &Agent{Node: "leaf1", Controller: w, Switch: w, Tables: w, Wires: wires{w}, Counting: w, Joining: j, Logger: slog.New(slog.DiscardHandler)}
			done := make(chan error, 1)
			go func() { done <- a.Run(t.Context()) }()
			time.Sleep(time.Minute)
			require.Empty(t, r.got)
			w.set(func() { w.refused = cause })
			time.Sleep(announceEvery + heartbeat)
			_, before := w.seen()
			time.Sleep(2 * auditEvery)
			_, after := w.seen()
			require.Greater(t, len(after), len(before), "the leaf is served all the same")
			var moved *MovedError
			require.ErrorAs(t, <-done, &moved)
			require.Equal(t, "leaf9", moved.Node)
			require.Len(t, r.got, 31)
		})
	}
}

func TestIdentityIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	id, err := ReadIdentity(dir)
	require.NoError(t, err)
	require.Empty(t, id.Node)
	require.Len(t, id.Secret, 43)
	require.NotEqual(t, id.Secret, NewIdentity().Secret)
	again, err := ReadIdentity(dir)
	require.NoError(t, err)
	require.Equal(t, id, again)
	id.Node = "leaf7"
	require.NoError(t, id.Keep(dir))
	again, err = ReadIdentity(dir)
	require.NoError(t, err)
	require.Equal(t, id, again)
	info, err := os.Stat(filepath.Join(dir, identityFile))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing is left behind")
	for _, torn := range []string{"", `{"node":"leaf7"`, `{"node":"leaf7"}`} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, identityFile), []byte(torn), 0o600))
		_, err = ReadIdentity(dir)
		require.ErrorContains(t, err, "remove it, and join with a new token")
	}
}
