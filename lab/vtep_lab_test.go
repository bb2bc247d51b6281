//go:build lab

package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/topology"
	"golang.org/x/sys/unix"
)

const oneVTEP = `
name: vtep
topology:
  defaults: {kind: linux}
  nodes:
    spine1:
    leaf1:
    vtep1: {kind: vtep}
    srv1:
      labels: {weft-tenant: blue, weft-network: web, weft-addresses: 10.0.0.11/24 fd00:0:0:a::11/64}
      exec: [ip addr add 10.0.0.11/24 dev eth1, ip -6 addr add fd00:0:0:a::11/64 dev eth1 nodad]
    srv2:
      labels: {weft-tenant: blue, weft-network: web, weft-addresses: 10.0.0.12/24 fd00:0:0:a::12/64, weft-vlan: "20"}
      exec: [ip addr add 10.0.0.12/24 dev eth1, ip -6 addr add fd00:0:0:a::12/64 dev eth1 nodad]
  links:
    - endpoints: ["leaf1:eth1", "spine1:eth1"]
    - endpoints: ["leaf1:eth2", "vtep1:eth1"]
    - endpoints: ["vtep1:eth2", "srv1:eth1"]
    - endpoints: ["vtep1:eth3", "srv2:eth1"]
`

// A hardware VTEP is driven by its database alone: two servers, one of them on
// a tagged port, reach each other when both ports are bound to one logical
// switch, and not before.
func TestHardwareVTEP(t *testing.T) {
	labDir(t)
	file, err := topology.Parse([]byte(oneVTEP), filepath.Join(t.TempDir(), "vtep.clab.yml"))
	require.NoError(t, err)
	s, _, err := Plan(file)
	require.NoError(t, err)
	up(t, s)
	logFootprint(t, s, "vtep1")

	show := runIn(t, s, "mgmt", "vtep-ctl", "--timeout=10", fmt.Sprintf("--db=tcp:%s:%d", nodeOf(t, s, "vtep1").Mgmt.Addr(), ovsdbPort), "show")
	for _, want := range []string{"Physical_Switch tor", "tunnel_ips: [\"10.64.0.1\"]", "Physical_Port eth2", "Physical_Port eth3"} {
		require.Contains(t, show, want)
	}
	require.NotContains(t, show, "Physical_Port eth1", "the uplink is no port for servers")

	v := vtepNode{t, s, "vtep1"}
	v.ctl("add-ls", "web", "--", "set", "Logical_Switch", "web", "tunnel_key=100", "--", "bind-ls", switchName, "eth2", "0", "web", "--", "bind-ls", switchName, "eth3", "21", "web")
	v.waitPort("0021-eth3-p")
	require.Error(t, ping(t, s, "srv1", "10.0.0.12"), "the server's frames have another tag")

	atPort, atServer := countTags(t, s, "vtep1", "eth3"), countTags(t, s, "srv1", "eth1")
	v.ctl("unbind-ls", switchName, "eth3", "21", "--", "bind-ls", switchName, "eth3", "20", "web")
	v.waitPort("0020-eth3-p")
	eventually(t, func() error { return ping(t, s, "srv1", "10.0.0.12") })
	require.NoError(t, ping(t, s, "srv1", "fd00:0:0:a::12"))
	require.NoError(t, ping(t, s, "srv2", "10.0.0.11", "-s", "1472", "-M", "do"), "a full packet has room for the tag")
	require.NoError(t, transfer(t, s, "srv2", "srv1", netip.MustParseAddrPort("10.0.0.11:5001")))
	require.NoError(t, transfer(t, s, "srv1", "srv2", netip.MustParseAddrPort("10.0.0.12:5001")))
	tagged, other := atPort.stop()
	require.NotZero(t, tagged["in 20"])
	require.NotZero(t, tagged["out 20"])
	require.Empty(t, other, "all that passes the tagged port has its tag")
	t.Logf("frames at the tagged port: %v", tagged)
	tagged, other = atServer.stop()
	require.NotZero(t, other["in 0"])
	require.Empty(t, tagged, "no tag leaves by the untagged port")

	eventually(t, func() error {
		if macs := v.ctl("list-local-macs", "web"); !strings.Contains(macs, "-> vxlan_over_ipv4/10.64.0.1") {
			return errors.New("no local MAC: " + macs)
		}
		return nil
	})

	// A node that was killed is told and, like the whole lab, made again.
	require.NoError(t, Kill(s, "vtep1", true))
	st, err := ReadStatus(t.Context(), s)
	require.NoError(t, err)
	require.False(t, st.OK())
	logs, err := s.Logs("vtep1")
	require.NoError(t, err)
	require.Contains(t, logs, filepath.Join(s.NodeDir("vtep1"), "ovs-vtep.log"))
	log, err := os.ReadFile(filepath.Join(s.NodeDir("vtep1"), "ovs-vtep.log"))
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(log), "adding binding 0000-eth2\n"), "each line once")
	again, _, err := Plan(file)
	require.NoError(t, err)
	up(t, again)
	st, err = ReadStatus(t.Context(), again)
	require.NoError(t, err)
	require.True(t, st.OK(), "%+v", st)
	require.Contains(t, vtepNode{t, again, "vtep1"}.ctl("show"), "Physical_Port eth3")
	require.NoError(t, Down("vtep", nil)) // labDir looks for what it left
}

