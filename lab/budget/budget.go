package budget

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// file has a package's figures, beside its tests.
var file = filepath.Join("testdata", "budget.json")

// slack is by how much a count may be above its figure: the memory that an
// allocator hands out, and the growth of maps, are not the same each time.
const slack = 0.05

// Check compares counts with the committed figures of the package under test.
// Whole numbers and zero must be met exactly; others may be 5 % above.
func Check(t *testing.T, counts map[string]float64) {
	t.Helper()
	for name, v := range counts {
		counts[name] = round(v)
		t.Logf("%-60s %g", name, counts[name])
	}
	if os.Getenv("WEFT_BUDGET_UPDATE") != "" {
		b, err := json.MarshalIndent(counts, "", "  ") // sorted by name
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, append(b, '\n'), 0o644))
		return
	}
	b, err := os.ReadFile(file)
	require.NoError(t, err, "run `make bench-check UPDATE=1` once")
	var agreed map[string]float64
	require.NoError(t, json.Unmarshal(b, &agreed), file)
	for name, v := range counts {
		most, ok := agreed[name]
		switch {
		case !ok:
			t.Errorf("%s is not in %s: run `make bench-check UPDATE=1`", name, file)
		case v > limit(most):
			t.Errorf("%s is %g, and was %g: find out why, or agree on it by `make bench-check UPDATE=1`", name, v, most)
		case v < most*(1-slack):
			t.Logf("%s fell from %g to %g: `make bench-check UPDATE=1` keeps it there", name, most, v)
		}
	}
	for name := range agreed {
		if _, ok := counts[name]; !ok {
			t.Errorf("%s of %s is not counted any more", name, file)
		}
	}
}

// limit is the most that a count may be.
func limit(agreed float64) float64 {
	if agreed == math.Trunc(agreed) && agreed < 100 {
		return agreed
	}
	return agreed * (1 + slack)
}

// round keeps what is worth comparing: two decimals of a small number, whole
// ones above 100.
func round(v float64) float64 {
	if v >= 100 {
		return math.Round(v)
	}
	return math.Round(v*100) / 100
}

// Allocs is how many allocations f does for each of n things.
func Allocs(n int, f func()) float64 {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // others would be counted, too
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(n)
}

// Heap is how many bytes of the heap what f makes holds for each of n things: the
// median of five attempts, since what else the process holds or drops meanwhile is
// counted, too.
func Heap(n int, f func() any) float64 {
	attempts := make([]float64, 5)
	for i := range attempts {
		attempts[i] = heap(f) / float64(n)
	}
	slices.Sort(attempts)
	return attempts[len(attempts)/2]
}

func heap(f func() any) float64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	keep := f()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(keep)
	return float64(after.HeapAlloc) - float64(before.HeapAlloc)
}
