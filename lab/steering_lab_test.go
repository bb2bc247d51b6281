//go:build lab

package lab

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

// steerRig is the lab of the tests of steering: from leaf1 to leaf3 there are two ways.
type steerRig struct {
	*site
	vtep    map[string]netip.Addr
	servers pairOf // on EVPN leaves
	vms     pairOf // on vSwitches behind them
}

func newSteerRig(t *testing.T) *steerRig {
	t.Helper()
	file, err := LoadFile("testdata/steer.clab.yml")
	require.NoError(t, err)
	facts, err := PlanFabric(file)
	require.NoError(t, err)
	w := siteOf(t, file)
	w.put(w.objects...)
	w.ready(patience)
	r := &steerRig{site: w, vtep: map[string]netip.Addr{}, servers: pairOf{"server1", "server3", netip.MustParseAddr("10.0.0.3")},
		vms: pairOf{"vm1", "vm3", netip.MustParseAddr("10.0.0.13")}}
	for _, n := range facts.Nodes {
		r.vtep[n.Name] = n.VTEP
	}
	return r
}

// spinesLearnNothing checks that no spine has a route by leaf1 to a VTEP of another leaf.
func (r *steerRig) spinesLearnNothing() {
	r.Helper()
	for _, spine := range []string{"spine1", "spine2"} {
		b, err := vty(r.Context(), r.NodeDir(spine), "bgpd", fmt.Sprintf("show bgp ipv4 unicast %s/32", r.vtep["leaf3"]))
		require.NoError(r, err)
		require.Contains(r, string(b), "1 available", "%s knows leaf3 from itself only:\n%s", spine, b)
		require.NotContains(r, string(b), "no-export", "%s", b)
	}
	b, err := vty(r.Context(), r.NodeDir("leaf1"), "bgpd", fmt.Sprintf("show bgp ipv4 unicast %s/32", r.vtep["leaf3"]))
	require.NoError(r, err)
	require.Contains(r, string(b), "no-export", "%s", b)
}

// Leaf pairs are steered by policies: by a pin, by what is to be avoided and by weights.
// Shares are those of the links' own counters; a probe each millisecond loses nothing
// while policies come, change and go; no spine learns what was injected; a pinned spine
// that dies costs little, and has its traffic back when it heals.
func TestSteering(t *testing.T) {
	r := newSteerRig(t)
	to := r.vtep["leaf3"]
	ecmp := "eth1*1,eth2*1"
	r.steered("leaf1", to, ecmp)
	r.requireShares([]float64{50, 50}, r.shares(r.servers, "leaf1", "eth1", "eth2"), "by ECMP")

	scope := intent.SteeringScope{From: "leaf1", To: "leaf3"}
	for _, c := range []struct {
		name string
		spec intent.SteeringPolicySpec
		legs string
		want []float64
	}{
		{"pin", intent.SteeringPolicySpec{Scope: scope, Pin: &intent.SteeringPin{Via: []string{"spine2"}}}, "eth2", []float64{0, 100}},
		{"avoid", intent.SteeringPolicySpec{Scope: scope, Avoid: &intent.SteeringAvoid{Links: []string{"spine2:eth3"}}}, "eth1", []float64{100, 0}},
		{"weight", intent.SteeringPolicySpec{Scope: scope, Weight: map[string]int{"spine1": 3, "spine2": 1}}, "eth1*75,eth2*25", []float64{75, 25}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := r.within(t)
			probe := r.probing(r.servers)
			r.put(steeringPolicy("the-"+c.name, c.spec))
			took := r.steered("leaf1", to, c.legs)
			r.eventually(patience, func() error { // by the leaf's own word
				if s := r.cliGet(intent.Ref{Kind: intent.KindSteeringPolicy, Name: "the-" + c.name}); s.Phase != intent.PhaseReady || len(s.Steered) == 0 {
					return errStill("%+v", s)
				}
				return nil
			})
			r.requireShares(c.want, r.shares(r.servers, "leaf1", "eth1", "eth2"), c.name)
			r.steered("leaf2", to, ecmp) // is not meant
			r.spinesLearnNothing()
			r.off("the-" + c.name)
			back := r.steered("leaf1", to, ecmp)
			sent, lost := probe.end()
			t.Logf("in the kernel after %s, gone after %s; of %d probes %d were lost", took.Round(time.Millisecond), back.Round(time.Millisecond), sent, lost)
			require.Zero(t, lost)
		})
	}
	t.Run("what goes to VMs", func(t *testing.T) {
		r := r.within(t)
		r.put(steeringPolicy("rack", intent.SteeringPolicySpec{Scope: scope, Pin: &intent.SteeringPin{Via: []string{"spine1"}}}))
		r.steered("leaf1", r.vtep["hv3"], "eth1")
		r.requireShares([]float64{100, 0}, r.shares(r.vms, "leaf1", "eth1", "eth2"), "vSwitch to vSwitch, pinned to spine1")
		r.off("rack")
	})
	t.Run("the pinned spine dies", func(t *testing.T) { r.within(t).spineDies(to, ecmp) })
	t.Run("frozen", func(t *testing.T) { r.within(t).frozen(to, ecmp) })
	t.Run("refused", func(t *testing.T) { r.within(t).refused() })
}

