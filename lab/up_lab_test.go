//go:build lab

package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/topology"
)

// labDir gives the test a folder for labs that FRR's user can enter, and
// checks at the end that nothing is left of them.
func labDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "weft-lab-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Setenv("WEFT_LAB_DIR", dir)
	before := traces(t, dir)
	t.Cleanup(func() {
		labs, err := List()
		require.NoError(t, err)
		for _, s := range labs {
			if t.Failed() {
				lastWords(t, s)
			}
			require.NoError(t, Down(s.Name, nil))
		}
		require.Empty(t, left(before, traces(t, dir)))
		require.NoError(t, os.Remove(dir), "files are left")
	})
	return dir
}

// lastWords tells of a lab in which a test failed what the controller said last, and of
// each process that does not run any more what it said and, of FRR's, how it crashed.
func lastWords(t testing.TB, s *State) {
	t.Helper()
	if s.Controller != "" {
		t.Logf("lab %s:%s", s.Name, logTail(filepath.Join(s.dir, "controller.log"), 30))
	}
	for _, p := range s.dead() {
		crash := filepath.Join("/var/tmp/frr", fmt.Sprintf("%s.%d", p.Name, p.PID), "crashlog")
		t.Logf("lab %s: %s of %s (process %d) does not run any more%s%s", s.Name, p.Name, p.Node, p.PID, logTail(p.Log, 20), logTail(crash, 60))
	}
}

// traces lists what a lab could leave: namespaces, of which TestMain has those of
// these tests only, links of the machine, and processes that have the folder on their
// command line.
func traces(t testing.TB, dir string) (all []string) {
	t.Helper()
	namespaces, err := netns.List("")
	require.NoError(t, err)
	for _, n := range namespaces {
		all = append(all, "namespace "+n)
	}
	links, err := net.Interfaces()
	require.NoError(t, err)
	for _, l := range links {
		all = append(all, "link "+l.Name)
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, c := range commands {
		if b, err := os.ReadFile(c); err == nil && bytes.Contains(b, []byte(dir)) {
			all = append(all, "process "+string(bytes.ReplaceAll(b, []byte{0}, []byte(" "))))
		}
	}
	return all
}

// left is what was not there before.
func left(before, now []string) []string {
	return slices.DeleteFunc(now, func(s string) bool { return slices.Contains(before, s) })
}

// What a test leaves is found: labDir would fail.
func TestLeftoversAreFound(t *testing.T) {
	dir := labDir(t)
	before := traces(t, dir)
	require.Empty(t, left(before, traces(t, dir)))
	require.NoError(t, makeNamespace("weft-left-leaf1", nil))
	t.Cleanup(func() { require.NoError(t, netns.Delete("weft-left-leaf1")) })
	require.Equal(t, []string{"namespace weft-left-leaf1"}, left(before, traces(t, dir)))

	daemon := exec.Command("sh", "-c", "read wait", filepath.Join(dir, "left"))
	in, err := daemon.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, daemon.Start())
	require.Equal(t, []string{"namespace weft-left-leaf1", "process sh -c read wait " + filepath.Join(dir, "left") + " "}, left(before, traces(t, dir)))
	require.NoError(t, in.Close())
	_ = daemon.Wait()
}

func planFile(t *testing.T, path string) *State {
	t.Helper()
	file, err := LoadFile(path)
	require.NoError(t, err)
	s, _, err := Plan(file)
	require.NoError(t, err)
	return s
}

func generated(t *testing.T, p topology.GenerateParams) *State {
	t.Helper()
	file, err := topology.Generate(p)
	require.NoError(t, err)
	s, _, err := Plan(file)
	require.NoError(t, err)
	return s
}

func up(t *testing.T, s *State) {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, Up(t.Context(), s, Options{Progress: PrintProgress(&out, false)}), "%s", &out)
	t.Log("\n" + out.String())
}

// Real files of containerlab's: all sessions, and packets loopback to loopback
// over every equal-cost path of the graph.
func TestContainerlabFiles(t *testing.T) {
	for _, name := range []string{"clos01", "frr01"} {
		t.Run(name, func(t *testing.T) {
			labDir(t)
			s := planFile(t, "../topology/testdata/"+name+".clab.yml")
			up(t, s)
			st, err := ReadStatus(t.Context(), s)
			require.NoError(t, err)
			require.True(t, st.OK(), "%+v", st)
			sessions := 0
			for _, n := range st.Nodes {
				sessions += n.Established
			}
			require.Equal(t, map[string]int{"clos01": 4, "frr01": 6}[name], sessions)
			checkPaths(t, s)

			again := planFile(t, "../topology/testdata/"+name+".clab.yml")
			require.ErrorIs(t, Up(t.Context(), again, Options{}), ErrAlreadyUp)
			require.NoError(t, Down(name, nil))
			require.ErrorIs(t, Down(name, nil), ErrNoLab)
		})
	}
}

func checkPaths(t *testing.T, s *State) {
	t.Helper()
	c, err := Check(t.Context(), s, probe.CheckOptions{})
	require.NoError(t, err)
	require.Len(t, c.Underlay, len(s.Widths))
	require.True(t, c.OK(), "%+v", c.Underlay)
}

