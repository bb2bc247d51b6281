package vswitch

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

var update = flag.Bool("update", false, "write golden files")

var (
	self  = netip.MustParseAddr("10.0.0.1")
	other = netip.MustParseAddr("10.0.0.2")
	nvgre = intent.Encapsulation{Type: intent.NVGRE}
	pipe  = pipeline{vtep: self, tunnels: map[intent.Encapsulation]uint32{standardTunnel: 65000, nvgre: 7}, encaps: map[intent.VNI]intent.Encapsulation{200: nvgre}}
)

func local(i byte, addresses ...string) overlay.LocalPort {
	l := overlay.LocalPort{Port: intent.Ref{Kind: intent.KindPort, Tenant: "t", Name: fmt.Sprint(i)}, VNI: 100, OFPort: uint32(i), MAC: intent.MAC{2, 0, 0, 0, 0, i}}
	for _, a := range addresses {
		l.Addresses = append(l.Addresses, netip.MustParseAddr(a))
	}
	return l
}

// told is a port whose network tells stations things, by a router or not.
func told(l overlay.LocalPort, gateway string) overlay.LocalPort {
	g, _ := netip.ParseAddr(gateway)
	l.Services = &overlay.Services{Lease: 3600, MTU: 1500, Subnets: []overlay.ServedSubnet{{Prefix: netip.MustParsePrefix("192.168.0.0/24"), Gateway: g}, {Prefix: netip.MustParsePrefix("fd00::/64")}}}
	return l
}

func limited(l overlay.LocalPort, q overlay.QoS) overlay.LocalPort {
	l.QoS = &q
	return l
}

func standby(l overlay.LocalPort) overlay.LocalPort {
	l.Standby = true
	return l
}

func rowTo(k evpn.Key, vtep netip.Addr) evpn.Row {
	return evpn.Row{Key: k, Path: evpn.Path{VTEP: vtep}}
}

// to is a replication to local ports and VTEPs.
func to(ports []uint32, vteps ...netip.Addr) replication {
	return replication{ports, (*vtepList)(nil).including(vteps)}
}

// servedBy has the edge replicate for some of the VTEPs.
func (r replication) servedBy(edge netip.Addr, clients ...netip.Addr) replication {
	var rows []evpn.Row
	for _, c := range clients {
		rows = append(rows, evpn.Row{Key: evpn.FloodKey(c), Path: evpn.Path{Replicator: edge}})
	}
	r.vteps = r.vteps.with(rows)
	return r
}

// numbered are VTEPs.
func numbered(n int) []netip.Addr {
	var vteps []netip.Addr
	for i := range n {
		vteps = append(vteps, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))
	}
	return vteps
}

// testVRF is a router with two networks and every kind of route.
type testVRF struct{ overlay.VRF }

var vrf = testVRF{overlay.VRF{Router: intent.Ref{Kind: intent.KindRouter, Tenant: "t", Name: "r"}, VNI: 5000,
	Subnets: []overlay.Subnet{
		{Prefix: netip.MustParsePrefix("192.168.0.0/24"), VNI: 100, Gateway: netip.MustParseAddr("192.168.0.254")},
		{Prefix: netip.MustParsePrefix("192.168.1.0/24"), VNI: 101, Gateway: netip.MustParseAddr("192.168.1.254")},
		{Prefix: netip.MustParsePrefix("fd00::/64"), VNI: 100, Gateway: netip.MustParseAddr("fd00::ff")},
	},
	Routes: []overlay.Route{
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Hops: []overlay.Hop{{Address: overlay.HopAddress(101, intent.MAC{2, 0, 0, 0, 0, 7}), Weight: 1}}},
		{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Blackhole: true},
		{Prefix: netip.MustParsePrefix("203.0.113.128/25")},
		{Prefix: netip.MustParsePrefix("fd77::/64"), Hops: []overlay.Hop{
			{Address: overlay.HopAddress(100, intent.MAC{2, 0, 0, 0, 0, 5}), Weight: 3}, {Address: overlay.HopAddress(101, intent.MAC{2, 0, 0, 0, 0, 7}), Weight: 1}}},
	}}}

