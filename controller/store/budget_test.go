//go:build budget

package store

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/budget"
)

func TestBudget(t *testing.T) {
	counts := map[string]float64{}
	names, ports := tenancy(2000)
	k := keyspace("/weft")
	var values [][]byte
	bytes, keys := 0, 0
	for _, o := range ports {
		b, err := encode(o)
		require.NoError(t, err)
		values = append(values, b)
		bytes += len(b) + len(k.object(o.Ref()))
		for _, c := range k.claims(o) {
			bytes += len(c.key) + len(encodeRef(o.Ref()))
			keys++
		}
	}
	counts["bytes of a port and its claims"] = float64(bytes) / float64(len(ports))
	counts["keys of a port"] = 1 + float64(keys)/float64(len(ports))
	decodeAll := func() any {
		keep := make([]intent.Object, len(ports))
		for i, o := range ports {
			var err error
			if keep[i], err = decode(o.Ref(), values[i], 1); err != nil {
				panic(err)
			}
		}
		return keep
	}
	counts["allocations to decode a port"] = budget.Allocs(len(ports), func() { decodeAll() })
	counts["heap bytes of a port"] = budget.Heap(len(ports), decodeAll)
	runtime.KeepAlive(values)

	s := open(t, 1)[0]
	importing := func(ops int, objects []intent.Object) float64 {
		s.maxOps = ops
		before, err := s.Revision(t.Context())
		require.NoError(t, err)
		noErrors(t, s.PutAll(t.Context(), objects, false))
		after, err := s.Revision(t.Context())
		require.NoError(t, err)
		return float64(after-before) / float64(len(objects))
	}
	importing(defaultOps, names)
	counts["writes of etcd per port imported, cluster"] = importing(defaultOps, ports[:1000])
	counts["writes of etcd per port imported, in process"] = importing(embeddedOps, ports[1000:])
	counts["writes of etcd per port imported again"] = importing(defaultOps, ports)
	require.Less(t, counts["writes of etcd per port imported, cluster"], 0.1)

	c, counted, requests := s.scan(s.keys.kind(intent.KindPort, ""), 0), int64(0), 0
	for ; !c.done; requests++ {
		r, err := c.next(t.Context(), 50)
		require.NoError(t, err)
		counted += r.Count
	}
	counts["keys that etcd counts through per port, pages of 50"] = float64(counted) / float64(len(ports))
	counts["requests to read 2,000 ports by 50"] = float64(requests)
	budget.Check(t, counts)
}
