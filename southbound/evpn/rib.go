package evpn

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/weft-sdn/weft/overlay"
)

// rib is the table of the reflector: the Adj-RIBs-In of all peers, and the
// Loc-RIB (RFC 4271 section 3.2), in one. A route is one entry of fixed size
// and without pointers, with its best path in it; further paths, which only
// speakers with the same distinguisher make, are beside.
//
// Each change of what is handed on gives its entry the next revision and a
// place in the log. A reader, one per session, stands at a revision and reads
// on from there; what it is sent is the state of the entry by then. There is no
// Adj-RIB-Out: a reader that is behind costs the entries of routes withdrawn
// meanwhile, which stay until all readers have passed them, and one so far
// behind that the log does not reach back looks through the table for what is
// newer than it.
type rib struct {
	mu      sync.Mutex
	sources []*source // by ID; nil when gone
	entries []*[chunk]entry
	changed []uint64 // by chunk: the last revision in it
	used    uint32   // entries that are, or were, in use
	free    []uint32
	index   index
	others  map[uint32][]held // further paths, by entry
	live    int               // entries that are handed on

	sets index // by the hash of the wire form
	byID []*attributes
	idle []uint32 // IDs of no set

	log     []uint32 // entries by revision
	first   uint64   // revision of log[0]
	graves  []grave
	passed  int  // of the graves that all readers have passed
	open    bool // readers may read
	readers []*reader
	blocks  []*block // encoded last, one following the other
	dumps   map[uint32]*block
	packer  packer
	colours *overlay.Colouring
	homes   map[netip.Addr]uint32 // sources by their VTEP

	// logLeast is how many changes the log holds at least, for readers that are
	// behind, and blockMost how many make a block.
	logLeast, blockMost int
}

const (
	chunk = 1024 // entries
	none  = ^uint32(0)
)

// path of a route from one source.
type path struct {
	attrs  uint32 // ID of the set
	source uint32 // none when there is no path
	at     uint32 // place among the source's
	flags  uint8
}

const (
	flagStale   = 1 << iota // kept from before the session was lost (RFC 4724 section 4.2)
	flagRefused             // it may not be handed on
)

// entry is a route.
type entry struct {
	rev  uint64 // of the last change; 0 when nobody was told of it
	from uint32 // source of what was handed on last, or none
	path
	moved bool  // some readers may have it from another source than from
	size  uint8 // of the NLRI; 0 when the entry is free
	nlri  [mostNLRI]byte
}

func (e *entry) route() nlri { return e.nlri[:e.size] }

// live reports whether the route is handed on.
func (e *entry) live() bool { return e.source != none && e.flags&flagRefused == 0 }

func (e *entry) put(p path, n nlri) {
	e.path, e.size = p, uint8(len(n))
	copy(e.nlri[:], n)
}

// held is a path that is not the best.
type held struct {
	path
	nlri nlri
}

// grave is an entry that was withdrawn at a revision.
type grave struct {
	entry uint32
	rev   uint64
}

// source is where paths come from: a peer, or the controller itself. The rib
// guards it.
type source struct {
	id      uint32
	entries []uint32 // that have a path of it
	stale   int      // of those
	best    int      // of those, handed on
}

// ownSource is the controller's own.
const ownSource = 0

func newRIB() *rib {
	r := &rib{byID: []*attributes{nil}, first: 1, others: map[uint32][]held{}, homes: map[netip.Addr]uint32{}, dumps: map[uint32]*block{},
		logLeast: 1 << 16, blockMost: 2048}
	r.source()
	return r
}

// source adds a source.
func (r *rib) source() *source {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &source{id: uint32(len(r.sources))}
	r.sources = append(r.sources, s)
	return s
}

// sourceAt adds a source with a VTEP, which may be invalid. What is encoded already for
// those that begin would tell it of its own stations at a colour.
func (r *rib) sourceAt(vtep netip.Addr) *source {
	s := r.source()
	r.mu.Lock()
	defer r.mu.Unlock()
	if vtep.IsValid() {
		r.homes[vtep] = s.id
		clear(r.dumps)
	}
	return s
}

// leave removes a source without paths.
func (r *rib) leave(s *source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources[s.id] = nil
	maps.DeleteFunc(r.homes, func(_ netip.Addr, id uint32) bool { return id == s.id })
}

// head is the revision of the last change.
func (r *rib) head() uint64 { return r.first + uint64(len(r.log)) - 1 }

func (r *rib) entry(i uint32) *entry { return &r.entries[i/chunk][i%chunk] }

// find returns the entry of a route, or none.
func (r *rib) find(n nlri, hash uint32) uint32 {
	return r.index.find(hash, func(i uint32) bool { return r.entry(i).route().isRoute(n) })
}

// add makes an entry without a path.
func (r *rib) add(n nlri, hash uint32) uint32 {
	var i uint32
	if k := len(r.free); k > 0 {
		i, r.free = r.free[k-1], r.free[:k-1]
	} else {
		i = r.used
		r.used++
		if int(i/chunk) == len(r.entries) {
			r.entries, r.changed = append(r.entries, new([chunk]entry)), append(r.changed, 0)
		}
	}
	e := r.entry(i)
	*e = entry{from: none}
	e.put(path{source: none}, n)
	r.index.insert(hash, i)
	return i
}

