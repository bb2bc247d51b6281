package engine

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// interconnectStatus is what the sessions with another fabric say. The caller holds
// the lock.
func (e *Engine) interconnectStatus(c *intent.Interconnect) *intent.Status {
	known := e.model.Interconnect(c.Metadata.Name)
	if known == nil || known.Metadata.Revision < c.Metadata.Revision {
		return pending("Loading", "controller", "wait a moment", "the controller has not taken revision %d yet", c.Metadata.Revision)
	}
	st := &intent.Status{Phase: intent.PhaseReady, Applied: c.Metadata.Revision}
	var routes []evpn.Route
	up := 0
	for _, p := range known.Spec.Peers {
		name := overlay.PeerName(c.Metadata.Name, p.Address)
		b := intent.BGPSession{State: "Idle"}
		if f := e.fabricOf(name); f != nil {
			b, _ = f.Peer(name)
			routes = append(routes, f.Routes(name)...)
		}
		st.Peers = append(st.Peers, intent.PeerSession{Peer: p.Address.String(), BGPSession: b})
		switch {
		case b.State != "Established":
			st.Reasons = append(st.Reasons, intent.Reason{Device: name, Code: "Session", Message: fmt.Sprintf("the BGP session is %s: %s", b.State, cmp.Or(b.LastError, "it is being set up")),
				Action: "look at the interconnect at the other end: its peers, asn and passwords"})
		case !b.Synced:
			st.Reasons = append(st.Reasons, intent.Reason{Device: name, Code: "Programming", Message: "the peer has not announced all that it has", Action: "wait a moment"})
		default:
			up++
		}
	}
	switch {
	case up == 0:
		st.Phase, st.Applied = intent.PhasePending, 0
	case up < len(known.Spec.Peers):
		st.Phase, st.Applied = intent.PhaseDegraded, 0
	}
	st.Lines = intent.LineViews(&known.Spec, e.lineSessions)
	for _, sn := range known.Spec.Networks {
		st.Stretched = append(st.Stretched, e.stretchedView(sn, routes))
	}
	return st
}

// stretchedView counts what crosses of a network, routes being all that the other
// fabric announces.
func (e *Engine) stretchedView(sn intent.StretchedNetwork, routes []evpn.Route) intent.StretchedView {
	v := intent.StretchedView{Network: sn.Tenant + "/" + sn.Network}
	target := sn.Target()
	for i := range routes {
		if slices.Contains(routes[i].Targets, target) {
			v.Received++
		}
	}
	n := e.model.Network(sn.Ref())
	if n == nil {
		return v
	}
	v.VNI = n.Spec.VNI
	seg := e.model.Segment(v.VNI)
	if seg == nil {
		return v
	}
	for row := range seg.Rows() {
		switch {
		case crosses(row):
			v.Sent++
		case row.Origin == evpn.OriginFabric:
			v.Used++
			if row.Type == evpn.IMET {
				v.VTEPs = append(v.VTEPs, row.VTEP.String())
			}
		}
	}
	slices.Sort(v.VTEPs)
	return v
}

// lineSessions are the established BGP sessions that a border leaf reports.
func (e *Engine) lineSessions(node string) (list []intent.LineSession, ok bool) {
	r, at, ok := e.Routing(node)
	if !ok || e.routing.now().Sub(at) > silentAfter {
		return nil, false
	}
	for _, s := range r.BGP {
		if s.State == switchstate.Established {
			list = append(list, intent.LineSession{Peer: s.Peer, Since: s.Since})
		}
	}
	return list, true
}
