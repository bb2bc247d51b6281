package load

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/topology"
)

// Link is a cable between two switches, and what it can carry each way in bit/s; with
// zero that is the lower of the speeds that its ports report.
type Link struct {
	A, B     topology.End
	Capacity float64
}

// LinkLoad is what one direction of a link carries.
type LinkLoad struct {
	From, To    topology.End
	Rate        float64 // bit/s, Ethernet headers included
	Capacity    float64 // bit/s; zero when it is not known
	Utilisation float64 // part of the capacity; zero when that is not known
	Dropped     float64 // packets per second, of both ends and the queue in front of the link
	// Seen is false when neither end has reported lately: nothing is known then.
	Seen bool
}

// Links are the loads of both directions of links, in the links' order: what the near
// end sent, or what the far end received where the near end does not report.
func (m *Meter) Links(now time.Time, links []Link, window time.Duration) []LinkLoad {
	out := make([]LinkLoad, 0, 2*len(links))
	for _, l := range links {
		for _, d := range [][2]topology.End{{l.A, l.B}, {l.B, l.A}} {
			out = append(out, m.link(now, d[0], d[1], l.Capacity, window))
		}
	}
	return out
}

func (m *Meter) link(now time.Time, from, to topology.End, capacity float64, window time.Duration) LinkLoad {
	l := LinkLoad{From: from, To: to, Capacity: capacity}
	near, sent := m.port(now, from)
	far, received := m.port(now, to)
	if l.Capacity == 0 {
		l.Capacity = speed(sent, received)
	}
	switch {
	case sent != nil:
		l.Rate, l.Seen = 8*sent.txBytes.Rate(near.since, near.until, window), true
	case received != nil:
		l.Rate, l.Seen = 8*received.rxBytes.Rate(far.since, far.until, window), true
	}
	if sent != nil {
		l.Dropped += sent.lost.Rate(near.since, near.until, window)
	}
	if received != nil {
		l.Dropped += received.lost.Rate(far.since, far.until, window)
	}
	if l.Capacity > 0 {
		l.Utilisation = l.Rate / l.Capacity
	}
	return l
}

// speed is the lower of those that ports have.
func speed(ports ...*port) float64 {
	v := 0.0
	for _, p := range ports {
		if p != nil && p.speed > 0 && (v == 0 || p.speed < v) {
			v = p.speed
		}
	}
	return v
}

// port is a port of a switch that has reported lately; nil when there is none.
func (m *Meter) port(now time.Time, e topology.End) (*source, *port) {
	s := m.switches[e.Node]
	if s == nil || now.Sub(m.began)-s.at > staleAfter {
		return nil, nil
	}
	return s, s.ports[e.Interface]
}

// Sample is a rate over one resolution's time, which begins at Time.
type Sample struct {
	Time time.Time
	Rate float64 // bit/s
}

// History is what a port sent in the whole buckets of one of Resolutions, the oldest
// first; ok is false when the port has not been reported.
func (m *Meter) History(e topology.End, step time.Duration) (out []Sample, ok bool) {
	s := m.switches[e.Node]
	if s == nil || s.ports[e.Interface] == nil {
		return nil, false
	}
	for _, p := range s.ports[e.Interface].txBytes.History(s.since, s.until, step) {
		out = append(out, Sample{m.began.Add(p.Time), 8 * p.Rate})
	}
	return out, true
}

// Share is what goes by one switch of the upper tiers.
type Share struct {
	Node     string
	Up, Down float64 // bit/s from below, and to below
	Part     float64 // of what all switches of its tier get from below, 0 to 1
}

// Shares says how what comes from below is divided among the switches of a tier, in
// natural order. tier tells a switch's; leaves are at zero, and links within a tier
// count nowhere.
func Shares(links []LinkLoad, tier func(node string) int) []Share {
	of, sums := map[string]*Share{}, map[int]float64{}
	at := func(node string) *Share {
		if of[node] == nil {
			of[node] = &Share{Node: node}
		}
		return of[node]
	}
	for _, l := range links {
		switch from, to := tier(l.From.Node), tier(l.To.Node); {
		case to > from:
			at(l.To.Node).Up += l.Rate
			sums[to] += l.Rate
		case to < from:
			at(l.From.Node).Down += l.Rate
		}
	}
	out := make([]Share, 0, len(of))
	for _, s := range of {
		if sum := sums[tier(s.Node)]; sum > 0 {
			s.Part = s.Up / sum
		}
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Share) int {
		return cmp.Or(cmp.Compare(tier(a.Node), tier(b.Node)), fabric.Natural(a.Node, b.Node))
	})
	return out
}

// Imbalance is how unequal the uplinks of a switch are used.
type Imbalance struct {
	Node string
	// Max and Mean are of the utilisation of its uplinks, or of their rates in bit/s
	// where a capacity is not known.
	Max, Mean float64
	// Excess is by how much, as a part of the mean, the highest is above it: 0 is
	// even, 1 is twice the mean.
	Excess float64
}

// Imbalances are those of all switches that send to a higher tier, in natural order.
func Imbalances(links []LinkLoad, tier func(node string) int) []Imbalance {
	uplinks := map[string][]LinkLoad{}
	for _, l := range links {
		if l.Seen && tier(l.To.Node) > tier(l.From.Node) {
			uplinks[l.From.Node] = append(uplinks[l.From.Node], l)
		}
	}
	var out []Imbalance
	for _, node := range slices.SortedFunc(maps.Keys(uplinks), fabric.Natural) {
		own := uplinks[node]
		rates := slices.ContainsFunc(own, func(l LinkLoad) bool { return l.Capacity == 0 })
		b, sum := Imbalance{Node: node}, 0.0
		for _, l := range own {
			v := l.Utilisation
			if rates {
				v = l.Rate
			}
			b.Max, sum = max(b.Max, v), sum+v
		}
		if b.Mean = sum / float64(len(own)); b.Mean > 0 {
			b.Excess = b.Max/b.Mean - 1
		}
		out = append(out, b)
	}
	return out
}
