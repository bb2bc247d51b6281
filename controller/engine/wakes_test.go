package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func awake(ss []*session) (n int) {
	for _, s := range ss {
		n += len(s.wake)
	}
	return n
}

func sleepers(n int) []*session {
	out := make([]*session, n)
	for i := range out {
		out[i] = &session{wake: make(chan struct{}, 1)}
	}
	return out
}

// Few wakes go at once; many wait for their turn, none longer than a bound, and a
// session that waits already does not wait twice.
func TestWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWakes()
		w.every = wakeTick
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.run(ctx); close(done) }()
		ss := sleepers(wakeBurst + 100)
		for range 3 {
			for _, s := range ss {
				w.add(s)
			}
		}
		require.Equal(t, wakeBurst, awake(ss), "at once")
		first := ss[wakeBurst]
		time.Sleep(20*wakeTick + wakeTick/2)
		synctest.Wait()
		require.Len(t, first.wake, 1, "who came first goes first")
		require.Less(t, awake(ss), len(ss))
		require.Greater(t, awake(ss), wakeBurst+15)
		time.Sleep(60 * wakeTick)
		synctest.Wait()
		require.Equal(t, len(ss), awake(ss))

		many := sleepers(5000)
		for _, s := range many {
			w.add(s)
		}
		time.Sleep(wakeMost + 2*wakeTick)
		synctest.Wait()
		require.Equal(t, len(many), awake(many), "none waits longer than %s", wakeMost)
		<-many[0].wake
		time.Sleep(time.Second)
		w.add(many[0])
		require.Len(t, many[0].wake, 1, "after a rest the next goes at once")
		stop()
		<-done
	})
}

// A tick that is older than the beginning of the queue releases nobody and harms
// nothing.
func TestWakesLateTick(t *testing.T) {
	w := newWakes()
	w.every = time.Hour
	ss := sleepers(wakeBurst + 2)
	for _, s := range ss {
		w.add(s)
	}
	before := awake(ss)
	require.True(t, w.release(time.Now(), -2*time.Hour))
	require.Equal(t, before, awake(ss))
}

// A wake that comes while the session is at work is not lost.
func TestWakesAgain(t *testing.T) {
	w := newWakes()
	s := sleepers(1)[0]
	for range 10 {
		w.add(s)
		<-s.wake
	}
	require.Empty(t, s.wake)
}
