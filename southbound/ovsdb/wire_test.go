package ovsdb

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovn-org/libovsdb/ovsdb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/southbound/ovsdb/vswitchdb"
	"pgregory.net/rapid"
)

// peer is a server whose every word a test chooses.
type peer struct {
	t    testing.TB
	conn net.Conn
	in   *json.Decoder
}

// connectTo dials a peer that answers the first monitor request with rows.
func connectTo(t testing.TB, rows string) (*wire, *peer) {
	l, err := net.Listen("unix", t.TempDir()+"/db")
	require.NoError(t, err)
	defer l.Close()
	p := &peer{t: t}
	ready := make(chan error, 1)
	go func() {
		var err error
		if p.conn, err = l.Accept(); err == nil {
			p.in = json.NewDecoder(p.conn)
			p.answer(p.next(), rows)
		}
		ready <- err
	}()
	w, err := dialWire(t.Context(), "unix:"+l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, <-ready)
	t.Cleanup(func() { w.Close(); p.conn.Close() })
	return w, p
}

// next is the next request; echoes are answered and passed over.
func (p *peer) next() (m message) {
	for {
		if err := p.in.Decode(&m); err != nil || m.Method != "echo" {
			return m
		}
		p.answer(m, string(m.Params))
	}
}

func (p *peer) answer(m message, result string) {
	p.say(fmt.Sprintf(`{"id":%s,"result":%s,"error":null}`, m.ID, result))
}

func (p *peer) say(s string) {
	if _, err := io.WriteString(p.conn, s); err != nil {
		p.t.Logf("the connection is gone: %v", err)
	}
}

func (p *peer) update(rows string) {
	p.say(`{"id":null,"method":"update2","params":[null,` + rows + `]}`)
}

func (w *wire) iface(uuid string) vswitchdb.Interface {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := w.tables.iface[uuid]; i != nil {
		return *i.whole()
	}
	return vswitchdb.Interface{}
}

// Each kind of difference that ovsdb-server(7) tells of.
func TestUpdates(t *testing.T) {
	w, p := connectTo(t, `{"Interface":{"u1":{"initial":{"name":"v1","type":"dummy","ofport":["set",[]],"mtu":1500,`+
		`"external_ids":["map",[["iface-id","vm1"],["a","1"]]],"error":["set",[]]}}},`+
		`"Port":{"p1":{"initial":{"name":"v1","interfaces":["uuid","u1"]}}},`+
		`"Bridge":{"b1":{"initial":{"name":"br-int","ports":["set",[["uuid","p1"],["uuid","p2"]]],"fail_mode":"secure","protocols":"OpenFlow15"}}}}`)
	i := w.iface("u1")
	assert.Equal(t, "v1", i.Name)
	assert.Nil(t, i.Ofport)
	assert.Equal(t, 1500, value(i.MTU))
	assert.Equal(t, map[string]string{"iface-id": "vm1", "a": "1"}, i.ExternalIDs)
	b := w.tables.bridge["b1"]
	assert.Equal(t, []string{"p1", "p2"}, b.Ports)
	assert.Equal(t, []string{"OpenFlow15"}, b.Protocols)
	assert.Equal(t, []string{"u1"}, w.tables.port["p1"].Interfaces)
	<-w.Changed()

	p.update(`{"Interface":{"u1":{"modify":{"ofport":7,"error":"no \"device\" \u00e9","mtu":["set",[]],"external_ids":["map",[["a","1"],["iface-id","vm2"],["b","2"]]]}},` +
		`"u2":{"insert":{"name":"v2"}}},"Bridge":{"b1":{"modify":{"ports":["set",[["uuid","p1"],["uuid","p3"]]],"fail_mode":["set",[]]}}}}`)
	<-w.Changed()
	i = w.iface("u1")
	assert.Equal(t, 7, value(i.Ofport))
	assert.Equal(t, `no "device" é`, value(i.Error))
	assert.Nil(t, i.MTU)
	assert.Equal(t, "v1", i.Name, "what is not told of stays")
	assert.Equal(t, map[string]string{"iface-id": "vm2", "b": "2"}, i.ExternalIDs)
	assert.Equal(t, "v2", w.iface("u2").Name)
	now := w.tables.bridge["b1"]
	assert.Equal(t, []string{"p2", "p3"}, now.Ports)
	assert.Nil(t, now.FailMode)
	assert.Equal(t, []string{"p1", "p2"}, b.Ports, "a row that somebody read does not change")

	p.update(`{"Interface":{"u1":{"delete":null}}}`)
	<-w.Changed()
	assert.Empty(t, w.iface("u1").Name)
	require.NoError(t, w.Err())
}

