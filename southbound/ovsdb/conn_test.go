package ovsdb

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ovn-org/libovsdb/database/inmemory"
	"github.com/ovn-org/libovsdb/model"
	"github.com/ovn-org/libovsdb/ovsdb"
	"github.com/ovn-org/libovsdb/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/southbound/ovsdb/vswitchdb"
	"go.uber.org/goleak"
)

// serve runs libovsdb's server with an Open_vSwitch database that has its root
// row, and returns where it listens.
func serve(t *testing.T) string {
	m, err := vswitchdb.FullDatabaseModel()
	require.NoError(t, err)
	schema := vswitchdb.Schema() // without references: else the server collects all rows as garbage
	for name, table := range schema.Tables {
		table.IsRoot = true
		schema.Tables[name] = table
	}
	dm, errs := model.NewDatabaseModel(schema, m)
	require.Empty(t, errs)
	s, err := server.NewOvsdbServer(inmemory.NewDatabase(map[string]model.ClientDBModel{"Open_vSwitch": m}), dm)
	require.NoError(t, err)
	path := t.TempDir() + "/db"
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve("unix", path) }()
	t.Cleanup(func() { s.Close(); <-done })
	require.Eventually(t, s.Ready, time.Minute, time.Millisecond)
	c := dial(t, "unix:"+path)
	defer c.Close()
	require.NoError(t, c.Transact(t.Context(), []ovsdb.Operation{{Op: ovsdb.OperationInsert, Table: vswitchdb.OpenvSwitchTable, Row: ovsdb.Row{"ovs_version": "3.1.0"}}}))
	return path
}

func dial(t *testing.T, endpoint string) *Conn {
	c, err := Dial(t.Context(), endpoint, "Open_vSwitch", map[string]model.Model{
		vswitchdb.OpenvSwitchTable: &vswitchdb.OpenvSwitch{}, vswitchdb.BridgeTable: &vswitchdb.Bridge{}})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// relay stands before a server and can fall silent, or hang up.
type relay struct {
	net.Listener
	silent atomic.Bool
	conns  chan net.Conn
}

func newRelay(t *testing.T, server string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	r := &relay{Listener: l, conns: make(chan net.Conn, 100)}
	go func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("unix", server)
			if err != nil {
				down.Close()
				continue
			}
			r.conns <- down
			go r.copy(up, down)
			go r.copy(down, up)
		}
	}()
	return r
}

func (r *relay) endpoint() string { return "tcp:" + r.Addr().String() }

func (r *relay) copy(to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if r.silent.Load() {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

func TestEndpoints(t *testing.T) {
	for _, e := range []string{"tcp:10.0.0.1:6640", "tcp:[fd00::1]:6640", "unix:/run/db.sock"} {
		assert.NoError(t, checkEndpoint(e), e)
	}
	for _, e := range []string{"", "tcp:", "tcp:10.0.0.1", "tcp:10.0.0.1:", "unix:", "unix:db.sock", "ssl:10.0.0.1:6640", "10.0.0.1:6640"} {
		assert.ErrorContains(t, checkEndpoint(e), "use tcp:ADDRESS:PORT or unix:/PATH", e)
	}
}

func TestDialFailures(t *testing.T) {
	t.Run("nobody listens", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		l.Close()
		_, err = Dial(t.Context(), "tcp:"+l.Addr().String(), "Open_vSwitch", map[string]model.Model{})
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.EqualError(t, err, "connection refused")
	})
	t.Run("no answer", func(t *testing.T) {
		r := newRelay(t, serve(t))
		r.silent.Store(true)
		_, err := Dial(t.Context(), r.endpoint(), "Open_vSwitch", map[string]model.Model{})
		require.ErrorIs(t, err, ErrSilent)
	})
	t.Run("hangs up", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		go func() {
			if c, err := l.Accept(); err == nil {
				c.Close()
			}
		}()
		_, err = Dial(t.Context(), "tcp:"+l.Addr().String(), "Open_vSwitch", map[string]model.Model{})
		require.Error(t, err)
	})
	t.Run("another database", func(t *testing.T) {
		_, err := Dial(t.Context(), "unix:"+serve(t), "hardware_vtep", map[string]model.Model{})
		require.EqualError(t, err, "target database hardware_vtep not found")
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Dial(ctx, "tcp:127.0.0.1:1", "Open_vSwitch", map[string]model.Model{})
		require.Error(t, err)
	})
}

// A server that falls silent without closing is noticed in a few seconds, and
// a transaction that waits for it ends then too.
func TestSilentServer(t *testing.T) {
	r := newRelay(t, serve(t))
	c := dial(t, r.endpoint())
	require.NoError(t, c.Err())
	r.silent.Store(true)
	began := time.Now()
	err := c.Transact(t.Context(), []ovsdb.Operation{{Op: ovsdb.OperationInsert, Table: vswitchdb.BridgeTable, Row: ovsdb.Row{"name": "x"}}})
	require.ErrorIs(t, err, ErrSilent)
	require.ErrorIs(t, c.Err(), ErrSilent)
	assert.Less(t, time.Since(began), echoEvery+echoTime+time.Second)
	<-c.Done()
}

func TestServerHangsUp(t *testing.T) {
	r := newRelay(t, serve(t))
	c := dial(t, r.endpoint())
	(<-r.conns).Close()
	select {
	case <-c.Done():
	case <-time.After(echoEvery - time.Second):
		t.Fatal("not noticed before it is asked whether it lives")
	}
	require.ErrorIs(t, c.Err(), ErrClosed)
	require.ErrorIs(t, c.Transact(t.Context(), []ovsdb.Operation{{Op: ovsdb.OperationInsert, Table: vswitchdb.BridgeTable, Row: ovsdb.Row{"name": "x"}}}), ErrClosed)
}

func TestRefusalHasTheServersWords(t *testing.T) {
	c := dial(t, "unix:"+serve(t))
	insert := []ovsdb.Operation{{Op: ovsdb.OperationInsert, Table: vswitchdb.BridgeTable, Row: ovsdb.Row{"name": "x"}}}
	require.NoError(t, c.Transact(t.Context(), insert))
	<-c.Changed()
	require.Len(t, table[vswitchdb.Bridge](c, vswitchdb.BridgeTable), 1, "our own row is there when the transaction returns")
	err := c.Transact(t.Context(), insert)
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "constraint violation")
	require.NoError(t, c.Err(), "a refusal does not end the connection")
}

// A session with a server that comes and goes ends without leaving anything.
func TestSessionLeavesNothing(t *testing.T) {
	path := serve(t)
	before := goleak.IgnoreCurrent()
	r := newRelay(t, path)
	v := NewVSwitch(VSwitchConfig{Name: "hv1", Endpoint: r.endpoint(), Bridge: "br-int", VTEP: netip.MustParseAddr("10.0.0.1"), Tunnel: "weft-vxlan"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	for range 3 {
		c := <-r.conns
		require.Eventually(t, func() bool { return v.State().Connected }, time.Minute, time.Millisecond)
		if !assert.Eventually(t, func() bool { return v.State().BridgeUUID != "" }, time.Minute, time.Millisecond) {
			t.Fatalf("%+v", v.State())
		}
		generation := v.State().Generation
		c.Close()
		require.Eventually(t, func() bool { return v.State().Generation > generation }, time.Minute, time.Millisecond)
	}
	st := v.State()
	require.Equal(t, "3.1.0", st.OVSVersion)
	require.False(t, st.BridgeReady, "there is no ovs-vswitchd")
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	r.Close()
	for len(r.conns) > 0 {
		(<-r.conns).Close()
	}
	goleak.VerifyNone(t, before)
}
