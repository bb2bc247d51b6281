//go:build lab

package lab

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/intent"
	"go.yaml.in/yaml/v3"
)

// FRR's own parser accepts the configuration of every switch of every example.
func TestFabricExportedConfigurations(t *testing.T) {
	seen := map[string]bool{}
	for name, file := range exampleFiles(t) {
		e, err := NewExport(file, ExportOptions{Rendered: true})
		require.NoError(t, err)
		for _, f := range e.Files {
			if filepath.Base(f.Path) != frrConf || len(seen) > 60 || name == "large" && len(seen) > 4 {
				continue
			}
			seen[name+f.Path] = true
			path := filepath.Join(t.TempDir(), frrConf)
			require.NoError(t, os.WriteFile(path, f.Data, 0o644))
			out, err := exec.Command("vtysh", "-C", "-f", path).CombinedOutput()
			require.NoError(t, err, "%s: %s: %s", name, f.Path, out)
		}
	}
	require.Greater(t, len(seen), 15)
}

// An exported lab runs from its own files: each node in a root file system,
// process and network namespace of its own, as containerlab makes them, with
// nothing but its bind, its command and its exec lines. The switches route by the states
// beside them before there is a controller, and nothing flaps when it comes; their agents
// mend what somebody changes. Every kind of edge reaches every other by IPv4 and IPv6.
func TestFabricExportRuns(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root for namespaces")
	}
	file, err := LoadFile("testdata/export.clab.yml")
	require.NoError(t, err)
	e, err := NewExport(file, ExportOptions{})
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, e.Write(dir))
	weft, err := weftBinary()
	require.NoError(t, err)
	c := &containers{t: t, dir: dir, weft: weft, prefix: fmt.Sprintf("wclab%d-", os.Getpid()), pids: map[string]int{}}
	startController := c.deploy(e.data(t, e.Topology), controllerNode)
	s, _, err := Plan(file)
	require.NoError(t, err)
	c.equalCost(s)
	sessions := c.epochs(s)
	require.Len(t, sessions, 8, "both ends of four links")
	startController()

	cli := func(args ...string) error {
		return c.run("mgmt", append([]string{weft, "--server", "http://172.20.21.2:8470"}, args...)...)
	}
	c.eventually("the controller knows the fabric", func() error { return cli("get", "node/leaf2", "node/hv1", "node/vtep1") })
	require.NoError(t, cli("apply", "--wait", "--timeout", "60s", "-f", filepath.Join(dir, "nodes/controller/tenants.yaml")))
	objects, err := Intent(file)
	require.NoError(t, err)
	hosts := map[string][]netip.Addr{}
	for _, o := range objects {
		if p, ok := o.(*intent.Port); ok {
			hosts[p.Metadata.Name] = p.Spec.Addresses
		}
	}
	require.Len(t, hosts, 3)
	for from := range hosts {
		for to, addresses := range hosts {
			for _, a := range addresses {
				if from != to {
					c.eventually(fmt.Sprintf("%s reaches %s at %s", from, to, a), func() error { return c.run(from, "ping", "-c", "1", "-W", "1", a.String()) })
				}
			}
		}
	}
	c.equalCost(s)
	c.changedByHand(s)
	require.NoError(t, differSessions(sessions, c.epochs(s)))
}

// equalCost waits until each leaf's kernel has all paths to each other.
func (c *containers) equalCost(s *State) {
	c.t.Helper()
	require.NotEmpty(c.t, s.Widths)
	for _, w := range s.Widths {
		c.eventually(fmt.Sprintf("%s has %d paths to %s", w.From, w.Want, w.To), func() error {
			out, err := exec.Command("ip", "-n", c.ns(w.From), "route", "show", w.Addr.String()).Output()
			if n := strings.Count(string(out), "nexthop"); err != nil || n != w.Want {
				return fmt.Errorf("%d next hops: %s %w", n, out, err)
			}
			return nil
		})
	}
}

