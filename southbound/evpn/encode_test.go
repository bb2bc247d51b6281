package evpn

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

var (
	vtep1 = netip.MustParseAddr("10.255.0.1")
	vtep2 = netip.MustParseAddr("10.255.0.2")
	vm1   = intent.MAC{2, 0, 0, 0, 0, 1}
)

// macIP is a route as the controller originates them.
func macIP(v intent.VNI, m intent.MAC, ip string, vtep netip.Addr) table.Route {
	r := table.Route{Key: table.MACKey(m), RD: table.NewRD(65000, v), VNI: v, VTEP: vtep,
		Targets: []intent.RouteTarget{intent.VNIRouteTarget(65000, v)}}
	if ip != "" {
		r.IP = netip.MustParseAddr(ip)
	}
	return r
}

func imet(v intent.VNI, vtep netip.Addr) table.Route {
	return table.Route{Key: table.FloodKey(vtep), RD: table.NewRD(65000, v), VNI: v, VTEP: vtep,
		Targets: []intent.RouteTarget{intent.VNIRouteTarget(65000, v)}}
}

// messages splits a stream.
func messages(t require.TestingT, b []byte) (list []message) {
	r := bufio.NewReader(bytes.NewReader(b))
	for {
		if _, err := r.Peek(1); err != nil {
			return list
		}
		m, err := read(r)
		require.NoError(t, err)
		list = append(list, m)
	}
}

// decoded reads what a stream of UPDATEs says.
func decoded(t require.TestingT, b []byte) (list []Change) {
	for _, m := range messages(t, b) {
		p, err := parse(m)
		require.NoError(t, err)
		again, err := p.Serialize()
		require.NoError(t, err)
		require.Equal(t, hex.EncodeToString(m.body()), hex.EncodeToString(again), "GoBGP writes the same UPDATE")
		u, err := newIntake().read(m)
		require.NoError(t, err)
		require.NoError(t, u.cause)
		require.Equal(t, changes(p), u.changes(), "and reads the same")
		list = append(list, changes(p)...)
	}
	return list
}

func genAddr(t *rapid.T, label string) netip.Addr {
	if rapid.Bool().Draw(t, label+"-v4") {
		a := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, label)))
		if a.IsUnspecified() {
			return vtep1
		}
		return a
	}
	b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label)
	b[0] = 0x20
	return netip.AddrFrom16([16]byte(b))
}

func genRoute(t *rapid.T) table.Route {
	octets := func(label string, n int) []byte { return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, label) }
	r := table.Route{
		RD:     table.RD(octets("rd", 8)),
		Tag:    rapid.Uint32().Draw(t, "tag"),
		VNI:    intent.VNI(rapid.Uint32Range(0, uint32(intent.MaxVNI)).Draw(t, "vni")),
		VTEP:   genAddr(t, "vtep"),
		Seq:    rapid.Uint32().Draw(t, "seq"),
		Sticky: rapid.Bool().Draw(t, "sticky"),
	}
	r.RD[0], r.RD[1] = 0, rapid.ByteRange(0, 2).Draw(t, "rd type")
	for range rapid.IntRange(0, 5).Draw(t, "targets") {
		rt := intent.RouteTarget(octets("rt", 8))
		rt[0], rt[1] = rapid.ByteRange(0, 2).Draw(t, "rt type"), 2
		r.Targets = append(r.Targets, rt)
	}
	slices.SortFunc(r.Targets, func(a, b intent.RouteTarget) int { return bytes.Compare(a[:], b[:]) })
	if rapid.Bool().Draw(t, "router mac") {
		r.RouterMAC = intent.MAC(octets("router", 6))
	}
	switch rapid.IntRange(0, 2).Draw(t, "type") {
	case 0:
		r.Key = table.MACKey(intent.MAC(octets("mac", 6)))
		if rapid.Bool().Draw(t, "host") {
			r.IP = genAddr(t, "ip")
			if !r.RouterMAC.IsZero() && rapid.Bool().Draw(t, "routed") {
				r.L3VNI = intent.VNI(rapid.Uint32Range(1, uint32(intent.MaxVNI)).Draw(t, "l3vni"))
			}
		}
	case 1:
		r.Key = table.FloodKey(genAddr(t, "ip"))
	case 2:
		ip := genAddr(t, "ip")
		p, _ := ip.Prefix(rapid.IntRange(0, ip.BitLen()).Draw(t, "bits"))
		r.Key = table.PrefixKey(p)
		if g := genAddr(t, "gateway"); g.Is4() == ip.Is4() {
			r.Gateway = g
		}
	}
	return r
}

