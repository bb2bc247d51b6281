package vswitch

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// station is an address that is in groups.
type station struct {
	domain intent.VNI
	ip     netip.Addr
}

// members are the addresses that are in groups which rules of the edge's ports
// name, and in which. An address in several groups is one flow.
type members struct {
	bits map[station]groupBits
	// kept are bits that no row says: the device had them, and an edge that has
	// not reported may have the member.
	kept map[station]groupBits
}

// memberFlows are the flows of an address: one for each direction in which rules
// name a group of it.
func (g *guard) memberFlows(m station, bits groupBits) []openflow.Flow {
	var fs []openflow.Flow
	if b := bits.and(g.in); !b.empty() {
		fs = append(fs, memberFlow(ingress, m.domain, m.ip, b))
	}
	if b := bits.and(g.out); !b.empty() {
		fs = append(fs, memberFlow(egress, m.domain, m.ip, b))
	}
	return fs
}

// short says of which ports the policy names groups that have no bit here.
func (g *guard) short(local map[intent.Ref]overlay.LocalPort) map[intent.Ref]string {
	var out map[intent.Ref]string
	for r, l := range local {
		if l.Policy == nil || len(g.slots) < maxNamed {
			continue
		}
		ids := g.lacks(l.Policy)
		if len(ids) == 0 {
			continue
		}
		var names []string
		for _, rule := range l.Policy.Rules {
			if slices.Contains(ids, rule.Peer) && !slices.Contains(names, rule.Group) {
				names = append(names, rule.Group)
			}
		}
		if out == nil {
			out = map[intent.Ref]string{}
		}
		out[r] = fmt.Sprintf("the rules of the ports here name more than %d groups; those that name group %s allow nothing on this port", maxNamed, strings.Join(names, ", "))
	}
	return out
}

// bringGuard changes the flows of policies and members from what the device has to
// what its ports need now.
func (s *connection) bringGuard(c *changes, next *programmed) {
	was, now := s.done.guard, s.pipe.guard
	next.guard, next.members = now, s.done.members
	was.change(c, now)
	if was == nil {
		was = &guard{}
	}
	ms := &next.members
	before := map[station]groupBits{}
	for id, slot := range was.slots {
		if at, ok := now.slots[id]; !ok || at != slot {
			ms.clear(slot, before)
		}
	}
	for table, id := range now.reads {
		since, had := s.done.cursors[table]
		if at, ok := was.slots[id]; !had || !ok || at != now.slots[id] {
			since = 0
		}
		next.cursors[table] = s.readMembers(ms, now.slots[id], table, since, before)
	}
	if was.in != now.in || was.out != now.out {
		// What the rules of a direction name is told in its table.
		for m, bits := range ms.bits {
			if _, ok := before[m]; !ok {
				before[m] = bits
			}
		}
	}
	for m, bits := range before {
		c.replace(was.memberFlows(m, bits), now.memberFlows(m, ms.bits[m]))
	}
}

// bringMembers changes the flows that follow from the rows of one group.
func (s *connection) bringMembers(c *changes, next *programmed, g *guard, table intent.VNI, since evpn.Revision) {
	before := map[station]groupBits{}
	next.cursors[table] = s.readMembers(&s.done.members, g.slots[g.reads[table]], table, since, before)
	for m, bits := range before {
		c.replace(g.memberFlows(m, bits), g.memberFlows(m, s.done.members.bits[m]))
	}
}

// readMembers takes the newer rows of a group's table, and notes what the addresses
// concerned had before.
func (s *connection) readMembers(ms *members, slot uint8, table intent.VNI, since evpn.Revision, before map[station]groupBits) evpn.Revision {
	rows, rev := s.feed.Rows(table, since)
	for _, r := range rows {
		m := station{r.Domain, r.IP}
		bits := ms.bits[m]
		if r.Deleted {
			ms.set(m, bits.without(slot), before)
		} else {
			ms.set(m, bits.with(slot), before)
		}
		if k := ms.kept[m].without(slot); k.empty() {
			delete(ms.kept, m)
		} else {
			ms.kept[m] = k
		}
	}
	return rev
}

