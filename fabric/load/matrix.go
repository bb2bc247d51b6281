package load

import (
	"cmp"
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/demand"
)

// Fabric is what a matrix needs to know of the fabric.
type Fabric struct {
	// Leaves are the switches that count what leaves in tunnels.
	Leaves []string
	// VTEP is the node whose tunnels end at an address.
	VTEP func(netip.Addr) (node string, ok bool)
	// Tenant is whose a VNI is; empty when nobody's.
	Tenant func(intent.VNI) string
	// Uplink reports whether a leaf's port leads to another switch.
	Uplink func(leaf, port string) bool
}

// Cell is what was measured from a VTEP to another, for a tenant.
type Cell struct {
	demand.Key
	Rate float64 // bit/s
	// Leaves is by which ports of which leaves it leaves, in bit/s.
	Leaves map[string]map[string]float64
}

// Matrix is what was measured.
type Matrix struct {
	Cells []Cell // in natural order, those above zero
	// Unknown is what went between addresses of which one is no VTEP's, in bit/s, and
	// Addresses are some of those addresses.
	Unknown   float64
	Addresses []netip.Addr
	Uncounted float64 // bit/s for which there was no room
	// Missing are leaves that have not reported lately, and those that do not count,
	// with the reason.
	Missing map[string]string
}

// addressesTold bounds the unknown addresses that are named.
const addressesTold = 8

// Matrix adds up what leaves the leaves in tunnels.
func (m *Meter) Matrix(now time.Time, f Fabric, window time.Duration) Matrix {
	out := Matrix{Missing: map[string]string{}}
	cells := map[demand.Key]*Cell{}
	unknown := map[netip.Addr]struct{}{}
	for _, leaf := range f.Leaves {
		s := m.switches[leaf]
		switch {
		case s == nil || now.Sub(m.began)-s.at > staleAfter:
			out.Missing[leaf] = "its agent does not report"
			continue
		case s.failed != "":
			out.Missing[leaf] = s.failed
		}
		if s.other != nil {
			out.Uncounted += 8 * s.other.Rate(s.since, s.until, window)
		}
		for k, t := range s.pairs {
			if !f.Uplink(leaf, k.port) {
				continue
			}
			rate := 8 * t.bytes.Rate(s.since, s.until, window)
			if rate == 0 {
				continue
			}
			from, ok1 := f.VTEP(k.from)
			to, ok2 := f.VTEP(k.to)
			if !ok1 || !ok2 {
				out.Unknown += rate
				for a, ok := range map[netip.Addr]bool{k.from: ok1, k.to: ok2} {
					if !ok {
						unknown[a] = struct{}{}
					}
				}
				continue
			}
			key := demand.Key{From: from, To: to, Tenant: f.Tenant(k.vni)}
			c := cells[key]
			if c == nil {
				c = &Cell{Key: key, Leaves: map[string]map[string]float64{}}
				cells[key] = c
			}
			c.add(leaf, k.port, rate)
		}
	}
	for _, c := range cells {
		out.Cells = append(out.Cells, *c)
	}
	slices.SortFunc(out.Cells, func(a, b Cell) int { return a.Key.Compare(b.Key) })
	out.Addresses = slices.SortedFunc(maps.Keys(unknown), netip.Addr.Compare)
	out.Addresses = out.Addresses[:min(len(out.Addresses), addressesTold)]
	return out
}

func (c *Cell) add(leaf, port string, rate float64) {
	c.Rate += rate
	if c.Leaves[leaf] == nil {
		c.Leaves[leaf] = map[string]float64{}
	}
	c.Leaves[leaf][port] += rate
}

// Demand is the matrix as package demand has it. Tenants that are not to be told apart are
// one: what they send between two VTEPs is one cell, as a route steers it.
func (m Matrix) Demand(apart func(tenant string) bool) (demand.Matrix, error) {
	out := make([]demand.Demand, 0, len(m.Cells))
	for _, c := range m.Cells {
		if c.From == c.To {
			continue
		}
		d := demand.Demand{Key: c.Key, Rate: math.Round(c.Rate)}
		if !apart(d.Tenant) {
			d.Tenant = ""
		}
		out = append(out, d)
	}
	return demand.New(out)
}

// Total is the sum of all cells in bit/s.
func (m Matrix) Total() float64 {
	sum := 0.0
	for _, c := range m.Cells {
		sum += c.Rate
	}
	return sum
}

// Volume is what a tenant sends through the fabric.
type Volume struct {
	Tenant string
	Rate   float64 // bit/s
}

// Tenants are the tenants' volumes, the largest first; that of no tenant has an empty
// name.
func (m Matrix) Tenants() []Volume {
	sums := map[string]float64{}
	for _, c := range m.Cells {
		sums[c.Tenant] += c.Rate
	}
	out := make([]Volume, 0, len(sums))
	for t, rate := range sums {
		out = append(out, Volume{t, rate})
	}
	slices.SortFunc(out, func(a, b Volume) int {
		return cmp.Or(cmp.Compare(b.Rate, a.Rate), fabric.Natural(a.Tenant, b.Tenant))
	})
	return out
}
