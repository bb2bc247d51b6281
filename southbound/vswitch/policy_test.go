package vswitch

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/openflow"
)

func rule(d intent.Direction, proto intent.Protocol, ports, cidr string, peer uint32) overlay.PolicyRule {
	r := overlay.PolicyRule{SecurityRule: intent.SecurityRule{Direction: d, Protocol: proto}, From: "web", Peer: peer}
	if ports != "" {
		if err := r.Ports.UnmarshalText([]byte(ports)); err != nil {
			panic(err)
		}
	}
	if cidr != "" {
		r.CIDR = netip.MustParsePrefix(cidr)
	}
	if peer != 0 {
		r.Group = fmt.Sprintf("g%d", peer)
	}
	return r
}

func policy(name string, rules ...overlay.PolicyRule) *overlay.Policy {
	p := &overlay.Policy{Tenant: "t", Groups: []overlay.PolicyGroup{{Name: name, ID: 7}}, Rules: rules}
	for i := range p.Rules {
		p.Rules[i].Index = i
		p.Limited = p.Limited || p.Rules[i].Direction == intent.Egress
	}
	return p
}

func under(l overlay.LocalPort, p *overlay.Policy) overlay.LocalPort {
	l.Policy, l.Domain = p, l.VNI
	return l
}

func locals(ls ...overlay.LocalPort) map[intent.Ref]overlay.LocalPort {
	out := map[intent.Ref]overlay.LocalPort{}
	for _, l := range ls {
		out[l.Port] = l
	}
	return out
}

// guardedPipe is a pipeline with the guard of the ports.
func guardedPipe(ls ...overlay.LocalPort) pipeline {
	p := pipe
	p.guard = guardOf(locals(ls...))
	return p
}

func TestGoldenPolicyFlows(t *testing.T) {
	echo := uint8(8)
	ping := rule(intent.Ingress, "icmp", "", "", 0)
	ping.ICMPType = &echo
	web := policy("web", rule(intent.Ingress, "tcp", "80", "", 0), rule(intent.Ingress, "udp", "5000-5011", "10.1.0.0/16", 0), rule(intent.Ingress, "tcp", "22", "", 300),
		rule(intent.Ingress, "", "", "", 7), ping)
	db := policy("db", rule(intent.Ingress, "sctp", "", "fd00:1::/32", 0), rule(intent.Egress, "", "", "10.0.0.0/8", 0), rule(intent.Egress, "icmpv6", "", "", 7))
	one, two := under(local(1, "192.168.0.1", "fd00::1"), web), under(local(2), db)
	p := guardedPipe(one, two)
	number := p.guard.numberOf(one)
	var b strings.Builder
	for _, s := range []struct {
		what  string
		flows []openflow.Flow
	}{
		{"every edge with a policy", guardBase(false)},
		{"a port with a policy", p.port(one)},
		{"an L2 port with a policy", p.port(two)},
		{"a policy's denials", p.guard.denials(number, web)},
		{"a policy's denials, egress limited", p.guard.denials(p.guard.numberOf(two), db)},
		{"tcp 80 from anywhere", p.guard.rule(number, web.Rules[0])},
		{"udp 5000-5011 from 10.1.0.0/16", p.guard.rule(number, web.Rules[1])},
		{"tcp 22 from a group", p.guard.rule(number, web.Rules[2])},
		{"anything from a group", p.guard.rule(number, web.Rules[3])},
		{"echo requests", p.guard.rule(number, web.Rules[4])},
		{"sctp from fd00:1::/32", p.guard.rule(number, db.Rules[0])},
		{"anything to 10.0.0.0/8", p.guard.rule(number, db.Rules[1])},
		{"icmpv6 to a group", p.guard.rule(number, db.Rules[2])},
		{"a member of one group", p.guard.memberFlows(station{100, netip.MustParseAddr("192.168.0.9")}, groupBits{}.with(p.guard.slots[300]))},
		{"a member of two groups, named in both directions", p.guard.memberFlows(station{100, netip.MustParseAddr("fd00::9")}, groupBits{}.with(p.guard.slots[300]).with(p.guard.slots[7]))},
		{"replication to a port with a policy and one without", p.flood(100, to([]uint32{3, delivery(one)}, other))},
		{"what a port that came lets in for a minute", greetings([]overlay.LocalPort{one})},
	} {
		fmt.Fprintf(&b, "# %s: %d flows\n", s.what, len(s.flows))
		for _, f := range s.flows {
			fmt.Fprintln(&b, f)
		}
	}
	const path = "testdata/policy.golden"
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String())
}

