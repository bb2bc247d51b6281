package overlay

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A few is what a map with the same members is.
func TestFewIsASet(t *testing.T) {
	var f few[int]
	want := map[int]struct{}{}
	r := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		v := r.IntN(5)
		if r.IntN(2) == 0 {
			f, want[v] = f.with(v), struct{}{}
		} else {
			f = f.without(v)
			delete(want, v)
		}
		require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(f.all()))
		require.Equal(t, len(want) == 0, f.empty())
		for v := range 5 {
			_, ok := want[v]
			require.Equal(t, ok, f.contains(v))
		}
	}
}
