package overlay

import (
	"maps"
	"net/netip"
)

// Away is the set of VTEPs behind which nothing is known yet: what a device has for
// them must be kept. The zero value is empty.
type Away struct {
	vteps map[netip.Addr]struct{}
	// ours are, while a speaker of another fabric has not said what it has, the
	// VTEPs of this fabric: any other may be that one's.
	ours map[netip.Addr]struct{}
}

// AwayVTEPs is the set of some VTEPs.
func AwayVTEPs(vteps ...netip.Addr) Away {
	a := Away{vteps: map[netip.Addr]struct{}{}}
	for _, v := range vteps {
		a.vteps[v] = struct{}{}
	}
	return a
}

// Has reports whether a VTEP is in the set.
func (a Away) Has(vtep netip.Addr) bool {
	if a.HasEdge(vtep) {
		return true
	}
	_, here := a.ours[vtep]
	return a.ours != nil && !here
}

// HasEdge reports whether a VTEP is in the set that is one of this fabric.
func (a Away) HasEdge(vtep netip.Addr) bool {
	_, ok := a.vteps[vtep]
	return ok
}

// None reports whether the set is empty.
func (a Away) None() bool { return len(a.vteps) == 0 && a.ours == nil }

// Len is the number of VTEPs of this fabric in the set.
func (a Away) Len() int { return len(a.vteps) }

// Without is the set without a VTEP of this fabric.
func (a Away) Without(vtep netip.Addr) Away {
	if a.HasEdge(vtep) {
		a.vteps = maps.Clone(a.vteps)
		delete(a.vteps, vtep)
	}
	return a
}

// Unreported lists the VTEPs of edges that have never reported, or have ports
// that are held back (see Hold), and those of other fabrics that have not: what is
// behind them is not known yet, and nothing of it may be taken for gone.
func (m *Model) Unreported() Away {
	a := Away{vteps: make(map[netip.Addr]struct{}, len(m.unreported))}
	for name := range m.unreported {
		a.vteps[m.nodes[name].vtep()] = struct{}{}
	}
	for vtep := range m.held {
		a.vteps[vtep] = struct{}{}
	}
	if len(m.absent) > 0 {
		a.ours = make(map[netip.Addr]struct{}, len(m.nodes))
		for _, e := range m.nodes {
			if v := e.vtep(); v.IsValid() {
				a.ours[v] = struct{}{}
			}
		}
	}
	return a
}

// Away is the number of reasons for which VTEPs are in Unreported.
func (m *Model) Away() int { return len(m.unreported) + len(m.held) + len(m.absent) }

// AllReported reports whether all edges have reported.
func (m *Model) AllReported() bool { return len(m.unreported) == 0 }

// FabricsReported reports whether all speakers of other fabrics have.
func (m *Model) FabricsReported() bool { return len(m.absent) == 0 }
