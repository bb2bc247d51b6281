package steering

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/fabric/demand"
)

// What pins put on a link beyond its capacity is told with the figures and the policies;
// what ECMP overloads by itself is not theirs, nor what fits.
func TestOverloadsAreTold(t *testing.T) {
	n, err := NewNetwork(twoTier(3, 2), Capacities{Default: 10e9, Of: map[string]float64{"leaf3:eth2": 1e9}})
	require.NoError(t, err)
	rules, err := Compile(n, policies(t, `
kind: SteeringPolicy
metadata: {name: a}
spec: {scope: {from: leaf1, to: leaf2}, pin: {via: [spine2]}}
---
kind: SteeringPolicy
metadata: {name: b}
spec: {scope: {from: leaf1, to: leaf3}, weight: {spine1: 1, spine2: 3}}
---
kind: SteeringPolicy
metadata: {name: c}
spec: {scope: {from: leaf2}, auto: {}}
`), now)
	require.NoError(t, err)
	told := func(chosen map[demand.Key][]Hop, f Failure, rates ...float64) []string {
		m, err := demand.New([]demand.Demand{{Key: demand.Key{From: "leaf1", To: "leaf2"}, Rate: rates[0]}, {Key: demand.Key{From: "leaf1", To: "leaf3"}, Rate: rates[1]},
			{Key: demand.Key{From: "leaf2", To: "leaf3"}, Rate: rates[2]}})
		require.NoError(t, err)
		traffic, err := NewTraffic(n, m)
		require.NoError(t, err)
		list, err := rules.Overloads(traffic, nil, chosen, f)
		require.NoError(t, err)
		var out []string
		for _, o := range list {
			out = append(out, o.String())
		}
		return out
	}
	require.Equal(t, []string{
		"spine2:eth3 to leaf3:eth2 would carry 1.5G of its 1G (1G by ECMP)",
		"leaf1:eth2 to spine2:eth1 would carry 11.5G of its 10G (6G by ECMP)",
	}, told(nil, Failure{}, 10e9, 2e9, 0))
	require.Empty(t, told(nil, Failure{}, 5e9, 1e9, 0))
	require.Empty(t, told(nil, Failure{}, 0, 0, 30e9), "that is ECMP's")
	require.Empty(t, told(nil, Failure{Nodes: []string{"spine2"}}, 30e9, 2e9, 0), "the pin has fallen back to ECMP")
	var hop Hop
	for _, l := range n.Links {
		if l.From.String() == "leaf2:eth2" {
			hop = Hop{l, 1}
		}
	}
	require.Equal(t, []string{"spine2:eth3 to leaf3:eth2 would carry 1.05G of its 1G (600M by ECMP)"},
		told(map[demand.Key][]Hop{{From: "leaf2", To: "leaf3"}: {hop}}, Failure{}, 0, 0.6e9, 0.6e9)[:1], "what the optimiser chose is there too")
}
