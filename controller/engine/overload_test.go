package engine

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// A pin that puts more on a link than it has is warned of before it is there, by the
// traffic that is measured, and its status says so for as long as that holds.
func TestAPinThatOverloadsIsWarnedOf(t *testing.T) {
	c := newChoosing(t)
	c.pass(20) // 24 Mbit/s from leaf1 to leaf2; by spine2 there are 20 Mbit/s
	pin := func(via string) *intent.SteeringPolicy {
		return &intent.SteeringPolicy{Metadata: intent.Metadata{Name: "pin"}, Spec: intent.SteeringPolicySpec{Scope: intent.SteeringScope{From: "leaf1"}, Pin: &intent.SteeringPin{Via: []string{via}}}}
	}
	plan, err := c.PlanSteering(SteeringQuestion{Policies: []*intent.SteeringPolicy{pin("spine2")}})
	require.NoError(t, err)
	require.Len(t, plan.Overloads, 2, "up and down")
	o := plan.Overloads[0]
	require.Equal(t, []string{"pin"}, o.Policies)
	require.InDelta(t, 24e6, o.Rate, 1e6)
	require.InDelta(t, 12e6, o.ECMP, 1e6)
	require.InDelta(t, 20e6, o.Capacity, 1)
	plan, err = c.PlanSteering(SteeringQuestion{Policies: []*intent.SteeringPolicy{pin("spine1")}})
	require.NoError(t, err)
	require.Empty(t, plan.Overloads)

	codes := func(p *intent.SteeringPolicy) (out []string) {
		c.put(p)
		c.steerer.watchOverloads()
		for _, r := range c.steerer.status(p).Reasons {
			if out = append(out, r.Code); r.Code == codeOverload {
				require.Contains(t, r.Message, "leaf1:eth2 to spine2:eth1 would carry 2")
				require.Contains(t, r.Message, "of its 20M")
			}
		}
		return out
	}
	require.Contains(t, codes(pin("spine2")), codeOverload)
	require.NotContains(t, codes(pin("spine1")), codeOverload)
	// One that has ended is not judged.
	p := pin("spine2")
	p.Spec.Until = time.Now().Add(-time.Second)
	require.NotContains(t, codes(p), codeOverload)
}

// A tenant for which no colour is left is not steered apart, so its policy puts nothing
// on links.
func TestAPolicyWithoutAColourOverloadsNothing(t *testing.T) {
	c := newChoosing(t)
	c.pass(20)
	p := &intent.SteeringPolicy{Metadata: intent.Metadata{Name: "pin"}, Spec: intent.SteeringPolicySpec{Scope: intent.SteeringScope{Tenant: "blue"}, Pin: &intent.SteeringPin{Via: []string{"spine2"}}}}
	c.put(&intent.Network{Metadata: intent.Metadata{Name: "web", Tenant: "blue"}, Spec: intent.NetworkSpec{VNI: 1}})
	plan, err := c.PlanSteering(SteeringQuestion{Policies: []*intent.SteeringPolicy{p}})
	require.NoError(t, err)
	require.ErrorContains(t, plan.Unfit["pin"], "no node states further addresses")
	require.Empty(t, plan.Overloads)
}

// A draft is the youngest policy, and one that takes another's place as old as that:
// else it would be told a colour that somebody else keeps.
func TestDraftsTakeNobodysColour(t *testing.T) {
	c := newSteeringBed(t)
	for i := range 2 {
		leaf := fmt.Sprintf("leaf%d", i+1)
		n := *c.model.Node(leaf)
		n.Spec.Colours = []netip.Addr{netip.AddrFrom4([4]byte{10, 128, byte(i), 1})}
		c.put(&n)
	}
	pin := func(name, tenant string, made *time.Time) *intent.SteeringPolicy {
		return &intent.SteeringPolicy{Metadata: intent.Metadata{Name: name, Created: made}, Spec: intent.SteeringPolicySpec{Scope: intent.SteeringScope{Tenant: tenant}, Pin: &intent.SteeringPin{Via: []string{"spine2"}}}}
	}
	day := func(d int) *time.Time { t := c.now.AddDate(0, 0, d); return &t }
	c.put(pin("a", "blue", day(-2)))
	c.reports()
	c.steerer.bring(c.ctx, c.now)
	plan, err := c.PlanSteering(SteeringQuestion{Policies: []*intent.SteeringPolicy{pin("new", "red", nil)}})
	require.NoError(t, err)
	require.NotContains(t, plan.Unfit, "a")
	require.ErrorContains(t, plan.Unfit["new"], "no colour is left: 1 of 1 are used by tenant blue")
	c.put(pin("b", "red", day(-1)))
	c.steerer.bring(c.ctx, c.now)
	plan, err = c.PlanSteering(SteeringQuestion{Policies: []*intent.SteeringPolicy{pin("b", "red", nil)}})
	require.NoError(t, err)
	require.NotContains(t, plan.Unfit, "a", "b is still the younger one")
	require.ErrorContains(t, plan.Unfit["b"], "no colour is left")
}