// Two hardware VTEPs reach each other's servers through the tunnels that their
// databases ask for, over the fabric.
func TestHardwareVTEPsTunnelsUseTheUnderlay(t *testing.T) {
	labDir(t)
	s := generated(t, topology.GenerateParams{Name: "vteps", Spines: 1, Leaves: 2, VTEPsPerLeaf: 1, ServersPerVTEP: 2, Tenants: []string{"blue"}})
	up(t, s)
	nodes := []vtepNode{{t, s, "vtep1"}, {t, s, "vtep2"}}
	for i, v := range nodes {
		far := nodeOf(t, s, nodes[1-i].name).VTEP.Address
		v.ctl("add-ls", "web", "--", "set", "Logical_Switch", "web", "tunnel_key=100", "replication_mode=source_node",
			"--", "bind-ls", switchName, "eth2", "0", "web", "--", "bind-ls", switchName, "eth3", "101", "web")
		v.ctl("add-mcast-remote", "web", "unknown-dst", far.String())
	}
	for _, v := range nodes {
		eventually(t, func() error {
			out, err := exec.CommandContext(t.Context(), "ovs-ofctl", "dump-flows", "unix:"+filepath.Join(s.NodeDir(v.name), switchName+"_vtep_ls1.mgmt")).CombinedOutput()
			// The flood flow: two servers and the tunnel.
			if flows := string(out); err != nil || !strings.Contains(flows, "priority=0 actions=output:") || strings.Count(afterString(flows, "priority=0 actions=output:"), "output:") < 2 {
				return fmt.Errorf("%s: %s", v.name, out)
			}
			return nil
		})
	}
	for _, from := range []string{"blue-server1", "blue-server2"} {
		for _, to := range []string{"10.0.0.13", "10.0.0.14", "fd00:0:0:a::14"} {
			eventually(t, func() error { return ping(t, s, from, to) })
		}
	}
}

