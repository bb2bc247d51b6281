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

func router(v intent.VNI, routes []intent.StaticRoute, networks ...string) *intent.Router {
	r := &intent.Router{Metadata: intent.Metadata{Name: "r", Tenant: "t"}, Spec: intent.RouterSpec{VNI: v, Routes: routes}}
	for _, n := range networks {
		r.Spec.Networks = append(r.Spec.Networks, intent.RouterNetwork{Network: n})
	}
	return r
}

// withSubnet has the network's subnets hold addresses from first on.
func withSubnet(n *intent.Network, first byte) *intent.Network {
	n.Spec.Subnets = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, 0, first}), 29), netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 15: first}), 125)}
	return n
}

// The device follows routers through everything that may happen to them: it has
// what a driver that starts from nothing would give it, and nothing else.
func TestDriverFollowsRouters(t *testing.T) {
	b := newBed(t)
	b.hv2("c", "d")
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.oracle()
	before := b.flows()
	web, db := withSubnet(network("web", 100), 0), withSubnet(network("db", 200), 8)
	routes := []intent.StaticRoute{
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHops: []intent.NextHop{{Port: "c", Weight: 3}, {Address: netip.MustParseAddr("192.168.0.9")}, {Port: "a"}}},
		{Prefix: netip.MustParsePrefix("fd77::/16"), NextHops: []intent.NextHop{{Port: "d"}}},
		{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Blackhole: true},
	}
	tor, racked := node(9, ""), port("s", "web", 6)
	tor.Metadata.Name, tor.Spec.VSwitch, tor.Spec.HardwareVTEP = "tor", nil, &intent.HardwareVTEP{}
	racked.Spec.Binding = intent.Binding{Node: "tor", Interface: "eth1"}
	steps := []struct {
		name string
		do   func(m *overlay.Model)
		has  []string
		not  []string
	}{
		{"networks have subnets", func(m *overlay.Model) { m.Put(web); m.Put(db) }, nil, []string{"meter:"}},
		{"a router joins one network", func(m *overlay.Model) { m.Put(router(5000, nil, "web")) }, []string{"meter:1031", "reg5"}, []string{"0xc8->tun_id"}},
		{"and another, which is elsewhere", func(m *overlay.Model) { m.Put(router(5000, nil, "web", "db")) }, []string{"0x1388->tun_id", "06:77:0a:00:00:02->eth_dst"}, []string{"0xc8->tun_id"}},
		{"a hardware VTEP has a station, whose gateway is here", func(m *overlay.Model) {
			m.Put(tor)
			m.Put(racked)
			m.Observe("tor", []overlay.Interface{{Name: "eth1", OFPort: 1}})
		}, []string{"tun_src=10.0.0.9", "set_field:10.0.0.9->tun_dst", "meter:261027"}, nil},
		{"the station is gone", func(m *overlay.Model) { m.Delete(racked.Ref()); m.Delete(tor.Ref()) }, nil, []string{"tun_src=10.0.0.9"}},
		{"static routes", func(m *overlay.Model) { m.Put(router(5000, routes, "web", "db")) }, []string{"multipath(symmetric_l3l4+udp", "0xc8->tun_id", "ip,in_port=1,dl_src=02:00:00:00:00:01 actions"}, nil},
		{"a next hop is nowhere", func(m *overlay.Model) {
			m.Observe("hv2", []overlay.Interface{{Name: "tapc", IfaceID: "c", OFPort: 1}})
		}, nil, []string{"0xc8->tun_id"}},
		{"it comes here", func(m *overlay.Model) {
			m.Observe("hv2", []overlay.Interface{{Name: "tapc", IfaceID: "c", OFPort: 1}, {Name: "tapd", IfaceID: "d", OFPort: 2}})
		}, []string{"0xc8->tun_id"}, nil},
		{"another L3VNI", func(m *overlay.Model) { m.Put(router(5001, routes, "web", "db")) }, []string{"0x1389->tun_id"}, []string{"0x1388"}},
		{"an L2VNI that was an L3VNI, and the other way", func(m *overlay.Model) {
			m.Put(router(0, nil))
			m.Put(withSubnet(network("web", 5001), 0))
			m.Put(router(100, routes, "web", "db"))
		}, []string{"0x64->tun_id", "set_field:0x64->reg5"}, nil},
		{"the encapsulation changes", func(m *overlay.Model) {
			n := withSubnet(network("db", 200), 8)
			n.Spec.Encapsulation.UDPPort = 8472
			m.Put(n)
		}, nil, []string{"0xc8->tun_id,set_field:10.0.0.2->tun_dst,output:65000"}},
		{"and changes back", func(m *overlay.Model) { m.Put(withSubnet(network("db", 200), 8)) }, []string{"0xc8->tun_id,set_field:10.0.0.2->tun_dst,output:65000"}, nil},
		{"a network leaves the router", func(m *overlay.Model) { m.Put(router(100, nil, "db")) }, nil, []string{"meter:", "reg5"}},
		{"it comes back", func(m *overlay.Model) { m.Put(router(100, nil, "db", "web")) }, []string{"meter:"}, nil},
		{"the router goes", func(m *overlay.Model) {
			m.Delete(intent.Ref{Kind: intent.KindRouter, Tenant: "t", Name: "r"})
			m.Put(network("web", 100))
			m.Put(network("db", 200))
		}, nil, []string{"meter:", "reg5"}},
	}
	for _, s := range steps {
		counting := b.counting()
		b.change(s.do)
		b.takes(s.name)
		require.True(t, older(b.counting(), counting), "%s: flows that count what a router forwards were made again", s.name)
		if s.name != "the encapsulation changes" { // of other tunnels the oracle knows nothing
			b.oracle()
		}
		text := strings.Join(b.flows(), "\n")
		for _, h := range s.has {
			require.Contains(t, text, h, s.name)
		}
		for _, n := range s.not {
			require.NotContains(t, text, n, s.name)
		}
		if s.name != "the encapsulation changes" {
			b.colourful()
		}
	}
	require.Equal(t, before, b.flows(), "the device is as it was before there was a router")
	require.NotContains(t, b.Ofctl("-O", "OpenFlow15", "dump-meters", b.Bridge("br-int")), "meter=")
	require.Empty(t, b.said("FlowsRepaired"), "our own changes are no faults")
}

