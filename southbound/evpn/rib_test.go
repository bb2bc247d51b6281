package evpn

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

// offer is a path in the oracle.
type offer struct {
	source  uint32
	nlri    string
	attrs   *attributes
	refused bool
	stale   bool
}

// oracle is the table from scratch: all paths, and the best chosen anew each
// time.
type oracle map[string][]offer

func (o oracle) set(key string, p offer) {
	o.remove(key, p.source)
	o[key] = append(o[key], p)
}

func (o oracle) remove(key string, source uint32) {
	o[key] = slices.DeleteFunc(o[key], func(p offer) bool { return p.source == source })
}

// best is the path that is handed on.
func (o oracle) best(key string) (offer, bool) {
	good := slices.DeleteFunc(slices.Clone(o[key]), func(p offer) bool { return p.refused })
	if len(good) == 0 {
		return offer{}, false
	}
	return slices.MinFunc(good, func(a, b offer) int {
		x, y := a.attrs, b.attrs
		return cmp.Or(first(a.source == 0, b.source == 0), first(!x.stale, !y.stale), first(x.sticky, y.sticky), cmp.Compare(y.seq, x.seq),
			cmp.Compare(y.pref, x.pref), cmp.Compare(x.path, y.path), bytes.Compare(x.originator[:], y.originator[:]), cmp.Compare(a.source, b.source))
	}), true
}

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// seen is what a reader makes of what it is told.
type seen struct {
	*reader
	has map[string]string // what identifies a route to what is said of it
}

// follow reads at most so many blocks.
func (s *seen) follow(t require.TestingT, most int) {
	for range most {
		b, fresh, ended := s.next()
		if b == nil && !ended {
			return
		}
		if b == nil {
			continue
		}
		lists, updates := s.of(b, fresh)
		list := messages(t, bytes.Join(lists, nil))
		require.Len(t, list, updates)
		for _, m := range list {
			s.take(t, m)
		}
	}
}

func (s *seen) take(t require.TestingT, m message) {
	list, err := split(nil, m.body())
	require.NoError(t, err)
	v := list[0].value
	if list[0].kind == 15 {
		each(v[3:], func(n nlri) { delete(s.has, string(n.key(nil))) })
		return
	}
	hop := v[3 : 4+int(v[3])]
	says := string(hop)
	for _, a := range list[1:] {
		says += string(a.wire)
	}
	each(v[len(hop)+4:], func(n nlri) { s.has[string(n.key(nil))] = says + "\n" + string(n) })
}

// match compares with what the reader should have, in the table's colours.
func (s *seen) match(t require.TestingT, o oracle) {
	want := map[string]string{}
	for key := range o {
		if p, ok := o.best(key); ok && p.source != s.source && (s.lasts || !p.attrs.stale) {
			want[key] = inColour(s.rib.colours, p) + "\n" + p.nlri
		}
	}
	require.Equal(t, len(want), len(s.has))
	require.Equal(t, want, s.has)
}

// inColour is the wire form of a path as a colouring is to make it.
func inColour(c *overlay.Colouring, p offer) string {
	var r table.Route
	if !nlri(p.nlri).read(&r) || r.Type == table.IMET {
		return p.attrs.wire
	}
	hop := c.At(r.VNI, p.attrs.common().VTEP).AsSlice()
	return string(append([]byte{byte(len(hop))}, hop...)) + p.attrs.others()
}

// ribColours colours VNIs 1 and 2 of a test in one of some ways.
func ribColours(way int) *overlay.Colouring {
	by := map[netip.Addr][]netip.Addr{}
	for i := range byte(3) { // and none for the last source
		by[netip.AddrFrom4([4]byte{10, 255, 0, i})] = []netip.Addr{netip.AddrFrom4([4]byte{10, 129, 0, i}), netip.AddrFrom4([4]byte{10, 130, 0, i})}
	}
	return overlay.NewColouring(overlay.NewPalette(by), map[intent.VNI]int{1: way % 3, 2: way / 3})
}

// ribSet is a set of attributes of a source.
func ribSet(t require.TestingT, source uint32, seq uint32, pref byte, stale bool) *attributes {
	r := macIP(100, vm1, "", netip.AddrFrom4([4]byte{10, 255, 0, byte(source)}))
	r.Seq = seq
	wire := own(nil, &r, 0)
	at := bytes.Index(wire, []byte{0x40, 5, 4})
	wire[at+6] = pref
	wire = append(wire, 0x80, 9, 4, 10, 0, 0, byte(200-source))
	a, err := understand(wire)
	require.NoError(t, err)
	if stale {
		a, err = understand(a.lasting())
		require.NoError(t, err)
		require.True(t, a.stale)
	}
	return a
}

