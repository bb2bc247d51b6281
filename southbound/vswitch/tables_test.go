package vswitch

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// stations are MAC and address rows of n stations, in turn on some VTEPs.
func stations(n int, vteps ...netip.Addr) []evpn.Row {
	var rows []evpn.Row
	for i := range n {
		m := intent.MAC{2, 0}
		binary.BigEndian.PutUint32(m[2:], uint32(i))
		at := vteps[i%len(vteps)]
		rows = append(rows, rowTo(evpn.MACKey(m), at), rowTo(evpn.HostKey(m, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})), at))
	}
	return rows
}

func id(v intent.VNI) tableID { return tableID{v, tunnelPath{standardTunnel, 65000}, overlay.Hue{}} }

// Readers that ask at once get one table; one that has read on asks for a newer
// one.
func TestOneTableForAllReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k tables
		var made atomic.Int64
		rev := evpn.Revision(7)
		get := func(since evpn.Revision) *compiled {
			return k.segment(id(100), since, func() *compiled {
				made.Add(1)
				return pipe.compileRows(100, stations(10, other), rev)
			})
		}
		var wg sync.WaitGroup
		first := make([]*compiled, 500)
		for i := range first {
			wg.Go(func() { first[i] = get(evpn.Revision(i % 8)) })
		}
		wg.Wait()
		for _, c := range first {
			require.Same(t, first[0], c)
		}
		require.EqualValues(t, 1, made.Load())
		rev = 9
		require.Same(t, first[0], get(7), "one that began to read before it was made goes on from it")
		require.EqualValues(t, 9, get(8).rev)
		require.EqualValues(t, 2, made.Load())
		require.EqualValues(t, 9, get(3).rev, "a newer one is as good")
		require.Equal(t, get(9).size(), k.bytes())

		time.Sleep(tablesIdle - time.Second)
		get(9)
		time.Sleep(tablesIdle - time.Second)
		synctest.Wait()
		require.Equal(t, get(9).size(), k.bytes(), "in use")
		time.Sleep(2 * tablesIdle)
		synctest.Wait()
		require.Zero(t, k.bytes(), "nobody has used it")
		get(9)
		require.EqualValues(t, 3, made.Load())
		time.Sleep(2 * tablesIdle)
	})
}

// bytes is how much is kept.
func (t *tables) bytes() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := 0
	for _, e := range t.all {
		if e.c != nil {
			sum += e.c.size()
		}
	}
	if sum != t.size || len(t.all) == 0 && len(t.steps) == 0 && t.sweep != nil {
		return -1
	}
	return sum
}

func TestTablesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 1 << 20
		k := tables{most: most}
		large := func() *compiled { return &compiled{rev: 1, slots: make([]uint32, most/24)} } // a sixth
		for v := range intent.VNI(20) {
			time.Sleep(time.Millisecond)
			k.segment(id(v), 0, large)
			k.segment(id(0), 0, large)
			require.LessOrEqual(t, k.bytes(), most)
		}
		require.Greater(t, k.bytes(), most/2)
		require.EqualValues(t, 20, k.made.Load(), "what is used again and again stays")
		for range 2 {
			k.segment(id(50), 0, func() *compiled { return &compiled{rev: 1, slots: make([]uint32, most)} })
		}
		require.EqualValues(t, 21, k.made.Load(), "one that is too large is the only one, and made once as well")
		require.Equal(t, 4*most, k.bytes())
		time.Sleep(2 * tablesIdle)
		synctest.Wait()
		require.Zero(t, k.bytes())
	})
}

// Flood lists that all edges have become one that all edges have.
func TestFloodListsFollowTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k tables
		list := (*vtepList)(nil).including(numbered(100))
		rows := []evpn.Row{{Key: evpn.FloodKey(other)}}
		next := k.follow(100, list, rows, 8)
		require.True(t, next.equal(list.including([]netip.Addr{other})))
		require.Same(t, next, k.follow(100, list, rows, 8))
		require.Same(t, list, k.follow(100, list, nil, 9))
		require.Same(t, next, k.follow(100, list.including([]netip.Addr{netip.MustParseAddr("10.3.0.1")}), append(rows, evpn.Row{Key: evpn.FloodKey(netip.MustParseAddr("10.3.0.1")), Deleted: true}), 9),
			"another way to the same")
		time.Sleep(2 * tablesIdle)
		synctest.Wait()
		k.mu.Lock()
		defer k.mu.Unlock()
		require.Empty(t, k.steps)
		require.Nil(t, k.sweep)
	})
}

