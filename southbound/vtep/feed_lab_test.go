//go:build lab

package vtep

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// tables are what all feeds of a test read.
type tables struct {
	mu         sync.Mutex
	segments   map[intent.VNI]*evpn.Segment
	unreported map[netip.Addr]struct{}
	feeds      []*feed
}

func newTables() *tables {
	return &tables{segments: map[intent.VNI]*evpn.Segment{}, unreported: map[netip.Addr]struct{}{}}
}

// change changes the tables and wakes all drivers.
func (s *tables) change(f func()) {
	s.mu.Lock()
	f()
	feeds := slices.Clone(s.feeds)
	s.mu.Unlock()
	for _, f := range feeds {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

func (s *tables) segment(v intent.VNI) *evpn.Segment {
	if s.segments[v] == nil {
		s.segments[v] = &evpn.Segment{}
	}
	return s.segments[v]
}

// set states routes; each path's source is the VTEP.
func (s *tables) set(v intent.VNI, rows ...evpn.Row) {
	s.change(func() {
		for _, r := range rows {
			r.Source = "test"
			s.segment(v).Set(r.Key, r.Path)
		}
	})
}

func (s *tables) withdraw(v intent.VNI, k evpn.Key) {
	s.change(func() { s.segment(v).Withdraw(k, "test") })
}

// feed is what one driver reads and tells.
type feed struct {
	*tables
	wake      chan struct{}
	local     map[intent.Ref]overlay.LocalPort
	ifaces    []overlay.Interface
	told      map[overlay.Learned]bool
	active    map[southbound.AlarmKey]string
	events    []southbound.Event
	confirmed int
}

func (f *feed) Wake() <-chan struct{} { return f.wake }

func (f *feed) Local() map[intent.Ref]overlay.LocalPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.local)
}

func (f *feed) Rows(v intent.VNI, since evpn.Revision) ([]evpn.Row, evpn.Revision) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.segment(v)
	return slices.Collect(s.Changes(since)), s.Rev()
}

// Behind is not asked by this driver.
func (f *feed) Behind(map[intent.VNI]evpn.Revision) (uint64, []intent.VNI) { return 0, nil }

func (f *feed) Colouring() *overlay.Colouring { return nil }
func (f *feed) Unreported(bool) overlay.Away {
	f.mu.Lock()
	defer f.mu.Unlock()
	return overlay.AwayVTEPs(slices.Collect(maps.Keys(f.unreported))...)
}

func (f *feed) Observe(i []overlay.Interface) { f.locked(func() { f.ifaces = i }) }

func (f *feed) Learned(all []overlay.Learned) {
	f.locked(func() {
		f.told = map[overlay.Learned]bool{}
		for _, l := range all {
			f.told[l] = true
		}
	})
}

func (f *feed) Announced(string) {}

func (f *feed) Alarm(k southbound.AlarmKey, m string) {
	f.locked(func() {
		if m == "" {
			delete(f.active, k)
		} else {
			f.active[k] = m
		}
	})
}

func (f *feed) Confirmed() { f.locked(func() { f.confirmed++ }) }

func (f *feed) Event(e southbound.Event) { f.locked(func() { f.events = append(f.events, e) }) }