// services is another router of the tenant, and outside an external network, of
// which sharing has something.
var (
	services = overlay.VRF{Router: intent.Ref{Kind: intent.KindRouter, Tenant: "t", Name: "services"}, VNI: 6000,
		Subnets: []overlay.Subnet{{Prefix: netip.MustParsePrefix("10.9.0.0/24"), VNI: 300, Gateway: netip.MustParseAddr("10.9.0.1")}}}
	outside = overlay.VRF{Router: intent.ExternalRef("internet"), VNI: 7000, External: true,
		Subnets: []overlay.Subnet{{Prefix: netip.MustParsePrefix("203.0.113.0/24")}, {Prefix: netip.MustParsePrefix("fd00::/64"), VNI: 100}}}
	everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	leaks      = []overlay.Leak{
		{VRF: &services, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/28"), netip.MustParsePrefix("fd09::/64")}, Sources: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24")}, Trusted: true},
		{VRF: &outside, Prefixes: everywhere, Sources: []netip.Prefix{netip.MustParsePrefix("fd00::/64")}},
	}
	onLeaves = overlay.Leak{VRF: &services, Prefixes: leaks[0].Prefixes, Sources: leaks[0].Sources, Leaf: true}
	bridging = overlay.VRF{Router: vrf.Router, VNI: 5000, Subnets: vrf.Subnets, Bridges: []overlay.Bridge{{VNI: 100, VTEP: other, Gateway: self}, {VNI: 101, VTEP: other, Gateway: other}}}
	sharing  = overlay.VRF{Router: vrf.Router, VNI: 5000, Subnets: vrf.Subnets, Leaks: leaks}
)

func (v *testVRF) routing(n intent.VNI) *overlay.Routing {
	r := &overlay.Routing{VRF: &v.VRF}
	for _, s := range v.Subnets {
		if s.VNI == n {
			r.Gateways = append(r.Gateways, s.Gateway)
		}
	}
	return r
}

func routed(l overlay.LocalPort, sources []netip.Prefix) overlay.LocalPort {
	l.Routing = vrf.routing(l.VNI)
	l.Routing.Sources = sources
	return l
}

func hostTo(k evpn.Key, vtep netip.Addr, v intent.VNI, router intent.MAC) evpn.Row {
	return evpn.Row{Key: k, Path: evpn.Path{VTEP: vtep, VNI: v, RouterMAC: router}}
}

