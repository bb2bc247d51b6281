package overlay

import (
	"github.com/weft-sdn/weft/controller/intent"
)

// GroupTable is the number of the table of a security group's members, which is
// kept and read as a segment table is. It is above all VNIs.
func GroupTable(id uint32) intent.VNI { return intent.VNI(1<<24 | id) }

// IsVNI reports whether a table is that of a VNI, and no group's.
func IsVNI(v intent.VNI) bool { return v <= intent.MaxVNI }

// Reads lists the tables that an edge needs for a port beside that of its VNI:
// the L3VNI of its router and those of which that has something, the groups that
// its rules name.
func (p LocalPort) Reads() []intent.VNI {
	var out []intent.VNI
	if p.Routing != nil {
		out = append(out, p.Routing.VRF.VNI)
		for _, l := range p.Routing.VRF.Leaks {
			out = append(out, l.VRF.VNI)
		}
	}
	if p.Policy != nil {
		out = append(out, p.Policy.reads...)
	}
	return out
}

// read counts the ports of a node that need tables beside their own. It makes the
// node a carrier of these, so that it is woken when they change.
func (m *Model) read(node string, e *edge, tables []intent.VNI, by int) {
	for _, t := range tables {
		e.reading[t] += by
		if e.reading[t] > 0 {
			if m.carriers[t] == nil {
				m.carriers[t] = map[string]struct{}{}
			}
			m.carriers[t][node] = struct{}{}
			continue
		}
		delete(e.reading, t)
		if delete(m.carriers[t], node); len(m.carriers[t]) == 0 {
			delete(m.carriers, t)
		}
	}
}
