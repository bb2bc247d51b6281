//go:build lab

package evpn

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

// A test that kills a controller runs one: itself, with this in the
// environment.
const childEnv = "WEFT_EVPN_CHILD"

// child says what the other process is.
type child struct {
	Keeper *KeeperConfig
	// Injector reads what to inject from its standard input, a JSON list a line.
	Injector *InjectorConfig
	Peer     Peer
	MACs     []byte // last octets of the MACs that are announced
	Fabric   bool   // the peer is another fabric's
	Colours  bool   // it reads the colour of the VNI from its standard input, one a line
}

func TestMain(m *testing.M) {
	if s := os.Getenv(childEnv); s != "" {
		var c child
		if err := json.Unmarshal([]byte(s), &c); err != nil {
			panic(err)
		}
		panic(c.run())
	}
	os.Exit(m.Run())
}

const labVNI = 100

var labVTEP = netip.MustParseAddr("10.9.9.9")

func (c child) run() error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx := context.Background()
	if c.Keeper != nil {
		c.Keeper.Logger = log
		return NewKeeper(*c.Keeper).Run(ctx)
	}
	if c.Injector != nil {
		c.Injector.Logger = log
		return inject(ctx, *c.Injector)
	}
	if c.Fabric {
		return c.runFabric(ctx, log)
	}
	s := New(Config{ASN: 65000, RouterID: netip.MustParseAddr("10.0.0.2"), StaleTime: time.Hour, Logger: log,
		OnRoutes: func(_ string, list []Change) {
			for _, k := range keys(list) {
				fmt.Println(k)
			}
		}})
	if err := s.SetPeers([]Peer{c.Peer}); err != nil {
		return err
	}
	go func() {
		routes := []table.Route{labRoute(imet(labVNI, labVTEP), c.Peer.ASN)}
		for _, m := range c.MACs {
			routes = append(routes, labRoute(macIP(labVNI, intent.MAC{2, 0, 0, 0, 0, m}, "", labVTEP), c.Peer.ASN))
		}
		if err := s.Announce(routes, nil); err != nil {
			panic(err)
		}
		if c.Colours {
			announceTwin(s, c.Peer.ASN)
			go readColours(s)
		}
		s.Open()
	}()
	return s.Run(ctx)
}

func labRoute(r table.Route, asn uint32) table.Route {
	r.Targets = []intent.RouteTarget{intent.VNIRouteTarget(asn, labVNI)}
	return r
}

// bench is two namespaces with a link: a leaf at 10.0.0.1 and the controller's
// host at 10.0.0.2.
type bench struct {
	t         *testing.T
	dir       string
	leaf, ctl string
}

func newBench(t *testing.T) *bench {
	dir, err := os.MkdirTemp("", "weft-evpn")
	require.NoError(t, err)
	b := &bench{t: t, dir: dir, leaf: fmt.Sprintf("wel%d", os.Getpid()), ctl: fmt.Sprintf("wec%d", os.Getpid())}
	t.Cleanup(func() {
		if t.Failed() {
			files, _ := filepath.Glob(dir + "/*.log")
			for _, f := range files {
				text, _ := os.ReadFile(f)
				t.Logf("%s:\n%s", f, text[max(0, len(text)-4000):])
			}
		}
		os.RemoveAll(dir)
	})
	for _, n := range []string{b.leaf, b.ctl} {
		b.run("ip", "netns", "add", n)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", n).Run() })
		b.run("ip", "-n", n, "link", "set", "lo", "up")
	}
	b.run("ip", "link", "add", "l0", "netns", b.leaf, "type", "veth", "peer", "name", "c0", "netns", b.ctl)
	b.run("ip", "-n", b.leaf, "addr", "add", "10.0.0.1/24", "dev", "l0")
	b.run("ip", "-n", b.ctl, "addr", "add", "10.0.0.2/24", "dev", "c0")
	b.run("ip", "-n", b.leaf, "link", "set", "l0", "up")
	b.run("ip", "-n", b.ctl, "link", "set", "c0", "up")
	return b
}

func (b *bench) run(args ...string) string {
	b.t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(b.t, err, "%v: %s", args, out)
	return string(out)
}

// output of a command in a namespace; a command that fails has none.
func output(ns string, args ...string) string {
	out, _ := exec.Command("ip", append([]string{"netns", "exec", ns}, args...)...).Output()
	return string(out)
}

func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	require.Eventually(b.t, ok, time.Minute, 20*time.Millisecond, what)
}

// process runs in a namespace.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	mu  sync.Mutex
	out bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // SIGKILL
	_ = p.cmd.Wait()
}

