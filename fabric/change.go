package fabric

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/fabric/device"
)

// Change is what becomes of one switch.
type Change struct {
	Node string
	Kind ChangeKind
	// Renumbered tells which of its identity's numbers become others: AS number,
	// router ID, loopbacks, and addresses of ports that stay.
	Renumbered []string
	// Details are the other differences, in words.
	Details []string
	// Sessions are the BGP sessions and IS-IS adjacencies that come, go or flap; the
	// others stay up.
	Sessions []SessionChange
}

// ChangeKind tells whether a switch comes, goes, or becomes another.
type ChangeKind string

// The kinds of Change.
const (
	SwitchAdded   ChangeKind = "added"
	SwitchRemoved ChangeKind = "removed"
	SwitchChanged ChangeKind = "changed"
)

// SessionChange is a session or adjacency that does not just stay.
type SessionChange struct {
	Peer string // "spine1:eth1", or the address or interface when it has no description
	Fate Fate
	Why  string // of a flap
}

// Fate is what becomes of a session.
type Fate string

// The fates.
const (
	Comes Fate = "comes"
	Goes  Fate = "goes"
	Flaps Fate = "flaps"
)

// Compare lists the switches that change, in natural order.
func Compare(before, after map[string]device.State) []Change {
	names := map[string]bool{}
	for n := range before {
		names[n] = true
	}
	for n := range after {
		names[n] = true
	}
	var out []Change
	for _, n := range slices.SortedFunc(maps.Keys(names), Natural) {
		old, was := before[n]
		now, is := after[n]
		if was && is && old.Equal(now) {
			continue
		}
		c := Change{Node: n, Kind: SwitchChanged}
		switch {
		case !was:
			c.Kind = SwitchAdded
		case !is:
			c.Kind = SwitchRemoved
		default:
			c.renumbered(old, now)
			c.details(old, now)
		}
		c.sessions(old, now)
		out = append(out, c)
	}
	return out
}

func (c *Change) renumber(what string, old, now any) {
	if old != now {
		c.Renumbered = append(c.Renumbered, fmt.Sprintf("%s %v becomes %v", what, old, now))
	}
}

func (c *Change) detail(format string, args ...any) {
	c.Details = append(c.Details, fmt.Sprintf(format, args...))
}

func (c *Change) renumbered(old, now device.State) {
	if o, n := old.BGP, now.BGP; o != nil && n != nil {
		c.renumber("ASN", o.ASN, n.ASN)
		c.renumber("router ID", o.RouterID, n.RouterID)
	}
	if o, n := old.ISIS, now.ISIS; o != nil && n != nil {
		c.renumber("NET", o.NET, n.NET)
	}
	c.addresses("lo", old.Loopbacks, now.Loopbacks)
}

// addresses compares those of one port: as many of one IP version as were there
// before are renumbered, the others come or go.
func (c *Change) addresses(port string, old, now []netip.Prefix) {
	gone := slices.DeleteFunc(slices.Clone(old), func(p netip.Prefix) bool { return slices.Contains(now, p) })
	come := slices.DeleteFunc(slices.Clone(now), func(p netip.Prefix) bool { return slices.Contains(old, p) })
	for _, p := range gone {
		i := slices.IndexFunc(come, func(q netip.Prefix) bool { return q.Addr().Is4() == p.Addr().Is4() })
		if i < 0 {
			c.detail("address %s of %s goes", p, port)
			continue
		}
		c.renumber("address of "+port, p, come[i])
		come = slices.Delete(come, i, i+1)
	}
	for _, p := range come {
		c.detail("address %s of %s comes", p, port)
	}
}

