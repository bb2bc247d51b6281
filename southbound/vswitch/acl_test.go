package vswitch

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/openflow"
)

func acl(name string, rules ...intent.ACLRule) *overlay.ACL {
	return &overlay.ACL{Tenant: "t", Name: name, Rules: rules}
}

// aclRuleOf makes a rule; ports, source and destination may be empty.
func aclRuleOf(a intent.ACLAction, d intent.Direction, proto intent.Protocol, ports, source, destination string) intent.ACLRule {
	r := intent.ACLRule{Action: a, Direction: d, Protocol: proto}
	if err := r.Ports.UnmarshalText([]byte(ports)); err != nil {
		panic(err)
	}
	if source != "" {
		r.Source = netip.MustParsePrefix(source)
	}
	if destination != "" {
		r.Destination = netip.MustParsePrefix(destination)
	}
	return r
}

// subnetACLs are those of the network of the tests' ports.
func subnetACLs(rest *overlay.ACL, acls ...*overlay.ACL) *overlay.NetworkACLs {
	b := &overlay.NetworkACLs{Rest: rest}
	for i, p := range []string{"192.168.0.0/24", "192.168.1.0/24", "fd00::/64"} {
		s := overlay.ACLSubnet{Prefix: netip.MustParsePrefix(p), ACL: rest}
		if i < len(acls) && acls[i] != nil {
			s.ACL = acls[i]
		}
		b.Subnets = append(b.Subnets, s)
	}
	return b
}

func judgedBy(l overlay.LocalPort, b *overlay.NetworkACLs) overlay.LocalPort {
	l.ACLs = b
	return l
}

func TestGoldenACLFlows(t *testing.T) {
	typed := aclRuleOf(intent.Deny, intent.Ingress, "icmp", "", "", "")
	zero, code := uint8(0), uint8(1)
	typed.ICMPType = &zero
	echo := aclRuleOf(intent.Allow, intent.Egress, "icmpv6", "", "", "fd00:1::/64")
	echo.ICMPType, echo.ICMPCode = &zero, &code
	both := aclRuleOf(intent.Allow, intent.Egress, "udp", "53", "", "10.0.0.0/8")
	both.SourcePorts = intent.PortRange{First: 1024, Last: 2049}
	edge := acl("edge", aclRuleOf(intent.Deny, intent.Ingress, "tcp", "22", "10.0.0.0/8", ""), aclRuleOf(intent.Allow, intent.Ingress, "tcp", "", "", ""), typed, echo, both,
		aclRuleOf(intent.Deny, intent.Ingress, "", "", "fd00:2::/64", ""), aclRuleOf(intent.Allow, intent.Egress, "", "", "", ""))
	db := acl("db")
	open := judgedBy(local(1, "192.168.0.1", "fd00::1"), subnetACLs(edge, nil, db))
	closed := under(judgedBy(local(2, "192.168.0.2"), subnetACLs(edge, nil, db)), policy("web"))
	b := aclsOf(locals(open, closed))
	number := b.numberOf(edge)
	p := guardedPipe(open, closed)
	p.acls = b
	limit := limited(open, overlay.QoS{In: overlay.Limit{Rate: 1000, Burst: 100}})
	routed := routed(judgedBy(local(3, "192.168.0.3"), subnetACLs(edge)), nil)
	var text strings.Builder
	for _, s := range []struct {
		what  string
		flows []openflow.Flow
	}{
		{"every edge with ACLs", b.base()},
		{"a network: edge for all but 192.168.1.0/24, which has db", b.network(100)},
		{"what no rule matches", aclDenials(number)},
		{"deny ingress tcp 22 from 10.0.0.0/8", aclRule(number, 0, edge.Rules[0])},
		{"allow ingress tcp", aclRule(number, 1, edge.Rules[1])},
		{"deny ingress icmp type 0", aclRule(number, 2, edge.Rules[2])},
		{"allow egress icmpv6 type 0 code 1 to fd00:1::/64", aclRule(number, 3, edge.Rules[3])},
		{"allow egress udp from port 1024-2049 to 10.0.0.0/8 port 53", aclRule(number, 4, edge.Rules[4])},
		{"deny ingress anything from fd00:2::/64", aclRule(number, 5, edge.Rules[5])},
		{"allow egress anything", aclRule(number, 6, edge.Rules[6])},
		{"a port", p.port(open)},
		{"a port with a limit", p.judged(limit)},
		{"a port with a policy", p.port(closed)},
		{"a port of a routed network", p.port(routed)},
		{"a policy's way to the ACLs", egress.base(true)},
		{"replication", p.flood(100, to([]uint32{3, delivery(open), delivery(closed)}, other))},
	} {
		fmt.Fprintf(&text, "# %s: %d flows\n", s.what, len(s.flows))
		for _, f := range s.flows {
			fmt.Fprintln(&text, f)
		}
	}
	const path = "testdata/acl.golden"
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), text.String())
}

