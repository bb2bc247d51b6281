package openflow

import (
	"encoding/binary"
	"net/netip"
)

// FieldIPTTL is the TTL of IPv4 or the hop limit of IPv6 (openvswitch/meta-flow.h).
var FieldIPTTL = id(classNXM, 29)

func init() { fields[FieldIPTTL] = fieldInfo{"nw_ttl", 1, 'd'} }

// IPTTL is the TTL of IPv4 or the hop limit of IPv6.
func IPTTL(t uint8) Field { return number(FieldIPTTL, uint64(t)) }

// XXReg is an address in the 128-bit register n, IPv4 as ::ffff:a.b.c.d. It may
// be set; matches are made of AddrRegs.
func XXReg(n int, a netip.Addr) Field {
	f := Field{ID: FieldWideReg(n), size: 16}
	f.value = a.As16()
	return f
}

// AddrRegs matches an address in the 128-bit register n.
func AddrRegs(n int, a netip.Addr) []Field {
	b := a.As16()
	out := make([]Field, 4)
	for i := range out {
		out[i] = Reg(4*n+i, binary.BigEndian.Uint32(b[4*i:]))
	}
	return out
}

// ForgetInPort has the packet come from no port, so that it may leave by the one
// that it came in by.
func ForgetInPort() Action { return SetField(number(fieldInPort16, 0xffff)) }

// FromPort has the packet come from another port than it did. Only numbers below
// 0xff00 can be given.
func FromPort(n uint32) Action { return SetField(number(fieldInPort16, uint64(n))) }

// InPrefix matches a prefix in an address field; ok is false when the prefix
// holds every address, so that nothing is to be matched.
func InPrefix(id FieldID, p netip.Prefix) (f Field, ok bool) {
	return addr(id, p.Addr()).Prefix(p.Bits()), p.Bits() > 0
}

// InPrefix is the prefix that an address field matches; invalid when it is none.
func (f Field) InPrefix() netip.Prefix {
	a, bits := f.addr(), int(f.size)*8
	if f.masked {
		for bits = 0; bits < int(f.size)*8 && f.mask[bits/8]>>(7-bits%8)&1 == 1; bits++ {
		}
	}
	if a.IsValid() && f == addr(f.ID, a).Prefix(bits) {
		return netip.PrefixFrom(a, bits)
	}
	return netip.Prefix{}
}

const (
	actionDecTTL        = 24
	hashSymmetricL3L4UD = 3
	hashBasis           = 1024
)

// DecTTL takes one from the TTL or hop limit.
func DecTTL() Action {
	a := Action{n: 8}
	a.b[1], a.b[3] = actionDecTTL, 8
	return a
}

// Spread writes a number below n, the same for all packets of a flow, into
// register reg. It is a hash of the addresses and of the ports of TCP, UDP and
// SCTP; both directions have the same.
func Spread(reg int, n uint16) Action {
	a := Action{n: 32}
	binary.BigEndian.PutUint16(a.b[:], actionExperimenter)
	a.b[3] = 32
	binary.BigEndian.PutUint32(a.b[4:], vendorNicira)
	binary.BigEndian.PutUint16(a.b[8:], niciraMultipath)
	binary.BigEndian.PutUint16(a.b[10:], hashSymmetricL3L4UD)
	binary.BigEndian.PutUint16(a.b[12:], hashBasis)
	binary.BigEndian.PutUint16(a.b[18:], n-1) // the highest result; modulo
	binary.BigEndian.PutUint16(a.b[26:], 31)
	binary.BigEndian.PutUint32(a.b[28:], uint32(FieldReg(reg))<<9|4)
	return a
}
