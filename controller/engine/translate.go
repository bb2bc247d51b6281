package engine

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// floatingStatus is Ready when the edge of the port confirmed that it translates
// the address, and every edge that reads the table of the external network where
// that is.
func (e *Engine) floatingStatus(f *intent.FloatingIP) *intent.Status {
	if e.objects[f.Ref()] < f.Metadata.Revision {
		return pending("Loading", "controller", "wait a moment", "the controller has not taken revision %d yet", f.Metadata.Revision)
	}
	p := e.model.Port(f.PortRef())
	if p == nil {
		return pending("NoPort", "controller", "create "+f.PortRef().String()+", or name another port", "there is no %s", f.PortRef())
	}
	a, ok := e.model.Attachment(p.Ref())
	if !ok {
		return e.whyNotAttached(p)
	}
	st := &intent.Status{Phase: intent.PhasePending, Node: a.Node, Interface: a.Interface, VTEP: a.VTEP.String()}
	if why := e.untranslated(f, a); why != nil {
		st.Phase, st.Reasons = intent.PhaseDegraded, []intent.Reason{*why}
		return st
	}
	if why := e.lacks(a); why != nil {
		st.Reasons = []intent.Reason{*why}
		if why.Code == southbound.CodeRefused {
			st.Phase = intent.PhaseFailed
		}
		return st
	}
	st.Phase, st.Applied = intent.PhaseReady, f.Metadata.Revision
	for _, r := range e.behindAddress(a, f.Spec.Address) {
		st.Reasons = append(st.Reasons, r)
		switch {
		case r.Code != southbound.CodeUnreachable:
			st.Phase, st.Applied = intent.PhasePending, 0
		case st.Phase == intent.PhaseReady:
			st.Phase, st.Applied = intent.PhaseDegraded, 0
		}
	}
	return st
}

// untranslated says why no edge translates a floating IP for its port, nil if one
// does.
func (e *Engine) untranslated(f *intent.FloatingIP, a overlay.Attachment) *intent.Reason {
	if n := e.model.Node(a.Node); n == nil || n.Spec.VSwitch == nil {
		return &intent.Reason{Device: a.Node, Code: southbound.AlarmCapability,
			Message: fmt.Sprintf("the port is on an edge that does not translate: %s leads nowhere", f.Spec.Address), Action: "bind the port to a hypervisor"}
	}
	if a.NAT == nil || !slices.ContainsFunc(a.NAT.Floating, func(o overlay.Floating) bool { return o.Address == f.Spec.Address }) {
		return &intent.Reason{Device: "controller", Code: "NotRouted",
			Message: fmt.Sprintf("no router leads from the port's address to external network %s", f.Spec.External),
			Action:  "put the port's network on a router that names the external network"}
	}
	return nil
}

// behindAddress lists the other edges that have not confirmed the row of a floating
// IP.
func (e *Engine) behindAddress(a overlay.Attachment, address netip.Addr) (out []intent.Reason) {
	var row evpn.Row
	if seg := e.model.Segment(a.NAT.External); seg != nil {
		row, _ = seg.Get(evpn.HostKey(a.MAC, address))
	}
	for _, s := range e.lagging(a.NAT.External) {
		if s.node == a.Node || s.at > 0 && s.at >= row.Rev {
			continue
		}
		if err := s.driver.Status().Err; err != nil {
			out = append(out, reason(err))
			continue
		}
		out = append(out, intent.Reason{Device: s.node, Code: "Programming", Message: "the device has not confirmed where the address is yet", Action: "wait a moment"})
	}
	return out
}

// sourceless says on which edges a router with source NAT has ports that are not
// translated, since the edge has no source address of their family.
func (e *Engine) sourceless(r *intent.Router) (out []intent.Reason) {
	if r.Spec.External == nil || !r.Spec.External.SNAT {
		return nil
	}
	lacks := map[string]map[string]bool{} // node -> families
	for _, n := range r.Spec.Networks {
		for _, p := range e.model.PortsOf(r.NetworkRef(n)) {
			a, ok := e.model.Attachment(p)
			if !ok || a.NAT == nil {
				continue
			}
			for _, ip := range a.Addresses {
				family := map[bool]string{true: "IPv4", false: "IPv6"}[ip.Is4()]
				if slices.ContainsFunc(a.NAT.Sources, func(s netip.Addr) bool { return s.Is4() == ip.Is4() }) || !e.model.HasPool(r.Spec.External.Ref(), ip.Is4()) {
					continue
				}
				if lacks[a.Node] == nil {
					lacks[a.Node] = map[string]bool{}
				}
				lacks[a.Node][family] = true
			}
		}
	}
	for _, node := range slices.Sorted(maps.Keys(lacks)) {
		out = append(out, intent.Reason{Device: node, Code: "NoSourceAddress",
			Message: fmt.Sprintf("%s has no source address of %s in external network %s: what ports there send outside is not translated, but for floating IPs",
				node, strings.Join(slices.Sorted(maps.Keys(lacks[node])), " and "), r.Spec.External.Network),
			Action: fmt.Sprintf("name %s in spec.vswitch.sourceAddresses of Node %s", r.Spec.External.Network, node)})
	}
	return out
}
