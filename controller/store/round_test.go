package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// hold has single writes wait, as behind a round that lasts; the function that it
// returns lets those that are named by number go, once all are there.
func (g *rounds) hold(t *testing.T) (release func(n int)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	require.False(t, g.leading)
	g.leading = true
	return func(n int) {
		require.Eventually(t, func() bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return len(g.queue) == n
		}, time.Minute, time.Millisecond)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.queue[0].lead <- struct{}{}
	}
}

// Single writes that wait together are one transaction, and each has the answer
// that it would have alone.
func TestSinglesTogether(t *testing.T) {
	s := bed(t)
	put(t, s, port("blue", "web", "gone"))
	put(t, s, port("blue", "db", "gone2"))
	old := put(t, s, port("blue", "db", "kept"))
	before, err := s.Revision(t.Context())
	require.NoError(t, err)
	release := s.singles.hold(t)
	var wg sync.WaitGroup
	all := 0
	write := func(f func() error) *error {
		all++
		var err error
		wg.Go(func() { err = f() })
		return &err
	}
	putting := func(o intent.Object, opt PutOptions) *error {
		return write(func() error {
			res, err := s.Put(context.Background(), o, opt)
			if err == nil && (res.Object.Ref() != o.Ref() || !res.Changed || res.Object.Meta().Revision <= before) {
				return fmt.Errorf("not its own answer: %+v", res)
			}
			return err
		})
	}
	deleting := func(r intent.Ref, match int64) *error {
		return write(func() error {
			res, err := s.Delete(context.Background(), r, DeleteOptions{IfMatch: match})
			if err == nil && (len(res.Deleted) != 1 || res.Deleted[0] != r || res.Revision <= before) {
				return fmt.Errorf("not its own answer: %+v", res)
			}
			return err
		})
	}
	var good []*error
	for i := range 40 {
		good = append(good, putting(port("blue", []string{"web", "db"}[i%2], fmt.Sprintf("g%d", i)), PutOptions{IfAbsent: i%3 == 0}))
	}
	gone := port("blue", "web", "gone").Ref()
	good = append(good, putting(network("blue", "fresh", "10.9.0.0/24"), PutOptions{}), putting(tenant("green"), PutOptions{}),
		deleting(gone, 0), deleting(port("blue", "web", "gone2").Ref(), 0))
	unknown := putting(port("blue", "nope", "x"), PutOptions{})
	stale := putting(port("blue", "db", "kept", "10.1.0.77"), PutOptions{IfMatch: old.Metadata.Revision - 1})
	there := putting(port("blue", "db", "kept", "10.1.0.77"), PutOptions{IfAbsent: true})
	absent := deleting(port("blue", "web", "never").Ref(), 0)
	other := deleting(old.Ref(), old.Metadata.Revision+1)
	release(all)
	wg.Wait()
	for _, err := range good {
		require.NoError(t, *err)
	}
	var fields intent.FieldErrors
	require.ErrorAs(t, *unknown, &fields)
	for _, err := range []*error{stale, there, other} {
		var rev *RevisionError
		require.ErrorAs(t, *err, &rev)
		require.Equal(t, old.Metadata.Revision, rev.Have)
	}
	require.ErrorIs(t, *absent, ErrNotFound)
	after, err := s.Revision(t.Context())
	require.NoError(t, err)
	require.LessOrEqual(t, after-before, int64(5), "tenant, network, what goes, and the ports, which are more than 120 operations")
	_, err = s.Get(t.Context(), gone)
	require.ErrorIs(t, err, ErrNotFound)
	sound(t, s)
}

// Of single writes that want one value one has it, and the others are told whose it
// is; one name that is written and deleted at once is there whole or not at all.
func TestSinglesAgainstEachOther(t *testing.T) {
	s := bed(t)
	release := s.singles.hold(t)
	errs := make([]error, 20)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = s.Put(context.Background(), port("blue", "web", fmt.Sprintf("r%d", i), "10.0.0.99"), PutOptions{})
		})
	}
	for i := range 10 {
		wg.Go(func() { _, _ = s.Put(context.Background(), port("blue", "db", "both"), PutOptions{}) })
		wg.Go(func() {
			_, err := s.Delete(context.Background(), port("blue", "db", "both").Ref(), DeleteOptions{})
			if err != nil && !errors.Is(err, ErrNotFound) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	release(len(errs) + 20)
	wg.Wait()
	winners := 0
	for _, err := range errs {
		var c *ConflictError
		if err == nil {
			winners++
		} else {
			require.ErrorAs(t, err, &c)
			require.Equal(t, "spec.addresses[0]", c.Field)
		}
	}
	require.Equal(t, 1, winners)
	sound(t, s)
}

// A writer that gives up is not written for when its turn comes later, and does not
// keep the others waiting, not even as the one that is to lead.
func TestSinglesGiveUp(t *testing.T) {
	s := bed(t)
	release := s.singles.hold(t)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("no patience")
	gave := make([]error, 5)
	for i := range gave {
		wg.Go(func() { _, gave[i] = s.Put(ctx, port("blue", "web", fmt.Sprintf("no%d", i)), PutOptions{}) })
	}
	stays := make([]error, 5)
	for i := range stays {
		wg.Go(func() {
			_, stays[i] = s.Put(context.Background(), port("blue", "web", fmt.Sprintf("yes%d", i)), PutOptions{})
		})
	}
	require.Eventually(t, func() bool {
		s.singles.mu.Lock()
		defer s.singles.mu.Unlock()
		return len(s.singles.queue) == 10
	}, time.Minute, time.Millisecond)
	cancel(cause)
	release(5)
	wg.Wait()
	require.NoError(t, errors.Join(stays...))
	for i, err := range gave {
		require.ErrorIs(t, err, cause)
		_, err = s.Get(t.Context(), port("blue", "web", fmt.Sprintf("no%d", i)).Ref())
		require.ErrorIs(t, err, ErrNotFound)
	}

	// The one that leads gives up at the moment when it is to.
	for range 200 {
		release := s.singles.hold(t)
		ctx, cancel := context.WithCancel(context.Background())
		var other error
		wg.Go(func() { _, _ = s.Put(ctx, port("blue", "web", "first"), PutOptions{}) })
		require.Eventually(t, func() bool {
			s.singles.mu.Lock()
			defer s.singles.mu.Unlock()
			return len(s.singles.queue) == 1
		}, time.Minute, 100*time.Microsecond)
		wg.Go(func() { _, other = s.Put(context.Background(), port("blue", "web", "second"), PutOptions{}) })
		release(2)
		cancel()
		wg.Wait()
		require.NoError(t, other)
	}
	sound(t, s)
}
