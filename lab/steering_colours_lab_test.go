//go:build lab

package lab

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// colourRig is a fabric on which tenants are steered apart: from leaf1 to leaf3, between
// servers on EVPN leaves and between VMs on vSwitches.
type colourRig struct {
	*site
	up     *uplinks // of leaf1
	nodes  map[string]intent.NodeSpec
	colour map[string]int // of tenants
	vnis   map[string]intent.VNI
}

// pairs are a tenant's servers and VMs.
func (r *colourRig) pairs(tenant string) []pairOf {
	return []pairOf{{tenant + "-srv1", tenant + "-srv3", netip.MustParseAddr("10.0.0.13")}, {tenant + "-vm1", tenant + "-vm3", netip.MustParseAddr("10.0.0.23")}}
}

// at is the address at which a tenant's traffic ends at a node.
func (r *colourRig) at(node, tenant string) netip.Addr {
	n := r.nodes[node]
	if k := r.colour[tenant]; k > 0 {
		return n.Colours[k-1]
	}
	return n.VTEP
}

// vniOf is the VNI of a tenant's network.
func (r *colourRig) vniOf(tenant string) intent.VNI {
	r.Helper()
	if r.vnis[tenant] == 0 {
		o, err := r.client.Get(r.Context(), intent.Ref{Kind: intent.KindNetwork, Tenant: tenant, Name: "lan"})
		require.NoError(r, err)
		r.vnis[tenant] = o.(*intent.Network).Spec.VNI
	}
	return r.vnis[tenant]
}

// pin has a tenant go by one spine, both ways.
func (r *colourRig) pin(tenant, via string) {
	r.Helper()
	r.put(steeringPolicy(tenant, intent.SteeringPolicySpec{Scope: intent.SteeringScope{Tenant: tenant, From: "leaf1", To: "leaf3", Direction: intent.SteerBoth}, Pin: &intent.SteeringPin{Via: []string{via}}}))
}

// coloured waits until a policy's routes are in the kernels, and notes the tenant's colour.
func (r *colourRig) coloured(tenant string) {
	r.Helper()
	took := r.eventually(patience, func() error {
		s := r.cliGet(intent.Ref{Kind: intent.KindSteeringPolicy, Name: tenant})
		if s.Phase != intent.PhaseReady || len(s.Steered) == 0 || s.Steered[0].Colour == 0 {
			return errStill("%+v", s)
		}
		r.colour[tenant] = s.Steered[0].Colour
		return nil
	})
	r.Logf("%s has colour %d, its routes are in the kernels after %s", tenant, r.colour[tenant], took.Round(time.Millisecond))
}

// probed are the probes' tenants, and where the traffic of each ends: servers on EVPN
// leaves, and VMs on vSwitches.
var probed = map[string]string{"blue": "leaf3", "red": "hv3"}

// probes begins a probe each millisecond for both tenants; the function that it returns
// ends them, when all that leaf1 sends of them goes to where it is to go, and tells what
// was lost.
func (r *colourRig) probes() (end func(why string)) {
	r.Helper()
	blue, red := r.probing(r.pairs("blue")[0]), r.probing(r.pairs("red")[1])
	return func(why string) {
		r.Helper()
		took := r.eventually(patience, func() error { return r.onlyTo(r.up.during(func() {}), "blue", "red") })
		for tenant, p := range map[string]*steady{"blue": blue, "red": red} {
			sent, lost := p.end()
			r.Logf("%s, after %s: of %d probes of %s's %d were lost", why, took.Round(time.Millisecond), sent, tenant, lost)
			require.Zero(r, lost, tenant)
		}
	}
}

// onlyTo says which of the tenants' probes went elsewhere than to their addresses.
func (r *colourRig) onlyTo(sent map[outgoing]uint64, tenants ...string) error {
	for _, tenant := range tenants {
		vni, to := r.vniOf(tenant), r.at(probed[tenant], tenant)
		for k, n := range sent {
			if k.vni == vni && k.to != to {
				return fmt.Errorf("%s sent %d bytes to %s, not to %s", tenant, n, k.to, to)
			}
		}
		if _, bytes := byUplink(sent, vni, []netip.Addr{to}, "eth1", "eth2"); bytes == 0 {
			return fmt.Errorf("%s sent nothing to %s", tenant, to)
		}
	}
	return nil
}

// requireParts checks by which uplinks of leaf1 a tenant's traffic to a node left.
func (r *colourRig) requireParts(sent map[outgoing]uint64, tenant, node string, within float64, want ...float64) {
	r.Helper()
	parts, bytes := byUplink(sent, r.vniOf(tenant), []netip.Addr{r.at(node, tenant)}, "eth1", "eth2")
	r.Logf("%s to %s (%s): %.1f %% of %d bytes by each spine, asked is %.0f", tenant, node, r.at(node, tenant), parts, bytes, want)
	require.Greater(r, bytes, uint64(40_000))
	for i := range want {
		require.InDelta(r, want[i], parts[i], within, "%s to %s: %.1f", tenant, node, parts)
	}
}