func (b *bench) start(ns, name string, env string, args ...string) *process {
	b.t.Helper()
	log, err := os.OpenFile(filepath.Join(b.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(b.t, err)
	defer log.Close()
	p := &process{cmd: exec.Command("ip", append([]string{"netns", "exec", ns}, args...)...)}
	p.in, err = p.cmd.StdinPipe()
	require.NoError(b.t, err)
	p.cmd.Stdout, p.cmd.Stderr = p, log
	p.cmd.Env = append(os.Environ(), env)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.WaitDelay = time.Second
	require.NoError(b.t, p.cmd.Start())
	b.t.Cleanup(p.kill)
	return p
}

// child starts this program as a controller or keeper.
func (b *bench) child(ns, name string, c child) *process {
	b.t.Helper()
	text, err := json.Marshal(c)
	require.NoError(b.t, err)
	return b.start(ns, name, childEnv+"="+string(text), os.Args[0])
}

// frr starts zebra and bgpd on the leaf, with one L2VNI.
func (b *bench) frr(neighbor string) {
	b.t.Helper()
	b.frrWith(strings.ReplaceAll(frrConf, "NEIGHBOR", neighbor))
}

// frrWith is frr with a configuration of bgpd.
func (b *bench) frrWith(conf string) {
	b.t.Helper()
	b.run("ip", "-n", b.leaf, "addr", "add", "10.255.0.1/32", "dev", "lo")
	b.run("ip", "-n", b.leaf, "route", "add", labVTEP.String(), "via", "10.0.0.2")
	require.NoError(b.t, os.WriteFile(b.dir+"/zebra.conf", []byte("hostname leaf\n"), 0o644))
	require.NoError(b.t, os.WriteFile(b.dir+"/bgpd.conf", []byte(conf), 0o644))
	b.run("chown", "-R", "frr:frr", b.dir)
	b.run("chmod", "755", b.dir)
	b.start(b.leaf, "zebra", "", "/usr/lib/frr/zebra", "-f", b.dir+"/zebra.conf", "-i", b.dir+"/zebra.pid", "-z", b.dir+"/zserv.api",
		"--vty_socket", b.dir, "-A", "127.0.0.1", "-P", "0", "-s", "8388608", "--log", "stdout")
	b.until("zebra", func() bool { _, err := os.Stat(b.dir + "/zserv.api"); return err == nil })
	b.bgpd()
	link := func(args ...string) { b.t.Helper(); b.run(append([]string{"ip", "-n", b.leaf, "link"}, args...)...) }
	link("add", "br100", "type", "bridge", "mcast_snooping", "0")
	link("add", "vx100", "type", "vxlan", "id", "100", "local", "10.255.0.1", "dstport", "4789", "nolearning", "ttl", "64", "tos", "8")
	link("set", "vx100", "master", "br100")
	link("set", "vx100", "type", "bridge_slave", "neigh_suppress", "on", "learning", "off")
	link("set", "br100", "up")
	link("set", "vx100", "up")
}

func (b *bench) bgpd() *process {
	b.t.Helper()
	p := b.start(b.leaf, "bgpd", "", "/usr/lib/frr/bgpd", "-f", b.dir+"/bgpd.conf", "-i", b.dir+"/bgpd.pid", "-z", b.dir+"/zserv.api",
		"--vty_socket", b.dir, "-A", "127.0.0.1", "-P", "0", "-p", "179", "--log", "stdout")
	b.until("bgpd", func() bool { return b.vtysh("show bgp summary") != "" })
	return p
}

func (b *bench) vtysh(command string) string {
	return output(b.leaf, "vtysh", "--vty_socket", b.dir, "-c", command)
}

const frrConf = `frr defaults datacenter
router bgp 65001
 bgp router-id 10.255.0.1
 no bgp default ipv4-unicast
 bgp graceful-restart
 neighbor NEIGHBOR remote-as 65001
 neighbor NEIGHBOR passive
 neighbor NEIGHBOR timers connect 1
 address-family l2vpn evpn
  neighbor NEIGHBOR activate
  advertise-all-vni
 exit-address-family
`

// fdb counts the MACs behind the tunnel, and knows the flood entry.
func (b *bench) fdb() string { return output(b.leaf, "bridge", "fdb", "show", "dev", "vx100") }

func (b *bench) forwards(macs ...byte) bool {
	f := b.fdb()
	if !strings.Contains(f, "00:00:00:00:00:00 dst 10.9.9.9") || strings.Count(f, "02:00:00:00:00:") != 2*len(macs) {
		return false
	}
	for _, m := range macs {
		if !strings.Contains(f, fmt.Sprintf("02:00:00:00:00:%02x dst 10.9.9.9", m)) {
			return false
		}
	}
	return true
}

// keep starts a keeper on the leaf and returns how the controller reaches it.
func (b *bench) keep() Peer {
	at := netip.MustParseAddrPort("10.0.0.1:1179")
	b.child(b.leaf, "keeper", child{Keeper: &KeeperConfig{ASN: 65001, RouterID: netip.MustParseAddr("10.255.1.1"), Listen: at,
		Controllers: []netip.Addr{netip.MustParseAddr("10.0.0.2")}, Password: "secret",
		BGPD: netip.MustParseAddrPort("10.255.0.1:179"), From: netip.MustParseAddr("127.0.0.2"), StaleTime: time.Hour}})
	return Peer{Name: "leaf", Address: at, ASN: 65001, Password: "secret"}
}

// With a keeper, what a controller announced stays in the kernel of an FRR leaf
// when the controller is killed, and nothing is touched when it comes back but
// what it does not announce again.
func TestKilledControllerAtFRR(t *testing.T) {
	b := newBench(t)
	b.frr("127.0.0.2")
	peer := b.keep()
	capture := b.start(b.ctl, "tshark", "", "tshark", "-q", "-i", "c0", "-f", "tcp port 1179", "-w", "/dev/stdout")
	b.until("capture runs", func() bool {
		log, _ := os.ReadFile(b.dir + "/tshark.log")
		return bytes.Contains(log, []byte("Capture started"))
	})
	controller := b.child(b.ctl, "controller", child{Peer: peer, MACs: []byte{1, 2, 3}})
	b.until("FDB entries", func() bool { return b.forwards(1, 2, 3) })
	b.until("the leaf's own route", func() bool { return strings.Contains(controller.text(), "IMET") })

	monitor := b.start(b.leaf, "monitor", "", "bridge", "monitor", "fdb")
	// The monitor listens once it shows something; that is an entry of ours.
	b.until("monitor listens", func() bool {
		output(b.leaf, "bridge", "fdb", "replace", "02:77:00:00:00:77", "dev", "vx100", "dst", "10.7.7.7", "self")
		output(b.leaf, "bridge", "fdb", "del", "02:77:00:00:00:77", "dev", "vx100", "dst", "10.7.7.7", "self")
		return strings.Contains(monitor.text(), "02:77:")
	})
	controller.kill()
	b.until("the keeper notices", func() bool {
		log, _ := os.ReadFile(b.dir + "/keeper.log")
		return bytes.Contains(log, []byte("peer graceful restart"))
	})
	require.Contains(t, b.vtysh("show bgp l2vpn evpn"), "02:00:00:00:00:03")
	require.True(t, b.forwards(1, 2, 3))
	controller = b.child(b.ctl, "controller", child{Peer: peer, MACs: []byte{1, 2}})
	b.until("what is gone goes", func() bool { return b.forwards(1, 2) })
	// The monitor prints in the order of the changes, and a moment after them.
	b.until("bridge and tunnel forget it", func() bool { return strings.Count(monitor.text(), "Deleted 02:00:00:00:00:03") == 2 })
	for line := range strings.Lines(monitor.text()) {
		if !strings.Contains(line, "02:77:") {
			require.Contains(t, line, "Deleted 02:00:00:00:00:03")
		}
	}

	_ = capture.cmd.Process.Signal(os.Interrupt)
	_ = capture.cmd.Wait()
	require.NoError(t, os.WriteFile(b.dir+"/cap.pcapng", []byte(capture.text()), 0o644))
	dissect := func(filter string) int {
		out, err := exec.Command("tshark", "-r", b.dir+"/cap.pcapng", "-d", "tcp.port==1179,bgp", "-Y", filter).Output()
		require.NoError(t, err)
		return strings.Count(string(out), "\n")
	}
	require.GreaterOrEqual(t, dissect("bgp.type == 2"), 1, "%s", b.run("tshark", "-r", b.dir+"/cap.pcapng", "-d", "tcp.port==1179,bgp"))
	require.Zero(t, dissect("_ws.malformed || (bgp && _ws.expert.severity >= \"Warning\" && !tcp.analysis.flags)"))
}

// FRR 8.4 alone withdraws everything with the session: this is what a keeper is
// for.
func TestKilledControllerAtFRRWithoutKeeper(t *testing.T) {
	b := newBench(t)
	b.frr("10.0.0.2")
	peer := Peer{Name: "leaf", Address: netip.MustParseAddrPort("10.0.0.1:179"), ASN: 65001}
	controller := b.child(b.ctl, "controller", child{Peer: peer, MACs: []byte{1}})
	b.until("FDB entries", func() bool { return b.forwards(1) })
	controller.kill()
	b.until("FRR withdraws", func() bool { return !strings.Contains(b.fdb(), "10.9.9.9") })
	b.child(b.ctl, "controller", child{Peer: peer, MACs: []byte{1}})
	b.until("FDB entries again", func() bool { return b.forwards(1) })
}

// A leaf whose bgpd restarts keeps its routes with the controller.
func TestFRRRestarts(t *testing.T) {
	b := newBench(t)
	b.frr("10.0.0.2")
	peer := Peer{Name: "leaf", Address: netip.MustParseAddrPort("10.0.0.1:179"), ASN: 65001}
	controller := b.child(b.ctl, "controller", child{Peer: peer, MACs: []byte{1}})
	b.until("FDB entries", func() bool { return b.forwards(1) })
	b.until("the leaf's route", func() bool { return strings.Count(controller.text(), "\n") == 1 })
	log := func() string { text, _ := os.ReadFile(b.dir + "/controller.log"); return string(text) }
	pid, err := os.ReadFile(b.dir + "/bgpd.pid")
	require.NoError(t, err)
	b.run("kill", "-9", strings.TrimSpace(string(pid)))
	b.until("session lost", func() bool { return strings.Contains(log(), "BGP session lost") })
	os.Remove(b.dir + "/bgpd.vty")
	b.bgpd()
	b.until("session back", func() bool { return strings.Count(log(), "BGP session established") >= 2 })
	b.until("FDB entries", func() bool { return b.forwards(1) })
	require.NotContains(t, controller.text(), "withdrawn")
	require.Equal(t, 1, strings.Count(controller.text(), "IMET"))
}

const gobgpdConf = `[global.config]
  as = 65001
  router-id = "10.0.0.1"
[[neighbors]]
  [neighbors.config]
    neighbor-address = "10.0.0.2"
    peer-as = 65001
    auth-password = "secret"
  [neighbors.transport.config]
    passive-mode = true
  [neighbors.graceful-restart.config]
    enabled = true
    restart-time = 60
    long-lived-enabled = true
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "l2vpn-evpn"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true
    [neighbors.afi-safis.long-lived-graceful-restart.config]
      enabled = true
      restart-time = 600
`

// An independent gobgpd sees nothing withdrawn but what is gone.
func TestKilledControllerAtGoBGPD(t *testing.T) {
	b := newBench(t)
	require.NoError(t, os.WriteFile(b.dir+"/gobgpd.toml", []byte(gobgpdConf), 0o644))
	b.start(b.leaf, "gobgpd", "", "gobgpd", "-f", b.dir+"/gobgpd.toml")
	b.until("gobgpd answers", func() bool { return strings.Contains(output(b.leaf, "gobgp", "neighbor"), "10.0.0.2") })
	peer := Peer{Name: "leaf", Address: netip.MustParseAddrPort("10.0.0.1:179"), ASN: 65001, Password: "secret"}
	rib := func() string { return output(b.leaf, "gobgp", "global", "rib", "-a", "evpn") }
	controller := b.child(b.ctl, "controller", child{Peer: peer, MACs: []byte{1, 2, 3}})
	b.until("routes", func() bool { return strings.Count(rib(), "macadv") == 3 && strings.Contains(rib(), "multicast") })
	monitor := b.start(b.leaf, "monitor", "", "gobgp", "monitor", "global", "rib", "-a", "evpn", "--current")
	b.until("monitor listens", func() bool { return strings.Count(monitor.text(), "macadv") == 3 })
	controller.kill()
	b.until("session lost", func() bool { return !strings.Contains(output(b.leaf, "gobgp", "neighbor"), "Establ") })
	require.Equal(t, 3, strings.Count(rib(), "macadv"))
	controller = b.child(b.ctl, "controller", child{Peer: peer, MACs: []byte{1, 2}})
	b.until("what is gone goes", func() bool { return strings.Count(rib(), "macadv") == 2 })
	var gone []string
	b.until("the monitor tells", func() bool { // the last line may be a part
		gone = nil
		for sc := bufio.NewScanner(strings.NewReader(monitor.text())); sc.Scan(); {
			if l := strings.ToUpper(sc.Text()); strings.Contains(l, "DEL") {
				gone = append(gone, l)
			}
		}
		return len(gone) > 0 && strings.HasSuffix(monitor.text(), "\n")
	})
	require.Len(t, gone, 1, monitor.text())
	require.Contains(t, gone[0], "02:00:00:00:00:03")
	// The leaf's own route comes last: gobgpd 3.10 panics when a session is
	// lost while it has one.
	output(b.leaf, "gobgp", "global", "rib", "add", "-a", "evpn", "macadv", "02:00:00:00:00:77", "0.0.0.0", "esi", "0", "etag", "0", "label", "100",
		"rd", "1:1", "rt", "65001:100", "encap", "vxlan", "nexthop", "10.0.0.1")
	b.until("the leaf's route", func() bool { return strings.Contains(controller.text(), "02:00:00:00:00:77") })
}
