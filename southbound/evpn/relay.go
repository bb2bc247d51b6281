package evpn

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	table "github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// relay passes messages between a leaf and GoBGP.
type relay struct {
	p           *session
	leaf, gobgp *net.TCPConn
	fromLeaf    *bufio.Reader
	fromGoBGP   *bufio.Reader

	confirmed atomic.Int32 // KEEPALIVE came from one side, or both
}

// connect connects to GoBGP on behalf of a leaf that is connected, and passes
// GoBGP's OPEN to it. For some seconds after a session GoBGP does not take the
// next (RFC 4271 section 8.1.1, IdleHoldTime).
func (p *session) connect(ctx context.Context, leaf *net.TCPConn) (*relay, error) {
	give := time.Now().Add(4 * dialTimeout)
	// Nor do leaves; one that closes the connection at once is better tried
	// again than told to GoBGP. One that is silent waits for our OPEN.
	in := bufio.NewReaderSize(leaf, 1<<16)
	if err := leaf.SetReadDeadline(time.Now().Add(retryTime)); err != nil {
		return nil, err
	}
	if _, err := in.Peek(1); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, fmt.Errorf("%w: %w", errLeaf, err)
	}
	if err := leaf.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	for {
		r, err := p.greet(ctx, leaf, in)
		if err == nil || ctx.Err() != nil || time.Now().After(give) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(retryTime / 5):
		}
	}
}