// set gives an address its bits, and notes those that it had at first.
func (ms *members) set(m station, bits groupBits, before map[station]groupBits) {
	was := ms.bits[m]
	if was == bits {
		return
	}
	if _, ok := before[m]; !ok {
		before[m] = was
	}
	switch {
	case bits.empty():
		delete(ms.bits, m)
	case ms.bits == nil:
		ms.bits = map[station]groupBits{m: bits}
	default:
		ms.bits[m] = bits
	}
}

// clear takes a bit from all addresses.
func (ms *members) clear(slot uint8, before map[station]groupBits) {
	for m, bits := range maps.Clone(ms.bits) {
		ms.set(m, bits.without(slot), before)
	}
	for m, bits := range ms.kept {
		if bits = bits.without(slot); bits.empty() {
			delete(ms.kept, m)
		} else {
			ms.kept[m] = bits
		}
	}
}

// compileGuard adds what the device should have of policies and members.
func (s *connection) compileGuard(x *comparison, has *openflow.Described, away overlay.Away) {
	g := s.pipe.guard
	x.guard = g
	rules := g.flows()
	x.add(rules...)
	for table, id := range g.reads {
		x.cursors[table] = s.readMembers(&x.members, g.slots[id], table, 0, map[station]groupBits{})
	}
	x.keepMembers(has, away, rules)
	for m, bits := range x.members.bits {
		x.add(g.memberFlows(m, bits)...)
	}
}

// moveGuard notes the flows of policies and members that changed since what the
// device confirmed.
func (s *connection) moveGuard(x *comparison) {
	was := s.done.guard
	if was == nil {
		was = &guard{}
	}
	var c changes
	was.change(&c, x.guard)
	for _, m := range c.mods() {
		x.move(m.Flow)
	}
	for m, bits := range x.members.bits {
		if s.done.members.bits[m] != bits {
			x.move(x.guard.memberFlows(m, bits)...)
		}
	}
	for m, bits := range s.done.members.bits {
		if x.members.bits[m] != bits {
			x.move(was.memberFlows(m, bits)...)
		}
	}
}

// keepMembers keeps what the device has of members that may be behind edges which
// have not reported yet. A bit is kept only if the rules on the device show that it
// means the same group as now.
func (x *comparison) keepMembers(has *openflow.Described, away overlay.Away, rules []openflow.Flow) {
	if away.Len() == 0 || len(x.guard.slots) == 0 {
		return
	}
	trusted := trustedBits(has, rules)
	for d := range has.All() {
		if t := d.Table(); t != tablePeersIn && t != tablePeersOut {
			continue
		}
		f := decoded(d)
		m, bits, ok := readMember(f)
		if !ok || f.Priority != policyPriority {
			continue
		}
		if extra := bits.and(trusted).not(x.members.bits[m]); !extra.empty() {
			if x.members.kept == nil {
				x.members.kept = map[station]groupBits{}
			}
			x.members.kept[m] = x.members.kept[m].or(extra)
		}
	}
	for m, bits := range x.members.kept {
		x.members.set(m, x.members.bits[m].or(bits), map[station]groupBits{})
	}
}

// trustedBits are the bits that rules on the device match and all these rules are
// to stay as they are.
func trustedBits(has *openflow.Described, rules []openflow.Flow) groupBits {
	want := flowSet{}
	want.add(rules...)
	var used, wrong groupBits
	for d := range has.All() {
		if t := d.Table(); t != tableRulesIn && t != tableRulesOut {
			continue
		}
		f := decoded(d)
		var bits groupBits
		for i := range 4 {
			v, mask := f.Match.Reg(8 + 3 - i)
			bits[i/2] |= uint64(v&mask) << (32 * (i % 2))
		}
		used = used.or(bits)
		if w, ok := want[keyOf(f)]; !ok || !same(f, w) {
			wrong = wrong.or(bits)
		}
	}
	return used.not(wrong)
}

