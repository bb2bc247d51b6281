package vswitch

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/overlay/evpn"
)

// replication says to whom a segment's broadcast goes.
type replication struct {
	ports []uint32  // of this edge, sorted
	vteps *vtepList // nil stands for none
}

func (r replication) equal(o replication) bool {
	return slices.Equal(r.ports, o.ports) && r.vteps.equal(o.vteps)
}

// Sizes of the parts of a flood list. A list of up to floodInline VTEPs is one
// part; a longer one has a part for each partMean of them, so that one VTEP more
// changes one short part. The parts' numbers are in one flow, which bounds them.
const (
	floodInline = 32
	partMean    = 16
	partsMost   = 1024
)

// vtepList is who has a segment, in parts by linear hashing: with one part more,
// one of them is split and the others stay. It says the same whatever the order
// in which the VTEPs came. It never changes, so that all edges share it, and those
// of its parts that stay share theirs with the list that follows.
type vtepList struct {
	n     int
	parts [][]netip.Addr // each sorted
	// served are, by the edge that replicates for them, the VTEPs that can't
	// (RFC 9574), sorted.
	served map[netip.Addr][]netip.Addr
}

// all yields the parts; one, without VTEPs, of no list.
func (l *vtepList) all() [][]netip.Addr {
	if l == nil || len(l.parts) == 0 {
		return [][]netip.Addr{nil}
	}
	return l.parts
}

// clients are the VTEPs that an edge replicates for.
func (l *vtepList) clients(replicator netip.Addr) []netip.Addr {
	if l == nil {
		return nil
	}
	return l.served[replicator]
}

func (l *vtepList) equal(o *vtepList) bool {
	if l == o {
		return true
	}
	a, b := l.all(), o.all()
	return len(a) == len(b) && slices.EqualFunc(a, b, samePart) && l.sameClients(o)
}

func (l *vtepList) sameClients(o *vtepList) bool {
	var a, b map[netip.Addr][]netip.Addr
	if l != nil {
		a = l.served
	}
	if o != nil {
		b = o.served
	}
	if len(a) != len(b) {
		return false
	}
	for r, list := range a {
		if !slices.Equal(list, b[r]) {
			return false
		}
	}
	return true
}

// samePart compares two parts, at once when they are one.
func samePart(a, b []netip.Addr) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// with is the list after IMET rows changed: what it was if they say nothing new.
func (l *vtepList) with(rows []evpn.Row) *vtepList {
	next := &vtepList{parts: slices.Clone(l.all())}
	if l != nil {
		next.n, next.served = l.n, l.served
	}
	changed := next.n == 0 && next.fill(rows)
	for _, r := range rows {
		at := partOf(r.IP, len(next.parts))
		i, has := slices.BinarySearchFunc(next.parts[at], r.IP, netip.Addr.Compare)
		switch {
		case r.Deleted && has:
			next.parts[at] = slices.Delete(slices.Clone(next.parts[at]), i, i+1)
			next.n--
		case !r.Deleted && !has:
			next.parts[at] = slices.Insert(slices.Clip(next.parts[at]), i, r.IP)
			next.n++
		}
		changed = changed || r.Deleted == has
		changed = next.serve(r) || changed
	}
	if !changed {
		return l
	}
	next.resize()
	return next
}

// fill takes the VTEPs of an empty list, which is then in one part.
func (l *vtepList) fill(rows []evpn.Row) bool {
	all := make([]netip.Addr, 0, len(rows))
	for _, r := range rows {
		if !r.Deleted {
			all = append(all, r.IP)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	all = slices.Compact(all)
	l.n, l.parts = len(all), [][]netip.Addr{all}
	return l.n > 0
}

// including is the list with VTEPs that may not be in it.
func (l *vtepList) including(vteps []netip.Addr) *vtepList {
	rows := make([]evpn.Row, 0, len(vteps))
	for _, a := range vteps {
		at := partOf(a, len(l.all()))
		if _, has := slices.BinarySearchFunc(l.all()[at], a, netip.Addr.Compare); !has {
			rows = append(rows, evpn.Row{Key: evpn.FloodKey(a)})
		}
	}
	return l.with(rows)
}

// serve takes an IMET row's replicator; it reports whether that is another one.
func (l *vtepList) serve(row evpn.Row) bool {
	by := row.Replicator
	if row.Deleted {
		by = netip.Addr{}
	}
	was := netip.Addr{}
	for r, list := range l.served {
		if _, has := slices.BinarySearchFunc(list, row.IP, netip.Addr.Compare); has {
			was = r
		}
	}
	if was == by {
		return false
	}
	served := make(map[netip.Addr][]netip.Addr, len(l.served)+1)
	for r, list := range l.served {
		if list = member(list, row.IP, false); r != was || len(list) > 0 {
			served[r] = list
		}
	}
	if by.IsValid() {
		served[by] = member(served[by], row.IP, true)
	}
	l.served = served
	return true
}

// resize gives a list the number of parts that belongs to its length.
func (l *vtepList) resize() {
	want := 1
	if l.n > floodInline {
		want = min((l.n+partMean-1)/partMean, partsMost)
	}
	for n := len(l.parts); n < want; n++ { // the part that n comes from is split
		from := buddy(n)
		var stay, move []netip.Addr
		for _, a := range l.parts[from] {
			if partOf(a, n+1) == n {
				move = append(move, a)
			} else {
				stay = append(stay, a)
			}
		}
		l.parts[from] = stay
		l.parts = append(l.parts, move)
	}
	for n := len(l.parts) - 1; n >= want; n-- {
		both := slices.Concat(l.parts[buddy(n)], l.parts[n])
		slices.SortFunc(both, netip.Addr.Compare)
		l.parts[buddy(n)] = both
		l.parts = l.parts[:n]
	}
}

// partOf is the number of the part, of n, that has a VTEP.
func partOf(a netip.Addr, n int) int {
	h := spread(a)
	low := 1 << (bits.Len(uint(n)) - 1) // the highest power of two up to n
	if at := int(h & uint64(2*low-1)); at < n {
		return at
	}
	return int(h & uint64(low-1))
}

// buddy is the part that is split to make part n, which is not the first.
func buddy(n int) int { return n - 1<<(bits.Len(uint(n))-1) }

// spread is a hash of an address that is the same in every process.
func spread(a netip.Addr) uint64 {
	b := a.As16()
	h := binary.BigEndian.Uint64(b[:8])*0x9e3779b97f4a7c15 ^ binary.BigEndian.Uint64(b[8:])
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9 // the finalizer of splitmix64
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// member puts a VTEP into a sorted list or takes it out; the list itself is
// not changed.
func member(list []netip.Addr, a netip.Addr, in bool) []netip.Addr {
	i, has := slices.BinarySearchFunc(list, a, netip.Addr.Compare)
	switch {
	case in && !has:
		return slices.Insert(slices.Clone(list), i, a)
	case !in && has:
		return slices.Delete(slices.Clone(list), i, i+1)
	}
	return list
}
