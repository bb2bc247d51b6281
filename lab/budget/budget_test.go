package budget

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatMayRise(t *testing.T) {
	require.Equal(t, 0.0, limit(0), "nothing stays nothing")
	require.Equal(t, 10.0, limit(10), "a count is exact")
	require.InDelta(t, 1050, limit(1000), 0.01)
	require.InDelta(t, 1.575, limit(1.5), 0.001)
	require.Equal(t, 1.23, round(1.2345))
	require.Equal(t, 1235.0, round(1234.5))
	var sink [][]byte
	require.InDelta(t, 1, Allocs(1000, func() {
		for range 1000 {
			sink = append(sink, make([]byte, 100))
		}
	}), 0.1)
	require.InDelta(t, 4096, Heap(1000, func() any {
		var all [][]byte
		for range 1000 {
			all = append(all, make([]byte, 4096))
		}
		return all
	}), 300)
	require.Len(t, sink, 1000)
}
