package openflow

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// FieldID is the class and number of an OXM field: the upper 23 bits of its
// header (section 7.2.3.2).
type FieldID uint32

// OXM classes.
const (
	classNXM     = 0x0001
	classEricson = 0x1000 // ND fields of Open vSwitch
	classBasic   = 0x8000
	classPktReg  = 0x8001
)

func id(class uint32, field uint32) FieldID { return FieldID(class<<7 | field) }

// Fields in use. The numbers are those of section 7.2.3.7, and of
// openvswitch/meta-flow.h for the extensions.
var (
	FieldInPort     = id(classBasic, 0)
	FieldMetadata   = id(classBasic, 2)
	FieldEthDst     = id(classBasic, 3)
	FieldEthSrc     = id(classBasic, 4)
	FieldEthType    = id(classBasic, 5)
	FieldIPDSCP     = id(classBasic, 8)
	FieldIPProto    = id(classBasic, 10)
	FieldIPv4Src    = id(classBasic, 11)
	FieldIPv4Dst    = id(classBasic, 12)
	FieldTCPSrc     = id(classBasic, 13)
	FieldTCPDst     = id(classBasic, 14)
	FieldUDPSrc     = id(classBasic, 15)
	FieldUDPDst     = id(classBasic, 16)
	FieldSCTPSrc    = id(classBasic, 17)
	FieldSCTPDst    = id(classBasic, 18)
	FieldICMPType   = id(classBasic, 19)
	FieldICMPCode   = id(classBasic, 20)
	FieldARPOp      = id(classBasic, 21)
	FieldARPSPA     = id(classBasic, 22)
	FieldARPTPA     = id(classBasic, 23)
	FieldARPSHA     = id(classBasic, 24)
	FieldARPTHA     = id(classBasic, 25)
	FieldIPv6Src    = id(classBasic, 26)
	FieldIPv6Dst    = id(classBasic, 27)
	FieldICMPv6Type = id(classBasic, 29)
	FieldICMPv6Code = id(classBasic, 30)
	FieldNDTarget   = id(classBasic, 31)
	FieldNDSLL      = id(classBasic, 32)
	FieldNDTLL      = id(classBasic, 33)
	FieldTunnelID   = id(classBasic, 38)

	FieldTCPFlags = id(classBasic, 42)

	FieldTunIPv4Src = id(classNXM, 31)
	FieldTunIPv4Dst = id(classNXM, 32)
	FieldTunIPv6Src = id(classNXM, 109)
	FieldTunIPv6Dst = id(classNXM, 110)

	FieldIPFrag  = id(classNXM, 26)
	FieldCTState = id(classNXM, 105)
	FieldCTZone  = id(classNXM, 106)
	FieldCTMark  = id(classNXM, 107)

	// fieldInPort16 is the port by which a packet came in, in 16 bits.
	fieldInPort16 = id(0, 0)

	FieldNDReserved    = id(classEricson, 1)
	FieldNDOptionsType = id(classEricson, 2)
)

// FieldReg is the 32-bit register n, 0 to 15.
func FieldReg(n int) FieldID { return id(classNXM, uint32(n)) }

func fieldPktReg(n int) FieldID { return id(classPktReg, uint32(n)) }

// FieldWideReg is the 128-bit register n, 0 to 3: the registers 4n to 4n+3.
func FieldWideReg(n int) FieldID { return id(classNXM, 111+uint32(n)) }

type fieldInfo struct {
	name string
	size uint8 // bytes
	kind byte  // how the value is written: d, x, m(ac), i(p), w(ide)
}

