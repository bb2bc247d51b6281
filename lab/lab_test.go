package lab

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/topology"
	"golang.org/x/sys/unix"
)

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"dc": true, "a-b_c.1": true, "A1": true, strings.Repeat("x", 32): true,
		"": false, "-a": false, "a-": false, "a/b": false, "..": false, "a b": false, strings.Repeat("x", 33): false,
	} {
		require.Equal(t, ok, CheckName(name) == nil, name)
	}
	require.ErrorContains(t, checkNode("controller"), "give the node another")
	require.ErrorContains(t, checkNode("a/b"), `"a/b" can't name a node`)
	require.NoError(t, checkInterface("n", "ethernet-1_1"))
	for _, i := range []string{"", "sixteencharacter", "a b", "a/b", "lo", "..", "a:b"} {
		require.Error(t, checkInterface("n", i), i)
	}
	require.Equal(t, "weft-dc-leaf1", Namespace("dc", "leaf1"))
}

func testState(t *testing.T, name string) *State {
	t.Helper()
	s := &State{
		Name: name, dir: filepath.Join(Parent(), name), Phase: PhaseUp, Mgmt: defaultMgmt, Created: time.Now().UTC().Round(time.Second),
		Nodes: []Node{
			{Name: "hv1", Role: intent.RoleHypervisor, VTEP: &VTEP{Address: netip.MustParseAddr("10.64.0.1"), Uplink: "eth1", Link: netip.MustParsePrefix("10.64.0.1/31")}},
			{Name: "vm1", Role: intent.RoleVM}, {Name: "vm2", Role: intent.RoleVM},
		},
		Links: []Link{
			{A: End{Node: "hv1", Interface: "eth2"}, B: End{Node: "vm1", Interface: "eth1", MAC: intent.MAC{2}}, MTU: 1500},
			{A: End{Node: "vm1", Interface: "eth2"}, B: End{Node: "hv1", Interface: "eth3"}, MTU: 1500},
			{A: End{Node: "vm2", Interface: "eth1"}, B: End{Node: "hv1", Interface: "eth4"}, MTU: 1500},
		},
		FabricNodes: []*intent.Node{{Metadata: intent.Metadata{Name: "hv1"}, Spec: intent.NodeSpec{VTEP: netip.MustParseAddr("10.64.0.1")}}},
	}
	require.NoError(t, os.MkdirAll(s.dir, 0o755))
	return s
}

func TestStateFile(t *testing.T) {
	t.Setenv("WEFT_LAB_DIR", t.TempDir())
	_, err := Find("")
	require.ErrorIs(t, err, ErrNoLab)
	_, _, err = FindAPI()
	require.ErrorIs(t, err, ErrNoLab)

	s := testState(t, "one")
	require.NoError(t, s.record(Process{Node: "hv1", Name: "ovs-vswitchd", PID: 7, Start: 8}))
	require.NoError(t, s.record(Process{Node: "hv1", Name: "ovs-vswitchd", PID: 9, Start: 10})) // restarted
	got, err := Find("")
	require.NoError(t, err)
	require.Equal(t, s.Nodes, got.Nodes)
	require.Equal(t, s.Links, got.Links)
	require.Equal(t, s.Mgmt, got.Mgmt)
	require.Len(t, got.Processes, 1)
	require.Equal(t, 9, got.Processes[0].PID)

	s.UseController()
	require.NoError(t, s.save())
	endpoint, name, err := FindAPI()
	require.NoError(t, err)
	require.Equal(t, "one", name)
	require.Equal(t, "unix:"+filepath.Join(Parent(), "one", "api.sock"), endpoint)

	two := testState(t, "two")
	two.UseController()
	require.NoError(t, two.save())
	_, err = Find("")
	require.ErrorContains(t, err, "several labs are running (one, two): say which with --lab NAME")
	_, _, err = FindAPI()
	require.ErrorContains(t, err, "one, two")
	_, err = Load("../one")
	require.Error(t, err)
}

func TestTwoLabsCanNotShareANamespace(t *testing.T) {
	t.Setenv("WEFT_LAB_DIR", t.TempDir())
	a := testState(t, "a")
	a.Nodes = []Node{{Name: "b-c"}}
	require.NoError(t, a.save())
	b := &State{Name: "a-b", Nodes: []Node{{Name: "c"}}}
	require.ErrorContains(t, b.checkOthers(), "weft-a-b-c")
}

