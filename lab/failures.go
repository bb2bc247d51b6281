package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/topology"
)

// FailureOptions say how failures are tried.
type FailureOptions struct {
	Weft     string        // the binary that runs a switch's agent
	Interval time.Duration // between two datagrams of a stream; 1 ms when zero
	Rate     int           // most datagrams per second in all, for which the interval is made longer; 40000 when zero
	Underlay bool          // between the leaves' loopbacks too
	Patience time.Duration // until the network must have settled, and healed; 60 s each when zero
	Calm     time.Duration // for how long nothing may be lost, nor a route change, to call it settled; 500 ms when zero
	Told     func(FailureResult)
	Abort    bool // end with the first that does not go as it must
}

func (o *FailureOptions) defaults() {
	if o.Interval == 0 {
		o.Interval = time.Millisecond
	}
	if o.Rate == 0 {
		o.Rate = 40000
	}
	if o.Patience == 0 {
		o.Patience = time.Minute
	}
	if o.Calm == 0 {
		o.Calm = 500 * time.Millisecond
	}
}

// Impact is what the streams noticed of something. Those that had no way left are not
// counted.
type Impact struct {
	Hit  int           `json:"hit"` // streams that lost something
	Lost int           `json:"lost"`
	Sent int           `json:"sent"`
	Gap  time.Duration `json:"gap"` // the longest of all streams
	// Pause is the longest time between two datagrams of a stream when they were
	// sent: this machine's, not the network's.
	Pause time.Duration `json:"pause"`
}

// FailureResult is what a failure did to the lab.
type FailureResult struct {
	Kind     FailureKind   `json:"kind"`
	What     string        `json:"what"`
	Link     string        `json:"link,omitempty"` // the one link that failed, or
	Node     string        `json:"node,omitempty"` // the one node, or a daemon of it
	Crossing int           `json:"crossing"`       // streams that came over it before
	Down     Impact        `json:"down"`           // from the failure on, until it was mended
	Up       Impact        `json:"up"`             // from then on
	Healed   time.Duration `json:"healed"`         // until every kernel had all its routes again
	Severed  []Severed     `json:"severed,omitempty"`
	Faults   []string      `json:"faults,omitempty"` // what must not be
}

// OK reports whether all that had a way left was carried, and all healed.
func (r FailureResult) OK() bool { return len(r.Faults) == 0 }

// FailureReport is a lab's table of failures.
type FailureReport struct {
	Lab      string          `json:"lab"`
	Underlay string          `json:"underlay"`
	Streams  int             `json:"streams"`
	Interval time.Duration   `json:"interval"`
	Results  []FailureResult `json:"results"`
	Notes    []string        `json:"notes,omitempty"`
}

// OK reports whether all failures went as they must.
func (r *FailureReport) OK() bool {
	return !slices.ContainsFunc(r.Results, func(f FailureResult) bool { return !f.OK() })
}

