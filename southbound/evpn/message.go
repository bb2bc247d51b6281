package evpn

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

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

// notificationOf is a NOTIFICATION message without data.
func notificationOf(code, subcode byte) []byte {
	return finish(append(appendHeader(nil, bgp.BGP_MSG_NOTIFICATION), code, subcode), 0)
}

// message is one BGP message with its header.
type message []byte

func (m message) kind() byte   { return m[18] }
func (m message) body() []byte { return m[headerLen:] }

// errHeader is the cause when a message's header can't be read (RFC 4271 section
// 6.1).
type errHeader struct {
	subcode byte
	head    [headerLen]byte
}

func (e errHeader) Error() string { return fmt.Sprintf("what came is no BGP message: % x", e.head) }

// read reads one message.
func read(r *bufio.Reader) (message, error) { return readInto(r, nil) }

// readInto reads one message into the octets of buf, if they are enough.
func readInto(r *bufio.Reader, buf []byte) (message, error) {
	head, err := r.Peek(headerLen)
	if err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(head[16:]))
	if !bytes.Equal(head[:16], marker) {
		return nil, errHeader{bgp.BGP_ERROR_SUB_CONNECTION_NOT_SYNCHRONIZED, [headerLen]byte(head)}
	}
	if n < headerLen || n > maxMessage || head[18] == bgp.BGP_MSG_KEEPALIVE && n != headerLen {
		return nil, errHeader{bgp.BGP_ERROR_SUB_BAD_MESSAGE_LENGTH, [headerLen]byte(head)}
	}
	if cap(buf) < n {
		buf = make([]byte, maxMessage)
	}
	m := message(buf[:n])
	_, err = io.ReadFull(r, m)
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
	version     byte
	hold        time.Duration
	asn         uint32
	id          netip.Addr
	family      bool   // l2vpn-evpn
	restart     bool   // keeps EVPN routes over a restart (RFC 4724)
	restarting  bool   // has just restarted
	lasts       bool   // keeps them when the hold timer expires, too (RFC 8538)
	restartTime uint16 // seconds
	lasting     bool   // and as a last resort (RFC 9494)
	staleTime   uint32 // for so many seconds
	fourOctet   bool   // four-octet AS numbers (RFC 6793)
}

// readOpen reads an OPEN message.
func readOpen(m message) (c capabilities, err error) {
	defer recovered(&err)
	p, err := bgp.ParseBGPBody(&bgp.BGPHeader{Len: uint16(len(m)), Type: m.kind()}, m.body())
	if err != nil {
		return c, err
	}
	open := p.Body.(*bgp.BGPOpen)
	c.version, c.hold, c.asn = open.Version, time.Duration(open.HoldTime)*time.Second, uint32(open.MyAS)
	c.id, _ = netip.AddrFromSlice(open.ID.To4())
	for _, o := range open.OptParams {
		list, _ := o.(*bgp.OptionParameterCapability)
		if list == nil {
			continue
		}
		for _, x := range list.Capability {
			switch x := x.(type) {
			case *bgp.CapFourOctetASNumber:
				c.asn, c.fourOctet = x.CapValue, true
			case *bgp.CapMultiProtocol:
				c.family = c.family || x.CapValue == family
			case *bgp.CapGracefulRestart:
				c.restarting, c.lasts, c.restartTime = x.Flags&0x8 != 0, x.Flags&0x4 != 0, x.Time
				for _, t := range x.Tuples {
					c.restart = c.restart || bgp.AfiSafiToRouteFamily(t.AFI, t.SAFI) == family
				}
			case *bgp.CapLongLivedGracefulRestart:
				for _, t := range x.Tuples {
					if bgp.AfiSafiToRouteFamily(t.AFI, t.SAFI) == family {
						c.lasting, c.staleTime = true, t.RestartTime
					}
				}
			}
		}
	}
	return c, nil
}

// openMessage is an OPEN message of ours: l2vpn-evpn, route refresh, four-octet
// AS numbers, graceful restart and, with a stale time, long-lived graceful
// restart. The forwarding-state bits are always set (RFC 4724 section 3, RFC
// 9494 section 3.1), since no packet passes through the controller.
type openMessage struct {
	asn        uint32
	id         netip.Addr
	hold       time.Duration
	restart    restart
	restarting bool // the speaker has just started
	lasts      bool // routes outlive an expired hold timer, too (RFC 8538)
}

func (o openMessage) encode() []byte {
	two := uint16(bgp.AS_TRANS)
	if o.asn <= 0xffff {
		two = uint16(o.asn)
	}
	b := append(appendHeader(nil, bgp.BGP_MSG_OPEN), 4)
	b = binary.BigEndian.AppendUint16(b, two)
	b = binary.BigEndian.AppendUint16(b, uint16(o.hold/time.Second))
	b = appendAddr(b, o.id)
	flags := uint32(0)
	if o.restarting {
		flags = 0x8000
	}
	if o.lasts {
		flags |= 0x4000
	}
	const forwards = 0x80
	c := []byte{
		byte(bgp.BGP_CAP_MULTIPROTOCOL), 4, 0, bgp.AFI_L2VPN, 0, bgp.SAFI_EVPN,
		byte(bgp.BGP_CAP_ROUTE_REFRESH), 0,
		byte(bgp.BGP_CAP_FOUR_OCTET_AS_NUMBER), 4,
	}
	c = binary.BigEndian.AppendUint32(c, o.asn)
	c = append(c, byte(bgp.BGP_CAP_GRACEFUL_RESTART), 6)
	c = binary.BigEndian.AppendUint16(c, uint16(flags|o.restart.restartSeconds()))
	c = append(c, 0, bgp.AFI_L2VPN, bgp.SAFI_EVPN, forwards)
	if o.restart.StaleTime > 0 {
		c = append(c, byte(bgp.BGP_CAP_LONG_LIVED_GRACEFUL_RESTART), 7)
		c = binary.BigEndian.AppendUint32(append(c, 0, bgp.AFI_L2VPN, bgp.SAFI_EVPN), forwards<<24|o.restart.staleSeconds())
	}
	b = append(b, byte(2+len(c)), bgp.BGP_OPT_CAPABILITY, byte(len(c)))
	return finish(append(b, c...), 0)
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
		who = "the peer ended it"
	}
	return fmt.Sprintf("%s: %s", who, bgp.NewNotificationErrorCode(e.code, e.subcode))
}

// notified returns the NOTIFICATION that ended a session, if one did.
func notified(err error) (n errNotification, ok bool) {
	ok = errors.As(err, &n)
	return n, ok
}
