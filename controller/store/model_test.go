package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/controller/intent"
)

// model is the store as one map: the simplest thing that obeys its rules.
type model map[intent.Ref]intent.Object

// names lists the objects that an object names.
func names(o intent.Object) []intent.Ref {
	owner := ref(intent.KindTenant, "", o.Meta().Tenant)
	switch o := o.(type) {
	case *intent.NetworkACL:
		return []intent.Ref{owner}
	case *intent.Network:
		return append([]intent.Ref{owner}, o.ACLRefs()...)
	case *intent.Port:
		out := append([]intent.Ref{o.NetworkRef()}, o.GroupRefs()...)
		if n := o.Spec.Binding.Node; n != "" {
			out = append(out, ref(intent.KindNode, "", n))
		}
		return out
	case *intent.Link:
		return []intent.Ref{ref(intent.KindNode, "", o.Spec.Endpoints[0].Node), ref(intent.KindNode, "", o.Spec.Endpoints[1].Node)}
	case *intent.SecurityGroup:
		out := []intent.Ref{owner}
		for _, r := range o.Spec.Rules {
			if r.Group != "" && r.Group != o.Metadata.Name {
				out = append(out, o.GroupRef(r))
			}
		}
		return out
	case *intent.Router:
		out := []intent.Ref{owner}
		for _, n := range o.Spec.Networks {
			out = append(out, o.NetworkRef(n))
		}
		for _, rt := range o.Spec.Routes {
			for _, h := range rt.NextHops {
				if h.Port != "" {
					out = append(out, o.PortRef(h))
				}
			}
		}
		if o.Spec.External != nil {
			out = append(out, o.Spec.External.Ref())
		}
		return out
	case *intent.ExternalNetwork:
		var out []intent.Ref
		for _, b := range o.Spec.Borders {
			out = append(out, b.NodeRef())
		}
		return out
	case *intent.FloatingIP:
		return []intent.Ref{owner, o.ExternalRef(), o.PortRef()}
	}
	return nil
}

// values are what an object may not share; what is yet to be chosen is not
// among them.
func (m model) values(o intent.Object) []string {
	var out []string
	vni := func(v intent.VNI) {
		if v != 0 {
			out = append(out, fmt.Sprint("vni ", v))
		}
	}
	switch o := o.(type) {
	case *intent.Network:
		vni(o.Spec.VNI)
	case *intent.Port:
		if !o.Spec.MAC.IsZero() {
			out = append(out, fmt.Sprint(o.NetworkRef(), o.Spec.MAC))
		}
		for _, a := range o.Spec.Addresses {
			out = append(out, fmt.Sprint(o.NetworkRef(), a))
		}
		if b := o.Spec.Binding; !b.IsZero() {
			out = append(out, fmt.Sprint(b))
		}
	case *intent.Node:
		if o.Spec.VTEP.IsValid() {
			out = append(out, o.Spec.VTEP.String())
		}
		for _, src := range sourcesOf(o) {
			for _, a := range src.Addresses {
				out = append(out, fmt.Sprint("outside ", src.External, a))
			}
		}
	case *intent.ExternalNetwork:
		vni(o.Spec.VNI)
		for _, b := range o.Spec.Borders {
			for _, p := range b.Peers {
				out = append(out, fmt.Sprint(intent.Binding{Node: b.Node, Interface: p.Interface}))
			}
		}
	case *intent.FloatingIP:
		out = append(out, fmt.Sprint("fixed ", o.PortRef(), o.Spec.Fixed))
		if o.Spec.Address.IsValid() {
			out = append(out, fmt.Sprint("outside ", o.Spec.External, o.Spec.Address))
		}
	case *intent.Link:
		out = append(out, fmt.Sprint("link ", o.Spec.Endpoints[0]), fmt.Sprint("link ", o.Spec.Endpoints[1]))
	case *intent.SecurityGroup:
		if o.Spec.ID != 0 {
			out = append(out, fmt.Sprint("group ", o.Spec.ID))
		}
	case *intent.Router:
		vni(o.Spec.VNI)
		for _, rn := range o.Spec.Networks {
			out = append(out, fmt.Sprint("router ", o.NetworkRef(rn)))
			for _, s := range m[o.NetworkRef(rn)].(*intent.Network).Spec.Subnets {
				out = append(out, fmt.Sprint(o.NetworkRef(rn), rn.Gateway(s)))
			}
		}
	}
	return out
}

