package evpn

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

// told reads all that a reader is to be told, and counts the routes of it.
func (s *seen) told(t *testing.T) (routes int) {
	for {
		b, fresh, ended := s.next()
		if b == nil && !ended {
			return routes
		}
		if b == nil {
			continue
		}
		lists, _ := s.of(b, fresh)
		for _, m := range messages(t, bytes.Join(lists, nil)) {
			list, err := split(nil, m.body())
			require.NoError(t, err)
			require.EqualValues(t, 14, list[0].kind, "nothing is withdrawn")
			each(list[0].value[5+list[0].value[3]:], func(nlri) { routes++ })
			s.take(t, m)
		}
	}
}

// TestColourAnnouncesTheRoutesOfItsVNIOnly: MAC/IP and prefix routes of the VNI go
// again with the other next hop, of our own and of another leaf, in place of what they
// were; flood routes and all of other VNIs don't.
func TestColourAnnouncesTheRoutesOfItsVNIOnly(t *testing.T) {
	const stations, others = 500, 5000
	r := newRIB()
	leaf := r.source()
	r.start()
	reader := &seen{r.reader(9, true), map[string]string{}}
	put := func(s *source, x table.Route) {
		a, err := understand(own(nil, &x, 0))
		require.NoError(t, err)
		id := x.ID()
		r.announce(s, appendNLRI(nil, &id, x.VNI, netip.Addr{}), a, false)
	}
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 255, 0, byte(i % 4)}) } // the last one has no colours
	r.mu.Lock()
	for i := range others + stations {
		v, s := intent.VNI(2), r.sources[ownSource]
		if i < stations {
			v = 1
		}
		x := macIP(v, intent.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, "", at(i))
		if i%2 == 0 {
			s, x.RD = leaf, table.NewRD(65001, v)
		}
		put(s, x)
	}
	for i := range 4 {
		put(r.sources[ownSource], table.Route{Key: table.FloodKey(at(i)), RD: table.NewRD(1, 1), VNI: 1, VTEP: at(i)})
	}
	put(leaf, table.Route{Key: table.PrefixKey(netip.MustParsePrefix("198.51.100.0/24")), RD: table.NewRD(65001, 1), VNI: 1, VTEP: at(1), RouterMAC: intent.RouterMAC(at(1))})
	r.publish()
	r.mu.Unlock()
	require.Equal(t, stations+others+4+1, reader.told(t))
	plain := map[string]string{}
	for k, v := range reader.has {
		plain[k] = v
	}
	colour := func(c *overlay.Colouring) int {
		r.mu.Lock()
		r.recolour(c)
		r.publish()
		r.mu.Unlock()
		return reader.told(t)
	}
	require.Equal(t, stations*3/4+1, colour(ribColours(1)))
	changed := 0
	for k, v := range reader.has {
		if v != plain[k] {
			changed++
			require.Equal(t, []byte{4, 10, 129, 0}, []byte(v[:4]))
			require.NotEqual(t, byte(table.IMET), k[0])
		}
	}
	require.Equal(t, stations*3/4+1, changed)
	require.Zero(t, colour(ribColours(1)), "it is so already")
	require.Equal(t, others*3/4, colour(ribColours(1+3)), "the other VNI")
	require.Equal(t, stations*3/4+1+others*3/4, colour(nil))
	require.Equal(t, plain, reader.has)
}

// TestPeersTellWhatTheyAnnounced: a colour is in what others are told; what a leaf is
// known to announce is what it said.
func TestPeersTellWhatTheyAnnounced(t *testing.T) {
	w, l1, l2 := pair(t)
	c := overlay.NewColouring(overlay.NewPalette(map[netip.Addr][]netip.Addr{vtep1: {netip.MustParseAddr("10.129.0.1")}}), map[intent.VNI]int{100: 1})
	w.SetColouring(c)
	r := macIP(100, vm1, "", vtep1)
	l1.send(updateWith(goodOrigin, goodPath, goodPref, reach(list(ours(l1, r)))))
	require.Equal(t, []byte{0, 25, 70, 4, 10, 129, 0, 1, 0}, l2.raw()[0].value[:9], "the others are told the colour")
	require.Eventually(t, func() bool { return len(w.Routes("leaf1")) == 1 }, time.Minute, 5*time.Millisecond)
	require.Equal(t, vtep1, w.Routes("leaf1")[0].VTEP, "it is known by its own address")
	w.SetColouring(nil)
	require.Equal(t, []byte{0, 25, 70, 4, 10, 255, 0, 1, 0}, l2.raw()[0].value[:9])
}

// TestALeafIsToldOfItsOwnAtItsOwnAddress: others are told the colour. So it is for a leaf
// that comes, or comes back as another source, while others begin and what they are told
// is encoded already.
func TestALeafIsToldOfItsOwnAtItsOwnAddress(t *testing.T) {
	r := newRIB()
	vtep1, vtep2 := netip.AddrFrom4([4]byte{10, 255, 0, 1}), netip.AddrFrom4([4]byte{10, 255, 0, 2})
	r.start()
	x := macIP(1, vm1, "", vtep1)
	a, err := understand(own(nil, &x, 0))
	require.NoError(t, err)
	id := x.ID()
	n := nlri(appendNLRI(nil, &id, 1, netip.Addr{}))
	r.mu.Lock()
	r.announce(r.sources[ownSource], n, a, false)
	r.recolour(ribColours(1))
	r.publish()
	r.mu.Unlock()
	begins := func(s *source) *seen { return &seen{r.reader(s.id, true), map[string]string{}} }
	told := func(s *seen, want ...byte) {
		t.Helper()
		require.Equal(t, 1, s.told(t))
		require.Equal(t, append([]byte{4}, want...), []byte(s.has[string(n.key(nil))][:5]))
	}
	leaf, other := r.sourceAt(vtep1), r.sourceAt(vtep2)
	there, elsewhere := begins(leaf), begins(other)
	told(there, 10, 255, 0, 1)
	told(elsewhere, 10, 129, 0, 1)

	amid := begins(r.source()) // it keeps what is encoded, as it has not read to the end
	for range 2 {
		b, fresh, _ := amid.next()
		require.True(t, fresh)
		require.NotNil(t, b)
		require.NotEmpty(t, r.dumps)
		there.close()
		r.leave(leaf)
		require.NotContains(t, r.homes, vtep1)
		leaf = r.sourceAt(vtep1)
		there = begins(leaf)
		told(there, 10, 255, 0, 1)
		told(begins(r.source()), 10, 129, 0, 1)
		amid = begins(r.source())
	}
}
