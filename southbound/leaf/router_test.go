package leaf

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

const l3 = intent.VNI(5000)

var silent = netip.MustParseAddr("10.0.0.8") // a leaf

var behind = netip.MustParsePrefix("198.51.100.0/24")

// routedFeed is the feed with a router on the port's network and on another that
// is elsewhere; the port is next hop of a static route.
func routedFeed() *feed {
	f := newFeed()
	hop := overlay.Hop{Address: overlay.HopAddress(100, f.port.MAC), Weight: 3}
	f.port.Routing = &overlay.Routing{
		VRF: &overlay.VRF{Router: intent.Ref{Kind: intent.KindRouter, Tenant: "t", Name: "r"}, VNI: l3,
			Subnets: []overlay.Subnet{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), VNI: 100, Gateway: netip.MustParseAddr("192.0.2.254")},
				{Prefix: netip.MustParsePrefix("203.0.113.0/24"), VNI: 101, Gateway: netip.MustParseAddr("203.0.113.1")}},
			Routes: []overlay.Route{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Blackhole: true}, {Prefix: behind, Hops: []overlay.Hop{hop}}}},
		Gateways: []netip.Addr{netip.MustParseAddr("192.0.2.254")}, Sources: []netip.Prefix{behind},
	}
	return f
}

func TestRoutersAreGivenToTheLeafAndJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := routedFeed()
		d := start(t, f, up(), false)
		d.Take(full(0))
		s, err := d.Want(t.Context(), 0)
		require.NoError(t, err)
		require.Equal(t, []leafstate.Router{{Router: f.port.Routing.VRF.Router, VNI: l3, MTU: intent.DefaultMTU,
			Gateways: []leafstate.Gateway{{Segment: 100, Address: netip.MustParsePrefix("192.0.2.254/24")}},
			Routes: []leafstate.Static{{Prefix: netip.MustParsePrefix("10.0.0.0/8")},
				{Prefix: behind, NextHops: []leafstate.NextHop{{Address: f.port.Addresses[0], Weight: 3}}}}}}, s.Routers)
		require.Equal(t, []netip.Prefix{behind}, s.Segments[0].Ports[0].Sources)

		report := full(s.Revision, leafstate.PortReport{Interface: "eth3", VNI: 100})
		programmed := func(r leafstate.RouterReport) bool {
			report.Routers = []leafstate.RouterReport{r}
			d.Take(report)
			synctest.Wait()
			_, ok := d.Programmed(ref)
			return ok
		}
		require.False(t, programmed(leafstate.RouterReport{VNI: l3, Error: "no VRF", Capability: true}))
		why := d.PortError(ref)
		require.ErrorContains(t, why, "no VRF")
		require.Equal(t, southbound.AlarmCapability, why.Code)
		require.Equal(t, map[southbound.AlarmKey]string{{Reason: southbound.AlarmCapability, Object: "Router t/r L3VNI 5000"}: "no VRF"}, f.alarms)
		require.Nil(t, d.Status().Err, "the leaf as a whole is well")
		_, ok := d.Cursor(100)
		require.True(t, ok, "its segments are served")
		_, ok = d.Cursor(l3)
		require.False(t, ok)

		require.False(t, programmed(leafstate.RouterReport{VNI: l3, Error: "bgpd: no"}))
		require.Equal(t, southbound.CodeRefused, d.PortError(ref).Code)
		require.Empty(t, f.alarms)
		require.False(t, programmed(leafstate.RouterReport{VNI: 5001}), "another router")
		require.True(t, programmed(leafstate.RouterReport{VNI: l3}))
		require.Nil(t, d.PortError(ref))
		_, ok = d.Cursor(l3)
		require.True(t, ok)
	})
}

func TestCursorOfARouterFollowsTheKernelsRoutes(t *testing.T) { inColours(t, routerFollowsTheKernel) }

func routerFollowsTheKernel(t *testing.T, c *overlay.Colouring) {
	synctest.Test(t, func(t *testing.T) {
		f := routedFeed()
		f.colours = c
		d := start(t, f, up(), false)
		d.Take(full(0))
		s, err := d.Want(t.Context(), 0)
		require.NoError(t, err)
		report := full(s.Revision, leafstate.PortReport{Interface: "eth3", VNI: 100})
		report.Routers = []leafstate.RouterReport{{VNI: l3}}
		d.Take(report)
		at := func() evpn.Revision {
			synctest.Wait()
			c, _ := d.Cursor(l3)
			return c
		}
		route := func(p string, vtep netip.Addr) []leafstate.Entry {
			q := netip.MustParsePrefix(p)
			return []leafstate.Entry{{Kind: leafstate.Route, VNI: l3, IP: q.Addr(), Bits: uint8(q.Bits()), VTEP: c.At(l3, vtep)}}
		}
		delta := func(add, remove []leafstate.Entry) {
			r := report
			r.Full, r.Add, r.Remove = false, add, remove
			require.True(t, d.Take(r))
		}
		state := func(do func(*evpn.Segment)) { f.change(func(*evpn.Segment) { do(&f.routed) }) }
		mac, ip, rmac := intent.MAC{2, 9}, netip.MustParseAddr("203.0.113.9"), intent.MAC{6}
		path := evpn.Path{VTEP: there, VNI: 101, RouterMAC: rmac, Source: "hv"}
		state(func(s *evpn.Segment) {
			s.Set(evpn.HostKey(mac, ip), path)
			s.Set(evpn.PrefixKey(netip.MustParsePrefix("172.16.0.0/12")), path)
			s.Set(evpn.HostKey(intent.MAC{2, 8}, netip.MustParseAddr("203.0.113.8")), evpn.Path{VTEP: there, VNI: 101, Source: "tor"}) // bridged to
			s.Set(evpn.PrefixKey(behind), path)                                                                                        // the leaf's own static route
		})
		require.Zero(t, at())
		delta(route("203.0.113.9/32", there), nil)
		require.Zero(t, at())
		delta(route("172.16.0.0/12", netip.MustParseAddr("10.0.0.7")), nil)
		require.Equal(t, evpn.Revision(4), at(), "bgpd may prefer another edge with the prefix")

		// A leaf announces a host once it has spoken.
		state(func(s *evpn.Segment) {
			s.Set(evpn.HostKey(intent.MAC{2, 6}, netip.MustParseAddr("203.0.113.6")), evpn.Path{VTEP: silent, VNI: 101, RouterMAC: rmac, Source: "leaf8"})
		})
		require.Equal(t, evpn.Revision(5), at())

		// Another station takes the address at the same VTEP.
		state(func(s *evpn.Segment) { s.Set(evpn.HostKey(intent.MAC{2, 7}, ip), path) })
		require.Equal(t, evpn.Revision(6), at())
		state(func(s *evpn.Segment) { s.Withdraw(evpn.HostKey(mac, ip), "hv") })
		require.Equal(t, evpn.Revision(7), at())
		state(func(s *evpn.Segment) { s.Withdraw(evpn.HostKey(intent.MAC{2, 7}, ip), "hv") })
		require.Equal(t, evpn.Revision(7), at(), "its route is left")
		delta(nil, route("203.0.113.9/32", there))
		require.Equal(t, evpn.Revision(8), at())
	})
}
