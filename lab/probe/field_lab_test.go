//go:build lab

package probe

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/weft-sdn/weft/lab/netns"
	"golang.org/x/sys/unix"
)

// plainBridge joins hosts by one Linux bridge, with no regard to tenants: what
// a broken overlay would be.
func plainBridge(t *testing.T, hosts []Host) (bridge string) {
	t.Helper()
	bridge = fmt.Sprintf("weft-probe-%d", os.Getpid())
	make := func(name string) {
		require.NoError(t, netns.Create(name, func() error {
			return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0o644)
		}))
		t.Cleanup(func() { require.NoError(t, netns.Delete(name)) })
	}
	make(bridge)
	var br *netlink.Bridge
	require.NoError(t, netns.Do(bridge, func() error {
		off := false
		br = &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}, MulticastSnooping: &off}
		if err := netlink.LinkAdd(br); err != nil {
			return err
		}
		return netlink.LinkSetUp(br)
	}))
	for i := range hosts {
		h := &hosts[i]
		h.Namespace, h.Interface = bridge+"-"+h.Name, "eth1"
		make(h.Namespace)
		peer, err := os.Open(netns.Path(h.Namespace))
		require.NoError(t, err)
		require.NoError(t, netns.Do(bridge, func() error {
			v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: h.Name, MasterIndex: br.Index}, PeerName: "eth1", PeerNamespace: netlink.NsFd(peer.Fd())}
			if err := netlink.LinkAdd(v); err != nil {
				return err
			}
			return netlink.LinkSetUp(v)
		}))
		peer.Close()
		require.NoError(t, netns.Do(h.Namespace, func() error {
			l, err := netlink.LinkByName("eth1")
			if err != nil {
				return err
			}
			for _, a := range h.Addresses {
				addr, err := netlink.ParseAddr(netip.PrefixFrom(a, map[bool]int{true: 64, false: 24}[a.Is6()]).String())
				if err != nil {
					return err
				}
				addr.Flags = unix.IFA_F_NODAD
				if err := netlink.AddrAdd(l, addr); err != nil {
					return err
				}
			}
			return netlink.LinkSetUp(l)
		}))
	}
	return bridge
}

func host(name, tenant string, as ...string) Host {
	return Host{Name: name, Tenant: tenant, Network: "net", Addresses: addrs(as...), Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}
}

func open(t *testing.T, hosts []Host) *Field {
	t.Helper()
	f, err := Open(hosts)
	require.NoError(t, err)
	t.Cleanup(f.Close)
	return f
}

// The same bridge is right for one tenant.
func TestAllWellOnABridge(t *testing.T) {
	hosts := []Host{host("r1", "red", "10.0.0.1", "fd00::1"), host("r2", "red", "10.0.0.2", "fd00::2"), host("r3", "red", "10.0.0.3", "fd00::3")}
	plainBridge(t, hosts)
	f := open(t, hosts)
	rep, err := f.Check(t.Context(), CheckOptions{})
	require.NoError(t, err)
	require.True(t, rep.OK(), "%+v", rep.Failures)
	require.Equal(t, Row{From: "red", To: "red", Pairs: 6, Expected: 12, Seen: 12}, rep.Rows[0])
	cast, err := f.Broadcast(t.Context(), nil, CheckOptions{})
	require.NoError(t, err)
	require.True(t, cast.OK(), "%+v", cast.Failures)
	require.Len(t, cast.Rows, 3)
	for _, r := range cast.Rows {
		require.Equal(t, 6, r.Seen, r.Kind)
	}
	loss, err := f.Continuous(t.Context(), ContinuousOptions{Duration: 1e9})
	require.NoError(t, err)
	require.True(t, loss.OK(), "%+v", loss)
	require.Greater(t, loss.Sent, 2*loss.Pairs, "each pair more than once")
}

// What a machine allows sockets is too little for it when it is busy.
func TestSocketsHaveRoom(t *testing.T) {
	on, err := listenOn(netip.MustParseAddr("127.0.0.1"), 0)
	require.NoError(t, err)
	defer on.Close()
	device, err := listenAt("udp4", "lo", 0)
	require.NoError(t, err)
	defer device.Close()
	for _, c := range []*net.UDPConn{on, device} {
		raw, err := c.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) {
			n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
			require.NoError(t, err)
			require.GreaterOrEqual(t, n, room)
		}))
	}
}

// A wrong joint of two tenants is found, in unicast and broadcast.
func TestLeaksAreFound(t *testing.T) {
	hosts := []Host{host("r1", "red", "10.0.0.1"), host("r2", "red", "10.0.0.2"), host("b1", "blue", "10.0.0.3")}
	plainBridge(t, hosts)
	f := open(t, hosts)
	rep, err := f.Check(t.Context(), CheckOptions{})
	require.NoError(t, err)
	require.False(t, rep.OK())
	leaked := map[string]int{}
	for _, r := range rep.Rows {
		leaked[r.From+">"+r.To] = r.Leaked
	}
	require.Equal(t, map[string]int{"red>red": 0, "red>blue": 2, "blue>red": 2}, leaked)
	cast, err := f.Broadcast(t.Context(), nil, CheckOptions{})
	require.NoError(t, err)
	n := 0
	for _, r := range cast.Rows {
		n += r.Leaked
	}
	require.Equal(t, 3*4, n, "three kinds, each red host to blue's and blue's to both red")
}

// A second copy and a cable that is cut are found.
func TestDuplicatesAndLossesAreFound(t *testing.T) {
	hosts := []Host{host("r1", "red", "10.0.0.1"), host("r2", "red", "10.0.0.2"), host("r3", "red", "10.0.0.3")}
	bridge := plainBridge(t, hosts)
	var send int
	var index int
	require.NoError(t, netns.Do(bridge, func() error {
		l, err := netlink.LinkByName("r2")
		if err != nil {
			return err
		}
		index = l.Attrs().Index
		send, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		r3, err := netlink.LinkByName("r3")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(r3)
	}))
	defer unix.Close(send)
	again := map[string]bool{}
	tap, err := OpenTap(bridge, "r2", func(frame []byte, out bool) {
		if i := len(frame) - 42; out && i > 0 && frame[12] == 8 && frame[13] == 0 && !again[string(frame[42:])] {
			again[string(frame[42:])] = true
			frame[40], frame[41] = 0, 0 // its checksum was left to the hardware that a veth isn't
			_ = unix.Sendto(send, frame, 0, &unix.SockaddrLinklayer{Ifindex: index})
		}
	})
	require.NoError(t, err)
	defer tap.Close()
	f := open(t, hosts)
	rep, err := f.Check(t.Context(), CheckOptions{Tries: 1})
	require.NoError(t, err)
	require.Equal(t, Row{From: "red", To: "red", Pairs: 6, Expected: 6, Seen: 2, Lost: 4, Duplicated: 1}, rep.Rows[0])
}
