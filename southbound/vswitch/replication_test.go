package vswitch

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// walk runs a packet through flood flows as a switch would, and returns the local
// ports and the VTEPs that it reaches, with repetitions.
func walk(t *testing.T, fs []openflow.Flow, fromTunnel bool, src netip.Addr) (ports []uint32, vteps []netip.Addr) {
	t.Helper()
	set := flowSet{}
	set.add(fs...)
	require.Len(t, set, len(fs), "two flows of one key")
	var lookUp func(reg1 uint32, depth int)
	lookUp = func(reg1 uint32, depth int) {
		require.Less(t, depth, 10)
		best := -1
		for i, f := range fs {
			if matches(t, f, fromTunnel, src, reg1) && (best < 0 || f.Priority > fs[best].Priority) {
				best = i
			}
		}
		if best < 0 {
			return
		}
		f := fs[best]
		require.Less(t, len(openflow.FlowMod{Flow: f}.AppendTo(nil, 1))+64, 1<<16)
		at := netip.Addr{}
		for _, a := range strings.Split(f.Instructions.String(), ",") {
			var n uint32
			switch {
			case strings.HasPrefix(a, "output:65000"):
				require.False(t, fromTunnel, "split horizon")
				vteps = append(vteps, at)
			case a == "in_port":
				require.True(t, fromTunnel)
				vteps = append(vteps, at)
			case strings.HasPrefix(a, "output:"):
				_, err := fmt.Sscanf(a, "output:%d", &n)
				require.NoError(t, err)
				ports = append(ports, n)
			case strings.HasSuffix(a, "->tun_dst") || strings.HasSuffix(a, "->tun_ipv6_dst"):
				text, _, _ := strings.Cut(strings.TrimPrefix(a, "set_field:"), "->")
				at = netip.MustParseAddr(text)
			case strings.HasSuffix(a, "->reg1"):
				_, err := fmt.Sscanf(a, "set_field:0x%x->reg1", &n)
				require.NoError(t, err)
				reg1 = n
			case a == "resubmit(":
				lookUp(reg1, depth+1)
			case strings.HasSuffix(a, "->tun_id"), a == "50)", a == "drop":
			default:
				require.Fail(t, "unknown action", a)
			}
		}
	}
	lookUp(0, 0)
	return ports, vteps
}

// matches reports whether a flood flow takes the packet.
func matches(t *testing.T, f openflow.Flow, fromTunnel bool, src netip.Addr, reg1 uint32) bool {
	reg0 := uint64(0)
	if fromTunnel {
		reg0 = 1
	}
	for _, m := range strings.Split(f.Match.String(), ",") {
		name, value, _ := strings.Cut(m, "=")
		switch name {
		case "metadata":
		case "tun_src":
			if value != src.String() {
				return false
			}
		case "xreg0":
			v, mask := uint64(0), ^uint64(0)
			if text, masked, ok := strings.Cut(value, "/"); ok {
				_, err := fmt.Sscanf(masked, "0x%x", &mask)
				require.NoError(t, err)
				value = text
			}
			_, err := fmt.Sscanf(value, "0x%x", &v)
			require.NoError(t, err)
			if (reg0<<32|uint64(reg1))&mask != v {
				return false
			}
		default:
			require.Fail(t, "unknown field", m)
		}
	}
	return true
}

func sortedAddrs(l []netip.Addr) []netip.Addr {
	return slices.SortedFunc(slices.Values(l), netip.Addr.Compare)
}

// Whatever the length of the list, each VTEP but this edge gets one copy of a
// frame from here, local ports get one of any, and what came out of a tunnel
// enters one again only from an edge that this one replicates for, not back to it.
func TestFloodReachesEachOnce(t *testing.T) {
	for _, n := range []int{0, 1, 2, 31, 32, 33, 34, 48, 49, 64, 65, 200, 1000, 2500} {
		all := append(numbered(n), self)
		rep := to([]uint32{1, 2}, all...)
		fs := pipe.flood(100, rep)
		ports, vteps := walk(t, fs, false, netip.Addr{})
		require.Equal(t, []uint32{1, 2}, ports)
		require.Equal(t, numbered(n), sortedAddrs(vteps), "%d VTEPs", n)
		ports, vteps = walk(t, fs, true, other)
		require.Equal(t, []uint32{1, 2}, ports)
		require.Empty(t, vteps)
		if n < 2 {
			continue
		}
		from := numbered(n)[n/2]
		fs = pipe.flood(100, rep.servedBy(self, from))
		ports, vteps = walk(t, fs, true, from)
		require.Equal(t, []uint32{1, 2}, ports)
		require.Equal(t, without(numbered(n), from), sortedAddrs(vteps))
		_, vteps = walk(t, fs, true, other)
		require.Empty(t, vteps)
		_, vteps = walk(t, fs, false, netip.Addr{})
		require.Equal(t, numbered(n), sortedAddrs(vteps))
	}
}