func (p *session) greet(ctx context.Context, leaf *net.TCPConn, in *bufio.Reader) (*relay, error) {
	c, err := dial(ctx, p.addr, p.s.listen, p.s.key)
	if err != nil {
		return nil, fmt.Errorf("connect to GoBGP: %w", err)
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	r := &relay{p: p, leaf: leaf, gobgp: c, fromLeaf: in, fromGoBGP: bufio.NewReaderSize(c, 1<<16)}
	if err = c.SetReadDeadline(time.Now().Add(dialTimeout)); err == nil {
		var open message
		if open, err = read(r.fromGoBGP); err == nil && open.kind() == bgp.BGP_MSG_OPEN {
			p.mu.Lock()
			restarting := !p.wasUp
			p.caps = capabilities{}
			p.mu.Unlock()
			if err = preserve(open, restarting); err == nil {
				if _, err = leaf.Write(open); err == nil {
					return r, c.SetReadDeadline(time.Time{})
				}
			}
		}
	}
	c.Close()
	return nil, fmt.Errorf("GoBGP is not ready: %w", err)
}

// run passes messages on until one side is gone, and says why.
func (r *relay) run(ctx context.Context) error {
	// Both connections end with the controller, the leaf's first: a
	// NOTIFICATION of GoBGP's would make it withdraw our routes.
	defer context.AfterFunc(ctx, func() { r.leaf.Close(); r.gobgp.Close() })()
	down := make(chan error, 1)
	go func() {
		down <- r.down()
		r.leaf.Close()
	}()
	up := r.up()
	if n, ok := notified(up); ok {
		r.leaf.Close()
		r.gobgp.Close()
		<-down
		return n
	}
	// GoBGP may have ended it and is heard to the end: its NOTIFICATION says
	// why.
	_ = r.gobgp.CloseWrite()
	_ = r.gobgp.SetReadDeadline(time.Now().Add(retryTime))
	err := <-down
	r.gobgp.Close()
	if n, ok := notified(err); ok {
		return n
	}
	return up
}

// errLeaf is the cause when the leaf's connection ended.
var errLeaf = errors.New("the leaf closed the connection")

// pace is how long GoBGP is left alone after an UPDATE. It writes each route for
// itself; to wake for each would cost more than all else here.
const pace = time.Millisecond

// down passes what GoBGP sends.
func (r *relay) down() error {
	w := bufio.NewWriterSize(r.leaf, 1<<16)
	flush := func() error {
		r.p.writing.Lock()
		defer r.p.writing.Unlock()
		return w.Flush()
	}
	accepted := false
	for {
		m, err := read(r.fromGoBGP)
		if err != nil {
			return err
		}
		if m.kind() == bgp.BGP_MSG_UPDATE {
			r.p.out.Add(1)
		}
		if m.kind() == bgp.BGP_MSG_KEEPALIVE && !accepted {
			accepted = true
			r.confirm()
		}
		if w.Available() < len(m) {
			err = flush()
		}
		_, _ = w.Write(m) // it fits
		if m.kind() == bgp.BGP_MSG_NOTIFICATION {
			err = errors.Join(flush(), err)
			code, sub := notification(m)
			return errors.Join(errNotification{code: code, subcode: sub}, err)
		}
		if err == nil && r.fromGoBGP.Buffered() < headerLen {
			if err = flush(); m.kind() == bgp.BGP_MSG_UPDATE {
				time.Sleep(pace)
			}
		}
		if err != nil {
			return err
		}
	}
}

// up passes what the leaf sends.
func (r *relay) up() error {
	w := bufio.NewWriterSize(r.gobgp, 1<<16)
	open := false
	for {
		m, err := read(r.fromLeaf)
		if err != nil {
			return fmt.Errorf("%w: %w", errLeaf, err)
		}
		ends := false
		switch m.kind() {
		case bgp.BGP_MSG_OPEN:
			err = r.opened(m)
			open = err == nil
		case bgp.BGP_MSG_KEEPALIVE:
			if open {
				open = false
				r.confirm()
			}
		case bgp.BGP_MSG_UPDATE:
			r.p.in.Add(1)
			if ends = bytes.Equal(m, endOfRIB) || isEndOfRIB(m); !ends {
				m, err = r.update(m)
			}
		case bgp.BGP_MSG_NOTIFICATION:
			code, sub := notification(m)
			err = errNotification{byLeaf: true, code: code, subcode: sub}
		case bgp.BGP_MSG_ROUTE_REFRESH:
			if len(m) != headerLen+4 {
				m = nil
			}
		default:
			err = fmt.Errorf("the leaf sent a message of type %d", m.kind())
		}
		if err == nil || len(m) > 0 && m.kind() == bgp.BGP_MSG_NOTIFICATION {
			_, werr := w.Write(m)
			if ends || err != nil || r.fromLeaf.Buffered() < headerLen {
				werr = errors.Join(werr, w.Flush())
			}
			if err == nil && werr != nil {
				err = fmt.Errorf("GoBGP closed the connection: %w", werr)
			}
		}
		if err != nil {
			return err
		}
		if ends { // GoBGP has it first
			r.p.endOfRIB()
		}
	}
}

// confirm is called once for each side that accepted the other's OPEN. Neither
// has sent a route yet then.
func (r *relay) confirm() {
	if r.confirmed.Add(1) == 2 {
		r.p.established()
	}
}

// opened notes what the leaf's OPEN says.
func (r *relay) opened(m message) error {
	caps, err := readOpen(m)
	if err != nil {
		return fmt.Errorf("the leaf's OPEN message can't be read: %w", err)
	}
	r.p.mu.Lock()
	r.p.caps = caps
	r.p.mu.Unlock()
	r.p.set(stateOpenConfirm)
	return nil
}

// update reads an UPDATE and returns what GoBGP may see of it.
func (r *relay) update(m message) (message, error) {
	u, err := mend(m)
	if err != nil { // RFC 7606 section 3 (j): not even the routes are known
		r.p.malformed.Add(1)
		code, sub := byte(bgp.BGP_ERROR_UPDATE_MESSAGE_ERROR), byte(bgp.BGP_ERROR_SUB_MALFORMED_ATTRIBUTE_LIST)
		m = notificationOf(code, sub)
		r.p.writing.Lock()
		_, _ = r.leaf.Write(m)
		r.p.writing.Unlock()
		r.p.alarm(southbound.AlarmMalformed, fmt.Sprintf("an UPDATE could not be read, the session was ended (RFC 7606): %v", err))
		return m, fmt.Errorf("%w: %w", errNotification{code: code, subcode: sub}, err)
	}
	wire, err := r.admitted(u)
	r.p.received(u)
	return wire, err
}

// admitted returns what of an UPDATE may be handed on; what may not is withdrawn,
// since it may have been handed on before.
func (r *relay) admitted(u update) (message, error) {
	admit := r.p.s.cfg.Admit
	if admit == nil || u.body == nil {
		return u.wire, nil
	}
	refused := map[table.RouteID]bool{}
	for _, c := range changes(u.body) {
		if !c.Withdrawn && !admit(r.p.peer.Name, &c.Route) {
			refused[c.ID()] = true
		}
	}
	if len(refused) == 0 {
		return u.wire, nil
	}
	return u.wire.without(refused)
}

// isEndOfRIB recognises the marker whatever flags its attribute has.
func isEndOfRIB(m message) bool {
	list, err := split(m.body())
	return err == nil && len(list) == 1 && list[0].kind == bgp.BGP_ATTR_TYPE_MP_UNREACH_NLRI && len(list[0].value) == 3 && evpn(list[0].value)
}
