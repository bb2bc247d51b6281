package engine

import (
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
	// Frozen and suspended nothing is judged.
	p := pin("spine2")
	p.Spec.Until = time.Now().Add(-time.Second)
	require.NotContains(t, codes(p), codeOverload)
}
