package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/controller/intent"
)

func revision(t testing.TB, s *Store) int64 {
	t.Helper()
	rev, err := s.Revision(context.Background())
	require.NoError(t, err)
	return rev
}

func drop(t testing.TB, s *Store, r intent.Ref, cascade bool) {
	t.Helper()
	_, err := s.Delete(context.Background(), r, DeleteOptions{Cascade: cascade})
	require.NoError(t, err)
}

func TestRollback(t *testing.T) {
	s := open(t, 1)[0]
	put(t, s, tenant("blue"))
	web := put(t, s, network("blue", "web", "10.0.0.0/24"))
	a := put(t, s, port("blue", "web", "a"))
	good, before := revision(t, s), dump(t, s)

	// Everything that can happen to an object, and its VNI is another one's.
	drop(t, s, web.Ref(), true)
	taker := network("blue", "taker")
	taker.Spec.VNI = web.Spec.VNI
	put(t, s, taker)
	put(t, s, port("blue", "taker", "b"))
	described := tenant("blue")
	described.Spec.Description = "changed"
	put(t, s, described)
	bad, after := revision(t, s), dump(t, s)

	dry, err := s.Rollback(t.Context(), good, RollbackOptions{DryRun: true})
	require.NoError(t, err)
	require.Equal(t, after, dump(t, s), "a dry run writes nothing")
	require.Equal(t, bad, dry.At)
	require.Equal(t, 1, dry.Transactions)
	var said []string
	for _, c := range dry.Changes {
		said = append(said, fmt.Sprint(c.Action, " ", c.Ref))
	}
	require.Equal(t, []string{"deleted Port blue/b", "deleted Network blue/taker",
		"changed Tenant blue", "created Network blue/web", "created Port blue/a"}, said)

	_, err = s.Rollback(t.Context(), good, RollbackOptions{Check: func(Difference) error { return errors.New("no") }})
	require.EqualError(t, err, "no")
	require.Equal(t, after, dump(t, s))

	d, err := s.Rollback(t.Context(), good, RollbackOptions{})
	require.NoError(t, err)
	require.Equal(t, dry, d)
	require.Equal(t, before, dump(t, s), "every key, so every allocation")
	require.Equal(t, bad+1, revision(t, s), "by one transaction")
	sound(t, s)
	got, err := s.Get(t.Context(), a.Ref())
	require.NoError(t, err)
	require.Equal(t, a.Spec, got.(*intent.Port).Spec)

	// A rollback is a change like others: it can be taken back, and repeating it
	// changes nothing.
	_, err = s.Rollback(t.Context(), good, RollbackOptions{})
	require.NoError(t, err)
	require.Equal(t, bad+1, revision(t, s))
	_, err = s.Rollback(t.Context(), bad, RollbackOptions{})
	require.NoError(t, err)
	require.Equal(t, after, dump(t, s))
	sound(t, s)
}

func TestRollbackInParts(t *testing.T) {
	s := open(t, 1)[0]
	s.bulkOps = 12
	put(t, s, tenant("blue"))
	empty, before := revision(t, s), dump(t, s)
	put(t, s, network("blue", "web", "10.0.0.0/24"))
	for i := range 10 {
		put(t, s, port("blue", "web", fmt.Sprint("p", i)))
	}
	full, after := revision(t, s), dump(t, s)
	for _, c := range []struct {
		rev  int64
		want map[string]string
	}{{empty, before}, {full, after}} {
		d, err := s.Rollback(t.Context(), c.rev, RollbackOptions{})
		require.NoError(t, err)
		require.Greater(t, d.Transactions, 1)
		require.Equal(t, c.want, dump(t, s))
	}
	// What is between two parts is sound too.
	h, err := s.History(t.Context(), HistoryOptions{Limit: 2})
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("rollback to revision %d, part 4 of 4", full), h.Revisions[0].Note)
	_, err = s.Rollback(t.Context(), h.Revisions[1].Revision, RollbackOptions{})
	require.NoError(t, err)
	require.Less(t, len(sound(t, s)), 12)
}

// What others write between reading and writing back is not lost: it is read
// again, and gone back from too.
func TestRollbackSeesWhatCameBetween(t *testing.T) {
	s := open(t, 1)[0]
	put(t, s, tenant("blue"))
	good, before := revision(t, s), dump(t, s)
	put(t, s, tenant("red"))
	calls := 0
	_, err := s.Rollback(t.Context(), good, RollbackOptions{Check: func(d Difference) error {
		if calls++; calls == 1 {
			put(t, s, tenant("green"))
		} else {
			require.Len(t, d.Changes, 2)
		}
		return nil
	}})
	require.NoError(t, err)
	require.Equal(t, 2, calls)
	require.Equal(t, before, dump(t, s))
}

