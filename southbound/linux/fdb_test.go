package linux

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// What goes with its device is not missing: zebra writes it for the new one.
func TestGoneEntries(t *testing.T) {
	a := fdbKey{index: 7, vni: 100, mac: intent.MAC{2, 1}, vtep: netip.MustParseAddr("10.254.0.2")}
	b := fdbKey{index: 7, vni: 100, mac: intent.MAC{2, 2}}
	was := fdb{a: {}, b: {}}
	there := map[int]fdbDevice{7: {}}
	require.Empty(t, was.gone(was, there))
	require.Equal(t, []fdbKey{a, b}, was.gone(fdb{}, there))
	require.Equal(t, []fdbKey{b}, was.gone(fdb{a: {}}, there))
	require.Empty(t, was.gone(fdb{}, map[int]fdbDevice{8: {}}))
	require.Empty(t, fdb(nil).gone(was, there), "the first look knows of nothing")
	require.Equal(t, "02:01:00:00:00:00 dev vx100 dst 10.254.0.2", a.String())
	require.Equal(t, "02:02:00:00:00:00 dev vx100 master", b.String())
}