func TestLockIsExclusive(t *testing.T) {
	t.Setenv("WEFT_LAB_DIR", t.TempDir())
	dir, unlock, err := lock("x")
	require.NoError(t, err)
	_, _, err = lock("x")
	require.ErrorContains(t, err, "another weft")
	require.NoError(t, os.RemoveAll(dir)) // as "lab down" does
	unlock()
	_, unlock, err = lock("x")
	require.NoError(t, err)
	unlock()
}

// A process that took the number of one of ours is never signalled.
func TestOnlyOurProcessesAreKilled(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	require.NoError(t, cmd.Start())
	gone := make(chan struct{})
	go func() { _ = cmd.Wait(); close(gone) }()
	ticks, zombie, err := startTime(cmd.Process.Pid)
	require.NoError(t, err)
	require.False(t, zombie)
	ours := Process{Node: "n", Name: "sleep", PID: cmd.Process.Pid, Start: ticks}
	require.True(t, ours.Alive())

	other := ours
	other.Start--
	require.False(t, other.Alive())
	require.NoError(t, stop([]Process{other}, 0))
	select {
	case <-gone:
		t.Fatal("a process that is not ours was killed")
	case <-time.After(50 * time.Millisecond):
	}
	require.NoError(t, stop([]Process{ours}, time.Second))
	<-gone
	require.False(t, ours.Alive())
	require.NoError(t, stop([]Process{ours}, time.Second), "again is no error")
	require.False(t, Process{}.Alive())
}

// firstThreadEnds has the first thread of this program end when a test started it for
// that: another one goes on until its standard input is closed.
var firstThreadEnds = os.Getenv("WEFT_FIRST_THREAD_ENDS") != ""

func init() {
	if !firstThreadEnds {
		return
	}
	runtime.LockOSThread()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
}

// A process has not ended, and may hold sockets that the next one needs, as long as one
// of its threads runs.
func TestProcessLivesWithItsThreads(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "WEFT_FIRST_THREAD_ENDS=1")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	stat := fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid)
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(stat)
		return err == nil && bytes.Contains(b, []byte(") Z "))
	}, time.Minute, time.Millisecond, "its first thread ends")
	ticks, _, err := startTime(cmd.Process.Pid)
	require.NoError(t, err)
	p := Process{Node: "n", Name: "threads", PID: cmd.Process.Pid, Start: ticks}
	require.True(t, p.Alive())
	require.False(t, ended(p, 50*time.Millisecond))
	require.NoError(t, in.Close())
	require.True(t, ended(p, time.Minute))
	require.False(t, p.Alive(), "though nobody has reaped it")
}

