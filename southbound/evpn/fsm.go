package evpn

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/weft-sdn/weft/southbound"
)

// States of a session (RFC 4271 section 8.2.2).
const (
	stateIdle        = "Idle"
	stateConnect     = "Connect"
	stateOpenSent    = "OpenSent"
	stateOpenConfirm = "OpenConfirm"
	stateEstablished = "Established"
)

const (
	holdTime = 90 * time.Second // that is offered unless the peer says another (RFC 4271 section 10)
	openTime = 4 * time.Minute  // that the leaf may take for its OPEN (RFC 4271 section 8.2.2)
	// sendHoldTime is how long a leaf may take none of what is sent (RFC 9687).
	sendHoldTime = 8 * time.Minute
)

// errLeaf is the cause when the peer's connection ended.
var errLeaf = errors.New("the peer closed the connection")

// talk is one connection with the leaf, from OPEN on.
type talk struct {
	p      *session
	conn   *net.TCPConn
	in     *bufio.Reader
	buf    []byte
	wait   time.Duration // for a message; 0 for ever
	waits  time.Time     // when the read deadline was set
	reader *reader       // nil when the leaf is sent no routes
	caps   capabilities
	ending atomic.Bool // a NOTIFICATION goes out
}

// run speaks with the leaf until the session ends, and says why.
func (t *talk) run(ctx context.Context) error {
	// The connection ends with the controller: a NOTIFICATION would make the
	// leaf withdraw our routes.
	defer context.AfterFunc(ctx, func() { t.conn.Close() })()
	if err := t.greet(); err != nil {
		return err
	}
	t.p.established(t.caps)
	if t.caps.family {
		t.reader = t.p.s.rib.reader(t.p.source.id, t.caps.lasting)
		defer t.reader.close()
	}
	ctx, cancel := context.WithCancel(ctx)
	sent := make(chan error, 1)
	go func() {
		err := t.send(ctx)
		if err != nil && !t.ending.Load() {
			t.conn.Close()
		}
		sent <- err
	}()
	err := t.listen()
	cancel()
	t.conn.Close()
	if serr := <-sent; errors.Is(serr, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the peer has taken nothing for %s (RFC 9687): %w", t.p.s.sendHold, serr)
	}
	return err
}

// greet exchanges OPEN messages and the KEEPALIVE that confirms them.
func (t *talk) greet() error {
	p := t.p
	p.mu.Lock()
	restarting := !p.wasUp
	p.caps = capabilities{}
	p.mu.Unlock()
	ours := openMessage{asn: p.peer.localASN(), id: p.s.cfg.RouterID, hold: p.peer.hold(), restart: p.s.gr, restarting: restarting, lasts: p.s.cfg.Fabric}
	if err := t.write(net.Buffers{ours.encode()}); err != nil {
		return fmt.Errorf("%w: %w", errLeaf, err)
	}
	t.wait = openTime
	m, err := t.next()
	if err != nil {
		return err
	}
	if m.kind() != bgp.BGP_MSG_OPEN {
		return t.unexpected(m, bgp.BGP_ERROR_SUB_RECEIVE_UNEXPECTED_MESSAGE_IN_OPENSENT_STATE)
	}
	if err := t.opened(m); err != nil {
		return err
	}
	p.set(stateOpenConfirm)
	if err := t.write(net.Buffers{keepalive()}); err != nil {
		return fmt.Errorf("%w: %w", errLeaf, err)
	}
	if m, err = t.next(); err != nil {
		return err
	}
	if m.kind() != bgp.BGP_MSG_KEEPALIVE {
		return t.unexpected(m, bgp.BGP_ERROR_SUB_RECEIVE_UNEXPECTED_MESSAGE_IN_OPENCONFIRM_STATE)
	}
	return nil
}

// opened judges the leaf's OPEN (RFC 4271 section 6.2).
func (t *talk) opened(m message) error {
	p := t.p
	caps, err := readOpen(m)
	if err != nil {
		return t.refuse(bgp.BGP_ERROR_OPEN_MESSAGE_ERROR, 0, fmt.Errorf("the peer's OPEN message can't be read: %w", err))
	}
	p.mu.Lock()
	p.caps = caps
	p.mu.Unlock()
	refuse := func(sub byte, format string, args ...any) error {
		return t.refuse(bgp.BGP_ERROR_OPEN_MESSAGE_ERROR, sub, fmt.Errorf(format, args...))
	}
	switch {
	case caps.version != 4:
		return refuse(bgp.BGP_ERROR_SUB_UNSUPPORTED_VERSION_NUMBER, "the peer speaks BGP version %d", caps.version)
	case caps.asn != p.peer.ASN:
		return refuse(bgp.BGP_ERROR_SUB_BAD_PEER_AS, "AS %d", caps.asn)
	case !caps.id.IsValid() || caps.id.IsUnspecified():
		return refuse(bgp.BGP_ERROR_SUB_BAD_BGP_IDENTIFIER, "the peer has no BGP identifier")
	case caps.id == p.s.cfg.RouterID:
		return refuse(bgp.BGP_ERROR_SUB_BAD_BGP_IDENTIFIER, "the peer has the controller's BGP identifier, %s", caps.id)
	case caps.hold != 0 && caps.hold < 3*time.Second:
		return refuse(bgp.BGP_ERROR_SUB_UNACCEPTABLE_HOLD_TIME, "the peer wants a hold time of %s", caps.hold)
	case !caps.fourOctet: // its AS paths would have to be written anew
		return refuse(bgp.BGP_ERROR_SUB_UNSUPPORTED_CAPABILITY, "the peer speaks no four-octet AS numbers (RFC 6793)")
	}
	t.caps, t.wait = caps, min(caps.hold, p.peer.hold())
	t.waits = time.Time{} // the deadline in force is that for the OPEN
	return nil
}

