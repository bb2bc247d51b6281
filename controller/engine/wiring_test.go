package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

func cable(a, ai, b, bi string) *intent.Link {
	return &intent.Link{Metadata: intent.Metadata{Name: a + ":" + ai + "-" + b + ":" + bi}, Spec: intent.LinkSpec{Endpoints: []intent.LinkEnd{{Node: a, Interface: ai}, {Node: b, Interface: bi}}}}
}

// hearing is a report of one port and who is heard there.
func hearing(iface string, device, port string) switchstate.Report {
	p := switchstate.Port{Name: iface, Up: true, MTU: 9216}
	if device != "" {
		p.Neighbours = []switchstate.Neighbour{{Device: device, Port: port}}
	}
	return switchstate.Report{Ports: []switchstate.Port{p}}
}

// wiredEngine has two leaves on one spine, of which reports come by themselves.
func wiredEngine(t *testing.T) (e *Engine, pass func(time.Duration)) {
	e = New(Config{})
	now := time.Now()
	e.wiring.now = func() time.Time { return now }
	for _, n := range []string{"leaf1", "leaf2", "spine1"} {
		role := intent.RoleLeaf
		if n == "spine1" {
			role = intent.RoleSpine
		}
		e.put(&intent.Node{Metadata: intent.Metadata{Name: n}, Spec: intent.NodeSpec{Role: role}})
	}
	e.put(cable("leaf1", "eth1", "spine1", "eth1"))
	e.put(cable("leaf2", "eth1", "spine1", "eth2"))
	return e, func(d time.Duration) { now = now.Add(d) }
}

func (e *Engine) reportAll(leaf1, leaf2 string) {
	spine := switchstate.Report{Ports: []switchstate.Port{hearing("eth1", leaf1, "eth1").Ports[0], hearing("eth2", leaf2, "eth1").Ports[0]}}
	e.TakeSwitch("spine1", spine)
	for port, leaf := range map[string]string{"eth1": leaf1, "eth2": leaf2} {
		if leaf != "" {
			e.TakeSwitch(leaf, hearing("eth1", "spine1", port))
		}
	}
}

func TestAlarmsOfCables(t *testing.T) {
	e, pass := wiredEngine(t)
	require.Equal(t, []string{"leaf1", "leaf2", "spine1"}, e.Cabling().Unheard)
	require.ErrorIs(t, e.TakeSwitch("nobody", switchstate.Report{}), ErrNoNode)
	e.reportAll("leaf1", "leaf2")
	require.Equal(t, Cabling{Links: 2}, e.Cabling())

	e.reportAll("leaf2", "leaf1") // two cables are swapped
	require.Len(t, e.Cabling().Faults, 2)
	e.judgeWiring()
	require.Empty(t, e.Alarms(), "while cables are moved there is no alarm")
	pass(settleTime)
	e.reportAll("leaf2", "leaf1")
	e.judgeWiring()
	var said []string
	for _, a := range e.Alarms() {
		said = append(said, a.Device+" "+a.Reason+": "+a.Message)
	}
	require.ElementsMatch(t, []string{
		"leaf1 Miswired: leaf1:eth1 is wired to spine1:eth2, where leaf2:eth1 belongs: move that end to spine1:eth1",
		"leaf2 Miswired: leaf2:eth1 is wired to spine1:eth1, where leaf1:eth1 belongs: move that end to spine1:eth2",
	}, said)
	e.reportAll("leaf1", "leaf2")
	e.judgeWiring()
	require.Empty(t, e.Alarms())
	require.Empty(t, e.Cabling().Faults)
}

// A switch that falls silent is told of; its cables are not judged by what it said
// long ago.
func TestSilentSwitches(t *testing.T) {
	e, pass := wiredEngine(t)
	e.reportAll("leaf1", "leaf2")
	e.judgeWiring()
	pass(silentAfter + time.Second)
	e.TakeSwitch("leaf1", hearing("eth1", "spine1", "eth1"))
	e.TakeSwitch("leaf2", hearing("eth1", "spine1", "eth2"))
	e.judgeWiring()
	require.Equal(t, []string{"spine1"}, e.Cabling().Silent)
	require.Empty(t, e.Cabling().Faults)
	require.Len(t, e.Alarms(), 1)
	require.Equal(t, AlarmSilent, e.Alarms()[0].Reason)
	e.delete(intent.Ref{Kind: intent.KindNode, Name: "spine1"})
	require.Empty(t, e.Alarms())
	require.Empty(t, e.Cabling().Silent)
}

// The switches are those of the intent, whether they report or not.
func TestSwitches(t *testing.T) {
	e := &Engine{wiring: newWiring()}
	for name, role := range map[string]intent.Role{"leaf1": intent.RoleLeaf, "spine1": intent.RoleSpine, "hv1": intent.RoleHypervisor} {
		n := &intent.Node{Metadata: intent.Metadata{Name: name}, Spec: intent.NodeSpec{Role: role}}
		e.wiring.put(n.Ref(), n)
	}
	require.Equal(t, map[string]intent.Role{"leaf1": intent.RoleLeaf, "spine1": intent.RoleSpine}, e.Switches())
	e.wiring.put(intent.Ref{Kind: intent.KindNode, Name: "leaf1"}, nil)
	require.Equal(t, map[string]intent.Role{"spine1": intent.RoleSpine}, e.Switches())
}