var fields = map[FieldID]fieldInfo{
	FieldInPort: {"in_port", 4, 'd'}, FieldMetadata: {"metadata", 8, 'x'},
	FieldEthDst: {"eth_dst", 6, 'm'}, FieldEthSrc: {"eth_src", 6, 'm'}, FieldEthType: {"eth_type", 2, 'x'},
	FieldIPDSCP: {"ip_dscp", 1, 'd'}, FieldIPProto: {"ip_proto", 1, 'd'}, FieldIPv4Src: {"ip_src", 4, 'i'}, FieldIPv4Dst: {"ip_dst", 4, 'i'},
	FieldTCPSrc: {"tcp_src", 2, 'd'}, FieldTCPDst: {"tcp_dst", 2, 'd'}, FieldUDPSrc: {"udp_src", 2, 'd'}, FieldUDPDst: {"udp_dst", 2, 'd'},
	FieldSCTPSrc: {"sctp_src", 2, 'd'}, FieldSCTPDst: {"sctp_dst", 2, 'd'}, FieldICMPType: {"icmp_type", 1, 'd'}, FieldICMPCode: {"icmp_code", 1, 'd'},
	FieldARPOp: {"arp_op", 2, 'd'}, FieldARPSPA: {"arp_spa", 4, 'i'}, FieldARPTPA: {"arp_tpa", 4, 'i'},
	FieldARPSHA: {"arp_sha", 6, 'm'}, FieldARPTHA: {"arp_tha", 6, 'm'},
	FieldIPv6Src: {"ipv6_src", 16, 'i'}, FieldIPv6Dst: {"ipv6_dst", 16, 'i'},
	FieldICMPv6Type: {"icmpv6_type", 1, 'd'}, FieldICMPv6Code: {"icmpv6_code", 1, 'd'},
	FieldNDTarget: {"nd_target", 16, 'i'}, FieldNDSLL: {"nd_sll", 6, 'm'}, FieldNDTLL: {"nd_tll", 6, 'm'},
	FieldTunnelID: {"tun_id", 8, 'x'}, FieldTunIPv4Src: {"tun_src", 4, 'i'}, FieldTunIPv4Dst: {"tun_dst", 4, 'i'},
	FieldTunIPv6Src: {"tun_ipv6_src", 16, 'i'}, FieldTunIPv6Dst: {"tun_ipv6_dst", 16, 'i'},
	FieldTCPFlags: {"tcp_flags", 2, 'x'},
	FieldCTState:  {"ct_state", 4, 'x'}, FieldCTZone: {"ct_zone", 2, 'd'}, FieldCTMark: {"ct_mark", 4, 'x'},
	FieldIPFrag:     {"ip_frag", 1, 'x'},
	fieldInPort16:   {"in_port_oxm", 2, 'd'},
	FieldNDReserved: {"nd_reserved", 4, 'x'}, FieldNDOptionsType: {"nd_options_type", 1, 'd'},
}

func init() {
	for n := range 16 {
		fields[FieldReg(n)] = fieldInfo{fmt.Sprintf("reg%d", n), 4, 'x'}
	}
	for n := range 8 {
		fields[fieldPktReg(n)] = fieldInfo{fmt.Sprintf("xreg%d", n), 8, 'x'}
	}
	for n := range 4 {
		fields[FieldWideReg(n)] = fieldInfo{fmt.Sprintf("xxreg%d", n), 16, 'w'}
	}
}

// Field is one field with its value and, if masked, its mask.
type Field struct {
	ID     FieldID
	size   uint8
	masked bool
	value  [16]byte
	mask   [16]byte
}

func number(f FieldID, v uint64) Field {
	out := Field{ID: f, size: fields[f].size}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	copy(out.value[:], b[8-out.size:])
	return out
}

func mac(f FieldID, m [6]byte) Field {
	out := Field{ID: f, size: 6}
	copy(out.value[:], m[:])
	return out
}

func addr(f FieldID, a netip.Addr) Field {
	out := Field{ID: f, size: fields[f].size}
	copy(out.value[:], a.AsSlice())
	return out
}

// InPort matches the port by which a packet came in.
func InPort(n uint32) Field { return number(FieldInPort, uint64(n)) }

// Metadata is the 64-bit value that tables hand on.
func Metadata(v uint64) Field { return number(FieldMetadata, v) }

// EthDst is the destination MAC.
func EthDst(m [6]byte) Field { return mac(FieldEthDst, m) }

// EthSrc is the source MAC.
func EthSrc(m [6]byte) Field { return mac(FieldEthSrc, m) }

