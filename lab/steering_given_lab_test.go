//go:build lab

package lab

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// What leaf1 sends: an elephant of blue's and mice of red's to leaf3, and what is pinned to
// spine1, to leaf4.
const (
	givenElephant = 2_000_000 // bytes a second of payload
	givenMice     = 600_000
	givenFlows    = 200
)

// An elephant of blue's is hashed to the spine that something else is pinned to, as one half
// of red's mice between the same leaves: the optimiser gives blue a colour and has the elephant
// go by the other spine, and the mice stay on ECMP, by the links' counters and by what is seen
// on them. A probe of blue's each millisecond loses nothing. A controller that is killed and
// started leaves blue its colour: nothing is sent to the VTEP's own address meanwhile.
func TestSteeringGivesAColour(t *testing.T) {
	file := steeringFile(t)
	c := &colourRig{nodes: map[string]intent.NodeSpec{}, colour: map[string]int{}, vnis: map[string]intent.VNI{}}
	c.site = siteOf(t, file)
	r := &autoRig{site: c.site, file: file}
	for _, n := range r.FabricNodes {
		c.nodes[n.Metadata.Name] = n.Spec
	}
	r.limit("80M")
	r.put(r.objects...)
	r.ready(patience)
	r.put(steeringPolicy("pinned", intent.SteeringPolicySpec{Scope: intent.SteeringScope{From: "leaf1", To: "leaf4"}, Pin: &intent.SteeringPin{Via: []string{"spine1"}}, Priority: 5}))
	r.steered("leaf1", c.at("leaf4", ""), "eth1")
	c.up = c.watch("leaf1", "eth1", "eth2")

	elephant := &udpFlows{from: "blue-srv1", to: "blue-srv3", address: "10.0.0.13", flows: 1, rate: givenElephant}
	elephant.opened = []*net.UDPConn{r.hashedTo(elephant, "leaf1", 0)}
	defer r.send(elephant,
		&udpFlows{from: "red-srv1", to: "red-srv3", address: "10.0.0.13", flows: givenFlows, rate: givenMice},
		&udpFlows{from: "red-srv1", to: "red-srv4", address: "10.0.0.14", flows: 1, rate: givenElephant})()
	p := r.probing(pairOf{"blue-srv1", "blue-srv3", netip.MustParseAddr("10.0.0.13")})
	before := r.leaving(5 * time.Second)
	r.Logf("by ECMP %.1f %% of what leaf1 sends leave by each uplink", before)
	require.Greater(t, before[0], 85.0)

	began := time.Now()
	r.cli("steer", "auto")
	g := c.isGiven("blue", true)
	r.Logf("blue has colour %d after %s, its elephants are %.1f Mbit/s, the most utilised link is at %.1f %%, without it %.1f %%:\n%s", g.Colour, time.Since(began).Round(time.Millisecond), g.Rate/1e6, 100*g.With, 100*g.Without, r.cli("steer", "show", "auto"))
	require.InEpsilon(t, 8*givenElephant*tunnelled/payload, g.Rate, 0.3)
	require.Greater(t, g.Without, 1.2*g.With)
	r.eventually(patience, func() error { return c.onlyTo(c.up.during(func() { time.Sleep(time.Second) }), "blue") })
	sent := c.up.during(func() { time.Sleep(4 * time.Second) })
	require.NoError(t, c.mostlyBy(sent, "blue", "eth2", 95))
	require.NoError(t, c.onlyTo(sent, "blue"))
	c.requireParts(sent, "red", "leaf3", 20, 50, 50) // 200 flows
	require.Equal(t, "eth1*1,eth2*1", r.legs("leaf1", c.at("leaf3", "red")), "mice stay on ECMP")
	after := r.leaving(5 * time.Second)
	r.Logf("then %.1f %%", after)
	require.InDelta(t, 50, after[0], 8)
	lostSince(r, p)

	p = r.probing(pairOf{"blue-srv1", "blue-srv3", netip.MustParseAddr("10.0.0.13")})
	sent = c.up.during(func() {
		require.NoError(t, RestartController(t.Context(), r.State, r.weft, true))
		r.ready(patience)
		again := c.isGiven("blue", false) // its elephant may go by the right spine without a route
		require.Equal(t, g.Colour, again.Colour)
		require.Equal(t, g.Since, again.Since, "it was kept, and not given anew")
	})
	require.NoError(t, c.onlyTo(sent, "blue"), "while the controller was killed and started")
	r.eventually(patience, func() error {
		return c.mostlyBy(c.up.during(func() { time.Sleep(time.Second) }), "blue", "eth2", 95)
	})
	lostSince(r, p)
}

// lostSince ends a probe that must have lost nothing.
func lostSince(r *autoRig, p *steady) {
	r.Helper()
	sent, lost := p.end()
	r.Logf("of %d probes %d were lost", sent, lost)
	require.Zero(r, lost)
}

// leaving is which part of a hundred of what leaf1 sends within a time leaves by each uplink,
// by the links' own counters.
func (r *autoRig) leaving(within time.Duration) [2]float64 {
	r.Helper()
	was := r.sentBy("leaf1", "eth1", "eth2")
	time.Sleep(within) // the time over which is measured
	is := r.sentBy("leaf1", "eth1", "eth2")
	a, b := float64(is[0]-was[0]), float64(is[1]-was[1])
	return [2]float64{100 * a / (a + b), 100 * b / (a + b)}
}

// isGiven waits until the policy auto says that it gave a tenant a colour, measured what that
// is worth, and its routes are in the kernels: of which there must be one on leaf1 if routed.
func (r *colourRig) isGiven(tenant string, routed bool) (out intent.GivenColour) {
	r.Helper()
	r.eventually(patience, func() error {
		s := r.cliGet(intent.Ref{Kind: intent.KindSteeringPolicy, Name: "auto"})
		if s.Phase != intent.PhaseReady || len(s.Given) != 1 || s.Given[0].Tenant != tenant || s.Given[0].Rate == 0 {
			return errStill("%+v\n%s", s, r.cli("steer", "chosen"))
		}
		out = s.Given[0]
		r.colour[tenant] = out.Colour
		if !routed {
			return nil
		}
		for _, route := range s.Steered {
			if route.Tenant == tenant && route.Device == "leaf1" {
				return nil
			}
		}
		return errStill("no route is for %s: %+v", tenant, s.Steered)
	})
	return out
}

// mostlyBy says when less than so many parts of a hundred of a tenant's traffic to leaf3 left
// by an uplink.
func (r *colourRig) mostlyBy(sent map[outgoing]uint64, tenant, uplink string, least float64) error {
	parts, bytes := byUplink(sent, r.vniOf(tenant), []netip.Addr{r.at("leaf3", tenant)}, uplink, map[string]string{"eth1": "eth2", "eth2": "eth1"}[uplink])
	r.Logf("%s: %.1f %% of %d bytes to %s left by %s", tenant, parts[0], bytes, r.at("leaf3", tenant), uplink)
	if parts[0] < least {
		return fmt.Errorf("%s: %.1f %% left by %s", tenant, parts[0], uplink)
	}
	return nil
}
