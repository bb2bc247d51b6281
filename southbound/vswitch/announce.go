package vswitch

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
)

// announcements are the frames by which a port says where it is: a gratuitous
// ARP for each IPv4 address, an unsolicited neighbour advertisement for each
// IPv6 address, and a RARP when it has neither.
func announcements(l overlay.LocalPort) [][]byte {
	var fs [][]byte
	for _, a := range l.Addresses {
		if a.Is4() {
			fs = append(fs, gratuitousARP(l.MAC, a))
		} else {
			fs = append(fs, unsolicitedNA(l.MAC, a))
		}
	}
	if len(fs) == 0 {
		fs = append(fs, rarp(l.MAC))
	}
	return fs
}

var broadcast = intent.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// frame is an Ethernet frame, padded to the least length.
func frame(dst, src intent.MAC, etherType uint16, payload []byte) []byte {
	f := slices.Concat(dst[:], src[:], binary.BigEndian.AppendUint16(nil, etherType), payload)
	return append(f, make([]byte, max(0, 60-len(f)))...)
}

// arp is an ARP or RARP payload (RFC 826, RFC 903).
func arp(op uint16, sha intent.MAC, spa [4]byte, tha intent.MAC, tpa [4]byte) []byte {
	b := []byte{0, 1, 8, 0, 6, 4}
	b = binary.BigEndian.AppendUint16(b, op)
	return slices.Concat(b, sha[:], spa[:], tha[:], tpa[:])
}

// gratuitousARP is an ARP announcement (RFC 5227 section 3).
func gratuitousARP(mac intent.MAC, a netip.Addr) []byte {
	return frame(broadcast, mac, etherARP, arp(arpRequest, mac, a.As4(), intent.MAC{}, a.As4()))
}

// rarpRequest is RARP's "request reverse" (RFC 903).
const rarpRequest = 3

// rarp is the frame by which QEMU announces a VM.
func rarp(mac intent.MAC) []byte {
	return frame(broadcast, mac, etherRARP, arp(rarpRequest, mac, [4]byte{}, mac, [4]byte{}))
}

// ndOverride has receivers replace what they know (RFC 4861 section 4.4).
const ndOverride = 0x20000000

// unsolicitedNA is an unsolicited neighbour advertisement to all nodes (RFC
// 4861 section 7.2.6).
func unsolicitedNA(mac intent.MAC, a netip.Addr) []byte {
	src, all := a.As16(), netip.IPv6LinkLocalAllNodes().As16()
	icmp := []byte{icmp6NeighborAdvertisement, 0, 0, 0}
	icmp = binary.BigEndian.AppendUint32(icmp, ndOverride)
	icmp = slices.Concat(icmp, src[:], []byte{ndOptionTargetLinkLayer, 1}, mac[:])
	pseudo := slices.Concat(src[:], all[:], binary.BigEndian.AppendUint32(nil, uint32(len(icmp))), []byte{0, 0, 0, protoICMP6}, icmp)
	binary.BigEndian.PutUint16(icmp[2:], checksum(pseudo))
	ip := []byte{0x60, 0, 0, 0, 0, byte(len(icmp)), protoICMP6, 255}
	return frame(intent.MAC{0x33, 0x33, 0, 0, 0, 1}, mac, etherIPv6, slices.Concat(ip, src[:], all[:], icmp))
}

// checksum is the Internet checksum (RFC 1071) of an even number of bytes.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