func (f *feed) locked(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// said are the messages of events with a reason.
func (f *feed) said(reason string) (out []string) {
	f.locked(func() {
		for _, e := range f.events {
			if e.Reason == reason {
				out = append(out, e.Message)
			}
		}
	})
	return out
}

// saidOnce waits until an event with a reason has come, and wants no other: it comes after
// what it tells of is confirmed, or is in the database.
func (f *feed) saidOnce(t *testing.T, reason string) string {
	t.Helper()
	require.Eventually(t, func() bool { return len(f.said(reason)) > 0 }, patience, time.Millisecond, reason)
	said := f.said(reason)
	require.Len(t, said, 1)
	return said[0]
}

func (f *feed) raised(reason, object string) (m string) {
	f.locked(func() { m = f.active[southbound.AlarmKey{Reason: reason, Object: object}] })
	return m
}

func (f *feed) plug(name, iface string, vlan uint16, v intent.VNI) {
	f.change(func() {
		f.local[port(name)] = overlay.LocalPort{Port: port(name), VNI: v, Interface: iface, VLAN: vlan, OFPort: 1}
	})
}

func (f *feed) unplug(names ...string) {
	f.change(func() {
		for _, n := range names {
			delete(f.local, port(n))
		}
	})
}

// server is a bare ovsdb-server with the schema. It needs no root.
type server struct {
	t    *testing.T
	dir  string
	proc *exec.Cmd
}

func newServer(t *testing.T, schema string) *server {
	dir, err := os.MkdirTemp("", "weft-vtep") // t.TempDir is too long for a socket's path
	require.NoError(t, err)
	s := &server{t: t, dir: dir}
	t.Cleanup(func() { s.stop(); os.RemoveAll(dir) })
	s.run("ovsdb-tool", "create", dir+"/vtep.db", schema)
	s.start()
	return s
}

const schemaFile = "/usr/share/openvswitch/vtep.ovsschema"

func (s *server) db() string { return "unix:" + s.dir + "/db.sock" }

func (s *server) start() {
	os.Remove(s.dir + "/db.sock")
	s.proc = exec.Command("ovsdb-server", s.dir+"/vtep.db", "--remote=punix:"+s.dir+"/db.sock", "--unixctl="+s.dir+"/ctl")
	require.NoError(s.t, s.proc.Start(), "install openvswitch-switch")
	s.eventually("ovsdb-server answers", func() bool { return exec.Command("ovsdb-client", "list-dbs", s.db()).Run() == nil })
}

func (s *server) stop() {
	if s.proc != nil {
		_ = s.proc.Process.Kill()
		_ = s.proc.Wait()
		s.proc = nil
	}
}

func (s *server) run(name string, args ...string) string {
	s.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(s.t, err, "%s %s: %s", name, strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}

// ctl runs vtep-ctl.
func (s *server) ctl(args ...string) string {
	s.t.Helper()
	return s.run("vtep-ctl", append([]string{"--db=" + s.db(), "--timeout=60"}, args...)...)
}

// written counts the transactions that ever wrote something.
func (s *server) written() int {
	return strings.Count(s.run("ovsdb-tool", "show-log", s.dir+"/vtep.db"), "record ")
}

// table lists columns of a table's rows, sorted.
func (s *server) table(name, columns string) string {
	s.t.Helper()
	lines := strings.Split(strings.ReplaceAll(s.ctl("--no-heading", "--format=csv", "--columns="+columns, "list", name), `"`, ""), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// count counts a table's rows.
func (s *server) count(name string) int {
	s.t.Helper()
	out := s.ctl("--no-heading", "--format=csv", "--columns=_uuid", "list", name)
	if out == "" {
		return 0
	}
	return strings.Count(out, "\n") + 1
}

// patience is how long is waited for what must come, on a machine with other work.
const patience = time.Minute

func (s *server) eventually(what string, ok func() bool) {
	s.t.Helper()
	require.Eventually(s.t, ok, patience, 5*time.Millisecond, what)
}

// running is a driver that runs, with its feed.
type running struct {
	*Driver
	*feed
	t    *testing.T
	stop func()
}

func node(name string, vtep netip.Addr, db string) *intent.Node {
	return &intent.Node{Metadata: intent.Metadata{Name: name}, Spec: intent.NodeSpec{Role: intent.RoleVTEP, VTEP: vtep, HardwareVTEP: &intent.HardwareVTEP{OVSDB: db}}}
}

func start(t *testing.T, n *intent.Node, s *tables, before ...func(*feed)) *running {
	f := &feed{tables: s, wake: make(chan struct{}, 1), local: map[intent.Ref]overlay.LocalPort{}, active: map[southbound.AlarmKey]string{}}
	for _, b := range before {
		b(f)
	}
	s.change(func() { s.feeds = append(s.feeds, f) })
	r := &running{Driver: New(n, f, slog.New(slog.DiscardHandler)), feed: f, t: t}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
	t.Cleanup(r.stop)
	return r
}

// synced waits until the device has confirmed all of the segments.
func (r *running) synced() {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		if s := r.Status(); !s.Synced || s.Err != nil {
			return false
		}
		for _, l := range r.Local() {
			_, rev := r.Rows(l.VNI, ^evpn.Revision(0))
			if c, ok := r.Cursor(l.VNI); !ok || c != rev {
				return false
			}
			if p, ok := r.Programmed(l.Port); !ok || !p.Equal(l) {
				return false
			}
		}
		return true
	}, patience, time.Millisecond, "%+v", r.Driver.Status())
}
