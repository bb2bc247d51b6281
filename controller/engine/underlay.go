package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Reasons of the underlay's alarms.
const (
	// AlarmPlan: the fabric can't be planned as the objects say; the plan before
	// stays.
	AlarmPlan = "FabricNotPlanned"
	// AlarmUnderlay: a switch has not put its present state in place.
	AlarmUnderlay = "UnderlayNotApplied"
	// AlarmIdentity: two agents report as one node.
	AlarmIdentity = "IdentityTaken"
)

// repairedReason is the reason of an event that an agent mended what somebody changed.
const repairedReason = "Repaired"

// planWait gathers changes: objects often come many at once.
const planWait = 5 * time.Millisecond

// ErrNoNode says that there is no node of a name.
var ErrNoNode = errors.New("there is no such node")

// TakenError says that another box is the node already.
type TakenError struct {
	Node        string
	Has, Wanted string // serial numbers
}

// Error names both boxes and says what to do.
func (e *TakenError) Error() string {
	return fmt.Sprintf("node %s has an agent, on the box with serial number %s, and the box with serial number %s wants to be it too: give one of them another name with --node, or stop its agent", e.Node, e.Has, e.Wanted)
}

// underlay plans the fabric from the objects, and knows which switch has put its state
// in place.
type underlay struct {
	mu       sync.Mutex
	fabric   *intent.Fabric
	nodes    map[string]*intent.Node
	links    map[string]*intent.Link
	joins    map[string]*intent.Interconnect
	rev      uint64        // of the store, of the objects
	dirty    chan struct{} // has one when something changed since the last plan
	states   map[string]switchstate.State
	planned  *fabric.Facts // nil without a Fabric
	err      error         // why the objects can't be planned
	done     uint64        // rev of the last plan
	changed  chan struct{} // closed and replaced at each change of states
	switches map[string]*agentView
	now      func() time.Time
}

// agentView is what a switch's agent says.
type agentView struct {
	serial   string    // of its box
	at       time.Time // heard last
	reported bool      // it told of the underlay
	status   switchstate.Underlay
	other    string // serial number of the box that was refused last
	refused  time.Time
}

func newUnderlay() *underlay {
	return &underlay{nodes: map[string]*intent.Node{}, links: map[string]*intent.Link{}, joins: map[string]*intent.Interconnect{}, dirty: make(chan struct{}, 1),
		states: map[string]switchstate.State{}, changed: make(chan struct{}), switches: map[string]*agentView{}, now: time.Now}
}

// put takes an object of the intent, or with nil its deletion.
func (u *underlay) put(r intent.Ref, o intent.Object) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if o != nil {
		u.rev = max(u.rev, uint64(o.Meta().Revision))
	}
	switch r.Kind {
	case intent.KindFabric:
		u.fabric, _ = o.(*intent.Fabric)
	case intent.KindNode:
		keep(u.nodes, r.Name, o)
		if o == nil {
			delete(u.switches, r.Name)
		}
	case intent.KindLink:
		keep(u.links, r.Name, o)
	case intent.KindInterconnect:
		keep(u.joins, r.Name, o)
	default:
		return
	}
	u.again()
}

// at takes the store's revision that the objects are of from now on.
func (u *underlay) at(rev int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.rev = max(u.rev, uint64(rev))
}

// again has the objects planned.
func (u *underlay) again() {
	select {
	case u.dirty <- struct{}{}:
	default:
	}
}

