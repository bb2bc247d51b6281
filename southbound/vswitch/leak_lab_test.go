//go:build lab

package vswitch

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// border is an EVPN leaf, at 10.0.0.i.
func border(i int) *intent.Node {
	return &intent.Node{Metadata: intent.Metadata{Name: fmt.Sprintf("border%d", i)}, Spec: intent.NodeSpec{Role: intent.RoleLeaf, ASN: 65001,
		VTEP: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), EVPN: &intent.EVPN{}}}
}

// announces has a border announce prefixes in VRF 7000, and say that this is all.
func announces(i int, prefixes ...string) func(*overlay.Model) {
	return func(m *overlay.Model) {
		for _, p := range prefixes {
			m.TakeRoutes(fmt.Sprintf("border%d", i), []overlay.RouteChange{{Route: evpn.Route{Key: evpn.PrefixKey(netip.MustParsePrefix(p)), RD: evpn.NewRD(uint32(i), 7000), VNI: 7000,
				VTEP: border(i).Spec.VTEP, RouterMAC: intent.MAC{6, byte(i)}, Targets: []intent.RouteTarget{intent.VNIRouteTarget(65001, 7000)}}}})
		}
		m.Synced(fmt.Sprintf("border%d", i))
	}
}

// shareAll puts two routers that share something, of which one leads outside.
func shareAll(m *overlay.Model) {
	m.Put(withSubnet(network("web", 100), 0))
	m.Put(withSubnet(network("db", 200), 8))
	web, db := router(5000, nil, "web"), router(6000, nil, "db")
	db.Metadata.Name = "services"
	web.Spec.Imports = []intent.RouterImport{{RouteTarget: "1:6000"}}
	db.Spec.Imports = []intent.RouterImport{{RouteTarget: "1:5000"}}
	web.Spec.External = &intent.RouterExternal{Network: "internet", Advertise: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/29")}}
	m.Put(&intent.ExternalNetwork{Metadata: intent.Metadata{Name: "internet"}, Spec: intent.ExternalNetworkSpec{VNI: 7000, Pools: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}})
	m.Put(web)
	m.Put(db)
}

// The device follows what routers share and where they lead outside through
// everything that may happen to it.
func TestDriverFollowsSharing(t *testing.T) {
	b := newBed(t)
	b.hv2("c", "d")
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.oracle()
	before := b.flows()
	spread := "multipath(symmetric_l3l4+udp"
	steps := []struct {
		name string
		do   func(m *overlay.Model)
		has  []string
		not  []string
	}{
		{"borders without anything", func(m *overlay.Model) { m.Put(border(8)); m.Put(border(9)) }, nil, []string{"0x1b58"}},
		{"all is shared", shareAll, []string{"set_field:0x1770->reg5,set_field:0x1388->reg1,resubmit(,23)", "set_field:0x1b58->reg5,set_field:0x1388->reg1,resubmit(,23)", "0x1770->tun_id", "0x1b58->tun_id,set_field:10.0.0.2->tun_dst"}, []string{spread}},
		{"one border", announces(8, "0.0.0.0/0", "198.51.100.0/24"), []string{"10.0.0.8->tun_dst", "06:08:00:00:00:00->eth_dst"}, []string{spread}},
		{"two", announces(9, "0.0.0.0/0", "198.51.100.0/25"), []string{"10.0.0.8->tun_dst", "10.0.0.9->tun_dst", spread}, nil},
		{"one is lost", func(m *overlay.Model) { m.TakePeerLost("border8") }, []string{"10.0.0.9->tun_dst"}, []string{"10.0.0.8->tun_dst", spread}},
		{"it is back", announces(8, "0.0.0.0/0"), []string{"10.0.0.8->tun_dst", spread}, nil},
		{"the other router's port is on a leaf", func(m *overlay.Model) {
			p := port("d", "db", 9)
			p.Spec.Binding = intent.Binding{Node: "border8", Interface: "eth1"}
			m.Put(p)
			m.Observe("border8", []overlay.Interface{{Name: "eth1", OFPort: 1}})
		}, []string{"tun_id=0x1770,in_port=65000,dl_dst=06:77:0a:00:00:01 actions=", "reg0=0x1,reg1=0,reg5=0x1770,nw_dst=192.168.0.0/29", "reg0=0x1,reg1=0x1770,reg5=0x1388,nw_src=192.168.0.8/29"}, nil},
		{"and not any more", func(m *overlay.Model) { m.Put(port("d", "db", 9)) }, nil, []string{"tun_id=0x1770,in_port", "reg0=0x1,reg1=0,reg5=0x1770"}},
		{"the other router's port comes here", func(m *overlay.Model) {
			p := port("b", "db", 10)
			m.Put(p)
			m.Observe("hv2", []overlay.Interface{{Name: "tapc", IfaceID: "c", OFPort: 1}})
		}, nil, nil},
		{"nothing is imported any more", func(m *overlay.Model) {
			r := router(5000, nil, "web")
			m.Put(r)
		}, nil, []string{"resubmit(,23)", "0x1b58", "0x1770->tun_id", spread}},
		{"again, with another L3VNI outside", func(m *overlay.Model) {
			shareAll(m)
			m.Put(&intent.ExternalNetwork{Metadata: intent.Metadata{Name: "internet"}, Spec: intent.ExternalNetworkSpec{VNI: 7001}})
		}, []string{"set_field:0x1b59->reg5"}, []string{"0x1b58"}},
		{"the outside goes", func(m *overlay.Model) { m.Delete(intent.ExternalRef("internet")) }, []string{"set_field:0x1770->reg5"}, []string{"0x1b59"}},
		{"all goes", func(m *overlay.Model) {
			m.Delete(intent.Ref{Kind: intent.KindRouter, Tenant: "t", Name: "r"})
			m.Delete(intent.Ref{Kind: intent.KindRouter, Tenant: "t", Name: "services"})
			m.Put(network("web", 100))
			m.Put(network("db", 200))
			m.Put(port("b", "web", 2))
			m.Observe("hv2", []overlay.Interface{{Name: "tapc", IfaceID: "c", OFPort: 1}, {Name: "tapd", IfaceID: "d", OFPort: 2}})
		}, nil, []string{"reg5"}},
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
	}
	require.Equal(t, before, b.flows(), "the device is as it was")
	require.Empty(t, b.said("FlowsRepaired"), "our own changes are no faults")
}

// twoBorders puts what the bed has, two routers that share, and two borders.
func (b *bed) twoBorders(m *overlay.Model) {
	m.Put(node(1, b.DB()))
	m.Put(node(2, "tcp:127.0.0.1:1"))
	m.Put(border(8))
	m.Put(border(9))
	for i, n := range []string{"a", "b", "c"} {
		m.Put(port(n, "web", byte(i+1)))
	}
	m.Put(port("d", "db", 9))
	shareAll(m)
}

// A controller that starts finds the ways to several borders right as long as one
// of them has not reported, whichever reports first, and then takes away what is
// not announced any more.
func TestBordersStayUntilTheyReport(t *testing.T) {
	b := newBed(t)
	put := b.twoBorders
	b.change(put)
	b.hv2("c", "d")
	b.change(announces(8, "0.0.0.0/0", "198.51.100.0/24"))
	b.change(announces(9, "0.0.0.0/0", "2001:db8::/32"))
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.oracle()
	for _, first := range []int{8, 9} {
		want, before := b.flows(), b.Ofctl("dump-flows", b.Bridge("br-int"))
		require.Contains(t, strings.Join(want, "\n"), "multipath")
		b.stop()
		b.feed.model = overlay.NewModel()
		b.change(put)
		b.start()
		b.Eventually("synced", b.synced)
		same := func(what string) {
			t.Helper()
			b.takes(what)
			require.Equal(t, want, b.flows(), what)
			require.True(t, older(b.Ofctl("dump-flows", b.Bridge("br-int")), before), "no flow was made again: %s", what)
		}
		same("no border has reported")
		b.hv2("c", "d")
		same("the other hypervisor has")
		all := map[int][]string{8: {"0.0.0.0/0", "198.51.100.0/24"}, 9: {"0.0.0.0/0", "2001:db8::/32"}}
		b.change(announces(first, all[first]...))
		same("one border has")
		second := 8 + 9 - first
		if second == 8 { // the last round: one that has gone meanwhile
			b.change(announces(8))
			b.oracle()
			require.NotContains(t, strings.Join(b.flows(), "\n"), "10.0.0.8->tun_dst")
			return
		}
		b.change(announces(second, all[second]...))
		b.oracle()
		same("both have")
	}
}

// Flows outside are shared by the borders that announce the longest prefix, each by
// one of them, and from where nobody has a way back nothing leaves. The switch counts.
func TestFlowsAreSpreadOverBorders(t *testing.T) {
	b := newServedBed(t)
	b.change(func(m *overlay.Model) {
		m.Put(border(8))
		m.Put(border(9))
		n := network("web", 100)
		n.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24")}
		m.Put(n)
		r := router(5000, nil, "web")
		r.Spec.External = &intent.RouterExternal{Network: "internet", Advertise: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/31")}}
		m.Put(&intent.ExternalNetwork{Metadata: intent.Metadata{Name: "internet"}, Spec: intent.ExternalNetworkSpec{VNI: 7000}})
		m.Put(r)
	})
	b.change(announces(8, "0.0.0.0/0"))
	b.change(announces(9, "0.0.0.0/0", "198.51.100.0/24"))
	b.takes("two borders")
	b.oracle()
	flow := func(from byte, to string, sport uint16) []byte {
		f := udp4(from, fmt.Sprintf("192.168.0.%d", from), to, sport, 53, []byte("out"))
		copy(f, intent.GatewayMAC[:])
		return f
	}
	sent := func() (at8, at9, refused int) {
		t.Helper()
		require.NoError(t, b.barrier())
		for _, l := range strings.Split(b.Ofctl("dump-flows", b.Bridge("br-int")), "\n") {
			m := packets.FindStringSubmatch(l)
			if m == nil {
				continue
			}
			n, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			switch {
			case strings.Contains(l, "10.0.0.8->tun_dst"):
				at8 += n
			case strings.Contains(l, "10.0.0.9->tun_dst"):
				at9 += n
			case strings.Contains(l, "table=23") && strings.Contains(l, "set_field:0x5->reg6"):
				refused += n
			}
		}
		return at8, at9, refused
	}
	// The switch counts what it forwards by a flow that it knows a little later.
	settled := func(what string, total int) (at8, at9, refused int) {
		t.Helper()
		b.Eventually(what, func() bool { at8, at9, refused = sent(); return at8+at9+refused == total })
		t.Logf("%s: %d by one border, %d by the other, %d refused", what, at8, at9, refused)
		return at8, at9, refused
	}
	const flows = 400
	var frames [][]byte
	for i := range flows {
		frames = append(frames, flow(1, "8.8.8.8", uint16(10_000+i)))
	}
	b.sendEach("a", frames)
	at8, at9, refused := settled("flows", flows)
	require.InDelta(t, flows/2, at8, flows/8)
	require.InDelta(t, flows/2, at9, flows/8)
	require.Zero(t, refused)
	for range 10 {
		b.send("a", 10, flow(1, "8.8.8.8", 5353))
	}
	again8, again9, _ := settled("a hundred packets of one flow", flows+100)
	require.Contains(t, []int{0, 100}, again8-at8, "all of one flow by one border")
	b.send("a", 50, flow(1, "198.51.100.7", 5353))
	last8, last9, _ := settled("to the longer prefix", flows+150)
	require.Equal(t, []int{again8, again9 + 50}, []int{last8, last9})
	b.send("b", 7, flow(2, "8.8.8.8", 5353)) // not advertised
	_, _, refused = settled("from where there is no way back", flows+157)
	require.Equal(t, 7, refused)
	b.change(func(m *overlay.Model) { m.TakePeerLost("border9") })
	b.takes("a border is lost")
	b.Revalidated()
	before8, _, _ := sent()
	b.send("a", 50, flow(1, "198.51.100.7", 5353))
	b.Eventually("the other border has its flows", func() bool { now, _, _ := sent(); return now == before8+50 })
}

var packets = regexp.MustCompile(`n_packets=(\d+)`)

// A border that is gone while there was no controller does not keep its share of
// the flows for ever: those that others can take they get; where nobody else leads
// to a prefix it stays, in case it comes.
func TestBordersThatDoNotReportLoseTheirFlows(t *testing.T) {
	b := newBed(t)
	put := b.twoBorders
	b.change(put)
	b.hv2("c", "d")
	b.change(announces(8, "0.0.0.0/0", "198.51.100.0/24", "2001:db8:8::/48"))
	b.change(announces(9, "0.0.0.0/0", "2001:db8:9::/48"))
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.oracle()
	b.stop()
	b.feed.model, b.waits = overlay.NewModel(), 500*time.Millisecond
	b.change(put)
	b.start()
	b.Eventually("synced", b.synced)
	b.hv2("c", "d")
	b.change(announces(8, "0.0.0.0/0"))
	text := func() string { return strings.Join(b.flows(), "\n") }
	b.Eventually("the other border has all of them, but no prefix that it did not say when it reported", func() bool {
		return !strings.Contains(text(), "multipath") && !strings.Contains(text(), "198.51.100.0/24")
	})
	require.Equal(t, 1, strings.Count(text(), "10.0.0.9->tun_dst"), "where nobody else leads it stays")
	require.Contains(t, text(), "ipv6_dst=2001:db8:9::/48")
	// An audit finds nothing to do, and brings nothing back.
	want := b.flows()
	b.Ofctl("del-flows", b.Bridge("br-int"), "table=24")
	b.Eventually("mended", func() bool {
		return strings.Contains(b.said("FlowsRepaired"), "put back") && len(b.flows()) == len(want)
	})
	require.Equal(t, want, b.flows())
	b.change(announces(9, "0.0.0.0/0"))
	b.oracle()
	require.Contains(t, text(), "multipath")
	require.NotContains(t, text(), "2001:db8:9::/48")
}

// A border that reports when its time is over has no prefix any more that it does not
// say, although another edge has not reported yet.
func TestABorderThatReportsLateIsBelieved(t *testing.T) {
	b := newBed(t)
	b.change(b.twoBorders)
	b.hv2("c", "d")
	b.change(announces(8, "0.0.0.0/0", "198.51.100.0/24", "2001:db8:8::/48"))
	b.change(announces(9, "0.0.0.0/0", "2001:db8:9::/48"))
	b.Eventually("synced", b.synced)
	b.plug("a")
	b.oracle()
	b.stop()
	b.feed.model, b.waits = overlay.NewModel(), time.Millisecond
	b.change(b.twoBorders)
	b.start()
	b.Eventually("synced", b.synced)
	text := func() string { return strings.Join(b.flows(), "\n") }
	b.change(announces(9, "0.0.0.0/0", "2001:db8:9::/48"))
	b.Eventually("the time is over: the one has all of the flows", func() bool { return !strings.Contains(text(), "multipath") })
	require.Contains(t, text(), "198.51.100.0/24", "the other may come")
	b.change(announces(8, "0.0.0.0/0"))
	b.Eventually("the other has its share again, and no prefix that it does not say", func() bool {
		now := text()
		return strings.Contains(now, "multipath") && !strings.Contains(now, "198.51.100.0/24") && !strings.Contains(now, "2001:db8:8::/48")
	})
	require.Contains(t, text(), "2001:db8:9::/48")
	require.Empty(t, b.said("FlowsRepaired"), "our own changes are no faults")
}