// Masked ports cover the range, all of it and nothing else.
func TestMaskedPorts(t *testing.T) {
	covers := func(r intent.PortRange) {
		var n uint32
		ms := maskedPorts(r)
		require.LessOrEqual(t, len(ms), 30)
		for _, m := range ms {
			require.Equal(t, m.value, m.value&m.mask)
			require.GreaterOrEqual(t, m.value, r.First)
			require.LessOrEqual(t, m.value|^m.mask, r.Last)
			n += uint32(^m.mask) + 1
		}
		require.Equal(t, uint32(r.Last)-uint32(r.First)+1, n, "%v: %v", r, ms)
	}
	for _, r := range []intent.PortRange{{First: 1, Last: 65535}, {First: 80, Last: 80}, {First: 8000, Last: 8080}, {First: 1, Last: 65534}, {First: 32768, Last: 65535}, {First: 65535, Last: 65535}} {
		covers(r)
	}
	for range 2000 {
		a, b := uint16(1+rand.IntN(65535)), uint16(1+rand.IntN(65535))
		covers(intent.PortRange{First: min(a, b), Last: max(a, b)})
	}
}

// What numbers and bits are depends on the ports that are there, not on what was.
func TestNumbersAndBitsDoNotDependOnHistory(t *testing.T) {
	a := under(local(1), policy("a", rule(intent.Ingress, "", "", "", 5), rule(intent.Ingress, "", "", "", 5+128)))
	b := under(local(2), policy("b", rule(intent.Egress, "", "", "", 6)))
	g := guardOf(locals(a, b))
	require.Equal(t, map[uint32]uint8{5: 5, 6: 6, 133: 7}, g.slots, "133 gives way to those before it")
	require.Equal(t, groupBits{1<<5 | 1<<7}, g.in)
	require.Equal(t, groupBits{1 << 6}, g.out)
	require.Equal(t, g, guardOf(locals(b, a)))
	require.NotEqual(t, g.numberOf(a), g.numberOf(b))
	require.Zero(t, g.numberOf(local(3)))
}

// Of more groups than there are bits the last have none, and what they allow is
// denied and told.
func TestTooManyGroups(t *testing.T) {
	p := policy("many")
	for id := uint32(1); id <= maxNamed+2; id++ {
		p.Rules = append(p.Rules, rule(intent.Ingress, "tcp", "80", "", id))
	}
	l := under(local(1, "192.168.0.1"), p)
	few := under(local(2, "192.168.0.2"), policy("few", rule(intent.Ingress, "tcp", "80", "", 1)))
	g := guardOf(locals(l, few))
	require.Len(t, g.slots, maxNamed)
	require.Equal(t, []uint32{129, 130}, g.lacks(p))
	short := g.short(locals(l, few))
	require.Len(t, short, 1)
	require.Contains(t, short[l.Port], "name more than 128 groups; those that name group g129, g130 allow nothing")
	require.Empty(t, g.rule(1, p.Rules[128]))
	require.NotEmpty(t, g.rule(1, p.Rules[127]))
}

// TestAMemberIsOneFlow: one more member costs one flow-mod, whatever the rules that
// name its group and the members that it has.
func TestAMemberIsOneFlow(t *testing.T) {
	for _, c := range []struct{ rules, members int }{{1, 1}, {20, 1}, {20, 5000}} {
		p := policy("web")
		for i := range c.rules {
			p.Rules = append(p.Rules, rule(intent.Ingress, "tcp", fmt.Sprint(80+i), "", 7))
		}
		g := guardOf(locals(under(local(1), p), under(local(2), p), under(local(3), p)))
		var ms members
		for i := range c.members {
			ms.set(station{100, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}, groupBits{}.with(g.slots[7]), map[station]groupBits{})
		}
		before := map[station]groupBits{}
		m := station{100, netip.MustParseAddr("10.9.9.9")}
		ms.set(m, groupBits{}.with(g.slots[7]), before)
		var ch changes
		for m, bits := range before {
			ch.replace(g.memberFlows(m, bits), g.memberFlows(m, ms.bits[m]))
		}
		require.Len(t, ch.mods(), 1, "%d rules, %d members", c.rules, c.members)
		require.Len(t, g.policyFlows(p.Key()), 2+2*c.rules+2, "denials, a flow per rule and IP version, and what lets later fragments pass")
	}
}