// What a broken server says ends the connection, with a reason.
func TestBrokenServer(t *testing.T) {
	for name, says := range map[string]string{
		"no JSON":             `{"id":null,"method":}`,
		"no object":           `[1,2]`,
		"text":                `hello`,
		"a stray brace":       `}`,
		"an unknown row":      `{"id":null,"method":"update2","params":[null,{"Interface":{"u9":{"modify":{"ofport":7}}}}]}`,
		"nothing done":        `{"id":null,"method":"update2","params":[null,{"Interface":{"u1":{}}}]}`,
		"no rows":             `{"id":null,"method":"update2","params":[null]}`,
		"a number for a name": `{"id":null,"method":"update2","params":[null,{"Interface":{"u1":{"insert":{"name":7}}}}]}`,
		"a map of one":        `{"id":null,"method":"update2","params":[null,{"Interface":{"u1":{"insert":{"external_ids":["map",[["a"]]]}}}}]}`,
		"two port numbers":    `{"id":null,"method":"update2","params":[null,{"Interface":{"u1":{"insert":{"ofport":["set",[1,2]]}}}}]}`,
		"a foreign answer":    `{"id":"x","result":null,"error":null}`,
	} {
		t.Run(name, func(t *testing.T) {
			w, p := connectTo(t, `{}`)
			p.say(says)
			<-w.Done()
			require.ErrorIs(t, w.Err(), errMalformed)
		})
	}
}

// A server that goes away in the middle of a transaction, or of a word.
func TestClosedMidway(t *testing.T) {
	for name, last := range map[string]string{"at once": "", "in a word": `{"id":2,"resu`} {
		t.Run(name, func(t *testing.T) {
			w, p := connectTo(t, `{}`)
			go func() {
				p.next()
				p.say(last)
				p.conn.Close()
			}()
			err := w.Transact(t.Context(), []ovsdb.Operation{{Op: ovsdb.OperationComment}})
			require.ErrorIs(t, err, ErrClosed)
			require.ErrorIs(t, w.Err(), ErrClosed)
		})
	}
}

// The rows that a transaction changed are there when it returns, however the
// server cuts its words.
func TestRowsComeBeforeTheAnswer(t *testing.T) {
	w, p := connectTo(t, `{}`)
	go func() {
		m := p.next()
		all := `{"id":null,"method":"update2","params":[null,{"Interface":{"u1":{"insert":{"name":"}{\"]["}}}}]}` + "\n" + fmt.Sprintf(`{"id":%s,"result":[{"count":1}],"error":null}`, m.ID)
		for _, b := range []byte(all) {
			p.say(string([]byte{b}))
		}
	}()
	require.NoError(t, w.Transact(t.Context(), []ovsdb.Operation{{Op: ovsdb.OperationComment}}))
	assert.Equal(t, `}{"][`, w.iface("u1").Name)
}

// A change that comes in one write with the first rows is of those rows.
func TestUpdateRightAfterTheFirstRows(t *testing.T) {
	w, _ := connectTo(t, `{"Interface":{"u1":{"initial":{"name":"v1"}}}},"error":null}`+
		`{"id":null,"method":"update2","params":[null,{"Interface":{"u1":{"modify":{"ofport":7}}}}]}`+`{"id":null,"method":"locked","params":["x"],"result":null`)
	require.Eventually(t, func() bool { return value(w.iface("u1").Ofport) == 7 }, time.Minute, time.Millisecond)
	require.NoError(t, w.Err())
}

// A transaction whose results can't be read may have been made or not: only a
// new connection tells.
func TestUnreadableResults(t *testing.T) {
	w, p := connectTo(t, `{}`)
	go func() { p.answer(p.next(), `"yes"`) }()
	require.ErrorIs(t, w.Transact(t.Context(), nil), errMalformed)
	<-w.Done()
}