// within is the rig in a subtest.
func (r *steerRig) within(t *testing.T) *steerRig {
	s, out := *r.site, *r
	s.TB = t
	out.site = &s
	return &out
}

// spineDies kills what runs on a spine and takes its links down, and heals it.
func (r *steerRig) spineDies(to netip.Addr, ecmp string) {
	r.put(steeringPolicy("pin", intent.SteeringPolicySpec{Scope: intent.SteeringScope{From: "leaf1", To: "leaf3", Direction: intent.SteerBoth}, Pin: &intent.SteeringPin{Via: []string{"spine2"}}}))
	r.steered("leaf1", to, "eth2")
	r.steered("leaf3", r.vtep["leaf1"], "eth2")
	probe := r.probing(r.servers)
	r.crashes("spine2", to, "eth2", "eth1", probe)
	r.off("pin")
	r.steered("leaf1", to, ecmp)
}

// frozen checks the hard stop: what is steered stays, and nothing else is.
func (r *steerRig) frozen(to netip.Addr, ecmp string) {
	scope := intent.SteeringScope{From: "leaf1", To: "leaf3"}
	r.put(steeringPolicy("pin", intent.SteeringPolicySpec{Scope: scope, Pin: &intent.SteeringPin{Via: []string{"spine1"}}}))
	r.steered("leaf1", to, "eth1")
	r.put(steeringPolicy("stop", intent.SteeringPolicySpec{Freeze: true}))
	r.put(steeringPolicy("pin", intent.SteeringPolicySpec{Scope: scope, Pin: &intent.SteeringPin{Via: []string{"spine2"}}}))
	r.eventually(patience, func() error {
		if s := r.cliGet(intent.Ref{Kind: intent.KindSteeringPolicy, Name: "pin"}); len(s.Reasons) == 0 || s.Reasons[0].Code != "Frozen" {
			return errStill("%+v", s)
		}
		return nil
	})
	require.Equal(r, "eth1", r.legs("leaf1", to))
	r.off("stop")
	r.steered("leaf1", to, "eth2")
	r.off("pin")
	r.steered("leaf1", to, ecmp)
}

// refused checks what the controller does not take, and says why.
func (r *steerRig) refused() {
	r.put(steeringPolicy("one", intent.SteeringPolicySpec{Scope: intent.SteeringScope{From: "leaf1"}, Pin: &intent.SteeringPin{Via: []string{"spine1"}}}))
	for want, spec := range map[string]intent.SteeringPolicySpec{
		`via: the fabric has no switch "spine9"`: {Pin: &intent.SteeringPin{Via: []string{"spine9"}}},
		"there is no way by leaf2 for":           {Scope: intent.SteeringScope{From: "leaf1", To: "leaf3"}, Pin: &intent.SteeringPin{Via: []string{"leaf2"}}},
		"policies one and two conflict":          {Scope: intent.SteeringScope{To: "leaf3"}, Weight: map[string]int{"spine2": 1}},
		"spec.weight.spine1: 0 is outside 1..64": {Weight: map[string]int{"spine1": 0}},
		`names an unknown tenant "green"`:        {Scope: intent.SteeringScope{Tenant: "green"}, Pin: &intent.SteeringPin{Via: []string{"spine1"}}},
	} {
		_, err := r.client.Put(r.Context(), steeringPolicy("two", spec), client.PutOptions{})
		require.ErrorContains(r, err, want)
	}
	r.off("one")
	// A leaf that takes no injected routes.
	leaf := intent.Ref{Kind: intent.KindNode, Name: "leaf4"}
	o, err := r.client.Get(r.Context(), leaf)
	require.NoError(r, err)
	n := o.(*intent.Node)
	n.Spec.Injection, n.Status = nil, nil
	r.put(n)
	r.put(steeringPolicy("deaf", intent.SteeringPolicySpec{Scope: intent.SteeringScope{From: "leaf4"}, Pin: &intent.SteeringPin{Via: []string{"spine1"}}}))
	r.eventually(patience, func() error {
		s := r.cliGet(intent.Ref{Kind: intent.KindSteeringPolicy, Name: "deaf"})
		if s.Phase != intent.PhaseFailed || len(s.Reasons) != 1 || s.Reasons[0].Device != "leaf4" || s.Reasons[0].Code != "NotSteerable" {
			return errStill("%+v", s)
		}
		return nil
	})
	r.off("deaf")
}
