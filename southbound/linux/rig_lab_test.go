//go:build lab || vm

package linux

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

const (
	labASN = 65000
	labVNI = intent.VNI(100)
)

// reflector is the address of the third router, which reflects EVPN routes
// between the leaves.
var reflector = netip.MustParseAddr("10.9.0.9")

// patience is how long is waited for what must come.
var patience = time.Minute

// rig is two leaves with a router between them, which is their underlay and
// their route reflector.
type rig struct {
	t       *testing.T
	dir     string
	router  string  // namespace
	bgpd    *daemon // of the router
	leaves  []*leaf
	servers int // of each leaf
}

// leaf is a switch with servers, two if not said otherwise, at eth1, eth2 and so
// on.
type leaf struct {
	r      *rig
	i      int
	ns     string
	dir    string // of FRR's sockets
	sw     *Switch
	tables *Tables
	zebra  *daemon
	bgpd   *daemon
}

type daemon struct {
	cmd  *exec.Cmd
	gone chan struct{}
}

func (d *daemon) stop() {
	_ = d.cmd.Process.Kill()
	<-d.gone
}

func newRig(t *testing.T) *rig { return newRigOf(t, 2) }

// newRigOf makes a rig with so many servers at each leaf.
func newRigOf(t *testing.T, servers int) *rig {
	require.Zero(t, os.Geteuid(), "needs root for network namespaces")
	dir, err := os.MkdirTemp("", "wl") // short: socket names have 108 bytes
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	r := &rig{t: t, dir: dir, servers: servers, router: filepath.Base(dir) + "-rr"}
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := filepath.Glob(dir + "/*/*.log")
			for _, f := range logs {
				text, _ := os.ReadFile(f)
				t.Logf("%s:\n%s", f, text[max(0, len(text)-6000):])
			}
		}
		os.RemoveAll(dir)
	})
	r.namespace(r.router)
	r.addr(r.router, "lo", reflector.String()+"/32")
	for i := 1; i <= 2; i++ {
		r.leaves = append(r.leaves, r.newLeaf(i))
	}
	var conf strings.Builder
	fmt.Fprintf(&conf, "router bgp %d\n bgp router-id %s\n no bgp default ipv4-unicast\n", labASN, reflector)
	for _, l := range r.leaves {
		fmt.Fprintf(&conf, " neighbor %[1]s remote-as %[2]d\n neighbor %[1]s update-source %[3]s\n neighbor %[1]s timers connect 1\n neighbor %[1]s advertisement-interval 0\n", l.vtep(), labASN, reflector)
	}
	conf.WriteString(" address-family l2vpn evpn\n")
	for _, l := range r.leaves {
		fmt.Fprintf(&conf, "  neighbor %[1]s activate\n  neighbor %[1]s route-reflector-client\n", l.vtep())
	}
	conf.WriteString(" exit-address-family\n")
	_, r.bgpd = r.frr(r.router, filepath.Join(dir, "rr"), conf.String())
	return r
}

// namespace makes one that routes.
func (r *rig) namespace(name string) {
	require.NoError(r.t, netns.Create(name, nil))
	r.t.Cleanup(func() { require.NoError(r.t, netns.Delete(name)) })
	r.in(name, "ip", "link", "set", "lo", "up")
	for _, s := range []string{"net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"} {
		r.in(name, "sysctl", "-qw", s)
	}
}

func (r *rig) addr(ns, iface, addr string) {
	r.in(ns, "ip", "addr", "add", addr, "dev", iface)
	r.in(ns, "ip", "link", "set", iface, "up")
}

func (r *rig) newLeaf(i int) *leaf {
	n := strconv.Itoa(i)
	l := &leaf{r: r, i: i, ns: filepath.Base(r.dir) + "-l" + n, dir: filepath.Join(r.dir, "l"+n), tables: NewTables()}
	l.sw = New(Config{FRRDir: l.dir, Logger: slog.New(slog.DiscardHandler)})
	r.namespace(l.ns)
	r.addr(l.ns, "lo", l.vtep().String()+"/32")
	r.in(r.router, "ip", "link", "add", "l"+n, "mtu", "1600", "type", "veth", "peer", "name", "eth9", "netns", l.ns, "mtu", "1600")
	r.addr(r.router, "l"+n, "10.8."+n+".9/24")
	r.addr(l.ns, "eth9", "10.8."+n+".1/24")
	r.in(l.ns, "ip", "route", "add", "10.9.0.0/24", "via", "10.8."+n+".9", "src", l.vtep().String())
	r.in(r.router, "ip", "route", "add", l.vtep().String(), "via", "10.8."+n+".1", "src", reflector.String())
	for j := 1; j <= r.servers; j++ {
		s := l.server(j)
		r.namespace(s)
		eth := "eth" + strconv.Itoa(j)
		r.in(l.ns, "ip", "link", "add", eth, "type", "veth", "peer", "name", "eth0", "address", l.port(j).MAC.String(), "netns", s)
		r.in(l.ns, "ip", "link", "set", eth, "up")
		for _, a := range l.port(j).Addresses {
			bits := "/24"
			if a.Is6() {
				bits = "/64"
			}
			r.addr(s, "eth0", a.String()+bits)
		}
	}
	l.zebra, l.bgpd = r.frr(l.ns, l.dir, "")
	return l
}

