package vswitch

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

var icmpPort = routed(local(1, "192.168.0.1", "fd00::1"), nil)

// packet makes a frame from the test's port to the gateway's MAC.
func packet(t testing.TB, l ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	eth := &layers.Ethernet{SrcMAC: icmpPort.MAC[:], DstMAC: intent.GatewayMAC[:], EthernetType: layers.EthernetTypeIPv4}
	if l[0].LayerType() == layers.LayerTypeIPv6 {
		eth.EthernetType = layers.EthernetTypeIPv6
	}
	require.NoError(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append([]gopacket.SerializableLayer{eth}, l...)...))
	return b.Bytes()
}

func v4Packet(src, dst string, proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 1, Protocol: proto, SrcIP: netip.MustParseAddr(src).AsSlice(), DstIP: netip.MustParseAddr(dst).AsSlice()}
}

func v6Packet(src, dst string, proto layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 1, NextHeader: proto, SrcIP: netip.MustParseAddr(src).AsSlice(), DstIP: netip.MustParseAddr(dst).AsSlice()}
}

func udp(over gopacket.NetworkLayer) *layers.UDP {
	u := &layers.UDP{SrcPort: 1000, DstPort: 33434}
	_ = u.SetNetworkLayerForChecksum(over)
	return u
}

// TestICMPErrors: another implementation reads what is sent: addresses, types,
// lengths, checksums and the packet that is quoted.
func TestICMPErrors(t *testing.T) {
	four, six := v4Packet("192.168.0.1", "192.168.1.9", layers.IPProtocolUDP), v6Packet("fd00::1", "fd01::9", layers.IPProtocolUDP)
	for _, c := range []struct {
		reason uint32
		v4, v6 [2]byte
	}{
		{timeExceeded, [2]byte{11, 0}, [2]byte{3, 0}},
		{netUnreachable, [2]byte{3, 0}, [2]byte{1, 0}},
		{hostUnreachable, [2]byte{3, 1}, [2]byte{1, 3}},
		{portUnreachable, [2]byte{3, 3}, [2]byte{1, 4}},
	} {
		for _, size := range []int{0, 1, 2, 18, 19, 500, 1400} {
			in := packet(t, four, udp(four), gopacket.Payload(make([]byte, size)))
			got := icmpError(icmpPort, c.reason, in)
			p := gopacket.NewPacket(got, layers.LayerTypeEthernet, gopacket.Default)
			eth, ip, icmp := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet), p.Layer(layers.LayerTypeIPv4).(*layers.IPv4), p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
			require.Equal(t, []any{intent.MAC(eth.SrcMAC), intent.MAC(eth.DstMAC)}, []any{intent.GatewayMAC, icmpPort.MAC})
			require.Equal(t, []string{"192.168.0.254", "192.168.0.1"}, []string{ip.SrcIP.String(), ip.DstIP.String()})
			require.Equal(t, layers.CreateICMPv4TypeCode(c.v4[0], c.v4[1]), icmp.TypeCode)
			require.LessOrEqual(t, int(ip.Length), icmpMost4)
			require.Zero(t, checksum(got[14:34]), "IP header")
			require.Zero(t, checksum(even(got[34:14+int(ip.Length)])), "ICMP, quoting %d octets", size)
			quoted := got[14+20+8 : 14+int(ip.Length)]
			require.GreaterOrEqual(t, len(quoted), min(28, 28+size))
			require.Equal(t, in[14:14+len(quoted)], quoted)

			in = packet(t, six, udp(six), gopacket.Payload(make([]byte, size)))
			got = icmpError(icmpPort, c.reason, in)
			p = gopacket.NewPacket(got, layers.LayerTypeEthernet, gopacket.Default)
			v6, icmp6 := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6), p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
			require.Equal(t, []string{"fd00::ff", "fd00::1"}, []string{v6.SrcIP.String(), v6.DstIP.String()})
			require.Equal(t, layers.CreateICMPv6TypeCode(c.v6[0], c.v6[1]), icmp6.TypeCode)
			require.LessOrEqual(t, 40+int(v6.Length), icmpMost6)
			require.Equal(t, in[14:14+int(v6.Length)-8], got[14+40+8:14+40+int(v6.Length)])
			pseudo := append(append(binary.BigEndian.AppendUint32(nil, uint32(v6.Length)), 0, 0, 0, protoICMP6), got[14+8:14+40+int(v6.Length)]...)
			require.Zero(t, checksum(even(pseudo)), "ICMPv6, quoting %d octets", size)
		}
	}
}

