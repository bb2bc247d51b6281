package sim

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
)

// Farm is a set of simulated edges.
type Farm struct {
	edges        []*Edge
	arena        *arena
	ovsdb, flows net.Listener
	observer     atomic.Pointer[func(Commit)]
	wg           sync.WaitGroup

	// Sums over all edges.
	mods, bytes, bundles, dumps, transactions atomic.Int64
	ovsdbConns, flowConns                     atomic.Int64 // since the start
	tables                                    [tables]atomic.Int64
}

// tables is how many flow tables an edge has: more than the pipeline uses.
const tables = 96

// Start makes edges, which listen from now on.
func Start(edges int) (*Farm, error) {
	if edges < 1 || edges >= 1<<23 {
		return nil, fmt.Errorf("simulate %d edges: use 1 to %d", edges, 1<<23-1)
	}
	f := &Farm{arena: newArena()}
	for i := range edges {
		f.edges = append(f.edges, newEdge(f, i))
	}
	var err error
	if f.ovsdb, err = listen(); err != nil {
		return nil, err
	}
	if f.flows, err = listen(); err != nil {
		f.ovsdb.Close()
		return nil, err
	}
	f.wg.Go(func() { f.accept(f.ovsdb, (*Edge).serveOVSDB) })
	f.wg.Go(func() { f.accept(f.flows, (*Edge).serveOpenFlow) })
	return f, nil
}

// listen listens on all addresses of the loopback device, and on no other.
func listen() (net.Listener, error) {
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptString(int(fd), syscall.SOL_SOCKET, syscall.SO_BINDTODEVICE, "lo")
		}); e != nil {
			return e
		}
		return err
	}}
	l, err := c.Listen(context.Background(), "tcp4", "0.0.0.0:0")
	if err != nil {
		return nil, fmt.Errorf("listen for simulated edges: %w", err)
	}
	return l, nil
}

// addressOf is where an edge listens; indexOf is the way back.
func addressOf(i int) netip.Addr {
	b := binary.BigEndian.AppendUint32(nil, 127<<24+1<<16+uint32(i)+1)
	return netip.AddrFrom4([4]byte(b))
}

func indexOf(a netip.Addr) int {
	b := a.Unmap().As4()
	return int(binary.BigEndian.Uint32(b[:])) - (127<<24 + 1<<16 + 1)
}

// accept gives connections to the edges whose addresses they were made to.
func (f *Farm) accept(l net.Listener, serve func(*Edge, net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				continue
			}
			if f.closed(err) {
				return
			}
			time.Sleep(10 * time.Millisecond) // out of file descriptors: the dialler waits
			continue
		}
		i := indexOf(c.LocalAddr().(*net.TCPAddr).AddrPort().Addr())
		if i < 0 || i >= len(f.edges) || !f.edges[i].join(c) {
			c.Close()
			continue
		}
		e := f.edges[i]
		f.wg.Go(func() {
			defer e.leave(c)
			serve(e, c)
		})
	}
}

func (f *Farm) closed(err error) bool {
	op, ok := err.(*net.OpError)
	return ok && op.Err == net.ErrClosed || err == net.ErrClosed
}

// Close ends all edges and waits for them.
func (f *Farm) Close() {
	f.ovsdb.Close()
	f.flows.Close()
	for _, e := range f.edges {
		e.SetDown(true)
		e.Stick(false)
		e.Slow(0)
	}
	f.wg.Wait()
}

// Len is how many edges there are.
func (f *Farm) Len() int { return len(f.edges) }

// Edge returns one of them, from 0.
func (f *Farm) Edge(i int) *Edge { return f.edges[i] }

// VSwitch says how a controller reaches an edge.
func (f *Farm) VSwitch(i int) *intent.VSwitch {
	at := func(l net.Listener) string {
		return fmt.Sprintf("tcp:%s:%d", addressOf(i), l.Addr().(*net.TCPAddr).Port)
	}
	return &intent.VSwitch{OVSDB: at(f.ovsdb), OpenFlow: at(f.flows), Bridge: bridgeName, DatapathType: "dummy"}
}

// Commit is a bundle that an edge took.
type Commit struct {
	Edge int
	At   time.Time
	Mods []Mod
}

// Mod is a flow-mod of a bundle.
type Mod struct {
	Cookie uint64
	Table  uint8
	Delete bool
}

// Observe has f called for each bundle that an edge took, from many goroutines
// at once; nil ends it. The Commit must not be kept.
func (f *Farm) Observe(fn func(Commit)) {
	if fn == nil {
		f.observer.Store(nil)
		return
	}
	f.observer.Store(&fn)
}

// Totals are sums over all edges.
type Totals struct {
	FlowMods, Bytes, Bundles, Dumps, Transactions int64
	OVSDBConnects, OpenFlowConnects               int64
}

// Totals returns the sums since the start.
func (f *Farm) Totals() Totals {
	return Totals{FlowMods: f.mods.Load(), Bytes: f.bytes.Load(), Bundles: f.bundles.Load(), Dumps: f.dumps.Load(), Transactions: f.transactions.Load(),
		OVSDBConnects: f.ovsdbConns.Load(), OpenFlowConnects: f.flowConns.Load()}
}

// Flows is how many flows all edges have in a table together.
func (f *Farm) Flows(table uint8) int64 { return f.tables[table].Load() }