func TestHistory(t *testing.T) {
	s := open(t, 1)[0]
	s.now = func() time.Time { return time.UnixMilli(1_700_000_000_000) }
	put(t, s, tenant("blue"))
	first := revision(t, s)
	put(t, s, network("blue", "web"))
	drop(t, s, ref(intent.KindNetwork, "blue", "web"), false)
	_, err := s.Rollback(t.Context(), first, RollbackOptions{})
	require.NoError(t, err)
	changed := tenant("blue")
	changed.Spec.Description = "x"
	put(t, s, changed)
	_, err = s.Rollback(t.Context(), first, RollbackOptions{})
	require.NoError(t, err)

	h, err := s.History(t.Context(), HistoryOptions{Limit: 4})
	require.NoError(t, err)
	var said []string
	for _, r := range h.Revisions {
		require.Equal(t, int64(1_700_000_000_000), r.At.UnixMilli())
		said = append(said, fmt.Sprint(r.Revision-first, " ", r.Note, r.Objects[0].Action, " ", r.Objects[0].Ref))
		require.Len(t, r.Objects, 1)
	}
	require.Equal(t, []string{fmt.Sprintf("4 rollback to revision %dchanged Tenant blue", first),
		"3 changed Tenant blue", "2 deleted Network blue/web", "1 created Network blue/web"}, said)

	more, err := s.History(t.Context(), HistoryOptions{Before: first + 1})
	require.NoError(t, err)
	require.Len(t, more.Revisions, 1)
	require.Equal(t, first, more.Revisions[0].Revision)
	none, err := s.History(t.Context(), HistoryOptions{Before: first})
	require.NoError(t, err)
	require.Empty(t, none.Revisions)
}

// TestCompactedHistory: what is compacted can't be gone back to, and is said so.
func TestCompactedHistory(t *testing.T) {
	s, err := Open(t.Context(), Config{Dir: t.TempDir()})
	require.NoError(t, err)
	defer s.Close()
	h, err := s.History(t.Context(), HistoryOptions{})
	require.NoError(t, err)
	require.Empty(t, h.Revisions)
	put(t, s, tenant("a"))
	old := revision(t, s)
	put(t, s, tenant("b"))
	require.NoError(t, s.Compact(t.Context()))
	kept := revision(t, s)
	put(t, s, tenant("c"))

	h, err = s.History(t.Context(), HistoryOptions{})
	require.NoError(t, err)
	require.Len(t, h.Revisions, 1)
	require.Equal(t, kept, h.Oldest)
	_, err = s.Rollback(t.Context(), old, RollbackOptions{})
	require.ErrorIs(t, err, ErrGone)
	require.EqualError(t, err, fmt.Sprintf("revision %d is compacted: the oldest that the store can go back to is %d; what is older is only in backups", old, kept))
	_, err = s.Rollback(t.Context(), 1000, RollbackOptions{})
	require.EqualError(t, err, fmt.Sprintf("revision 1000 has not been yet: the store is at revision %d", kept+1))
	d, err := s.Rollback(t.Context(), kept, RollbackOptions{})
	require.NoError(t, err)
	require.Len(t, d.Changes, 1)
	sound(t, s)
}

// TestRollbackAnywhere: after any operations, each revision can be gone back to,
// and the store has the same keys as it had then.
func TestRollbackAnywhere(t *testing.T) {
	s := open(t, 1)[0]
	rapid.Check(t, func(r *rapid.T) {
		type past struct {
			rev  int64
			keys map[string]string
		}
		var all []past
		for range rapid.IntRange(1, 12).Draw(r, "operations") {
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "name")
			var o intent.Object = tenant("blue")
			switch rapid.IntRange(0, 3).Draw(r, "kind") {
			case 0:
				n := network("blue", name, "10.0.0.0/24")
				n.Spec.VNI = intent.VNI(rapid.IntRange(0, 3).Draw(r, "vni"))
				o = n
			case 1:
				o = port("blue", name, rapid.SampledFrom([]string{"p", "q"}).Draw(r, "port"))
			case 2:
				g := &intent.SecurityGroup{Metadata: intent.Metadata{Name: name, Tenant: "blue"}}
				o = g
			}
			switch rapid.IntRange(0, 4).Draw(r, "what") {
			case 0:
				_, _ = s.Delete(context.Background(), o.Ref(), DeleteOptions{Cascade: true})
			case 1:
				if len(all) > 0 {
					p := rapid.SampledFrom(all).Draw(r, "back to")
					_, err := s.Rollback(context.Background(), p.rev, RollbackOptions{})
					require.NoError(t, err)
					require.Equal(t, p.keys, dump(t, s))
				}
			default:
				_, _ = s.Put(context.Background(), o, PutOptions{}) // refused ones change nothing
			}
			all = append(all, past{revision(t, s), dump(t, s)})
			sound(t, s)
		}
	})
}
