package fabric

import (
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/topology"
)

// Running is how a switch is set up that runs already.
type Running struct {
	Serial    string // written down when no other switch has it
	ASN       uint32 // zero when it has no BGP
	RouterID  netip.Addr
	Addresses []RunningAddress
	// Management is the port that leads to the controller.
	Management string
}

// RunningAddress is an address of one of its interfaces.
type RunningAddress struct {
	Interface string
	Address   netip.Prefix
}

// Adopt writes a discovered fabric down as objects: a Node for each switch that the
// intent does not have, and a Link for each cable at one of those. running is by the
// graph's names. Of a switch that runs already its AS, its loopback, the address of its
// VTEP and those of its links are written down, so that nothing is renumbered.
func Adopt(d topology.Discovered, running map[string]Running) []intent.Object {
	times := map[string]int{}
	for _, r := range running {
		times[r.Serial]++
	}
	isNew := map[string]bool{}
	var out []intent.Object
	for _, n := range d.Graph.Nodes {
		if n.RoleRule == "intent" {
			continue
		}
		isNew[n.Name] = true
		r := running[n.Name]
		spec := intent.NodeSpec{Role: n.Role, ASN: r.ASN}
		spec.Loopback, spec.VTEP, spec.Colours = r.loopbacks(n.Role)
		spec.Loopback6 = r.loopback6()
		if leafRole(n.Role) {
			spec.Rack = r.rack(d.Graph.LinksOf(n.Name))
		}
		if r.Serial != "" && times[r.Serial] == 1 {
			spec.Serial = r.Serial
		}
		out = append(out, &intent.Node{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindNode},
			Metadata: intent.Metadata{Name: n.Name}, Spec: spec})
	}
	for _, l := range d.Graph.Links {
		if !isNew[l.A.Node] && !isNew[l.B.Node] {
			continue
		}
		end := func(e topology.End) intent.LinkEnd {
			return intent.LinkEnd{Node: e.Node, Interface: e.Interface, Address: running[e.Node].link(e.Interface)}
		}
		out = append(out, &intent.Link{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindLink},
			Metadata: intent.Metadata{Name: linkName(l.A.String(), l.B.String())},
			Spec:     intent.LinkSpec{MTU: l.MTU, Endpoints: []intent.LinkEnd{end(l.A), end(l.B)}}})
	}
	return out
}

// loopbacks are the addresses of lo that identify a switch, and at which a leaf's
// tunnels end: the identifier of its BGP and the one beside it, or one for both; and
// those of the usual pool of colours, in which the first two may be, too.
func (r Running) loopbacks(role intent.Role) (loopback, vtep netip.Addr, colours []netip.Addr) {
	var hosts []netip.Addr
	pool := Params{}.Defaults().ColourPool
	for _, a := range r.Addresses {
		switch at := a.Address.Addr(); {
		case a.Interface != "lo" || !at.Is4() || !a.Address.IsSingleIP():
		case at != r.RouterID && pool.Contains(at):
			colours = append(colours, at)
		default:
			hosts = append(hosts, at)
		}
	}
	switch {
	case slices.Contains(hosts, r.RouterID):
		loopback = r.RouterID
	case len(hosts) == 1:
		loopback = hosts[0]
	}
	if !leafRole(role) || !loopback.IsValid() {
		return loopback, vtep, nil
	}
	others := slices.DeleteFunc(hosts, func(a netip.Addr) bool { return a == loopback })
	switch {
	case len(others) == 1:
		vtep = others[0]
	case len(others) == 0 && len(colours) == 1: // colours are of a VTEP: it is one itself
		vtep, colours = colours[0], nil
	}
	if slices.SortFunc(colours, netip.Addr.Compare); !vtep.IsValid() || len(colours) > intent.MaxColours {
		colours = nil
	}
	return loopback, vtep, colours
}

func leafRole(r intent.Role) bool { return r == intent.RoleLeaf || r == intent.RoleBorder }

// loopback6 is the only IPv6 address of lo.
func (r Running) loopback6() (found netip.Addr) {
	for _, a := range r.Addresses {
		if a.Interface != "lo" || !a.Address.Addr().Is6() || !a.Address.IsSingleIP() {
			continue
		}
		if found.IsValid() {
			return netip.Addr{}
		}
		found = a.Address.Addr()
	}
	return found
}

// adoptedRack is the length of a rack's prefix, that of Params where nothing is said.
const adoptedRack = 24

// rack is the /24 that has all addresses of a leaf's ports towards what is behind it,
// which are those without a link; the zero Prefix when there is none.
func (r Running) rack(links []topology.Link) (found netip.Prefix) {
	for _, a := range r.Addresses {
		linked := slices.ContainsFunc(links, func(l topology.Link) bool { return l.A.Interface == a.Interface })
		if linked || a.Interface == "lo" || a.Interface == r.Management || !a.Address.Addr().Is4() {
			continue
		}
		p := netip.PrefixFrom(a.Address.Addr(), adoptedRack).Masked()
		if found.IsValid() && found != p {
			return netip.Prefix{}
		}
		found = p
	}
	return found
}

// link is the point-to-point address of an interface; the zero Prefix when it has none,
// or several.
func (r Running) link(iface string) (found netip.Prefix) {
	for _, a := range r.Addresses {
		if a.Interface != iface || !a.Address.Addr().Is4() {
			continue
		}
		if found.IsValid() {
			return netip.Prefix{}
		}
		found = a.Address
	}
	return found
}
