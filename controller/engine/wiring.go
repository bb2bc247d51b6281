package engine

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/load"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

// Times of the wiring.
const (
	wiringEvery = time.Second
	// silentAfter is how long a switch may say nothing until what it said last
	// counts no longer.
	silentAfter = 10 * time.Second
	// settleTime is how long a fault must last to be an alarm: while a cable is
	// moved its ends hear each other one after the other.
	settleTime = 3 * time.Second
)

// SilentAfter is how long an agent may say nothing until what it said last counts no
// longer.
const SilentAfter = silentAfter

// AlarmSilent is the reason of an alarm that a switch's agent reports no more.
const AlarmSilent = "SwitchSilent"

// agentObject is what such an alarm is about.
const agentObject = "the agent"

// wiring compares the links of the intent with what switches report of their ports.
type wiring struct {
	mu       sync.Mutex
	links    map[intent.Ref]topology.Link
	nodes    map[string]identity
	capacity map[intent.Ref]float64 // bit/s, of links that state it
	switches map[string]*reported
	faults   map[topology.CablingFault]time.Time // since when
	raised   map[topology.CablingFault]struct{}  // as alarms
	now      func() time.Time
}

// reported is what a switch said last.
type reported struct {
	ports  []switchstate.Port
	serial string // of the box; empty when it does not say
	at     time.Time
	silent bool // as an alarm says
}

func newWiring() *wiring {
	return &wiring{links: map[intent.Ref]topology.Link{}, capacity: map[intent.Ref]float64{}, nodes: map[string]identity{}, switches: map[string]*reported{}, faults: map[topology.CablingFault]time.Time{},
		raised: map[topology.CablingFault]struct{}{}, now: time.Now}
}

// CablingFault is what is wrong with a cable, and since when.
type CablingFault struct {
	topology.CablingFault
	Since time.Time
}

// Cabling is how the intended links are wired.
type Cabling struct {
	Links  int      // of the intent
	Silent []string // switches that reported once and do no longer
	// Unheard are switches of which no agent has reported since the controller
	// started.
	Unheard []string
	Faults  []CablingFault
}

// put takes an object of the intent, or with nil its deletion.
func (w *wiring) put(r intent.Ref, o intent.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch r.Kind {
	case intent.KindLink:
		delete(w.links, r)
		delete(w.capacity, r)
		if l, ok := o.(*intent.Link); ok && len(l.Spec.Endpoints) == 2 {
			a, b := l.Spec.Endpoints[0], l.Spec.Endpoints[1]
			w.links[r] = topology.Link{A: topology.End{Node: a.Node, Interface: a.Interface}, B: topology.End{Node: b.Node, Interface: b.Interface}, MTU: l.Spec.MTU}
			if c, ok := l.Spec.Capacity.Bits(); ok && c > 0 {
				w.capacity[r] = float64(c)
			}
		}
	case intent.KindNode:
		delete(w.nodes, r.Name)
		if n, ok := o.(*intent.Node); ok {
			w.nodes[r.Name] = identity{n.Spec.Role, n.Spec.Serial, n.Spec.MAC}
		} else {
			delete(w.switches, r.Name)
		}
	}
}

// intended are the links of the intent.
func (w *wiring) intended() []load.Link {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]load.Link, 0, len(w.links))
	for r, l := range w.links {
		out = append(out, load.Link{A: l.A, B: l.B, Capacity: w.capacity[r]})
	}
	return out
}

// take takes a report. The ports are the wiring's from now on.
func (w *wiring) take(node string, r switchstate.Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.switches[node]
	if s == nil {
		s = &reported{}
		w.switches[node] = s
	}
	s.ports, s.serial, s.at = r.Ports, r.Serial, w.now()
}

// judge finds the faults that there are now, and what became an alarm or ended.
func (w *wiring) judge() (raise, end []topology.CablingFault, silent map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	w.settle(now)
	for f, since := range w.faults {
		if _, ok := w.raised[f]; !ok && now.Sub(since) >= settleTime {
			w.raised[f] = struct{}{}
			raise = append(raise, f)
		}
	}
	for f := range w.raised {
		if _, ok := w.faults[f]; !ok {
			delete(w.raised, f)
			end = append(end, f)
		}
	}
	silent = map[string]bool{}
	for node, s := range w.switches {
		if is := now.Sub(s.at) > silentAfter; is != s.silent {
			s.silent, silent[node] = is, is
		}
	}
	return raise, end, silent
}

// settle brings the faults in line with what is reported. The caller holds the lock.
func (w *wiring) settle(now time.Time) {
	was := w.faults
	w.faults = map[topology.CablingFault]time.Time{}
	for _, f := range topology.Cabling(slices.Collect(maps.Values(w.links)), w.seen(now)) {
		since, ok := was[f]
		if !ok {
			since = now
		}
		w.faults[f] = since
	}
}

