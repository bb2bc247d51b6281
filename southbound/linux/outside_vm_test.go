//go:build vm

package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/southbound/leafstate"
)

// Two external networks in VRFs of their own, each with a router outside and the
// same pools: they don't meet, and the underlay is neither's.
func TestOutsideInVRFs(t *testing.T) {
	r := newRig(t)
	a, b := r.up()
	for _, l := range r.leaves {
		l.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
	}
	r.daemon(a.ns, a.dir, "bfdd", "--bfdctl", filepath.Join(a.dir, "bfdd.sock"))
	one, two := r.newOutsider(1, a), r.newOutsider(2, a)
	defer func() {
		if t.Failed() {
			a.logRouting()
			b.logRouting()
			t.Log(a.run("nft", "list", "ruleset"))
		}
	}()
	s := a.state()
	s.Routers = []leafstate.Router{external(redVNI, false, one), external(blueVNI, false, two)}
	s.Routers[0].Outside.Others = []netip.Addr{netip.MustParseAddr("10.9.0.3")}
	r.wait("both are in place", func() error {
		in, err := a.applied(s)
		for _, r := range in.Routers {
			if r.Error != "" {
				err = errors.Join(err, errors.New(r.Error))
			}
		}
		return err
	})
	require.NoError(t, a.read())
	// The other leaf has a host of the pools in each: an address of its VRF.
	inside := b.state()
	inside.Routers = []leafstate.Router{external(redVNI, false), external(blueVNI, false)}
	b.mustRoute(inside)
	for _, v := range []uint32{uint32(redVNI), uint32(blueVNI)} {
		name := fmt.Sprintf("vrf%d", v)
		b.run("ip", "addr", "add", host4.String()+"/32", "dev", name)
		b.run("ip", "addr", "add", host6.String()+"/128", "dev", name, "nodad")
		_, err := VTY(t.Context(), b.dir, "bgpd", "configure terminal",
			fmt.Sprintf("route-map host%d permit 10", v), fmt.Sprintf("set large-community %d:%d:1", labASN, v), "exit",
			fmt.Sprintf("router bgp %d vrf %s", labASN, name), "address-family ipv4 unicast", fmt.Sprintf("network %s/32 route-map host%d", host4, v), "exit-address-family",
			"address-family ipv6 unicast", fmt.Sprintf("network %s/128 route-map host%d", host6, v), "exit-address-family")
		require.NoError(t, err)
	}
	for v, o := range map[uint32]*outsider{uint32(redVNI): one, uint32(blueVNI): two} {
		for _, v6 := range []bool{false, true} {
			from := map[bool]netip.Addr{false: host4, true: host6}[v6]
			r.wait("packets pass both ways", func() error { return b.pingVRF(v, from, o.behind(v6)) })
			require.NoError(t, o.ping(o.behind(v6), from))
		}
		require.Equal(t, []string{"2001:db8:f::/64 65000", "203.0.113.0/24 65000"}, o.knows())
	}
	// What one learned, also of the underlay's prefixes, the other has not; the
	// machine's own table has nothing of either.
	main := a.run("ip", "route")
	require.NotContains(t, main, "198.51.100")
	require.Contains(t, a.run("ip", "route", "get", "10.9.0.2"), "10.8.1.9")
	require.Contains(t, a.run("ip", "route", "show", "vrf", vrfName(redVNI)), "198.51.100.1")
	require.NotContains(t, a.run("ip", "route", "show", "vrf", vrfName(redVNI)), "198.51.100.2")
	require.NotContains(t, a.run("ip", "route", "show", "vrf", vrfName(blueVNI)), "198.51.100.1")
	require.Error(t, b.pingVRF(uint32(redVNI), host4, two.behind(false)), "the other network's outside")
	r.in(one.ns, "ip", "route", "add", "10.0.0.0/8", "via", one.address(false, true).Addr().String())
	for _, to := range []netip.Addr{a.vtep(), b.vtep(), reflector, two.behind(false), two.address(false, true).Addr()} {
		require.Error(t, one.ping(one.behind(false), to), "%s is not reached from outside", to)
	}
	// One of them is taken away, the other goes on.
	s.Routers = s.Routers[1:]
	a.mustRoute(s)
	for _, gone := range []string{"weft-5000", "vrf5000"} {
		require.NotContains(t, a.vty("bgpd", "show running-config"), gone)
	}
	require.NotContains(t, a.run("ip", "link"), "vrf5000")
	require.NotContains(t, a.run("ip", "addr", "show", "dev", one.iface()), "192.0.2.")
	require.NoError(t, b.pingVRF(uint32(blueVNI), host4, two.behind(false)))
	require.Error(t, b.pingVRF(uint32(redVNI), host4, one.behind(false)))
}

// pingVRF sends an echo request from an address in a VRF.
func (l *leaf) pingVRF(v uint32, from, to netip.Addr) error {
	out, err := exec.Command("ip", "netns", "exec", l.ns, "ping", "-c1", "-W1", "-I", fmt.Sprintf("vrf%d", v), "-I", from.String(), to.String()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s to %s: %w: %s", from, to, err, out)
	}
	return nil
}
