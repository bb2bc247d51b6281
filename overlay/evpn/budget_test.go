//go:build budget

package evpn

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/budget"
)

func station(i int) Key {
	m := intent.MAC{2, 0}
	binary.BigEndian.PutUint32(m[2:], uint32(i))
	return MACKey(m)
}

func TestBudget(t *testing.T) {
	const n = 20_000
	counts, p := map[string]float64{}, Path{VTEP: netip.MustParseAddr("10.0.0.1"), Source: "hv1"}
	counts["heap bytes of a row"] = budget.Heap(n, func() any {
		s := &Segment{}
		for i := range n {
			s.Set(station(i), p)
		}
		return s
	})
	s := &Segment{}
	counts["allocations to insert a row"] = budget.Allocs(n, func() {
		for i := range n {
			s.Set(station(i), p)
		}
	})
	rows := 0
	counts["allocations to read 20,000 changes"] = budget.Allocs(1, func() {
		for range s.Changes(0) {
			rows++
		}
	})
	counts["rows read of 20,000"] = float64(rows)
	q := p
	q.VTEP, q.Source = netip.MustParseAddr("10.0.0.2"), "hv2"
	at := s.Rev()
	counts["allocations to move a row"] = budget.Allocs(n, func() {
		for i := range n {
			s.Move(station(i), q)
			s.Withdraw(station(i), p.Source)
		}
	})
	rows = 0
	for range s.Changes(at) {
		rows++
	}
	counts["rows read of 20,000 moved"] = float64(rows)
	at = s.Rev()
	s.Move(station(7), p)
	rows = 0
	for range s.Changes(at) {
		rows++
	}
	counts["rows read after one move among 20,000"] = float64(rows)
	budget.Check(t, counts)
}