// described are flows as a switch describes them, the fields of matches the other
// way round than we have them.
func described(t *rapid.T, set flowSet) *openflow.Described {
	var all []byte
	for _, f := range set.sorted() {
		var match []byte
		for m := f.Match.AppendTo(nil); len(m) > 0; m = m[4+int(m[3]):] {
			match = slices.Concat(m[:4+int(m[3])], match)
		}
		all = appendDescription(all, f, match)
	}
	d, err := openflow.ReadDescribed(all)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// appendDescription appends a flow description (section 7.3.5.2 of OpenFlow 1.5)
// with a given order of the match's fields.
func appendDescription(all []byte, f openflow.Flow, match []byte) []byte {
	at := len(all)
	all = append(all, 0, 0, 0, 0, f.Table, 0, byte(f.Priority>>8), byte(f.Priority), 0, 0, 0, 0, 0, 0, 0, 0)
	all = binary.BigEndian.AppendUint64(all, f.Cookie)
	all = append(all, 0, 1, 0, byte(4+len(match)))
	all = append(all, match...)
	all = append(all, make([]byte, (8-(4+len(match))%8)%8)...)
	all = append(all, 0, 0, 0, 4, 0, 0, 0, 0)
	all = f.Instructions.AppendTo(all)
	binary.BigEndian.PutUint16(all[at:], uint16(len(all)-at))
	return all
}

// Whatever a switch has, the changes of a comparison bring it to what it would
// have from scratch, send nothing that it has, and are counted.
func TestComparisonEndsAtWhatThereShouldBe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(most int, name string) int { return rapid.IntRange(0, most).Draw(t, name) }
		vteps := append(numbered(3), self)
		rows := stations(draw(40, "stations"), vteps...)
		for _, a := range append(numbered(draw(60, "edges")), self) {
			rows = append(rows, evpn.Row{Key: evpn.FloodKey(a), Path: evpn.Path{VTEP: a}})
		}
		ports := map[intent.Ref]overlay.LocalPort{}
		for i := range draw(3, "ports") + 1 {
			l := local(byte(i+1), "192.168.0.1")
			ports[l.Port] = l
		}
		// One address is another station's as well: the later row counts.
		if n := len(rows); n > 8 {
			rows = append(rows, rowTo(evpn.HostKey(intent.MAC{2, 9, 9, 9, 9, 9}, netip.MustParseAddr("10.0.0.0")), other))
		}
		want := fromScratch(pipe, ports, func(intent.VNI) []evpn.Row { return rows })
		has, differ := flowSet{}, 0
		for _, f := range want.sorted() {
			switch draw(9, "what happened") {
			case 0:
				differ++
				continue
			case 1:
				f.Cookie ^= 1 << 30
				differ++
			case 2:
				f.Instructions = openflow.NewInstructions(openflow.Apply(openflow.Output(77)))
				differ++
			}
			has.add(f)
		}
		for i := range draw(3, "strangers") {
			has.add(flow(uint8(draw(60, "table")), uint16(20_000+i), cookie(100), openflow.NewMatch(openflow.InPort(9)), openflow.Instructions{}))
			differ++
		}
		x := &comparison{segs: map[intent.VNI]*expected{}, programmed: programmed{local: ports}}
		c := pipe.compileRows(100, rows, 5)
		x.segs[100] = expect(c, self)
		x.add(pipe.base()...)
		for _, l := range ports {
			x.add(pipe.port(l)...)
		}
		x.add(pipe.network(100)...)
		x.add(pipe.flood(100, replication{byVNI(ports)[100], c.imet})...)
		x.own = expect(compileFlows(x.flows), self)
		x.moving = map[flowKey]bool{}
		x.compare(described(t, has))
		x.dropUnknown()
		x.putMissing()
		if x.count() != len(want) {
			t.Fatalf("%d flows, not %d", x.count(), len(want))
		}
		if n := x.changes.len(); n != differ || x.found.n != differ {
			t.Fatalf("%d changes and %d findings for %d differences", n, x.found.n, differ)
		}
		for _, m := range x.changes.del {
			delete(has, keyOf(m.Flow))
		}
		for _, r := range x.changes.runs {
			for i := range r.Len() {
				has.add(r.At(i).Decode().Flow)
			}
		}
		w, h := want.sorted(), has.sorted()
		if len(w) != len(h) {
			t.Fatalf("%d flows, not %d", len(h), len(w))
		}
		for i := range w {
			if w[i].String() != h[i].String() {
				t.Fatalf("%s\nis not\n%s", h[i], w[i])
			}
		}
	})
}