// A message without an end is not waited for.
func TestEndlessMessage(t *testing.T) {
	in := io.MultiReader(strings.NewReader(`{"id":"`), &endless{})
	_, err := frame(bufio.NewReaderSize(in, 1<<20), nil)
	require.ErrorIs(t, err, errMalformed)
}

type endless struct{}

func (*endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

// The server asks whether we live, too.
func TestEchoIsAnswered(t *testing.T) {
	_, p := connectTo(t, `{}`)
	p.say(`{"id":"echo","method":"echo","params":[1,"x"]}`)
	var m message
	for m.Result == nil {
		require.NoError(t, p.in.Decode(&m))
	}
	assert.JSONEq(t, `[1,"x"]`, string(m.Result))
	assert.JSONEq(t, `"echo"`, string(m.ID))
}

func TestRefusalWithoutResults(t *testing.T) {
	w, p := connectTo(t, `{}`)
	go func() {
		p.say(fmt.Sprintf(`{"id":%s,"result":null,"error":{"error":"unknown database","details":"no such thing"}}`, p.next().ID))
	}()
	require.EqualError(t, w.Transact(t.Context(), nil), "unknown database: no such thing")
	require.NoError(t, w.Err())
}

// interfaces are the rows of a hypervisor with n VMs, as ovs-vswitchd leaves
// them.
func interfaces(n int) string {
	var ifs, ports, refs []string
	for i := range n {
		u := func(k int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", k, i) }
		ifs = append(ifs, fmt.Sprintf(`%q:{"initial":{"name":"tap%d","type":"","options":["map",[]],"ofport":%d,"ofport_request":["set",[]],`+
			`"external_ids":["map",[["iface-id","tenant/vm%d"]]],"other_config":["map",[]],"error":["set",[]],"link_state":"up","admin_state":"up","mac_in_use":"02:00:00:00:%02x:%02x","mtu":1500}}`, u(1), i, i+1, i, i>>8&255, i&255))
		ports = append(ports, fmt.Sprintf(`%q:{"initial":{"name":"tap%d","interfaces":["uuid",%q],"external_ids":["map",[]]}}`, u(2), i, u(1)))
		refs = append(refs, fmt.Sprintf(`["uuid",%q]`, u(2)))
	}
	return `{"Interface":{` + strings.Join(ifs, ",") + `},"Port":{` + strings.Join(ports, ",") + `},"Bridge":{"b":{"initial":{"name":"br-int","ports":["set",[` + strings.Join(refs, ",") + `]]}}}}`
}

// A connection is small, and so is what it holds of an interface: there are ten
// thousand of the one and a million of the other.
func TestFootprint(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // what the pool had
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	rows, none := interfaces(1000), 50
	before := heap()
	empty := make([]*wire, none)
	for i := range empty {
		empty[i], _ = connectTo(t, `{}`)
	}
	each := (heap() - before) / int64(none)
	before = heap()
	w, _ := connectTo(t, rows)
	per := (heap() - before - each) / 1000
	t.Logf("%d bytes per connection with its test server, %d bytes per interface", each, per)
	require.Len(t, w.tables.iface, 1000)
	assert.Less(t, each, int64(60_000))
	assert.Less(t, per, int64(600))
	runtime.KeepAlive(empty)
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte(`{"a":[1,"}"]}{"b":{}}`))
	f.Add([]byte(" \n{\"a\":\"\\\"\"}x"))
	f.Add([]byte(`{]`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bufio.NewReaderSize(strings.NewReader(string(in)), 16)
		var all []byte
		for {
			msg, err := frame(r, nil)
			if err != nil {
				return
			}
			require.Contains(t, "}]", string(msg[len(msg)-1]))
			all = append(all, msg...)
			require.LessOrEqual(t, len(all), len(in))
		}
	})
}

// What encoding/json calls valid is cut exactly there.
func FuzzFrameCutsObjects(f *testing.F) {
	f.Add(`{"a":[1,"}"]}`, `{"b":"\\"}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, s := range []string{a, b} {
			if !json.Valid([]byte(s)) || !strings.HasPrefix(s, "{") || strings.TrimRight(s, " \t\r\n") != s {
				return
			}
		}
		r := bufio.NewReaderSize(strings.NewReader(a+b), 16)
		for _, want := range []string{a, b} {
			got, err := frame(r, nil)
			require.NoError(t, err)
			require.Equal(t, want, string(got))
		}
	})
}

// Whatever a server sends as rows is taken or refused, and never half of a row.
func FuzzRows(f *testing.F) {
	f.Add([]byte(interfaces(2)))
	f.Add([]byte(`{"Interface":{"u":{"insert":{"external_ids":["map",[["a","b"]]],"ofport":["set",[1]]}}}}`))
	f.Add([]byte(`{"Bridge":{"u":{"insert":{"ports":["set",[["named-uuid","x"],"y"]]}}}}`))
	f.Add([]byte(`{"Interface":{"00000001-0000-4000-8000-000000000000":{"modify":{"external_ids":["map",[["iface-id","x"]]]}}},"Bridge":{"b":{"modify":{"ports":["uuid","00000002-0000-4000-8000-000000000001"]}}}}`))
	var there updates
	require.NoError(f, json.Unmarshal([]byte(interfaces(2)), &there))
	f.Fuzz(func(t *testing.T, in []byte) {
		var u updates
		if json.Unmarshal(in, &u) != nil {
			return
		}
		var tab tables
		require.NoError(t, tab.apply(&there))
		if tab.apply(&u) == nil {
			_, _ = tab.rows(testConfig)
		}
	})
}

// BenchmarkInterfaceReport is one interface of a hypervisor with 100 that gets its
// port number.
func BenchmarkInterfaceReport(b *testing.B) {
	var w wire
	w.changed = make(chan struct{}, 1)
	require.NoError(b, w.load(json.RawMessage(interfaces(100))))
	on := []byte(`{"id":null,"method":"update2","params":[null,{"Interface":{"00000001-0000-4000-8000-000000000007":{"modify":{"ofport":8,"link_state":"up","mac_in_use":"02:00:00:00:00:08","mtu":1500}}}}]}`)
	b.ReportAllocs()
	for b.Loop() {
		if err := w.take(on); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFirstReading is a hypervisor with 100 interfaces that is read.
func BenchmarkFirstReading(b *testing.B) {
	rows := json.RawMessage(interfaces(100))
	b.ReportAllocs()
	for b.Loop() {
		w := wire{changed: make(chan struct{}, 1)}
		if err := w.load(rows); err != nil {
			b.Fatal(err)
		}
	}
}

// Dialling ends when nobody answers, and says what is wrong.
func TestWireDialFailures(t *testing.T) {
	_, err := dialWire(t.Context(), "tcp:127.0.0.1:1")
	require.EqualError(t, err, "connection refused")
	_, err = dialWire(t.Context(), "nonsense")
	require.ErrorContains(t, err, "use tcp:ADDRESS:PORT or unix:/PATH")
	r := newRelay(t, serve(t))
	r.silent.Store(true)
	began := time.Now()
	_, err = dialWire(t.Context(), r.endpoint())
	require.ErrorIs(t, err, ErrSilent)
	require.GreaterOrEqual(t, time.Since(began), connectTime/2)
}

// What is kept of an interface's external ids is what a map would have.
func TestAttributes(t *testing.T) {
	pair := rapid.SliceOfN(rapid.StringMatching("[abc]"), 2, 2)
	rapid.Check(t, func(t *rapid.T) {
		var a attributes
		var want map[string]string
		for range 10 {
			m := mapping{there: rapid.Bool().Draw(t, "there")}
			for _, p := range rapid.SliceOfN(pair, 0, 3).Draw(t, "pairs") {
				if !slices.ContainsFunc(m.kv, func(q [2]string) bool { return q[0] == p[0] }) {
					m.kv = append(m.kv, [2]string{p[0], p[1]})
				}
			}
			was := slices.Clone(a)
			before := a
			a = a.patch(&m)
			m.patch(&want)
			require.Equal(t, was, before, "what somebody read does not change")
			require.Equal(t, want, (&ifaceRow{ids: a}).whole().ExternalIDs)
			for _, k := range []string{"a", "b", "c"} {
				require.Equal(t, want[k], a.get(k))
			}
		}
	})
}
