package engine

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/paths"
	"github.com/weft-sdn/weft/fabric/steering"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

// pathSettle is how long a switch must have other next hops than are intended until
// that is an alarm: longer than routing protocols take to converge.
const pathSettle = 5 * time.Second

// eventMended is the reason of an event that an agent put something right by itself.
const eventMended = "Mended"

// routing compares the next hops that switches report with those that the graph has.
type routing struct {
	mu       sync.Mutex
	nodes    map[string]paths.Node
	switches map[string]*routed
	faults   map[faultKey]*pathFault
	sessions map[string]time.Time // ports with BGP sessions; when all of them were seen to be lost last, zero while one is up
	now      func() time.Time

	changed bool // since the last audit
	silent  int  // switches, at the last audit
	down    map[topology.End]bool
}

// routed is what a switch said last of its routing.
type routed struct {
	seen *paths.Seen
	hash string
	at   time.Time
}

type faultKey struct {
	kind       paths.Kind
	node, link string
}

// pathFault is a fault that there is, since when, and whether it is an alarm.
type pathFault struct {
	message string
	since   time.Time
	raised  string // the message of the alarm
}

func newRouting() *routing {
	return &routing{nodes: map[string]paths.Node{}, switches: map[string]*routed{}, faults: map[faultKey]*pathFault{}, sessions: map[string]time.Time{}, now: time.Now}
}

// put takes an object of the intent, or with nil its deletion.
func (u *routing) put(r intent.Ref, o intent.Object) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch r.Kind {
	case intent.KindLink:
		u.changed = true
	case intent.KindNode:
		u.changed = true
		if n, ok := o.(*intent.Node); ok {
			u.nodes[r.Name] = paths.Node{Name: r.Name, Role: n.Spec.Role, ASN: n.Spec.ASN, Loopback: n.Spec.Loopback, VTEP: n.Spec.VTEP, Colours: n.Spec.Colours, Drained: n.Spec.Drains()}
		} else {
			delete(u.nodes, r.Name)
			delete(u.switches, r.Name)
			maps.DeleteFunc(u.sessions, func(port string, _ time.Time) bool { return strings.HasPrefix(port, r.Name+":") })
		}
	}
}

// take takes a report. whole says that one with the routing itself is wanted; mends
// are those that are new.
func (u *routing) take(node string, r switchstate.RoutingReport) (whole bool, mends []switchstate.Mend) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s, now := u.switches[node], u.now()
	if s == nil {
		s = &routed{}
		u.switches[node] = s
	}
	s.at = now
	if r.Routing == nil {
		return s.hash != r.Hash, nil
	}
	var known []switchstate.Mend // none when the controller has just started, as its events
	if s.seen != nil {
		known = s.seen.Routing.Mended
	}
	for _, m := range r.Routing.Mended {
		if !slices.Contains(known, m) {
			mends = append(mends, m)
		}
	}
	s.hash, s.seen = r.Hash, paths.NewSeen(*r.Routing, nil)
	u.note(node, *r.Routing, now)
	u.changed = true
	return false, mends
}

// network is the intent with what switches report. The caller holds the lock.
func (u *routing) network(links []topology.Link, down map[topology.End]bool) *paths.Network {
	ports := map[string]map[string]bool{}
	for e := range down {
		if ports[e.Node] == nil {
			ports[e.Node] = map[string]bool{}
		}
		ports[e.Node][e.Interface] = true
	}
	seen := map[string]*paths.Seen{}
	for name, s := range u.switches {
		if s.seen != nil && u.now().Sub(s.at) <= silentAfter {
			seen[name] = s.seen.WithDown(ports[name])
		}
	}
	return paths.NewNetwork(slices.Collect(maps.Values(u.nodes)), links, seen)
}

// heard counts the switches that report.
func (u *routing) heard() (n int) {
	for _, s := range u.switches {
		if s.seen != nil && u.now().Sub(s.at) <= silentAfter {
			n++
		}
	}
	return n
}

// judge finds the faults that there are now, and returns the alarms that begin, have
// other words, or end with an empty message.
func (u *routing) judge(links []topology.Link, down map[topology.End]bool) map[faultKey]string {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.now()
	if heard := u.heard(); u.changed || heard != u.silent || !maps.Equal(down, u.down) {
		u.changed, u.silent, u.down = false, heard, down
		was := u.faults
		u.faults = map[faultKey]*pathFault{}
		for _, f := range u.network(links, down).Audit() {
			k := faultKey{f.Kind, f.Switch, f.Link}
			have := was[k]
			if have == nil {
				have = &pathFault{since: now}
			}
			have.message = f.Message
			u.faults[k] = have
			delete(was, k)
		}
		out := map[faultKey]string{}
		for k, f := range was {
			if f.raised != "" {
				out[k] = ""
			}
		}
		return u.raise(now, out)
	}
	return u.raise(now, map[faultKey]string{})
}

func (u *routing) raise(now time.Time, out map[faultKey]string) map[faultKey]string {
	for k, f := range u.faults {
		if now.Sub(f.since) >= pathSettle && f.raised != f.message {
			f.raised = f.message
			out[k] = f.message
		}
	}
	return out
}

