package steering

import (
	"fmt"
	"hash/fnv"

	"github.com/weft-sdn/weft/fabric/congestion"
	"github.com/weft-sdn/weft/fabric/demand"
)

// maxHashed is how many flows of a cell are placed one by one; more are divided as
// the weights say.
const maxHashed = 4096

// cell is what one route steers: the traffic of a tenant from a leaf to a VTEP.
type cell struct {
	demand.Demand
	from, to int // leaves
}

// Traffic is a matrix on a network: what is steered together is one cell, and what
// stays on its leaf is left out.
type Traffic struct {
	network *Network
	cells   []cell
}

// NewTraffic lays a matrix on a network. Nodes that traffic can't begin or end at
// are errors.
func NewTraffic(n *Network, m demand.Matrix) (Traffic, error) {
	t := Traffic{network: n}
	var ds []demand.Demand
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
		d.From = n.names[from]
		if t, ok := n.tunnel[d.To]; ok {
			d.To = t
		}
		ds = append(ds, d)
	}
	merged, err := demand.New(ds)
	if err != nil {
		return Traffic{}, err
	}
	for _, d := range merged.Demands {
		to, _ := n.end(d.To)
		t.cells = append(t.cells, cell{d, n.index[d.From], to})
	}
	return t, nil
}

// placed is traffic on the ways that there are.
type placed struct {
	*Routes
	cells   []cell // that have a way
	problem *congestion.Problem
	lost    float64 // bit/s that have no way
}

func (t Traffic) place(r *Routes) *placed {
	p := &placed{Routes: r, problem: &congestion.Problem{Tails: r.tails}}
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
func (p *placed) hashed(parts congestion.Split, seed uint64) congestion.Split {
	out := make(congestion.Split, len(p.cells))
	for i := range p.cells {
		var own []float64
		if i < len(parts) {
			own = parts[i]
		}
		out[i] = p.fall(i, own, seed)
	}
	return out
}

// fall is how the flows of one cell fall on its ways.
func (p *placed) fall(i int, parts []float64, seed uint64) []float64 {
	c := p.cells[i]
	if c.Flows == 0 || c.Flows > maxHashed {
		return parts
	}
	out := make([]float64, len(p.problem.Commodities[i].Ways))
	hash(c.Demand, seed, parts, out)
	return out
}

// hash adds the part of the flows that each way gets.
func hash(d demand.Demand, seed uint64, parts, out []float64) {
	h := fnv.New64a()
	for _, s := range []string{d.From, d.To, d.Tenant} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	state := h.Sum64() ^ seed*0x9e3779b97f4a7c15
	for range d.Flows {
		// splitmix64
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		at := float64(z>>11) / (1 << 53)
		for w := range out {
			part := 1 / float64(len(out))
			if parts != nil {
				part = parts[w]
			}
			if at -= part; at < 0 && part > 0 || w == len(out)-1 {
				out[w] += 1 / float64(d.Flows)
				break
			}
		}
	}
}