// EthGroup matches frames to a group: broadcast and multicast.
func EthGroup() Field {
	return Field{ID: FieldEthDst, size: 6, masked: true, value: [16]byte{1}, mask: [16]byte{1}}
}

// EthType is the Ethernet type.
func EthType(t uint16) Field { return number(FieldEthType, uint64(t)) }

// IPProto is the protocol of IPv4 or the next header of IPv6.
func IPProto(p uint8) Field { return number(FieldIPProto, uint64(p)) }

// IPDSCP is the differentiated services code point of IPv4 and IPv6 (RFC 2474).
func IPDSCP(d uint8) Field { return number(FieldIPDSCP, uint64(d)) }

// IPv4Src is the IPv4 source.
func IPv4Src(a netip.Addr) Field { return addr(FieldIPv4Src, a) }

// IPv4Dst is the IPv4 destination.
func IPv4Dst(a netip.Addr) Field { return addr(FieldIPv4Dst, a) }

// UDPSrc is the UDP source port.
func UDPSrc(p uint16) Field { return number(FieldUDPSrc, uint64(p)) }

// UDPDst is the UDP destination port.
func UDPDst(p uint16) Field { return number(FieldUDPDst, uint64(p)) }

// TCPSrc is the TCP source port.
func TCPSrc(p uint16) Field { return number(FieldTCPSrc, uint64(p)) }

// SCTPSrc is the SCTP source port (RFC 9260).
func SCTPSrc(p uint16) Field { return number(FieldSCTPSrc, uint64(p)) }

// TCPDst is the TCP destination port.
func TCPDst(p uint16) Field { return number(FieldTCPDst, uint64(p)) }

// SCTPDst is the SCTP destination port.
func SCTPDst(p uint16) Field { return number(FieldSCTPDst, uint64(p)) }

// ICMPType is the ICMP type.
func ICMPType(t uint8) Field { return number(FieldICMPType, uint64(t)) }

// ICMPCode is the ICMP code.
func ICMPCode(c uint8) Field { return number(FieldICMPCode, uint64(c)) }

// LaterFragment matches the fragments of an IP packet but the first, which has
// the ports.
func LaterFragment() Field { return number(FieldIPFrag, 2).Masked([]byte{2}) }

// NotLaterFragment matches all that LaterFragment does not.
func NotLaterFragment() Field { return number(FieldIPFrag, 0).Masked([]byte{2}) }

// Prefix limits an address match to the prefix's bits.
func (f Field) Prefix(bits int) Field {
	if bits >= int(f.size)*8 {
		return f
	}
	var mask [16]byte
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return f.Masked(mask[:f.size])
}

// ARPOp is the ARP operation.
func ARPOp(op uint16) Field { return number(FieldARPOp, uint64(op)) }

// ARPSPA is the ARP sender's IPv4 address.
func ARPSPA(a netip.Addr) Field { return addr(FieldARPSPA, a) }

// ARPTPA is the ARP target's IPv4 address.
func ARPTPA(a netip.Addr) Field { return addr(FieldARPTPA, a) }

// ARPSHA is the ARP sender's MAC.
func ARPSHA(m [6]byte) Field { return mac(FieldARPSHA, m) }

// ARPTHA is the ARP target's MAC.
func ARPTHA(m [6]byte) Field { return mac(FieldARPTHA, m) }

// IPv6Src is the IPv6 source.
func IPv6Src(a netip.Addr) Field { return addr(FieldIPv6Src, a) }

// IPv6Dst is the IPv6 destination.
func IPv6Dst(a netip.Addr) Field { return addr(FieldIPv6Dst, a) }

// ICMPv6Type is the ICMPv6 type.
func ICMPv6Type(t uint8) Field { return number(FieldICMPv6Type, uint64(t)) }

// ICMPv6Code is the ICMPv6 code.
func ICMPv6Code(c uint8) Field { return number(FieldICMPv6Code, uint64(c)) }

// NDTarget is the target of a neighbour solicitation or advertisement.
func NDTarget(a netip.Addr) Field { return addr(FieldNDTarget, a) }

