package vswitch

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// crossing are the tables of a direction over the border of a subnet: which ACL
// judges there, its rules, and where it goes on.
type crossing struct {
	border, rules, next uint8
	direction           intent.Direction
}

var (
	leaving  = crossing{tableSubnetOut, tableACLOut, tableRouter, intent.Egress}
	entering = crossing{tableSubnetIn, tableACLIn, tableTrackIn, intent.Ingress}
)

// Priorities of the border tables.
const (
	localScopePriority = 200 // what stays on the link whatever the subnets
	withinPriority     = 130 // from a subnet to the same subnet
	crossingPriority   = 120
	transitPriority    = 110 // with neither end in a subnet
)

// acls are what an edge needs for network ACLs: those of the networks of its
// ports, and the numbers of their ACLs, which follow from the ports alone. It is
// immutable.
type acls struct {
	of      map[intent.VNI]*overlay.NetworkACLs // by L2VNI
	known   map[string]*overlay.ACL             // by key
	numbers map[string]uint32                   // of the ACLs, from one on
}

// aclsOf makes what an edge's ports need.
func aclsOf(local map[intent.Ref]overlay.LocalPort) *acls {
	b := &acls{of: map[intent.VNI]*overlay.NetworkACLs{}, known: map[string]*overlay.ACL{}}
	for _, l := range local {
		if l.ACLs != nil && !l.Standby {
			b.of[l.VNI] = l.ACLs
		}
	}
	for _, o := range b.of {
		for _, a := range o.All() {
			b.known[a.Key()] = a
		}
	}
	b.numbers = numberKeys(slices.Sorted(maps.Keys(b.known)))
	return b
}

// empty reports whether no network has ACLs. A nil b has none.
func (b *acls) empty() bool { return b == nil || len(b.of) == 0 }

// numberOf is the number of an ACL; zero for none.
func (b *acls) numberOf(a *overlay.ACL) uint32 {
	if b == nil || a == nil {
		return 0
	}
	return b.numbers[a.Key()]
}

// base are the flows that all networks with ACLs share: what stays on the link is
// not judged, and where what was judged goes on.
func (b *acls) base() []openflow.Flow {
	fs := []openflow.Flow{flow(tableRouter, 0, cookieMark, openflow.NewMatch(openflow.Reg(vrfReg, 0)), openflow.NewInstructions(openflow.GotoTable(tableLocal)))}
	for _, d := range []crossing{leaving, entering} {
		on := openflow.NewInstructions(openflow.GotoTable(d.next))
		pass := func(priority uint16, match ...openflow.Field) {
			fs = append(fs, flow(d.border, priority, cookieMark, openflow.NewMatch(match...), on))
		}
		for _, scope := range []netip.Prefix{linkLocal4, multicast4, broadcast4, linkLocal6, multicast6} {
			pass(localScopePriority, ofFamily(scope.Addr()), inPrefix(openflow.FieldIPv4Dst, openflow.FieldIPv6Dst, scope))
		}
		for _, t := range []uint8{icmp6NeighborSolicitation, icmp6NeighborAdvertisement} {
			pass(localScopePriority, ip6(openflow.IPProto(protoICMP6), openflow.ICMPv6Type(t))...)
		}
		pass(0)
	}
	return fs
}

var broadcast4 = netip.MustParsePrefix("255.255.255.255/32")

// inPrefix matches addresses in a prefix that is not of length zero, in the field
// of its IP version.
func inPrefix(v4, v6 openflow.FieldID, p netip.Prefix) openflow.Field {
	id := v6
	if p.Addr().Is4() {
		id = v4
	}
	f, _ := openflow.InPrefix(id, p)
	return f
}

