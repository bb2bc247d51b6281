package engine

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
)

// A port in groups on an edge that filters nothing is served, and its status says
// that nothing is filtered.
func TestAnEdgeThatFiltersNothing(t *testing.T) {
	p, g := vm(1), group("a", 7)
	p.Spec.SecurityGroups = []string{"a"}
	b := newBed(t, hv(1), web(), p, g)
	_, err := b.Policy(t.Context(), p.Ref())
	var op *southbound.OpError
	require.ErrorAs(t, err, &op)
	require.Equal(t, southbound.CodeNotReady, op.Code)
	require.ErrorContains(t, err, "read the flows of Port t/vm1: the port is on no edge now")

	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	st := b.untilPhase(p, intent.PhaseDegraded)
	require.Len(t, st.Reasons, 1)
	require.Equal(t, southbound.AlarmCapability, st.Reasons[0].Code)
	require.Contains(t, st.Reasons[0].Message, "the device filters nothing: security groups a are not enforced")
	require.Equal(t, int64(1), st.Applied)
	_, _, err = b.Flows(t.Context(), p.Ref())
	require.ErrorContains(t, err, "hv1 has no flows: policies are enforced by vSwitches")
}
