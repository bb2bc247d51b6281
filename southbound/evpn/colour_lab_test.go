//go:build lab

package evpn

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

// twin is a MAC of the leaf's own that the controller announces, too.
const twin = 0x77

// leafVTEP is the FRR leaf's, leafColour its colour.
var leafVTEP, leafColour = netip.MustParseAddr("10.255.0.1"), netip.MustParseAddr("10.129.0.1")

// announceTwin announces a MAC that the leaf has, as it has it.
func announceTwin(s *Speaker, asn uint32) {
	r := labRoute(macIP(labVNI, intent.MAC{2, 0x77, 0, 0, 0, twin}, "", leafVTEP), asn)
	if err := s.Announce([]table.Route{r}, nil); err != nil {
		panic(err)
	}
}

// readColours colours the VNI as its standard input says.
func readColours(s *Speaker) {
	p := overlay.NewPalette(map[netip.Addr][]netip.Addr{labVTEP: {netip.MustParseAddr("10.129.9.9"), netip.MustParseAddr("10.130.9.9")}, leafVTEP: {leafColour}})
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		n, err := strconv.Atoi(in.Text())
		if err != nil {
			panic(err)
		}
		s.SetColouring(overlay.NewColouring(p, map[intent.VNI]int{labVNI: n}))
	}
}

// An FRR leaf that is told another colour changes where it sends each station's frames
// in place: no entry goes meanwhile, floods go where they went, and what the leaf has
// itself stays its own, also while it does not have the address that others are told.
func TestColourAtFRR(t *testing.T) {
	b := newBench(t)
	b.run("ip", "-n", b.leaf, "route", "add", "10.128.0.0/10", "via", "10.0.0.2")
	b.frr("10.0.0.2")
	b.run("ip", "-n", b.leaf, "link", "add", "eth1", "type", "veth", "peer", "name", "host1")
	b.run("ip", "-n", b.leaf, "link", "set", "eth1", "master", "br100", "up")
	b.run("ip", "-n", b.leaf, "link", "set", "host1", "up")
	own := fmt.Sprintf("02:77:00:00:00:%02x", twin)
	b.run("ip", "netns", "exec", b.leaf, "bridge", "fdb", "add", own, "dev", "eth1", "master", "dynamic")
	controller := b.child(b.ctl, "controller", child{Peer: Peer{Name: "leaf", Address: netip.MustParseAddrPort("10.0.0.1:179"), ASN: 65001, VTEP: leafVTEP}, MACs: []byte{1, 2, 3}, Colours: true})
	b.until("FDB entries", func() bool { return b.forwards(1, 2, 3) })
	b.until("the leaf's own MAC", func() bool { return strings.Contains(controller.text(), own) })
	monitor := b.start(b.leaf, "monitor", "", "bridge", "monitor", "fdb")
	b.until("monitor listens", func() bool {
		output(b.leaf, "bridge", "fdb", "replace", "02:66:00:00:00:66", "dev", "vx100", "dst", "10.7.7.7", "self")
		output(b.leaf, "bridge", "fdb", "del", "02:66:00:00:00:66", "dev", "vx100", "dst", "10.7.7.7", "self")
		return strings.Contains(monitor.text(), "02:66:")
	})
	for _, step := range []struct{ colour, to string }{{"1", "10.129.9.9"}, {"2", "10.130.9.9"}, {"0", "10.9.9.9"}} {
		_, err := fmt.Fprintln(controller.in, step.colour)
		require.NoError(t, err)
		b.until("frames go to "+step.to, func() bool {
			f := b.fdb()
			return strings.Count(f, "02:00:00:00:00:") == 6 && strings.Count(f, "dst "+step.to+" self") == 3+strings.Count(f, "00:00:00:00:00:00 dst "+step.to)
		})
		f := b.fdb()
		require.Equal(t, 1, strings.Count(f, "00:00:00:00:00:00 dst "), f)
		require.Contains(t, f, "00:00:00:00:00:00 dst 10.9.9.9")
		require.NotContains(t, f, own, "it has not moved")
		require.Contains(t, output(b.leaf, "bridge", "fdb", "show", "dev", "eth1"), own)
		require.NotContains(t, b.vtysh("show bgp l2vpn evpn route rd 65001:100 type 2"), "MM:", "and nobody claims so")
	}
	for line := range strings.Lines(monitor.text()) {
		if !strings.Contains(line, "02:66:") {
			require.NotContains(t, line, "Deleted", monitor.text())
		}
	}
}
