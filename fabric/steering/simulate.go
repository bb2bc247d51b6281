package steering

import (
	"cmp"
	"math"
	"slices"

	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/congestion"
	"github.com/weft-sdn/weft/fabric/demand"
)

// Settings of a simulation and of the optimiser.
type Settings struct {
	Gap   float64          // as of congestion.Options
	Table congestion.Table // what a group of next hops can hold
	// Most is how many cells are steered at most, the largest first; the others,
	// the mice, stay on ECMP. Zero means all.
	Most int
	// Seed stands for the hash of the switches: another one places the flows
	// otherwise.
	Seed uint64
}

// Case is what is simulated: a failure with a name.
type Case struct {
	Name string // "all up", "without link leaf1:eth1 - spine1:eth1", "without spine2"
	Failure
}

// Report is how much each link carries, in bit/s, by number of the link.
type Report struct {
	Case   Case
	ECMP   []float64
	Policy []float64 // nil without policies
	Auto   []float64 // with weights that hardware holds
	// Bound is a utilisation that no way to divide the traffic can go below.
	Bound   float64
	Steered int    // cells that auto takes off ECMP
	Sweeps  int    // of the optimiser
	Down    []bool // links
	// Lost has no way at all. Dark would, as policies were compiled with all up,
	// go on to a switch that has lost the way, until the controller withdraws it.
	Lost, Dark float64 // bit/s
}

// Simulate runs traffic over a network with something down: by ECMP, under the
// rules (which may be nil), and as the optimiser would have it.
func Simulate(t Traffic, rules *Rules, c Case, s Settings) (Report, error) {
	routes, err := t.network.Routes(c.Failure)
	if err != nil {
		return Report{}, err
	}
	p := t.place(routes, s.Seed)
	r := Report{Case: c, Lost: p.lost, Down: routes.dead}
	start := p.hashed(nil)
	r.ECMP = p.problem.Load(start)
	free := make([]bool, len(p.cells))
	for i := range free {
		free[i] = true
	}
	chosen, err := p.choose(start, p.largest(free, s.Most), s)
	if err != nil {
		return Report{}, err
	}
	r.Auto, r.Bound, r.Steered, r.Sweeps = chosen.load, chosen.bound, chosen.steered, chosen.sweeps
	if rules == nil {
		return r, nil
	}
	r.Policy, err = p.under(rules, s)
	if err == nil && len(c.Links)+len(c.Nodes) > 0 {
		r.Dark, err = p.dark(rules)
	}
	return r, err
}

// chosen is what the optimiser makes of some cells.
type chosen struct {
	load []float64
	// weights by cell. Nil is plain ECMP, and for what is whole that it stays.
	weights congestion.Weights
	kept    bool // nothing is better than the start, so all stays
	bound   float64
	steered int
	sweeps  int
}

// choose optimises the free cells; the others stay as at the start. It is never
// worse than the start.
func (p *placed) choose(start congestion.Split, free []bool, s Settings) (chosen, error) {
	sub := &congestion.Problem{Capacity: p.problem.Capacity, Tails: p.problem.Tails}
	rest := &congestion.Problem{Capacity: p.problem.Capacity, Tails: p.problem.Tails}
	var subStart, restSplit congestion.Split
	var at []int
	for i, c := range p.problem.Commodities {
		if !free[i] {
			rest.Commodities = append(rest.Commodities, c)
			restSplit = append(restSplit, start[i])
			continue
		}
		at = append(at, i)
		sub.Commodities = append(sub.Commodities, c)
		// Where the hash has put a few flows is not the optimiser's to choose.
		own := start[i]
		if p.cells[i].counted() && !c.Whole {
			own = nil
		}
		subStart = append(subStart, own)
	}
	sub.Base = rest.Load(restSplit)
	choice, err := congestion.Choose(sub, congestion.Options{Start: subStart, Gap: s.Gap}, s.Table)
	if err != nil {
		return chosen{}, err
	}
	out := chosen{weights: make(congestion.Weights, len(p.cells)), bound: choice.Bound, sweeps: choice.Sweeps}
	for k, i := range at {
		out.weights[i] = choice.Weights[k]
	}
	p.evaluate(&out, start, free, s)
	load := p.problem.Load(start)
	was, _ := p.problem.Utilisation(load)
	if is, _ := p.problem.Utilisation(out.load); is >= was*(1-1e-9) {
		return chosen{weights: make(congestion.Weights, len(p.cells)), load: load, bound: out.bound, sweeps: out.sweeps, kept: true}, nil
	}
	return out, nil
}

// evaluate computes the load that the weights give, flows being hashed, and counts
// the cells that are no longer where they were.
func (p *placed) evaluate(c *chosen, start congestion.Split, free []bool, s Settings) {
	split := p.hashed(c.weights.Split())
	for i := range split {
		switch {
		case !free[i]:
			split[i] = start[i]
		case c.weights[i] == nil && !p.problem.Commodities[i].Whole:
			// Plain ECMP.
		case c.weights[i] == nil:
			split[i] = start[i]
		case p.problem.Commodities[i].Whole && slices.Equal(split[i], start[i]):
			c.weights[i] = nil // its hash has it there already
		default:
			c.steered++
		}
	}
	c.load = p.problem.Load(split)
}

// largest leaves the largest n of the free cells free; zero means all.
func (p *placed) largest(free []bool, n int) []bool {
	if n <= 0 {
		return free
	}
	var order []int
	for i := range p.cells {
		if free[i] {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p.cells[b].Rate, p.cells[a].Rate) })
	out := make([]bool, len(free))
	for _, i := range order[:min(n, len(order))] {
		out[i] = true
	}
	return out
}