// frr starts zebra and bgpd.
func (r *rig) frr(ns, dir, bgp string) (zebra, bgpd *daemon) {
	require.NoError(r.t, os.Mkdir(dir, 0o755))
	require.NoError(r.t, os.WriteFile(filepath.Join(dir, "zebra.conf"), nil, 0o644))
	require.NoError(r.t, os.WriteFile(filepath.Join(dir, "bgpd.conf"), []byte(bgp), 0o644))
	r.sh("chown", "-R", "frr:frr", dir)
	return r.startZebra(ns, dir), r.startBGP(ns, dir)
}

func (r *rig) startZebra(ns, dir string) *daemon { return r.daemon(ns, dir, "zebra", "-s", "33554432") }
func (r *rig) startBGP(ns, dir string) *daemon   { return r.daemon(ns, dir, "bgpd", "-p", "179") }

func (r *rig) daemon(ns, dir, name string, more ...string) *daemon {
	socket := filepath.Join(dir, name+".vty")
	_ = os.Remove(socket)
	args := append([]string{"netns", "exec", ns, "/usr/lib/frr/" + name, "-f", filepath.Join(dir, name+".conf"), "-i", filepath.Join(dir, name+".pid"),
		"-z", filepath.Join(dir, "zserv.api"), "--vty_socket", dir, "-A", "127.0.0.1", "-P", "0"}, more...)
	log, err := os.Create(filepath.Join(dir, name+".log"))
	require.NoError(r.t, err)
	d := &daemon{cmd: exec.Command("ip", args...), gone: make(chan struct{})} // becomes the daemon
	d.cmd.Stdout, d.cmd.Stderr = log, log
	require.NoError(r.t, d.cmd.Start())
	log.Close()
	go func() { _ = d.cmd.Wait(); close(d.gone) }()
	r.t.Cleanup(d.stop)
	r.wait(name+" listens", func() error {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err
	})
	return d
}

func (r *rig) sh(name string, args ...string) string {
	r.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(r.t, err, "%s %s: %s", name, strings.Join(args, " "), out)
	return string(out)
}

// in runs a program in a namespace.
func (r *rig) in(ns, name string, args ...string) string {
	r.t.Helper()
	return r.sh("ip", append([]string{"netns", "exec", ns, name}, args...)...)
}

// wait calls f until it is content.
func (r *rig) wait(what string, f func() error) {
	r.t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	require.NoError(r.t, err, what)
}

func (l *leaf) vtep() netip.Addr    { return netip.AddrFrom4([4]byte{10, 9, 0, byte(l.i)}) }
func (l *leaf) server(j int) string { return fmt.Sprintf("%s-s%d", l.ns, j) }

// run runs a program on the leaf.
func (l *leaf) run(args ...string) string { l.r.t.Helper(); return l.r.in(l.ns, args[0], args[1:]...) }
func (l *leaf) vty(daemon, words string) string {
	l.r.t.Helper()
	b, err := VTY(l.r.t.Context(), l.dir, daemon, words)
	require.NoError(l.r.t, err)
	return string(b)
}

// port is the server behind ethJ. The third has the addresses of the first again,
// the fourth those of the second.
func (l *leaf) port(j int) leafstate.Port {
	net := (j-1)%2 + 1
	return leafstate.Port{
		Interface: "eth" + strconv.Itoa(j), MAC: intent.MAC{2, 0, 0, 0, byte(l.i), byte(j)},
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 168, byte(net), byte(l.i)}), netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%d::%d", net, l.i))},
	}
}

// state has a segment for each of the leaf's ports: eth1 in VNI 100, eth2 in
// 101.
func (l *leaf) state() leafstate.State {
	s := leafstate.State{Revision: 1, VTEP: l.vtep(), ASN: labASN, Peers: []leafstate.Peer{{Address: reflector}}}
	for j := 1; j <= l.r.servers; j++ {
		s.Segments = append(s.Segments, leafstate.Segment{VNI: labVNI + intent.VNI(j-1), MTU: 1500, Suppress: true, Ports: []leafstate.Port{l.port(j)}})
	}
	return s
}

// apply applies a state in the leaf's namespace.
func (l *leaf) apply(s leafstate.State) ([]leafstate.PortReport, error) {
	in, err := l.applied(s)
	return in.Ports, err
}

// applied applies a state and returns all that is in place.
func (l *leaf) applied(s leafstate.State) (in leafstate.InPlace, err error) {
	err = netns.Do(l.ns, func() (err error) {
		in, err = l.sw.Apply(l.r.t.Context(), s)
		return err
	})
	return in, err
}

