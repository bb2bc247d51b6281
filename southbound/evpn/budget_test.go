//go:build budget

package evpn

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/budget"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

// stations are routes of a leaf's, so many to a VNI and its set of attributes.
func stations(n, perVNI int) []table.Route {
	routes := make([]table.Route, n)
	for i := range routes {
		routes[i] = macIP(intent.VNI(1+i/perVNI), intent.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}, "192.0.2.1", vtep1)
	}
	return routes
}

// taken is a table that has taken a leaf's UPDATEs.
func taken(t *testing.T, r *rib, s *source, updates []message) *rib {
	in := newIntake()
	in.lookup = r.lookup
	buf := make([]byte, maxMessage)
	for _, m := range updates {
		u, err := in.read(buf[:copy(buf, m)])
		require.NoError(t, err)
		r.mu.Lock()
		each(u.reach, func(n nlri) { r.announce(s, n, u.attrs, false) })
		each(u.unreach, func(n nlri) { r.withdraw(s, n) })
		r.publish()
		r.mu.Unlock()
	}
	return r
}

func TestBudget(t *testing.T) {
	const n = 20_000
	many, single := messages(t, appendRoutes(nil, stations(n, 100))), messages(t, appendRoutes(nil, stations(n, 1)))
	counts := map[string]float64{}
	counts["heap bytes of a route, 100 to a set of attributes"] = budget.Heap(n, func() any {
		r := newRIB()
		return taken(t, r, r.source(), many)
	})
	counts["heap bytes of a route with attributes of its own"] = budget.Heap(n, func() any {
		r := newRIB()
		return taken(t, r, r.source(), single)
	})
	r := newRIB()
	s := r.source()
	r.start()
	readers := []*reader{r.reader(7, true), r.reader(8, true), r.reader(9, true), r.reader(s.id, true)}
	for _, d := range readers {
		d.told()
	}
	taken(t, r, s, many)
	counts["allocations to read an UPDATE of 100 routes again"] = budget.Allocs(len(many), func() { taken(t, r, s, many) })
	blocks, octets, updates := map[*block]bool{}, 0, 0
	for i, d := range readers {
		for b, fresh, _ := d.next(); b != nil; b, fresh, _ = d.next() {
			blocks[b] = true
			list, m := d.of(b, fresh)
			if i < 3 {
				updates += m
			}
			for _, l := range list {
				octets += len(l)
				require.Less(t, i, 3, "the leaf gets its own")
			}
		}
	}
	counts["blocks encoded for 4 readers of 20,000 changes"] = float64(len(blocks))
	counts["UPDATEs to each of 3 leaves for 20,000 routes of 200 VNIs"] = float64(updates) / 3
	counts["octets to a leaf for a route"] = float64(octets) / 3 / n
	budget.Check(t, counts)
}
