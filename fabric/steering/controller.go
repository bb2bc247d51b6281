package steering

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/demand"
)

// Damping keeps the controller from running after each change of the demand.
type Damping struct {
	// Gain is by how much, as a part of it, the highest utilisation must fall for
	// anything to be begun.
	Gain float64
	// Floor is the utilisation below which nothing is worth doing.
	Floor float64
	// Hold is how long a cell is left alone after it was changed.
	Hold time.Duration
	// Share is the part of all traffic that one step may move.
	Share float64
	// Smooth is the time over which the demand is averaged; zero takes it as it is.
	Smooth time.Duration
}

// DefaultDamping acts for a gain of a tenth, above a load of three tenths, leaves a
// cell alone for 30 s, and moves up to a tenth of the traffic at a time.
func DefaultDamping() Damping {
	return Damping{Gain: 0.1, Floor: 0.3, Hold: 30 * time.Second, Share: 0.1, Smooth: 10 * time.Second}
}

func (d Damping) check() error {
	part := func(name string, v float64) error {
		if !(v >= 0 && v <= 1) {
			return fmt.Errorf("damping: %s: %v is not a part between 0 and 1", name, v)
		}
		return nil
	}
	for _, err := range []error{part("gain", d.Gain), part("floor", d.Floor), part("share", d.Share)} {
		if err != nil {
			return err
		}
	}
	if d.Hold < 0 || d.Smooth < 0 {
		return fmt.Errorf("damping: hold and smooth can't be negative")
	}
	return nil
}

// Hop is a first link with its weight.
type Hop struct {
	Link   Link
	Weight int
}

// Change is what a step does to the traffic of one cell.
type Change struct {
	demand.Key       // From is a leaf
	Before     []Hop // nil is ECMP
	After      []Hop
	Why        string
}

// steered is what a cell has instead of ECMP.
type steered struct {
	weights map[int32]int // by first link
}

// Controller follows a measured demand with weights: a state machine in the time
// that it is told. It is pure; who runs it measures, calls Step, and does what it
// says. It is for one goroutine.
type Controller struct {
	network   *Network
	rules     *Rules
	settings  Settings
	damping   Damping
	frozen    bool
	smooth    map[demand.Key]demand.Demand
	last      time.Time
	cells     map[demand.Key]steered
	changed   map[demand.Key]time.Time // of cells that were changed within Hold
	told      Observed                 // by who measures
	observed  Observed                 // of the cells
	elephants map[demand.Key]elephant
	palette
	// pursuing is set when a step stopped since it might not move more: then what is
	// left is worth it for the next one, too; partly until when that holds for what
	// went a part of its way, and is held.
	pursuing bool
	partly   time.Time
}

// NewController begins with all traffic on ECMP.
func NewController(n *Network, s Settings, d Damping) (*Controller, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	return &Controller{network: n, settings: s, damping: d, smooth: map[demand.Key]demand.Demand{},
		cells: map[demand.Key]steered{}, changed: map[demand.Key]time.Time{}, palette: newPalette()}, nil
}

// Follow has it steer another network from now on, or the same under other rules; nil
// rules leave all traffic to it. What it steers stays steered as far as the links are
// there. What the rules do not leave to it, it lets go of in the next step, also while
// it is frozen: they decide about that then.
func (c *Controller) Follow(n *Network, r *Rules) {
	if n != c.network {
		index := make(map[string]int32, len(n.Links))
		for l, k := range n.Links {
			index[k.String()] = int32(l)
		}
		for key, st := range c.cells {
			left := map[int32]int{}
			for l, weight := range st.weights {
				if now, ok := index[c.network.Links[l].String()]; ok {
					left[now] = weight
				}
			}
			if c.cells[key] = (steered{left}); len(left) == 0 {
				delete(c.cells, key)
			}
		}
		for _, all := range []map[demand.Key]elephant{c.elephants, c.shades} {
			for key, e := range all {
				if now, ok := index[c.network.Links[e.at].String()]; ok {
					e.at = now
					all[key] = e
				} else {
					delete(all, key)
				}
			}
		}
	}
	c.network, c.rules = n, r
}