// readMember reads what memberFlow made.
func readMember(f openflow.Flow) (m station, bits groupBits, ok bool) {
	domain, mask := f.Match.Reg(regDomain)
	if mask != ^uint32(0) {
		return m, bits, false
	}
	m.domain = intent.VNI(domain)
	for _, id := range []openflow.FieldID{openflow.FieldIPv4Src, openflow.FieldIPv4Dst, openflow.FieldIPv6Src, openflow.FieldIPv6Dst} {
		if a, has := f.Match.Get(id); has {
			m.ip = a.Addr()
		}
	}
	for _, set := range f.Instructions.Sets() {
		if set.ID == openflow.FieldWideReg(wideGroups) {
			v := set.Wide()
			bits, ok = groupBits{binary.BigEndian.Uint64(v[8:]), binary.BigEndian.Uint64(v[:])}, m.ip.IsValid()
		}
	}
	return m, bits, ok
}

// dropKeptMembers takes back what was kept and no edge reported.
func (s *connection) dropKeptMembers(c *changes) {
	ms, g := &s.done.members, s.done.guard
	for m, kept := range ms.kept {
		was := ms.bits[m]
		ms.set(m, was.not(kept), map[station]groupBits{})
		c.replace(g.memberFlows(m, was), g.memberFlows(m, ms.bits[m]))
	}
	ms.kept = nil
}

// greetingSeconds is how long a port that came lets TCP segments in whose
// connections are not known here yet.
const greetingSeconds = 60

// greetingCookie marks flows that end by themselves; no controller looks after
// them.
const greetingCookie uint64 = 0x7ef8 << 48

// greetings are flows for ports whose connections are not known here: a VM that
// moved here, or came under a policy, has sessions that it opened itself, and would
// hear nothing of them until it sends. What is no beginning of a session is let in
// for a while, and what the VM answers makes the session known. A session that the
// VM does not have it resets.
func greetings(ports []overlay.LocalPort) []openflow.Flow {
	var fs []openflow.Flow
	for _, l := range ports {
		for _, ip := range [][]openflow.Field{ip4(), ip6()} {
			fs = append(fs, flow(tablePeersIn, 280, greetingCookie, openflow.NewMatch(append(ip, openflow.Reg(regPort, l.OFPort), openflow.IPProto(protoTCP),
				openflow.TCPFlags(openflow.TCPAck, openflow.TCPSyn|openflow.TCPRst), openflow.MatchCTState(openflow.CTTracked|openflow.CTNew, 0))...),
				openflow.NewInstructions(openflow.Apply(openflow.SetField(openflow.Reg(regVerdict, mayPass))), openflow.GotoTable(tableVerdictIn))))
		}
	}
	return fs
}

// guarded reports whether a port is served with a policy.
func guarded(l overlay.LocalPort) bool { return l.Policy != nil && !l.Standby }

// arrivals are the ports that have a policy here and had none before.
func arrivals(before, now map[intent.Ref]overlay.LocalPort) (fresh []overlay.LocalPort) {
	for r, l := range now {
		if o, ok := before[r]; guarded(l) && (!ok || !guarded(o) || o.OFPort != l.OFPort) {
			fresh = append(fresh, l)
		}
	}
	slices.SortFunc(fresh, func(a, b overlay.LocalPort) int { return int(a.OFPort) - int(b.OFPort) })
	return fresh
}

// strangers are the ports with a policy that the device does not have yet, at the
// beginning of a session.
func strangers(now map[intent.Ref]overlay.LocalPort, has *openflow.Described) (fresh []overlay.LocalPort) {
	known := map[uint32]bool{}
	for d := range has.All() {
		if d.Table() == tableTrackIn {
			if port, mask := decoded(d).Match.Reg(regPort); mask != 0 {
				known[port] = true
			}
		}
	}
	for _, l := range arrivals(nil, now) {
		if !known[l.OFPort] {
			fresh = append(fresh, l)
		}
	}
	return fresh
}

// forgetConnections has the switch forget what it knows of connections of ports
// that came: it is of whoever had the port number before, or of the same VM when it
// was here last. So it does in zones in which something is translated otherwise.
func (s *connection) forgetConnections(fresh []overlay.LocalPort, zones []uint16) error {
	for _, l := range fresh {
		if err := s.conn.FlushZone(uint16(l.OFPort)); err != nil {
			return err
		}
	}
	for _, z := range zones {
		if err := s.conn.FlushZone(z); err != nil {
			return err
		}
	}
	return nil
}
