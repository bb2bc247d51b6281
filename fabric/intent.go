package fabric

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/device"
	"github.com/weft-sdn/weft/topology"
)

// ParamsFor are the parameters that a Fabric asks for.
func ParamsFor(s intent.FabricSpec) Params {
	p := Params{
		Protocol: Protocol(s.Protocol), Unnumbered: s.Unnumbered, BFD: s.BFD, MTU: s.MTU,
		ASNs:      ASNs(s.ASNs),
		Timers:    Timers(s.Timers),
		Loopbacks: s.Pools.Loopbacks, Loopbacks6: s.Pools.Loopbacks6, VTEPs: s.Pools.VTEPs,
		P2P: s.Pools.P2P, P2P6: s.Pools.P2P6, Racks: s.Pools.Racks, RackLength: s.Pools.RackLength,
		Colours: s.Colours, ColourPool: s.Pools.Colours,
		Controllers: s.Controllers,
	}
	if s.IPv6 {
		p.Loopbacks6 = or(p.Loopbacks6, defaultLoopbacks6)
		if !p.Unnumbered {
			p.P2P6 = or(p.P2P6, defaultP2P6)
		}
	}
	for _, a := range s.Accept {
		low, high := a.Lengths()
		p.Accept = append(p.Accept, device.Match{Prefix: a.Prefix, MinLength: low, MaxLength: high})
	}
	return p
}

// SpecOf is the Fabric that asks for parameters.
func SpecOf(p Params) intent.FabricSpec {
	s := intent.FabricSpec{
		Protocol: string(p.Protocol), Unnumbered: p.Unnumbered, BFD: p.BFD, MTU: p.MTU,
		ASNs:   intent.FabricASNs(p.ASNs),
		Timers: intent.FabricTimers(p.Timers),
		Pools: intent.FabricPools{
			Loopbacks: p.Loopbacks, Loopbacks6: p.Loopbacks6, VTEPs: p.VTEPs,
			P2P: p.P2P, P2P6: p.P2P6, Racks: p.Racks, RackLength: p.RackLength, Colours: p.ColourPool,
		},
		Colours:     p.Colours,
		Controllers: p.Controllers,
	}
	for _, a := range p.Accept {
		s.Accept = append(s.Accept, intent.FabricPrefix{Prefix: a.Prefix, MinLength: a.MinLength, MaxLength: a.MaxLength})
	}
	return s
}

// PlanIntent plans the fabric that the objects ask for. What nodes and links state of
// AS numbers and addresses stays, whatever the names; what they leave out is given
// the first number that none of them states. So growth renumbers nothing once the
// objects state what Intent writes into them. A switch that somebody else configures
// and that has no link is reached by other ways, and is no part of the fabric.
func PlanIntent(spec intent.FabricSpec, nodes []*intent.Node, links []*intent.Link) (*Facts, error) {
	st := stated{nodes: map[string]intent.NodeSpec{}, ends: map[string]netip.Prefix{}}
	linked := map[string]bool{}
	for _, l := range links {
		if len(l.Spec.Endpoints) != 2 {
			return nil, fmt.Errorf("link %s: has %d ends", l.Metadata.Name, len(l.Spec.Endpoints))
		}
		for _, e := range l.Spec.Endpoints {
			linked[e.Node] = true
			if e.Address.IsValid() {
				st.ends[End{Node: e.Node, Interface: e.Interface}.String()] = e.Address
			}
		}
	}
	nodes = slices.DeleteFunc(slices.Clone(nodes), func(n *intent.Node) bool {
		return n.Spec.Role.Switch() && n.Spec.Foreign() && !linked[n.Metadata.Name]
	})
	for _, n := range nodes {
		st.nodes[n.Metadata.Name] = n.Spec
	}
	g := graphOf(nodes, links)
	f, err := planStated(g, ParamsFor(spec), st)
	if err != nil {
		return nil, err
	}
	for i := range f.Nodes {
		of := st.nodes[f.Nodes[i].Name]
		f.Nodes[i].Drained = of.Drains()
	}
	return f, nil
}

// graphOf is the graph of nodes and links, in an order that does not depend on theirs.
// Links that have not two ends are left out.
func graphOf(nodes []*intent.Node, links []*intent.Link) *topology.Graph {
	g := &topology.Graph{Name: intent.FabricName}
	for _, n := range nodes {
		g.Nodes = append(g.Nodes, topology.Node{Name: n.Metadata.Name, Role: n.Spec.Role})
	}
	slices.SortFunc(g.Nodes, func(a, b topology.Node) int { return strings.Compare(a.Name, b.Name) })
	for _, l := range inOrder(links) {
		if len(l.Spec.Endpoints) != 2 {
			continue
		}
		a, b := l.Spec.Endpoints[0], l.Spec.Endpoints[1]
		g.Links = append(g.Links, topology.Link{A: topology.End{Node: a.Node, Interface: a.Interface}, B: topology.End{Node: b.Node, Interface: b.Interface}, MTU: l.Spec.MTU})
	}
	return g
}

// inOrder are links by their names.
func inOrder(links []*intent.Link) []*intent.Link {
	return slices.SortedFunc(slices.Values(links), func(a, b *intent.Link) int { return Natural(a.Metadata.Name, b.Metadata.Name) })
}

// stated is what objects say of AS numbers and addresses.
type stated struct {
	nodes map[string]intent.NodeSpec
	ends  map[string]netip.Prefix // by "node:interface"
}

// taken are the values that are stated or were given, so that none is given twice.
type taken struct {
	asns   map[uint32]bool  // stated
	given  map[roleASN]bool // by the plan; that two roles' bases meet is a fault
	addrs  map[netip.Addr]bool
	racks  map[netip.Prefix]bool
	blocks map[netip.Prefix]bool // of links between switches, of blockBits
}

// roleASN is an AS number of a role.
type roleASN struct {
	role intent.Role
	asn  uint32
}

func (s stated) taken(rackLength int) taken {
	t := taken{asns: map[uint32]bool{}, given: map[roleASN]bool{}, addrs: map[netip.Addr]bool{}, racks: map[netip.Prefix]bool{}, blocks: map[netip.Prefix]bool{}}
	for _, n := range s.nodes {
		if n.Role.Switch() {
			t.asns[n.ASN], t.racks[n.Rack] = true, true
			t.addrs[n.Loopback], t.addrs[n.Loopback6], t.addrs[n.VTEP] = true, true, true
		}
	}
	for _, p := range s.ends {
		t.addrs[p.Addr()] = true
		t.blocks[netip.PrefixFrom(p.Addr(), blockBits).Masked()] = true
		t.racks[netip.PrefixFrom(p.Addr(), rackLength).Masked()] = true
	}
	return t
}

// slot reports whether something that a node would be given is taken.
func (t taken) slot(has, would Node) bool {
	given := func(was, is netip.Addr) bool { return !was.IsValid() && is.IsValid() && t.addrs[is] }
	return given(has.Loopback, would.Loopback) || given(has.Loopback6, would.Loopback6) || given(has.VTEP, would.VTEP) ||
		!has.Rack.IsValid() && would.Rack.IsValid() && t.racks[would.Rack]
}
