package evpn

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	table "github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

const patience = 30 * time.Second

// world is a speaker with all that it told.
type world struct {
	*Speaker
	t    *testing.T
	stop func() // as kill -9 for the leaves: no NOTIFICATION

	mu     sync.Mutex
	routes map[string]map[table.RouteID]table.Route
	told   []Change
	alarms map[string]string // peer and reason to message
	raised int
	log    bytes.Buffer
}

func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

func start(t *testing.T, edit ...func(*Config)) *world {
	w := &world{t: t, routes: map[string]map[table.RouteID]table.Route{}, alarms: map[string]string{}}
	cfg := Config{ASN: 65000, RouterID: netip.MustParseAddr("192.0.2.250"), RestartTime: 100 * time.Second, StaleTime: time.Hour,
		Pause: time.Second, Logger: slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})), OnRoutes: w.onRoutes, OnAlarm: w.onAlarm}
	for _, e := range edit {
		e(&cfg)
	}
	w.Speaker = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		assert.ErrorIs(t, <-done, context.Canceled)
	})
	t.Cleanup(func() {
		w.stop()
		if t.Failed() {
			t.Log(w.log.String())
		}
	})
	return w
}

func (w *world) onRoutes(peer string, list []Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.routes[peer] == nil {
		w.routes[peer] = map[table.RouteID]table.Route{}
	}
	for _, c := range list {
		if c.Withdrawn {
			delete(w.routes[peer], c.ID())
		} else {
			w.routes[peer][c.ID()] = c.Route
		}
	}
	w.told = append(w.told, list...)
}

func (w *world) onAlarm(peer string, key southbound.AlarmKey, message string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if message == "" {
		delete(w.alarms, peer+" "+key.Reason)
		return
	}
	w.alarms[peer+" "+key.Reason] = message
	w.raised++
}

func (w *world) alarm(peer, reason string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.alarms[peer+" "+reason]
}

// has waits until a peer's routes are exactly these.
func (w *world) has(peer string, routes ...table.Route) {
	w.t.Helper()
	want := map[table.RouteID]table.Route{}
	for _, r := range routes {
		want[r.ID()] = r
	}
	w.until("routes of "+peer, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return maps.EqualFunc(w.routes[peer], want, func(a, b table.Route) bool { return same(&a, &b) })
	})
}

func (w *world) established(peer string) {
	w.t.Helper()
	w.until(peer+" established", func() bool { st, _ := w.Peer(peer); return st.State == stateEstablished })
}

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	require.Eventually(w.t, ok, patience, time.Millisecond, what)
}

// leaf is a BGP speaker that the test is.
type leaf struct {
	t    *testing.T
	l    *net.TCPListener
	conn *net.TCPConn
	r    *bufio.Reader

	ASN      uint32
	ID       netip.Addr
	Hold     uint16 // seconds
	Graceful bool
	Notifies bool // it keeps routes over an expired hold timer (RFC 8538)
	Family   bgp.RouteFamily
	open     message // the controller's
	opened   capabilities
}

func newLeaf(t *testing.T, asn uint32, id string) *leaf {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return &leaf{t: t, l: l, ASN: asn, ID: netip.MustParseAddr(id), Hold: 90, Graceful: true, Family: family}
}

func (l *leaf) peer(name string) Peer {
	return Peer{Name: name, Address: l.l.Addr().(*net.TCPAddr).AddrPort(), ASN: l.ASN}
}

// greeting is the leaf's OPEN message.
func (l *leaf) greeting(restarting bool) message {
	caps := []bgp.ParameterCapabilityInterface{bgp.NewCapMultiProtocol(l.Family), bgp.NewCapFourOctetASNumber(l.ASN), bgp.NewCapRouteRefresh()}
	if l.Graceful {
		caps = append(caps, bgp.NewCapGracefulRestart(restarting, l.Notifies, 100, []*bgp.CapGracefulRestartTuple{bgp.NewCapGracefulRestartTuple(family, true)}),
			bgp.NewCapLongLivedGracefulRestart([]*bgp.CapLongLivedGracefulRestartTuple{bgp.NewCapLongLivedGracefulRestartTuple(family, true, 1000)}))
	}
	b, err := bgp.NewBGPOpenMessage(uint16(l.ASN), l.Hold, l.ID.String(), []bgp.OptionParameterInterface{bgp.NewOptionParameterCapability(caps)}).Serialize()
	require.NoError(l.t, err)
	return b
}

