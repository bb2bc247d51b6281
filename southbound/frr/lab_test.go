//go:build lab

package frr_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/southbound/frr"
)

// FRR's own parser accepts every golden file. The daemons' option -C is of no
// use for this: it exits with 0 whatever it reads.
func TestFRRAcceptsGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.conf")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, f := range files {
		if out, err := dryRun(f); err != nil {
			t.Errorf("%s: %v\n%s", f, err, out)
		}
	}
}

// Each way to choose an underlay gives text that FRR's parser accepts, on every
// switch of a fabric with all roles.
func TestFRRAcceptsEveryUnderlay(t *testing.T) {
	g := graph("spine1:eth1 superspine1:eth1", "spine2:eth1 superspine1:eth2", "leaf1:eth1 spine1:eth2", "leaf1:eth2 spine1:eth3", "leaf2:eth1 spine2:eth2",
		"border1:eth1 spine1:eth4", "leaf1:eth3 leaf2:eth3", "hypervisor1:eth1 leaf1:eth4")
	texts := map[string]bool{}
	for _, protocol := range []string{"bgp", "isis"} {
		for _, numbers := range []string{"numbered", "unnumbered"} {
			for _, more := range []string{"no-bfd", "ipv6 no-bfd", "", "ipv6"} {
				words := strings.TrimSpace(protocol + " " + numbers + " " + more)
				p, err := fabric.ParseUnderlay(words)
				if err != nil {
					t.Fatal(err)
				}
				f := plan(t, g, p)
				for _, n := range f.Nodes {
					if !n.Role.Switch() {
						continue
					}
					path := filepath.Join(t.TempDir(), "frr.conf")
					text := render(t, f, n.Name).Text()
					texts[text] = true
					if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
					if out, err := dryRun(path); err != nil {
						t.Errorf("%s: %s: %v\n%s", words, n.Name, err, out)
					}
				}
			}
		}
	}
	if len(texts) != 16*6 {
		t.Errorf("%d different texts", len(texts))
	}
}

func TestFRRRefusesBrokenText(t *testing.T) {
	b, err := os.ReadFile("testdata/numbered-leaf1.conf")
	if err != nil {
		t.Fatal(err)
	}
	for good, bad := range map[string]string{
		"timers connect 1": "timers conect 1", "10.255.0.1/32": "10.255.0.1/33", "router bgp 42": "router bpg 42",
		" detect-multiplier 3": " detect-multiplier 300", "no zebra nexthop": "no zebra nextop",
	} {
		if !strings.Contains(string(b), good) {
			t.Errorf("%q is not in the golden file", good)
		}
		path := filepath.Join(t.TempDir(), "frr.conf")
		if err := os.WriteFile(path, []byte(strings.Replace(string(b), good, bad, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := dryRun(path); err == nil {
			t.Errorf("%q was accepted: %s", bad, out)
		}
	}
}

func dryRun(path string) ([]byte, error) {
	return exec.Command("vtysh", "-C", "-f", path).CombinedOutput()
}

// Two spines and two leaves with a hypervisor each run real FRR. Every session
// comes up, the kernel uses both spines, also after a link was down, and what
// the plan announces is reached.
func TestFabricRuns(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root for network namespaces")
	}
	g := clos(2, 2, "hypervisor1:eth1 leaf1:eth3", "hypervisor2:eth1 leaf2:eth3")
	for name, p := range map[string]fabric.Params{
		"numbered": {BFD: true}, "unnumbered": {Unnumbered: true, BFD: true, Loopbacks6: prefix("fd00:ff::/64")},
		"numbered by both": {BFD: true, Loopbacks6: prefix("fd00:ff::/64"), P2P6: prefix("fd00:c0::/96")},
		"IS-IS":            {Protocol: fabric.ISIS, BFD: true, Loopbacks6: prefix("fd00:ff::/64")},
		"IS-IS unnumbered": {Protocol: fabric.ISIS, Unnumbered: true, BFD: true, Loopbacks6: prefix("fd00:ff::/64")},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, plan(t, g, p))
			r.start()
			r.wait("all sessions are established", r.sessionsUp)
			r.wait("BFD watches all sessions", r.bfdUp)
			l1, l2 := r.node("leaf1"), r.node("leaf2")
			for _, to := range []netip.Addr{l2.Loopback, l2.VTEP, l2.Rack.Addr()} {
				r.wait(fmt.Sprintf("leaf1 has 2 next hops to %s", to), func() error { return r.nextHops("leaf1", to, 2) })
			}
			r.wait("loopback to loopback", func() error { return r.ping("leaf1", l1.Loopback.String(), l2.Loopback) })
			r.wait("switch to switch without a source address", func() error { return r.ping("leaf1", "", l2.Loopback) })
			r.wait("hypervisor to hypervisor", func() error { return r.ping("hypervisor1", "", r.node("hypervisor2").VTEP) })
			r.wait("leaf to the other's hypervisor", func() error { return r.ping("leaf1", l1.VTEP.String(), r.node("hypervisor2").VTEP) })
			if l2.Loopback6.IsValid() {
				r.wait("leaf1 has 2 next hops to the IPv6 loopback", func() error { return r.nextHops("leaf1", l2.Loopback6, 2) })
				r.wait("IPv6 loopback to loopback", func() error { return r.ping("leaf1", l1.Loopback6.String(), l2.Loopback6) })
			}
			for range 2 {
				r.run("ip", "-n", r.ns("spine1"), "link", "set", "eth1", "down")
				r.wait("1 next hop while a link is down", func() error { return r.nextHops("leaf1", l2.Loopback, 1) })
				r.run("ip", "-n", r.ns("spine1"), "link", "set", "eth1", "up")
				r.wait("2 next hops after the link is up", func() error { return r.nextHops("leaf1", l2.Loopback, 2) })
			}
		})
	}
}

