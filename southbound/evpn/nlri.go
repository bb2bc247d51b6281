package evpn

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

// Route types that are handed on and not told of (RFC 7432 section 7).
const (
	typeDiscovery = 1 // Ethernet auto-discovery
	typeSegment   = 4 // Ethernet segment
)

// mostNLRI is the longest NLRI of the types in use: an IPv6 prefix with its
// gateway.
const mostNLRI = 2 + 8 + 10 + 4 + 1 + 16 + 16 + 3

// nlri is one EVPN NLRI that can be read (RFC 7432 section 7, RFC 9136 section
// 3.1): type, length, and the rest.
type nlri []byte

func (n nlri) kind() byte { return n[0] }

// rd is the route distinguisher.
func (n nlri) rd() table.RD { return table.RD(n[2:10]) }

// cut takes the first NLRI off a list, whatever its type. It fails when the
// lengths do not fit.
func cut(b []byte) (one, rest []byte, err error) {
	if len(b) < 2 || len(b) < 2+int(b[1]) {
		return nil, nil, errors.New("the NLRI have no proper lengths")
	}
	n := 2 + int(b[1])
	return b[:n:n], b[n:], nil
}

// each calls do for the NLRI of a list whose lengths are right.
func each(b []byte, do func(nlri)) {
	for len(b) > 0 {
		n := 2 + int(b[1])
		do(b[:n:n])
		b = b[n:]
	}
}

// readable says what is wrong with an NLRI of a known type. Unknown ones are
// no NLRI of ours: known is false.
func readable(n nlri) (known bool, err error) {
	body := len(n) - 2
	fits := false
	switch n.kind() {
	case typeDiscovery:
		fits = body == 8+10+4+3
	case byte(table.MACIP):
		const least = 8 + 10 + 4 + 1 + 6 + 1 + 3
		if body < least {
			break
		}
		bits := int(n[31])
		rest := body - least - bits/8
		fits = n[24] == 48 && (bits == 0 || bits == 32 || bits == 128) && (rest == 0 || rest == 3)
	case byte(table.IMET):
		fits = body > 12 && (n[14] == 32 || n[14] == 128) && body == 8+4+1+int(n[14])/8
	case typeSegment:
		fits = body > 18 && (n[20] == 32 || n[20] == 128) && body == 8+10+1+int(n[20])/8
	case byte(table.PREFIX):
		fits = body == 8+10+4+1+4+4+3 && n[24] <= 32 || body == 8+10+4+1+16+16+3 && n[24] <= 128
	default:
		return false, nil
	}
	if !fits {
		return true, fmt.Errorf("route of type %d: its lengths do not fit", n.kind())
	}
	if n.kind() != byte(table.IMET) {
		switch n[10] { // RFC 7432 section 5
		case 1, 2, 4, 5:
			if n[19] != 0 {
				return true, fmt.Errorf("route of type %d: the last octet of a segment identifier of type %d must be 0", n.kind(), n[10])
			}
		}
	}
	return true, nil
}

// canonical clears what has no meaning: the bits of a prefix beyond its length.
func (n nlri) canonical() {
	if n.kind() != byte(table.PREFIX) {
		return
	}
	address := n[25 : 25+(len(n)-28)/2]
	for i, bits := 0, int(n[24]); i < len(address); i, bits = i+1, bits-8 {
		if bits < 8 {
			address[i] &= byte(uint16(0xff00) >> max(bits, 0))
		}
	}
}

// span is what, with type and distinguisher, identifies the route; the rest of
// the NLRI, segment, gateway and labels, are attributes of it (RFC 7432
// section 7, RFC 9136 section 3.1).
func (n nlri) span() []byte {
	switch n.kind() {
	case typeDiscovery:
		return n[10:24]
	case byte(table.MACIP):
		return n[20 : 32+int(n[31])/8]
	case byte(table.PREFIX):
		return n[20 : 25+(len(n)-28)/2]
	}
	return n[10:]
}

// mostKey is the longest key: an address of a MAC, in IPv6.
const mostKey = 1 + 8 + 4 + 1 + 6 + 1 + 16

// key appends what identifies the route.
func (n nlri) key(b []byte) []byte { return append(append(append(b, n[0]), n[2:10]...), n.span()...) }

// seed of the hashes; leaves can't know it.
var seed = maphash.MakeSeed()

func (n nlri) hash() uint32 {
	var key [mostKey]byte
	return uint32(maphash.Bytes(seed, n.key(key[:0])))
}

// isRoute reports whether two NLRI are of the same route.
func (n nlri) isRoute(o nlri) bool {
	return n[0] == o[0] && string(n[2:10]) == string(o[2:10]) && string(n.span()) == string(o.span())
}

// read fills in what the NLRI says of a route; it returns false when it is of a
// type that is not told of. Of an IMET route the VNI is in the attributes.
func (n nlri) read(r *table.Route) bool {
	r.Type, r.RD = table.RouteType(n.kind()), n.rd()
	switch r.Type {
	case table.MACIP:
		r.Tag, r.MAC = word(n[20:]), intent.MAC(n[25:31])
		end := 32 + int(n[31])/8
		r.IP, _ = netip.AddrFromSlice(n[32:end])
		r.VNI = label(n[end:])
		if rest := n[end+3:]; len(rest) > 0 {
			r.L3VNI = label(rest)
		}
	case table.IMET:
		r.Tag = word(n[10:])
		r.IP, _ = netip.AddrFromSlice(n[15:])
	case table.PREFIX:
		half := (len(n) - 28) / 2
		r.Tag, r.Bits = word(n[20:]), n[24]
		r.IP, _ = netip.AddrFromSlice(n[25 : 25+half])
		if g, _ := netip.AddrFromSlice(n[25+half : 25+2*half]); !g.IsUnspecified() {
			r.Gateway = g
		}
		r.VNI = label(n[25+2*half:])
	default:
		return false
	}
	return true
}

// withdrawn is the change that withdraws the route, and whether it is told of.
func (n nlri) withdrawn() (Change, bool) {
	var r table.Route
	if !n.read(&r) {
		return Change{}, false
	}
	return Change{Route: table.Route{Key: r.Key, RD: r.RD, Tag: r.Tag}, Withdrawn: true}, true
}

func word(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}
func label(b []byte) intent.VNI {
	return intent.VNI(uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]))
}
