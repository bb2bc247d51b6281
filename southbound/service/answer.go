package service

import (
	"fmt"
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
)

// ServerAddress is the address of DHCPv4 in networks without a router: one that
// no host may take (RFC 3927 section 2.1).
var ServerAddress = netip.AddrFrom4([4]byte{169, 254, 0, 67})

// UDP ports (RFC 2131 section 4.1, RFC 8415 section 7.2).
const (
	PortServer4 = 67
	PortClient4 = 68
	PortClient6 = 546
	PortServer6 = 547
)

// Answer is what became of a request.
type Answer struct {
	// Frame is for the port to receive; nil when there is nothing to say.
	Frame []byte
	// Did says what was asked and answered, in the protocol's words:
	// "DHCPDISCOVER: DHCPOFFER 192.0.2.1".
	Did string
	// Declined is the address that the station found to be somebody else's.
	Declined netip.Addr
	// Bound is the address that the station has taken with this answer.
	Bound netip.Addr
}

// Request answers a frame that a port sent. An error says why it is no request
// that can be answered; nothing is sent then.
func Request(frame []byte, l overlay.LocalPort) (Answer, error) {
	if l.Services == nil {
		return Answer{}, fmt.Errorf("%s: its network tells stations nothing", l.Port)
	}
	p, err := readFrame(frame)
	switch {
	case err != nil:
		return Answer{}, err
	case p.srcMAC != l.MAC:
		return Answer{}, fmt.Errorf("from %s instead of %s", p.srcMAC, l.MAC)
	case p.proto == protoICMP6:
		return solicited(p, l)
	case p.src.Is4() && p.dport == PortServer4:
		return dhcp4(p, l)
	case p.src.Is6() && p.dport == PortServer6:
		return dhcp6(p, l)
	}
	return Answer{}, errForeign
}

// addresses are those of a port's addresses that are in subnets of its network,
// in the intent's order.
func addresses(l overlay.LocalPort, v4 bool) []netip.Addr {
	var out []netip.Addr
	for _, a := range l.Addresses {
		if _, ok := l.Services.Subnet(a); ok && a.Is4() == v4 {
			out = append(out, a)
		}
	}
	return out
}

// eui64 reports whether a station makes the address from its MAC in a prefix that
// is announced for that (RFC 4862 section 5.5.3).
func eui64(prefix netip.Prefix, a netip.Addr, m intent.MAC) bool {
	if prefix.Bits() != 64 || !prefix.Contains(a) {
		return false
	}
	id, ll := a.As16(), m.LinkLocal().As16()
	return [8]byte(id[8:]) == [8]byte(ll[8:])
}