// NDSLL is the source link-layer address option; zero when there is none.
func NDSLL(m [6]byte) Field { return mac(FieldNDSLL, m) }

// NDTLL is the target link-layer address option; zero when there is none.
func NDTLL(m [6]byte) Field { return mac(FieldNDTLL, m) }

// NDReserved is the word of flags after the ICMPv6 checksum.
func NDReserved(v uint32) Field { return number(FieldNDReserved, uint64(v)) }

// NDOptionsType is the type of the first ND option.
func NDOptionsType(t uint8) Field { return number(FieldNDOptionsType, uint64(t)) }

// TunnelID is the tunnel's key: for VXLAN the VNI.
func TunnelID(v uint64) Field { return number(FieldTunnelID, v) }

// TunSrc is the IPv4 source of the tunnel packet.
func TunSrc(a netip.Addr) Field { return addr(FieldTunIPv4Src, a) }

// TunDst is the IPv4 destination of the tunnel packet.
func TunDst(a netip.Addr) Field { return addr(FieldTunIPv4Dst, a) }

// TunIPv6Dst is the IPv6 destination of the tunnel packet.
func TunIPv6Dst(a netip.Addr) Field { return addr(FieldTunIPv6Dst, a) }

// Reg is register n, 0 to 15.
func Reg(n int, v uint32) Field { return number(FieldReg(n), uint64(v)) }

// Masked limits the match to the bits of mask, of which as many bytes count
// as the field has.
func (f Field) Masked(mask []byte) Field {
	f.masked = true
	copy(f.mask[:f.size], mask)
	for i := range f.value {
		f.value[i] &= f.mask[i]
	}
	return f
}

// appendTo writes the OXM TLV.
func (f Field) appendTo(b []byte) []byte {
	n, has := uint32(f.size), uint32(0)
	if f.masked {
		n, has = 2*n, 1
	}
	b = binary.BigEndian.AppendUint32(b, uint32(f.ID)<<9|has<<8|n)
	b = append(b, f.value[:f.size]...)
	if f.masked {
		b = append(b, f.mask[:f.size]...)
	}
	return b
}

// readField reads one TLV. Unknown fields are kept as they are if they fit.
func readField(b []byte) (Field, []byte, error) {
	if len(b) < 4 {
		return Field{}, nil, errShort
	}
	h := binary.BigEndian.Uint32(b)
	n := int(h & 0xff)
	f := Field{ID: FieldID(h >> 9), masked: h>>8&1 == 1}
	if len(b) < 4+n {
		return Field{}, nil, errShort
	}
	size := n
	if f.masked {
		if n%2 != 0 {
			return Field{}, nil, fmt.Errorf("field %#x: odd length %d with a mask", h, n)
		}
		size = n / 2
	}
	if size > 16 {
		return Field{}, nil, fmt.Errorf("field %#x: %d bytes are too long", h, size)
	}
	if info, ok := fields[f.ID]; ok && int(info.size) != size {
		return Field{}, nil, fmt.Errorf("field %s: %d bytes instead of %d", info.name, size, info.size)
	}
	f.size = uint8(size)
	copy(f.value[:size], b[4:])
	if f.masked {
		copy(f.mask[:size], b[4+size:])
	}
	return f, b[4+n:], nil
}