// refuses tells whether a Put must fail: whether what would be then breaks a
// rule.
func (m model) refuses(o intent.Object) bool {
	then := maps.Clone(m)
	then[o.Ref()] = kept(o, m[o.Ref()])
	return !then.holds()
}

// kept is an object with the values that it keeps because they are left out.
func kept(o, old intent.Object) intent.Object {
	switch n := o.(type) {
	case *intent.Network:
		if old, ok := old.(*intent.Network); ok && n.Spec.VNI == 0 {
			c := *n
			c.Spec.VNI = old.Spec.VNI
			return &c
		}
	case *intent.Port:
		if old, ok := old.(*intent.Port); ok && n.Spec.Addresses == nil && old.Spec.Network == n.Spec.Network {
			c := *n
			c.Spec.Addresses = old.Spec.Addresses
			return &c
		}
	case *intent.Router:
		if old, ok := old.(*intent.Router); ok && n.Spec.VNI == 0 {
			c := *n
			c.Spec.VNI = old.Spec.VNI
			return &c
		}
	case *intent.FloatingIP:
		if old, ok := old.(*intent.FloatingIP); ok && !n.Spec.Address.IsValid() && n.Spec.External == old.Spec.External && n.Spec.Fixed.Is4() == old.Spec.Address.Is4() {
			c := *n
			c.Spec.Address = old.Spec.Address
			return &c
		}
	case *intent.Node:
		if old, ok := old.(*intent.Node); ok && len(sourcesOf(n)) == 1 && len(sourcesOf(n)[0].Addresses) == 0 {
			c := *n
			v := *n.Spec.VSwitch
			v.SourceAddresses = slices.Clone(v.SourceAddresses)
			v.SourceAddresses[0].Addresses = addressesOf(sourcesOf(old), v.SourceAddresses[0].External)
			c.Spec.VSwitch = &v
			return &c
		}
	}
	return o
}

func sourcesOf(n *intent.Node) []intent.SourceAddress {
	if n.Spec.VSwitch == nil {
		return nil
	}
	return n.Spec.VSwitch.SourceAddresses
}

// holds tells whether no rule is broken.
func (m model) holds() bool {
	for _, o := range m {
		for _, r := range names(o) {
			if m[r] == nil {
				return false
			}
		}
	}
	taken := map[string]bool{}
	for _, o := range m {
		for _, v := range m.values(o) {
			if taken[v] {
				return false
			}
			taken[v] = true
		}
		switch o := o.(type) {
		case *intent.Port:
			if intent.CheckPort(o, m[o.NetworkRef()].(*intent.Network)) != nil {
				return false
			}
		case *intent.Router:
			if !m.routes(o) || !m.announces(o) || !m.shares(o) {
				return false
			}
		case *intent.ExternalNetwork:
			for _, b := range o.Spec.Borders {
				if m[b.NodeRef()].(*intent.Node).Spec.EVPN == nil {
					return false
				}
			}
		case *intent.FloatingIP:
			if !m.floats(o) {
				return false
			}
		case *intent.Node:
			for _, src := range sourcesOf(o) {
				ext, known := m[intent.ExternalRef(src.External)].(*intent.ExternalNetwork)
				for _, a := range src.Addresses {
					if known && !ext.Pool(a).IsValid() {
						return false
					}
				}
			}
		}
	}
	return true
}

// routerOf is the router of a port's network, if any.
func (m model) routerOf(p *intent.Port) *intent.Router {
	for _, o := range m {
		if r, ok := o.(*intent.Router); ok && r.Metadata.Tenant == p.Metadata.Tenant && joins(r, p.Spec.Network) {
			return r
		}
	}
	return nil
}

