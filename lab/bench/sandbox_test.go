//go:build bench

package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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
	vswitchd  int
}

func (h *hypervisor) db() string { return "unix:" + h.dir + "/db.sock" }

// start runs a daemon that ends with the test and returns its process number.
func start(t *testing.T, env []string, name string, args ...string) int {
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), env...)
	require.NoError(t, c.Start(), "install %s", name)
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c.Process.Pid
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
		run(t, nil, "ovs-vsctl", "--db="+h.db(), "--no-wait", "init", "--", "add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=dummy", "fail-mode=secure")
		h.vswitchd = start(t, env, "ovs-vswitchd", "--enable-dummy=override", "--disable-system", "--disable-system-route", "--unixctl="+h.dir+"/vs.ctl", h.db())
		s.pids = append(s.pids, h.vswitchd)
	}
	for _, h := range s.hvs {
		waitFile(t, h.dir+"/br-int.mgmt")
	}
	return s
}

// plug adds interfaces, named by their iface-id.
func (h *hypervisor) plug(t *testing.T, ids ...string) {
	args := []string{"--db=" + h.db(), "--no-wait"}
	for _, id := range ids {
		args = append(args, "--", "add-port", "br-int", id, "--", "set", "interface", id, "type=dummy", "external_ids:iface-id="+id)
	}
	run(t, nil, "ovs-vsctl", args...)
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