// counting are the flows that count what routers forward and what comes with an L3VNI.
func (b *bed) counting() string {
	var out []string
	for line := range strings.Lines(b.Ofctl("dump-flows", b.Bridge("br-int"))) {
		if strings.Contains(line, "table=24, ") && strings.Contains(line, "priority=200") || strings.Contains(line, "table=0, ") && strings.Contains(line, "reg5") && strings.Contains(line, "tun_id") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return strings.Join(out, "\n")
}

// takes waits until the device has confirmed what the feed says.
func (b *bed) takes(step string) {
	b.t.Helper()
	b.Eventually("the device has taken: "+step, func() bool {
		_, newer := b.feed.Behind(b.Cursors())
		for r, l := range b.feed.Local() {
			if p, ok := b.Programmed(r); !ok || !p.Equal(l) {
				return false
			}
		}
		return len(newer) == 0 && b.synced()
	})
}

// Meters and flows that somebody else deletes come back, also after a restart.
func TestRoutingIsMended(t *testing.T) {
	b := newBed(t)
	b.hv2("c", "d")
	b.change(func(m *overlay.Model) {
		m.Put(withSubnet(network("web", 100), 0))
		m.Put(withSubnet(network("db", 200), 8))
		m.Put(router(5000, nil, "web", "db"))
	})
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.oracle()
	at := b.Bridge("br-int")
	meters := func() string { return b.Ofctl("-O", "OpenFlow15", "dump-meters", at) }
	want := b.flows()
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"meters deleted", func() { b.Ofctl("-O", "OpenFlow15", "del-meters", at) }},
		{"a table deleted", func() { b.Ofctl("del-flows", at, "table=27") }},
		{"a host changed", func() { b.Ofctl("mod-flows", at, "table=27,actions=drop") }},
	} {
		b.forget()
		c.do()
		b.Eventually("told: "+c.name, func() bool { return strings.Contains(b.said("FlowsRepaired"), "put back") })
		b.oracle()
		require.Contains(t, meters(), "rate=20", c.name)
		require.Equal(t, want, b.flows(), c.name)
	}
	// While the controller is away, meters change: it puts them right.
	b.stop()
	b.Ofctl("-O", "OpenFlow15", "mod-meter", at, "meter=1031,pktps,bands=type=drop,rate=7")
	b.Ofctl("-O", "OpenFlow15", "add-meter", at, "meter=1420,pktps,bands=type=drop,rate=7")
	b.Ofctl("-O", "OpenFlow15", "add-meter", at, "meter=5,pktps,bands=type=drop,rate=7")
	before := b.Ofctl("dump-flows", at)
	b.start()
	b.Eventually("synced", b.synced)
	b.oracle()
	require.Contains(t, meters(), "rate=20")
	require.NotContains(t, meters(), "1420")
	require.Contains(t, meters(), "meter=5 ", "another program's meter stays")
	require.True(t, older(b.Ofctl("dump-flows", at), before), "no flow was made again")
}

// While an edge has not reported, what was routed to it and over it stays.
func TestRoutesStayUntilTheEdgeReports(t *testing.T) {
	b := newBed(t)
	put := func(m *overlay.Model) {
		m.Put(node(1, b.DB()))
		m.Put(node(2, "tcp:127.0.0.1:1"))
		m.Put(withSubnet(network("web", 100), 0))
		m.Put(withSubnet(network("db", 200), 8))
		for i, n := range []string{"a", "b", "c"} {
			m.Put(port(n, "web", byte(i+1)))
		}
		m.Put(port("d", "db", 9))
		m.Put(router(5000, []intent.StaticRoute{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHops: []intent.NextHop{{Port: "c"}, {Port: "d"}}}}, "web", "db"))
	}
	b.change(put)
	b.hv2("c", "d")
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.oracle()
	want, before := b.flows(), b.Ofctl("dump-flows", b.Bridge("br-int"))
	require.Contains(t, strings.Join(want, "\n"), "multipath")
	b.stop()
	b.feed.model = overlay.NewModel()
	b.change(put)
	b.start()
	b.Eventually("synced", b.synced)
	require.Equal(t, want, b.flows(), "hv2 has not reported: its flows stay")
	require.True(t, older(b.Ofctl("dump-flows", b.Bridge("br-int")), before), "no flow was made again")
	b.hv2("c", "d")
	b.oracle()
	require.Equal(t, want, b.flows())
	require.True(t, older(b.Ofctl("dump-flows", b.Bridge("br-int")), before), "no flow was made again")
	b.hv2("c")
	b.oracle()
	require.NotContains(t, strings.Join(b.flows(), "\n"), "multipath")
}
