package topology

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func end(s string) End {
	for i := range s {
		if s[i] == ':' {
			return End{Node: s[:i], Interface: s[i+1:]}
		}
	}
	panic(s)
}

// clos are two spines and two leaves.
func clos() []Link {
	var out []Link
	for _, l := range [][2]string{{"leaf1:eth1", "spine1:eth1"}, {"leaf1:eth2", "spine2:eth1"}, {"leaf2:eth1", "spine1:eth2"}, {"leaf2:eth2", "spine2:eth2"}} {
		out = append(out, Link{A: end(l[0]), B: end(l[1]), MTU: 9216})
	}
	return out
}

// wired is what switches hear when cables are plugged in like that.
func wired(cables ...[2]string) map[string][]Seen {
	seen := map[string][]Seen{"leaf1": nil, "leaf2": nil, "spine1": nil, "spine2": nil}
	for _, n := range []string{"leaf1", "leaf2", "spine1", "spine2"} {
		for _, i := range []string{"eth1", "eth2"} {
			p := Seen{Interface: i}
			for _, c := range cables {
				for k := range c {
					if c[k] == n+":"+i {
						p.Up, p.MTU, p.Heard = true, 9216, append(p.Heard, end(c[1-k]))
					}
				}
			}
			seen[n] = append(seen[n], p)
		}
	}
	return seen
}

var asIntended = [][2]string{{"leaf1:eth1", "spine1:eth1"}, {"leaf1:eth2", "spine2:eth1"}, {"leaf2:eth1", "spine1:eth2"}, {"leaf2:eth2", "spine2:eth2"}}

func change(seen map[string][]Seen, node, iface string, f func(*Seen)) map[string][]Seen {
	i := slices.IndexFunc(seen[node], func(s Seen) bool { return s.Interface == iface })
	f(&seen[node][i])
	return seen
}

