package service

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
)

const (
	etherIPv4  = 0x0800
	etherIPv6  = 0x86dd
	protoUDP   = 17
	protoICMP6 = 58
)

var (
	errShort   = errors.New("the frame is cut short")
	errForeign = errors.New("the frame is no request")
)

// packet is the part of a frame that a service reads.
type packet struct {
	srcMAC   intent.MAC
	src, dst netip.Addr
	proto    uint8
	hops     uint8
	sport    uint16 // of UDP
	dport    uint16
	payload  []byte // of UDP, or the ICMPv6 message
}

// readFrame reads an untagged Ethernet frame with UDP or ICMPv6. Fragments and
// IPv6 extension headers are no request.
func readFrame(b []byte) (packet, error) {
	if len(b) < 14 {
		return packet{}, errShort
	}
	var p packet
	copy(p.srcMAC[:], b[6:])
	var err error
	switch rest := b[14:]; binary.BigEndian.Uint16(b[12:]) {
	case etherIPv4:
		err = p.readIPv4(rest)
	case etherIPv6:
		err = p.readIPv6(rest)
	default:
		err = errForeign
	}
	if err != nil || p.proto != protoUDP {
		return p, err
	}
	u := p.payload
	if len(u) < 8 {
		return p, errShort
	}
	n := int(binary.BigEndian.Uint16(u[4:]))
	if n < 8 || n > len(u) {
		return p, errShort
	}
	p.sport, p.dport, p.payload = binary.BigEndian.Uint16(u), binary.BigEndian.Uint16(u[2:]), u[8:n]
	return p, nil
}

func (p *packet) readIPv4(b []byte) error {
	if len(b) < 20 {
		return errShort
	}
	head, n := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || head < 20 || n < head || n > len(b) {
		return errShort
	}
	if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 || b[9] != protoUDP { // more fragments, or an offset
		return errForeign
	}
	p.proto, p.hops, p.payload = protoUDP, b[8], b[head:n]
	p.src, p.dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	return nil
}

func (p *packet) readIPv6(b []byte) error {
	if len(b) < 40 {
		return errShort
	}
	n := 40 + int(binary.BigEndian.Uint16(b[4:]))
	if b[0]>>4 != 6 || n > len(b) {
		return errShort
	}
	if b[6] != protoUDP && b[6] != protoICMP6 {
		return errForeign
	}
	p.proto, p.hops, p.payload = b[6], b[7], b[40:n]
	p.src, p.dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	return nil
}

// answer is a packet to be made.
type answer struct {
	dstMAC       intent.MAC
	src, dst     netip.Addr
	sport, dport uint16 // of UDP
}

// udp makes the frame of a UDP packet; it comes from the gateway's MAC.
func (a answer) udp(payload []byte) []byte {
	u := binary.BigEndian.AppendUint16(nil, a.sport)
	u = binary.BigEndian.AppendUint16(u, a.dport)
	u = binary.BigEndian.AppendUint16(u, uint16(8+len(payload)))
	u = append(append(u, 0, 0), payload...)
	sum := a.checksum(protoUDP, u)
	if sum == 0 {
		sum = 0xffff // zero means none (RFC 768)
	}
	binary.BigEndian.PutUint16(u[6:], sum)
	return a.ip(protoUDP, 64, u)
}

// icmp6 makes the frame of an ICMPv6 message of neighbour discovery, whose hop
// limit is 255 (RFC 4861 section 6.1).
func (a answer) icmp6(m []byte) []byte {
	binary.BigEndian.PutUint16(m[2:], a.checksum(protoICMP6, m))
	return a.ip(protoICMP6, 255, m)
}

func (a answer) ip(proto, hops uint8, payload []byte) []byte {
	b := append(append(make([]byte, 0, 54+len(payload)), a.dstMAC[:]...), intent.GatewayMAC[:]...)
	if a.src.Is4() {
		b = append(b, 0x08, 0x00, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(20+len(payload)))
		b = append(b, 0, 0, 0, 0, hops, proto, 0, 0)
		b = append(append(b, a.src.AsSlice()...), a.dst.AsSlice()...)
		binary.BigEndian.PutUint16(b[24:], fold(add(0, b[14:34])))
	} else {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
		b = append(b, proto, hops)
		b = append(append(b, a.src.AsSlice()...), a.dst.AsSlice()...)
	}
	return append(b, payload...)
}

// checksum is that of a message over its pseudo-header (RFC 768, RFC 8200
// section 8.1).
func (a answer) checksum(proto uint8, m []byte) uint16 {
	sum := add(add(0, a.src.AsSlice()), a.dst.AsSlice())
	return fold(add(sum+uint32(proto)+uint32(len(m)), m))
}

// add adds bytes to an Internet checksum (RFC 1071).
func add(sum uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
