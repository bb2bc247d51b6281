package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
)

// What a hardware VTEP of the lab runs: Open vSwitch, with the database of
// vtep(5) beside its own, and the emulator that comes with it. The emulator is
// Debian's own script and needs Debian's own Python.
const (
	vtepSchema   = "/usr/share/openvswitch/vtep.ovsschema"
	vtepEmulator = "/usr/share/openvswitch/scripts/ovs-vtep"
	python       = "/usr/bin/python3"

	// switchName is the name of the Physical_Switch row and of the bridge that
	// has its ports. The emulator names the bridge of a logical switch after
	// it, tor_vtep_ls1, tor_vtep_ls2 and so on, and the kernel takes 15
	// characters: node names would be too long.
	switchName = "tor"
	// bridgeBFD is the emulator's own bridge, the last thing that it makes
	// before it looks at the database.
	bridgeBFD = "vtep_bfd"
	// bridgeNeighbours has a tunnel port and nothing else.
	bridgeNeighbours = "br-neigh"
)

// hardwareVTEP plans a switch driven by the hardware_vtep schema. In the
// underlay it is what a hypervisor is.
func (p *planner) hardwareVTEP(n *Node) error {
	p.hypervisor(n)
	var errs []error
	if !n.VTEP.Address.IsValid() {
		errs = append(errs, fmt.Errorf("%s: a hardware VTEP needs a link to a leaf: its tunnels have no address to end at", n.Name))
	}
	for _, l := range p.file.Graph.LinksOf(n.Name) {
		switch name := l.A.Interface; {
		case name == switchName || name == bridgeBFD || name == bridgePhy || name == bridgeNeighbours:
			errs = append(errs, fmt.Errorf("%s: interface %s: the node has a bridge of this name: give the interface another", n.Name, name))
		case strings.HasSuffix(name, "-p"):
			errs = append(errs, fmt.Errorf("%s: interface %s: the emulator takes names that end in -p for its own: give the interface another", n.Name, name))
		}
	}
	return errors.Join(errs...)
}

// startVTEP runs a hardware VTEP: Open vSwitch with the uplink as a hypervisor
// has it, a physical switch with a port for each server, and the emulator.
func (r *run) startVTEP(ctx context.Context, n Node, template string) error {
	dir := r.state.NodeDir(n.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	if err := makeDatabase(ctx, filepath.Join(dir, "vtep.db"), vtepSchema); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	if err := r.startVSwitch(ctx, n, template); err != nil {
		return err
	}
	if err := vtepCtl(ctx, dir, vtepSetup(r.state, n)...); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	return r.startEmulator(ctx, n)
}

// startEmulator starts ovs-vtep and waits until it looks after the database.
func (r *run) startEmulator(ctx context.Context, n Node) error {
	dir := r.state.NodeDir(n.Name)
	log := filepath.Join(dir, "ovs-vtep.log")
	err := r.daemon(ctx, program{
		node: n.Name, name: "ovs-vtep", log: log, env: ovsEnv(dir),
		// It logs to the console whatever it is told, so it gets no file besides.
		args: []string{python, vtepEmulator, "-vsyslog:off", "--pidfile=" + filepath.Join(dir, "ovs-vtep.pid"), switchName},
	}, filepath.Join(dir, "ovs-vtep.pid"))
	if err != nil {
		return err
	}
	err = until(ctx, 20*time.Millisecond, nil, func() (bool, error) {
		for _, p := range r.state.dead() {
			if p.Node == n.Name {
				return false, errEnded
			}
		}
		return exec.CommandContext(ctx, "ovs-vsctl", "--db=unix:"+filepath.Join(dir, "db.sock"), "--timeout=10", "br-exists", bridgeBFD).Run() == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%s: ovs-vtep did not start: %w%s", n.Name, err, logTail(log, 5))
	}
	return nil
}

// torSetup is what ovs-vsctl is told on a new hardware VTEP, besides the
// underlay's part. The physical switch forwards nothing that is not bound.
func torSetup(s *State, n Node) []string {
	args := []string{
		"--", "add-br", switchName, "--", "set", "Bridge", switchName, "datapath_type=netdev", "fail_mode=secure",
		// Open vSwitch learns the gateway's link-layer address only while it
		// has a tunnel port, and the emulator makes those with the first
		// binding: without this one, the first packet of each lab is lost.
		"--", "add-br", bridgeNeighbours, "--", "set", "Bridge", bridgeNeighbours, "datapath_type=netdev", "fail_mode=secure",
	}
	if n.VTEP.Gateway.IsValid() {
		args = append(args, "--", "add-port", bridgeNeighbours, "neigh", "--", "set", "Interface", "neigh", "type=vxlan",
			fmt.Sprintf("options:key=%d", intent.MaxVNI), "options:remote_ip="+n.VTEP.Gateway.String())
	}
	for _, p := range s.vmPorts(n.Name) {
		args = append(args, "--", "add-port", switchName, p.iface)
	}
	return args
}

// vtepSetup is what vtep-ctl is told: the switch as its vendor's software
// describes it. What is bound to what is the controller's.
func vtepSetup(s *State, n Node) []string {
	args := []string{"add-ps", switchName, "--", "set", "Physical_Switch", switchName,
		"tunnel_ips=" + n.VTEP.Address.String(), "management_ips=" + n.Mgmt.Addr().String()}
	for _, p := range s.vmPorts(n.Name) {
		args = append(args, "--", "add-port", switchName, p.iface)
	}
	return args
}

// vtepCtl changes the hardware_vtep database of a node.
func vtepCtl(ctx context.Context, dir string, args ...string) error {
	all := append([]string{"--db=unix:" + filepath.Join(dir, "db.sock"), "--timeout=120"}, args...)
	out, err := exec.CommandContext(ctx, "vtep-ctl", all...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("vtep-ctl: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// tagsOf makes a server's interfaces speak 802.1Q where the file says so.
func (s *State) tagsOf(n Node) error {
	if len(n.Tags) == 0 {
		return nil
	}
	return netns.Do(s.Namespace(n.Name), func() error {
		for _, t := range n.Tags {
			if err := TagFrames(t); err != nil {
				return err
			}
		}
		return nil
	})
}