// under is the load with the rules; what they leave to the optimiser is optimised
// with all else in place.
func (p *placed) under(rules *Rules, s Settings) ([]float64, error) {
	narrowed, free, parts := p.narrow(rules, nil)
	c, err := narrowed.choose(narrowed.hashed(parts), narrowed.largest(free, s.Most), s)
	return c.load, err
}

// stays is by how much a cell that is steered counts as larger than it is when only the
// largest are, so that those of about one size do not take turns.
const stays = 1.25

// narrow applies the rules: the cells that they leave to the optimiser are free and
// have only the ways that are left to them, the others have parts. Where a policy leaves
// only so many cells to it, those are the largest; those that are steered already stay
// while others are not a quarter larger.
func (p *placed) narrow(rules *Rules, is map[demand.Key]steered) (narrowed *placed, free []bool, parts congestion.Split) {
	bounded := map[string][]int{} // cells of policies that leave only so many, by the policy
	most := map[string]int{}
	parts = make(congestion.Split, len(p.cells))
	free = make([]bool, len(p.cells))
	problem := *p.problem
	problem.Commodities = slices.Clone(problem.Commodities)
	for i, c := range p.cells {
		d := rules.decide(p.Routes, c.from, c.to, ColourScope{Tenant: c.Tenant})
		parts[i], free[i] = d.parts, d.auto
		if d.auto && d.most > 0 {
			bounded[d.policy], most[d.policy] = append(bounded[d.policy], i), d.most
		}
		if !d.auto || d.parts == nil {
			continue
		}
		ways := problem.Commodities[i].Ways
		problem.Commodities[i].Ways = nil
		for w, part := range d.parts {
			if part > 0 {
				problem.Commodities[i].Ways = append(problem.Commodities[i].Ways, ways[w])
			}
		}
		parts[i] = nil
	}
	size := func(i int) float64 {
		if _, ok := is[p.cells[i].Key]; ok {
			return stays * p.cells[i].Rate
		}
		return p.cells[i].Rate
	}
	for policy, all := range bounded {
		slices.SortStableFunc(all, func(a, b int) int { return cmp.Compare(size(b), size(a)) })
		for _, i := range all[min(most[policy], len(all)):] {
			free[i] = false
		}
	}
	out := *p
	out.problem = &problem
	return &out, free, parts
}

// dark is the traffic that the rules, as they are while all is up, send to a switch
// from which there is no way any more.
func (p *placed) dark(rules *Rules) (float64, error) {
	healthy, err := p.Network.Routes(Failure{})
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, c := range p.cells {
		d := rules.decide(healthy, c.from, c.to, ColourScope{Tenant: c.Tenant})
		if d.parts == nil || d.auto {
			continue
		}
		ways, _ := healthy.between(c.from, c.to)
		now, _ := p.between(c.from, c.to)
		alive, gone := 0.0, 0.0
		for w, way := range ways {
			switch {
			case p.Routes.dead[way.First]: // the leaf sees that itself
			case slices.Contains(now, way):
				alive += d.parts[w]
			default:
				gone += d.parts[w]
			}
		}
		if gone > 0 {
			sum += c.Rate * gone / (alive + gone)
		}
	}
	return sum, nil
}

// Failures are all single failures of links between switches and of switches that
// are no leaves, in natural order.
func (n *Network) Failures() []Case {
	var out []Case
	for l := 0; l < len(n.Links); l += 2 {
		k := n.Links[l]
		out = append(out, Case{"without link " + k.From.String() + " - " + k.To.String(), Failure{Links: []string{k.From.String()}}})
	}
	for s, name := range n.names {
		if !slices.Contains(n.ends, s) {
			out = append(out, Case{"without " + name, Failure{Nodes: []string{name}}})
		}
	}
	slices.SortStableFunc(out, func(a, b Case) int { return fabric.Natural(a.Name, b.Name) })
	return out
}

// Highest puts reports together: of each link the highest load, of each figure the
// worst.
func Highest(name string, reports []Report) Report {
	out := Report{Case: Case{Name: name}}
	raise := func(to *[]float64, from []float64) {
		if *to == nil {
			*to = slices.Clone(from)
		}
		for l, v := range from {
			(*to)[l] = max((*to)[l], v)
		}
	}
	for _, r := range reports {
		raise(&out.ECMP, r.ECMP)
		raise(&out.Policy, r.Policy)
		raise(&out.Auto, r.Auto)
		out.Bound, out.Lost, out.Dark = max(out.Bound, r.Bound), max(out.Lost, r.Lost), max(out.Dark, r.Dark)
		out.Steered, out.Sweeps = max(out.Steered, r.Steered), max(out.Sweeps, r.Sweeps)
	}
	return out
}

// AllUp is the case without a failure.
var AllUp = Case{Name: "all up"}

// Worst is the highest utilisation of a load, and the link that has it.
func (n *Network) Worst(load []float64) (float64, Link) {
	most, at := math.Inf(-1), 0
	for l, k := range n.Links {
		if u := load[l] / k.Capacity; u > most {
			most, at = u, l
		}
	}
	if len(n.Links) == 0 {
		return 0, Link{}
	}
	return most, n.Links[at]
}

// Cells is the matrix as it is steered: merged by leaf, destination and tenant.
func (t Traffic) Cells() demand.Matrix {
	var m demand.Matrix
	for _, c := range t.cells {
		m.Demands = append(m.Demands, c.Demand)
	}
	return m
}