// floats tells whether a floating IP fits its port, router and pools.
func (m model) floats(i *intent.FloatingIP) bool {
	p, ext := m[i.PortRef()].(*intent.Port), m[i.ExternalRef()].(*intent.ExternalNetwork)
	r := m.routerOf(p)
	family := slices.ContainsFunc(ext.Spec.Pools, func(p netip.Prefix) bool { return p.Addr().Is4() == i.Spec.Fixed.Is4() })
	return r != nil && r.Spec.External != nil && r.Spec.External.Network == i.Spec.External && slices.Contains(p.Spec.Addresses, i.Spec.Fixed) &&
		(ext.Pool(i.Spec.Address).IsValid() || !i.Spec.Address.IsValid() && family)
}

// announces tells whether what a router announces outside is its own.
func (m model) announces(r *intent.Router) bool {
	if r.Spec.External == nil {
		return true
	}
	for _, p := range r.Spec.External.Advertise {
		if slices.ContainsFunc(m[r.Spec.External.Ref()].(*intent.ExternalNetwork).Spec.Pools, p.Overlaps) {
			return false
		}
		for _, o := range m {
			if x, ok := o.(*intent.Router); ok && x.Ref() != r.Ref() && x.Spec.External.Ref() == r.Spec.External.Ref() && slices.ContainsFunc(x.Spec.External.Advertise, p.Overlaps) {
				return false
			}
		}
	}
	return true
}

// shares tells whether what a router imports fits it.
func (m model) shares(r *intent.Router) bool {
	var own []netip.Prefix
	var all []intent.Exporter
	for _, o := range m {
		x, ok := o.(*intent.Router)
		if !ok {
			continue
		}
		e := intent.Exporter{Router: x}
		for _, rn := range x.Spec.Networks {
			e.Subnets = append(e.Subnets, m[x.NetworkRef(rn)].(*intent.Network).Spec.Subnets...)
		}
		if all = append(all, e); x.Ref() == r.Ref() {
			own = e.Subnets
		}
	}
	return intent.CheckLeaks(r, own, intent.Leaks(r, all)) == nil
}

// routes tells whether a router fits its networks, and its routes' ports it.
func (m model) routes(r *intent.Router) bool {
	networks := map[string]*intent.Network{}
	for _, rn := range r.Spec.Networks {
		networks[rn.Network] = m[r.NetworkRef(rn)].(*intent.Network)
	}
	for _, rt := range r.Spec.Routes {
		for _, h := range rt.NextHops {
			if h.Port != "" && networks[m[r.PortRef(h)].(*intent.Port).Spec.Network] == nil {
				return false
			}
		}
	}
	return intent.CheckRouter(r, networks) == nil
}

// named lists the objects that name one.
func (m model) named(r intent.Ref) []intent.Ref {
	var out []intent.Ref
	for c, o := range m {
		if slices.Contains(names(o), r) {
			out = append(out, c)
		}
		if i, ok := o.(*intent.FloatingIP); ok && r.Kind == intent.KindRouter && m.routerOf(m[i.PortRef()].(*intent.Port)).Ref() == r {
			out = append(out, c)
		}
	}
	return out
}

// cascade adds an object and all that belongs to it to a set.
func (m model) cascade(r intent.Ref, to map[intent.Ref]bool) {
	if to[r] {
		return
	}
	to[r] = true
	for _, c := range m.named(r) {
		belongs := r.Kind == intent.KindTenant || r.Kind == intent.KindNode && c.Kind != intent.KindExternalNetwork ||
			r.Kind == intent.KindNetwork && c.Kind == intent.KindPort || r.Kind == intent.KindSecurityGroup && c.Kind == intent.KindSecurityGroup
		if belongs {
			m.cascade(c, to)
		}
	}
}