// afterString is the line that follows a mark.
func afterString(s, mark string) string {
	_, rest, _ := strings.Cut(s, mark)
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// The mixed lab comes up; what the leaves' agents and the controller build on
// is there.
func TestEdges(t *testing.T) {
	labDir(t)
	s := planFile(t, "testdata/edges.clab.yml")
	up(t, s)
	for _, n := range s.Nodes {
		logFootprint(t, s, n.Name)
	}
	st, err := ReadStatus(t.Context(), s)
	require.NoError(t, err)
	require.True(t, st.OK(), "%+v", st)
	checkPaths(t, s)
	for _, leaf := range []string{"leaf1", "leaf2"} {
		n := nodeOf(t, s, leaf)
		require.True(t, n.EVPN && n.Agent)
		// bgpd hears the controller on the management network.
		require.NoError(t, netns.Do(s.Namespace(mgmtNode), func() error {
			c, err := net.DialTimeout("tcp", netip.AddrPortFrom(n.Mgmt.Addr(), 179).String(), 5*time.Second)
			if err == nil {
				c.Close()
			}
			return err
		}))
		require.NoError(t, netns.Do(s.Namespace(leaf), func() error {
			for _, p := range s.vmPorts(leaf) {
				link, err := netlink.LinkByName(p.iface)
				if err != nil {
					return err
				}
				addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
				require.NoError(t, err)
				require.Empty(t, addrs)
				require.Equal(t, 1500, link.Attrs().MTU)
				require.NotZero(t, link.Attrs().Flags&net.FlagUp)
			}
			// The VTEP address of the leaf is on lo, and other edges reach it.
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			addrs, err := netlink.AddrList(lo, netlink.FAMILY_V4)
			require.NoError(t, err)
			require.Contains(t, fmt.Sprint(addrs), vtepOf(t, s, leaf).String())
			return nil
		}))
		require.NoError(t, ping(t, s, "vtep1", vtepOf(t, s, leaf).String()))
		require.NoError(t, ping(t, s, "hv2", vtepOf(t, s, leaf).String()))
	}
	require.NoError(t, ping(t, s, "vtep1", vtepOf(t, s, "hv2").String()))
}

// The agent is started on each switch, in its namespace, with what it needs to know;
// on leaves that are EVPN edges with a keeper.
func TestAgentsAreStarted(t *testing.T) {
	dir := labDir(t)
	weft := filepath.Join(t.TempDir(), "weft")
	require.NoError(t, os.WriteFile(weft, []byte("#!/bin/sh\nip -br link > "+filepath.Join(dir, "agent.links")+"\nexec sleep 600\n"), 0o755))
	s := planFile(t, "testdata/edges.clab.yml")
	s.dir = filepath.Join(Parent(), s.Name)
	s.UseController()
	r := &run{state: s, opts: Options{Weft: weft}, progress: silent{}}
	for _, n := range []string{"leaf2", "spine1"} {
		require.NoError(t, os.MkdirAll(s.NodeDir(n), 0o755))
		require.NoError(t, makeNamespace(s.Namespace(n), nil))
	}
	for _, n := range []string{"leaf2", "spine1", "hv1", "vtep1"} {
		require.NoError(t, r.startAgent(t.Context(), nodeOf(t, s, n)))
	}
	require.Len(t, s.Processes, 3)
	require.Equal(t, []string{weft, "keeper", "--asn", fmt.Sprint(s.specOf("leaf2").ASN), "--controllers", "172.20.20.2", "--from", keeperAddress,
		"--listen", nodeOf(t, s, "leaf2").Mgmt.Addr().String() + ":1179", "--bgpd", s.specOf("leaf2").VTEP.String() + ":179"}, s.Processes[0].Args)
	agent := func(node string) []string {
		return []string{weft, "agent", "--node", node, "--serial", "edges-" + node, "--controller", "http://172.20.20.2:8470", "--frr-dir", s.NodeDir(node), "--state-dir", filepath.Join(s.NodeDir(node), "agent")}
	}
	require.Equal(t, append(agent("leaf2"), "--keeper", keeperAddress), s.Processes[1].Args)
	require.Equal(t, agent("spine1"), s.Processes[2].Args)
	eventually(t, func() error {
		b, err := os.ReadFile(filepath.Join(dir, "agent.links"))
		if err == nil && strings.Contains(string(b), "lo ") {
			return nil
		}
		return fmt.Errorf("the agent has not run: %w", err)
	})
	found, err := netns.Processes([]string{s.Namespace("leaf2")})
	require.NoError(t, err)
	require.Contains(t, found[s.Namespace("leaf2")], s.Processes[1].PID)
	require.NoError(t, os.Remove(filepath.Join(dir, "agent.links")))
}

func nodeOf(t *testing.T, s *State, name string) Node {
	t.Helper()
	n, err := s.Node(name)
	require.NoError(t, err)
	return n
}

func vtepOf(t *testing.T, s *State, name string) netip.Addr {
	t.Helper()
	for _, n := range s.FabricNodes {
		if n.Metadata.Name == name {
			return n.Spec.VTEP
		}
	}
	t.Fatalf("no node %s", name)
	return netip.Addr{}
}

// eventually waits for a condition for some seconds: the emulator looks at its
// database once a second.
func eventually(t *testing.T, cond func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var last error
	err := until(ctx, 100*time.Millisecond, nil, func() (bool, error) {
		last = cond()
		return last == nil, nil
	})
	require.NoError(t, errors.Join(err, last))
}

func runIn(t *testing.T, s *State, node, name string, args ...string) string {
	t.Helper()
	out, err := output(t, s, node, name, args...)
	require.NoError(t, err, out)
	return out
}

func output(t *testing.T, s *State, node, name string, args ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := netns.Do(s.Namespace(node), cmd.Start); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}

// ping sends one packet, and tells when no answer came within two seconds.
func ping(t *testing.T, s *State, node, to string, args ...string) error {
	t.Helper()
	out, err := output(t, s, node, "ping", append([]string{"-c", "1", "-W", "2", to}, args...)...)
	if err != nil {
		return fmt.Errorf("ping %s from %s: %w: %s", to, node, err, out)
	}
	return nil
}

// transfer sends a megabyte by TCP.
func transfer(t *testing.T, s *State, from, to string, at netip.AddrPort) error {
	const size = 1 << 20
	var l net.Listener
	err := netns.Do(s.Namespace(to), func() (err error) {
		l, err = net.Listen("tcp", at.String())
		return err
	})
	if err != nil {
		return err
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		n, err := io.Copy(io.Discard, c)
		if err == nil && n != size {
			err = fmt.Errorf("%d bytes came", n)
		}
		done <- err
	}()
	var c net.Conn
	err = netns.Do(s.Namespace(from), func() (err error) {
		c, err = net.DialTimeout("tcp", at.String(), 10*time.Second)
		return err
	})
	if err != nil {
		return err
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, err = c.Write(make([]byte, size))
	return errors.Join(err, c.Close(), <-done)
}

// vtepNode is a hardware VTEP of a lab.
type vtepNode struct {
	*testing.T
	s    *State
	name string
}

func (v vtepNode) ctl(args ...string) string {
	v.Helper()
	return runIn(v.T, v.s, v.name, "vtep-ctl", append([]string{"--timeout=10", "--db=unix:" + filepath.Join(v.s.NodeDir(v.name), "db.sock")}, args...)...)
}

// waitPort waits until the emulator has made the port of a binding.
func (v vtepNode) waitPort(name string) {
	v.Helper()
	eventually(v.T, func() error {
		out, err := exec.CommandContext(v.Context(), "ovs-ofctl", "dump-flows", "unix:"+filepath.Join(v.s.NodeDir(v.name), switchName+".mgmt")).CombinedOutput()
		vlan, _, _ := strings.Cut(name, "-")
		id, _ := strconv.Atoi(vlan)
		if err != nil || !strings.Contains(string(out), fmt.Sprintf("mod_vlan_vid:%d", id)) {
			return fmt.Errorf("%s is not there: %s", name, out)
		}
		return nil
	})
}

// tags counts the frames of an interface by direction and 802.1Q tag, "in 20";
// 0 is no tag.
type tags struct {
	file *os.File
	done sync.WaitGroup
	mu   sync.Mutex
	seen map[string]int
}

func countTags(t *testing.T, s *State, node, iface string) *tags {
	t.Helper()
	c := &tags{seen: map[string]int{}}
	require.NoError(t, netns.Do(s.Namespace(node), func() error {
		i, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		c.file = os.NewFile(uintptr(fd), "tap")
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index})
	}))
	raw, err := c.file.SyscallConn()
	require.NoError(t, err)
	c.done.Go(func() {
		frame, oob := make([]byte, 65536), make([]byte, 256)
		for {
			var n, noob int
			var from unix.Sockaddr
			var failed error
			err := raw.Read(func(fd uintptr) bool {
				n, noob, _, from, failed = unix.Recvmsg(int(fd), frame, oob, 0)
				return !errors.Is(failed, unix.EAGAIN)
			})
			if err != nil || failed != nil {
				return
			}
			c.count(frame[:n], oob[:noob], from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING)
		}
	})
	t.Cleanup(func() { c.stop() })
	return c
}

