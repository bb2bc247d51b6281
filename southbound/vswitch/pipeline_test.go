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
		pipe.row(100, rowTo(evpn.MACKey(intent.MAC{2, 0, 0, 0, 0, 9}), other)), pipe.flood(100, to([]uint32{1}, numbered(50)...).servedBy(self, numbered(2)...))} {
		all.add(fs...)
		n += len(fs)
	}
	require.Len(t, all, n)
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