// IPv4 or IPv6 address in an address field; the zero Addr for others.
func (f Field) addr() netip.Addr {
	if fields[f.ID].kind != 'i' {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(f.value[:f.size])
	return a
}

func (f Field) text(v [16]byte) string {
	switch info := fields[f.ID]; info.kind {
	case 'm':
		return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", v[0], v[1], v[2], v[3], v[4], v[5])
	case 'i':
		a, _ := netip.AddrFromSlice(v[:f.size])
		return a.String()
	case 'd', 'x':
		n := uint64(0)
		for _, c := range v[:f.size] {
			n = n<<8 | uint64(c)
		}
		if info.kind == 'd' {
			return fmt.Sprint(n)
		}
		return fmt.Sprintf("%#x", n)
	}
	return fmt.Sprintf("0x%x", v[:f.size])
}

// String writes name=value or name=value/mask.
func (f Field) String() string {
	name := fields[f.ID].name
	if name == "" {
		name = fmt.Sprintf("oxm_%04x_%d", uint32(f.ID)>>7, uint32(f.ID)&0x7f)
	}
	if f.ID == FieldCTState && f.masked {
		return name + "=" + ctStateText(binary.BigEndian.Uint32(f.value[:4]), binary.BigEndian.Uint32(f.mask[:4]))
	}
	s := name + "=" + f.text(f.value)
	if f.masked {
		s += "/" + f.text(f.mask)
	}
	return s
}

// Match is a set of fields in canonical order. The zero value matches all.
type Match struct{ fields []Field }

// NewMatch puts fields into canonical order. Register matches become matches
// of packet registers.
func NewMatch(fs ...Field) Match {
	out := make([]Field, 0, len(fs))
	var regs [8]Field
	for _, f := range fs {
		n := uint32(f.ID)
		if n>>7 != classNXM || n&0x7f > 15 {
			out = append(out, f)
			continue
		}
		reg := int(n & 0x7f)
		r, at := &regs[reg/2], reg%2*4
		r.ID, r.size, r.masked = fieldPktReg(reg/2), 8, true
		if !f.masked {
			f.mask = [16]byte{255, 255, 255, 255}
		}
		for i := range 4 { // bits of one register may be given in parts
			r.value[at+i] |= f.value[i]
			r.mask[at+i] |= f.mask[i]
		}
	}
	for _, r := range regs {
		if r.size == 0 {
			continue
		}
		if binary.BigEndian.Uint64(r.mask[:8]) == ^uint64(0) {
			r.masked, r.mask = false, [16]byte{}
		}
		out = append(out, r)
	}
	sortFields(out)
	return Match{out}
}

// rank orders fields by number, but that a switch wants to have read before a field
// what that depends on.
func (f FieldID) rank() uint64 {
	if f == FieldIPFrag || f == FieldIPTTL {
		return 1<<32 | uint64(f)
	}
	return uint64(f)
}

func sortFields(fs []Field) {
	// Few fields, often in order already.
	for i := 1; i < len(fs); i++ {
		for j := i; j > 0 && cmp.Less(fs[j].ID.rank(), fs[j-1].ID.rank()); j-- {
			fs[j], fs[j-1] = fs[j-1], fs[j]
		}
	}
}

// AppendTo appends the canonical encoding: the fields' TLVs.
func (m Match) AppendTo(b []byte) []byte {
	for _, f := range m.fields {
		b = f.appendTo(b)
	}
	return b
}

// appendStruct appends an ofp_match, padded to eight bytes.
func (m Match) appendStruct(b []byte) []byte {
	at := len(b)
	b = append(b, 0, 1, 0, 0) // OFPMT_OXM
	b = m.AppendTo(b)
	binary.BigEndian.PutUint16(b[at+2:], uint16(len(b)-at))
	return pad8(b, at)
}

func readMatch(b []byte) (Match, []byte, error) {
	if len(b) < 4 {
		return Match{}, nil, errShort
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	padded := (n + 7) / 8 * 8
	if t := binary.BigEndian.Uint16(b); t != 1 {
		return Match{}, nil, fmt.Errorf("match of type %d", t)
	}
	if n < 4 || len(b) < padded {
		return Match{}, nil, errShort
	}
	var m Match
	for in := b[4:n]; len(in) > 0; {
		f, rest, err := readField(in)
		if err != nil {
			return Match{}, nil, fmt.Errorf("match: %w", err)
		}
		m.fields, in = append(m.fields, f), rest
	}
	sortFields(m.fields)
	return m, b[padded:], nil
}

// String lists the fields.
func (m Match) String() string {
	s := make([]string, len(m.fields))
	for i, f := range m.fields {
		s[i] = f.String()
	}
	return strings.Join(s, ",")
}

// pad8 pads what began at offset at to a multiple of eight bytes.
func pad8(b []byte, at int) []byte {
	for (len(b)-at)%8 != 0 {
		b = append(b, 0)
	}
	return b
}
