package probe

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// recorded is a recording of one stream, of one letter a millisecond: x arrived, .
// was lost.
func recorded(text string) *Recording {
	s := &Streams{Places: make([]Place, 2), Streams: []Stream{{From: 0, To: 1}}}
	r := s.record(7, len(text))
	for i, c := range text {
		r.sent[i] = int64(time.Duration(i) * time.Millisecond)
		r.ticks.Add(1)
		if c == 'x' {
			r.arrive(1, 0, i)
		}
	}
	return r
}

func TestLossOfARecording(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		text string
		lost int
		gap  time.Duration
	}{
		{"", 0, 0}, {"xxxx", 0, 0}, {"x.x", 1, 2 * ms}, {"xx..xx.x", 3, 3 * ms}, {"x.x...x", 4, 4 * ms},
		{"xx...", 3, 3 * ms}, {"xxx.", 1, ms}, {".xx", 1, ms}, {"...", 3, 2 * ms},
	} {
		l := recorded(c.text).Loss(0, 0, len(c.text))
		require.Equal(t, StreamLoss{len(c.text), c.lost, c.gap}, l, "%q", c.text)
	}
	r := recorded("..xxxx.xxxx..")
	require.Equal(t, StreamLoss{4, 0, 0}, r.Loss(0, 2, 6), "only of what is asked for")
	require.Equal(t, StreamLoss{6, 1, 2 * ms}, r.Loss(0, 4, 10))
	require.Equal(t, 2, r.Loss(0, 11, 999).Lost, "what was not sent is not lost")
	require.Equal(t, []int{0}, r.Missing(0, 13))
	require.Empty(t, r.Missing(2, 6))
	require.Equal(t, ms, r.Pause(0, 13))
}

// What is counted is what was noted, whatever comes in which order.
func TestLossOfRandomRecordings(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		text := make([]byte, rng.IntN(200))
		lost, longest, run := 0, 0, 0
		for i := range text {
			text[i] = 'x'
			if rng.IntN(3) == 0 {
				text[i] = '.'
				lost++
				run++
			} else {
				run = 0
			}
			longest = max(longest, run)
		}
		l := recorded(string(text)).Loss(0, 0, len(text))
		require.Equal(t, lost, l.Lost, "%s", text)
		// A run at an end has one known side only.
		require.LessOrEqual(t, l.Gap, time.Duration(longest+1)*time.Millisecond, "%s", text)
		require.GreaterOrEqual(t, l.Gap, time.Duration(longest-1)*time.Millisecond, "%s", text)
	}
}

func TestStraysOfARecording(t *testing.T) {
	r := recorded("x..")
	r.arrive(1, 0, 0)
	r.arrive(0, 0, 1) // came back to its sender
	r.arrive(1, 5, 0) // no such stream
	r.arrive(1, 0, 9) // no such tick
	leaked, twice := r.Strays()
	require.Equal(t, []int{1, 1}, []int{leaked, twice})
	require.Equal(t, 2, r.Loss(0, 0, 3).Lost)
}

// What is on its way when a recording ends is waited for, and what is lost not for ever.
func TestStopWaitsForWhatIsOnItsWay(t *testing.T) {
	for name, late := range map[string]time.Duration{"nothing late": 0, "late": 300 * time.Millisecond, "lost": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := recorded("xx.xx..")
				r.cancel = func() { close(r.done) }
				time.AfterFunc(late, func() { r.arrive(1, 0, 2); r.arrive(1, 0, 5) })
				time.AfterFunc(2*late, func() { r.arrive(1, 0, 6) })
				synctest.Wait()
				began := time.Now()
				r.Stop()
				require.Equal(t, map[string]int{"lost": 3}[name], r.Loss(0, 0, 7).Lost)
				require.InDelta(t, min(2*late, 500*time.Millisecond).Seconds(), time.Since(began).Seconds(), map[string]float64{"late": 0.11, "lost": 0.01}[name])
				r.Stop()
			})
		})
	}
	r := recorded(".xxxxx" + strings.Repeat("x", 200)) // what is lost before that is lost
	require.Equal(t, 105, r.newest(100*time.Millisecond))
}

func TestStreamsDatagram(t *testing.T) {
	b := make([]byte, streamSize)
	putStream(b, 3, 70000, 123456)
	run, stream, tick, ok := parseStream(b)
	require.True(t, ok)
	require.Equal(t, []int{3, 70000, 123456}, []int{int(run), stream, tick})
	for _, frame := range [][]byte{b, append([]byte("headers of a tunnel"), b...), append(append([]byte("wfts headers"), b...), 0, 0)} {
		_, stream, _, ok = findStream(frame)
		require.True(t, ok, "%q", frame)
		require.Equal(t, 70000, stream)
	}
	for _, frame := range [][]byte{nil, b[:15], []byte("wfts"), make([]byte, 1500)} {
		_, _, _, ok = findStream(frame)
		require.False(t, ok, "%q", frame)
	}
}

func FuzzFindStream(f *testing.F) {
	b := make([]byte, streamSize)
	putStream(b, 1, 2, 3)
	f.Add(b)
	f.Add(append([]byte("wfts"), b...))
	f.Fuzz(func(t *testing.T, frame []byte) {
		run, stream, tick, ok := findStream(frame)
		if !ok {
			return
		}
		again := make([]byte, streamSize)
		putStream(again, run, stream, tick)
		if !bytes.Contains(frame, again) {
			t.Errorf("%q is not in %q", again, frame)
		}
	})
}

// Each stream takes the way that fewest others take.
func TestChooseSpreads(t *testing.T) {
	s := &Streams{Streams: make([]Stream, 8)}
	watch := make([]Crossing, 4)
	for i := range watch {
		watch[i] = Crossing{Node: "spine", Interface: string(rune('a' + i))}
	}
	over := make([][choices][]int, 8)
	for i := range over {
		for c := range choices {
			over[i][c] = []int{(i*7 + c) % 4}
		}
	}
	s.choose(over, watch)
	for _, w := range watch {
		require.Len(t, s.Crossers(w.Node, w.Interface), 2)
	}
	require.Empty(t, s.Crossers("leaf", "a"))
}
