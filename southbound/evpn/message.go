package evpn

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// family is the only address family that is spoken.
const family = bgp.RF_EVPN

var (
	marker   = bytes.Repeat([]byte{0xff}, 16)
	endOfRIB = appendWithdraw(nil, nil)
)

// appendHeader appends a message header (RFC 4271 section 4.1); finish fills
// in the length.
func appendHeader(b []byte, kind byte) []byte { return append(append(b, marker...), 0, 0, kind) }

func finish(b []byte, start int) []byte {
	binary.BigEndian.PutUint16(b[start+16:], uint16(len(b)-start))
	return b
}

func keepalive() []byte { return finish(appendHeader(nil, bgp.BGP_MSG_KEEPALIVE), 0) }

// refresh asks for all routes again (RFC 2918).
func refresh() []byte {
	return finish(append(appendHeader(nil, bgp.BGP_MSG_ROUTE_REFRESH), 0, bgp.AFI_L2VPN, 0, bgp.SAFI_EVPN), 0)
}

// notificationOf is a NOTIFICATION message without data.
func notificationOf(code, subcode byte) []byte {
	return finish(append(appendHeader(nil, bgp.BGP_MSG_NOTIFICATION), code, subcode), 0)
}

// message is one BGP message with its header.
type message []byte

func (m message) kind() byte   { return m[18] }
func (m message) body() []byte { return m[headerLen:] }

// read reads one message.
func read(r *bufio.Reader) (message, error) {
	var head [headerLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(head[16:]))
	if !bytes.Equal(head[:16], marker) || n < headerLen || n > maxMessage {
		return nil, fmt.Errorf("what came is no BGP message: % x", head)
	}
	m := make(message, n)
	copy(m, head[:])
	_, err := io.ReadFull(r, m.body())
	return m, err
}

// notification reads a NOTIFICATION message.
func notification(m message) (code, subcode byte) {
	if len(m.body()) < 2 {
		return 0, 0
	}
	return m.body()[0], m.body()[1]
}

// capabilities is what an OPEN message says of its sender.
type capabilities struct {
	asn         uint32
	id          netip.Addr
	family      bool   // l2vpn-evpn
	restart     bool   // keeps EVPN routes over a restart (RFC 4724)
	restarting  bool   // has just restarted
	restartTime uint16 // seconds
	staleTime   uint32 // of RFC 9494, seconds; zero without
}

// readOpen reads an OPEN message.
func readOpen(m message) (c capabilities, err error) {
	defer recovered(&err)
	p, err := bgp.ParseBGPBody(&bgp.BGPHeader{Len: uint16(len(m)), Type: m.kind()}, m.body())
	if err != nil {
		return c, err
	}
	open := p.Body.(*bgp.BGPOpen)
	c.asn = uint32(open.MyAS)
	c.id, _ = netip.AddrFromSlice(open.ID.To4())
	for _, o := range open.OptParams {
		list, _ := o.(*bgp.OptionParameterCapability)
		if list == nil {
			continue
		}
		for _, x := range list.Capability {
			switch x := x.(type) {
			case *bgp.CapFourOctetASNumber:
				c.asn = x.CapValue
			case *bgp.CapMultiProtocol:
				c.family = c.family || x.CapValue == family
			case *bgp.CapGracefulRestart:
				c.restarting, c.restartTime = x.Flags&0x8 != 0, x.Time
				for _, t := range x.Tuples {
					c.restart = c.restart || bgp.AfiSafiToRouteFamily(t.AFI, t.SAFI) == family
				}
			case *bgp.CapLongLivedGracefulRestart:
				for _, t := range x.Tuples {
					if bgp.AfiSafiToRouteFamily(t.AFI, t.SAFI) == family {
						c.staleTime = t.RestartTime
					}
				}
			}
		}
	}
	return c, nil
}

// preserve sets the forwarding-state bits in an OPEN message of ours, and the
// restart bit when restarting (RFC 4724 section 3, RFC 9494 section 3.1).
func preserve(m message, restarting bool) (err error) {
	defer recovered(&err)
	b := m.body()
	parameters := b[10 : 10+int(b[9])]
	for len(parameters) > 0 {
		kind, value := parameters[0], parameters[2:2+int(parameters[1])]
		parameters = parameters[2+int(parameters[1]):]
		for kind == bgp.BGP_OPT_CAPABILITY && len(value) > 0 {
			code, c := bgp.BGPCapabilityCode(value[0]), value[2:2+int(value[1])]
			value = value[2+int(value[1]):]
			switch code {
			case bgp.BGP_CAP_GRACEFUL_RESTART:
				if c[0] &^= 0x80; restarting {
					c[0] |= 0x80
				}
				for i := 5; i < len(c); i += 4 {
					c[i] |= 0x80
				}
			case bgp.BGP_CAP_LONG_LIVED_GRACEFUL_RESTART:
				for i := 3; i < len(c); i += 7 {
					c[i] |= 0x80
				}
			}
		}
	}
	return nil
}

// recovered makes an error of a panic: the decoders of GoBGP trust lengths
// that come from the network.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("malformed: %v", r)
	}
}

// errNotification explains a NOTIFICATION.
type errNotification struct {
	byLeaf        bool
	code, subcode byte
}

func (e errNotification) Error() string {
	who := "the controller ended it"
	if e.byLeaf {
		who = "the leaf ended it"
	}
	return fmt.Sprintf("%s: %s", who, bgp.NewNotificationErrorCode(e.code, e.subcode))
}

// notified returns the NOTIFICATION that ended a session, if one did.
func notified(err error) (n errNotification, ok bool) {
	ok = errors.As(err, &n)
	return n, ok
}