// listen takes in what the leaf sends.
func (t *talk) listen() error {
	p := t.p
	in := intake{cluster: p.s.cfg.RouterID.As4(), originator: t.caps.id.As4(), lookup: p.s.rib.lookup, asn: p.peer.LocalASN}
	for {
		m, err := t.next()
		if err != nil {
			return err
		}
		switch m.kind() {
		case bgp.BGP_MSG_KEEPALIVE:
		case bgp.BGP_MSG_UPDATE:
			p.in.Add(1)
			if err = t.update(&in, m); err != nil {
				return err
			}
		case bgp.BGP_MSG_ROUTE_REFRESH: // RFC 2918
			if t.reader != nil && len(m) == headerLen+4 && evpn(append(m.body()[:2:2], m.body()[3])) {
				t.reader.again()
			}
		default:
			return t.unexpected(m, bgp.BGP_ERROR_SUB_RECEIVE_UNEXPECTED_MESSAGE_IN_ESTABLISHED_STATE)
		}
	}
}

func (t *talk) update(in *intake, m message) error {
	p := t.p
	u, err := in.read(m)
	if err != nil { // RFC 7606 section 3 (j): not even the routes are known
		p.malformed.Add(1)
		p.alarm(southbound.AlarmMalformed, fmt.Sprintf("an UPDATE could not be read, the session was ended (RFC 7606): %v", err))
		return t.refuse(bgp.BGP_ERROR_UPDATE_MESSAGE_ERROR, bgp.BGP_ERROR_SUB_MALFORMED_ATTRIBUTE_LIST, err)
	}
	if u.end {
		p.endOfRIB()
		return nil
	}
	if n := p.received(&u, t.more()); p.peer.MaxRoutes != 0 && n > int(p.peer.MaxRoutes) {
		return t.refuse(bgp.BGP_ERROR_CEASE, bgp.BGP_ERROR_SUB_MAXIMUM_NUMBER_OF_PREFIXES_REACHED, fmt.Errorf("%d routes", n))
	}
	return nil
}

// more reports whether the next message has come already, and is an UPDATE.
func (t *talk) more() bool {
	n := t.in.Buffered()
	if n < headerLen {
		return false
	}
	head, err := t.in.Peek(headerLen)
	return err == nil && head[18] == bgp.BGP_MSG_UPDATE && n >= int(binary.BigEndian.Uint16(head[16:]))
}

// next reads the next message, whose octets are good until the one after it.
func (t *talk) next() (message, error) {
	if now := time.Now(); t.wait == 0 {
		_ = t.conn.SetReadDeadline(time.Time{})
	} else if now.Sub(t.waits) > t.wait/30 || t.waits.IsZero() {
		t.waits = now
		_ = t.conn.SetReadDeadline(now.Add(t.wait))
	}
	m, err := readInto(t.in, t.buf)
	t.buf = m
	var bad errHeader
	switch {
	case errors.As(err, &bad):
		return nil, t.refuse(bgp.BGP_ERROR_MESSAGE_HEADER_ERROR, bad.subcode, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, t.refuse(bgp.BGP_ERROR_HOLD_TIMER_EXPIRED, 0, fmt.Errorf("nothing came from the peer for %s", t.wait))
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errLeaf, err)
	case m.kind() == bgp.BGP_MSG_NOTIFICATION:
		code, sub := notification(m)
		return nil, errNotification{byLeaf: true, code: code, subcode: sub}
	}
	return m, nil
}

// unexpected refuses a message that has no place in the state.
func (t *talk) unexpected(m message, sub byte) error {
	err := fmt.Errorf("the peer sent a message of type %d", m.kind())
	if m.kind() > bgp.BGP_MSG_ROUTE_REFRESH || m.kind() < bgp.BGP_MSG_OPEN {
		return t.refuse(bgp.BGP_ERROR_MESSAGE_HEADER_ERROR, bgp.BGP_ERROR_SUB_BAD_MESSAGE_TYPE, err)
	}
	return t.refuse(bgp.BGP_ERROR_FSM_ERROR, sub, err)
}

// refuse ends the session with a NOTIFICATION and returns why.
func (t *talk) refuse(code, sub byte, why error) error {
	t.ending.Store(true)
	t.p.bye(t.conn, code, sub, true)
	return fmt.Errorf("%w: %w", errNotification{code: code, subcode: sub}, why)
}

// write writes to the leaf.
func (t *talk) write(b net.Buffers) error {
	t.p.writing.Lock()
	defer t.p.writing.Unlock()
	if err := t.conn.SetWriteDeadline(time.Now().Add(t.p.s.sendHold)); err != nil {
		return err
	}
	_, err := b.WriteTo(t.conn)
	return err
}
