package intent

import (
	"fmt"
	"net/netip"
	"slices"
)

// Router routes between networks of a tenant: one VRF. Every edge that has
// ports of its networks is a distributed anycast gateway (RFC 9135 section 4.1).
type Router struct {
	Header   `yaml:",inline"`
	Metadata Metadata   `json:"metadata" yaml:"metadata"`
	Spec     RouterSpec `json:"spec" yaml:"spec"`
	Status   *Status    `json:"status,omitempty" yaml:"status,omitempty"`
}

// RouterSpec says which networks a router joins and what else it routes.
type RouterSpec struct {
	VNI      VNI             `json:"vni,omitempty" yaml:"vni,omitempty" doc:"L3VNI of the VRF, 1 to 16777215; allocated when left out" minimum:"0" maximum:"16777215"`
	Networks []RouterNetwork `json:"networks,omitempty" yaml:"networks,omitempty" doc:"Networks of the same tenant that it joins; no two subnets may overlap"`
	Routes   []StaticRoute   `json:"routes,omitempty" yaml:"routes,omitempty" doc:"Static routes"`
	// RouteTargets are those of the VRF's routes in BGP EVPN.
	RouteTargets RouteTargets    `json:"routeTargets,omitzero" yaml:"routeTargets,omitempty" doc:"Route targets of BGP EVPN; made from the L3VNI when left out"`
	External     *RouterExternal `json:"external,omitempty" yaml:"external,omitempty" doc:"Way outside; none when left out"`
	Imports      []RouterImport  `json:"imports,omitempty" yaml:"imports,omitempty" doc:"Routes that are taken from other routers"`
}

// RouterNetwork is a network on a router.
type RouterNetwork struct {
	Network  string       `json:"network" yaml:"network" doc:"Network of the same tenant"`
	Gateways []netip.Addr `json:"gateways,omitempty" yaml:"gateways,omitempty,flow" doc:"The router's addresses, one per subnet; the first host address of each subnet when left out"`
}

// StaticRoute is a route of a VRF: to next hops, or a black hole.
type StaticRoute struct {
	Prefix    netip.Prefix `json:"prefix" yaml:"prefix" doc:"Destination" pattern:"^[0-9A-Fa-f:.]+/[0-9]{1,3}$" patternDescription:"a prefix like 192.0.2.0/24"`
	NextHops  []NextHop    `json:"nextHops,omitempty" yaml:"nextHops,omitempty" doc:"Where to send; several share the flows by their weights"`
	Blackhole bool         `json:"blackhole,omitempty" yaml:"blackhole,omitempty" doc:"Drop what goes there"`
}

// NextHop is a station on a network of the router: by its address, or by the
// port that has it, wherever that is.
type NextHop struct {
	Address netip.Addr `json:"address,omitzero" yaml:"address,omitempty" doc:"Address inside a subnet of the router"`
	Port    string     `json:"port,omitempty" yaml:"port,omitempty" doc:"Port of the same tenant on a network of the router, instead of an address"`
	Weight  uint16     `json:"weight,omitempty" yaml:"weight,omitempty" doc:"Share of the flows beside other next hops, 1 to 256; 1 when left out" minimum:"1" maximum:"256"`
}

// Share is the weight with its default.
func (h NextHop) Share() uint16 { return max(1, h.Weight) }

// maxNextHops of a route: more than any ECMP group here may have.
const maxNextHops = 64

// GatewayMAC is the MAC address of every distributed gateway on every edge (RFC
// 9135 section 4.1, "anycast IRB MAC").
var GatewayMAC = MAC{0x02, 0x77, 0x65, 0x66, 0x74, 0x01}

// RouterMAC is the MAC address by which a VTEP of ours takes part in symmetric
// routing (RFC 9135 section 5, Router's MAC extended community): made from its
// address.
func RouterMAC(vtep netip.Addr) MAC {
	b := vtep.AsSlice()
	if len(b) < 4 {
		return MAC{}
	}
	b = b[len(b)-4:]
	return MAC{0x06, 0x77, b[0], b[1], b[2], b[3]}
}

// Ref identifies the router.
func (r *Router) Ref() Ref { return Ref{KindRouter, r.Metadata.Tenant, r.Metadata.Name} }

// Meta returns the metadata.
func (r *Router) Meta() *Metadata { return &r.Metadata }

// NetworkRef is the network of an entry of Networks.
func (r *Router) NetworkRef(n RouterNetwork) Ref {
	return Ref{KindNetwork, r.Metadata.Tenant, n.Network}
}

// PortRef is the port that a next hop names.
func (r *Router) PortRef(h NextHop) Ref { return Ref{KindPort, r.Metadata.Tenant, h.Port} }

// Gateway is the router's address in a subnet of a network, the first host
// address unless one is given.
func (n RouterNetwork) Gateway(subnet netip.Prefix) netip.Addr {
	for _, g := range n.Gateways {
		if subnet.Contains(g) {
			return g
		}
	}
	return subnet.Masked().Addr().Next()
}