// An unrelated rule's flows stay when another rule comes or goes.
func TestARuleChangesItsOwnFlowsOnly(t *testing.T) {
	a := under(local(1), policy("web", rule(intent.Ingress, "tcp", "80", "", 0)))
	b := under(local(1), policy("web", rule(intent.Ingress, "tcp", "80", "", 0), rule(intent.Ingress, "udp", "53", "", 0)))
	was, now := guardOf(locals(a)), guardOf(locals(b))
	var c changes
	was.change(&c, now)
	require.Empty(t, c.del)
	require.Len(t, c.add, 3, "two IP versions, and later fragments of IPv4; those of IPv6 pass already")
	c = changes{}
	now.change(&c, was)
	require.Empty(t, c.add)
	require.Len(t, c.del, 3)
	c = changes{}
	now.change(&c, guardOf(locals(b)))
	require.True(t, c.empty())
	c = changes{}
	now.change(&c, guardOf(nil))
	require.Len(t, c.del, len(now.flows()), "without a policy nothing of it is left")
}

// describes is a switch that has flows.
func describes(t *testing.T, set flowSet) *openflow.Described {
	var all []byte
	for _, f := range set.sorted() {
		all = appendDescription(all, f, f.Match.AppendTo(nil))
	}
	d, err := openflow.ReadDescribed(all)
	require.NoError(t, err)
	return d
}

// What the device has of a member is kept while an edge has not reported, but only
// bits that mean there what they mean now.
func TestKeptBitsAreThoseThatRulesShow(t *testing.T) {
	p := policy("web", rule(intent.Ingress, "tcp", "80", "", 7), rule(intent.Ingress, "tcp", "81", "", 8))
	l := under(local(1), p)
	g := guardOf(locals(l))
	has := flowSet{}
	has.add(g.flows()...)
	require.Equal(t, g.in, trustedBits(describes(t, has), g.flows()))
	// On the device bit 8 is matched by a rule that is none of ours now.
	has.add(g.rule(99, overlay.PolicyRule{SecurityRule: rule(intent.Ingress, "udp", "", "", 8).SecurityRule, Peer: 8})...)
	require.Equal(t, groupBits{}.with(g.slots[7]), trustedBits(describes(t, has), g.flows()))

	s, x := &connection{}, &comparison{}
	x.guard = g
	m := station{100, netip.MustParseAddr("10.0.0.9")}
	has.add(g.memberFlows(m, g.in)...)
	x.keepMembers(describes(t, has), overlay.Away{}, g.flows())
	require.Empty(t, x.members.kept, "all edges have reported")
	x.keepMembers(describes(t, has), overlay.AwayVTEPs(other), g.flows())
	require.Len(t, x.members.kept, 1)
	require.Equal(t, groupBits{}.with(g.slots[7]), x.members.bits[m])
	s.done = x.programmed
	var c changes
	s.dropKeptMembers(&c)
	require.Len(t, c.del, 1)
	require.Empty(t, s.done.members.bits)
}

func TestMembersAreReadAsTheyAreWritten(t *testing.T) {
	p := policy("web", rule(intent.Ingress, "", "", "", 7), rule(intent.Egress, "", "", "", 100), rule(intent.Egress, "", "", "", 7))
	g := guardOf(locals(under(local(1), p)))
	for _, ip := range []string{"10.0.0.9", "fd00::9"} {
		want := station{1<<24 - 1, netip.MustParseAddr(ip)}
		for _, f := range g.memberFlows(want, g.out) {
			got, bits, ok := readMember(f)
			require.True(t, ok)
			require.Equal(t, want, got)
			mask := g.out
			if f.Table == tablePeersIn {
				mask = g.in
			}
			require.Equal(t, g.out.and(mask), bits)
		}
	}
}

func TestWhoseConnectionsAreForgotten(t *testing.T) {
	p := policy("web")
	open, closed := local(1), under(local(1), p)
	moved := closed
	moved.OFPort = 9
	for _, c := range []struct {
		before, now map[intent.Ref]overlay.LocalPort
		fresh       int
	}{
		{nil, locals(closed), 1}, {locals(open), locals(closed), 1}, {locals(standby(closed)), locals(closed), 1}, {locals(closed), locals(moved), 1},
		{locals(closed), locals(closed), 0}, {locals(closed), locals(open), 0}, {nil, locals(standby(closed)), 0}, {nil, locals(open), 0},
	} {
		require.Len(t, arrivals(c.before, c.now), c.fresh)
	}
	has := flowSet{}
	has.add(guardedPipe(closed).port(closed)...)
	require.Empty(t, strangers(locals(closed), describes(t, has)), "a controller that starts forgets nothing")
	require.Len(t, strangers(locals(closed), describes(t, flowSet{})), 1)
}

