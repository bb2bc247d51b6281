//go:build lab

package vswitch

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
)

func securityGroup(name string, id uint32, rules ...intent.SecurityRule) *intent.SecurityGroup {
	return &intent.SecurityGroup{Metadata: intent.Metadata{Name: name, Tenant: "t"}, Spec: intent.SecurityGroupSpec{ID: id, Rules: rules}}
}

func in(p *intent.Port, groups ...string) *intent.Port {
	p.Spec.SecurityGroups = groups
	return p
}

// greeted leaves out the flows that end by themselves.
func greeted(flows []string) (ours, ending []string) {
	for _, f := range flows {
		if strings.Contains(f, "cookie=0x7ef8") {
			ending = append(ending, f)
		} else {
			ours = append(ours, f)
		}
	}
	return ours, ending
}

// secure has ports a and b of hv1 in group web, which takes TCP 80 from group app,
// and c of hv2 in app.
func secure(m *overlay.Model) {
	m.Put(securityGroup("web", 7, intent.SecurityRule{Direction: intent.Ingress, Protocol: "tcp", Ports: intent.PortRange{First: 80, Last: 80}, Group: "app"}))
	m.Put(securityGroup("app", 8))
	m.Put(in(port("a", "web", 1), "web"))
	m.Put(in(port("b", "web", 2), "web"))
	m.Put(in(port("c", "web", 3), "app"))
}

func TestPoliciesFollowTheFeed(t *testing.T) {
	b := newBed(t)
	b.hv2("c", "d")
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.plug("b")
	b.oracle()
	plain := len(b.flows())
	b.change(secure)
	b.oracle()
	all, ending := greeted(b.flows())
	require.Len(t, ending, 4, "for each of two ports, by IPv4 and IPv6")
	require.Contains(t, strings.Join(ending, "\n"), "hard_timeout=60")
	text := strings.Join(all, "\n")
	require.Contains(t, text, "nw_src=192.168.0.3 actions=set_field:0x100->xxreg2,goto_table:62")
	require.NotContains(t, text, "nw_src=192.168.0.1 actions=set_field:0x", "nobody here names group web")

	// One more rule, one more member, a member that leaves.
	b.change(func(m *overlay.Model) {
		m.Put(securityGroup("web", 7, intent.SecurityRule{Direction: intent.Ingress, Protocol: "tcp", Ports: intent.PortRange{First: 80, Last: 80}, Group: "app"},
			intent.SecurityRule{Direction: intent.Egress, Group: "web"}))
	})
	b.oracle()
	require.Contains(t, strings.Join(b.flows(), "\n"), "nw_dst=192.168.0.1 actions=set_field:0x80->xxreg2,goto_table:16")
	b.hv2("d")
	b.oracle()
	require.NotContains(t, strings.Join(b.flows(), "\n"), "nw_src=192.168.0.3 actions")
	b.hv2("c", "d")
	b.oracle()

	b.change(func(m *overlay.Model) {
		m.Put(port("a", "web", 1))
		m.Put(port("b", "web", 2))
	})
	b.oracle()
	all, _ = greeted(b.flows())
	require.Len(t, all, plain, "without policies nothing of them is left")
	require.Empty(t, b.said("FlowsRepaired"), "our own changes are no faults")
}

func TestPoliciesOutliveAController(t *testing.T) {
	b := newBed(t)
	b.change(secure)
	b.hv2("c", "d")
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.plug("b")
	b.oracle()
	b.stop()
	before := b.Ofctl("dump-flows", b.Bridge("br-int"))
	b.startUnheard(secure)
	b.Eventually("synced", b.synced)
	require.Equal(t, parse(before), b.flows(), "c is behind an edge that has not reported: it stays a member")
	require.Contains(t, strings.Join(b.flows(), "\n"), "nw_src=192.168.0.3 actions=set_field:0x100->xxreg2")
	require.True(t, older(b.Ofctl("dump-flows", b.Bridge("br-int")), before), "no flow was made again")
	b.hv2("c", "d")
	b.oracle()
	require.True(t, older(b.Ofctl("dump-flows", b.Bridge("br-int")), before), "no flow was made again when the edge reported")

	// While no controller runs c leaves its group, unseen: the member goes once
	// its edge reports.
	b.stop()
	b.startUnheard(func(m *overlay.Model) {
		secure(m)
		m.Put(port("c", "web", 3))
	})
	b.Eventually("synced", b.synced)
	b.hv2("c", "d")
	b.oracle()
	require.NotContains(t, strings.Join(b.flows(), "\n"), "nw_src=192.168.0.3 actions=set_field:0x100->xxreg2")
}

func TestPoliciesAreMended(t *testing.T) {
	b := newBed(t)
	b.change(secure)
	b.hv2("c")
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.oracle()
	at := b.Bridge("br-int")
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"the verdict opened", func() { b.Ofctl("mod-flows", at, "table=62,actions=output:1") }},
		{"a member's flow deleted", func() { b.Ofctl("del-flows", at, "table=61,ip,nw_src=192.168.0.3") }},
		{"tracking deleted", func() { b.Ofctl("del-flows", at, "table=60") }},
		{"a rule added under our cookie", func() {
			b.Ofctl("add-flow", at, "cookie=0x7ef7000000000000,table=62,priority=999,actions=goto_table:63")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.forget()
			c.do()
			b.Eventually("told", func() bool { return b.said("FlowsRepaired") != "" })
			b.oracle()
		})
	}
}

// The edits that one more member costs on the device do not depend on the rules
// that name its group.
func TestAMemberCostsOneEdit(t *testing.T) {
	b := newBed(t)
	rules := []intent.SecurityRule{}
	for i := range 20 {
		rules = append(rules, intent.SecurityRule{Direction: intent.Ingress, Protocol: "tcp", Ports: intent.PortRange{First: uint16(80 + i), Last: uint16(80 + i)}, Group: "app"})
	}
	b.change(func(m *overlay.Model) {
		m.Put(securityGroup("web", 7, rules...))
		m.Put(securityGroup("app", 8))
		m.Put(in(port("a", "web", 1), "web"))
		for i := range 50 {
			p := in(port(fmt.Sprintf("m%d", i), "web", byte(100+i)), "app")
			p.Spec.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{192, 168, 1, byte(i)})}
			m.Put(p)
		}
	})
	var there []string
	for i := range 49 {
		there = append(there, fmt.Sprintf("m%d", i))
	}
	b.hv2(there...)
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.oracle()
	before := map[string]bool{}
	for _, f := range b.flows() {
		before[f] = true
	}
	b.hv2(append(there, "m49")...)
	b.oracle()
	var added []string
	for _, f := range b.flows() {
		if !before[f] && strings.Contains(f, "table=6") {
			added = append(added, f)
		}
	}
	require.Len(t, added, 1)
	require.Contains(t, added[0], "nw_src=192.168.1.49")
}
