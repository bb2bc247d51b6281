package linux

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// vxlanFrame is an Ethernet frame with a packet in VXLAN; inner is its EtherType and all
// that follows.
func vxlanFrame(vni uint32, inner []byte) []byte {
	b := make([]byte, innerFrame+12)
	binary.BigEndian.PutUint16(b[12:], unix.ETH_P_IP)
	b[outerIP], b[outerIP+9] = 0x45, unix.IPPROTO_UDP
	copy(b[outerIP+12:], []byte{10, 254, 0, 1, 10, 254, 0, 3})
	binary.BigEndian.PutUint16(b[outerUDP:], 51000)
	binary.BigEndian.PutUint16(b[outerUDP+2:], vxlanPort)
	binary.BigEndian.PutUint32(b[vxlanStart+4:], vni<<8)
	return append(b, inner...)
}

func inner4(fragment uint16) []byte {
	b := make([]byte, 2+20+4)
	binary.BigEndian.PutUint16(b, unix.ETH_P_IP)
	b[2], b[2+9] = 0x45, 6
	binary.BigEndian.PutUint16(b[2+6:], fragment)
	copy(b[2+12:], []byte{10, 0, 0, 1, 10, 0, 0, 3})
	binary.BigEndian.PutUint16(b[22:], 40000)
	binary.BigEndian.PutUint16(b[24:], 443)
	return b
}

func TestAFlowIsFoundInItsTunnel(t *testing.T) {
	q := switchstate.WatchQuestion{Header: switchstate.Header{From: netip.MustParseAddr("10.0.0.1"), To: netip.MustParseAddr("10.0.0.3"), Protocol: 6, FromPort: 40000, ToPort: 443}}
	got, ok := tunnelled(vxlanFrame(77, inner4(0)), q)
	require.True(t, ok)
	require.Equal(t, switchstate.Tunnel{VNI: 77, Header: switchstate.Header{From: netip.MustParseAddr("10.254.0.1"), To: netip.MustParseAddr("10.254.0.3"), Protocol: 17, FromPort: 51000, ToPort: 4789}}, got)
	_, ok = tunnelled(vxlanFrame(77, inner4(5)), q)
	require.False(t, ok, "a fragment has no ports")
	q.VNIs = []intent.VNI{78}
	_, ok = tunnelled(vxlanFrame(77, inner4(0)), q)
	require.False(t, ok, "of another tenant")
	_, ok = tunnelled(vxlanFrame(78, inner4(0)), q)
	require.True(t, ok)
	q.Header.FromPort++
	_, ok = tunnelled(vxlanFrame(78, inner4(0)), q)
	require.False(t, ok)

	asked := 0
	seen := flowSeen{q: q, names: map[int]string{}, nameOf: func(index int) string { asked++; return "eth" + strconv.Itoa(index) }}
	require.False(t, seen.take(vxlanFrame(78, inner4(0)), 1))
	require.Zero(t, asked, "all interfaces are read for the name of one, for a frame of another flow")
	seen.q.Header.FromPort--
	for range 3 {
		require.True(t, seen.take(vxlanFrame(78, inner4(0)), 1))
	}
	require.True(t, seen.take(vxlanFrame(78, inner4(0)), 2))
	require.Equal(t, 2, asked, "once for each interface")
	require.Equal(t, []string{"eth1", "eth2"}, []string{seen.tunnels[0].Interface, seen.tunnels[1].Interface})
	require.Len(t, seen.tunnels, 2)

	six := make([]byte, 2+40)
	binary.BigEndian.PutUint16(six, unix.ETH_P_IPV6)
	six[2+6] = 58
	from, to := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::3")
	copy(six[2+8:], from.AsSlice())
	copy(six[2+24:], to.AsSlice())
	_, ok = tunnelled(vxlanFrame(1, six), switchstate.WatchQuestion{Header: switchstate.Header{From: from, To: to, Protocol: 58}})
	require.True(t, ok)
}

// Each check that fails leads to the last instruction, which lets nothing pass.
func TestTheFilterOfAFlowEndsWell(t *testing.T) {
	for _, a := range []string{"10.0.0.1", "2001:db8::1"} {
		f := watchFilter(switchstate.Header{From: netip.MustParseAddr(a), To: netip.MustParseAddr(a)})
		require.Zero(t, f[len(f)-1].K)
		for i, in := range f {
			if in.Jf > 0 {
				require.Equal(t, len(f)-1, i+1+int(in.Jf))
			}
		}
	}
}

func FuzzTunnelled(f *testing.F) {
	f.Add(vxlanFrame(77, inner4(0)))
	f.Add(vxlanFrame(77, inner4(0)[:10]))
	f.Fuzz(func(t *testing.T, b []byte) { tunnelled(b, switchstate.WatchQuestion{}) })
}
