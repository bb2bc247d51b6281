package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTransit(t *testing.T) {
	now := time.Now()
	tr := newTransit()
	tr.now = func() time.Time { return now }
	type report struct {
		after     time.Duration
		drained   bool
		forwarded uint64
		known     bool
		still     bool
	}
	for i, r := range []report{
		{0, false, 1000, false, false},             // what was before the drain does not count
		{time.Second, true, 9000, false, false},    // the drain is in place: from here on
		{time.Second, true, 9500, true, false},     // 500 a second
		{time.Second / 2, true, 9500, true, false}, // too soon to tell
		{time.Second / 2, true, 9500, true, true},  // nothing for a second
		{3 * time.Second, true, 9506, true, true},  // stragglers
		{time.Second, true, 9600, true, false},     // traffic came back
		{time.Second, true, 3, false, false},       // the counter began anew
		{time.Second, true, 3, true, true},         //
		{time.Second, false, 4, false, false},      // undrained
		{time.Second, true, 5, false, false},       // and drained again: told anew
	} {
		now = now.Add(r.after)
		tr.take("spine1", r.drained, r.forwarded)
		still, _, known := tr.still("spine1")
		require.Equal(t, []bool{r.known, r.still}, []bool{known, still}, "report %d", i)
	}
	_, _, known := tr.still("spine2")
	require.False(t, known)
}
