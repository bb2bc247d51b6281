package vswitch

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// Whatever leaves announce and withdraw, and whenever it is read, the VTEPs of a
// prefix are those of the rows that are there; the flows are as many as these, and
// none leads to the edge itself.
func TestPrefixesFollowRowsFromScratch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var seg evpn.Segment
		var x prefixes
		at := evpn.Revision(0)
		read := func() {
			for r := range seg.Changes(at) {
				x.take(pipe, 7000, r, map[destination][]via{})
			}
			at = seg.Rev()
			seg.Trim(at)
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			i := byte(rapid.IntRange(1, 3).Draw(t, "leaf")) // the first is the edge's own VTEP
			k := evpn.PrefixKey(netip.MustParsePrefix(rapid.SampledFrom([]string{"0.0.0.0/0", "198.51.100.0/24"}).Draw(t, "prefix")))
			p := evpn.Path{VTEP: netip.AddrFrom4([4]byte{10, 0, 0, i}), RouterMAC: intent.MAC{6, i}, Origin: evpn.OriginBGP, Source: evpn.Source([]byte{'a' + i})}
			switch rapid.IntRange(0, 4).Draw(t, "op") {
			case 0, 1:
				k.MAC = p.RouterMAC
				seg.Set(k, p)
			case 2:
				k.MAC = p.RouterMAC
				seg.Withdraw(k, p.Source)
			case 3: // of a static route: the intent routes there itself
				p.Origin = evpn.OriginPort
				seg.Set(k, p)
			case 4:
				read()
			}
		}
		read()
		want := map[destination][]via{}
		for r := range seg.Rows() {
			if r.Origin == evpn.OriginBGP && r.VTEP != self {
				d := destination{7000, netip.PrefixFrom(r.IP, int(r.Bits))}
				want[d] = append(want[d], via{r.VTEP, r.RouterMAC})
				slices.SortFunc(want[d], compareVias)
			}
		}
		if !maps.EqualFunc(want, x.at, slices.Equal) || len(x.kept) > 0 {
			t.Fatalf("has %v, kept %v, want %v", x.at, x.kept, want)
		}
	})
}

// What is kept of a VTEP that has not reported goes once it says something, and
// when its time is over as far as others lead there.
func TestKeptViasGiveWay(t *testing.T) {
	d := destination{7000, netip.MustParsePrefix("0.0.0.0/0")}
	row := func(i byte) evpn.Row {
		k := evpn.PrefixKey(d.prefix)
		k.MAC = intent.MAC{6, i}
		return evpn.Row{Key: k, Path: evpn.Path{VTEP: netip.AddrFrom4([4]byte{10, 0, 0, i}), RouterMAC: intent.MAC{6, i}, Origin: evpn.OriginBGP}}
	}
	to := func(i byte) via { return via{row(i).VTEP, intent.MAC{6, i}} }
	var x prefixes
	x.set(d, []via{to(8), to(9)}, []via{to(8), to(9)})
	before := map[destination][]via{}
	x.take(pipe, 7000, row(8), before)
	require.Equal(t, []via{to(8), to(9)}, x.at[d], "the other one is kept beside it")
	require.Equal(t, []via{to(9)}, x.kept[d])
	require.Equal(t, map[destination][]via{d: {to(8), to(9)}}, before)
	changed := row(9)
	changed.RouterMAC, changed.Key.MAC = intent.MAC{6, 77}, intent.MAC{6, 77}
	x.take(pipe, 7000, changed, before)
	require.Equal(t, []via{to(8), {row(9).VTEP, intent.MAC{6, 77}}}, x.at[d], "by another router MAC than was kept")
	require.Empty(t, x.kept)

	x = prefixes{late: true}
	x.set(d, []via{to(8), to(9)}, []via{to(8), to(9)})
	x.take(pipe, 7000, row(8), before)
	require.Equal(t, []via{to(8)}, x.at[d])
	require.Empty(t, x.kept)
	gone := row(8)
	gone.Deleted = true
	x.take(pipe, 7000, gone, before)
	require.Empty(t, x.at)
	x.set(d, []via{to(8)}, nil)
	x.forget(7000)
	require.Empty(t, x.at)
}