// accept takes the controller's connection, greets and reads its OPEN.
func (l *leaf) accept(restarting bool) {
	l.t.Helper()
	require.NoError(l.t, l.l.SetDeadline(time.Now().Add(patience)))
	var err error
	l.conn, err = l.l.AcceptTCP()
	require.NoError(l.t, err)
	l.t.Cleanup(func() { l.conn.Close() })
	l.r = bufio.NewReader(l.conn)
	l.send(l.greeting(restarting))
	l.open = l.next()
	require.Equal(l.t, byte(bgp.BGP_MSG_OPEN), l.open.kind())
	l.opened, err = readOpen(l.open)
	require.NoError(l.t, err)
}

// up establishes the session.
func (l *leaf) up(restarting bool) {
	l.t.Helper()
	l.accept(restarting)
	l.send(keepalive())
	require.Equal(l.t, byte(bgp.BGP_MSG_KEEPALIVE), l.next().kind())
}

func (l *leaf) send(list ...[]byte) {
	l.t.Helper()
	_, err := l.conn.Write(bytes.Join(list, nil))
	require.NoError(l.t, err)
}

func (l *leaf) announce(routes ...table.Route) { l.t.Helper(); l.send(appendRoutes(nil, routes)) }

func (l *leaf) next() message {
	l.t.Helper()
	require.NoError(l.t, l.conn.SetReadDeadline(time.Now().Add(patience)))
	m, err := read(l.r)
	require.NoError(l.t, err)
	return m
}

// until reads UPDATEs up to End-of-RIB and returns what they say.
func (l *leaf) untilEndOfRIB() (list []Change) {
	l.t.Helper()
	for {
		switch m := l.next(); {
		case m.kind() == bgp.BGP_MSG_KEEPALIVE:
		case isEndOfRIB(m):
			return list
		default:
			require.Equal(l.t, byte(bgp.BGP_MSG_UPDATE), m.kind())
			u, err := parse(m)
			require.NoError(l.t, err)
			list = append(list, changes(u)...)
		}
	}
}

// update reads the next UPDATE.
func (l *leaf) update() *bgp.BGPUpdate {
	l.t.Helper()
	for {
		if m := l.next(); m.kind() == bgp.BGP_MSG_UPDATE {
			u, err := parse(m)
			require.NoError(l.t, err)
			return u
		}
	}
}

// notified reads up to the NOTIFICATION.
func (l *leaf) notified() (code, sub byte) {
	l.t.Helper()
	for {
		if m := l.next(); m.kind() == bgp.BGP_MSG_NOTIFICATION {
			return notification(m)
		}
	}
}

// closed reads up to the end of the connection, which must come without a
// NOTIFICATION.
func (l *leaf) closed() {
	l.t.Helper()
	require.NoError(l.t, l.conn.SetReadDeadline(time.Now().Add(patience)))
	for {
		m, err := read(l.r)
		if err != nil {
			require.NotContains(l.t, err.Error(), "timeout")
			return
		}
		require.NotEqual(l.t, byte(bgp.BGP_MSG_NOTIFICATION), m.kind())
	}
}