// network are the flows of a network: which packets cross the border of a subnet
// of it, and which ACL judges them.
func (b *acls) network(v intent.VNI) []openflow.Flow {
	if b == nil || b.of[v] == nil {
		return nil
	}
	var fs []openflow.Flow
	o, md := b.of[v], openflow.Metadata(uint64(v))
	for _, d := range []crossing{leaving, entering} {
		judge := func(priority uint16, a *overlay.ACL, match ...openflow.Field) {
			fs = append(fs, flow(d.border, priority, cookie(v), openflow.NewMatch(append(match, md)...),
				openflow.NewInstructions(openflow.Apply(openflow.SetField(openflow.Reg(regPolicy, b.numberOf(a)))), openflow.GotoTable(d.rules))))
		}
		for _, s := range o.Subnets {
			if s.ACL == nil {
				continue
			}
			family := ofFamily(s.Prefix.Addr())
			from, to := inPrefix(openflow.FieldIPv4Src, openflow.FieldIPv6Src, s.Prefix), inPrefix(openflow.FieldIPv4Dst, openflow.FieldIPv6Dst, s.Prefix)
			fs = append(fs, flow(d.border, withinPriority, cookie(v), openflow.NewMatch(md, family, from, to), openflow.NewInstructions(openflow.GotoTable(d.next))))
			inside := from
			if d.direction == intent.Ingress {
				inside = to
			}
			judge(crossingPriority, s.ACL, family, inside)
		}
		if o.Rest != nil {
			judge(transitPriority, o.Rest, openflow.EthType(etherIPv4))
			judge(transitPriority, o.Rest, openflow.EthType(etherIPv6))
		}
	}
	return fs
}

// flows are all flows of ACLs but for those of ports. An edge whose
// networks have no ACLs has none.
func (b *acls) flows() []openflow.Flow {
	if b.empty() {
		return nil
	}
	fs := b.base()
	for _, v := range slices.Sorted(maps.Keys(b.of)) {
		fs = append(fs, b.network(v)...)
	}
	for _, key := range slices.Sorted(maps.Keys(b.known)) {
		fs = append(fs, aclFlows(b.numbers[key], b.known[key])...)
	}
	return fs
}

// change has the device go from one set to another: it costs the
// networks and the ACLs that changed. What left the edge with its VNI is not
// deleted again.
func (b *acls) change(c *changes, next *acls, left func(intent.VNI) bool) {
	var old, now []openflow.Flow
	if b.empty() != next.empty() {
		if next.empty() {
			old = b.base()
		} else {
			now = next.base()
		}
	}
	if b != nil {
		for v, o := range b.of {
			if !left(v) && !b.sameNetwork(next, v, o) {
				old = append(old, b.network(v)...)
			}
		}
		for key, a := range b.known {
			if !b.sameACL(next, a) {
				old = append(old, aclFlows(b.numbers[key], a)...)
			}
		}
	}
	for v, o := range next.of {
		if left(v) || !next.sameNetwork(b, v, o) {
			now = append(now, next.network(v)...)
		}
	}
	for key, a := range next.known {
		if !next.sameACL(b, a) {
			now = append(now, aclFlows(next.numbers[key], a)...)
		}
	}
	c.replace(old, now)
}

// sameACL reports whether an ACL's flows are the same in both.
func (b *acls) sameACL(o *acls, a *overlay.ACL) bool {
	return o != nil && o.known[a.Key()].Equal(a) && o.numberOf(a) == b.numberOf(a)
}

// sameNetwork reports whether a network's flows are the same in both: its ACLs may
// have other rules.
func (b *acls) sameNetwork(o *acls, v intent.VNI, x *overlay.NetworkACLs) bool {
	if o == nil || o.of[v] == nil {
		return false
	}
	y := o.of[v]
	same := func(p, q *overlay.ACL) bool {
		return (p == nil) == (q == nil) && (p == nil || p.Key() == q.Key() && b.numberOf(p) == o.numberOf(q))
	}
	return same(x.Rest, y.Rest) && slices.EqualFunc(x.Subnets, y.Subnets, func(p, q overlay.ACLSubnet) bool { return p.Prefix == q.Prefix && same(p.ACL, q.ACL) })
}

// judged hands to a port without a policy, in the table that others enter theirs
// by, what its network's ACLs let in.
func (p pipeline) judged(l overlay.LocalPort) []openflow.Flow {
	if l.ACLs == nil || l.Policy != nil {
		return nil
	}
	ins := openflow.NewInstructions(openflow.Apply(openflow.Output(l.OFPort)))
	if qosIn(l) {
		ins = openflow.NewInstructions(openflow.GotoTable(tableDeliver))
	}
	return []openflow.Flow{flow(tableTrackIn, policyPriority, macCookie(l.VNI, l.MAC), openflow.NewMatch(openflow.Reg(regPort, l.OFPort)), ins)}
}

// moveACLs notes the flows of ACLs that changed since what the
// device confirmed.
func (s *connection) moveACLs(x *comparison) {
	var c changes
	s.done.acls.change(&c, x.acls, func(intent.VNI) bool { return false })
	for _, m := range c.mods() {
		x.move(m.Flow)
	}
}
