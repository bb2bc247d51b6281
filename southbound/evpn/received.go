package evpn

import (
	"fmt"
	"slices"
	"time"

	table "github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// said is what an UPDATE says of one route.
type said struct {
	nlri    nlri
	change  Change
	told    bool // of a type and an encapsulation in use
	refused bool
}

// tellMost is for how many changes there is room when more than one UPDATE is
// told of at a time.
const tellMost = 512

// received takes in what an UPDATE says and returns how many routes the leaf
// announces now. With more it may wait with telling until the next is taken in.
func (p *session) received(u *update, more bool) int {
	p.mu.Lock()
	if p.quiet != nil && !p.synced {
		p.quiet.Reset(quietTime)
	}
	p.mu.Unlock()
	p.ribMu.Lock()
	defer p.ribMu.Unlock()
	lost, mended := p.bad.take(u)
	if lost > 0 {
		p.malformed.Add(uint64(lost))
		p.alarm(southbound.AlarmMalformed, fmt.Sprintf("an UPDATE could not be read, its routes count as withdrawn (RFC 7606): %v", u.cause))
	} else if mended {
		p.alarm(southbound.AlarmMalformed, "")
	}
	p.said = p.said[:0]
	admit := p.s.cfg.Admit
	if u.attrs != nil {
		common := u.attrs.common()
		each(u.reach, func(n nlri) {
			s := said{nlri: n, change: Change{Route: common}}
			s.told = s.change.read(n) && u.attrs.vxlan
			s.refused = p.s.cfg.Fabric || s.told && admit != nil && !admit(p.peer.Name, &s.change.Route)
			p.said = append(p.said, s)
		})
	}
	changes := p.changes
	if n := len(p.said) + count(u.unreach); changes == nil && more {
		changes = make([]Change, 0, max(n, tellMost))
	} else {
		changes = slices.Grow(changes, n)
	}
	r := p.s.rib
	r.mu.Lock()
	each(u.unreach, func(n nlri) { changes = gone(changes, n, r.withdraw(p.source, n)) })
	for i := range p.said {
		s := &p.said[i]
		switch was, same := r.announce(p.source, s.nlri, u.attrs, s.refused); {
		case same:
		case s.told:
			changes = append(changes, s.change)
		default:
			changes = gone(changes, s.nlri, was)
		}
	}
	r.publish()
	n := len(p.source.entries)
	r.mu.Unlock()
	p.changes = changes
	if !more || len(changes) > tellMost/2 {
		p.flush()
	}
	return n
}

// gone adds that a route was withdrawn that had attributes, if that was told.
func gone(list []Change, n nlri, was *attributes) []Change {
	if was != nil && was.vxlan {
		if c, ok := n.withdrawn(); ok {
			return append(list, c)
		}
	}
	return list
}

// flush tells what was not told yet. p.ribMu is held.
func (p *session) flush() {
	if len(p.changes) > 0 {
		p.s.tell(event{peer: p.peer.Name, changes: p.changes})
		p.changes = nil
	}
}

// lost keeps or withdraws the routes of a session that ended: for the restart
// time that the leaf gave, then as a last resort for the smaller of its and our
// stale time.
func (p *session) lost(caps capabilities, byNotification bool) {
	p.ribMu.Lock()
	defer p.ribMu.Unlock()
	defer p.flush()
	p.stopExpiry()
	if !caps.restart || byNotification {
		p.sweepAll()
		return
	}
	p.s.rib.retain(p.source)
	if !p.s.rib.stale(p.source) {
		return
	}
	restart := time.Duration(caps.restartTime) * time.Second
	stale := min(time.Duration(caps.staleTime)*time.Second, p.s.cfg.StaleTime)
	if stale == 0 {
		p.expire(restart, p.sweep)
		return
	}
	p.expire(restart, func() {
		p.outlast()
		p.expire(stale, p.sweep)
	})
}

// expire does something about stale routes after a while, with p.ribMu held as
// it is now.
func (p *session) expire(after time.Duration, what func()) {
	p.stopExpiry()
	var t *time.Timer
	t = time.AfterFunc(after, func() {
		p.ribMu.Lock()
		defer p.ribMu.Unlock()
		if p.expiry == t {
			p.expiry = nil
			what()
			p.s.tell(event{peer: p.peer.Name})
		}
	})
	p.expiry = t
}

func (p *session) stopExpiry() {
	if p.expiry != nil {
		p.expiry.Stop()
		p.expiry = nil
	}
}

// sweep withdraws the routes that are stale. p.ribMu is held.
func (p *session) sweep() { p.remove(false) }

// sweepAll withdraws all routes. p.ribMu is held.
func (p *session) sweepAll() { p.remove(true) }

func (p *session) remove(all bool) {
	r := p.s.rib
	r.mu.Lock()
	r.sweep(p.source, all, func(n nlri, was *attributes) { p.changes = gone(p.changes, n, was) })
	r.mu.Unlock()
	p.flush()
}

// outlast keeps stale routes as a last resort, but for those that forbid it (RFC
// 9494 section 4.2). p.ribMu is held.
func (p *session) outlast() {
	r := p.s.rib
	r.mu.Lock()
	r.outlast(p.source, func(n nlri, was *attributes) { p.changes = gone(p.changes, n, was) })
	r.mu.Unlock()
	p.flush()
}

// isQuiet takes that a leaf that sends no End-of-RIB has announced all.
func (p *session) isQuiet() {
	p.mu.Lock()
	waits := p.quiet != nil && !p.synced
	p.mu.Unlock()
	if waits {
		p.endOfRIB()
	}
}

// endOfRIB is called when the leaf has announced all its routes.
func (p *session) endOfRIB() {
	p.ribMu.Lock()
	p.stopExpiry()
	p.sweep()
	good := p.bad.none()
	p.ribMu.Unlock()
	p.mu.Lock()
	p.synced = true
	p.mu.Unlock()
	p.alarm(southbound.AlarmSession, "")
	if good {
		p.alarm(southbound.AlarmMalformed, "")
	}
	p.s.tell(event{peer: p.peer.Name})
	p.s.recheck()
}

// calm ends the alarm about a malformed UPDATE in an earlier session with a leaf
// that will not say when it has announced all, once this one has lasted.
func (p *session) calm() {
	since := p.status().Since
	time.AfterFunc(absence, func() {
		p.ribMu.Lock()
		good := p.bad.none()
		p.ribMu.Unlock()
		if st := p.status(); good && st.State == stateEstablished && st.Since.Equal(since) {
			p.alarm(southbound.AlarmMalformed, "")
		}
	})
}

// forget withdraws all routes and ends all alarms.
func (p *session) forget() {
	p.ribMu.Lock()
	p.stopExpiry()
	p.sweepAll()
	p.ribMu.Unlock()
	for _, reason := range []string{southbound.AlarmSession, southbound.AlarmMalformed} {
		p.alarm(reason, "")
	}
}

// list copies the routes that the leaf announces.
func (p *session) list() []table.Route {
	r := p.s.rib
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]table.Route, 0, len(p.source.entries))
	var last shared
	for _, i := range p.source.entries {
		if route, told := p.route(i, &last); told {
			out = append(out, route)
		}
	}
	return out
}