// seen are the ports of the switches that report. The caller holds the lock.
func (w *wiring) seen(now time.Time) map[string][]topology.Seen {
	out := map[string][]topology.Seen{}
	for node, s := range w.switches {
		if now.Sub(s.at) <= silentAfter {
			out[node] = seenPorts(s.ports)
		}
	}
	return out
}

func seenPorts(ports []switchstate.Port) []topology.Seen {
	out := make([]topology.Seen, 0, len(ports))
	for _, p := range ports {
		v := topology.Seen{Interface: p.Name, Up: p.Up, MTU: p.MTU, Speed: p.Speed}
		for _, n := range p.Neighbours {
			v.Heard = append(v.Heard, topology.End{Node: n.Device, Interface: n.Port})
		}
		out = append(out, v)
	}
	return out
}

// state is how the fabric is wired now.
func (w *wiring) state(switches []string) Cabling {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	w.settle(now)
	c := Cabling{Links: len(w.links)}
	for f, since := range w.faults {
		c.Faults = append(c.Faults, CablingFault{f, since})
	}
	slices.SortFunc(c.Faults, func(a, b CablingFault) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Link, b.Link))
	})
	for _, n := range switches {
		switch s := w.switches[n]; {
		case s == nil:
			c.Unheard = append(c.Unheard, n)
		case now.Sub(s.at) > silentAfter:
			c.Silent = append(c.Silent, n)
		}
	}
	return c
}

// ports are those of a switch as it reported them last, and when; ok is false when it
// never did.
func (w *wiring) portsOf(node string) (ports []switchstate.Port, at time.Time, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.switches[node]; s != nil {
		return s.ports, s.at, true
	}
	return nil, time.Time{}, false
}

// Reporting is a switch that reports.
type Reporting struct {
	Node, Serial string
	Role         intent.Role
	Ports        []switchstate.Port
}

// Reporting lists the switches of which agents report now, by name.
func (e *Engine) Reporting() []Reporting {
	w := e.wiring
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Reporting
	for node, s := range w.switches {
		if w.now().Sub(s.at) <= silentAfter {
			out = append(out, Reporting{node, s.serial, w.nodes[node].role, s.ports})
		}
	}
	slices.SortFunc(out, func(a, b Reporting) int { return strings.Compare(a.Node, b.Node) })
	return out
}

// Switches are the switches of the intent that was taken, and their roles, by name.
func (e *Engine) Switches() map[string]intent.Role {
	w := e.wiring
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]intent.Role{}
	for name, n := range w.nodes {
		if n.role.Switch() {
			out[name] = n.role
		}
	}
	return out
}

// watchWiring keeps the alarms of cables until ctx ends.
func (e *Engine) watchWiring(ctx context.Context) {
	tick := time.NewTicker(wiringEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		e.judgeWiring()
		e.judgeIdentities()
		e.judgePaths()
	}
}

func (e *Engine) judgeWiring() {
	raise, end, silent := e.wiring.judge()
	for _, f := range end {
		e.alarm(deviceOf(f), southbound.AlarmKey{Reason: string(f.Kind), Object: f.Link}, "")
	}
	for _, f := range raise {
		e.alarm(deviceOf(f), southbound.AlarmKey{Reason: string(f.Kind), Object: f.Link}, f.Message)
	}
	for node, is := range silent {
		message := ""
		if is {
			message = "the agent on " + node + " has not reported for " + silentAfter.String() + ": the switch is down, cut off, or runs no agent; its cables are not judged"
		}
		e.alarm(node, southbound.AlarmKey{Reason: AlarmSilent, Object: agentObject}, message)
	}
}

// deviceOf is the first switch of a fault's link.
func deviceOf(f topology.CablingFault) string {
	node, _, _ := strings.Cut(f.Link, ":")
	return node
}

// TakeSwitch takes what a switch reports. Its error is ErrNoNode, or a *TakenError when
// another box speaks for the node.
func (e *Engine) TakeSwitch(node string, r switchstate.Report) error {
	e.mu.RLock()
	_, ok := e.objects[intent.Ref{Kind: intent.KindNode, Name: node}]
	e.mu.RUnlock()
	if !ok {
		return ErrNoNode
	}
	if err := e.takeUnderlay(node, r); err != nil {
		return err
	}
	e.wiring.take(node, r)
	e.steerer.notify()
	e.unknowns.reported(node, r.Serial)
	return nil
}

// Cabling is how the intended links are wired, as far as switches report.
func (e *Engine) Cabling() Cabling {
	e.mu.RLock()
	var switches []string
	for r := range e.objects {
		if r.Kind != intent.KindNode {
			continue
		}
		if n := e.model.Node(r.Name); n != nil && n.Spec.Role.Switch() {
			switches = append(switches, r.Name)
		}
	}
	e.mu.RUnlock()
	slices.Sort(switches)
	return e.wiring.state(switches)
}

// SwitchPorts are a switch's ports as its agent reported them last, and when; ok is
// false when none has since the controller started.
func (e *Engine) SwitchPorts(node string) (ports []switchstate.Port, at time.Time, ok bool) {
	return e.wiring.portsOf(node)
}