// TestNoICMPErrorFor: what must never be answered (RFC 1812 section 4.3.2.7, RFC
// 4443 section 2.4 e).
func TestNoICMPErrorFor(t *testing.T) {
	icmp4 := func(kind uint8) *layers.ICMPv4 { return &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0)} }
	icmp6 := func(kind uint8) *layers.ICMPv6 { return &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)} }
	to4 := func(dst string, p layers.IPProtocol) *layers.IPv4 { return v4Packet("192.168.0.1", dst, p) }
	to6 := func(dst string, p layers.IPProtocol) *layers.IPv6 { return v6Packet("fd00::1", dst, p) }
	of6 := func(ip *layers.IPv6, i *layers.ICMPv6) []gopacket.SerializableLayer {
		_ = i.SetNetworkLayerForChecksum(ip)
		return []gopacket.SerializableLayer{ip, i, gopacket.Payload(make([]byte, 8))}
	}
	fragment := to4("192.168.1.9", layers.IPProtocolUDP)
	fragment.FragOffset = 100
	broadcastFrame := packet(t, to4("192.168.1.9", layers.IPProtocolUDP), gopacket.Payload("12345678"))
	copy(broadcastFrame, broadcast[:])
	for name, f := range map[string][]byte{
		"an ICMP error":              packet(t, to4("192.168.1.9", layers.IPProtocolICMPv4), icmp4(3), gopacket.Payload(make([]byte, 28))),
		"an ICMPv6 error":            packet(t, of6(to6("fd01::9", layers.IPProtocolICMPv6), icmp6(3))...),
		"an unknown ICMPv6 error":    packet(t, of6(to6("fd01::9", layers.IPProtocolICMPv6), icmp6(100))...),
		"a later fragment":           packet(t, fragment, gopacket.Payload("12345678")),
		"a later fragment of IPv6":   packet(t, to6("fd01::9", layers.IPProtocolIPv6Fragment), gopacket.Payload([]byte{17, 0, 1, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8})),
		"a multicast":                packet(t, to4("224.0.0.5", layers.IPProtocolUDP), gopacket.Payload("12345678")),
		"a broadcast":                packet(t, to4("255.255.255.255", layers.IPProtocolUDP), gopacket.Payload("12345678")),
		"an IPv6 multicast":          packet(t, to6("ff02::5", layers.IPProtocolUDP), gopacket.Payload("12345678")),
		"from no address":            packet(t, v4Packet("0.0.0.0", "192.168.1.9", layers.IPProtocolUDP), gopacket.Payload("12345678")),
		"from a loopback address":    packet(t, v4Packet("127.0.0.1", "192.168.1.9", layers.IPProtocolUDP), gopacket.Payload("12345678")),
		"from no IPv6 address":       packet(t, v6Packet("::", "fd01::9", layers.IPProtocolUDP), gopacket.Payload("12345678")),
		"a frame to all":             broadcastFrame,
		"no IP":                      frame(intent.GatewayMAC, icmpPort.MAC, etherARP, make([]byte, 28)),
		"a frame that is cut short":  packet(t, to4("192.168.1.9", layers.IPProtocolUDP))[:20],
		"a reason that we know none": nil,
	} {
		if f == nil {
			require.Nil(t, icmpError(icmpPort, 99, packet(t, to4("192.168.1.9", layers.IPProtocolUDP), gopacket.Payload("12345678"))), name)
			continue
		}
		require.Nil(t, icmpError(icmpPort, timeExceeded, f), name)
	}
	echo := to4("192.168.1.9", layers.IPProtocolICMPv4)
	require.NotNil(t, icmpError(icmpPort, timeExceeded, packet(t, echo, icmp4(icmpEcho), gopacket.Payload("x"))), "traceroute by echo requests")
	require.NotNil(t, icmpError(icmpPort, timeExceeded, packet(t, of6(to6("fd01::9", layers.IPProtocolICMPv6), icmp6(icmp6EchoRequest))...)))
	l := icmpPort
	l.Routing = nil
	require.Nil(t, icmpError(l, timeExceeded, packet(t, echo, icmp4(icmpEcho), gopacket.Payload("x"))), "a port without a gateway")
}

// FuzzICMPError: a VM sends whatever it likes.
func FuzzICMPError(f *testing.F) {
	four, six := v4Packet("192.168.0.1", "192.168.1.9", layers.IPProtocolUDP), v6Packet("fd00::1", "fd01::9", layers.IPProtocolUDP)
	f.Add(packet(f, four, udp(four), gopacket.Payload("hello")), uint32(1))
	f.Add(packet(f, six, udp(six), gopacket.Payload("hello")), uint32(2))
	f.Add(packet(f, v6Packet("fd00::1", "fd01::9", layers.IPProtocolIPv6HopByHop), gopacket.Payload([]byte{58, 0, 1, 4, 0, 0, 0, 0, 128, 0})), uint32(3))
	f.Fuzz(func(t *testing.T, b []byte, reason uint32) {
		out := icmpError(icmpPort, reason, b)
		if out == nil {
			return
		}
		require.LessOrEqual(t, len(out), ethernetLen+icmpMost6)
		require.Equal(t, b[6:12], out[:6], "it goes to who sent the frame")
		require.Nil(t, icmpError(icmpPort, reason, append(append([]byte{}, out[6:12]...), append(append([]byte{}, out[:6]...), out[12:]...)...)), "no error for an error")
	})
}

// TestBlocks: a next hop's numbers are covered, each once and no others.
func TestBlocks(t *testing.T) {
	for first := uint16(0); first < 70; first++ {
		for end := first; end < 140; end++ {
			fs := blocks(first, end)
			require.LessOrEqual(t, len(fs), 14)
			hits := [200]int{}
			for _, f := range fs {
				var value, mask uint32 = 0, ^uint32(0)
				c, _ := fmt.Sscanf(f.String(), "reg6=0x%x/0x%x", &value, &mask)
				require.NotZero(t, c)
				for n := range hits {
					if uint32(n)&mask == value {
						hits[n]++
					}
				}
			}
			for n, h := range hits {
				if in := n >= int(first) && n < int(end); in != (h == 1) || h > 1 {
					t.Fatalf("%d is in %d blocks of [%d, %d): %v", n, h, first, end, fs)
				}
			}
		}
	}
	require.LessOrEqual(t, len(blocks(1, 16384)), 28)
}