// plan is the intended links, and the ports that have no carrier.
func (w *wiring) plan() (links []topology.Link, down map[topology.End]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	down = map[topology.End]bool{}
	for node, s := range w.switches {
		if w.now().Sub(s.at) > silentAfter {
			continue
		}
		for _, p := range s.ports {
			if !p.Up {
				down[topology.End{Node: node, Interface: p.Name}] = true
			}
		}
	}
	links = slices.Collect(maps.Values(w.links))
	slices.SortFunc(links, func(a, b topology.Link) int { return strings.Compare(a.String(), b.String()) })
	return links, down
}

// sessionless lists the ports (leaf1:eth2) over which switches have, or had, BGP
// sessions, and none that is Established, in order: the cable is there, and the switch at
// its other end may have no route yet, as when it has just been started. A port that was
// down, as those that are given are now, must be seen to have one again: what a switch
// said of its sessions before counts no more.
func (u *routing) sessionless(down []string) (ports []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.now()
	for _, port := range down {
		if _, ok := u.sessions[port]; ok {
			u.sessions[port] = now
		}
	}
	for node, s := range u.switches {
		if s.seen == nil {
			continue
		}
		for _, b := range s.seen.Routing.BGP {
			// One that leads nowhere at the moment has no port.
			if port := node + ":" + b.Interface; b.Interface != "" && b.State == switchstate.Established && s.at.After(u.sessions[port]) {
				u.sessions[port] = time.Time{}
			}
		}
	}
	for port, lost := range u.sessions {
		if !lost.IsZero() {
			ports = append(ports, port)
		}
	}
	slices.Sort(ports)
	return ports
}

// note keeps which ports have sessions, and which of them have lost theirs. The caller
// holds the lock.
func (u *routing) note(node string, r switchstate.Routing, at time.Time) {
	up := map[string]bool{}
	for _, b := range r.BGP {
		if b.Interface != "" {
			up[b.Interface] = up[b.Interface] || b.State == switchstate.Established
		}
	}
	for port, established := range up {
		port = node + ":" + port
		if lost, known := u.sessions[port]; !known && established {
			u.sessions[port] = time.Time{}
		} else if !established && lost.IsZero() {
			u.sessions[port] = at
		}
	}
}

// unusable is by what nothing is to be steered, with what is down: ports without a
// carrier and those without a session, and silent switches. Heard reports whether all
// switches that are given have said something.
func (e *Engine) unusable(switches []string) (f steering.Failure, heard bool) {
	f, heard = e.wiring.down(switches)
	f.Links = append(f.Links, e.routing.sessionless(f.Links)...)
	slices.Sort(f.Links)
	f.Links = slices.Compact(f.Links)
	return f, heard
}

// judgePaths keeps the alarms of next hops.
func (e *Engine) judgePaths() {
	changes := e.routing.judge(e.wiring.plan())
	keys := slices.SortedFunc(maps.Keys(changes), func(a, b faultKey) int {
		return cmp.Or(strings.Compare(a.node, b.node), strings.Compare(a.link, b.link), strings.Compare(string(a.kind), string(b.kind)))
	})
	for _, k := range keys {
		e.alarm(k.node, southbound.AlarmKey{Reason: string(k.kind), Object: k.link}, changes[k])
	}
}

// TakeRouting takes what a switch reports of its routing; ok is false when there is
// no such node. whole says that the routing itself is wanted, and not its hash alone.
func (e *Engine) TakeRouting(node string, r switchstate.RoutingReport) (whole, ok bool) {
	e.mu.RLock()
	_, ok = e.objects[intent.Ref{Kind: intent.KindNode, Name: node}]
	e.mu.RUnlock()
	if !ok {
		return false, false
	}
	whole, mends := e.routing.take(node, r)
	if r.Routing != nil {
		e.steerer.notify()
	}
	for _, m := range mends {
		e.events.add(southbound.Event{Severity: southbound.Warning, Device: node, Object: m.Object, Reason: eventMended, Message: m.Message})
		e.log.Warn("mended: "+m.Message, "device", node, "object", m.Object)
	}
	return whole, true
}

// Routing is what a switch reported last of its routing, and when it was heard last;
// ok is false when it has not since the controller started.
func (e *Engine) Routing(node string) (r switchstate.Routing, at time.Time, ok bool) {
	e.routing.mu.Lock()
	defer e.routing.mu.Unlock()
	s := e.routing.switches[node]
	if s == nil || s.seen == nil {
		return r, at, false
	}
	return s.seen.Routing, s.at, true
}

// Paths are the equal-cost paths between two places, each given by the name of a node
// or an address.
func (e *Engine) Paths(from, to string) (paths.Result, error) {
	links, down := e.wiring.plan()
	e.routing.mu.Lock()
	n := e.routing.network(links, down)
	e.routing.mu.Unlock()
	a, err := n.Resolve(from)
	if err != nil {
		return paths.Result{}, err
	}
	b, err := n.Resolve(to)
	if err != nil {
		return paths.Result{}, err
	}
	return n.Compare(a, b), nil
}