// preserved reports whether all forwarding-state bits of the controller's OPEN
// are set.
func (l *leaf) preserved() bool {
	p, err := bgp.ParseBGPMessage(l.open)
	require.NoError(l.t, err)
	seen := 0
	for _, o := range p.Body.(*bgp.BGPOpen).OptParams {
		for _, c := range o.(*bgp.OptionParameterCapability).Capability {
			switch c := c.(type) {
			case *bgp.CapGracefulRestart:
				for _, t := range c.Tuples {
					if t.Flags&0x80 == 0 {
						return false
					}
					seen++
				}
			case *bgp.CapLongLivedGracefulRestart:
				for _, t := range c.Tuples {
					if t.Flags&0x80 == 0 {
						return false
					}
					seen++
				}
			}
		}
	}
	return seen == 2
}

func keys(list []Change) (out []string) {
	for _, c := range list {
		s := c.RD.String() + " " + c.Type.String() + " " + c.MAC.String() + " " + c.IP.String()
		if c.Withdrawn {
			s = "withdrawn " + s
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// announced are the keys of routes, as keys has them of changes.
func announced(routes ...table.Route) []string {
	var list []Change
	for _, r := range routes {
		list = append(list, Change{Route: r})
	}
	return keys(list)
}

// loudly counts how often the log mentions something.
func (w *world) loudly(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(w.log.String(), what)
}

// ours is a route as a leaf originates it: with its own distinguisher.
func ours(l *leaf, r table.Route) table.Route {
	r.RD = table.RD{1: 1}
	copy(r.RD[2:], l.ID.AsSlice())
	binary.BigEndian.PutUint16(r.RD[6:], 2)
	r.VTEP = l.ID
	return r
}

// appendAttributes appends a route's path attributes with the given NLRI.
func appendAttributes(b []byte, r *table.Route, list []byte) []byte {
	hop := appendAddr([]byte{0, bgp.AFI_L2VPN, bgp.SAFI_EVPN, byte(r.VTEP.BitLen() / 8)}, r.VTEP)
	b = appendAttribute(b, flagsOptional, bgp.BGP_ATTR_TYPE_MP_REACH_NLRI, append(append(hop, 0), list...))
	return appendOthers(b, r, 0)
}

// appendRoutes appends the UPDATEs that announce routes. Neighbours in the
// list that are alike share one.
func appendRoutes(b []byte, routes []table.Route) []byte {
	var nlri [maxMessage]byte
	for len(routes) > 0 {
		first, n := &routes[0], 0
		list := nlri[:0]
		room := maxMessage - len(appendUpdate(nil, func(b []byte) []byte { return appendAttributes(b, first, nil) })) - mostNLRI
		for n < len(routes) && len(list) <= room && (n == 0 || alike(first, &routes[n])) {
			id := routes[n].ID()
			start := len(list)
			list = appendLabel2(appendNLRI(list, &id, routes[n].VNI, routes[n].Gateway), start, routes[n].L3VNI)
			n++
		}
		b = appendUpdate(b, func(b []byte) []byte { return appendAttributes(b, first, list) })
		routes = routes[n:]
	}
	return b
}

// appendWithdrawals appends the UPDATEs that withdraw routes.
func appendWithdrawals(b []byte, ids []table.RouteID) []byte {
	const room = maxMessage - headerLen - 4 - 4 - 3 - mostNLRI
	var nlri [maxMessage]byte
	for len(ids) > 0 {
		list, n := nlri[:0], 0
		for n < len(ids) && len(list) <= room {
			list = appendNLRI(list, &ids[n], 0, netip.Addr{})
			n++
		}
		b = appendWithdraw(b, list)
		ids = ids[n:]
	}
	return b
}

// refresh asks for all routes again (RFC 2918).
func refresh() []byte {
	return finish(append(appendHeader(nil, bgp.BGP_MSG_ROUTE_REFRESH), 0, bgp.AFI_L2VPN, 0, bgp.SAFI_EVPN), 0)
}

// isEndOfRIB recognises the marker.
func isEndOfRIB(m message) bool { return bytes.Equal(m, endOfRIB) }

// same reports whether two routes are the same in all.
func same(a, b *table.Route) bool {
	return alike(a, b) && a.VNI == b.VNI && a.Gateway == b.Gateway && a.Key == b.Key
}
