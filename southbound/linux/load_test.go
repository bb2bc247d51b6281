package linux

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink/nl"

	"github.com/weft-sdn/weft/controller/intent"
)

// nest is an attribute.
func nest(kind int, parts ...[]byte) []byte {
	a := nl.NewRtAttr(kind, nil)
	for _, p := range parts {
		a.Data = append(a.Data, p...)
	}
	return a.Serialize()
}

// element is one of a set, as the kernel writes it, with its counter as the only
// expression or as one of several.
func element(key []byte, bytes uint64, several bool) []byte {
	counter := append(nest(nftExprName, []byte("counter\x00")), nest(nftExprData, nest(nftCounterBytes, binary.BigEndian.AppendUint64(nil, bytes)), nest(nftCounterPackets, binary.BigEndian.AppendUint64(nil, 2)))...)
	expr := nest(nftElementExpr, counter)
	if several {
		expr = nest(nftElementExprs, nest(nftListElement, nest(nftExprName, []byte("limit\x00"))), nest(nftListElement, counter))
	}
	return nest(nftListElement, nest(nftElementKey, nest(nftDataValue, key)), expr)
}

func keyOfPair(port uint32, from, to string, vni intent.VNI) []byte {
	b := binary.NativeEndian.AppendUint32(nil, port)
	b = append(append(b, netip.MustParseAddr(from).AsSlice()...), netip.MustParseAddr(to).AsSlice()...)
	return append(b, byte(vni>>16), byte(vni>>8), byte(vni), 0)
}

func TestElementsOfSets(t *testing.T) {
	message := nest(nftListElements,
		element(keyOfPair(7, "10.254.0.1", "10.254.0.3", 70000), 1<<40, false),
		element(keyOfPair(8, "fd00::1", "fd00::3", 5), 3, true),
		element([]byte{1, 2, 3}, 9, false))
	got := map[tunnelKey]uint64{}
	require.NoError(t, eachElement(message, func(key []byte, bytes uint64) {
		if k, ok := tunnelOf(key); ok {
			got[k] = bytes
		}
	}))
	require.Equal(t, map[tunnelKey]uint64{
		{7, netip.MustParseAddr("10.254.0.1"), netip.MustParseAddr("10.254.0.3"), 70000}: 1<<40 + 28,
		{8, netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::3"), 5}:           31,
	}, got)
	require.Error(t, eachElement(nest(nftListElements, nest(nftListElement, nest(nftElementExpr, nest(nftExprName, []byte("counter")), nest(nftExprData, nest(nftCounterBytes, []byte{1}))))), nil))
}

func TestRiseOfACounter(t *testing.T) {
	require.Equal(t, uint64(2), rise(3, 5))
	require.Equal(t, uint64(2), rise(5, 2), "it began at zero")
}

func FuzzElements(f *testing.F) {
	f.Add(nest(nftListElements, element(keyOfPair(7, "10.254.0.1", "10.254.0.3", 70000), 1<<40, false)))
	f.Add(nest(nftListElements, element(keyOfPair(7, "fd00::1", "fd00::3", 7), 1, true)))
	f.Add([]byte{8, 0, 3, 0, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = eachElement(b, func(key []byte, _ uint64) {
			if k, ok := tunnelOf(key); ok && (!k.from.IsValid() || k.vni > 1<<24-1) {
				t.Fatalf("%v", k)
			}
		})
	})
}