// changedByHand takes an address of leaf2 away, which its agent puts back and tells.
func (c *containers) changedByHand(s *State) {
	c.t.Helper()
	loopback := netip.PrefixFrom(s.specOf("leaf2").Loopback, 32).String()
	c.must("ip", "-n", c.ns("leaf2"), "address", "del", loopback, "dev", "lo")
	c.eventually("leaf2 has its loopback again", func() error {
		out, err := exec.Command("ip", "-n", c.ns("leaf2"), "address", "show", "dev", "lo").Output()
		if err != nil || !strings.Contains(string(out), loopback) {
			return fmt.Errorf("lo: %s %w", out, err)
		}
		return nil
	})
	c.eventually("it is told", func() error {
		out, err := exec.Command("ip", "netns", "exec", c.ns("mgmt"), c.weft, "--server", "http://172.20.21.2:8470", "get", "events").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "address "+loopback+" added") {
			return fmt.Errorf("events: %s %w", out, err)
		}
		return nil
	})
	c.equalCost(s)
}

// epochs is since when each session between the switches is.
func (c *containers) epochs(s *State) map[string]int64 {
	c.t.Helper()
	out := map[string]int64{}
	for _, n := range s.Nodes {
		if !n.Role.Switch() {
			continue
		}
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", c.pids[n.Name], c.pids[n.Name]))
		require.NoError(c.t, err)
		// vtysh of this machine at the sockets in the container's root file system.
		summary, err := exec.Command("vtysh", "--vty_socket", fmt.Sprintf("/proc/%s/root/run/frr", strings.Fields(string(children))[0]), "-c", "show bgp ipv4 unicast summary json").Output()
		require.NoError(c.t, err, n.Name)
		require.NoError(c.t, readEpochs(n.Name, fmt.Appendf(nil, `{"ipv4": %s}`, summary), out))
	}
	maps.DeleteFunc(out, func(_ string, since int64) bool { return since == 0 }) // with the controller, which injects routes
	return out
}

// containers do what containerlab does with a topology file, without Docker.
type containers struct {
	t                 *testing.T
	dir, weft, prefix string
	pids              map[string]int // of the nodes' first processes, seen from here
}

// deployed is the part of a topology file that containers know.
type deployed struct {
	Mgmt struct {
		Subnet netip.Prefix `yaml:"ipv4-subnet"`
	}
	Topology struct {
		Nodes map[string]struct {
			Cmd         string
			Binds, Exec []string
			Mgmt        string `yaml:"mgmt-ipv4"`
			NetworkMode string `yaml:"network-mode"`
		}
		Links []struct {
			Endpoints []string
			MTU       int
		}
	}
}

func (c *containers) ns(node string) string { return c.prefix + node }

func (c *containers) must(args ...string) {
	c.t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(c.t, err, "%s: %s", strings.Join(args, " "), out)
}

