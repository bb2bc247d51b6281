package steering

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/weft-sdn/weft/fabric/demand"
)

// Overload is a link on which policies put more than it has.
type Overload struct {
	Link
	Rate float64 // bit/s with the policies
	ECMP float64 // bit/s without any
	// Policies put more on the link than ECMP would; they are in order.
	Policies []string
}

// String says it with the figures.
func (o Overload) String() string {
	return fmt.Sprintf("%s to %s would carry %s of its %s (%s by ECMP)", o.From, o.To, roundRate(o.Rate), demand.FormatRate(o.Capacity), roundRate(o.ECMP))
}

// roundRate is a rate in four digits.
func roundRate(v float64) string {
	unit := 1.0
	for v/unit >= 10_000 {
		unit *= 10
	}
	return demand.FormatRate(float64(int64(v/unit+0.5)) * unit)
}

// Overloads are the links on which the policies that pin or weigh would put more than
// they have, and more than ECMP would: the most utilised first. Cells that policies hand
// over to the optimiser go as it has chosen. What tenants without a colour send is steered
// as everybody's.
func (r *Rules) Overloads(t Traffic, colours Colours, chosen map[demand.Key][]Hop, f Failure) ([]Overload, error) {
	routes, err := r.network.Routes(f)
	if err != nil {
		return nil, err
	}
	p := t.place(routes, 0)
	ecmp := p.problem.Load(nil)
	load := slices.Clone(ecmp)
	more := map[int]map[string]float64{} // by link and policy
	for i, c := range p.cells {
		of := ColourScope{Tenant: c.Tenant}
		if colours[of] == 0 {
			of = ColourScope{}
		}
		d := r.decide(p.Routes, c.from, c.to, of)
		parts := d.parts
		if d.auto {
			// Tenants without a colour are one to the optimiser.
			hops, ok := chosen[c.Key]
			if !ok {
				hops = chosen[demand.Key{From: c.From, To: c.To}]
			}
			if by := p.byHops(i, hops); by != nil {
				parts = by
			}
		}
		if parts == nil {
			continue
		}
		s := &stepping{placed: p, present: make([][]float64, len(p.cells))}
		for l, rate := range s.change(i, parts) {
			load[l] += rate
			if rate > 0 && !d.auto {
				if more[l] == nil {
					more[l] = map[string]float64{}
				}
				more[l][cmp.Or(d.policy, d.avoided)] += rate
			}
		}
	}
	var out []Overload
	for l, k := range r.network.Links {
		if load[l] > k.Capacity*(1+1e-9) && load[l] > ecmp[l]*(1+1e-9) && len(more[l]) > 0 {
			out = append(out, Overload{Link: k, Rate: load[l], ECMP: ecmp[l], Policies: slices.Sorted(maps.Keys(more[l]))})
		}
	}
	slices.SortStableFunc(out, func(a, b Overload) int { return cmp.Compare(b.Rate/b.Capacity, a.Rate/a.Capacity) })
	return out, nil
}

// byHops is how next hops with weights divide a cell; nil when there is none of them.
func (p *placed) byHops(i int, hops []Hop) []float64 {
	ways := p.problem.Commodities[i].Ways
	parts := make([]float64, len(ways))
	for w, way := range ways {
		for _, h := range hops {
			if h.Link.From == p.Links[way.First].From {
				parts[w] = float64(h.Weight)
			}
		}
	}
	if !normalise(parts) {
		return nil
	}
	return parts
}
