package lab

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
)

const (
	ovsSchema = "/usr/share/openvswitch/vswitch.ovsschema"
	// bridgePhy holds the uplink and, on its own interface, the VTEP address;
	// bridgeInt holds the VMs and is the controller's.
	bridgePhy = "br-phy"
	bridgeInt = "br-int"

	// ovsNice is what Open vSwitch's own start script gives its daemons. The
	// datapath is theirs here: off the processor for long, they lose packets.
	ovsNice = -10

	ovsdbPort    = 6640
	openflowPort = 6653
)

// makeDatabase makes an empty database of a schema.
func makeDatabase(ctx context.Context, path, schema string) error {
	out, err := exec.CommandContext(ctx, "ovsdb-tool", "create", path, schema).CombinedOutput()
	if err != nil {
		return fmt.Errorf("make the database %s: %w: %s", filepath.Base(path), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if e := out.Close(); err == nil {
		err = e
	}
	return err
}

// startVSwitch runs a node's Open vSwitch and prepares it as an installer would:
// br-phy with the uplink; on a hypervisor an empty br-int that forwards nothing
// until the controller says so, on a hardware VTEP the physical switch. The
// template is the empty database, of which each node has a copy.
func (r *run) startVSwitch(ctx context.Context, n Node, template string) error {
	dir := r.state.NodeDir(n.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	if err := copyFile(template, filepath.Join(dir, "conf.db")); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	for _, name := range []string{"ovsdb-server", "ovs-vswitchd"} {
		if err := r.startOVS(ctx, n.Name, name); err != nil {
			return err
		}
	}
	if err := ovsVsctl(ctx, dir, vswitchSetup(r.state, n)...); err != nil {
		return fmt.Errorf("%s: %w%s", n.Name, err, logTail(filepath.Join(dir, "ovs-vswitchd.log"), 5))
	}
	err := netns.Do(r.state.Namespace(n.Name), func() error { return underlayOf(n) })
	if err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	return nil
}

// startOVS starts ovsdb-server or ovs-vswitchd.
func (r *run) startOVS(ctx context.Context, node, name string) error {
	dir := r.state.NodeDir(node)
	at := func(suffix string) string { return filepath.Join(dir, suffix) }
	args := []string{name, "--pidfile=" + at(name+".pid"), "--unixctl=" + at(name+".ctl"), "-vconsole:off", "-vsyslog:off", "--log-file=" + at(name+".log")}
	wait := []string{at(name + ".ctl")}
	if name == "ovsdb-server" {
		args = append(args, at("conf.db"))
		if vtep := at("vtep.db"); fileExists(vtep) { // of a hardware VTEP
			args = append(args, vtep)
		}
		args = append(args, "--remote=punix:"+at("db.sock"), fmt.Sprintf("--remote=ptcp:%d", ovsdbPort))
		wait = append(wait, at("db.sock"))
	} else {
		args = append(args, "unix:"+at("db.sock"), "--disable-system")
	}
	return r.daemon(ctx, program{node: node, name: name, args: args, env: ovsEnv(dir), log: at(name + ".log"), nice: ovsNice}, wait...)
}

// ovsEnv tells Open vSwitch's programs where a node's files are.
func ovsEnv(dir string) []string {
	return []string{"OVS_RUNDIR=" + dir, "OVS_LOGDIR=" + dir, "OVS_DBDIR=" + dir, "OVS_SYSCONFDIR=" + dir}
}

// vswitchSetup is what ovs-vsctl is told on a new hypervisor or hardware VTEP.
func vswitchSetup(s *State, n Node) []string {
	args := []string{"set", "Open_vSwitch", ".", "external_ids:system-id=" + n.Name, "external_ids:hostname=" + n.Name}
	if v := n.VTEP; v != nil && v.Uplink != "" {
		args = append(args, "--", "add-br", bridgePhy, "--", "set", "Bridge", bridgePhy, "datapath_type=netdev", "fail_mode=standalone",
			"--", "set", "Interface", bridgePhy, fmt.Sprintf("mtu_request=%d", s.mtu(n.Name, v.Uplink)),
			"--", "add-port", bridgePhy, v.Uplink)
	}
	if n.Role == intent.RoleVTEP {
		return append(args, torSetup(s, n)...)
	}
	args = append(args, "--", "add-br", bridgeInt, "--", "set", "Bridge", bridgeInt, "datapath_type=netdev", "fail_mode=secure")
	for _, p := range s.vmPorts(n.Name) {
		args = append(args, "--", "add-port", bridgeInt, p.iface, "--", "set", "Interface", p.iface, "external_ids:iface-id="+p.ifaceID)
	}
	return args
}

type vmPort struct{ iface, ifaceID string }

// vmPorts lists a node's interfaces that lead to VMs and servers, with the iface-id
// that a hypervisor manager would write: the VM's name, and for a second
// interface of one VM also the interface's.
func (s *State) vmPorts(node string) []vmPort {
	var ports []vmPort
	seen := map[string]int{}
	for _, l := range s.Links {
		for _, e := range [][2]End{{l.A, l.B}, {l.B, l.A}} {
			peer, err := s.Node(e[1].Node)
			if e[0].Node != node || err != nil || (peer.Role != intent.RoleVM && peer.Role != intent.RoleServer) {
				continue
			}
			id := peer.Name
			if seen[id]++; seen[id] > 1 {
				id += ":" + e[1].Interface
			}
			ports = append(ports, vmPort{e[0].Interface, id})
		}
	}
	return ports
}

// underlayOf gives the VTEP its address and its way out, in the current
// namespace.
func underlayOf(n Node) error {
	v := n.VTEP
	if v == nil || v.Uplink == "" {
		return nil
	}
	if err := arpOff(v.Uplink); err != nil {
		return err
	}
	if err := setUp(bridgePhy); err != nil {
		return err
	}
	// The first address is the one that Open vSwitch sends from.
	if err := addAddress(Address{bridgePhy, hostPrefix(v)}); err != nil {
		return err
	}
	if v.Link.IsValid() && v.Link.Addr() != v.Address {
		if err := addAddress(Address{bridgePhy, v.Link}); err != nil {
			return err
		}
	}
	for _, a := range v.Colours {
		if err := addAddress(Address{bridgePhy, netip.PrefixFrom(a, a.BitLen())}); err != nil {
			return err
		}
	}
	if !v.Gateway.IsValid() {
		return nil
	}
	return addGateway(Gateway{Interface: bridgePhy, Via: v.Gateway})
}

// ovsVsctl changes a hypervisor's database and waits until ovs-vswitchd has
// done it.
func ovsVsctl(ctx context.Context, dir string, args ...string) error {
	all := append([]string{"--db=unix:" + filepath.Join(dir, "db.sock"), "--timeout=120"}, args...)
	out, err := exec.CommandContext(ctx, "ovs-vsctl", all...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ovs-vsctl: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// hostPrefix is the VTEP's address as br-phy has it: with the subnet of its
// link when they are the same, else alone.
func hostPrefix(v *VTEP) netip.Prefix {
	if v.Link.IsValid() && v.Link.Addr() == v.Address {
		return v.Link
	}
	return netip.PrefixFrom(v.Address, v.Address.BitLen())
}
