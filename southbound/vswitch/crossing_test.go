package vswitch

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

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