// Chosen are the next hops of all cells that are steered now, by the cell: from a leaf
// to a VTEP.
func (c *Controller) Chosen() map[demand.Key][]Hop {
	out := make(map[demand.Key][]Hop, len(c.cells))
	for key, st := range c.cells {
		out[key] = c.network.hops(st.weights)
	}
	return out
}

// hops lists weights by link; nil for none.
func (n *Network) hops(weights map[int32]int) []Hop {
	var out []Hop
	for _, l := range slices.Sorted(maps.Keys(weights)) {
		out = append(out, Hop{n.Links[l], weights[l]})
	}
	return out
}

// Freeze stops all changes, or lets them go on. What is steered stays; what leads
// nowhere is still withdrawn.
func (c *Controller) Freeze(frozen bool) { c.frozen = frozen }

// Outcome is what a step found and does.
type Outcome struct {
	Changes []Change  // in natural order
	Load    []float64 // bit/s by link, after the changes, of the averaged demand
	// Before and After are the highest utilisation; Target is what the optimiser
	// would reach if all could be changed at once.
	Before, After, Target float64
	Moved                 float64 // part of all traffic that goes another way now
	Elephants             int     // cells that were seen to be one flow, or as good as one
	Why                   string  // why nothing, or not more, is changed
}

// Step takes the demand measured since the last step and what is down, and says what
// to change.
func (c *Controller) Step(now time.Time, m demand.Matrix, f Failure) (Outcome, error) {
	averaged, err := c.average(now, m)
	if err != nil {
		return Outcome{}, err
	}
	traffic, err := NewTraffic(c.network, averaged)
	if err != nil {
		return Outcome{}, err
	}
	routes, err := c.network.Routes(f)
	if err != nil {
		return Outcome{}, err
	}
	full := traffic
	c.observed = c.told
	if c.paints() {
		c.review(now)
		traffic, c.observed = full.apart(c.coloured), c.told.apart(c.coloured)
	}
	s := c.stepping(traffic, routes, now)
	s.withdraw()
	s.mark()
	s.present = s.split()
	s.load = s.problem.Load(s.present)
	s.Before, _ = s.problem.Utilisation(s.load)
	s.After, s.Target = s.Before, s.Before
	given, err := s.give(full)
	if err == nil && !given {
		if err = s.act(); err == nil {
			s.giveBack()
		}
	}
	if err != nil {
		return Outcome{}, err
	}
	s.Load = s.load
	for _, e := range c.elephants {
		if e.found() {
			s.Elephants++
		}
	}
	slices.SortFunc(s.Changes, func(a, b Change) int {
		return cmp.Or(fabric.Natural(a.From, b.From), fabric.Natural(a.To, b.To), fabric.Natural(a.Tenant, b.Tenant))
	})
	return s.Outcome, nil
}

// stepping begins a step.
func (c *Controller) stepping(t Traffic, routes *Routes, now time.Time) *stepping {
	s := &stepping{Controller: c, placed: t.place(routes, c.settings.Seed), now: now}
	if c.rules != nil {
		s.placed, s.open, s.decided = s.placed.narrow(c.rules, c.cells)
	}
	return s
}

// average follows the demand by an exponential mean.
func (c *Controller) average(now time.Time, m demand.Matrix) (demand.Matrix, error) {
	keep := 0.0
	if c.damping.Smooth > 0 && !c.last.IsZero() {
		keep = math.Exp(-float64(now.Sub(c.last)) / float64(c.damping.Smooth))
	}
	c.last = now
	next := map[demand.Key]demand.Demand{}
	for _, d := range m.Demands {
		if old, ok := c.smooth[d.Key]; ok {
			d.Rate += keep * (old.Rate - d.Rate)
		} else {
			d.Rate *= 1 - keep
		}
		next[d.Key] = d
	}
	for k, old := range c.smooth {
		if _, ok := next[k]; !ok && keep > 0 {
			// Below a bit per second nothing is left.
			if old.Rate *= keep; old.Rate >= 1 {
				next[k] = old
			}
		}
	}
	c.smooth = next
	return demand.New(slices.Collect(maps.Values(next)))
}
