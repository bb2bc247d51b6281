//go:build bench

package bench

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sandbox is a set of hypervisors without packets.
type sandbox struct {
	t    *testing.T
	dir  string
	hvs  []*hypervisor
	pids []int // of the switches
}

type hypervisor struct {
	name, dir string
	vswitchd  *exec.Cmd
}

func (h *hypervisor) db() string { return "unix:" + h.dir + "/db.sock" }

// start runs a daemon that ends with the test and returns its process number.
func start(t *testing.T, env []string, name string, args ...string) int {
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), env...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // nothing outlives a test that is killed
	require.NoError(t, c.Start(), "install %s", name)
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c.Process.Pid
}

// freePort is a TCP port of the loopback that nobody has.
func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s: %s", name, out)
	return strings.TrimSpace(string(out))
}

func waitFile(t *testing.T, path string) {
	require.Eventually(t, func() bool { _, err := os.Stat(path); return err == nil }, 20*time.Second, 5*time.Millisecond, path)
}

// each calls f for all hypervisors at once, a few at a time.
func (s *sandbox) each(f func(i int, h *hypervisor)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i, h := range s.hvs {
		wg.Add(1)
		slots <- struct{}{}
		go func() { defer wg.Done(); f(i, h); <-slots }()
	}
	wg.Wait()
}

func newSandbox(t *testing.T, n int) *sandbox {
	dir, err := os.MkdirTemp("", "weft-bench")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &sandbox{t: t, dir: dir}
	for i := range n {
		h := &hypervisor{name: fmt.Sprintf("h%d", i+1), dir: filepath.Join(dir, fmt.Sprintf("h%d", i+1))}
		require.NoError(t, os.Mkdir(h.dir, 0o755))
		s.hvs = append(s.hvs, h)
	}
	s.each(func(_ int, h *hypervisor) {
		run(t, nil, "ovsdb-tool", "create", h.dir+"/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
	})
	for _, h := range s.hvs {
		env := []string{"OVS_RUNDIR=" + h.dir, "OVS_LOGDIR=" + h.dir}
		start(t, env, "ovsdb-server", h.dir+"/conf.db", "--remote=p"+h.db(), "--unixctl="+h.dir+"/db.ctl")
		waitFile(t, h.dir+"/db.sock")
		run(t, nil, "ovs-vsctl", "--db="+h.db(), "--retry", "--no-wait", "init", "--", "add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=dummy", "fail-mode=secure")
		h.startSwitch(t)
		t.Cleanup(h.stopSwitch)
		s.pids = append(s.pids, h.vswitchd.Process.Pid)
	}
	for _, h := range s.hvs {
		waitFile(t, h.dir+"/br-int.mgmt")
	}
	return s
}

// startSwitch starts ovs-vswitchd.
func (h *hypervisor) startSwitch(t *testing.T) {
	h.vswitchd = exec.Command("ovs-vswitchd", "--enable-dummy=override", "--disable-system", "--disable-system-route", "--unixctl="+h.dir+"/vs.ctl", h.db())
	h.vswitchd.Env = append(os.Environ(), "OVS_RUNDIR="+h.dir, "OVS_LOGDIR="+h.dir)
	h.vswitchd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, h.vswitchd.Start())
}

func (h *hypervisor) stopSwitch() {
	_ = h.vswitchd.Process.Kill()
	_ = h.vswitchd.Wait()
}

// restart kills a hypervisor's switch and starts another, which has no flows.
func (s *sandbox) restart(h *hypervisor) {
	h.stopSwitch()
	require.NoError(s.t, os.Remove(h.dir+"/br-int.mgmt"))
	h.startSwitch(s.t)
	waitFile(s.t, h.dir+"/br-int.mgmt")
}

// plug adds interfaces, named by their iface-id.
func (h *hypervisor) plug(t *testing.T, ids ...string) {
	args := []string{"--db=" + h.db(), "--no-wait"}
	for _, id := range ids {
		args = append(args, "--", "add-port", "br-int", id, "--", "set", "interface", id, "type=dummy", "external_ids:iface-id="+id)
	}
	run(t, nil, "ovs-vsctl", args...)
}

// unplug removes an interface.
func (h *hypervisor) unplug(t *testing.T, id string) {
	run(t, nil, "ovs-vsctl", "--db="+h.db(), "--no-wait", "del-port", "br-int", id)
}

// watcher reads the changes of a switch's flows as they come.
type watcher struct {
	lines chan change
}

type change struct {
	at   time.Time
	text string
}

// watch begins to watch a switch's flows.
func (h *hypervisor) watch(t *testing.T) *watcher {
	c := exec.Command("stdbuf", "-oL", "ovs-ofctl", "-O", "OpenFlow15", "monitor", "unix:"+h.dir+"/br-int.mgmt", "watch:")
	c.Env = append(os.Environ(), "OVS_RUNDIR="+h.dir)
	out, in, err := os.Pipe()
	require.NoError(t, err)
	c.Stdout, c.Stderr = in, in // the answer, and what comes by itself
	require.NoError(t, c.Start())
	require.NoError(t, in.Close())
	w := &watcher{lines: make(chan change, 1<<16)}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			w.lines <- change{time.Now(), s.Text()}
		}
		close(w.lines)
	}()
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	w.until(t, "event=") // those that are there come first
	w.calm(500 * time.Millisecond)
	return w
}

// until waits for a change whose words are all there and returns when it came.
func (w *watcher) until(t *testing.T, words ...string) time.Time {
	end := time.After(time.Minute)
	for {
		select {
		case c, ok := <-w.lines:
			require.True(t, ok, "ovs-ofctl ended")
			if !slices.ContainsFunc(words, func(s string) bool { return !strings.Contains(c.text, s) }) {
				return c.at
			}
		case <-end:
			require.Fail(t, "no such change", "%v", words)
		}
	}
}

// calm waits until nothing has changed for a while.
func (w *watcher) calm(d time.Duration) {
	for {
		select {
		case <-w.lines:
		case <-time.After(d):
			return
		}
	}
}

// count is the number of flows; none while the switch does not answer.
func (h *hypervisor) count() int {
	out, _ := exec.Command("ovs-ofctl", "-O", "OpenFlow15", "dump-aggregate", "unix:"+h.dir+"/br-int.mgmt").Output()
	_, text, _ := strings.Cut(string(out), "flow_count=")
	n := 0
	_, _ = fmt.Sscan(text, &n)
	return n
}

func (h *hypervisor) flows(t *testing.T) string {
	return run(t, []string{"OVS_RUNDIR=" + h.dir}, "ovs-ofctl", "-O", "OpenFlow15", "dump-flows", "unix:"+h.dir+"/br-int.mgmt")
}

// cpu is the processor time of processes so far.
func cpu(t *testing.T, pids ...int) time.Duration {
	var ticks int64
	for _, p := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		require.NoError(t, err)
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+2:]))
		for _, i := range []int{11, 12} {
			n, err := strconv.ParseInt(f[i], 10, 64)
			require.NoError(t, err)
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// rss is the resident memory of processes in MB.
func rss(t *testing.T, pids ...int) int {
	kb := 0
	for _, p := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
		require.NoError(t, err)
		for _, l := range strings.Split(string(b), "\n") {
			if v, ok := strings.CutPrefix(l, "VmRSS:"); ok {
				n, err := strconv.Atoi(strings.Fields(v)[0])
				require.NoError(t, err)
				kb += n
			}
		}
	}
	return kb >> 10
}