// nothingLeaks checks that no spine has learnt a prefix of one colour, and that each has
// the covering one from leaf3 alone.
func (r *colourRig) nothingLeaks() {
	r.Helper()
	for _, tenant := range []string{"blue", "red"} {
		rack, err := r.at("leaf3", tenant).Prefix(24)
		require.NoError(r, err)
		for _, spine := range []string{"spine1", "spine2"} {
			b, err := vty(r.Context(), r.NodeDir(spine), "bgpd", fmt.Sprintf("show bgp ipv4 unicast %s", rack))
			require.NoError(r, err)
			require.Contains(r, string(b), "not in table", "%s", b)
			all, err := r.at("leaf3", tenant).Prefix(22)
			require.NoError(r, err)
			b, err = vty(r.Context(), r.NodeDir(spine), "bgpd", fmt.Sprintf("show bgp ipv4 unicast %s", all))
			require.NoError(r, err)
			require.Contains(r, string(b), "1 available", "%s", b)
		}
		b, err := vty(r.Context(), r.NodeDir("leaf1"), "bgpd", fmt.Sprintf("show bgp ipv4 unicast %s", rack))
		require.NoError(r, err)
		require.Contains(r, string(b), "no-export", "%s", b)
	}
}

// TestSteeringColours: two tenants between the same two leaves are pinned to different
// spines at the same time, a third one stays on ECMP: counted on the links, for VMs on
// vSwitches and servers on EVPN leaves. Probes each millisecond lose nothing while
// policies come and go; no spine learns what was injected; a controller that is killed
// and started changes no next hop; a pinned spine that dies costs little.
func TestSteeringColours(t *testing.T) {
	r := &colourRig{nodes: map[string]intent.NodeSpec{}, colour: map[string]int{}, vnis: map[string]intent.VNI{}}
	r.site = siteOf(t, steeringFile(t, "green"))
	r.put(r.objects...)
	r.ready(patience)
	for _, n := range r.FabricNodes {
		r.nodes[n.Metadata.Name] = n.Spec
	}
	r.up = r.watch("leaf1", "eth1", "eth2")

	end := r.probes()
	r.pin("blue", "spine1")
	r.pin("red", "spine2")
	r.coloured("blue")
	r.coloured("red")
	end("pinned")
	sent := r.up.during(func() { r.burst(20, append(append(r.pairs("blue"), r.pairs("red")...), r.pairs("green")[0])...) })
	for _, node := range []string{"leaf3", "hv3"} {
		r.requireParts(sent, "blue", node, 3, 100, 0)
		r.requireParts(sent, "red", node, 3, 0, 100)
	}
	r.requireParts(sent, "green", "leaf3", 7, 50, 50)
	r.requireShares([]float64{100, 0}, r.shares(r.pairs("blue")[0], "leaf1", "eth1", "eth2"), "blue's servers, by the links' own counters")
	r.requireShares([]float64{0, 100}, r.shares(r.pairs("red")[0], "leaf1", "eth1", "eth2"), "red's servers, by the links' own counters")
	r.nothingLeaks()

	end = r.probes()
	began := time.Now()
	sent = r.up.during(func() {
		require.NoError(t, RestartController(t.Context(), r.State, r.weft, true))
		r.ready(patience)
		r.coloured("blue")
		r.coloured("red")
	})
	t.Logf("the controller was killed and all is in place again after %s", time.Since(began).Round(time.Millisecond))
	require.NoError(t, r.onlyTo(sent, "blue", "red"), "while the controller was killed and started")
	end("the controller was killed and started")

	end = r.probes()
	r.off("blue")
	r.off("red")
	clear(r.colour)
	end("taken back")
	sent = r.up.during(func() { r.burst(20, r.pairs("blue")...) })
	r.requireParts(sent, "blue", "leaf3", 7, 50, 50)
	r.requireParts(sent, "blue", "hv3", 30, 50, 50) // a vSwitch drops of so many new flows
	r.spineOfAColourDies()
}

// spineOfAColourDies kills what runs on the spine that a tenant is pinned to, takes its
// links down, and heals it.
func (r *colourRig) spineOfAColourDies() {
	r.pin("blue", "spine1")
	r.coloured("blue")
	to := r.at("hv3", "blue")
	probe := r.probing(r.pairs("blue")[1])
	r.eventually(patience, func() error {
		if parts, bytes := byUplink(r.up.during(func() {}), r.vniOf("blue"), []netip.Addr{to}, "eth1", "eth2"); bytes == 0 || parts[1] > 0 {
			return errStill("%d bytes, %.1f %%", bytes, parts)
		}
		return nil
	})
	r.crashes("spine1", to, "eth1", "eth2", probe)
	r.off("blue")
	r.steered("leaf1", to, "eth1*1,eth2*1")
}