func draw(t *rapid.T) intent.Object {
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	tn := pick("tenant", "t", "u")
	switch pick("kind", "tenant", "node", "link", "network", "network", "port", "port", "port", "port", "acl", "group", "group", "router", "router", "router",
		"border", "outside", "outside", "floating", "floating", "hypervisor") {
	case "border":
		o := leaf("E", pick("vtep", "", "10.9.0.1", "10.9.0.3"))
		if rapid.IntRange(0, 3).Draw(t, "evpn") > 0 {
			o.Spec.VTEP = netip.MustParseAddr("10.9.0.3")
			o.Spec.EVPN, o.Spec.ASN, o.Spec.Loopback = &intent.EVPN{}, 65001, o.Spec.VTEP
		}
		return o
	case "outside":
		o := outside(pick("external", "i", "j"), rapid.SampledFrom([][]string{nil, {"203.0.113.0/28"}, {"203.0.113.0/28"}, {"203.0.113.0/29", "10.1.0.0/26"}, {"203.0.113.0/28", "2001:db8::/64"}}).Draw(t, "pools"),
			rapid.SampledFrom([][]string{nil, {"E"}, {"E"}, {"A"}}).Draw(t, "borders")...)
		if len(o.Spec.Borders) > 0 && rapid.Bool().Draw(t, "peers") {
			peering(o, pick("if", "e1", "e2"), "192.0.2.0/31", "192.0.2.1")
		}
		o.Spec.VNI = rapid.SampledFrom([]intent.VNI{0, 0, 5, 6}).Draw(t, "vni")
		return o
	case "floating":
		return floating(tn, pick("floating", "f", "g"), pick("external", "i", "i", "j"), pick("port", "p", "q"),
			pick("address", "", "", "203.0.113.9", "203.0.113.3"), pick("fixed", "10.0.0.5", "10.0.0.5", "10.0.0.100", "10.1.0.5"))
	case "hypervisor":
		return sourced("hv", "10.9.0.4", pick("external", "i", "j"), rapid.SampledFrom([][]string{nil, nil, {"203.0.113.9"}, {"203.0.113.3"}}).Draw(t, "source")...)
	case "tenant":
		o := tenant(tn)
		o.Spec.Description = pick("description", "", "x")
		return o
	case "node":
		return leaf(pick("node", "A", "b"), pick("vtep", "", "10.9.0.1", "10.9.0.2"))
	case "link":
		return cable(pick("link", "l", "m"), "A", pick("if", "e1", "e/2"), "b", pick("if", "e1", "e/2"))
	case "acl":
		return networkACL(tn, pick("acl", "a", "c"))
	case "group":
		o := group(tn, pick("group", "f", "g"), rapid.SampledFrom([][]string{nil, {"f"}, {"g"}, {"f", "g"}, {"h"}}).Draw(t, "from")...)
		o.Spec.ID = rapid.SampledFrom([]uint32{0, 0, 0, 1, 7}).Draw(t, "id")
		return o
	case "router":
		o := vrf(tn, pick("router", "r", "s"), rapid.SampledFrom([][]string{nil, {"n"}, {"o"}, {"n", "o"}, {"o", "n@10.0.0.9"}, {"n@fd00::9"}}).Draw(t, "networks")...)
		switch pick("route", "", "", "port", "address", "hole") {
		case "port":
			via(o, "192.0.2.0/24", pick("hop", "p", "q"), pick("hop2", "r", "10.0.0.3"))
		case "address":
			via(o, "192.0.2.0/24", pick("hop", "10.0.0.3", "10.1.0.3", "10.0.0.77"))
		case "hole":
			via(o, "10.0.0.0/24")
		}
		o.Spec.VNI = rapid.SampledFrom([]intent.VNI{0, 0, 5, 6}).Draw(t, "vni")
		if x := pick("external", "", "i", "i", "j"); x != "" {
			leading(o, x, rapid.SampledFrom([][]string{nil, nil, {"10.0.0.0/28"}, {"10.1.0.0/27"}}).Draw(t, "advertise")...)
		}
		o.Spec.RouteTargets.Export = rapid.SampledFrom([][]string{nil, nil, {"1:5"}, {"1:5", "1:9"}}).Draw(t, "export")
		switch pick("import", "", "", "one", "two", "filter") {
		case "one":
			importing(o, "1:5")
		case "two":
			importing(importing(o, "1:6"), "1:9")
		case "filter":
			importing(o, "1:5", "10.1.0.0/24")
		}
		return o
	case "network":
		name := pick("network", "n", "o")
		subnets := map[string][][]string{"n": {nil, {"10.0.0.0/24"}, {"10.0.0.0/24"}, {"10.0.0.0/28"}, {"10.0.0.0/24", "fd00::/64"}}, "o": {nil, {"10.1.0.0/24"}, {"10.1.0.0/24"}, {"10.0.0.0/24"}, {"10.1.0.0/28"}}}
		o := network(tn, name, rapid.SampledFrom(subnets[name]).Draw(t, "subnets")...)
		o.Spec.VNI = rapid.SampledFrom([]intent.VNI{0, 0, 5, 6}).Draw(t, "vni")
		if acls := rapid.SampledFrom([][]string{nil, nil, {"a"}, {"a", "c"}}).Draw(t, "acls"); len(o.Spec.Subnets) > 0 {
			judgedBy(o, acls...)
		}
		return o
	}
	o := port(tn, pick("network", "n", "o"), pick("port", "p", "q", "r"),
		rapid.SampledFrom([][]string{nil, nil, {"10.0.0.5"}, {"10.0.0.1"}, {"10.1.0.5"}, {"10.0.0.100", "fd00::9"}}).Draw(t, "addresses")...)
	o.Spec.SecurityGroups = rapid.SampledFrom([][]string{nil, nil, nil, {"f"}, {"f", "g"}}).Draw(t, "groups")
	o.Spec.MAC = rapid.SampledFrom([]intent.MAC{{}, {}, {2, 1}, {2, 2}}).Draw(t, "mac")
	switch pick("binding", "", "", "iface", "node") {
	case "iface":
		o.Spec.Binding.IfaceID = pick("iface", "i", "j")
	case "node":
		bound(o, pick("node", "A", "b"), pick("if", "e1", "e/2"))
	}
	return o
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := open(t, 1)[0]
		defer s.Close()
		ctx := context.Background()
		m := model{}
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				o, dry := draw(rt), rapid.IntRange(0, 9).Draw(rt, "dry") == 0
				refuse := m.refuses(o)
				res, err := s.Put(ctx, o, PutOptions{DryRun: dry})
				if refuse != (err != nil) {
					rt.Fatalf("put %s: model refuses: %v; store: %v", o.Ref(), refuse, err)
				}
				if err != nil {
					var fe intent.FieldErrors
					require.True(rt, errors.As(err, &fe) || errors.Is(err, ErrConflict), "%v", err)
					return
				}
				require.Equal(rt, m[o.Ref()] == nil, res.Created)
				require.False(rt, m.refuses(res.Object), "what was chosen fits")
				complete(rt, o, res.Object, m[o.Ref()])
				if !dry {
					m[o.Ref()] = res.Object
					m.settled(rt, s, o)
				}
			},
			"delete": func(rt *rapid.T) {
				r, cascade := draw(rt).Ref(), rapid.Bool().Draw(rt, "cascade")
				going := map[intent.Ref]bool{}
				m.cascade(r, going)
				held := false
				for g := range going {
					for _, c := range m.named(g) {
						held = held || !going[c]
					}
				}
				_, err := s.Delete(ctx, r, DeleteOptions{Cascade: cascade})
				switch {
				case m[r] == nil:
					require.ErrorIs(rt, err, ErrNotFound)
				case len(m.named(r)) > 0 && !cascade, held:
					require.ErrorIs(rt, err, ErrInUse)
				default:
					require.NoError(rt, err)
					for c := range going {
						delete(m, c)
					}
				}
			},
			"all": func(rt *rapid.T) {
				objects := make([]intent.Object, rapid.IntRange(1, 6).Draw(rt, "objects"))
				for i := range objects {
					objects[i] = draw(rt)
				}
				// What is stored is judged by the store's claims, below, and by
				// the rules.
				for _, w := range s.PutAll(ctx, objects, false) {
					if w.Err != nil {
						var fe intent.FieldErrors
						require.True(rt, errors.As(w.Err, &fe) || errors.Is(w.Err, ErrConflict), "%v", w.Err)
						continue
					}
					m[w.Object.Ref()] = w.Object
				}
				for _, o := range objects {
					m.settled(rt, s, o)
				}
				require.True(rt, m.holds(), "after a bulk write")
			},
			"": func(rt *rapid.T) {
				objects := make([]intent.Object, 0, len(m))
				for _, o := range m {
					objects = append(objects, o)
				}
				require.Equal(rt, expected(t, s, objects), dump(t, s))
			},
		})
	})
}

