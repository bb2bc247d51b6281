package evpn

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	table "github.com/weft-sdn/weft/overlay/evpn"
)

const (
	originHold   = 65535 // seconds: nothing but the process's end ends the session
	originRouter = "127.64.0.1"
)

// origin is GoBGP's client from which our own routes come.
type origin struct {
	conn *net.TCPConn
	in   *bufio.Reader

	mu   sync.Mutex // guards the rest, and writing
	buf  []byte
	own  map[table.RouteID]struct{}
	done bool // End-of-RIB was sent
}

// openOrigin establishes the session. For a moment after it was told of a peer
// GoBGP takes no connection.
func openOrigin(ctx context.Context, to netip.AddrPort, key string, asn uint32) (*origin, error) {
	give := time.Now().Add(dialTimeout)
	for {
		o, err := tryOrigin(ctx, to, key, asn)
		if err == nil || ctx.Err() != nil || time.Now().After(give) {
			return o, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func tryOrigin(ctx context.Context, to netip.AddrPort, key string, asn uint32) (*origin, error) {
	c, err := dial(ctx, netip.MustParseAddr(originRouter), to, key)
	if err != nil {
		return nil, fmt.Errorf("connect to GoBGP (does the kernel have TCP-MD5, and is the program built with multipathtcp=0?): %w", err)
	}
	o := &origin{conn: c, in: bufio.NewReaderSize(c, 1<<16), own: map[table.RouteID]struct{}{}}
	fail := func(err error) (*origin, error) {
		c.Close()
		return nil, fmt.Errorf("session with GoBGP: %w", err)
	}
	if err := c.SetDeadline(time.Now().Add(2 * dialTimeout)); err != nil {
		return fail(err)
	}
	if _, err := c.Write(append(originOpen(asn), keepalive()...)); err != nil {
		return fail(err)
	}
	for {
		m, err := read(o.in)
		if err != nil {
			return fail(err)
		}
		switch m.kind() {
		case bgp.BGP_MSG_NOTIFICATION:
			code, sub := notification(m)
			return fail(errNotification{code: code, subcode: sub})
		case bgp.BGP_MSG_KEEPALIVE:
			return o, c.SetDeadline(time.Time{})
		}
	}
}

// originOpen is the OPEN message of origin: l2vpn-evpn, four-octet AS numbers,
// graceful restart (so that its End-of-RIB is waited for) and long-lived
// graceful restart (so that stale routes need not be withdrawn from it).
func originOpen(asn uint32) []byte {
	b := appendHeader(nil, bgp.BGP_MSG_OPEN)
	two := uint16(bgp.AS_TRANS)
	if asn <= 0xffff {
		two = uint16(asn)
	}
	b = binary.BigEndian.AppendUint16(append(b, 4), two)
	b = binary.BigEndian.AppendUint16(b, originHold)
	b = appendAddr(b, netip.MustParseAddr(originRouter))
	c := []byte{
		byte(bgp.BGP_CAP_MULTIPROTOCOL), 4, 0, bgp.AFI_L2VPN, 0, bgp.SAFI_EVPN,
		byte(bgp.BGP_CAP_GRACEFUL_RESTART), 6, 0, 0, 0, bgp.AFI_L2VPN, bgp.SAFI_EVPN, 0,
		byte(bgp.BGP_CAP_LONG_LIVED_GRACEFUL_RESTART), 7, 0, bgp.AFI_L2VPN, bgp.SAFI_EVPN, 0, 0, 0, 0,
		byte(bgp.BGP_CAP_FOUR_OCTET_AS_NUMBER), 4,
	}
	c = binary.BigEndian.AppendUint32(c, asn)
	b = append(b, byte(2+len(c)), bgp.BGP_OPT_CAPABILITY, byte(len(c)))
	return finish(append(b, c...), 0)
}

// run reads what GoBGP reflects, which is not used, until the session ends.
func (o *origin) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { o.conn.Close() })()
	go func() {
		wake := time.NewTicker(originHold / 3 * time.Second)
		defer wake.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-wake.C:
				_ = o.write(func(b []byte) []byte { return append(b, keepalive()...) })
			}
		}
	}()
	for {
		m, err := read(o.in)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && m.kind() == bgp.BGP_MSG_NOTIFICATION {
			code, sub := notification(m)
			err = errNotification{code: code, subcode: sub}
		}
		if err != nil {
			return fmt.Errorf("session with GoBGP: %w", err)
		}
	}
}

// write sends what fill appends.
func (o *origin) write(fill func([]byte) []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.send(fill)
}

func (o *origin) send(fill func([]byte) []byte) error {
	o.buf = fill(o.buf[:0])
	_, err := o.conn.Write(o.buf)
	if cap(o.buf) > 1<<22 {
		o.buf = nil
	}
	return err
}

// batch is how many routes are put into words at a time.
const batch = 4096

// announce sends routes and withdrawals; the routes first, so that what moves
// under another distinguisher is never gone.
func (o *origin) announce(add []table.Route, withdraw []table.RouteID) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(add) > 0 {
		n := min(batch, len(add))
		for i := range add[:n] {
			o.own[add[i].ID()] = struct{}{}
		}
		if err := o.send(func(b []byte) []byte { return appendRoutes(b, add[:n]) }); err != nil {
			return err
		}
		add = add[n:]
	}
	for len(withdraw) > 0 {
		n := min(batch, len(withdraw))
		for _, id := range withdraw[:n] {
			delete(o.own, id)
		}
		if err := o.send(func(b []byte) []byte { return appendWithdrawals(b, withdraw[:n]) }); err != nil {
			return err
		}
		withdraw = withdraw[n:]
	}
	return nil
}

// finish sends End-of-RIB, once: it ends GoBGP's restart.
func (o *origin) finish() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done {
		return nil
	}
	o.done = true
	return o.send(func(b []byte) []byte { return append(b, endOfRIB...) })
}

func (o *origin) finished() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.done
}

// count is the number of routes announced.
func (o *origin) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.own)
}
