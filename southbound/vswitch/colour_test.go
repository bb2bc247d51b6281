package vswitch

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// colourOf is colour k of a test's VTEP 10.0.0.i.
func colourOf(k int, vtep netip.Addr) netip.Addr {
	a := vtep.As4()
	return netip.AddrFrom4([4]byte{10, 128 + byte(k), 0, a[3]})
}

// testColours colours VNIs; VTEPs 10.0.0.1 to 10.0.0.6 have two colours each.
func testColours(of map[intent.VNI]int) *overlay.Colouring { return coloursFor(6, of) }

// coloursFor is testColours for so many VTEPs.
func coloursFor(n byte, of map[intent.VNI]int) *overlay.Colouring {
	by := map[netip.Addr][]netip.Addr{}
	for i := range n {
		vtep := netip.AddrFrom4([4]byte{10, 0, 0, i + 1})
		by[vtep] = []netip.Addr{colourOf(1, vtep), colourOf(2, vtep)}
	}
	return overlay.NewColouring(overlay.NewPalette(by), of)
}

var tunnelled = regexp.MustCompile(`set_field:(0x[0-9a-f]+|[0-9]+)->tun_id,set_field:([0-9.]+)->tun_dst`)

// inColours is a flow's text as a colouring is to make it: what is unicast goes to the
// VTEP's colour in the VNI that it is sent with.
func inColours(c *overlay.Colouring, text string) string {
	if strings.Contains(text, fmt.Sprintf("table=%d", tableFlood)) {
		return text
	}
	return tunnelled.ReplaceAllStringFunc(text, func(s string) string {
		m := tunnelled.FindStringSubmatch(s)
		v, err := strconv.ParseUint(m[1], 0, 32)
		if err != nil {
			panic(err)
		}
		return fmt.Sprintf("set_field:%s->tun_id,set_field:%s->tun_dst", m[1], c.At(intent.VNI(v), netip.MustParseAddr(m[2])))
	})
}

// TestColoursOnlySayWhereTo: the flows of an edge are those that it has without
// colours, but for the addresses that unicast frames are sent to.
func TestColoursOnlySayWhereTo(t *testing.T) {
	l := local(1, "192.168.0.1")
	l.Routing = (&testVRF{overlay.VRF{Router: vrf.Router, VNI: 5000, Subnets: vrf.Subnets}}).routing(100)
	ports := map[intent.Ref]overlay.LocalPort{l.Port: l}
	p := pipe
	p.encaps = nil
	rapid.Check(t, func(t *rapid.T) {
		vtep := rapid.Custom(func(t *rapid.T) netip.Addr {
			return netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "host")%8 + 1})
		})
		rows := map[intent.VNI][]evpn.Row{}
		for i := range rapid.IntRange(0, 20).Draw(t, "stations") {
			m, at := intent.MAC{2, 0, 0, 1, 0, byte(i)}, vtep.Draw(t, "at")
			ip := netip.AddrFrom4([4]byte{192, 168, byte(i % 2), byte(i + 10)})
			rows[100] = append(rows[100], rowTo(evpn.MACKey(m), at), rowTo(evpn.HostKey(m, ip), at))
			var router intent.MAC
			if i%3 == 0 {
				router = intent.RouterMAC(at)
			}
			rows[5000] = append(rows[5000], hostTo(evpn.HostKey(m, ip), at, 100+intent.VNI(i%2), router))
		}
		for i := range rapid.IntRange(0, 7).Draw(t, "VTEPs") {
			at := netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
			rows[100] = append(rows[100], rowTo(evpn.FloodKey(at), at))
			k := evpn.PrefixKey(netip.MustParsePrefix("198.51.100.0/24"))
			k.MAC = intent.RouterMAC(at)
			r := hostTo(k, at, 0, k.MAC)
			r.Origin = evpn.OriginBGP
			rows[5000] = append(rows[5000], r)
		}
		read := func(v intent.VNI) []evpn.Row { return rows[v] }
		colour := rapid.IntRange(0, 3) // VTEPs have two
		c := testColours(map[intent.VNI]int{100: colour.Draw(t, "100"), 101: colour.Draw(t, "101"), 5000: colour.Draw(t, "5000")})
		q := p
		q.colours = c
		plain, coloured := fromScratch(p, ports, read), fromScratch(q, ports, read)
		require.Len(t, coloured, len(plain))
		for k, f := range coloured {
			require.Equal(t, inColours(c, plain[k].String()), f.String())
		}
	})
}