// Four spines are four paths; a fabric with hypervisors gets their VTEPs to
// each other, and a killed daemon is seen.
func TestGeneratedFabric(t *testing.T) {
	labDir(t)
	s := generated(t, topology.GenerateParams{Name: "gen", Spines: 4, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 2})
	up(t, s)
	checkPaths(t, s)
	require.Len(t, s.Widths, 2)
	require.Equal(t, 4, s.Widths[0].Want)

	hv1, err := s.Node("hv1")
	require.NoError(t, err)
	// The leaves' routes to what is behind them may come after those to each other.
	require.Eventually(t, func() bool {
		status, err := Exec(s, "hv2", []string{"ping", "-c", "1", "-W", "2", "-s", "1550", "-M", "do", hv1.VTEP.Address.String()})
		return err == nil && status == 0
	}, patience, 100*time.Millisecond, "a VTEP reaches the other with a packet that holds a tenant's 1500 bytes")
	status, err := Exec(s, "leaf1", []string{"sh", "-c", "exit 7"})
	require.NoError(t, err)
	require.Equal(t, 7, status)
	_, err = Exec(s, "leaf9", []string{"true"})
	require.ErrorContains(t, err, `no node "leaf9"`)

	capturePing(t, s)

	require.NoError(t, Kill(s, "hv1", true))
	st, err := ReadStatus(t.Context(), s)
	require.NoError(t, err)
	require.False(t, st.OK())
	for _, n := range st.Nodes {
		if n.Name == "hv1" {
			require.Equal(t, []string{"ovsdb-server", "ovs-vswitchd"}, n.Dead)
		}
	}
	// Up repairs what is not whole.
	up(t, generated(t, topology.GenerateParams{Name: "gen", Spines: 4, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 2}))
}

func capturePing(t *testing.T, s *State) {
	t.Helper()
	hv2, err := s.Node("hv2")
	require.NoError(t, err)
	read, write := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		_, err := Capture(ctx, write, s, "hv1", "eth1")
		write.CloseWithError(err)
	}()
	pcap, err := pcapgo.NewReader(read)
	require.NoError(t, err)
	go func() {
		_, _ = Exec(s, "hv1", []string{"ping", "-q", "-c", "600", "-i", "0.1", hv2.VTEP.Address.String()}) // killed with the lab
	}()
	for {
		data, _, err := pcap.ReadPacketData()
		require.NoError(t, err, "no ping was captured")
		p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
		if p.Layer(layers.LayerTypeICMPv4) != nil {
			cancel()
			_, _ = io.Copy(io.Discard, read)
			return
		}
	}
}

// TestHelperUp is run by TestKilledWhileComingUp in a process of its own.
func TestHelperUp(t *testing.T) {
	path := os.Getenv("WEFT_LAB_HELPER")
	if path == "" {
		return // an ordinary run: it has nothing to do
	}
	file, err := LoadFile(path)
	require.NoError(t, err)
	s, _, err := Plan(file)
	require.NoError(t, err)
	require.NoError(t, Up(t.Context(), s, Options{}))
}

// Whatever is there when "lab up" is killed, the next one cleans it up, and so
// does "lab down".
func TestKilledWhileComingUp(t *testing.T) {
	dir := labDir(t)
	path, err := filepath.Abs("../topology/testdata/clos01.clab.yml")
	require.NoError(t, err)
	for _, moment := range []string{"leaf1/zebra.pid", "leaf2/bgpd.vty", "spine/frr.conf"} {
		helper := exec.Command(os.Args[0], "-test.run=^TestHelperUp$")
		helper.Env = append(os.Environ(), "WEFT_LAB_HELPER="+path)
		require.NoError(t, helper.Start())
		mark := filepath.Join(dir, "clos01", "nodes", moment)
		require.Eventually(t, func() bool { return fileExists(mark) }, patience, time.Millisecond)
		require.NoError(t, helper.Process.Kill())
		_ = helper.Wait()

		left, err := Load("clos01")
		require.NoError(t, err)
		require.Equal(t, PhaseStarting, left.Phase)
		if strings.HasPrefix(moment, "spine") {
			require.NoError(t, Down("clos01", nil))
			continue
		}
		s := planFile(t, path)
		up(t, s)
		checkPaths(t, s)
		require.NoError(t, Down("clos01", nil))
	}
}

// Several labs at once, and one whose state was lost.
func TestSideBySide(t *testing.T) {
	dir := labDir(t)
	a := generated(t, topology.GenerateParams{Name: "a", Spines: 1, Leaves: 2})
	b := generated(t, topology.GenerateParams{Name: "b", Spines: 1, Leaves: 2})
	up(t, a)
	up(t, b)
	checkPaths(t, a)
	checkPaths(t, b)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "a")))
	up(t, generated(t, topology.GenerateParams{Name: "a", Spines: 1, Leaves: 2}))
	checkPaths(t, b)
}

// A configuration that FRR does not take is told with the node and the file.
func TestBadConfiguration(t *testing.T) {
	dir := labDir(t)
	work := t.TempDir()
	path := filepath.Join(work, "x.clab.yml")
	require.NoError(t, os.WriteFile(path, []byte("name: x\ntopology: {nodes: {leaf1: {kind: linux, binds: ['my.conf:/etc/frr/frr.conf'], exec: ['exit 3']}}}\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(work, "my.conf"), []byte("router bgp 65001\n no such command\n"), 0o644))
	err := Up(t.Context(), planFile(t, path), Options{})
	require.ErrorContains(t, err, "leaf1: FRR does not take "+filepath.Join(work, "my.conf"))
	require.ErrorContains(t, err, "no such command")

	require.NoError(t, os.WriteFile(filepath.Join(work, "my.conf"), []byte("router bgp 65001\n"), 0o644))
	s := planFile(t, path)
	var out bytes.Buffer
	require.NoError(t, Up(t.Context(), s, Options{Progress: PrintProgress(&out, false)}))
	require.Contains(t, out.String(), `note: leaf1: exec "exit 3": exit status 3`)
	b, err := vty(t.Context(), filepath.Join(dir, "x", "nodes", "leaf1"), "bgpd", "show running-config")
	require.NoError(t, err)
	require.Contains(t, string(b), "router bgp 65001")
}
