package topology

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// heardAt is a port that hears one neighbour, or none.
func heardAt(iface string, others ...End) Seen {
	return Seen{Interface: iface, Up: true, Heard: others}
}

func at(node, iface string) End { return End{Node: node, Interface: iface} }

func TestPlaceOfABox(t *testing.T) {
	links := []Link{
		{A: at("leaf1", "eth1"), B: at("spine1", "eth1")}, {A: at("leaf1", "eth2"), B: at("spine2", "eth1")},
		{A: at("leaf2", "eth1"), B: at("spine1", "eth2")}, {A: at("leaf2", "eth2"), B: at("spine2", "eth2")},
	}
	// Both spines hear box B at their second ports, where leaf2 belongs.
	seen := map[string][]Seen{
		"spine1": {heardAt("eth1", at("leaf1", "eth1")), heardAt("eth2", at("B", "eth1")), heardAt("eth3", at("B", "eth3")), heardAt("eth4")},
		"spine2": {heardAt("eth1", at("leaf1", "eth2")), heardAt("eth2", at("B", "eth2"))},
	}
	for _, c := range []struct {
		name      string
		ports     []Seen
		node, why string
	}{
		{"wired as intended", []Seen{heardAt("eth1", at("spine1", "eth2")), heardAt("eth2", at("spine2", "eth2"))},
			"leaf2", "it is wired as leaf2 is to be: eth1 to spine1:eth2, eth2 to spine2:eth2"},
		{"one cable is enough", []Seen{heardAt("eth1", at("spine1", "eth2")), heardAt("eth2")},
			"leaf2", "it is wired as leaf2 is to be: eth1 to spine1:eth2"},
		{"alone", []Seen{heardAt("eth1")}, "", "none of its ports hears a switch of the fabric"},
		{"it says that it hears what hears another", []Seen{heardAt("eth1", at("spine1", "eth1"))},
			"", "eth1 hears spine1:eth1, which hears leaf1:eth1: its neighbour is not what it says"},
		{"a port that there is not", []Seen{heardAt("eth1", at("spine1", "eth99"))},
			"", "eth1 hears spine1:eth99, and spine1 has no such port: its neighbour is not what it says"},
		{"one that hears nobody", []Seen{heardAt("eth1", at("spine1", "eth4"))}, "", "eth1 hears spine1:eth4, which hears nobody"},
		{"a neighbour that does not report", []Seen{heardAt("eth1", at("spine3", "eth2"))},
			"", "eth1 hears spine3:eth2, which does not report to the controller"},
		{"a hub", []Seen{heardAt("eth1", at("spine1", "eth2"), at("spine2", "eth2"))}, "", "eth1 hears 2 neighbours, and a cable has one"},
		{"a cable that is not intended", []Seen{heardAt("eth1", at("spine1", "eth2")), heardAt("eth3", at("spine1", "eth3"))},
			"", "eth3 is wired to spine1:eth3, where no link is intended"},
		{"a liar beside a true cable is of no weight", []Seen{heardAt("eth1", at("spine1", "eth2")), heardAt("eth2", at("spine1", "eth1"))},
			"leaf2", "it is wired as leaf2 is to be: eth1 to spine1:eth2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			node, why := Place(links, seen, Box{Name: "B", Ports: c.ports})
			require.Equal(t, c.node, node)
			require.Equal(t, c.why, why)
		})
	}
}

func TestPlaceOfAMiswiredBox(t *testing.T) {
	links := []Link{{A: at("leaf1", "eth1"), B: at("spine1", "eth1")}, {A: at("leaf2", "eth1"), B: at("spine2", "eth1")}}
	seen := map[string][]Seen{"spine1": {heardAt("eth1", at("B", "eth1"))}, "spine2": {heardAt("eth1", at("B", "eth2"))}}
	node, why := Place(links, seen, Box{Name: "B", Ports: []Seen{heardAt("eth1", at("spine1", "eth1")), heardAt("eth2", at("spine2", "eth1"))}})
	require.Empty(t, node)
	require.Equal(t, "its cables lead to the places of leaf1 and leaf2: move them to those of one", why)
	node, why = Place(links[1:], seen, Box{Name: "B", Ports: []Seen{heardAt("eth2", at("spine2", "eth1"))}})
	require.Empty(t, node)
	require.Equal(t, "eth2 is wired to spine2:eth1, where leaf2:eth1 belongs", why)
}

// Whatever devices say of themselves: a place is given for a cable that the intent has
// and both its ends hear, and never against one that they hear elsewhere.
func TestPlaceIsNeverALie(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"leaf1", "leaf2", "spine1", "spine2", "B", "liar"}
	pick := func() End {
		return at(names[r.IntN(len(names))], "eth"+string(rune('1'+r.IntN(3))))
	}
	ports := func() []Seen {
		var out []Seen
		for i := range 3 {
			s := Seen{Interface: "eth" + string(rune('1'+i)), Up: true}
			for range r.IntN(3) {
				s.Heard = append(s.Heard, pick())
			}
			out = append(out, s)
		}
		return out
	}
	placed := 0
	for range 20000 {
		seen, box := map[string][]Seen{}, Box{Name: "B", Ports: ports()}
		for _, n := range names[2:4] {
			seen[n] = ports()
		}
		node, why := Place(clos(), seen, box)
		require.NotEmpty(t, why)
		if node == "" {
			continue
		}
		placed++
		confirmed := 0
		for _, p := range box.Ports {
			mine := at("B", p.Interface)
			if len(p.Heard) != 1 || !slices.ContainsFunc(seen[p.Heard[0].Node], func(s Seen) bool {
				return s.Interface == p.Heard[0].Interface && slices.Contains(s.Heard, mine)
			}) {
				continue
			}
			require.True(t, slices.ContainsFunc(clos(), func(l Link) bool {
				l, ok := l.From(node)
				return ok && l.A.Interface == p.Interface && bare(l.B) == p.Heard[0]
			}), "%s hears %v", mine, p.Heard)
			confirmed++
		}
		require.Positive(t, confirmed)
	}
	require.Greater(t, placed, 50)
}
