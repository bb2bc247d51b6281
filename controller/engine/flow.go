package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

// FlowQuestion asks which links one flow takes.
type FlowQuestion struct {
	From, To        string // leaves between which it goes
	Tenant, Network string // whose it is; any when empty
	// Header is that of the tenant's packets, or with VTEPs as addresses that of the
	// tunnel.
	Header switchstate.Header
}

// FlowPath is which links a flow takes.
type FlowPath struct {
	Tunnel switchstate.Header // the outer header
	VNI    intent.VNI         // zero when the outer header was given
	Seen   string             // interface by which the first leaf was seen to send it; empty when it was not watched
	Links  []FlowLink
}

// FlowLink is a link of a flow's way: the kernel of From's switch said that it sends it
// there.
type FlowLink struct{ From, To topology.End }

// Times of a question about a flow, and how many switches its way may have.
const (
	flowWatch = 3 * time.Second // for packets of the flow
	flowWait  = switchstate.AnswerWait
	flowHops  = 8
)

// ErrUnseen says that no packet of a flow was seen, so that nothing is known of its
// tunnel.
var ErrUnseen = errors.New("the flow is not seen now")

// Flow finds the links that a flow takes: its outer header is that in which its leaf is
// seen to send it, and each switch's kernel is asked by which next hop it sends that.
func (e *Engine) Flow(ctx context.Context, q FlowQuestion) (FlowPath, error) {
	for _, n := range []string{q.From, q.To} {
		if !e.known(n) {
			return FlowPath{}, fmt.Errorf("%s: %w", n, ErrNoNode)
		}
	}
	t, err := e.tunnelOf(ctx, q)
	if err != nil {
		return FlowPath{}, err
	}
	out := FlowPath{Tunnel: t.Header, VNI: t.VNI, Seen: t.Interface}
	ends := e.linkEnds()
	at, in := q.From, e.entry(q.From, t.Header.From)
	for range flowHops {
		hop, err := e.hop(ctx, at, switchstate.RouteQuestion{Header: t.Header, In: in})
		if err != nil {
			return out, err
		}
		from := topology.End{Node: at, Interface: hop.Interface}
		to, ok := ends[from]
		if hop.Interface == "" || !ok {
			return out, fmt.Errorf("%s sends it by %s, which is no link between switches of the intent", at, from)
		}
		out.Links = append(out.Links, FlowLink{from, to})
		if at, in = to.Node, to.Interface; at == q.To {
			return out, nil
		}
	}
	return out, fmt.Errorf("after %d switches it is not at %s", flowHops, q.To)
}

// hop asks a switch's kernel.
func (e *Engine) hop(ctx context.Context, node string, q switchstate.RouteQuestion) (switchstate.NextHop, error) {
	ctx, cancel := context.WithTimeout(ctx, flowWait)
	defer cancel()
	a, err := e.questions.ask(ctx, node, switchstate.Question{Route: &q})
	if err == nil && a.Route == nil {
		err = fmt.Errorf("%s: its agent's answer has no next hop", node)
	}
	if err != nil {
		return switchstate.NextHop{}, err
	}
	return *a.Route, nil
}

// tunnelOf is the outer header of a flow: as it was given, or as it is seen.
func (e *Engine) tunnelOf(ctx context.Context, q FlowQuestion) (switchstate.Tunnel, error) {
	vteps := e.vtepNodes()
	from, to := vteps[q.Header.From], vteps[q.Header.To]
	if from != "" && to != "" {
		return switchstate.Tunnel{Header: q.Header}, nil
	}
	vnis := e.vnisOf(q.Tenant, q.Network)
	if q.Tenant != "" && len(vnis) == 0 {
		return switchstate.Tunnel{}, fmt.Errorf("tenant %s has no such network, or none with a VNI", q.Tenant)
	}
	ctx, cancel := context.WithTimeout(ctx, flowWatch+flowWait)
	defer cancel()
	a, err := e.questions.ask(ctx, q.From, switchstate.Question{Watch: &switchstate.WatchQuestion{Header: q.Header, VNIs: vnis, For: flowWatch}})
	if err != nil {
		return switchstate.Tunnel{}, err
	}
	for _, t := range a.Seen {
		// A copy that is flooded goes elsewhere too.
		if node := vteps[t.Header.To]; node != "" && e.reaches(node, q.To) {
			return t, nil
		}
	}
	if len(a.Seen) > 0 {
		return switchstate.Tunnel{}, fmt.Errorf("%s sends it to %s, which is not behind %s", q.From, a.Seen[0].Header.To, q.To)
	}
	return switchstate.Tunnel{}, fmt.Errorf("%s: %w: send it while this is asked, or give the header of its tunnel: VTEP,VTEP,17,SPORT,4789", q.From, ErrUnseen)
}

// vnisOf are the VNIs in which a tenant's traffic, or that of one of its networks, is:
// those of its networks and routers.
func (e *Engine) vnisOf(tenant, network string) (out []intent.VNI) {
	if tenant == "" {
		return nil
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	for r := range e.objects {
		if r.Tenant != tenant {
			continue
		}
		var vni intent.VNI
		switch r.Kind {
		case intent.KindNetwork:
			if n := e.model.Network(r); n != nil && (network == "" || network == r.Name) {
				vni = n.Spec.VNI
			}
		case intent.KindRouter:
			// What is routed has the VNI of its router, whatever its network.
			if o := e.model.Router(r); o != nil {
				vni = o.Spec.VNI
			}
		}
		if vni != 0 {
			out = append(out, vni)
		}
	}
	return out
}

// vtepNodes are the nodes by the addresses at which their tunnels end.
func (e *Engine) vtepNodes() map[netip.Addr]string {
	nodes, _ := e.measured()
	out := map[netip.Addr]string{}
	for name, n := range nodes {
		if n == nil {
			continue
		}
		for _, a := range append([]netip.Addr{n.Spec.VTEP}, n.Spec.Colours...) {
			if a.IsValid() {
				out[a] = name
			}
		}
	}
	return out
}

// linkEnds are the other ends of all links of the intent.
func (e *Engine) linkEnds() map[topology.End]topology.End {
	out := map[topology.End]topology.End{}
	for _, l := range e.wiring.intended() {
		out[l.A], out[l.B] = l.B, l.A
	}
	return out
}

// reaches reports whether a node is a leaf, or is joined to it: it may be to several.
func (e *Engine) reaches(node, leaf string) bool {
	if node == leaf {
		return true
	}
	nodes, _ := e.measured()
	if tierOf(nodes[node]) == 0 {
		return false
	}
	for from, to := range e.linkEnds() {
		if from.Node == node && to.Node == leaf {
			return true
		}
	}
	return false
}

// entry is the interface by which what a VTEP sends comes to its leaf; empty when it is
// the leaf's own.
func (e *Engine) entry(leaf string, vtep netip.Addr) string {
	node := e.vtepNodes()[vtep]
	if node == leaf {
		return ""
	}
	for from, to := range e.linkEnds() {
		if from.Node == node && to.Node == leaf {
			return to.Interface
		}
	}
	return ""
}