// told reads what a reader is told up to now, as it is on the wire.
func (d *reader) told() (wire []byte) {
	for {
		b, fresh, ended := d.next()
		if b == nil && !ended {
			return wire
		}
		if b != nil {
			list, _ := d.of(b, fresh)
			wire = append(wire, bytes.Join(list, nil)...)
		}
	}
}

// What is announced and withdrawn is read as it was, however it is packed.
func TestRoutesSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		routes := rapid.SliceOfN(rapid.Custom(genRoute), 1, 5).Draw(t, "routes")
		for range rapid.IntRange(0, 200).Draw(t, "more") { // alike, so that messages fill up
			r := routes[len(routes)-1]
			r.Tag++
			routes = append(routes, r)
		}
		s := New(Config{})
		s.rib.start()
		d := s.rib.reader(1, true)
		require.Empty(t, d.told())
		want, gone := map[table.RouteID]Change{}, map[table.RouteID]Change{}
		var ids []table.RouteID
		for i := range routes {
			id := routes[i].ID()
			want[id], ids = Change{Route: routes[i]}, append(ids, id)
			gone[id] = Change{Route: table.Route{Key: id.Key, RD: id.RD, Tag: id.Tag}, Withdrawn: true}
		}
		byID := func(list []Change) map[table.RouteID]Change {
			out := map[table.RouteID]Change{}
			for _, c := range list {
				out[c.ID()] = c
			}
			require.Len(t, out, len(list), "each once")
			return out
		}
		require.NoError(t, s.Announce(routes, nil))
		require.Equal(t, want, byID(decoded(t, d.told())))
		require.NoError(t, s.Announce(routes[len(routes)-1:], nil))
		require.Empty(t, d.told(), "what was announced is not announced again")
		require.NoError(t, s.Announce(nil, ids))
		require.Equal(t, gone, byID(decoded(t, d.told())))
		require.Zero(t, s.rib.index.n, "nothing is left")
		require.Zero(t, s.rib.sets.n)
	})
}

// originated is what a leaf is sent of routes of the controller's.
func originated(t *testing.T, routes ...table.Route) []byte {
	s := New(Config{})
	require.NoError(t, s.Announce(routes, nil))
	s.rib.start()
	return s.rib.reader(1, true).told()
}

func TestAnUpdateAsItIsOnTheWire(t *testing.T) {
	r := macIP(100, vm1, "", vtep1)
	r.Seq, r.Sticky = 7, true
	got := messages(t, originated(t, r))
	require.Len(t, got, 1)
	u, err := parse(got[0])
	require.NoError(t, err)
	var text []string
	for _, a := range u.PathAttributes {
		text = append(text, a.String())
	}
	require.Equal(t, []string{"{MpReach(l2vpn-evpn): {Nexthop: 10.255.0.1, NLRIs: [[type:macadv][rd:65000:100][etag:0][mac:02:00:00:00:00:01][ip:<nil>]]}}",
		"{Origin: i}", "{AsPath: }", "{LocalPref: 100}", "{Extcomms: [65000:100], [VXLAN], [mac-mobility: 7, sticky]}"}, text)
	nlri := u.PathAttributes[0].(*bgp.PathAttributeMpReachNLRI).Value[0].(*bgp.EVPNNLRI)
	require.Equal(t, uint8(33), nlri.Length, "a MAC-only route has an IP length of 0 and no address")
	require.Equal(t, []uint32{100}, nlri.RouteTypeData.(*bgp.EVPNMacIPAdvertisementRoute).Labels)
}