func (c *Change) details(old, now device.State) {
	if old.Role != now.Role {
		c.detail("role %s becomes %s", old.Role, now.Role)
	}
	switch {
	case now.Drained && !old.Drained:
		c.detail("is drained: the others use the ways around it")
	case old.Drained && !now.Drained:
		c.detail("is drained no more")
	}
	ports := map[string]device.Interface{}
	for _, p := range old.Interfaces {
		ports[p.Name] = p
	}
	for _, p := range now.Interfaces {
		was, ok := ports[p.Name]
		delete(ports, p.Name)
		if !ok {
			c.detail("port %s %s comes", p.Name, p.Description)
			continue
		}
		if was.Description != p.Description {
			c.detail("port %s %s is now %s", p.Name, was.Description, p.Description)
		}
		if was.MTU != p.MTU {
			c.detail("MTU of %s, %d, becomes %d", p.Name, was.MTU, p.MTU)
		}
		c.addresses(p.Name, was.Addresses, p.Addresses)
	}
	for _, n := range slices.SortedFunc(maps.Keys(ports), Natural) {
		c.detail("port %s %s goes", n, ports[n].Description)
	}
	c.groups(old, now)
}

// groups compares what sessions have in common.
func (c *Change) groups(old, now device.State) {
	if old.BGP == nil || now.BGP == nil {
		return
	}
	for _, g := range now.BGP.Groups {
		i := slices.IndexFunc(old.BGP.Groups, func(o device.PeerGroup) bool { return o.Name == g.Name })
		if i < 0 {
			continue
		}
		o := old.BGP.Groups[i]
		if o.Keepalive != g.Keepalive || o.Hold != g.Hold {
			c.detail("timers %d %d become %d %d, of each session when it is next made", o.Keepalive, o.Hold, g.Keepalive, g.Hold)
		}
		if text(o.BFD) != text(g.BFD) {
			c.detail("BFD %s becomes %s", text(o.BFD), text(g.BFD))
		}
	}
}

func text(b *device.BFD) string {
	if b == nil {
		return "off"
	}
	return fmt.Sprintf("%d x %d ms", b.Multiplier, b.Interval)
}

// session is what a session depends on beside its peer.
type session struct {
	peer  string
	needs []need
}

// need is a value with which a session is made: it flaps when that is another.
type need struct {
	what  string
	value any
}

// sessions compares the sessions.
func (c *Change) sessions(old, now device.State) {
	was, is := sessionsOf(old), sessionsOf(now)
	for _, key := range slices.SortedFunc(maps.Keys(was), Natural) {
		o := was[key]
		n, stays := is[key]
		if !stays {
			c.Sessions = append(c.Sessions, SessionChange{Peer: o.peer, Fate: Goes})
			continue
		}
		for i, v := range o.needs {
			if v.value != n.needs[i].value {
				c.Sessions = append(c.Sessions, SessionChange{n.peer, Flaps, fmt.Sprintf("%s %v becomes %v", v.what, v.value, n.needs[i].value)})
				break
			}
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(is), Natural) {
		if _, stays := was[key]; !stays {
			c.Sessions = append(c.Sessions, SessionChange{Peer: is[key].peer, Fate: Comes})
		}
	}
}

// sessionsOf lists a switch's sessions and adjacencies by what FRR knows them by.
func sessionsOf(s device.State) map[string]session {
	out := map[string]session{}
	about := map[string]string{}
	for _, i := range s.Interfaces {
		about[i.Name] = i.Description
	}
	if b := s.BGP; b != nil {
		for _, n := range b.Neighbors {
			key := "BGP " + n.Interface
			if n.Interface == "" {
				key = "BGP " + n.Address.String()
			}
			peer := n.Description
			if peer == "" {
				peer = key[len("BGP "):]
			}
			out[key] = session{peer: peer, needs: []need{
				{"the own ASN", b.ASN}, {"the router ID", b.RouterID}, {"the neighbour's ASN", n.RemoteASN}, {"its peer group", n.Group}, {"its address family", familyOf(b, n.Group)},
			}}
		}
	}
	if i := s.ISIS; i != nil {
		for _, p := range i.Interfaces {
			if !p.Passive {
				peer := about[p.Name]
				if len(peer) > len("to ") {
					peer = peer[len("to "):]
				}
				out["IS-IS "+p.Name] = session{peer: peer, needs: []need{{"the NET", i.NET}}}
			}
		}
	}
	return out
}

func familyOf(b *device.BGP, group string) device.Family {
	for _, g := range b.Groups {
		if g.Name == group {
			return g.Family
		}
	}
	return ""
}
