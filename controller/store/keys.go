package store

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
)

// keyspace is the prefix of all keys, and makes them.
type keyspace string

func (k keyspace) join(parts ...string) string {
	var b strings.Builder
	b.WriteString(string(k))
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(p))
	}
	return b.String()
}

func (k keyspace) dir(parts ...string) string { return k.join(parts...) + "/" }

func (k keyspace) objects() string { return k.dir("v1") }

// kind is the prefix of a kind's objects, of one tenant unless that is empty.
func (k keyspace) kind(kind intent.Kind, tenant string) string {
	if kind.Tenanted() && tenant != "" {
		return k.dir("v1", kind.Plural(), tenant)
	}
	return k.dir("v1", kind.Plural())
}

// kindPrefixes are the prefixes of all kinds, in the order of the keys.
func (k keyspace) kindPrefixes() []string {
	var out []string
	for _, kind := range intent.Kinds() {
		out = append(out, k.kind(kind, ""))
	}
	slices.Sort(out)
	return out
}

func (k keyspace) object(r intent.Ref) string {
	if r.Kind.Tenanted() {
		return k.join("v1", r.Kind.Plural(), r.Tenant, r.Name)
	}
	return k.join("v1", r.Kind.Plural(), r.Name)
}

// ref reads back what object made.
func (k keyspace) ref(key string) (intent.Ref, error) {
	rest, ok := strings.CutPrefix(key, k.objects())
	parts := strings.Split(rest, "/")
	for i, p := range parts {
		u, err := url.PathUnescape(p)
		if err != nil {
			ok = false
		}
		parts[i] = u
	}
	for _, kind := range intent.Kinds() {
		if !ok || parts[0] != kind.Plural() {
			continue
		}
		if kind.Tenanted() && len(parts) == 3 {
			return intent.Ref{Kind: kind, Tenant: parts[1], Name: parts[2]}, nil
		}
		if !kind.Tenanted() && len(parts) == 2 {
			return intent.Ref{Kind: kind, Name: parts[1]}, nil
		}
	}
	return intent.Ref{}, fmt.Errorf("key %q is not an object's", key)
}

func (k keyspace) vnis() string { return k.dir("claim", "vni") }
func (k keyspace) vni(v intent.VNI) string {
	return k.join("claim", "vni", strconv.FormatUint(uint64(v), 10))
}
func (k keyspace) addrs(n intent.Ref) string {
	return k.dir("claim", "addr", n.Tenant, n.Name)
}
func (k keyspace) addr(n intent.Ref, a netip.Addr) string {
	return k.join("claim", "addr", n.Tenant, n.Name, a.String())
}

// macs is the prefix of the claims of a network's MAC addresses. Each port has
// exactly one, so it also lists the ports.
func (k keyspace) macs(n intent.Ref) string {
	return k.dir("claim", "mac", n.Tenant, n.Name)
}
func (k keyspace) mac(n intent.Ref, m intent.MAC) string {
	return k.join("claim", "mac", n.Tenant, n.Name, m.String())
}

// groups is the prefix of the claims of groups' numbers.
func (k keyspace) groups() string { return k.dir("claim", "group") }

// members is the prefix of the keys of ports that are in a group, rules that of
// the groups whose rules name it.
func (k keyspace) members(g intent.Ref) string { return k.dir("claim", "member", g.Tenant, g.Name) }
func (k keyspace) rules(g intent.Ref) string   { return k.dir("claim", "rule", g.Tenant, g.Name) }

// judged is the prefix of the keys of networks that name an ACL.
func (k keyspace) judged(a intent.Ref) string { return k.dir("claim", "acl", a.Tenant, a.Name) }

// onRouter is the claim of the router that a network is on. The slash at its
// end makes it the only key that begins so.
func (k keyspace) onRouter(n intent.Ref) string { return k.dir("claim", "router", n.Tenant, n.Name) }

// hops is the prefix of the keys of routers whose routes name a port, of a
// whole tenant; hopsOf of one port.
func (k keyspace) hops(tenant string) string  { return k.dir("claim", "hop", tenant) }
func (k keyspace) hopsOf(p intent.Ref) string { return k.dir("claim", "hop", p.Tenant, p.Name) }

// stretches is the prefix of the keys of interconnects that stretch a network.
func (k keyspace) stretches(n intent.Ref) string {
	return k.dir("claim", "stretch", n.Tenant, n.Name)
}
func (k keyspace) links(node string) string { return k.dir("claim", "link", node) }
func (k keyspace) binds(node string) string { return k.dir("claim", "bind", node) }