func without(l []netip.Addr, x netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(l), func(a netip.Addr) bool { return a == x })
}

// One VTEP more or less costs another edge one short flow, and now and then, where
// a part is split, up to four.
func TestJoinCostsOneShortFlow(t *testing.T) {
	rep := to([]uint32{1}, numbered(40)...)
	mods, bytes, joins, most := 0, 0, 0, 0
	for _, back := range []bool{false, true} {
		vteps := numbered(1000)[40:]
		if back {
			slices.Reverse(vteps)
		}
		for _, a := range vteps {
			next := rep
			next.vteps = rep.vteps.with([]evpn.Row{{Key: evpn.FloodKey(a), Deleted: back}})
			var c changes
			pipe.changeFlood(&c, 100, rep, next)
			size := 0
			for _, m := range c.mods() {
				size += len(m.AppendTo(nil, 1))
			}
			require.LessOrEqual(t, len(c.mods()), 4)
			require.NotEmpty(t, c.mods())
			mods, bytes, joins, most = mods+len(c.mods()), bytes+size, joins+1, max(most, size)
			rep = next
		}
	}
	t.Logf("%d joins and leavings: %.2f flow-mods and %d bytes each, at most %d bytes", joins, float64(mods)/float64(joins), bytes/joins, most)
	require.Less(t, float64(mods)/float64(joins), 1.2)
	require.Less(t, bytes/joins, 900)
	require.Less(t, most, 5<<10)
	require.True(t, rep.equal(to([]uint32{1}, numbered(40)...)))
}

// A list says the same whatever the order in which the VTEPs came and went, and
// changes of flows from one list to any other end at the flows of the other.
func TestListsFollowFromTheirMembers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := pipe
		var list *vtepList
		has := map[netip.Addr]netip.Addr{}
		set := flowSet{}
		rep := replication{ports: []uint32{1}}
		set.add(p.flood(100, rep)...)
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			var rows []evpn.Row
			for _, i := range rapid.SliceOfN(rapid.IntRange(0, 120), 1, 60).Draw(t, "members") {
				var b [4]byte
				binary.BigEndian.PutUint32(b[:], 0x0a000001+uint32(i)) // self is one of them
				r := evpn.Row{Key: evpn.FloodKey(netip.AddrFrom4(b)), Deleted: rapid.Bool().Draw(t, "gone")}
				if i%10 == 3 && rapid.Bool().Draw(t, "replicated") {
					r.Replicator = self
				}
				rows = append(rows, r)
				if has[r.IP] = r.Replicator; r.Deleted {
					delete(has, r.IP)
				}
			}
			list = list.with(rows)
			next := replication{[]uint32{rapid.Uint32Range(1, 2).Draw(t, "port")}, list}
			var c changes
			p.changeFlood(&c, 100, rep, next)
			for _, m := range c.del {
				if _, ok := set[keyOf(m.Flow)]; !ok {
					t.Fatalf("deleted what was not there: %s", m.Flow)
				}
				delete(set, keyOf(m.Flow))
			}
			for _, m := range c.add {
				set.add(m.Flow)
			}
			rep = next
			var fresh []evpn.Row
			for _, a := range slices.SortedFunc(maps.Keys(has), netip.Addr.Compare) {
				fresh = append(fresh, evpn.Row{Key: evpn.FloodKey(a), Path: evpn.Path{Replicator: has[a]}})
			}
			if want := (*vtepList)(nil).with(fresh); !list.equal(want) {
				t.Fatalf("%v is not %v", list, want)
			}
			if same := list.with(fresh); same != list {
				t.Fatal("what is known changes nothing")
			}
			want := flowSet{}
			want.add(p.flood(100, rep)...)
			if got, w := set.sorted(), want.sorted(); !slices.EqualFunc(got, w, func(a, b openflow.Flow) bool { return a.String() == b.String() }) {
				t.Fatalf("%s\nis not\n%s", got, w)
			}
		}
	})
}

// Adding one VTEP leaves all parts but few where they are in memory.
func TestListsShareTheirParts(t *testing.T) {
	a := (*vtepList)(nil).including(numbered(1000))
	b := a.including([]netip.Addr{other})
	require.Len(t, a.parts, 63)
	require.Len(t, b.parts, 63)
	differ := 0
	for i := range a.parts {
		if &a.parts[i][0] != &b.parts[i][0] {
			differ++
		}
	}
	require.LessOrEqual(t, differ, 2, "the one that it is in and the one that was split")
	require.Same(t, a, a.including(numbered(1000)))
}

func TestMember(t *testing.T) {
	a, b := self, other
	l := member(member(nil, b, true), a, true)
	require.Equal(t, []netip.Addr{a, b}, l)
	require.Equal(t, l, member(l, a, true))
	require.Equal(t, []netip.Addr{b}, member(l, a, false))
	require.Equal(t, []netip.Addr{a, b}, l, "the list itself does not change")
}