// No two flows of an edge with policies have one key, and none that belongs to all
// policies has a VNI in its cookie, by which a network's flows are deleted.
func TestPolicyFlowsAreApart(t *testing.T) {
	one := under(local(1, "192.168.0.1", "fd00::1"), policy("web", rule(intent.Ingress, "tcp", "80", "", 7), rule(intent.Egress, "udp", "53", "10.0.0.0/8", 0)))
	two := under(local(2), policy("db", rule(intent.Ingress, "tcp", "80", "", 7)))
	p := guardedPipe(one, two)
	all, n := flowSet{}, 0
	add := func(fs ...openflow.Flow) { all.add(fs...); n += len(fs) }
	shared := append(p.guard.flows(), p.guard.memberFlows(station{100, netip.MustParseAddr("10.0.0.1")}, p.guard.in)...)
	add(shared...)
	add(p.base()...)
	add(p.network(100)...)
	for _, l := range []overlay.LocalPort{one, two, local(3, "192.168.0.3")} {
		add(p.port(l)...)
	}
	require.Len(t, all, n)
	for _, f := range shared {
		require.Zero(t, f.Cookie&(1<<24-1), "%s", f)
		require.Equal(t, cookieMark, f.Cookie&cookieMarkMask)
		require.True(t, usesTable(f.Table))
	}
}

// What is counted for a rule is what its flows count, each flow for the first rule
// that has it, and later fragments only where it is clear whose they are.
func TestCountsOfRules(t *testing.T) {
	p := policy("web", rule(intent.Ingress, "tcp", "80-81", "", 0), rule(intent.Ingress, "udp", "53", "", 0), rule(intent.Ingress, "tcp", "80-81", "", 0))
	g := guardOf(locals(under(local(1), p)))
	number := g.numbers[p.Key()]
	has := map[flowKey]southbound.FlowCount{}
	for i, f := range g.policyFlows(p.Key()) {
		has[keyOf(f)] = southbound.FlowCount{Packets: 1 << i, Bytes: 100 << i}
	}
	c := g.count(number, p, has)
	require.Equal(t, southbound.FlowCount{Packets: 1, Bytes: 100}, c.In)
	require.Equal(t, southbound.FlowCount{Packets: 2, Bytes: 200}, c.Out)
	require.EqualValues(t, 4+16, c.Rules[0].Packets, "two IP versions; its later fragments may be the last rule's")
	require.EqualValues(t, 64+128+256, c.Rules[1].Packets, "with later fragments of IPv4, which are UDP; of IPv6 they may be another rule's")
	require.Zero(t, c.Rules[2], "the same rule again")
}

func TestFlowsInWords(t *testing.T) {
	r := rule(intent.Ingress, "tcp", "8000-8007", "", 7)
	p := policy("web", r, rule(intent.Ingress, "udp", "", "10.1.0.0/16", 0))
	l := under(local(1, "192.168.0.1"), p)
	l.Interface = "tap1"
	pipe := guardedPipe(l)
	w := words{port: l, guard: pipe.guard}
	var said []string
	for _, f := range append(pipe.port(l), pipe.guard.policyFlows(p.Key())...) {
		require.True(t, w.concerns(f))
		said = append(said, w.say(f))
	}
	text := strings.Join(said, "\n")
	for _, want := range []string{
		"what comes in by tap1 is in VNI 100",
		"frames to MAC 02:00:00:00:00:01 go to tap1 through its policy",
		"may send IPv4 from 192.168.0.1, if its policy lets it",
		"may send ARP as 192.168.0.1",
		"the session of IPv4 that it sends is looked up in its zone",
		"its own broadcasts do not come back to it",
		"IPv4 tcp port 8000-8007 with a member of group g7 may pass by rule 0 of group web: ingress tcp 8000-8007 from group g7",
		"IPv4 udp from 10.1.0.0/16 may pass by rule 1 of group web: ingress udp from 10.1.0.0/16",
		"later fragments of IPv6 with a member of group g7 may pass by rule 0",
		"what no rule allows in is dropped",
		"everything may go out: no group of it has an egress rule",
	} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, "actions=", "every flow has its sentence")
	other := local(2, "192.168.0.1")
	for _, f := range pipe.admit(other) {
		require.False(t, w.concerns(f), "the cookie has only the end of the MAC")
	}
}

// The bits of the verdict are matched together: none is used twice.
func TestVerdictBitsAreApart(t *testing.T) {
	all := uint32(0)
	for _, b := range []uint32{mayPass, byRule, routable, bordered, foreign} {
		require.Zero(t, all&b)
		all |= b
	}
}