// rig is a planned fabric in network namespaces of its own.
type rig struct {
	t     *testing.T
	facts *fabric.Facts
	dir   string
	id    string
}

func newRig(t *testing.T, f *fabric.Facts) *rig {
	dir, err := os.MkdirTemp("", "wf") // short: socket names have 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &rig{t, f, dir, filepath.Base(dir)}
}

func (r *rig) ns(node string) string { return r.id + "-" + node }

func (r *rig) node(name string) fabric.Node {
	n, _ := r.facts.Node(name)
	return n
}

func (r *rig) run(name string, args ...string) {
	r.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		r.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

func (r *rig) start() {
	for _, n := range r.facts.Nodes {
		r.run("ip", "netns", "add", r.ns(n.Name))
		r.t.Cleanup(func() { exec.Command("ip", "netns", "del", r.ns(n.Name)).Run() })
		r.run("ip", "-n", r.ns(n.Name), "link", "set", "lo", "up")
		if n.Role.Switch() {
			s, err := fabric.Device(r.facts, n.Name)
			if err != nil {
				r.t.Fatal(err)
			}
			for k, v := range frr.Sysctls(s) {
				if _, err := os.Stat("/proc/sys/" + strings.ReplaceAll(k, ".", "/")); err == nil || !frr.Optional(k) {
					r.run("ip", "netns", "exec", r.ns(n.Name), "sysctl", "-q", "-w", k+"="+v)
				}
			}
		}
	}
	for _, l := range r.facts.Links {
		mtu := fmt.Sprint(l.MTU)
		r.run("ip", "link", "add", l.A.Interface, "netns", r.ns(l.A.Node), "mtu", mtu, "type", "veth", "peer", "name", l.B.Interface, "netns", r.ns(l.B.Node), "mtu", mtu)
		r.run("ip", "-n", r.ns(l.A.Node), "link", "set", l.A.Interface, "up")
		r.run("ip", "-n", r.ns(l.B.Node), "link", "set", l.B.Interface, "up")
	}
	for _, n := range r.facts.Nodes {
		if n.Role != intent.RoleHypervisor {
			r.startFRR(n.Name)
			continue
		}
		r.run("ip", "-n", r.ns(n.Name), "addr", "add", n.VTEP.String()+"/31", "dev", n.Uplink)
		r.run("ip", "-n", r.ns(n.Name), "route", "add", "default", "via", n.Gateway.String())
	}
}

// startFRR gives each daemon its own file when numbered, and the whole by vtysh
// when not, so that both ways are tried.
func (r *rig) startFRR(node string) {
	c := render(r.t, r.facts, node)
	dir := filepath.Join(r.dir, node)
	if err := os.Mkdir(dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	// isisd takes a file of its own too late (see package lab).
	integrated := r.facts.Params.Unnumbered || r.facts.Params.Protocol == fabric.ISIS
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	write("frr.conf", c.Text())
	for _, d := range c.Daemons() {
		write(d+".conf", map[bool]string{false: c.Daemon(d), true: "hostname " + node + "\n"}[integrated])
	}
	r.run("chown", "-R", "frr:frr", dir)
	for _, d := range c.Daemons() {
		r.startDaemon(node, dir, d)
	}
	if integrated {
		r.run("vtysh", "--vty_socket", dir, "--config_dir", dir, "-b")
	}
}

func (r *rig) startDaemon(node, dir, daemon string) {
	args := []string{"netns", "exec", r.ns(node), "/usr/lib/frr/" + daemon, "-f", filepath.Join(dir, daemon+".conf"),
		"-i", filepath.Join(dir, daemon+".pid"), "-z", filepath.Join(dir, "zserv.api"), "--vty_socket", dir, "-A", "127.0.0.1", "-P", "0"}
	if daemon == "bfdd" {
		args = append(args, "--bfdctl", filepath.Join(dir, "bfdd.sock"))
	}
	log, err := os.Create(filepath.Join(dir, daemon+".log"))
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.Command("ip", args...) // becomes the daemon
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		log.Close()
		if b, err := os.ReadFile(log.Name()); err == nil && r.t.Failed() {
			r.t.Logf("%s of %s:\n%s", daemon, node, b)
		}
	})
	r.wait(daemon+" of "+node+" listens", func() error {
		conn, err := net.Dial("unix", filepath.Join(dir, daemon+".vty"))
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// patience is how long is waited for what must come, on a machine with other work.
const patience = time.Minute

// wait calls f until it is content.
func (r *rig) wait(what string, f func() error) {
	r.t.Helper()
	begin := time.Now()
	var err error
	for time.Since(begin) < patience {
		if err = f(); err == nil {
			if d := time.Since(begin); d > 50*time.Millisecond {
				r.t.Logf("%s: after %v", what, d.Round(10*time.Millisecond))
			}
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	r.t.Fatalf("%s: not in %v: %v", what, patience, err)
}

func (r *rig) sessionsUp() error {
	for _, n := range r.facts.Nodes {
		if links := r.facts.AdjacenciesOf(n.Name); len(links) > 0 {
			if err := r.adjacenciesUp(n.Name, links); err != nil {
				return err
			}
		}
		want := r.facts.SessionsOf(n.Name)
		if len(want) == 0 {
			continue
		}
		out, err := exec.Command("vtysh", "--vty_socket", filepath.Join(r.dir, n.Name), "-c", "show bgp summary json").Output()
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		list, err := frr.ParseSummary(out)
		if err != nil {
			return err
		}
		got := map[string]frr.Session{}
		for _, s := range list {
			got[s.Peer] = s
		}
		for _, w := range want {
			if s := got[w.Peer()]; !s.Up() || s.RemoteASN != w.RemoteASN || s.Uptime == 0 || s.Received == 0 || s.Description != w.Remote.String() {
				return fmt.Errorf("%s: session %s to %s: %+v", n.Name, w.Peer(), w.Remote, s)
			}
		}
	}
	return nil
}

// adjacenciesUp compares what isisd has with the plan, neighbour by neighbour.
func (r *rig) adjacenciesUp(node string, links []fabric.Link) error {
	out, err := exec.Command("vtysh", "--vty_socket", filepath.Join(r.dir, node), "-c", "show isis neighbor json").Output()
	if err != nil {
		return fmt.Errorf("%s: %w", node, err)
	}
	list, err := frr.ParseAdjacencies(out)
	if err != nil {
		return err
	}
	got := map[string]frr.Adjacency{}
	for _, a := range list {
		got[a.Interface] = a
	}
	for _, l := range links {
		if a := got[l.A.Interface]; !a.Up() || a.Neighbor != l.B.Node {
			return fmt.Errorf("%s: adjacency on %s to %s: %+v", node, l.A.Interface, l.B.Node, a)
		}
	}
	if len(list) != len(links) {
		return fmt.Errorf("%s: %d adjacencies, planned are %d", node, len(list), len(links))
	}
	return nil
}

func (r *rig) bfdUp() error {
	for _, n := range r.facts.Nodes {
		want := len(r.facts.SessionsOf(n.Name)) + len(r.facts.AdjacenciesOf(n.Name))
		if want == 0 {
			continue
		}
		out, err := exec.Command("vtysh", "--vty_socket", filepath.Join(r.dir, n.Name), "-c", "show bfd peers json").Output()
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		var peers []struct {
			Status   string `json:"status"`
			Interval int    `json:"transmit-interval"`
		}
		if err := json.Unmarshal(out, &peers); err != nil {
			return err
		}
		up := 0
		for _, p := range peers {
			if p.Status == "up" && p.Interval == 30 {
				up++
			}
		}
		if up != want {
			return fmt.Errorf("%s: %d of %d BFD sessions are up at 30 ms: %s", n.Name, up, want, out)
		}
	}
	return nil
}

// nextHops asks the kernel, not FRR.
func (r *rig) nextHops(node string, to netip.Addr, want int) error {
	args := []string{"-n", r.ns(node), "-j", "route", "show", "to", "match", to.String(), "proto", string(r.facts.Params.Protocol)}
	if to.Is6() {
		args = append([]string{"-6"}, args...)
	}
	out, err := exec.Command("ip", args...).Output()
	if err != nil {
		return err
	}
	var routes []struct {
		Dst      string            `json:"dst"`
		NextHops []json.RawMessage `json:"nexthops"`
	}
	if err := json.Unmarshal(out, &routes); err != nil {
		return err
	}
	got := 0
	for _, rt := range routes {
		got += max(1, len(rt.NextHops))
	}
	if got != want {
		return fmt.Errorf("%d next hops: %s", got, strings.TrimSpace(string(out)))
	}
	return nil
}

func (r *rig) ping(node, from string, to netip.Addr) error {
	args := []string{"netns", "exec", r.ns(node), "ping", "-c", "1", "-W", "1"}
	if from != "" {
		args = append(args, "-I", from)
	}
	out, err := exec.Command("ip", append(args, to.String())...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// Leaves of two pods reach each other through the superspines, over all of
// them, although spines and superspines share ASNs; and a ring of routers goes
// the other way round when a link is down.
func TestPodsAndRingRun(t *testing.T) {
	t.Run("pods", func(t *testing.T) {
		r := newRig(t, plan(t, graph("spine1:eth1 superspine1:eth1", "spine1:eth2 superspine2:eth1", "spine2:eth1 superspine1:eth2",
			"spine2:eth2 superspine2:eth2", "leaf1:eth1 spine1:eth3", "leaf2:eth1 spine2:eth3"), fabric.Params{}))
		r.start()
		to := r.node("leaf2").Loopback
		r.wait("spine1 has 2 next hops to leaf2", func() error { return r.nextHops("spine1", to, 2) })
		r.wait("leaf to leaf", func() error { return r.ping("leaf1", "", to) })
	})
	t.Run("ring", func(t *testing.T) {
		r := newRig(t, plan(t, ring(), fabric.Params{}))
		r.start()
		r.wait("all sessions are established", r.sessionsUp)
		r.wait("router to router", func() error { return r.ping("router1", "", r.node("router2").Loopback) })
		r.run("ip", "-n", r.ns("router1"), "link", "set", "eth1", "down")
		r.wait("round the other way", func() error { return r.ping("router1", "", r.node("router2").Loopback) })
	})
}