// shared is what a set says, for the routes that have it.
type shared struct {
	set  *attributes
	says table.Route
}

// route reads an entry that has a path of the leaf's, and reports whether it is
// told of. The rib is locked.
func (p *session) route(i uint32, last *shared) (route table.Route, told bool) {
	r := p.s.rib
	q, n := r.pathOf(i, r.entry(i), p.source.id)
	a := r.byID[q.attrs]
	if last.set != a {
		*last = shared{a, a.common()}
	}
	c := Change{Route: last.says}
	told = c.read(n) && a.vxlan
	return c.Route, told
}

// judgeMost is how many routes are judged again at a time.
const judgeMost = 1024

// judge asks again of all routes whether they may be handed on.
func (p *session) judge() {
	admit := p.s.cfg.Admit
	if admit == nil {
		return
	}
	p.ribMu.Lock() // so that the source does not change
	defer p.ribMu.Unlock()
	r := p.s.rib
	var last shared
	for at := 0; ; at += judgeMost {
		p.said = p.said[:0]
		r.mu.Lock()
		entries := p.source.entries[min(at, len(p.source.entries)):]
		entries = slices.Clone(entries[:min(judgeMost, len(entries))])
		for _, i := range entries {
			var s said
			s.change.Route, s.told = p.route(i, &last)
			p.said = append(p.said, s)
		}
		r.mu.Unlock()
		if len(entries) == 0 {
			return
		}
		for i := range p.said {
			s := &p.said[i]
			s.refused = s.told && !admit(p.peer.Name, &s.change.Route)
		}
		r.mu.Lock()
		for k, i := range entries {
			r.refuse(p.source, i, p.said[k].refused)
		}
		r.publish()
		r.mu.Unlock()
	}
}
