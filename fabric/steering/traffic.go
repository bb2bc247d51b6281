package steering

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/fabric/congestion"
	"github.com/weft-sdn/weft/fabric/demand"
)

// maxHashed is how many flows of a cell are placed one by one; more are divided as
// the weights say.
const maxHashed = 4096

// cell is what one route steers: the traffic of a tenant from a leaf to a VTEP.
type cell struct {
	demand.Demand     // in all
	from, to      int // leaves
	// of are the demands that it consists of, each with its own flows; nil when it is
	// one.
	of []demand.Demand
}

// parts are the demands that the cell consists of.
func (c cell) parts() []demand.Demand {
	if c.of == nil {
		return []demand.Demand{c.Demand}
	}
	return c.of
}

// Whole reports whether the cell is one flow, which can't be divided.
func (c cell) Whole() bool { return len(c.of) <= 1 && c.Demand.Whole() }

// counted reports whether some of the traffic is of so few flows that each takes its
// own way.
func (c cell) counted() bool {
	return few(c.Demand) || slices.ContainsFunc(c.of, few)
}

func few(d demand.Demand) bool { return d.Flows > 0 && d.Flows <= maxHashed }

// Traffic is a matrix on a network: what is steered together is one cell, and what
// stays on its leaf is left out.
type Traffic struct {
	network *Network
	cells   []cell
}

// NewTraffic lays a matrix on a network. Nodes that traffic can't begin or end at
// are errors.
func NewTraffic(n *Network, m demand.Matrix) (Traffic, error) {
	var cells []cell
	for _, d := range m.Demands {
		from, err := n.end(d.From)
		if err != nil {
			return Traffic{}, fmt.Errorf("demand %s: %w", d.Key, err)
		}
		to, err := n.end(d.To)
		if err != nil {
			return Traffic{}, fmt.Errorf("demand %s: %w", d.Key, err)
		}
		if from == to || d.Rate == 0 {
			continue
		}
		c := cell{Demand: d, from: from, to: to}
		c.From = n.names[from]
		if t, ok := n.tunnel[d.To]; ok {
			c.To = t
		}
		if c.Key != d.Key {
			c.of = []demand.Demand{d}
		}
		cells = append(cells, c)
	}
	return Traffic{n, merge(cells)}, nil
}

// merge makes one of the cells with the same key, and sorts them.
func merge(cells []cell) []cell {
	slices.SortStableFunc(cells, func(a, b cell) int { return a.Compare(b.Key) })
	var out []cell
	for _, c := range cells {
		if n := len(out); n > 0 && out[n-1].Key == c.Key {
			last := &out[n-1]
			last.of = slices.Concat(last.parts(), c.parts())
			last.Demand = last.With(c.Demand)
			continue
		}
		out = append(out, c)
	}
	return out
}

// Coloured is the traffic as it can be told apart when each VTEP has so many addresses
// besides its own: colours. Tenants that are named get one first, then those that send
// the most; what all others send to a VTEP goes to its own address, and is one cell. The
// second value are the tenants that have a colour, in the order in which they got it.
func (t Traffic) Coloured(colours int, named []string) (Traffic, []string, error) {
	have := slices.Clone(named)
	if len(have) > colours {
		return Traffic{}, nil, fmt.Errorf("policies name %d tenants (%s), there are colours for %d", len(have), strings.Join(have, ", "), colours)
	}
	for _, d := range t.Cells().Tenants() {
		if len(have) < colours && !slices.Contains(have, d.Tenant) {
			have = append(have, d.Tenant)
		}
	}
	return t.apart(have), have, nil
}

// apart is the traffic with only some tenants told apart: what the others send to a VTEP is
// one cell.
func (t Traffic) apart(tenants []string) Traffic {
	cells := slices.Clone(t.cells)
	for i := range cells {
		if c := &cells[i]; c.Tenant != "" && !slices.Contains(tenants, c.Tenant) {
			c.of = c.parts()
			c.Tenant = ""
		}
	}
	return Traffic{t.network, merge(cells)}
}

// placed is traffic on the ways that there are.
type placed struct {
	*Routes
	cells   []cell // that have a way
	problem *congestion.Problem
	seed    uint64        // of the hash
	seen    map[int]int32 // first link that a cell of one flow was seen on, by the cell
	lost    float64       // bit/s that have no way
}

func (t Traffic) place(r *Routes, seed uint64) *placed {
	p := &placed{Routes: r, seed: seed, seen: map[int]int32{}, problem: &congestion.Problem{Tails: r.tails}}
	for _, l := range r.Links {
		p.problem.Capacity = append(p.problem.Capacity, l.Capacity)
	}
	for _, c := range t.cells {
		ways, offset := r.between(c.from, c.to)
		if len(ways) == 0 {
			p.lost += c.Rate
			continue
		}
		p.cells = append(p.cells, c)
		p.problem.Commodities = append(p.problem.Commodities, congestion.Commodity{Demand: c.Rate, Ways: ways, Offset: int32(offset), Whole: c.Whole()})
	}
	return p
}

// hashed is how the flows of the cells fall on the ways when groups of next hops
// have these parts (nil: even ones): each flow takes one way, by its hash. Cells of
// many flows are divided as the parts say.
func (p *placed) hashed(parts congestion.Split) congestion.Split {
	out := make(congestion.Split, len(p.cells))
	for i := range p.cells {
		var own []float64
		if i < len(parts) {
			own = parts[i]
		}
		out[i] = p.fall(i, own)
	}
	return out
}

// fall is how the traffic of one cell falls on its ways.
func (p *placed) fall(i int, parts []float64) []float64 {
	c := p.cells[i]
	if !c.counted() {
		return parts
	}
	if at := p.stands(i, parts); at != nil {
		return at
	}
	n := len(p.problem.Commodities[i].Ways)
	out := make([]float64, n)
	for _, d := range c.parts() {
		if few(d) {
			p.hash(d, d.Rate/c.Rate, parts, out)
			continue
		}
		for w := range out {
			out[w] += part(parts, w, n) * d.Rate / c.Rate
		}
	}
	return out
}

// hash adds what each way gets of flows of one size that are together so much.
func (p *placed) hash(d demand.Demand, rate float64, parts, out []float64) {
	h := fnv.New64a()
	for _, s := range []string{d.From, d.To, d.Tenant} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	state := h.Sum64() ^ p.seed*0x9e3779b97f4a7c15
	for range d.Flows {
		// splitmix64
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		out[bucket(float64(z>>11)/(1<<53), parts, len(out))] += rate / float64(d.Flows)
	}
}

// bucket is the way at a place between 0 and 1, each having as much room as its part.
func bucket(at float64, parts []float64, n int) int {
	last := 0
	for w := range n {
		p := part(parts, w, n)
		if p == 0 {
			continue
		}
		last = w
		if at -= p; at < 0 {
			break
		}
	}
	return last
}