// outside is the prefix of the claims of an external network's addresses, users
// that of the routers and floating IPs that name it, sources that of nodes with
// source addresses of it, which may come before it.
func (k keyspace) outside(external string) string { return k.dir("claim", "outside", external) }
func (k keyspace) users(external string) string   { return k.dir("claim", "external", external) }
func (k keyspace) sources(external string) string { return k.dir("claim", "source", external) }

// borderOf is the prefix of the keys of external networks of which a node is a
// border.
func (k keyspace) borderOf(node string) string { return k.dir("claim", "border", node) }

// linesOf is the prefix of the keys of interconnects that have a line at a node.
func (k keyspace) linesOf(node string) string { return k.dir("claim", "line", node) }

// floats is the prefix of the claims of fixed addresses by floating IPs, of a
// whole tenant; floatsOf of one port.
func (k keyspace) floats(tenant string) string  { return k.dir("claim", "floating", tenant) }
func (k keyspace) floatsOf(p intent.Ref) string { return k.dir("claim", "floating", p.Tenant, p.Name) }

// advertised is the prefix of the keys of prefixes that routers announce to an
// external network.
func (k keyspace) advertised(external string) string { return k.dir("claim", "advertise", external) }

// advertisedPrefix reads the prefix in such a key.
func (k keyspace) advertisedPrefix(external, key string) netip.Prefix {
	part, _, _ := strings.Cut(strings.TrimPrefix(key, k.advertised(external)), "/")
	p, _ := netip.ParsePrefix(lastPart("/" + part))
	return p
}

// exports is the prefix of the keys of routers that export a route target by
// name, imports that of those that import it. importsOf is that of all targets
// which may be made from a VNI.
func (k keyspace) exports(t intent.RouteTarget) string { return k.dir("claim", "export", t.String()) }
func (k keyspace) imports(t intent.RouteTarget) string {
	v, _ := t.VNI()
	return k.importsOf(v) + url.PathEscape(t.String()) + "/"
}
func (k keyspace) importsOf(v intent.VNI) string {
	return k.dir("claim", "import", strconv.FormatUint(uint64(v), 10))
}

// owner is the end of a key of which many objects of all tenants have one.
func (k keyspace) owner(r intent.Ref) string {
	return url.PathEscape(r.Tenant) + "/" + url.PathEscape(r.Name)
}

// claim is a key that one object at most may own. One without a field has its
// owner's name in it: nobody else can have it, it only tells what the owner
// names.
type claim struct {
	key   string
	field string // that claims it
	value string // for people
	owner intent.Ref
}

