package engine

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

func theFabric(spec intent.FabricSpec) *intent.Fabric {
	return &intent.Fabric{Metadata: intent.Metadata{Name: intent.FabricName, Revision: 9}, Spec: spec}
}

// shortly is a context that ends where nothing is to be waited for.
func shortly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// A switch gets its state, the next one when its own part changed, and none when
// only others' did.
func TestSwitchState(t *testing.T) {
	e, _ := wiredEngine(t)
	u := e.underlay
	_, err := e.SwitchState(t.Context(), "nobody", "", 0)
	require.ErrorIs(t, err, ErrNoNode)
	changed, err := u.plan()
	require.NoError(t, err)
	require.False(t, changed, "without a Fabric the underlay is somebody else's")
	_, err = e.SwitchState(shortly(t), "leaf1", "", 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	u.put(intent.Ref{Kind: intent.KindFabric, Name: intent.FabricName}, theFabric(intent.FabricSpec{}))
	changed, err = u.plan()
	require.NoError(t, err)
	require.True(t, changed)
	first, err := e.SwitchState(t.Context(), "leaf1", "", 0)
	require.NoError(t, err)
	require.Equal(t, "leaf1", first.Device.Hostname)
	require.Equal(t, first.Device.Hash(), first.Hash)
	require.EqualValues(t, 9, first.Revision)

	// Another leaf: the spine gets a session more, leaf1 nothing.
	spine, err := e.SwitchState(t.Context(), "spine1", "", 0)
	require.NoError(t, err)
	e.put(&intent.Node{Metadata: intent.Metadata{Name: "leaf3", Revision: 12}, Spec: intent.NodeSpec{Role: intent.RoleLeaf}})
	e.put(cable("leaf3", "eth1", "spine1", "eth3"))
	changed, err = u.plan()
	require.NoError(t, err)
	require.True(t, changed)
	now, err := e.SwitchState(t.Context(), "spine1", "", spine.Revision)
	require.NoError(t, err)
	require.EqualValues(t, 12, now.Revision)
	require.NotEqual(t, spine.Hash, now.Hash)
	_, err = e.SwitchState(shortly(t), "leaf1", "", first.Revision)
	require.ErrorIs(t, err, context.DeadlineExceeded, "nothing changed for it")
}

// What can't be planned leaves every state as it was, and is why the Fabric has
// failed.
func TestFabricThatCannotBePlanned(t *testing.T) {
	e, _ := wiredEngine(t)
	u := e.underlay
	f := theFabric(intent.FabricSpec{})
	e.put(f)
	_, err := u.plan()
	require.NoError(t, err)
	before, err := e.SwitchState(t.Context(), "leaf1", "", 0)
	require.NoError(t, err)
	// A hypervisor on a spine.
	e.put(&intent.Node{Metadata: intent.Metadata{Name: "hv9", Revision: 12}, Spec: intent.NodeSpec{Role: intent.RoleHypervisor}})
	e.put(cable("hv9", "eth1", "spine1", "eth9"))
	changed, err := u.plan()
	require.ErrorContains(t, err, "hv9")
	require.False(t, changed)
	after, err := e.SwitchState(t.Context(), "leaf1", "", 0)
	require.NoError(t, err)
	require.Equal(t, before, after)
	st := e.fabricStatus(f)
	require.Equal(t, intent.PhaseFailed, st.Phase)
	require.Equal(t, AlarmPlan, st.Reasons[0].Code)
	require.Contains(t, st.Reasons[0].Message, "hv9")
}

// One box at a time is a node. Another is refused, and an alarm names both, until it
// has been quiet, or the first has.
func TestTwoBoxesOfOneName(t *testing.T) {
	e, pass := wiredEngine(t)
	e.underlay.now = e.wiring.now
	report := func(serial string) error {
		r := hearing("eth1", "spine1", "eth1")
		r.Serial = serial
		return e.TakeSwitch("leaf1", r)
	}
	taken := func() (messages []string) {
		for _, a := range e.Alarms() {
			if a.Reason == AlarmIdentity {
				require.Equal(t, "leaf1", a.Device)
				messages = append(messages, a.Message)
			}
		}
		return messages
	}
	require.NoError(t, report("A"))
	require.NoError(t, report("A"))
	require.Empty(t, taken())
	err := report("B")
	var both *TakenError
	require.ErrorAs(t, err, &both)
	require.Equal(t, TakenError{Node: "leaf1", Has: "A", Wanted: "B"}, *both)
	_, err = e.SwitchState(t.Context(), "leaf1", "B", 0)
	require.ErrorAs(t, err, &both, "it gets no state either")
	require.Equal(t, []string{both.Error()}, taken())
	require.NoError(t, report("A"), "the first stays")

	pass(silentAfter + time.Second)
	e.judgeIdentities()
	require.Empty(t, taken(), "the second has been quiet")
	require.NoError(t, report("B"), "and so has the first")
	require.ErrorAs(t, report("A"), &both)
}

// What an agent mended is an event; what it could not put in place an alarm, until it
// can.
func TestReportsOfTheUnderlay(t *testing.T) {
	e, _ := wiredEngine(t)
	e.put(theFabric(intent.FabricSpec{}))
	_, err := e.underlay.plan()
	require.NoError(t, err)
	want, err := e.SwitchState(t.Context(), "leaf1", "A", 0)
	require.NoError(t, err)
	report := func(u switchstate.Underlay) {
		r := hearing("eth1", "spine1", "eth1")
		r.Serial, r.Underlay = "A", u
		require.NoError(t, e.TakeSwitch("leaf1", r))
	}
	phase := func() (intent.Phase, string) {
		_, why, phase := e.underlay.status("leaf1")
		if why == nil {
			return phase, ""
		}
		return phase, why.Code + ": " + why.Message
	}
	p, why := phase()
	require.Equal(t, intent.PhasePending, p)
	require.Contains(t, why, "NoAgent")
	report(switchstate.Underlay{Hash: want.Hash, Revision: want.Revision, Repaired: []switchstate.Repair{{What: "interface lo: address 10.255.0.1/32 added"}}})
	p, _ = phase()
	require.Equal(t, intent.PhaseReady, p)
	require.Contains(t, messagesOf(e.Events(), repairedReason), "somebody changed the switch, and its agent mended it: interface lo: address 10.255.0.1/32 added")

	const words = `bgpd: "neighbor x": % Unknown command`
	report(switchstate.Underlay{Hash: "before", Wanted: want.Hash, Error: words, Refused: true})
	p, why = phase()
	require.Equal(t, intent.PhaseFailed, p)
	require.Equal(t, "Refused: "+words, why)
	require.Contains(t, messagesOf(e.Events(), AlarmUnderlay), words)
	report(switchstate.Underlay{Hash: want.Hash, Revision: want.Revision})
	for _, a := range e.Alarms() {
		require.NotEqual(t, AlarmUnderlay, a.Reason)
	}
}

func messagesOf(events []southbound.Event, reason string) (out []string) {
	for _, e := range events {
		if e.Reason == reason {
			out = append(out, e.Message)
		}
	}
	return out
}
