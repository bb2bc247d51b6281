package engine

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/fabric/steering"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// choosing is a fabric of two leaves and two spines, of which the second has slower
// links, in virtual time, with traffic from leaf1 to leaf2.
type choosing struct {
	*testing.T
	*Engine
	now    time.Time
	bytes  uint64 // sent so far
	silent string // leaf that does not report its load
}

func newChoosing(t *testing.T) *choosing {
	c := &choosing{T: t, Engine: New(Config{}), now: time.Now()}
	c.loads.now = func() time.Time { return c.now }
	c.wiring.now = c.loads.now
	for i := range 2 {
		spine, leaf := fmt.Sprintf("spine%d", i+1), fmt.Sprintf("leaf%d", i+1)
		c.put(&intent.Node{Metadata: intent.Metadata{Name: spine}, Spec: intent.NodeSpec{Role: intent.RoleSpine, ASN: 65000}})
		c.put(&intent.Node{Metadata: intent.Metadata{Name: leaf}, Spec: intent.NodeSpec{Role: intent.RoleLeaf, ASN: 65001 + uint32(i), VTEP: netip.AddrFrom4([4]byte{10, 254, 0, byte(i + 1)})}})
	}
	for leaf := 1; leaf <= 2; leaf++ {
		for spine := 1; spine <= 2; spine++ {
			l := cable(fmt.Sprintf("leaf%d", leaf), fmt.Sprintf("eth%d", spine), fmt.Sprintf("spine%d", spine), fmt.Sprintf("eth%d", leaf))
			l.Spec.Capacity = intent.BitRate([]string{"60M", "20M"}[spine-1])
			c.put(l)
		}
	}
	return c
}

func (c *choosing) policy(name string, spec intent.SteeringPolicySpec) {
	c.put(&intent.SteeringPolicy{Metadata: intent.Metadata{Name: name}, Spec: spec})
}

// pass lets seconds pass in which leaf1 sends 24 Mbit/s, and the optimiser step each
// five.
func (c *choosing) pass(seconds int) {
	for range seconds {
		c.now = c.now.Add(time.Second)
		c.bytes += 3e6
		for _, node := range []string{"spine1", "spine2", "leaf1", "leaf2"} {
			c.TakeSwitch(node, switchstate.Report{Ports: []switchstate.Port{{Name: "eth1", Up: true}, {Name: "eth2", Up: true}}})
			r := switchstate.Load{Full: true, Counts: true, Ports: []switchstate.PortLoad{{Name: "eth1"}, {Name: "eth2"}}}
			if node == "leaf1" {
				for _, port := range []string{"eth1", "eth2"} {
					r.Tunnels = append(r.Tunnels, switchstate.Tunnelled{Port: port, From: netip.MustParseAddr("10.254.0.1"), To: netip.MustParseAddr("10.254.0.2"), VNI: 1, Bytes: c.bytes / 2})
				}
			}
			if node != c.silent {
				c.TakeLoad(node, r)
			}
		}
		if c.now.Unix()%5 == 0 {
			c.chooser.step(c.now)
		}
	}
}

// weights are those of the cell from leaf1 to leaf2, by spine; nil is ECMP.
func (c *choosing) weights() map[string]int {
	var out map[string]int
	for _, h := range c.steerer.chosen[demand.Key{From: "leaf1", To: "leaf2"}] {
		if out == nil {
			out = map[string]int{}
		}
		out[h.Link.To.Node] = h.Weight
	}
	return out
}

// A policy that hands over has the measured matrix steered to the optimum of the links'
// capacities; frozen nothing changes; without the policy all is ECMP.
func TestTheOptimiserFollowsWhatIsMeasured(t *testing.T) {
	c := newChoosing(t)
	c.pass(20)
	require.False(t, c.Choice().Active)
	require.Nil(t, c.weights())
	c.chooser.damping = steering.Damping{Gain: 0.1, Share: 0.5, Hold: 10 * time.Second}
	c.policy("all", intent.SteeringPolicySpec{Auto: &intent.SteeringAuto{}})
	c.pass(15)
	require.Equal(t, map[string]int{"spine1": 3, "spine2": 1}, c.weights())
	got := c.Choice()
	require.True(t, got.Active)
	require.Equal(t, 1, got.Steered)
	require.InDelta(t, 0.3, got.After, 0.01)

	c.policy("stop", intent.SteeringPolicySpec{Freeze: true})
	c.policy("narrow", intent.SteeringPolicySpec{Priority: 1, Pin: &intent.SteeringPin{Via: []string{"spine1"}}, Scope: intent.SteeringScope{From: "leaf2"}})
	c.pass(10)
	require.Equal(t, map[string]int{"spine1": 3, "spine2": 1}, c.weights())
	require.Equal(t, "frozen", c.Choice().Why)
	c.delete(intent.Ref{Kind: intent.KindSteeringPolicy, Name: "stop"})

	c.policy("pin", intent.SteeringPolicySpec{Priority: 1, Pin: &intent.SteeringPin{Via: []string{"spine2"}}, Scope: intent.SteeringScope{From: "leaf1"}})
	c.pass(5)
	require.Nil(t, c.weights(), "another policy decides")
	require.InDelta(t, 1.2, c.Choice().After, 0.02, "all of it by a link of 20 Mbit/s")
	c.delete(intent.Ref{Kind: intent.KindSteeringPolicy, Name: "pin"})

	c.pass(15)
	require.NotNil(t, c.weights())
	c.delete(intent.Ref{Kind: intent.KindSteeringPolicy, Name: "all"})
	c.pass(5)
	require.Nil(t, c.weights())
	require.False(t, c.Choice().Active)
}

// While a leaf does not report its load, what links carry is not known: nothing is changed.
func TestTheOptimiserDoesNothingBlindly(t *testing.T) {
	c := newChoosing(t)
	c.silent = "leaf2"
	c.chooser.damping = steering.Damping{Gain: 0.1, Share: 0.5}
	c.policy("all", intent.SteeringPolicySpec{Auto: &intent.SteeringAuto{}})
	c.pass(10)
	require.Nil(t, c.weights())
	require.Contains(t, c.Choice().Why, "nothing is changed while traffic is not measured: leaf2: its agent does not report")
	c.silent = ""
	c.pass(15)
	require.NotNil(t, c.weights())
	before := c.weights()
	c.silent = "leaf2"
	c.pass(25)
	require.Equal(t, before, c.weights())
	require.Contains(t, c.Choice().Why, "nothing is changed while traffic is not measured: leaf2: its agent does not report")
}
