package overlay

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
)

// Bridge is a hardware VTEP with stations in a network of a router, and the vSwitch
// that is the gateway of these: such a switch only bridges, and frames for the
// gateway's MAC go to one VTEP that routes.
type Bridge struct {
	VNI     intent.VNI // the L2VNI
	VTEP    netip.Addr // of the hardware VTEP
	Gateway netip.Addr // VTEP of the vSwitch
}

// bridges are the hardware VTEPs that have stations in the networks of a router. The
// gateway is the first vSwitch by name that has a port of the router; where another
// vSwitch replicates for the hardware VTEP, it is that one, since broadcasts come
// from nobody else. There is none while a vSwitch may come before by what it has not
// reported yet, after a start. The senders are the VTEPs of all vSwitches that may
// bridge what they route to a hardware VTEP.
func (m *Model) bridges(r *router) (out []Bridge, senders []netip.Addr) {
	if m.hardware == 0 {
		return nil, nil
	}
	first, on := "", map[intent.VNI]string{} // vSwitches: of the router, of each network
	type behind struct {
		e   *edge
		vni intent.VNI
	}
	var edges []behind
	for ref := range r.gateways {
		o := m.networks[ref]
		if o == nil {
			continue
		}
		n := o.Spec
		for name := range m.carriers[n.VNI] {
			e := m.nodes[name]
			if e.spec == nil || e.onVNI[n.VNI] <= 0 || !e.vtep().Is4() {
				continue
			}
			switch {
			case e.spec.Spec.HardwareVTEP != nil && n.Encapsulation.Full() == (intent.Encapsulation{}).Full(): // it has no other
				edges = append(edges, behind{e, n.VNI})
			case e.spec.Spec.VSwitch != nil:
				senders = append(senders, e.vtep())
				first, on[n.VNI] = firstOf(first, name), firstOf(on[n.VNI], name)
			}
		}
	}
	if len(edges) == 0 {
		return nil, nil
	}
	for _, b := range edges {
		gateway := first
		if b.e.serviced() > 0 && on[b.vni] != "" {
			gateway = on[b.vni]
		}
		if gateway != "" && !m.mayPrecede(gateway) {
			out = append(out, Bridge{b.vni, b.e.vtep(), m.nodes[gateway].vtep()})
		}
	}
	slices.SortFunc(out, func(a, b Bridge) int { return cmp.Or(cmp.Compare(a.VNI, b.VNI), a.VTEP.Compare(b.VTEP)) })
	slices.SortFunc(senders, netip.Addr.Compare)
	return out, slices.Compact(senders)
}

// firstOf is the first of two names, of which the one may be empty.
func firstOf(a, b string) string {
	if a == "" {
		return b
	}
	return min(a, b)
}

// mayPrecede reports whether a vSwitch that has not reported, and is waited for, is
// before another one by name.
func (m *Model) mayPrecede(name string) bool {
	if !m.holding {
		return false
	}
	for n := range m.unreported {
		if n < name && m.nodes[n].spec.Spec.VSwitch != nil {
			return true
		}
	}
	return false
}

// bridging is 1 for a hardware VTEP.
func (e *edge) bridging() int {
	if e.spec != nil && e.spec.Spec.HardwareVTEP != nil {
		return 1
	}
	return 0
}

// rebridge has the router of a network look again who is gateway for hardware VTEPs:
// an edge has its first port there, or no more.
func (m *Model) rebridge(v intent.VNI) {
	if n := m.byVNI[v]; n != nil && m.hardware > 0 {
		if r := m.routerOf(n.Ref()); r != nil {
			m.unlinked[r.ref] = struct{}{}
		}
	}
}

// rebridgeAll is rebridge for all networks. It is called with the number of hardware
// VTEPs that there were.
func (m *Model) rebridgeAll(was int) {
	if m.hardware+was > 0 {
		for ref := range m.routers {
			m.unlinked[ref] = struct{}{}
		}
	}
}