// claims are all claims of a complete object that follow from it alone; see
// gateways for those of a router in its networks.
func (k keyspace) claims(o intent.Object) []claim {
	var cs []claim
	owner := o.Ref()
	add := func(field, value string, parts ...string) {
		cs = append(cs, claim{k.join(append([]string{"claim"}, parts...)...), field, value, owner})
	}
	switch o := o.(type) {
	case *intent.Network:
		v := strconv.FormatUint(uint64(o.Spec.VNI), 10)
		add("spec.vni", v, "vni", v)
		for _, a := range o.ACLRefs() {
			add("", "", "acl", a.Tenant, a.Name, o.Metadata.Name)
		}
	case *intent.Port:
		t, n := o.Metadata.Tenant, o.Spec.Network
		cs = append(cs, claim{k.mac(o.NetworkRef(), o.Spec.MAC), "spec.mac", o.Spec.MAC.String(), owner})
		for i, a := range o.Spec.Addresses {
			add(fmt.Sprintf("spec.addresses[%d]", i), a.String(), "addr", t, n, a.String())
		}
		switch b := o.Spec.Binding; {
		case b.IfaceID != "":
			add("spec.binding.ifaceID", b.IfaceID, "iface", b.IfaceID)
		case b.Node != "":
			// A tagged port shares its interface with ports of other tags.
			what, claim := b.Node+":"+b.Interface, b.Interface
			if b.VLAN != 0 {
				what, claim = fmt.Sprintf("%s VLAN %d", what, b.VLAN), fmt.Sprintf("%s@%d", claim, b.VLAN)
			}
			add("spec.binding.interface", what, "bind", b.Node, claim)
		}
		if q := o.Spec.Requested; q.Interface != "" {
			add("spec.requested.interface", q.String(), "bind", q.Node, q.Interface)
		}
		for _, g := range o.Spec.SecurityGroups {
			add("", "", "member", t, g, o.Metadata.Name)
		}
	case *intent.SecurityGroup:
		id := strconv.FormatUint(uint64(o.Spec.ID), 10)
		add("spec.id", id, "group", id)
		for _, g := range namedGroups(o) {
			add("", "", "rule", g.Tenant, g.Name, o.Metadata.Name)
		}
	case *intent.Router:
		v := strconv.FormatUint(uint64(o.Spec.VNI), 10)
		add("spec.vni", v, "vni", v)
		for i, n := range o.Spec.Networks {
			ref := o.NetworkRef(n)
			cs = append(cs, claim{k.onRouter(ref), fmt.Sprintf("spec.networks[%d].network", i), ref.String(), owner})
		}
		for _, p := range hopPorts(o) {
			add("", "", "hop", p.Tenant, p.Name, o.Metadata.Name)
		}
		if x := o.Spec.External; x != nil {
			add("", "", "external", x.Network, o.Ref().Kind.Plural(), owner.Tenant, owner.Name)
			for _, p := range x.Advertise {
				add("", "", "advertise", x.Network, p.String(), owner.Tenant, owner.Name)
			}
		}
		for _, c := range k.sharers(o) {
			if c.key != k.vni(o.Spec.VNI) {
				cs = append(cs, c)
			}
		}
	case *intent.ExternalNetwork:
		v := strconv.FormatUint(uint64(o.Spec.VNI), 10)
		add("spec.vni", v, "vni", v)
		for i, b := range o.Spec.Borders {
			add("", "", "border", b.Node, o.Metadata.Name)
			for j, p := range b.Peers {
				if !slices.ContainsFunc(b.Peers[:j], func(q intent.BorderPeer) bool { return q.Interface == p.Interface }) {
					add(fmt.Sprintf("spec.borders[%d].peers[%d].interface", i, j), b.Node+":"+p.Interface, "bind", b.Node, p.Interface)
				}
			}
		}
	case *intent.FloatingIP:
		add("spec.address", o.Spec.Address.String(), "outside", o.Spec.External, o.Spec.Address.String())
		add("spec.fixed", fmt.Sprintf("%s of %s", o.Spec.Fixed, o.PortRef()), "floating", owner.Tenant, o.Spec.Port, o.Spec.Fixed.String())
		add("", "", "external", o.Spec.External, o.Ref().Kind.Plural(), owner.Tenant, owner.Name)
	case *intent.Interconnect:
		for _, n := range o.Spec.Networks {
			add("", "", "stretch", n.Tenant, n.Network, o.Metadata.Name)
		}
		for i, p := range o.Spec.Peers {
			add(fmt.Sprintf("spec.peers[%d].address", i), p.Address.String(), "fabricpeer", p.Address.String())
		}
		for i, l := range o.Spec.Lines {
			add(fmt.Sprintf("spec.lines[%d].interface", i), l.Node+":"+l.Interface, "link", l.Node, l.Interface)
			if !slices.ContainsFunc(o.Spec.Lines[:i], func(before intent.Line) bool { return before.Node == l.Node }) {
				add("", "", "line", l.Node, o.Metadata.Name)
			}
		}
	case *intent.Node:
		if a := o.Spec.VTEP; a.IsValid() {
			add("spec.vtep", a.String(), "vtep", a.Unmap().String())
		}
		for i, a := range o.Spec.Colours {
			add(fmt.Sprintf("spec.colours[%d]", i), a.String(), "vtep", a.String())
		}
		if o.Spec.Serial != "" {
			add("spec.serial", o.Spec.Serial, "serial", o.Spec.Serial)
		}
		if m := o.Spec.MAC; !m.IsZero() {
			add("spec.mac", m.String(), "boxmac", m.String())
		}
		if o.Spec.VSwitch == nil {
			break
		}
		for i, s := range o.Spec.VSwitch.SourceAddresses {
			add("", "", "source", s.External, o.Metadata.Name)
			for j, a := range s.Addresses {
				add(fmt.Sprintf("%s.addresses[%d]", sourceField(i), j), a.String(), "outside", s.External, a.String())
			}
		}
	case *intent.Link:
		for i, e := range o.Spec.Endpoints {
			add(fmt.Sprintf("spec.endpoints[%d].interface", i), e.Node+":"+e.Interface, "link", e.Node, e.Interface)
		}
	}
	return cs
}

// credential is the key of what a node's agent shows to be the node's, and token
// that of a join token. They are no objects: nobody watches or lists them as such.
func (k keyspace) credentials() string           { return k.dir("access", "agent") }
func (k keyspace) credential(node string) string { return k.join("access", "agent", node) }

// givenColours has the colours that the controller gave tenants by itself.
func (k keyspace) givenColours() string { return k.join("steering", "given-colours") }

func (k keyspace) tokens() string         { return k.dir("access", "token") }
func (k keyspace) token(id string) string { return k.join("access", "token", id) }

// lastPart is the address at the end of a claim's key.
func lastPart(key string) string {
	p, err := url.PathUnescape(key[strings.LastIndexByte(key, '/')+1:])
	if err != nil {
		return ""
	}
	return p
}

func addrOf(key string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(lastPart(key))
	return a, err == nil
}