// Validate checks the router alone; what needs its networks is checked with
// CheckRouter.
func (r *Router) Validate() error {
	f := NewFaults(r.Ref())
	f.header(r.Header, r.Metadata, KindRouter)
	if r.Spec.VNI > MaxVNI {
		f.Add("spec.vni", "%d is outside 1..%d", r.Spec.VNI, MaxVNI)
	}
	f.routeTargets("spec.routeTargets.import", r.Spec.RouteTargets.Import)
	f.routeTargets("spec.routeTargets.export", r.Spec.RouteTargets.Export)
	for i, n := range r.Spec.Networks {
		field := fmt.Sprintf("spec.networks[%d]", i)
		f.name(field+".network", n.Network)
		for j, o := range r.Spec.Networks[:i] {
			if o.Network == n.Network {
				f.Add(field+".network", "%s is given twice: spec.networks[%d] has it too", n.Network, j)
			}
		}
		for j, g := range n.Gateways {
			if !g.IsValid() || g.Is4In6() || g.Zone() != "" || g.IsMulticast() || g.IsUnspecified() {
				f.Add(fmt.Sprintf("%s.gateways[%d]", field, j), "is not an address that a router may have")
			}
		}
	}
	for i := range r.Spec.Routes {
		f.route(fmt.Sprintf("spec.routes[%d]", i), r.Spec.Routes, i)
	}
	f.external(&r.Spec)
	return f.Err()
}

func (f *Faults) route(field string, all []StaticRoute, i int) {
	rt := all[i]
	f.prefix(field+".prefix", rt.Prefix)
	if j := slices.IndexFunc(all[:i], func(o StaticRoute) bool { return o.Prefix == rt.Prefix }); j >= 0 {
		f.Add(field+".prefix", "%s is given twice: spec.routes[%d] has it too; give one route several nextHops", rt.Prefix, j)
	}
	switch n := len(rt.NextHops); {
	case rt.Blackhole && n > 0:
		f.Add(field+".blackhole", "goes without nextHops: give one of them")
	case !rt.Blackhole && n == 0:
		f.Add(field+".nextHops", "is missing: say where to send, or set blackhole")
	case n > maxNextHops:
		f.Add(field+".nextHops", "has %d: a route may have %d", n, maxNextHops)
	}
	for j, h := range rt.NextHops {
		at := fmt.Sprintf("%s.nextHops[%d]", field, j)
		switch {
		case h.Port != "" && h.Address.IsValid():
			f.Add(at, "has both address and port: give one of them")
		case h.Port != "":
			f.name(at+".port", h.Port)
		case !h.Address.IsValid():
			f.Add(at, "has neither address nor port")
		case h.Address.Is4() != rt.Prefix.Addr().Is4():
			f.Add(at+".address", "%s is of another family than %s", h.Address, rt.Prefix)
		}
		if h.Weight > 256 {
			f.Add(at+".weight", "%d is outside 1..256", h.Weight)
		}
		if slices.ContainsFunc(rt.NextHops[:j], func(o NextHop) bool { return o.Address == h.Address && o.Port == h.Port }) {
			f.Add(at, "is given twice: use weight")
		}
	}
}

// CheckRouter checks a router against the networks that it names, which are by
// name and complete: gateways are host addresses of their subnets, no two
// subnets overlap, and next hops and what is announced outside are inside one.
func CheckRouter(r *Router, networks map[string]*Network) error {
	f := NewFaults(r.Ref())
	type at struct {
		subnet  netip.Prefix
		network string
	}
	var all []at
	gateways := map[netip.Addr]string{}
	for i, rn := range r.Spec.Networks {
		field, n := fmt.Sprintf("spec.networks[%d]", i), networks[rn.Network]
		if n == nil {
			f.Add(field+".network", "names an unknown network %q of tenant %s", rn.Network, r.Metadata.Tenant)
			continue
		}
		for j, g := range rn.Gateways {
			s := n.Subnet(g)
			switch {
			case !s.IsValid():
				f.Add(fmt.Sprintf("%s.gateways[%d]", field, j), "%s is outside the subnets %v of %s", g, n.Spec.Subnets, n.Ref())
			case !HostAddress(s, g):
				f.Add(fmt.Sprintf("%s.gateways[%d]", field, j), "%s is the network or broadcast address of %s", g, s)
			case rn.Gateway(s) != g:
				f.Add(fmt.Sprintf("%s.gateways[%d]", field, j), "%s is a second gateway of %s: give one", g, s)
			}
		}
		for _, s := range n.Spec.Subnets {
			for _, o := range all {
				if s.Overlaps(o.subnet) {
					f.Add(field+".network", "subnet %s of %s overlaps %s of %s: a router can't tell them apart", s, rn.Network, o.subnet, o.network)
				}
			}
			all = append(all, at{s, rn.Network})
			gateways[rn.Gateway(s)] = rn.Network
		}
	}
	if f.Err() != nil {
		return f.Err() // what its routes need may be in what is amiss
	}
	subnets := make([]netip.Prefix, len(all))
	for i, o := range all {
		subnets[i] = o.subnet
	}
	f.advertised(r, subnets)
	for i, rt := range r.Spec.Routes {
		for _, o := range all {
			if o.subnet == rt.Prefix {
				f.Add(fmt.Sprintf("spec.routes[%d].prefix", i), "%s is a subnet of %s: it is routed already", rt.Prefix, o.network)
			}
		}
		for j, h := range rt.NextHops {
			if !h.Address.IsValid() {
				continue
			}
			field := fmt.Sprintf("spec.routes[%d].nextHops[%d].address", i, j)
			k := slices.IndexFunc(all, func(o at) bool { return o.subnet.Contains(h.Address) })
			switch {
			case k < 0:
				f.Add(field, "%s is in no subnet of the router's networks", h.Address)
			case !HostAddress(all[k].subnet, h.Address):
				f.Add(field, "%s is the network or broadcast address of %s", h.Address, all[k].subnet)
			case gateways[h.Address] != "":
				f.Add(field, "%s is the router's own address on %s", h.Address, gateways[h.Address])
			}
		}
	}
	return f.Err()
}
