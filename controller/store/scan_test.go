package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestScanReadsEveryKeyOnceAndCountsFew: whatever the keys look like, the pages
// have every key once, in order, and etcd counts through some keys for each one
// that is read, not through all the rest.
func TestScanReadsEveryKeyOnceAndCountsFew(t *testing.T) {
	const n = 6_000
	r := rand.New(rand.NewPCG(1, 2))
	for name, key := range map[string]func(i int) string{
		"numbers":    func(i int) string { return fmt.Sprintf("vm%06d", i) },
		"no padding": func(i int) string { return fmt.Sprintf("vm-%d", i) },
		"random":     func(int) string { return fmt.Sprintf("%016x", r.Uint64()) },
		"tenants":    func(i int) string { return fmt.Sprintf("t%02d/port-%d-of-%d", i%37, i, n) },
		"high bytes": func(i int) string { return fmt.Sprintf("\xff\xff%c%04d", rune(0xff+i%3), i) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, 1)[0]
			prefix := s.keys.dir("v1", "x")
			want := map[string]bool{}
			var ops []clientv3.Op
			for i := range n {
				k := prefix + key(i)
				if want[k] {
					continue
				}
				want[k] = true
				ops = append(ops, clientv3.OpPut(k, ""))
			}
			for c := range slices.Chunk(ops, 120) {
				_, err := s.client.Txn(t.Context()).Then(c...).Commit()
				require.NoError(t, err)
			}
			var (
				got     []string
				counted int64
				asked   int
			)
			c := s.scan(prefix, 0)
			for !c.done {
				resp, err := c.next(t.Context(), 100)
				require.NoError(t, err)
				asked++
				counted += resp.Count
				for _, kv := range resp.Kvs {
					got = append(got, string(kv.Key))
				}
			}
			require.True(t, slices.IsSorted(got))
			require.Len(t, got, len(want))
			for _, k := range got {
				require.True(t, want[k])
			}
			t.Logf("%d requests, %d counted", asked, counted)
			require.Less(t, counted, int64(20*n))
			require.Less(t, asked, 4*n/100)
		})
	}
}
