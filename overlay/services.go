package overlay

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
)

// Services are what the stations of a network are told by DHCPv4, router
// advertisements and DHCPv6. All ports of a network share one; it is not changed
// once made.
type Services struct {
	Lease   intent.Seconds // never zero
	MTU     int
	DNS     []netip.Addr
	NTP     []netip.Addr
	Domain  string
	Routes  []intent.DHCPRoute
	Subnets []ServedSubnet
}

// ServedSubnet is a subnet of a network and the router's address in it, which is
// invalid while no router has the network.
type ServedSubnet struct {
	Prefix  netip.Prefix
	Gateway netip.Addr
}

// Equal reports whether both tell the same; nil is nothing.
func (s *Services) Equal(o *Services) bool {
	if s == o || s == nil || o == nil {
		return s == o
	}
	return s.Lease == o.Lease && s.MTU == o.MTU && s.Domain == o.Domain && slices.Equal(s.DNS, o.DNS) && slices.Equal(s.NTP, o.NTP) &&
		slices.Equal(s.Routes, o.Routes) && slices.Equal(s.Subnets, o.Subnets)
}

// Subnet is the subnet that has an address.
func (s *Services) Subnet(a netip.Addr) (ServedSubnet, bool) {
	for _, n := range s.Subnets {
		if n.Prefix.Contains(a) {
			return n, true
		}
	}
	return ServedSubnet{}, false
}

// Has reports whether there is a subnet of IPv4, or else of IPv6.
func (s *Services) Has(v4 bool) bool {
	return slices.ContainsFunc(s.Subnets, func(n ServedSubnet) bool { return n.Prefix.Addr().Is4() == v4 })
}

// compileServices makes what a network tells; nil when it tells nothing. The
// router may be nil.
func compileServices(n *intent.Network, r *intent.Router) *Services {
	if n == nil || n.Spec.DHCP == nil {
		return nil
	}
	d := n.Spec.DHCP
	s := &Services{Lease: cmp.Or(d.Lease, intent.DefaultLease), MTU: cmp.Or(n.Spec.MTU, intent.DefaultMTU),
		DNS: d.DNS, NTP: d.NTP, Domain: d.Domain, Routes: d.Routes}
	for _, p := range n.Spec.Subnets {
		served := ServedSubnet{Prefix: p}
		if r != nil {
			i := slices.IndexFunc(r.Spec.Networks, func(rn intent.RouterNetwork) bool { return rn.Network == n.Metadata.Name })
			served.Gateway = r.Spec.Networks[i].Gateway(p)
		}
		s.Subnets = append(s.Subnets, served)
	}
	return s
}

// served keeps what networks tell, and the routers that have them.
type served struct {
	by      map[intent.Ref]*Services // of networks that tell something
	routers map[intent.Ref]*intent.Router
	of      map[intent.Ref]map[intent.Ref]struct{} // network -> routers that name it: one, but for moments
}

func newServed() served {
	return served{by: map[intent.Ref]*Services{}, routers: map[intent.Ref]*intent.Router{}, of: map[intent.Ref]map[intent.Ref]struct{}{}}
}

// router is the router of a network, or nil.
func (s *served) router(network intent.Ref) *intent.Router {
	rs := s.of[network]
	if len(rs) == 0 {
		return nil
	}
	return s.routers[slices.MinFunc(slices.Collect(maps.Keys(rs)), compareRefs)]
}

// settleServices brings what a network tells in line and reports whether it
// changed.
func (m *Model) settleServices(network intent.Ref) bool {
	was, now := m.served.by[network], compileServices(m.networks[network], m.served.router(network))
	if was.Equal(now) {
		return false
	}
	if now == nil {
		delete(m.served.by, network)
	} else {
		m.served.by[network] = now
	}
	return true
}

// serveRouter takes a router, new, changed or, with nil, deleted: the ports of
// networks whose gateway changed are settled.
func (m *Model) serveRouter(r intent.Ref, now *intent.Router) {
	touched := map[intent.Ref]struct{}{}
	if old := m.served.routers[r]; old != nil {
		for _, n := range old.Spec.Networks {
			network := old.NetworkRef(n)
			touched[network] = struct{}{}
			if delete(m.served.of[network], r); len(m.served.of[network]) == 0 {
				delete(m.served.of, network)
			}
		}
		delete(m.served.routers, r)
	}
	if now != nil {
		m.served.routers[r] = now
		for _, n := range now.Spec.Networks {
			network := now.NetworkRef(n)
			touched[network] = struct{}{}
			if m.served.of[network] == nil {
				m.served.of[network] = map[intent.Ref]struct{}{}
			}
			m.served.of[network][r] = struct{}{}
		}
	}
	for _, network := range slices.SortedFunc(maps.Keys(touched), compareRefs) {
		if m.settleServices(network) {
			m.settleAll(m.portsOf[network])
		}
	}
}