func TestParseStat(t *testing.T) {
	rest := func(threads int) string {
		return strings.Repeat(" 0", 16) + fmt.Sprintf(" %d 0 4711 1 2", threads)
	}
	for text, ended := range map[string]bool{
		"12 (sh) S" + rest(1): false, "12 (a) b) (c) Z" + rest(1): true, "12 (sh) X" + rest(0): true,
		"12 (sh) Z" + rest(2): false, // of two threads the first is gone
	} {
		ticks, zombie, err := parseStat([]byte(text))
		require.NoError(t, err)
		require.Equal(t, uint64(4711), ticks)
		require.Equal(t, ended, zombie, text)
	}
	for _, bad := range []string{"", "12 sh S 1 2", "12 (sh) S 1 2"} {
		_, _, err := parseStat([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestHypervisorSetup(t *testing.T) {
	t.Setenv("WEFT_LAB_DIR", t.TempDir())
	s := testState(t, "x")
	require.Equal(t, []vmPort{{"eth2", "vm1"}, {"eth3", "vm1:eth2"}, {"eth4", "vm2"}}, s.vmPorts("hv1"))
	setup := strings.Join(vswitchSetup(s, s.Nodes[0]), " ")
	require.Contains(t, setup, "add-port br-phy eth1")
	require.Contains(t, setup, "add-port br-int eth3 -- set Interface eth3 external_ids:iface-id=vm1:eth2")
	require.Contains(t, setup, "set Bridge br-int datapath_type=netdev fail_mode=secure")
}

func TestHostsFromIntent(t *testing.T) {
	t.Setenv("WEFT_LAB_DIR", t.TempDir())
	s := testState(t, "x")
	subnet := netip.MustParsePrefix("10.0.0.0/24")
	network := &intent.Network{Metadata: intent.Metadata{Name: "web", Tenant: "blue"}, Spec: intent.NetworkSpec{Subnets: []netip.Prefix{subnet}}}
	port := func(name string, b intent.Binding) *intent.Port {
		return &intent.Port{Metadata: intent.Metadata{Name: name, Tenant: "blue"}, Spec: intent.PortSpec{Network: "web", Binding: b, Addresses: []netip.Addr{subnet.Addr().Next()}}}
	}
	hosts, notes := s.hostsOf([]intent.Object{network}, []intent.Object{
		port("p1", intent.Binding{IfaceID: "vm1"}),
		port("p2", intent.Binding{Node: "hv1", Interface: "eth3"}), // vm1's second
		port("p3", intent.Binding{IfaceID: "elsewhere"}),
	})
	vtep := netip.MustParseAddr("10.64.0.1")
	at := func(name, ns, iface string) probe.Host {
		return probe.Host{Name: name, Namespace: ns, Interface: iface, Tenant: "blue", Network: "web", Addresses: []netip.Addr{subnet.Addr().Next()}, Subnets: []netip.Prefix{subnet}, VTEP: vtep, Edge: "vswitch"}
	}
	require.Equal(t, []probe.Host{
		at("vm1", "weft-x-vm1", "eth1"), at("vm1:eth2", "weft-x-vm1", "eth2"),
		{Name: "vm2", Namespace: "weft-x-vm2", Interface: "eth1"}, // catches what leaks
	}, hosts)
	require.Equal(t, []string{"Port blue/p3 is bound to nothing of this lab, so it is not checked"}, notes)
}

func TestPlanOfAGeneratedFile(t *testing.T) {
	t.Setenv("WEFT_LAB_DIR", t.TempDir())
	file, err := topology.Generate(topology.GenerateParams{Name: "dc", Spines: 4, Leaves: 8, HypervisorsPerLeaf: 2, HostsPerHypervisor: 4})
	require.NoError(t, err)
	s, _, err := Plan(file)
	require.NoError(t, err)
	require.Len(t, s.Nodes, 4+8+16+64)
	require.Len(t, s.Widths, 8*7)
	for _, w := range s.Widths {
		require.Equal(t, 4, w.Want)
		require.Equal(t, []string{"eth1", "eth2", "eth3", "eth4"}, w.Over)
		require.Equal(t, 4, w.have([]string{"eth2", "eth1", "eth4", "eth3"}))
		require.Equal(t, 3, w.have([]string{"eth2", "eth1", "eth4", "eth9"}), "one leads elsewhere")
		require.Equal(t, 5, w.have([]string{"eth1", "eth2", "eth3", "eth4", "eth9"}), "one too many")
	}
	used := map[netip.Prefix]bool{}
	for _, n := range s.Nodes {
		switch {
		case n.Router != nil:
			require.True(t, n.Router.Managed)
			require.NotEmpty(t, n.Router.Sections["bgpd"])
		case n.VTEP != nil:
			require.Equal(t, n.VTEP.Address, n.VTEP.Link.Addr())
			require.True(t, n.VTEP.Gateway.IsValid())
		default:
			require.False(t, n.Mgmt.IsValid(), "VMs are not in the management network")
			continue
		}
		require.False(t, used[n.Mgmt])
		used[n.Mgmt] = true
	}
	for _, l := range s.Links {
		if strings.Contains(l.B.Node, "vm") {
			require.Equal(t, 1500, l.MTU)
			require.False(t, l.B.MAC.IsZero(), "the VM has the MAC of its port before it is up")
		} else {
			require.Equal(t, 9216, l.MTU)
		}
	}
	require.Len(t, s.FabricNodes, 28)
	for _, n := range s.FabricNodes {
		require.NoError(t, n.Validate())
		if n.Spec.Role == intent.RoleHypervisor {
			require.Regexp(t, `^tcp:172\.20\.20\.\d+:6640$`, n.Spec.VSwitch.OVSDB)
		}
	}
	var out bytes.Buffer
	require.NoError(t, Inspect(&out, s, []string{"a note"}))
	require.Contains(t, out.String(), "label weft-role")
	require.Contains(t, out.String(), "note: a note")
}

func parse(t *testing.T, dir, text string) *topology.File {
	t.Helper()
	f, err := topology.Parse([]byte(text), filepath.Join(dir, "x.clab.yml"))
	require.NoError(t, err)
	return f
}

func TestBoundFRRConfiguration(t *testing.T) {
	dir := t.TempDir()
	text := `
name: x
topology:
  nodes:
    leaf1: {kind: linux, binds: ["leaf1.conf:/etc/frr/frr.conf", "daemons:/etc/frr/daemons"]}
    leaf2: {kind: linux, binds: ["missing.conf:/etc/frr/frr.conf"]}
  links: [{endpoints: ["leaf1:eth1", "leaf2:eth1"]}]
`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "leaf1.conf"), []byte("hostname mine\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "daemons"), []byte("# who runs\nbgpd=yes\nospfd=no\nospf6d = yes\nvtysh_enable=yes\nbgpd_options=\"-A 127.0.0.1\"\n"), 0o644))
	s, notes, err := Plan(parse(t, dir, text))
	require.NoError(t, err)
	one, two := s.Nodes[0].Router, s.Nodes[1].Router
	require.False(t, one.Managed)
	require.Equal(t, "hostname mine\n", one.Config)
	require.Equal(t, []string{"zebra", "staticd", "bgpd"}, one.Daemons)
	require.True(t, two.Managed)
	require.Contains(t, notes, fmt.Sprintf("leaf2: %s is not there, so Weft configures the node", filepath.Join(dir, "missing.conf")))
	require.Empty(t, s.Widths, "what the user configures is not ours to expect")
}

func TestPlanRefusals(t *testing.T) {
	for want, text := range map[string]string{
		`mgmt: ipv4-subnet: 10.0.0.0/30 is too small`: "name: x\nmgmt: {ipv4-subnet: 10.0.0.0/30}\ntopology: {nodes: {leaf1: {kind: linux}}}\n",
		`node "mgmt": the lab uses this name`:         "name: x\ntopology: {nodes: {mgmt: {kind: linux}, leaf1: {kind: linux}}}\n",
		`can't name a lab`:                            "name: " + strings.Repeat("x", 40) + "\ntopology: {nodes: {leaf1: {kind: linux}}}\n",
	} {
		_, _, err := Plan(parse(t, "/", text))
		require.ErrorContains(t, err, want)
	}
}

func TestMatrix(t *testing.T) {
	var out bytes.Buffer
	w := func(a, b string, have, want int) Width { return Width{PathWidth{From: a, To: b, Want: want}, have} }
	require.NoError(t, printMatrix(&out, []Width{w("leaf1", "leaf2", 2, 2), w("leaf2", "leaf1", 1, 2)}))
	require.Equal(t, "FROM \\ TO  leaf1  leaf2\nleaf1      -      2/2\nleaf2      1/2    -\n", out.String())
}

func TestPathCheck(t *testing.T) {
	good := PathCheck{probe.PathRow{From: "a", To: "b", Sent: 4, Received: 4, Uplinks: map[string]int{"eth1": 2, "eth2": 2}}, 2, 2}
	require.True(t, good.OK())
	for _, change := range []func(*PathCheck){
		func(p *PathCheck) { p.Received = 3 },
		func(p *PathCheck) { p.Have = 1 },
		func(p *PathCheck) { p.Uplinks = map[string]int{"eth1": 4} },
	} {
		p := good
		change(&p)
		require.False(t, p.OK())
		var out bytes.Buffer
		require.NoError(t, (&Checked{Underlay: []PathCheck{p}}).Print(&out))
		require.Contains(t, out.String(), "not as expected")
	}
}

func TestProgressOfPlainOutput(t *testing.T) {
	var out bytes.Buffer
	p := PrintProgress(&out, false)
	p.Phase("one")(nil)
	p.Note("hm")
	p.Phase("two")(os.ErrExist)
	require.Equal(t, "ok one 0.0s\nnote: hm\nfailed: two 0.0s\n", out.String())
}

func TestKnowsGateway(t *testing.T) {
	table := "IP                  MAC                 Bridge\n=====\n10.64.1.0           66:83:12:63:ec:a7   br-phy\n"
	require.True(t, knows(table, netip.MustParseAddr("10.64.1.0")))
	require.False(t, knows(table, netip.MustParseAddr("10.64.1.1")))
}
