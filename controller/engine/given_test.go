package engine

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/steering"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// shelf keeps given colours as the store does.
type shelf struct {
	given  []intent.GivenColour
	writes int
	err    error
}

func (s *shelf) GivenColours(context.Context) ([]intent.GivenColour, error) { return s.given, s.err }

func (s *shelf) SetGivenColours(_ context.Context, given []intent.GivenColour) error {
	s.given, s.writes = given, s.writes+1
	return nil
}

// giving is an engine whose leaf1 sends an elephant of blue's by its first uplink, and mice of
// red's by both, to leaf2.
type giving struct {
	*choosing
	shelf *shelf
	leaf  *told
	sent  [2]uint64 // bytes of blue and red
	idle  bool      // blue sends nothing
}

func newGiving(t *testing.T, s *shelf) *giving {
	g := &giving{choosing: newChoosing(t), shelf: s, leaf: &told{}}
	g.config.GivenColours = s
	g.config.NewInjector = func(*intent.Node) Injector { return g.leaf }
	t.Cleanup(g.steerer.end)
	g.setReady(nil)
	g.chooser.damping.Floor = 0.1
	for i, tenant := range []string{"blue", "red"} {
		g.put(&intent.Network{Metadata: intent.Metadata{Tenant: tenant, Name: "lan"}, Spec: intent.NetworkSpec{VNI: intent.VNI(10 + i)}})
	}
	for l := 1; l <= 2; l++ {
		n := *g.model.Node(fmt.Sprintf("leaf%d", l))
		n.Spec.Injection = &intent.Injection{Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(l)})}
		for k := range 4 {
			n.Spec.Colours = append(n.Spec.Colours, netip.AddrFrom4([4]byte{10, 128, byte(4*l + k), 0}))
		}
		g.put(&n)
		for s := 1; s <= 2; s++ {
			link := cable(fmt.Sprintf("leaf%d", l), fmt.Sprintf("eth%d", s), fmt.Sprintf("spine%d", s), fmt.Sprintf("eth%d", l))
			link.Spec.Capacity = "40M"
			far := link.Spec.Endpoints
			far[1].Address = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 192, byte(l), byte(2 * s)}), 31)
			g.put(link)
		}
	}
	g.policy("all", intent.SteeringPolicySpec{Auto: &intent.SteeringAuto{}})
	return g
}

func (g *giving) pass(seconds int) {
	vtep := func(l byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 254, 0, l}) }
	for range seconds {
		g.now = g.now.Add(time.Second)
		if !g.idle {
			g.sent[0] += 2.5e6
		}
		g.sent[1] += 2.5e6
		for _, node := range []string{"spine1", "spine2", "leaf1", "leaf2"} {
			g.TakeSwitch(node, switchstate.Report{Ports: []switchstate.Port{{Name: "eth1", Up: true}, {Name: "eth2", Up: true}}})
			r := switchstate.Load{Full: true, Counts: true, Ports: []switchstate.PortLoad{{Name: "eth1"}, {Name: "eth2"}}}
			if node == "leaf1" {
				r.Tunnels = []switchstate.Tunnelled{
					{Port: "eth1", From: vtep(1), To: vtep(2), VNI: 10, Bytes: g.sent[0]},
					{Port: "eth1", From: vtep(1), To: vtep(2), VNI: 11, Bytes: g.sent[1] / 2},
					{Port: "eth2", From: vtep(1), To: vtep(2), VNI: 11, Bytes: g.sent[1] / 2},
				}
			}
			g.TakeLoad(node, r)
		}
		g.steerer.bring(g.Context(), g.now)
		if g.now.Unix()%5 == 0 {
			g.chooser.step(g.now)
			g.chooser.keep(g.Context())
			g.steerer.bring(g.Context(), g.now)
		}
	}
}

func (g *giving) assigned() map[steering.ColourScope]int {
	g.Engine.colours.mu.Lock()
	defer g.Engine.colours.mu.Unlock()
	return g.Engine.colours.assigned
}

func (g *giving) status() *intent.Status { return g.Status(g.steerer.policies["all"]) }

// A tenant with an elephant is given a colour: those who send are told, leaves have routes for
// it, the status and the store know it, and it is written once. A controller that starts has
// those who send keep it, before anything was measured; and it ends with the policy.
func TestTheOptimiserGivesAndKeepsColours(t *testing.T) {
	s := &shelf{}
	g := newGiving(t, s)
	g.pass(45)
	require.Len(t, g.assigned(), 1, "%+v", g.Choice())
	colour := g.assigned()[steering.ColourScope{Tenant: "blue"}]
	require.NotZero(t, colour)
	require.Contains(t, g.leaf.text(), fmt.Sprintf("10.128.%d.0/32 spine1*1", 8+colour-1))
	given := g.status().Given
	require.Len(t, given, 1)
	require.Equal(t, []any{"blue", colour, "all"}, []any{given[0].Tenant, given[0].Colour, given[0].Policy})
	require.InDelta(t, 20e6, given[0].Rate, 1e6)
	require.Greater(t, given[0].Without, given[0].With)
	require.Len(t, s.given, 1)
	g.pass(20)
	require.Equal(t, 1, s.writes)
	plan, err := g.PlanSteering(SteeringQuestion{})
	require.NoError(t, err)
	require.Equal(t, "blue", plan.Routes[0].Tenant+plan.Routes[len(plan.Routes)-1].Tenant)
	plan, err = g.PlanSteering(SteeringQuestion{Off: []string{"all"}})
	require.NoError(t, err)
	require.Empty(t, plan.Routes)

	again := newGiving(t, s)
	again.steerer.bring(t.Context(), again.now)
	require.Equal(t, g.assigned(), again.assigned(), "before anything was measured")
	again.pass(120)
	require.Equal(t, g.assigned(), again.assigned(), "also where its elephant goes by the right way by itself")
	require.Equal(t, 1, s.writes)

	again.delete(intent.Ref{Kind: intent.KindSteeringPolicy, Name: "all"})
	again.pass(5)
	require.Empty(t, again.assigned())
	require.Empty(t, s.given)
	require.Empty(t, again.leaf.text())
}

// What can't be read holds nothing up for longer than the switches may need to report, and
// what is stored for a policy that is gone is not given.
func TestGivenColoursThatCanNotBeRead(t *testing.T) {
	s := &shelf{err: fmt.Errorf("no etcd")}
	g := newGiving(t, s)
	g.steerer.bring(t.Context(), g.now)
	require.False(t, g.Engine.colours.known)
	g.steerer.bring(t.Context(), g.now.Add(reportWait))
	require.True(t, g.Engine.colours.known)
	require.Empty(t, g.assigned())

	g = newGiving(t, &shelf{given: []intent.GivenColour{{Tenant: "blue", Colour: 2, Policy: "gone"}}})
	g.steerer.bring(t.Context(), g.now)
	require.Empty(t, g.assigned())
}

// A tenant with a network in Geneve is given none: what is sent in that has no colour.
func TestATenantInAnotherEncapsulationIsGivenNone(t *testing.T) {
	g := newGiving(t, &shelf{})
	g.put(&intent.Network{Metadata: intent.Metadata{Tenant: "blue", Name: "old"}, Spec: intent.NetworkSpec{VNI: 12, Encapsulation: intent.Encapsulation{Type: intent.Geneve}}})
	g.pass(40)
	require.Empty(t, g.assigned())
}