// A host that is routed and bridged (RFC 9135 section 8), and a prefix (RFC 9136
// section 4.4.1), byte by byte.
func TestRoutedRoutesAsTheyAreOnTheWire(t *testing.T) {
	host := macIP(100, vm1, "192.0.2.1", vtep1)
	host.L3VNI, host.RouterMAC = 5000, intent.RouterMAC(vtep1)
	host.Targets = append(host.Targets, intent.VNIRouteTarget(65000, 5000))
	prefix := table.Route{Key: table.PrefixKey(netip.MustParsePrefix("198.51.100.0/24")), RD: table.NewRD(65000, 5000), VNI: 5000, VTEP: vtep1,
		Targets: host.Targets[1:], RouterMAC: host.RouterMAC}
	wire := hex.EncodeToString(appendRoutes(nil, []table.Route{host, prefix}))
	const rd100, rd5000, noESI, mac = "0000fde800000064", "0000fde800001388", "00000000000000000000", "020000000001"
	require.Contains(t, wire, "0228"+rd100+noESI+"00000000"+"30"+mac+"20c0000201"+"000064"+"001388")
	require.Contains(t, wire, "0522"+rd5000+noESI+"00000000"+"18c6336400"+"00000000"+"001388")
	require.Equal(t, 2, strings.Count(wire, "0603"+"06770aff0001"), "the router's MAC")
	require.Contains(t, wire, "0002fde800000064"+"0002fde800001388")
	require.Equal(t, []Change{{Route: host}, {Route: prefix}}, decoded(t, appendRoutes(nil, []table.Route{host, prefix})))
}

func TestManyRoutesShareUpdates(t *testing.T) {
	var routes []table.Route
	for i := range 1000 {
		routes = append(routes, macIP(100, intent.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, "", vtep1))
	}
	got := messages(t, originated(t, routes...))
	require.Len(t, got, 9)
	for _, m := range got {
		require.LessOrEqual(t, len(m), maxMessage)
	}
}

func TestBadRoutesAreRefused(t *testing.T) {
	for name, r := range map[string]table.Route{
		"no VTEP":                      {Key: table.MACKey(vm1), VNI: 1},
		"VNI too large":                {Key: table.MACKey(vm1), VNI: intent.MaxVNI + 1, VTEP: vtep1},
		"IMET nowhere":                 {Key: table.Key{Type: table.IMET}, VNI: 1, VTEP: vtep1},
		"other type":                   {Key: table.Key{Type: 4}, VNI: 1, VTEP: vtep1},
		"L3VNI without a router's MAC": {Key: table.HostKey(vm1, vtep1), VNI: 1, L3VNI: 2, VTEP: vtep1},
		"L3VNI of a MAC alone":         {Key: table.MACKey(vm1), VNI: 1, L3VNI: 2, RouterMAC: vm1, VTEP: vtep1},
		"L3VNI too large":              {Key: table.HostKey(vm1, vtep1), VNI: 1, L3VNI: intent.MaxVNI + 1, RouterMAC: vm1, VTEP: vtep1},
		"gateway of another family": {Key: table.PrefixKey(netip.MustParsePrefix("192.0.2.0/24")), VNI: 1, VTEP: vtep1,
			Gateway: netip.MustParseAddr("2001:db8::1")},
	} {
		require.Error(t, check(&r), name)
	}
}

func TestOtherEncapsulationsCountAsWithdrawn(t *testing.T) {
	b := appendRoutes(nil, []table.Route{macIP(100, vm1, "", vtep1)})
	at := bytes.Index(b, []byte{3, 0x0c})
	require.Positive(t, at)
	b[at+7] = 10 // MPLS
	got := decoded(t, b)
	require.Len(t, got, 1)
	require.True(t, got[0].Withdrawn)
	b[at+1] = 0x0b // no encapsulation community: VXLAN
	got = decoded(t, b)
	require.False(t, got[0].Withdrawn)
}