// Each section of the golden file is what one thing costs on an edge.
func TestGoldenFlows(t *testing.T) {
	mac := intent.MAC{2, 0, 0, 0, 0, 9}
	var b strings.Builder
	for _, s := range []struct {
		what  string
		flows []openflow.Flow
	}{
		{"every bridge", pipe.base()},
		{"a network with a local port", pipe.network(100)},
		{"a local port with IPv4 and IPv6", pipe.port(local(1, "192.168.0.1", "fd00::1"))},
		{"a local port without addresses (L2)", pipe.port(local(2))},
		{"a local port in standby", pipe.port(standby(local(3, "192.168.0.3", "fd00::3")))},
		{"a local port without addresses in standby", pipe.port(standby(local(4)))},
		{"a local port of a network that tells stations things", pipe.port(told(local(5, "192.168.0.5", "fd00::5"), ""))},
		{"the same by a router, limited and marked", pipe.port(limited(told(local(6, "192.168.0.6"), "192.168.0.1"), overlay.QoS{Out: overlay.Limit{Rate: 1000, Burst: 100}, In: overlay.Limit{Rate: 2000, Burst: 200}, Mark: true, DSCP: 46}))},
		{"a local port without addresses (L2), limited outwards", pipe.port(limited(local(7), overlay.QoS{Out: overlay.Limit{Rate: 1000, Burst: 100}}))},
		{"the same of a tenant that is limited, both ways", limitedTogether(limited(local(7), overlay.QoS{Out: overlay.Limit{Rate: 1000, Burst: 100}}))},
		{"a network by NVGRE", pipe.network(200)},
		{"a MAC elsewhere by NVGRE", pipe.row(200, rowTo(evpn.MACKey(mac), other))},
		{"replication for a switch that can't", pipe.flood(100, to([]uint32{1}, other, netip.MustParseAddr("10.0.0.3")).servedBy(self, other))},
		{"a MAC elsewhere", pipe.row(100, rowTo(evpn.MACKey(mac), other))},
		{"a MAC here", pipe.row(100, rowTo(evpn.MACKey(mac), self))},
		{"an IPv4 address anywhere", pipe.row(100, rowTo(evpn.HostKey(mac, netip.MustParseAddr("192.168.0.9")), other))},
		{"an IPv6 address anywhere", pipe.row(100, rowTo(evpn.HostKey(mac, netip.MustParseAddr("fd00::9")), other))},
		{"replication to two ports and two VTEPs", pipe.flood(100, to([]uint32{1, 2}, self, other, netip.MustParseAddr("fd00::2")))},
		{"replication to 40 VTEPs, in parts", pipe.flood(100, to([]uint32{1}, numbered(40)...))},
		{"the same for a switch that can't", pipe.flood(100, to([]uint32{1}, numbered(40)...).servedBy(self, numbered(1)[0]))[5:]},
		{"a gateway", pipe.gateway(100, vrf.routing(100))},
		{"a local port behind a gateway", pipe.port(routed(local(1, "192.168.0.1", "fd00::1"), nil))},
		{"a local port without addresses behind a gateway", pipe.port(routed(local(2), nil))},
		{"a local port that is a next hop", pipe.port(routed(local(5, "192.168.0.5"), []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("fd77::/64")}))},
		{"a router", pipe.vrf(&vrf.VRF, true)},
		{"stations behind a hardware VTEP, whose gateway is here", pipe.bridged(&bridging)},
		{"what a router has of another one, and of the outside", pipe.leaks(&sharing)},
		{"the same of a router that has stations on leaves", pipe.leak(5000, onLeaves)},
		{"that other one, without ports here", pipe.vrf(&services, false)},
		{"the outside", pipe.vrf(&outside, false)},
		{"a host elsewhere that is routed", pipe.routed(5000, hostTo(evpn.HostKey(mac, netip.MustParseAddr("192.168.1.9")), other, 101, intent.RouterMAC(other)))},
		{"a host elsewhere that is bridged to", pipe.routed(5000, hostTo(evpn.HostKey(mac, netip.MustParseAddr("fd01::9")), other, 101, intent.MAC{}))},
		{"a host elsewhere in a network by NVGRE", pipe.routed(5000, hostTo(evpn.HostKey(mac, netip.MustParseAddr("192.168.2.9")), other, 200, intent.MAC{}))},
		{"a host here", pipe.routed(5000, hostTo(evpn.HostKey(mac, netip.MustParseAddr("192.168.1.9")), self, 101, intent.RouterMAC(self)))},
		{"a next hop elsewhere", pipe.routed(5000, hostTo(evpn.HostKey(mac, overlay.HopAddress(101, mac)), other, 101, intent.MAC{}))},
		{"a prefix of BGP", pipe.toPrefixVia(destination{5000, netip.MustParsePrefix("198.51.100.0/24")}, []via{{other, intent.MAC{2, 9}}})},
		{"a prefix that three VTEPs announce", pipe.toPrefixVia(destination{5000, netip.MustParsePrefix("::/0")}, []via{{other, intent.MAC{2, 9}}, {netip.MustParseAddr("10.0.0.3"), intent.MAC{2, 10}}, {netip.MustParseAddr("fd00::2"), intent.MAC{2, 11}}})},
		{"an IMET route", pipe.row(100, rowTo(evpn.FloodKey(other), other))},
	} {
		fmt.Fprintf(&b, "# %s: %d flows\n", s.what, len(s.flows))
		for _, f := range s.flows {
			fmt.Fprintln(&b, f)
		}
	}
	const path = "testdata/flows.golden"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String())
}