// plan makes the states of all switches anew. It reports whether one changed, and
// why they can't be planned: then all stay as they are.
func (u *underlay) plan() (changed bool, err error) {
	u.mu.Lock()
	f, rev := u.fabric, u.rev
	nodes, links, joins := slices.Collect(maps.Values(u.nodes)), slices.Collect(maps.Values(u.links)), slices.Collect(maps.Values(u.joins))
	u.mu.Unlock()
	var facts *fabric.Facts
	states := map[string]switchstate.State{}
	if f != nil {
		facts, err = fabric.PlanIntent(f.Spec, nodes, links)
		for _, n := range nodes {
			if err != nil {
				break
			}
			if !n.Spec.Role.Switch() || n.Spec.Foreign() {
				continue
			}
			s := switchstate.State{Version: switchstate.Version, Revision: rev}
			if s.Device, err = fabric.Device(facts, n.Metadata.Name); err == nil {
				s.Device, err = fabric.AddLines(facts, s.Device, joins...)
			}
			s.Hash = s.Device.Hash()
			states[n.Metadata.Name] = s
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err = err; err != nil {
		return false, err
	}
	u.planned, u.done = facts, rev
	for name, s := range states {
		if was, ok := u.states[name]; ok && was.Hash == s.Hash {
			states[name] = was // the revision at which it became so
			continue
		} else if ok && was.Revision >= s.Revision {
			s.Revision = was.Revision + 1
			states[name] = s
		}
		changed = true
	}
	changed = changed || len(states) != len(u.states)
	u.states = states
	if changed {
		close(u.changed)
		u.changed = make(chan struct{})
	}
	return changed, nil
}

// hear takes that a box speaks for a node. One box does at a time: another one may
// when the first has said nothing for a while.
func (u *underlay) hear(node, serial string) (*agentView, error) {
	v, now := u.switches[node], u.now()
	switch {
	case v == nil:
		v = &agentView{}
		u.switches[node] = v
	case serial == "" || v.serial == "" || serial == v.serial:
	case u.nodes[node] != nil && serial == u.nodes[node].Spec.Serial: // it takes the place of another
	case now.Sub(v.at) <= silentAfter:
		v.other, v.refused = serial, now
		return nil, &TakenError{Node: node, Has: v.serial, Wanted: serial}
	default:
		*v = agentView{}
	}
	if serial != "" {
		v.serial = serial
	}
	v.at = now
	return v, nil
}

// take takes a report. It returns what the agent repaired, and reports whether the
// status is another than before.
func (u *underlay) take(node string, r switchstate.Report) (repaired []switchstate.Repair, changed bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	v, err := u.hear(node, r.Serial)
	if err != nil {
		return nil, false, err
	}
	repaired, r.Underlay.Repaired = r.Underlay.Repaired, nil
	changed = !v.reported || v.status.Hash != r.Underlay.Hash || v.status.Error != r.Underlay.Error || !slices.Equal(v.status.Notes, r.Underlay.Notes)
	v.status, v.reported = r.Underlay, true
	return repaired, changed, nil
}

// SwitchState waits until the state that a switch is to have as a part of the
// underlay is of another revision than since. Its error is ErrNoNode, a *TakenError,
// or ctx's.
func (e *Engine) SwitchState(ctx context.Context, node, serial string, since uint64) (switchstate.State, error) {
	u := e.underlay
	for {
		u.mu.Lock()
		_, known := u.nodes[node]
		var err error
		if !known {
			err = ErrNoNode
		} else if _, err = u.hear(node, serial); err == nil {
			if s, ok := u.states[node]; ok && s.Revision != since {
				u.mu.Unlock()
				return s, nil
			}
		}
		changed := u.changed
		u.mu.Unlock()
		if err != nil {
			return switchstate.State{}, err
		}
		select {
		case <-ctx.Done():
			return switchstate.State{}, ctx.Err()
		case <-changed:
		}
	}
}

// planUnderlay plans whenever objects changed, until ctx ends.
func (e *Engine) planUnderlay(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.underlay.dirty:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(planWait):
		}
		if e.Ready() != nil {
			// What was read is not all: load says so when it is.
			continue
		}
		_, err := e.underlay.plan()
		message := ""
		if err != nil {
			message = err.Error()
		}
		e.alarm(fabricDevice, southbound.AlarmKey{Reason: AlarmPlan, Object: "Fabric " + intent.FabricName}, message)
		e.broadcast()
	}
}

// fabricDevice stands for all switches where an alarm is about none of them.
const fabricDevice = "fabric"

// takeUnderlay takes what an agent says of the underlay.
func (e *Engine) takeUnderlay(node string, r switchstate.Report) error {
	repaired, changed, err := e.underlay.take(node, r)
	var taken *TakenError
	if errors.As(err, &taken) {
		e.alarm(node, southbound.AlarmKey{Reason: AlarmIdentity, Object: agentObject}, taken.Error())
	}
	if err != nil {
		return err
	}
	e.takeTransit(node, r)
	for _, x := range repaired {
		e.events.add(southbound.Event{Severity: southbound.Warning, Device: node, Object: "Node " + node, Reason: repairedReason, Message: "somebody changed the switch, and its agent mended it: " + x.What})
		e.log.Warn("somebody changed the switch, and its agent mended it", "device", node, "what", x.What)
	}
	if changed {
		message := ""
		if s := r.Underlay; s.Error != "" {
			message = s.Error
		}
		e.alarm(node, southbound.AlarmKey{Reason: AlarmUnderlay, Object: "the underlay"}, message)
		e.broadcast()
	}
	return nil
}

// judgeIdentities ends the alarms of nodes that one box only wants to be.
func (e *Engine) judgeIdentities() {
	u := e.underlay
	u.mu.Lock()
	var ended []string
	for node, v := range u.switches {
		if !v.refused.IsZero() && u.now().Sub(v.refused) > silentAfter {
			v.refused, v.other = time.Time{}, ""
			ended = append(ended, node)
		}
	}
	u.mu.Unlock()
	for _, node := range ended {
		e.alarm(node, southbound.AlarmKey{Reason: AlarmIdentity, Object: agentObject}, "")
	}
}
