package api

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

// A policy that puts more on a link than it has is taken, and the answer warns of it; so
// does that to a dry run, and a plan.
func TestAnOverloadIsWarnedOf(t *testing.T) {
	b := newBench(t)
	c := b.client()
	spec := intent.SteeringPolicySpec{Freeze: true}
	put := func(name string, dry bool) []string {
		p := &intent.SteeringPolicy{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindSteeringPolicy}, Metadata: intent.Metadata{Name: name}, Spec: spec}
		res, err := c.Put(t.Context(), p, client.PutOptions{DryRun: dry})
		require.NoError(t, err)
		return res.Warnings
	}
	want := []string{"with policy heavy leaf1:eth1 to spine1:eth1 would carry 12G of its 10G (6G by ECMP)"}
	require.Equal(t, want, put("heavy", true))
	require.Equal(t, want, put("heavy", false))
	require.Empty(t, put("light", false))

	plan, err := c.PlanSteering(t.Context(), client.SteeringQuestion{Policies: []client.SteeringDraft{{Name: "heavy", Spec: spec}}})
	require.NoError(t, err)
	require.Len(t, plan.Overloads, 2)
	require.Equal(t, client.SteeringOverload{From: "leaf1:eth1", To: "spine1:eth1", Capacity: 10e9, Rate: 12e9, ECMP: 6e9, Policies: []string{"heavy"},
		Message: "leaf1:eth1 to spine1:eth1 would carry 12G of its 10G (6G by ECMP)"}, plan.Overloads[0])
}