func TestNoTwoFlowsOfOneKey(t *testing.T) {
	all := flowSet{}
	n := 0
	for _, fs := range [][]openflow.Flow{pipe.base(), pipe.network(100), pipe.network(101), pipe.port(local(1, "192.168.0.1", "fd00::1")),
		pipe.port(local(2, "192.168.0.2", "fd00::2")), pipe.port(local(3)),
		pipe.gateway(100, vrf.routing(100)), pipe.vrf(&vrf.VRF, true), pipe.bridged(&bridging), pipe.leaks(&sharing), pipe.fromLeaves(5000, onLeaves), pipe.vrf(&services, false), pipe.vrf(&outside, false), pipe.port(routed(local(6, "192.168.0.6"), []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")})),
		pipe.routed(5000, hostTo(evpn.HostKey(intent.MAC{2, 0, 0, 0, 0, 9}, netip.MustParseAddr("192.168.1.9")), other, 101, intent.RouterMAC(other))),
		pipe.port(limited(told(local(4, "192.168.0.4", "fd00::4"), ""), overlay.QoS{Out: overlay.Limit{Rate: 1, Burst: 1}, In: overlay.Limit{Rate: 1, Burst: 1}, Mark: true})),
		pipe.port(limited(told(local(5), ""), overlay.QoS{Mark: true})),
		pipe.row(100, rowTo(evpn.MACKey(intent.MAC{2, 0, 0, 0, 0, 9}), other)), pipe.flood(100, to([]uint32{1}, numbered(50)...).servedBy(self, numbered(2)...))} {
		all.add(fs...)
		n += len(fs)
	}
	require.Len(t, all, n)
}

func TestMeters(t *testing.T) {
	q := overlay.QoS{Out: overlay.Limit{Rate: 1000, Burst: 100}, In: overlay.Limit{Rate: 2000, Burst: 200}}
	all := limited(told(local(5, "192.168.0.5"), ""), q)
	require.Equal(t, []openflow.Meter{{ID: 1044, Rate: 1000, Burst: 100}, {ID: 1045, Rate: 2000, Burst: 200}, {ID: 1046, Packets: true, Rate: serviceRate, Burst: serviceBurst}}, pipe.meters(all))
	require.Empty(t, pipe.meters(standby(all)))
	require.Empty(t, pipe.meters(local(5, "192.168.0.5")))
	require.Equal(t, meterEnd, meterID(65280, 0), "the last port's meters are ours")

	r := all.Port
	was, now := map[intent.Ref]overlay.LocalPort{r: all}, map[intent.Ref]overlay.LocalPort{r: limited(local(5, "192.168.0.5"), overlay.QoS{Out: overlay.Limit{Rate: 3000, Burst: 300}})}
	for _, c := range []struct {
		what     string
		from, to map[intent.Ref]overlay.LocalPort
		meters   []openflow.MeterMod
		spent    []uint32
	}{
		{"nothing", was, was, nil, nil},
		{"less, and another rate", was, now, []openflow.MeterMod{{Command: openflow.MeterModify, Meter: openflow.Meter{ID: 1044, Rate: 3000, Burst: 300}}}, []uint32{1045, 1046}},
		{"the first", nil, now, []openflow.MeterMod{{Command: openflow.MeterAdd, Meter: openflow.Meter{ID: 1044, Rate: 3000, Burst: 300}}}, nil},
		{"the port is gone", now, nil, nil, []uint32{1044}},
	} {
		var ch changes
		ch.replaceMeters(pipe.metersOf(c.from), pipe.metersOf(c.to))
		require.Equal(t, c.meters, ch.meters, c.what)
		var spent []uint32
		for _, m := range ch.spent {
			require.Equal(t, openflow.MeterDelete, m.Command)
			spent = append(spent, m.ID)
		}
		require.Equal(t, c.spent, spent, c.what)
	}
}

func TestReplaceSendsOnlyTheDifference(t *testing.T) {
	var c changes
	c.replace(pipe.port(local(1, "192.168.0.1")), pipe.port(local(1, "192.168.0.1", "192.168.0.2")))
	require.Empty(t, c.del)
	require.Len(t, c.add, 4, "source, ARP, ARP probe and own announcement of the new address")
	c = changes{}
	c.replace(pipe.port(local(1, "192.168.0.1")), pipe.port(local(1, "192.168.0.1")))
	require.True(t, c.empty())
}

func TestOpenFlowEndpoint(t *testing.T) {
	for _, c := range []struct{ ovsdb, openflow, dial, listen string }{
		{"tcp:10.0.0.5:6640", "", "tcp:10.0.0.5:6653", "ptcp:6653:10.0.0.5"},
		{"tcp:[fd00::5]:6640", "", "tcp:[fd00::5]:6653", "ptcp:6653:[fd00::5]"},
		{"unix:/run/ovs/db.sock", "", "unix:/run/ovs/br-int.mgmt", ""},
		{"tcp:10.0.0.5:6640", "tcp:10.0.0.5:6633", "tcp:10.0.0.5:6633", "ptcp:6633:10.0.0.5"},
		{"tcp:10.0.0.5:6640", "unix:/run/br0.mgmt", "unix:/run/br0.mgmt", ""},
	} {
		dial, listen := openFlowEndpoint(intent.VSwitch{OVSDB: c.ovsdb, OpenFlow: c.openflow})
		require.Equal(t, []string{c.dial, c.listen}, []string{dial, listen}, c.ovsdb)
	}
}

func BenchmarkRowFlows(b *testing.B) {
	r := rowTo(evpn.HostKey(intent.MAC{2, 0, 0, 0, 0, 9}, netip.MustParseAddr("192.168.0.9")), other)
	b.ReportAllocs()
	for range b.N {
		pipe.row(100, r)
	}
}