// crosser is an IP packet as the border tables see it.
type crosser struct {
	src, dst     netip.Addr
	proto        uint8
	sport, dport uint16
	kind, code   uint8 // of ICMP
	later        bool  // a fragment but the first
}

// fields are the crosser's, by field; Open vSwitch sees ports and types of later
// fragments as zero, and their protocol in IPv6 as 44.
func (k crosser) fields(vni intent.VNI, number uint32) map[openflow.FieldID][]byte {
	two := func(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
	proto := k.proto
	if k.later {
		k.sport, k.dport, k.kind, k.code = 0, 0, 0, 0
		if k.src.Is6() {
			proto = protoFragment
		}
	}
	out := map[openflow.FieldID][]byte{
		openflow.FieldMetadata: binary.BigEndian.AppendUint64(nil, uint64(vni)), openflow.FieldIPProto: {proto},
		0x8001<<7 | 2: binary.BigEndian.AppendUint64(nil, uint64(number)<<32), // registers 4 and 5
	}
	out[openflow.FieldIPFrag] = []byte{0}
	if k.later {
		out[openflow.FieldIPFrag] = []byte{3}
	}
	if k.src.Is4() {
		out[openflow.FieldEthType] = two(etherIPv4)
		out[openflow.FieldIPv4Src], out[openflow.FieldIPv4Dst] = k.src.AsSlice(), k.dst.AsSlice()
	} else {
		out[openflow.FieldEthType] = two(etherIPv6)
		out[openflow.FieldIPv6Src], out[openflow.FieldIPv6Dst] = k.src.AsSlice(), k.dst.AsSlice()
	}
	switch proto {
	case protoTCP:
		out[openflow.FieldTCPSrc], out[openflow.FieldTCPDst] = two(k.sport), two(k.dport)
	case protoUDP:
		out[openflow.FieldUDPSrc], out[openflow.FieldUDPDst] = two(k.sport), two(k.dport)
	case protoICMP:
		out[openflow.FieldICMPType], out[openflow.FieldICMPCode] = []byte{k.kind}, []byte{k.code}
	case protoICMP6:
		out[openflow.FieldICMPv6Type], out[openflow.FieldICMPv6Code] = []byte{k.kind}, []byte{k.code}
	}
	return out
}

// isMatched reads a match as it is on the wire: type, length, value and mask.
func isMatched(m openflow.Match, has map[openflow.FieldID][]byte) bool {
	for b := m.AppendTo(nil); len(b) > 0; {
		h := binary.BigEndian.Uint32(b)
		id, masked, n := openflow.FieldID(h>>9), h>>8&1 == 1, int(h&0xff)
		value := b[4 : 4+n]
		b = b[4+n:]
		var mask []byte
		if masked {
			value, mask = value[:n/2], value[n/2:]
		}
		v, ok := has[id]
		if !ok {
			return false
		}
		for i := range value {
			if got := v[i]; masked && got&mask[i] != value[i] || !masked && got != value[i] {
				return false
			}
		}
	}
	return true
}

// crosses takes a packet through the tables of a direction, and says whether it goes
// on and the flow that decided.
func crosses(t require.TestingT, fs []openflow.Flow, d crossing, vni intent.VNI, k crosser) (passes bool, by openflow.Flow) {
	table, number := d.border, uint32(0)
	for {
		has := k.fields(vni, number)
		best := -1
		for i, f := range fs {
			if f.Table == table && isMatched(f.Match, has) && (best < 0 || f.Priority > fs[best].Priority) {
				best = i
			}
		}
		require.GreaterOrEqual(t, best, 0, "no flow of table %d has %+v", table, k)
		for i, f := range fs {
			if i != best && f.Table == table && f.Priority == fs[best].Priority && isMatched(f.Match, has) {
				require.Equal(t, f.Instructions, fs[best].Instructions, "%+v is at two flows of one priority: %s and %s", k, f, fs[best])
			}
		}
		by = fs[best]
		next, ok := by.Instructions.Goto()
		switch {
		case !ok:
			return false, by
		case next == d.next:
			return true, by
		}
		number = by.Instructions.RegsSet(regPolicy)[0]
		table = next
	}
}

// decides reports whether a rule decides on a crosser.
func decides(r intent.ACLRule, d intent.Direction, k crosser) bool {
	if r.Direction != d || r.Source.IsValid() && !r.Source.Contains(k.src) || r.Destination.IsValid() && !r.Destination.Contains(k.dst) {
		return false
	}
	proto, limited := r.Protocol.Number()
	detailed := !r.Ports.IsZero() || !r.SourcePorts.IsZero() || r.ICMPType != nil
	v4, v6 := r.Families()
	switch {
	case k.src.Is4() && !v4 || k.src.Is6() && !v6:
		return false
	case !limited:
		return true
	case k.later && k.src.Is6():
		return r.Action == intent.Allow
	case k.later:
		return proto == k.proto && (r.Action == intent.Allow || !detailed)
	}
	in := func(p intent.PortRange, v uint16) bool { return p.IsZero() || p.First <= v && v <= p.Last }
	return proto == k.proto && in(r.Ports, k.dport) && in(r.SourcePorts, k.sport) &&
		(r.ICMPType == nil || *r.ICMPType == k.kind) && (r.ICMPCode == nil || *r.ICMPCode == k.code)
}

// judge is what the border says, straight from what it is.
func judge(b *overlay.NetworkACLs, d intent.Direction, k crosser) (passes bool, rule int) {
	for _, p := range []netip.Prefix{linkLocal4, multicast4, linkLocal6, multicast6} {
		if p.Contains(k.dst) {
			return true, -1
		}
	}
	if k.dst == broadcast4.Addr() || k.proto == protoICMP6 && !k.later && (k.kind == icmp6NeighborSolicitation || k.kind == icmp6NeighborAdvertisement) {
		return true, -1
	}
	inside := k.src
	if d == intent.Ingress {
		inside = k.dst
	}
	a := b.Rest
	for _, s := range b.Subnets {
		if s.Prefix.Contains(k.src) && s.Prefix.Contains(k.dst) && s.ACL != nil {
			return true, -1
		}
		if s.Prefix.Contains(inside) {
			a = s.ACL
		}
	}
	if a == nil {
		return true, -1
	}
	for i, r := range a.Rules {
		if decides(r, d, k) {
			return r.Action == intent.Allow, i
		}
	}
	return false, -1
}

// randomACL has rules of all kinds that overlap.
func randomACL(name string) *overlay.ACL {
	a := acl(name)
	prefixes := []string{"", "", "10.0.0.0/8", "10.1.0.0/16", "192.168.0.0/25", "192.168.1.0/24", "fd00::/64", "fd01::/16", "0.0.0.0/0", "::/0"}
	for len(a.Rules) < 8 {
		r := aclRuleOf([]intent.ACLAction{intent.Allow, intent.Deny}[rand.IntN(2)], []intent.Direction{intent.Ingress, intent.Egress}[rand.IntN(2)],
			[]intent.Protocol{"", "tcp", "udp", "icmp", "icmpv6", "47"}[rand.IntN(6)], "", prefixes[rand.IntN(len(prefixes))], prefixes[rand.IntN(len(prefixes))])
		ports := func() intent.PortRange {
			first := uint16(1 + rand.IntN(12))
			return []intent.PortRange{{}, {First: first, Last: first}, {First: first, Last: first + uint16(rand.IntN(9))}}[rand.IntN(3)]
		}
		if r.Protocol.HasPorts() {
			r.Ports, r.SourcePorts = ports(), ports()
		}
		if n, ok := r.Protocol.Number(); ok && (n == protoICMP || n == protoICMP6) && rand.IntN(2) == 0 {
			kind, code := uint8(rand.IntN(2)*8), uint8(rand.IntN(2))
			if r.ICMPType = &kind; rand.IntN(2) == 0 {
				r.ICMPCode = &code
			}
		}
		o := &intent.NetworkACL{Metadata: intent.Metadata{Name: name, Tenant: "t"}, Spec: intent.NetworkACLSpec{Rules: append(a.Rules, r)}}
		if o.Validate() == nil {
			a.Rules = o.Spec.Rules
		}
	}
	return a
}

func randomPacket() crosser {
	four := []string{"192.168.0.1", "192.168.0.200", "192.168.1.1", "192.168.1.9", "10.0.0.1", "10.1.0.1", "172.16.0.1", "224.0.0.5", "255.255.255.255", "169.254.0.67"}
	six := []string{"fd00::1", "fd00::2", "fd01::1", "fd02::1", "2001:db8::1", "ff02::1", "fe80::1"}
	pool := four
	if rand.IntN(2) == 0 {
		pool = six
	}
	k := crosser{src: netip.MustParseAddr(pool[rand.IntN(len(pool))]), dst: netip.MustParseAddr(pool[rand.IntN(len(pool))]),
		proto: []uint8{protoTCP, protoUDP, protoICMP, 47}[rand.IntN(4)], later: rand.IntN(5) == 0}
	if k.proto == protoICMP && k.src.Is6() {
		k.proto = protoICMP6
	}
	switch k.proto {
	case protoTCP, protoUDP:
		k.sport, k.dport = uint16(1+rand.IntN(20)), uint16(1+rand.IntN(20))
	case protoICMP, protoICMP6:
		k.kind, k.code = []uint8{0, 8, 3, icmp6NeighborSolicitation}[rand.IntN(4)], uint8(rand.IntN(2))
	}
	return k
}

// Whatever the rules, their order and the crosser: flows decide as the rules read,
// and the rule that decides counts.
func TestFlowsJudgeAsRulesRead(t *testing.T) {
	passed, denied, decided := 0, 0, 0
	for range 50 {
		rest, one := randomACL("rest"), randomACL("one")
		b := subnetACLs([]*overlay.ACL{nil, rest}[rand.IntN(2)], one, []*overlay.ACL{nil, rest, one}[rand.IntN(3)])
		bs := aclsOf(locals(judgedBy(local(1), b)))
		fs := bs.flows()
		for range 50 {
			k := randomPacket()
			for _, d := range []crossing{leaving, entering} {
				got, by := crosses(t, fs, d, 100, k)
				want, rule := judge(b, d.direction, k)
				require.Equal(t, want, got, "%s of %+v by %s; %s", d.direction, k, by, b.Subnets)
				if rule >= 0 {
					require.EqualValues(t, firstRulePriority-rule, by.Priority)
					decided++
				}
				if got {
					passed++
				} else {
					denied++
				}
				none, _ := crosses(t, fs, d, 101, k)
				require.True(t, none, "a network without ACLs")
			}
		}
	}
	require.Greater(t, passed, 200)
	require.Greater(t, denied, 200)
	require.Greater(t, decided, 200)
}

// The same ACL on many networks is there once, and a rule's edit costs the rule's
// flows, however many networks have it.
func TestAnACLIsOnceOnAnEdge(t *testing.T) {
	before, after := acl("edge", aclRuleOf(intent.Allow, intent.Ingress, "tcp", "80", "", "")), acl("edge", aclRuleOf(intent.Allow, intent.Ingress, "tcp", "81", "", ""))
	edge := func(n int, a *overlay.ACL) *acls {
		all := map[intent.Ref]overlay.LocalPort{}
		for i := range n {
			l := judgedBy(local(byte(i)), subnetACLs(a))
			l.VNI = intent.VNI(1000 + i)
			l.Port.Name = fmt.Sprint(i)
			all[l.Port] = l
		}
		return aclsOf(all)
	}
	one, many := edge(1, before), edge(1000, before)
	perNetwork := len(one.network(1000))
	require.Len(t, many.flows(), len(one.flows())+999*perNetwork)
	require.Equal(t, 2*(3*2+2), perNetwork, "within and across each of three subnets, transit of both IP versions, in two directions")
	stays := func(intent.VNI) bool { return false }
	for _, n := range []int{1, 1000} {
		var c changes
		edge(n, before).change(&c, edge(n, after), stays)
		require.Len(t, c.del, 2, "%d networks", n)
		require.Len(t, c.add, 2, "%d networks: later fragments stay", n)
	}
}

// Whatever ACLs there were, what is sent brings the flows to those that follow from
// the ACLs that are now, and nothing when they are the same.
func TestACLsFromScratch(t *testing.T) {
	pool := []*overlay.ACL{nil, randomACL("a"), randomACL("b"), randomACL("c")}
	var was *acls
	has := flowSet{}
	for step := range 150 {
		ports := map[intent.Ref]overlay.LocalPort{}
		if rand.IntN(4) == 0 {
			pool[1] = randomACL("a")
		}
		for v := range 4 {
			if rand.IntN(3) == 0 {
				continue
			}
			l := local(byte(v))
			l.VNI = intent.VNI(100 + v)
			l.Standby = rand.IntN(6) == 0
			if pick := func() *overlay.ACL { return pool[rand.IntN(len(pool))] }; rand.IntN(4) > 0 {
				l.ACLs = subnetACLs(pick(), pick(), pick())
			}
			ports[l.Port] = l
		}
		now := aclsOf(ports)
		gone := map[intent.VNI]bool{} // as when a network leaves the edge: all with its cookie goes
		if was != nil {
			for v := range was.of {
				gone[v] = now.of[v] == nil || rand.IntN(4) == 0
			}
		}
		for k, f := range has {
			if gone[intent.VNI(f.Cookie&cookieVNI)] {
				delete(has, k)
			}
		}
		var c changes
		was.change(&c, now, func(v intent.VNI) bool { return gone[v] })
		for _, m := range c.del {
			require.Contains(t, has, keyOf(m.Flow), "step %d deletes what is not there: %s", step, m.Flow)
			delete(has, keyOf(m.Flow))
		}
		for _, m := range c.add {
			has.add(m.Flow)
		}
		want := flowSet{}
		want.add(now.flows()...)
		require.Len(t, want, len(now.flows()), "two flows of one key")
		require.Equal(t, want, has, "step %d", step)
		c = changes{}
		now.change(&c, aclsOf(ports), func(intent.VNI) bool { return false })
		require.True(t, c.empty(), "nothing changed")
		was = now
	}
}

// Flows of networks go with the network's cookie; those that all share have no VNI.
func TestCookiesOfACLs(t *testing.T) {
	l := judgedBy(local(1, "192.168.0.1"), subnetACLs(acl("a", aclRuleOf(intent.Allow, intent.Ingress, "tcp", "80", "", ""))))
	b := aclsOf(locals(l))
	for _, f := range b.flows() {
		_, own := f.Match.Get(openflow.FieldMetadata)
		require.Equal(t, own, f.Cookie&cookieVNI == 100, "%s", f)
		require.Equal(t, own, f.Cookie&cookieVNI != 0, "%s", f)
		require.Equal(t, cookieMark, f.Cookie&cookieMarkMask)
		require.True(t, usesTable(f.Table))
	}
	p := pipe
	p.acls = b
	all := flowSet{}
	fs := slices.Concat(p.base(), p.network(100), b.flows(), p.port(l), p.port(local(2, "192.168.0.2")), p.vrf(&vrf.VRF, true))
	all.add(fs...)
	require.Len(t, all, len(fs))
}

func TestCountsOfACLs(t *testing.T) {
	a := acl("a", aclRuleOf(intent.Allow, intent.Ingress, "tcp", "80-81", "", ""), aclRuleOf(intent.Deny, intent.Egress, "", "", "", ""))
	has := map[flowKey]southbound.FlowCount{}
	for i, f := range aclFlows(9, a) {
		has[keyOf(f)] = southbound.FlowCount{Packets: 1 << i, Bytes: 100 << i}
	}
	c := countACL(9, a, has)
	require.EqualValues(t, 1, c.In.Packets)
	require.EqualValues(t, 2, c.Out.Packets)
	require.EqualValues(t, 4+8+16+32, c.Rules[0].Packets, "two IP versions, and later fragments of both")
	require.EqualValues(t, 64+128, c.Rules[1].Packets)
	require.EqualValues(t, 6400+12800, c.Rules[1].Bytes)
}

func TestACLFlowsInWords(t *testing.T) {
	a := acl("edge", aclRuleOf(intent.Deny, intent.Ingress, "tcp", "22", "10.0.0.0/8", ""), aclRuleOf(intent.Allow, intent.Egress, "", "", "", ""), aclRuleOf(intent.Allow, intent.Egress, "udp", "53", "", "10.1.0.0/16"))
	l := judgedBy(local(1, "192.168.0.1"), subnetACLs(a))
	l.Interface = "tap1"
	p := pipe
	p.acls = aclsOf(locals(l))
	w := words{port: l, acls: p.acls}
	var said []string
	for _, f := range append(p.port(l), aclFlows(p.acls.numberOf(a), a)...) {
		require.True(t, w.concerns(f))
		said = append(said, w.say(f))
	}
	text := strings.Join(said, "\n")
	for _, want := range []string{
		"frames to MAC 02:00:00:00:00:01 go to tap1 through the ACLs of its network",
		"what the ACLs of its network let in goes to tap1",
		"IPv4 tcp port 22 from 10.0.0.0/8: rule 0 of ACL edge: deny ingress tcp from 10.0.0.0/8 to port 22",
		"IPv6: rule 1 of ACL edge: allow egress any protocol",
		"later fragments of IPv4 udp to 10.1.0.0/16: rule 2 of ACL edge: allow egress udp to 10.1.0.0/16 port 53",
		"what enters a subnet and no rule of ACL edge matches is dropped",
		"what leaves a subnet and no rule of ACL edge matches is dropped",
	} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, "actions=", "every flow has its sentence")
}