func ribNLRI(key int, label intent.VNI) nlri {
	id := table.RouteID{Key: table.MACKey(intent.MAC{2, 0, 0, 0, byte(key >> 8), byte(key)}), RD: table.NewRD(1, 1)}
	if key%3 == 1 {
		id.IP = netip.AddrFrom4([4]byte{192, 0, byte(key >> 8), byte(key)})
	}
	return appendNLRI(nil, &id, label, netip.Addr{})
}

// Whatever happens in whatever order, and however far behind a reader is: in the
// end it has the best path of each route that is not its own, as if computed from
// scratch, and nothing is left of what is gone.
func TestReadersHaveTheBestPaths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRIB()
		r.logLeast, r.blockMost = rapid.IntRange(1, 20).Draw(t, "log"), rapid.IntRange(1, 5).Draw(t, "block")
		keys := rapid.SampledFrom([]int{1, 4, 40, 2500}).Draw(t, "keys")
		sources := []*source{r.sources[ownSource], r.source(), r.source(), r.source()}
		o := oracle{}
		var readers []*seen
		open := func() {
			readers = append(readers, &seen{r.reader(rapid.Uint32Range(1, 4).Draw(t, "whose"), rapid.Bool().Draw(t, "lasts")), map[string]string{}})
		}
		open()
		open()
		announce := func(s *source, key int) {
			p := offer{source: s.id, nlri: string(ribNLRI(key, intent.VNI(rapid.IntRange(1, 2).Draw(t, "label")))),
				attrs:   ribSet(t, s.id, rapid.Uint32Range(0, 1).Draw(t, "seq"), rapid.ByteRange(100, 101).Draw(t, "pref"), rapid.IntRange(0, 5).Draw(t, "stale") == 0),
				refused: rapid.IntRange(0, 5).Draw(t, "refused") == 0}
			r.mu.Lock()
			r.announce(s, nlri(p.nlri), p.attrs, p.refused)
			r.publish()
			r.mu.Unlock()
			o.set(string(nlri(p.nlri).key(nil)), p)
		}
		forget := func(s *source, all bool) {
			r.mu.Lock()
			r.sweep(s, all, func(nlri, *attributes) {})
			r.mu.Unlock()
			for key := range o {
				o[key] = slices.DeleteFunc(o[key], func(p offer) bool { return p.source == s.id && (all || p.stale) })
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			s := sources[rapid.IntRange(0, 3).Draw(t, "source")]
			key := rapid.IntRange(0, keys-1).Draw(t, "key")
			switch rapid.IntRange(0, 11).Draw(t, "what") {
			case 0, 1, 2, 3:
				announce(s, key)
			case 4:
				for range rapid.IntRange(0, 50).Draw(t, "many") {
					announce(s, key)
					key = (key + 1) % keys
				}
			case 5:
				r.mu.Lock()
				r.withdraw(s, ribNLRI(key, 9))
				r.publish()
				r.mu.Unlock()
				o.remove(string(ribNLRI(key, 9).key(nil)), s.id)
			case 6:
				r.retain(s)
				for key := range o {
					for i := range o[key] {
						o[key][i].stale = o[key][i].stale || o[key][i].source == s.id
					}
				}
			case 7:
				forget(s, rapid.Bool().Draw(t, "all"))
			case 8:
				d := readers[rapid.IntRange(0, len(readers)-1).Draw(t, "reader")]
				d.follow(t, rapid.IntRange(1, 4).Draw(t, "blocks"))
			case 9:
				switch rapid.IntRange(0, 3).Draw(t, "reader") {
				case 0:
					open()
				case 1:
					readers[0].again()
				case 2:
					if len(readers) > 1 {
						readers[1].close()
						readers = slices.Delete(readers, 1, 2)
					}
				case 3:
					r.start()
				}
			case 10:
				r.mu.Lock()
				n := ribNLRI(key, 9)
				if i := r.find(n, n.hash()); i != none {
					if p, _ := r.pathOf(i, r.entry(i), s.id); p != nil {
						r.refuse(s, i, true)
						r.publish()
						for i := range o[string(n.key(nil))] {
							if q := &o[string(n.key(nil))][i]; q.source == s.id {
								q.refused = true
							}
						}
					}
				}
				r.mu.Unlock()
			case 11:
				r.mu.Lock()
				r.recolour(ribColours(rapid.IntRange(0, 8).Draw(t, "colours")))
				r.publish()
				r.mu.Unlock()
			}
		}
		r.start()
		for _, d := range readers {
			d.follow(t, 1<<20)
			d.match(t, o)
		}
		live := 0
		for key := range o {
			if _, ok := o.best(key); ok {
				live++
			}
		}
		require.Equal(t, live, r.live)
		for _, s := range sources {
			forget(s, true)
		}
		for _, d := range readers {
			d.follow(t, 1<<20)
			require.Empty(t, d.has)
		}
		r.publish()
		require.Zero(t, r.index.n)
		require.Zero(t, r.live)
		require.Len(t, r.free, int(r.used))
		require.Zero(t, r.sets.n)
		require.Empty(t, r.others)
		require.Empty(t, r.graves)
		require.Empty(t, r.blocks)
		require.Len(t, r.idle, len(r.byID)-1)
		for _, s := range sources {
			require.Equal(t, source{id: s.id, entries: s.entries[:0]}, *s)
		}
	})
}