func (l *leaf) mustApply(s leafstate.State) {
	l.r.t.Helper()
	ports, err := l.apply(s)
	require.NoError(l.r.t, err)
	n := 0
	for _, seg := range s.Segments {
		n += len(seg.Ports)
	}
	require.Len(l.r.t, ports, n)
	require.NoError(l.r.t, l.read())
}

// mustRoute applies a state whose routers must all come into place.
func (l *leaf) mustRoute(s leafstate.State) {
	l.r.t.Helper()
	in, err := l.applied(s)
	require.NoError(l.r.t, err)
	require.Len(l.r.t, in.Routers, len(s.Routers))
	for _, r := range in.Routers {
		require.Empty(l.r.t, r.Error)
	}
	require.NoError(l.r.t, l.read())
}

func (l *leaf) read() error { return netns.Do(l.ns, l.tables.Read) }

// follow follows the leaf's tables until the test ends or stop is called.
func (l *leaf) follow() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- netns.Do(l.ns, func() error { return l.tables.Follow(ctx) })
	}()
	stop = sync.OnceFunc(func() { cancel(); require.ErrorIs(l.r.t, <-done, context.Canceled) })
	l.r.t.Cleanup(stop)
	return stop
}

// up applies the state of both leaves and waits until they know each other.
func (r *rig) up() (a, b *leaf) {
	for _, l := range r.leaves {
		l.mustApply(l.state())
	}
	a, b = r.leaves[0], r.leaves[1]
	for _, l := range r.leaves {
		r.wait("flood lists are in the kernel", func() error { return l.flooding(1) })
	}
	return a, b
}

// flooding reports whether both segments flood to so many other leaves.
func (l *leaf) flooding(n int) error {
	for _, dev := range []string{"vx100", "vx101"} {
		out, err := exec.Command("bridge", "-n", l.ns, "fdb", "show", "dev", dev).CombinedOutput()
		if got := strings.Count(string(out), "00:00:00:00:00:00"); err != nil || got != n {
			return fmt.Errorf("%s floods to %d: %s", dev, got, out)
		}
	}
	return nil
}

// ping sends one echo request from a server to an address, and waits a second for the
// answer.
func (l *leaf) ping(j int, to netip.Addr) error { return l.echo(j, to, time.Second) }

// answered wants that one echo request is answered, however late.
func (l *leaf) answered(j int, to netip.Addr) {
	l.r.t.Helper()
	require.NoError(l.r.t, l.echo(j, to, patience))
}

func (l *leaf) echo(j int, to netip.Addr, wait time.Duration) error {
	out, err := exec.Command("ip", "netns", "exec", l.server(j), "ping", "-c1", fmt.Sprintf("-W%.0f", wait.Seconds()), to.String()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// monitor is a program that prints what changes in a leaf's kernel.
type monitor struct {
	*daemon
	path string
}

func (l *leaf) monitor(words ...string) *monitor {
	f, err := os.CreateTemp(l.r.dir, "monitor")
	require.NoError(l.r.t, err)
	defer f.Close()
	d := &daemon{cmd: exec.Command("ip", append([]string{"netns", "exec", l.ns}, words...)...), gone: make(chan struct{})}
	d.cmd.Stdout = f
	require.NoError(l.r.t, d.cmd.Start())
	go func() { _ = d.cmd.Wait(); close(d.gone) }()
	l.r.t.Cleanup(d.stop)
	return &monitor{d, f.Name()}
}

func (m *monitor) text() string {
	b, _ := os.ReadFile(m.path)
	return string(b)
}

// changes runs f and returns what the kernel told of links and filters
// meanwhile.
func (l *leaf) changes(f func()) []string {
	l.r.t.Helper()
	// The kernel tells of a carrier that has come up to a second later.
	l.r.wait("all that is up has its carrier", func() error {
		if out := l.run("ip", "-o", "link", "show", "up"); strings.Contains(out, "NO-CARRIER") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	links := l.monitor("ip", "-o", "monitor", "link")
	mark := func(name string) {
		l.r.t.Helper()
		l.r.wait("the monitor hears", func() error {
			l.run("ip", "link", "add", name, "type", "bridge")
			l.run("ip", "link", "del", name)
			if !strings.Contains(links.text(), name) {
				return fmt.Errorf("%s is not heard yet", name)
			}
			return nil
		})
	}
	mark("mark1")
	before := l.generation()
	f()
	var out []string
	if n := l.generation() - before; n > 0 {
		out = append(out, fmt.Sprintf("filters: %d transactions", n))
	}
	mark("mark2")
	links.stop()
	for _, line := range strings.Split(links.text(), "\n") {
		if line != "" && !strings.Contains(line, "mark") {
			out = append(out, line)
		}
	}
	return out
}

// generation is that of the leaf's filters.
func (l *leaf) generation() (g uint32) {
	l.r.t.Helper()
	require.NoError(l.r.t, netns.Do(l.ns, func() (err error) {
		g, err = rulesGeneration()
		return err
	}))
	return g
}