func (c *containers) run(node string, args ...string) error {
	out, err := exec.Command("ip", append([]string{"netns", "exec", c.ns(node)}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (c *containers) eventually(what string, f func() error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 60*time.Second)
	defer cancel()
	began := time.Now()
	var last error
	err := until(ctx, 100*time.Millisecond, nil, func() (bool, error) { last = f(); return last == nil, nil })
	require.NoError(c.t, err, "%s: %v", what, last)
	if took := time.Since(began); took > time.Second {
		c.t.Logf("%s after %s", what, took.Round(time.Millisecond))
	}
}

// deploy makes all nodes and links, and starts all nodes but one, which the function that
// it returns starts.
func (c *containers) deploy(text []byte, but string) (start func()) {
	var d deployed
	require.NoError(c.t, yaml.Unmarshal(text, &d))
	c.netns("mgmt")
	c.must("ip", "-n", c.ns("mgmt"), "link", "add", "clab", "type", "bridge", "mcast_snooping", "0")
	gateway := netip.PrefixFrom(d.Mgmt.Subnet.Addr().Next(), d.Mgmt.Subnet.Bits())
	c.must("ip", "-n", c.ns("mgmt"), "addr", "add", gateway.String(), "dev", "clab")
	c.must("ip", "-n", c.ns("mgmt"), "link", "set", "clab", "up")
	for name, n := range d.Topology.Nodes {
		c.netns(name)
		if n.NetworkMode != "none" {
			c.veth(name, "eth0", "mgmt", "p"+name, 1500)
			c.must("ip", "-n", c.ns("mgmt"), "link", "set", "p"+name, "master", "clab")
			c.must("ip", "-n", c.ns(name), "addr", "add", n.Mgmt+fmt.Sprintf("/%d", d.Mgmt.Subnet.Bits()), "dev", "eth0")
			// As Docker does.
			c.must("ip", "-n", c.ns(name), "route", "add", "default", "via", gateway.Addr().String(), "dev", "eth0")
		}
		if name == but {
			start = func() { c.start(name, n.Cmd, n.Binds) }
			continue
		}
		c.start(name, n.Cmd, n.Binds)
	}
	for _, l := range d.Topology.Links {
		a, ai, _ := strings.Cut(l.Endpoints[0], ":")
		b, bi, _ := strings.Cut(l.Endpoints[1], ":")
		c.veth(a, ai, b, bi, l.MTU)
		for _, x := range [][2]string{{a, ai}, {b, bi}} { // as containerlab does
			require.NoError(c.t, c.run(x[0], "ethtool", "-K", x[1], "tx", "off"))
		}
	}
	for name, n := range d.Topology.Nodes {
		for _, line := range n.Exec {
			require.NoError(c.t, c.run(name, strings.Fields(line)...))
		}
	}
	require.NotNil(c.t, start)
	return start
}

func (c *containers) netns(name string) {
	c.must("ip", "netns", "add", c.ns(name))
	c.t.Cleanup(func() { c.must("ip", "netns", "del", c.ns(name)) })
	c.must("ip", "-n", c.ns(name), "link", "set", "lo", "up")
}

func (c *containers) veth(a, ai, b, bi string, mtu int) {
	m := fmt.Sprint(mtu)
	c.must("ip", "link", "add", ai, "netns", c.ns(a), "mtu", m, "type", "veth", "peer", "name", bi, "netns", c.ns(b), "mtu", m)
	c.must("ip", "-n", c.ns(a), "link", "set", ai, "up")
	c.must("ip", "-n", c.ns(b), "link", "set", bi, "up")
}

// container makes a root file system over this machine's own, which stays as it
// is, with fresh folders for what runs, and runs the command in it.
const container = `
mount -t tmpfs root "$1"; cd "$1"; mkdir up work root
mount -t overlay over -o lowerdir=/,upperdir=up,workdir=work root
mount -t proc proc root/proc; mount --rbind /sys root/sys; mount --rbind /dev root/dev
mount -t tmpfs run root/run; rm -rf root/etc/frr/* root/etc/openvswitch/*
cp "$2" root/usr/bin/weft; mkdir root/weft; mount --bind "$3" root/weft; mount -o remount,bind,ro root/weft
exec chroot root $4
`

func (c *containers) start(name, command string, binds []string) {
	require.Len(c.t, binds, 1, name)
	source, _, _ := strings.Cut(binds[0], ":")
	var log bytes.Buffer
	cmd := exec.Command("ip", "netns", "exec", c.ns(name), "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
		"bash", "-euc", container, "container", c.t.TempDir(), c.weft, filepath.Join(c.dir, source), command)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	require.NoError(c.t, cmd.Start())
	c.pids[name] = cmd.Process.Pid
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill() // and the children with it
		_ = cmd.Wait()
		if c.t.Failed() {
			c.t.Logf("%s:\n%s", name, &log)
		}
	})
}