// settled takes from the store what an external network gave a node that waited
// for it, and nothing else.
func (m model) settled(t *rapid.T, s *Store, o intent.Object) {
	old, _ := m[ref(intent.KindNode, "", "hv")].(*intent.Node)
	if old == nil || m[o.Ref()] == nil || o.Ref() != intent.ExternalRef(sourcesOf(old)[0].External) || len(sourcesOf(old)[0].Addresses) > 0 {
		return
	}
	now, err := s.Get(context.Background(), old.Ref())
	require.NoError(t, err)
	given := sourcesOf(now.(*intent.Node))[0].Addresses
	require.Len(t, given, len(families(m[o.Ref()].(*intent.ExternalNetwork))))
	m[old.Ref()] = now
}

// families are the first pools of each family.
func families(n *intent.ExternalNetwork) map[bool]bool {
	out := map[bool]bool{}
	for _, p := range n.Spec.Pools {
		out[p.Addr().Is4()] = true
	}
	return out
}

// complete checks that what was given was stored, and that what was left out
// was kept or chosen.
func complete(t *rapid.T, given, stored, old intent.Object) {
	switch g := given.(type) {
	case *intent.Network:
		st := stored.(*intent.Network)
		require.True(t, st.Spec.VNI == g.Spec.VNI || g.Spec.VNI == 0 && st.Spec.VNI != 0)
		if old != nil && g.Spec.VNI == 0 {
			require.Equal(t, old.(*intent.Network).Spec.VNI, st.Spec.VNI)
		}
	case *intent.Router:
		st := stored.(*intent.Router)
		require.True(t, st.Spec.VNI == g.Spec.VNI || g.Spec.VNI == 0 && st.Spec.VNI != 0)
		if old != nil && g.Spec.VNI == 0 {
			require.Equal(t, old.(*intent.Router).Spec.VNI, st.Spec.VNI)
		}
	case *intent.SecurityGroup:
		st := stored.(*intent.SecurityGroup)
		require.True(t, st.Spec.ID == g.Spec.ID || g.Spec.ID == 0 && st.Spec.ID != 0)
		if old != nil && g.Spec.ID == 0 {
			require.Equal(t, old.(*intent.SecurityGroup).Spec.ID, st.Spec.ID)
		}
	case *intent.Port:
		st := stored.(*intent.Port)
		require.True(t, st.Spec.MAC == g.Spec.MAC || g.Spec.MAC.IsZero() && !st.Spec.MAC.IsZero())
		if g.Spec.Addresses != nil {
			require.Equal(t, g.Spec.Addresses, st.Spec.Addresses)
		} else if o, _ := old.(*intent.Port); o != nil && o.Spec.Network == g.Spec.Network && o.Spec.Addresses != nil {
			require.Equal(t, o.Spec.Addresses, st.Spec.Addresses)
		}
		require.Equal(t, []netip.Addr(g.Spec.Addresses) == nil && len(st.Spec.Addresses) == 0, len(st.Spec.Addresses) == 0)
	}
}
