package overlay

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// TestColouringColoursWhatItSaysOnly: other VNIs, VTEPs without colours, and VTEPs
// with fewer colours keep their own addresses.
func TestColouringColoursWhatItSaysOnly(t *testing.T) {
	v := addrs("10.0.0.1", "10.0.0.2", "10.0.0.3")
	p := NewPalette(map[netip.Addr][]netip.Addr{v[0]: addrs("10.128.0.1", "10.129.0.1"), v[1]: addrs("10.128.0.2")})
	c := NewColouring(p, map[intent.VNI]int{100: 1, 200: 2})
	for _, x := range []struct {
		vni  intent.VNI
		vtep netip.Addr
		want string
	}{
		{100, v[0], "10.128.0.1"}, {200, v[0], "10.129.0.1"}, {300, v[0], "10.0.0.1"},
		{100, v[1], "10.128.0.2"}, {200, v[1], "10.0.0.2"},
		{100, v[2], "10.0.0.3"}, {200, v[2], "10.0.0.3"},
	} {
		require.Equal(t, x.want, c.At(x.vni, x.vtep).String(), "%d %s", x.vni, x.vtep)
		require.Equal(t, x.vtep, c.VTEP(c.At(x.vni, x.vtep)), "and back")
	}
	require.Equal(t, v[1], (*Colouring)(nil).At(100, v[1]))
	require.Equal(t, v[1], (*Colouring)(nil).VTEP(v[1]))
	require.Equal(t, 2, c.Colour(200))
	require.Zero(t, c.Colour(300))
}

// TestColouringTellsWhatChanged: the VNIs that any VTEP may be coloured otherwise in,
// and no others.
func TestColouringTellsWhatChanged(t *testing.T) {
	v := addrs("10.0.0.1", "10.0.0.2")
	p := NewPalette(map[netip.Addr][]netip.Addr{v[0]: addrs("10.128.0.1", "10.129.0.1")})
	q := NewPalette(map[netip.Addr][]netip.Addr{v[0]: addrs("10.128.0.1", "10.129.0.1"), v[1]: addrs("10.128.0.2")})
	a := NewColouring(p, map[intent.VNI]int{100: 1, 200: 2})
	changed := func(x, y *Colouring) []intent.VNI {
		there, back := x.Changed(y), y.Changed(x)
		slices.Sort(there)
		slices.Sort(back)
		require.Equal(t, there, back)
		return there
	}
	require.Empty(t, changed(a, a))
	require.Empty(t, changed(a, NewColouring(p, map[intent.VNI]int{100: 1, 200: 2, 300: 0})))
	require.Equal(t, []intent.VNI{100}, changed(a, NewColouring(p, map[intent.VNI]int{200: 2})))
	require.Equal(t, []intent.VNI{200}, changed(a, NewColouring(p, map[intent.VNI]int{100: 1, 200: 1})))
	require.Equal(t, []intent.VNI{300}, changed(a, NewColouring(p, map[intent.VNI]int{100: 1, 200: 2, 300: 1})))
	require.Equal(t, []intent.VNI{100, 200}, changed(a, NewColouring(q, map[intent.VNI]int{100: 1, 200: 2})), "a VTEP more has colours")
	require.Equal(t, []intent.VNI{100, 200}, changed(a, nil))
	require.Empty(t, changed(nil, NewColouring(p, nil)))
	require.True(t, a.Equal(NewColouring(NewPalette(p.colours), map[intent.VNI]int{100: 1, 200: 2})))
	require.False(t, a.Equal(NewColouring(q, map[intent.VNI]int{100: 1, 200: 2})))
	require.True(t, (*Colouring)(nil).Equal(NewColouring(nil, nil)))
}
