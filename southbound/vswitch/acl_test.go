package vswitch

import (
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