// remove frees an entry without a path.
func (r *rib) remove(i uint32) {
	e := r.entry(i)
	r.index.remove(e.route().hash(), i)
	*e = entry{path: path{source: none}, from: none}
	r.free = append(r.free, i)
}

// announce gives a source's path for a route. It returns the path's set before,
// nil when there was none, and whether it says the same now. What follows it is
// published by publish.
func (r *rib) announce(s *source, n nlri, a *attributes, refused bool) (was *attributes, same bool) {
	hash := n.hash()
	i := r.find(n, hash)
	if i == none {
		i = r.add(n, hash)
	}
	e := r.entry(i)
	before := *e
	flags := uint8(0)
	if refused {
		flags = flagRefused
	}
	a = r.intern(a)
	a.refs++
	p, there := r.pathOf(i, e, s.id)
	if p == nil {
		fresh := path{attrs: a.id, source: s.id, at: uint32(len(s.entries)), flags: flags}
		s.entries = append(s.entries, i)
		if e.source == none {
			e.put(fresh, n)
		} else {
			r.others[i] = append(r.others[i], held{fresh, slices.Clone(n)})
		}
	} else {
		was = r.byID[p.attrs]
		if p.flags&flagStale != 0 {
			s.stale--
		}
		same = was == a && string(there) == string(n)
		unchanged := same && p.flags&flagRefused == flags
		p.attrs, p.flags = a.id, flags
		was.refs--
		r.release(was)
		if unchanged {
			return was, true
		}
		if p == &e.path {
			e.put(e.path, n)
		} else {
			others := r.others[i]
			k := slices.IndexFunc(others, func(h held) bool { return h.source == s.id })
			others[k].nlri = slices.Clone(n)
		}
	}
	r.choose(i, e)
	r.settle(i, e, &before)
	return was, same
}

// withdraw removes a source's path for a route and returns its set, nil when
// there was none.
func (r *rib) withdraw(s *source, n nlri) *attributes {
	i := r.find(n, n.hash())
	if i == none {
		return nil
	}
	if p, _ := r.pathOf(i, r.entry(i), s.id); p == nil {
		return nil
	}
	return r.take(s, i)
}

// take removes the path that a source has for an entry.
func (r *rib) take(s *source, i uint32) *attributes {
	e := r.entry(i)
	before := *e
	p, _ := r.pathOf(i, e, s.id)
	was := r.byID[p.attrs]
	if p.flags&flagStale != 0 {
		s.stale--
	}
	last := len(s.entries) - 1
	if moved := s.entries[last]; moved != i {
		q, _ := r.pathOf(moved, r.entry(moved), s.id)
		s.entries[p.at], q.at = moved, p.at
	}
	s.entries = s.entries[:last]
	others := r.others[i]
	if k := slices.IndexFunc(others, func(h held) bool { return h.source == s.id }); k >= 0 {
		others = slices.Delete(others, k, k+1)
	} else if len(others) > 0 {
		e.put(others[0].path, others[0].nlri)
		others = slices.Delete(others, 0, 1)
	} else {
		e.path = path{source: none}
	}
	switch {
	case len(others) > 0:
		r.others[i] = others
		r.choose(i, e)
	case len(r.others) > 0:
		delete(r.others, i)
	}
	r.settle(i, e, &before)
	was.refs--
	r.release(was)
	if e.source == none && e.rev == 0 {
		r.remove(i) // it was never handed on
	}
	return was
}

// pathOf returns a source's path for an entry and its NLRI, nil when it has
// none.
func (r *rib) pathOf(i uint32, e *entry, source uint32) (*path, nlri) {
	switch e.source {
	case source:
		return &e.path, e.route()
	case none:
		return nil, nil
	}
	if len(r.others) > 0 {
		others := r.others[i]
		for k := range others {
			if others[k].source == source {
				return &others[k].path, others[k].nlri
			}
		}
	}
	return nil, nil
}

// choose puts the best path into the entry.
func (r *rib) choose(i uint32, e *entry) {
	if len(r.others) == 0 {
		return
	}
	others := r.others[i]
	for k := range others {
		if h := others[k]; r.better(h.path, e.path) {
			others[k] = held{e.path, slices.Clone(e.route())}
			e.put(h.path, h.nlri)
		}
	}
}

// better reports whether p is used rather than q: what may be handed on, then
// what the controller says itself, then the better attributes, then the older
// peer.
func (r *rib) better(p, q path) bool {
	if refused := p.flags & flagRefused; refused != q.flags&flagRefused {
		return refused == 0
	}
	if p.source == ownSource || q.source == ownSource {
		return p.source == ownSource
	}
	wins, equal := r.byID[p.attrs].better(r.byID[q.attrs])
	return wins || equal && p.source < q.source
}

// settle notes in the log what became of an entry.
func (r *rib) settle(i uint32, e, before *entry) {
	was, is := before.live(), e.live()
	if !was && !is || was && is && e.source == before.source && e.attrs == before.attrs && e.size == before.size && e.nlri == before.nlri {
		return
	}
	if was {
		r.sources[before.source].best--
		r.live--
	}
	r.log = append(r.log, i)
	e.rev = r.head()
	r.changed[i/chunk] = e.rev
	if !is {
		r.graves = append(r.graves, grave{i, e.rev})
		return
	}
	r.sources[e.source].best++
	r.live++
	e.moved = e.moved || e.from != none && e.from != e.source
	e.from = e.source
}