// count notes a frame. The kernel keeps a tag beside the data (struct
// tpacket_auxdata) or has left it in.
func (c *tags) count(frame, oob []byte, out bool) {
	vlan := 0
	if messages, err := syscall.ParseSocketControlMessage(oob); err == nil {
		for _, m := range messages {
			if m.Header.Type == unix.PACKET_AUXDATA && binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0 {
				vlan = int(binary.NativeEndian.Uint16(m.Data[16:])) & 0xfff
			}
		}
	}
	if len(frame) > 16 && binary.BigEndian.Uint16(frame[12:]) == 0x8100 {
		vlan = int(binary.BigEndian.Uint16(frame[14:])) & 0xfff
	}
	key := fmt.Sprintf("in %d", vlan)
	if out {
		key = fmt.Sprintf("out %d", vlan)
	}
	c.mu.Lock()
	c.seen[key]++
	c.mu.Unlock()
}

// stop gives the counts of frames with a tag and without.
func (c *tags) stop() (tagged, untagged map[string]int) {
	c.file.Close()
	c.done.Wait()
	tagged, untagged = map[string]int{}, map[string]int{}
	for k, n := range c.seen {
		if strings.HasSuffix(k, " 0") {
			untagged[k] = n
		} else {
			tagged[k] = n
		}
	}
	return tagged, untagged
}

// logFootprint prints what a node's processes take of memory, each page shared
// by several counted in parts.
func logFootprint(t *testing.T, s *State, node string) {
	t.Helper()
	for _, p := range s.Processes {
		if p.Node != node {
			continue
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.PID))
		require.NoError(t, err)
		for _, l := range strings.Split(string(b), "\n") {
			if f := strings.Fields(l); len(f) == 3 && (f[0] == "Rss:" || f[0] == "Pss:") {
				t.Logf("%s %s %s %s kB", node, p.Name, f[0], f[1])
			}
		}
	}
}

// openvswitch-vtep is asked for only by a file that has such a node.
func TestHostNeedsForHardwareVTEPs(t *testing.T) {
	with := planFile(t, "testdata/edges.clab.yml")
	without := generated(t, topology.GenerateParams{Name: "hv", Spines: 1, Leaves: 1, HypervisorsPerLeaf: 1})
	t.Setenv("PATH", t.TempDir())
	require.ErrorContains(t, CheckHost(with), "openvswitch-vtep")
	err := CheckHost(without)
	require.ErrorContains(t, err, "openvswitch-switch")
	require.NotContains(t, err.Error(), "openvswitch-vtep")
}