// A reader that is behind is told the state as it is then, once for each route,
// and what it is behind costs no log longer than the table.
func TestWhoIsBehindIsToldTheStateOnce(t *testing.T) {
	r := newRIB()
	r.logLeast = 100
	s := r.source()
	r.start()
	quick, slow := &seen{r.reader(2, true), map[string]string{}}, &seen{r.reader(3, true), map[string]string{}}
	quick.follow(t, 10)
	slow.follow(t, 10)
	const routes, rounds = 5000, 20
	for round := range rounds {
		r.mu.Lock()
		for k := range routes {
			r.announce(s, ribNLRI(k, 1), ribSet(t, s.id, uint32(round), 100, false), false)
			if k%100 == 99 {
				r.publish()
			}
		}
		r.mu.Unlock()
		quick.follow(t, 1<<20)
		require.LessOrEqual(t, len(r.log), 2*routes+100)
		require.LessOrEqual(t, len(r.blocks), blocksMost)
	}
	require.Less(t, r.index.n, routes+1)
	told := 0
	for {
		b, fresh, _ := slow.next()
		if b == nil {
			break
		}
		lists, _ := slow.of(b, fresh)
		for _, m := range messages(t, bytes.Join(lists, nil)) {
			told += count(m.body()[4+4+5+4:][:nlriOctets(t, m)])
			slow.take(t, m)
		}
	}
	require.Equal(t, routes, told)
	require.Equal(t, quick.has, slow.has)
	require.Len(t, slow.has, routes)
}

// nlriOctets is how many octets of NLRI an UPDATE of ours announces.
func nlriOctets(t *testing.T, m message) int {
	list, err := split(nil, m.body())
	require.NoError(t, err)
	return len(list[0].value) - 5 - int(list[0].value[3])
}

// Readers at one place are given the same octets.
func TestBlocksAreEncodedOnce(t *testing.T) {
	r := newRIB()
	s := r.source()
	fill := func(from int) {
		r.mu.Lock()
		for k := range 3000 {
			r.announce(s, ribNLRI(from+k, 1), ribSet(t, s.id, 0, 100, false), false)
		}
		r.publish()
		r.mu.Unlock()
	}
	fill(0)
	r.start()
	a, b := r.reader(2, true), r.reader(3, true)
	for range 2 {
		for {
			x, _, ended := a.next()
			y, _, _ := b.next()
			require.Same(t, x, y)
			if x == nil && !ended {
				break
			}
		}
		fill(10000)
	}
}

// The index holds what a map holds.
func TestIndex(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var x index
	want := map[uint32]uint32{} // entry to hash: few hashes, so that they collide
	for step := range 20000 {
		e := random.Uint32N(300)
		if h, ok := want[e]; ok {
			x.remove(h, e)
			delete(want, e)
		} else {
			h := random.Uint32N(64) * 0x01000193
			x.insert(h, e)
			want[e] = h
		}
		if step%50 == 0 {
			for e := range uint32(300) {
				h, ok := want[e]
				if got := x.find(h, func(o uint32) bool { return o == e }); ok {
					require.Equal(t, e, got, fmt.Sprint(step))
				} else if got != none {
					require.Fail(t, "found", "entry %d", e)
				}
			}
			require.Equal(t, len(want), x.n)
		}
	}
}