// TryFailures lets each of the failures happen in turn while streams run between all
// hosts that must reach each other, mends it, and waits until all is as it was: every
// kernel's routes with all their next hops, and at the end every BFD session. The
// controller is only asked who must reach whom, before the first.
func TryFailures(ctx context.Context, s *State, failures []Failure, o FailureOptions) (*FailureReport, error) {
	o.defaults()
	t := &trial{state: s, opts: o, graph: s.graph(), bgp: strings.HasPrefix(s.Underlay, "bgp")}
	rep := &FailureReport{Lab: s.Name, Underlay: s.Underlay}
	if err := t.open(ctx, rep); err != nil {
		return nil, fmt.Errorf("failures of lab %s: %w", s.Name, err)
	}
	defer t.streams.Close()
	rep.Streams, rep.Interval = len(t.streams.Streams), t.opts.Interval
	for _, f := range failures {
		r, err := t.try(ctx, f)
		if err != nil {
			return rep, fmt.Errorf("%s of %s: %w", f.Kind, f.What, err)
		}
		rep.Results = append(rep.Results, r)
		if o.Told != nil {
			o.Told(r)
		}
		if o.Abort && !r.OK() {
			return rep, fmt.Errorf("%s of %s: %s: the others are left alone", f.Kind, f.What, strings.Join(r.Faults, "; "))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, o.Patience)
	defer cancel()
	if err := t.whole(ctx, true); err != nil {
		return rep, fmt.Errorf("after all failures: %w", err)
	}
	return rep, nil
}

// try lets one failure happen and mends it.
func (t *trial) try(ctx context.Context, f Failure) (FailureResult, error) {
	r := FailureResult{Kind: f.Kind, What: f.What, Node: f.Node}
	if len(f.Links) == 1 {
		r.Link = f.Links[0].String()
	}
	t.after(f, &r)
	var err error
	if r.Crossing, err = t.begin(ctx, f); err != nil {
		return r, fmt.Errorf("before it: %w", err)
	}
	defer func() { t.record.Stop() }()
	began := t.record.Tick()
	if err := f.fail(ctx); err != nil {
		return r, errors.Join(err, f.mend(context.WithoutCancel(ctx)))
	}
	late := t.settle(ctx, began, t.lasting, t.opts.Calm)
	if f.during != nil && late == nil {
		late = f.during(ctx)
	}
	mended := t.record.Tick()
	at := time.Now()
	if err := f.mend(context.WithoutCancel(ctx)); err != nil {
		return r, fmt.Errorf("mend: %w", err)
	}
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	healed := t.heal(ctx)
	r.Healed = time.Since(at)
	back := t.settle(ctx, t.record.Tick(), t.every(), t.short())
	t.record.Stop()
	r.Down, r.Up = t.impact(began, mended), t.impact(mended, t.record.Tick())
	for what, err := range map[string]error{"while it lasted: ": late, "when it was mended: ": errors.Join(healed, back)} {
		if err != nil {
			r.Faults = append(r.Faults, what+err.Error())
		}
	}
	if leaked, twice := t.record.Strays(); leaked+twice > 0 {
		r.Faults = append(r.Faults, fmt.Sprintf("%d datagrams came to others, %d came twice", leaked, twice))
	}
	slices.Sort(r.Faults)
	return r, nil
}

// begin starts a recording, and counts the streams that come over what is to fail.
// When there is none, since switches hash otherwise after the failures before, they
// are spread anew.
func (t *trial) begin(ctx context.Context, f Failure) (crossing int, err error) {
	if f.Kind == OneWayLoss { // nothing else tells of it in time
		whole, cancel := context.WithTimeout(ctx, t.opts.Patience)
		defer cancel()
		if err := t.whole(whole, true); err != nil {
			return 0, err
		}
	}
	for _, last := range []bool{false, true} {
		t.record = t.streams.Start(t.opts.Interval, 2*t.opts.Patience+10*time.Second)
		if err = t.settle(ctx, 0, t.every(), t.short()); err == nil {
			crossing, err = t.crossing(ctx, f)
		}
		if err == nil && (crossing > 0 || last || len(f.into) == 0) {
			return crossing, nil
		}
		t.record.Stop()
		if err == nil {
			err = t.streams.Spread(ctx, t.crossings())
		}
		if err != nil {
			break
		}
	}
	return 0, err
}

// after works out from the graph what is cut off by a failure, and which streams
// last.
func (t *trial) after(f Failure, r *FailureResult) {
	c := cuts{graph: t.graph, bgp: t.bgp, links: f.Links, nodes: f.Nodes}
	t.lasting = nil
	for i, st := range t.streams.Streams {
		if c.reaches(t.nodes[st.From], t.nodes[st.To]) {
			t.lasting = append(t.lasting, i)
		}
	}
	var nodes []string
	for _, n := range t.nodes {
		if !slices.Contains(nodes, n) {
			nodes = append(nodes, n)
		}
	}
	r.Severed = c.severed(nodes)
}

// impact sums what the lasting streams lost.
func (t *trial) impact(from, to int) Impact {
	i := Impact{Pause: t.record.Pause(from, to)}
	for _, st := range t.lasting {
		l := t.record.Loss(st, from, to)
		i.Sent += l.Sent
		i.Lost += l.Lost
		i.Gap = max(i.Gap, l.Gap)
		if l.Lost > 0 {
			i.Hit++
		}
	}
	return i
}

// crossing counts the streams that come over what is to fail, by the interfaces'
// counters.
func (t *trial) crossing(ctx context.Context, f Failure) (int, error) {
	if len(f.into) == 0 {
		return 0, nil
	}
	read := func() (sum uint64, tick int, err error) {
		for _, e := range f.into {
			n, err := t.state.received(e)
			if err != nil {
				return 0, 0, err
			}
			sum += n
		}
		return sum, t.record.Tick(), nil
	}
	before, from, err := read()
	if err != nil {
		return 0, err
	}
	if err := until(ctx, 10*time.Millisecond, nil, func() (bool, error) { return t.record.Tick() >= from+crossingTicks, nil }); err != nil {
		return 0, err
	}
	after, to, err := read()
	if err != nil {
		return 0, err
	}
	return int(float64(after-before)/float64(to-from) + 0.5), nil
}

// crossingTicks is over how many datagrams of each stream an interface is looked at:
// those of protocols are few beside them.
const crossingTicks = 100

// trial is the trying of a lab's failures.
type trial struct {
	state   *State
	opts    FailureOptions
	graph   *topology.Graph
	bgp     bool
	streams *probe.Streams
	nodes   []string // that each place is on
	routes  map[string]routes
	record  *probe.Recording
	lasting []int // streams that have a way left
}