func TestCabling(t *testing.T) {
	say := func(k CablingFaultKind, link, message string) CablingFault { return CablingFault{k, link, message} }
	without := func(c ...int) [][2]string {
		out := slices.Clone(asIntended)
		for i := len(c) - 1; i >= 0; i-- {
			out = slices.Delete(out, c[i], c[i]+1)
		}
		return out
	}
	for name, c := range map[string]struct {
		seen map[string][]Seen
		want []CablingFault
	}{
		"as intended": {wired(asIntended...), nil},
		"two cables swapped at the spines": {wired(append(without(0, 3), [2]string{"leaf1:eth1", "spine2:eth2"}, [2]string{"leaf2:eth2", "spine1:eth1"})...), []CablingFault{
			say(Miswired, "leaf1:eth1 - spine2:eth2", "leaf1:eth1 is wired to spine2:eth2, where leaf2:eth2 belongs: move that end to spine1:eth1"),
			say(Miswired, "leaf2:eth2 - spine1:eth1", "leaf2:eth2 is wired to spine1:eth1, where leaf1:eth1 belongs: move that end to spine2:eth2"),
		}},
		"swapped at one leaf": {wired(append(without(0, 1), [2]string{"leaf1:eth2", "spine1:eth1"}, [2]string{"leaf1:eth1", "spine2:eth1"})...), []CablingFault{
			say(Miswired, "leaf1:eth1 - spine2:eth1", "leaf1:eth1 is wired to spine2:eth1, where leaf1:eth2 belongs: move that end to spine1:eth1"),
			say(Miswired, "leaf1:eth2 - spine1:eth1", "leaf1:eth2 is wired to spine1:eth1, where leaf1:eth1 belongs: move that end to spine2:eth1"),
		}},
		"unplugged": {wired(without(2)...), []CablingFault{
			say(Missing, "leaf2:eth1 - spine1:eth2", "leaf2:eth1 is down, spine1:eth2 is down: plug a cable from leaf2:eth1 into spine1:eth2, or replace the one that is there"),
		}},
		"one way": {change(wired(asIntended...), "spine1", "eth1", func(s *Seen) { s.Heard = nil }), []CablingFault{
			say(OneWay, "spine1:eth1 - leaf1:eth1", "leaf1:eth1 hears spine1:eth1 but is not heard there: what spine1:eth1 receives is lost; replace the cable or the transceiver at either end"),
		}},
		"a wrong MTU": {change(wired(asIntended...), "spine2", "eth1", func(s *Seen) { s.MTU = 1500 }), []CablingFault{
			say(WrongMTU, "leaf1:eth2 - spine2:eth1", "spine2:eth1 has an MTU of 1500 instead of 9216: large packets are lost"),
		}},
		"another speed": {change(change(wired(asIntended...), "spine2", "eth1", func(s *Seen) { s.Speed = 10000 }), "leaf1", "eth2", func(s *Seen) { s.Speed = 1000 }), []CablingFault{
			say(Unequal, "leaf1:eth2 - spine2:eth1", "leaf1:eth2 runs at 1000 Mbit/s and spine2:eth1 at 10000: check the transceivers"),
		}},
		"a stranger instead": {change(wired(without(0)...), "leaf1", "eth1", func(s *Seen) { s.Up, s.Heard = true, []End{end("printer:1")} }), []CablingFault{
			say(Miswired, "leaf1:eth1 - printer:1", "leaf1:eth1 is wired to printer:1: move that end to spine1:eth1"),
		}},
		"one that says it is a spine": {change(wired(asIntended...), "leaf2", "eth2", func(s *Seen) { s.Heard = []End{end("spine1:eth1")} }), []CablingFault{
			say(Miswired, "leaf2:eth2 - spine1:eth1", "leaf2:eth2 is wired to spine1:eth1, where leaf1:eth1 belongs: move that end to spine2:eth2"),
			say(Claimed, "leaf1:eth1 - leaf2:eth2", "both hear spine1:eth1: one of the devices there says it is spine1 and is not"),
		}},
		"one that says it is a port that there is not": {change(wired(asIntended...), "leaf2", "eth2", func(s *Seen) { s.Heard = []End{end("spine1:eth99")} }), []CablingFault{
			say(Claimed, "leaf2:eth2 - spine1:eth99", "leaf2:eth2 hears spine1:eth99, and spine1 has no such port: the device there says it is spine1 and is not"),
		}},
		"nobody reports": {map[string][]Seen{}, nil},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, Cabling(clos(), c.seen)) })
	}

	extra := wired(asIntended...)
	extra["leaf1"] = append(extra["leaf1"], Seen{Interface: "eth9", Up: true, Heard: []End{end("leaf2:eth9")}})
	extra["leaf2"] = append(extra["leaf2"], Seen{Interface: "eth9", Up: true, Heard: []End{end("leaf1:eth9")}})
	require.Equal(t, []CablingFault{say(Extra, "leaf1:eth9 - leaf2:eth9", "leaf1:eth9 is wired to leaf2:eth9, where no link is intended: unplug the cable, or add the link")}, Cabling(clos(), extra))

	server := wired(asIntended...)
	server["leaf1"] = append(server["leaf1"], Seen{Interface: "eth9", Up: true, Heard: []End{end("db7:eno1")}})
	require.Empty(t, Cabling(clos(), server), "a server may speak LLDP")

	// A switch that does not report is not blamed; its neighbour still tells.
	silent := wired(asIntended...)
	delete(silent, "spine2")
	require.Empty(t, Cabling(clos(), silent))
	silent = change(wired(asIntended...), "leaf1", "eth2", func(s *Seen) { s.Heard = nil })
	delete(silent, "spine2")
	require.Empty(t, Cabling(clos(), silent), "not every device speaks LLDP")
	silent = wired(without(1)...)
	delete(silent, "spine2")
	require.Equal(t, []CablingFault{say(Missing, "leaf1:eth2 - spine2:eth1", "leaf1:eth2 is down: plug a cable from leaf1:eth2 into spine2:eth1, or replace the one that is there")}, Cabling(clos(), silent))
}

// However cables are plugged in: there is no fault when and only when each is where
// it belongs, and the order of what is compared does not matter.
func TestCablingOfAnyWiring(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	links := clos()
	for range 2000 {
		var low, high []string
		for _, l := range links {
			low, high = append(low, l.A.String()), append(high, l.B.String())
		}
		moved := r.IntN(3) > 0
		if moved {
			r.Shuffle(len(high), func(i, j int) { high[i], high[j] = high[j], high[i] })
		}
		var cables [][2]string
		right := 0
		for i := range low {
			if r.IntN(5) == 0 {
				continue
			}
			cables = append(cables, [2]string{low[i], high[i]})
			if slices.Contains(asIntended, cables[len(cables)-1]) {
				right++
			}
		}
		got := Cabling(links, wired(cables...))
		require.Equal(t, right == len(links), len(got) == 0, "%v: %v", cables, got)
		wrong := 0
		for _, f := range got {
			if f.Kind == Miswired {
				wrong++
			}
		}
		require.Equal(t, len(cables)-right, wrong, "%v: %v", cables, got)
		shuffled := slices.Clone(links)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		require.Equal(t, got, Cabling(shuffled, maps.Clone(wired(cables...))))
	}
}
