//go:build lab

package vswitch

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
)

func internet(v intent.VNI) *intent.ExternalNetwork {
	return &intent.ExternalNetwork{Metadata: intent.Metadata{Name: "internet"}, Spec: intent.ExternalNetworkSpec{VNI: v,
		Pools: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:f::/64")}}}
}

func floatingIP(name, address, port string) *intent.FloatingIP {
	return &intent.FloatingIP{Metadata: intent.Metadata{Name: name, Tenant: "t"}, Spec: intent.FloatingIPSpec{External: "internet", Address: netip.MustParseAddr(address), Port: port}}
}

// leadsOutside is a router on networks that leads to the external network.
func leadsOutside(snat bool, networks ...string) *intent.Router {
	r := router(5000, nil, networks...)
	r.Spec.External = &intent.RouterExternal{Network: "internet", SNAT: snat}
	return r
}

// translates gives an edge source addresses.
func translates(n *intent.Node, addresses ...string) *intent.Node {
	s := intent.SourceAddress{External: "internet"}
	for _, a := range addresses {
		s.Addresses = append(s.Addresses, netip.MustParseAddr(a))
	}
	n.Spec.VSwitch.SourceAddresses = []intent.SourceAddress{s}
	return n
}

// The device follows external networks, floating IPs and source addresses through
// everything that may happen to them, and a controller that starts has nothing to
// send.
func TestDriverFollowsTranslation(t *testing.T) {
	b := newBed(t)
	b.hv2("c", "d")
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.plug("b")
	b.change(func(m *overlay.Model) {
		m.Put(withSubnet(network("web", 100), 0))
		m.Put(withSubnet(network("db", 200), 8))
	})
	b.takes("subnets")
	b.oracle()
	before := b.flows()
	gone := func(k intent.Kind, tenant, name string) func(m *overlay.Model) {
		return func(m *overlay.Model) { m.Delete(intent.Ref{Kind: k, Tenant: tenant, Name: name}) }
	}
	steps := []struct {
		name string
		do   func(m *overlay.Model)
		has  []string
		not  []string
	}{
		{"a router leads to nothing yet", func(m *overlay.Model) { m.Put(leadsOutside(true, "web", "db")) }, nil, []string{"nat("}},
		{"the external network is there", func(m *overlay.Model) { m.Put(internet(7000)) }, []string{"0x1b58->reg5"}, []string{"nat("}},
		{"the edge has source addresses", func(m *overlay.Model) {
			m.Put(translates(node(1, b.DB()), "203.0.113.2", "2001:db8:f::2"))
		}, []string{"nat(src=203.0.113.2)", "nat(src=2001:db8:f::2)", "nat(src=240.0.19.136)"}, nil},
		{"the other edge, too", func(m *overlay.Model) {
			m.Put(translates(node(2, "tcp:127.0.0.1:1"), "203.0.113.3"))
		}, []string{"reg15=0xcb007103"}, []string{"nat(src=203.0.113.3)"}},
		{"a floating IP", func(m *overlay.Model) { m.Put(floatingIP("fa", "203.0.113.10", "a")) }, []string{"nat(dst=192.168.0.1)", "nat(src=203.0.113.10)"}, nil},
		{"and one elsewhere", func(m *overlay.Model) { m.Put(floatingIP("fc", "203.0.113.12", "c")) }, []string{"reg15=0xcb00710c"}, []string{"203.0.113.12"}},
		{"it goes to a port here", func(m *overlay.Model) { m.Put(floatingIP("fc", "203.0.113.12", "b")) }, []string{"nat(dst=192.168.0.2)"}, nil},
		{"another L3VNI outside", func(m *overlay.Model) { m.Put(internet(7001)) }, []string{"0x1b59->reg5"}, []string{"0x1b58"}},
		{"no source NAT", func(m *overlay.Model) { m.Put(leadsOutside(false, "web", "db")) }, []string{"nat(dst=192.168.0.1)"}, []string{"nat(src=203.0.113.2)", "240.0.19.136"}},
		{"the port's network leaves the router", func(m *overlay.Model) { m.Put(leadsOutside(true, "db")) }, nil, []string{"nat("}},
		{"and comes back", func(m *overlay.Model) { m.Put(leadsOutside(true, "web", "db")) }, []string{"nat(dst=192.168.0.1)", "nat(src=203.0.113.2)"}, nil},
		{"the floating IPs go", func(m *overlay.Model) {
			gone(intent.KindFloatingIP, "t", "fa")(m)
			gone(intent.KindFloatingIP, "t", "fc")(m)
		}, []string{"nat(src=203.0.113.2)"}, []string{"nat(dst="}},
		{"one comes again", func(m *overlay.Model) { m.Put(floatingIP("fa", "203.0.113.10", "a")) }, []string{"nat(dst=192.168.0.1)"}, nil},
		{"the external network goes", gone(intent.KindExternalNetwork, "", "internet"), nil, []string{"nat("}},
		{"the router goes", gone(intent.KindRouter, "t", "r"), nil, []string{"reg5"}},
	}
	for _, s := range steps {
		b.change(s.do)
		b.takes(s.name)
		b.oracle()
		text := strings.Join(b.flows(), "\n")
		for _, h := range s.has {
			require.Contains(t, text, h, s.name)
		}
		for _, n := range s.not {
			require.NotContains(t, text, n, s.name)
		}
		made := b.Ofctl("dump-flows", b.Bridge("br-int"))
		b.stop()
		b.start()
		b.Eventually("synced", b.synced)
		require.True(t, older(b.Ofctl("dump-flows", b.Bridge("br-int")), made), "no flow was made again: %s", s.name)
	}
	require.Equal(t, before, b.flows(), "the device is as it was before there was a router")
	require.Empty(t, b.said("FlowsRepaired"), "our own changes are no faults")
}
