package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

// controllerPort is where the controller serves its API inside its namespace, on
// the loopback and on its management address, besides the unix socket.
const controllerPort = 8470

func (s *State) controllerDir() string { return filepath.Join(s.dir, controllerNode) }

// controllerSocket is the API's unix socket.
func (s *State) controllerSocket() string { return filepath.Join(s.dir, "api.sock") }

// startController runs the controller in its own namespace and waits for its
// socket.
func (r *run) startController(ctx context.Context) error {
	s := r.state
	if err := os.MkdirAll(s.controllerDir(), 0o700); err != nil {
		return fmt.Errorf("controller: %w", err)
	}
	// A controller that was killed leaves its socket behind.
	if err := os.Remove(s.controllerSocket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("controller: %w", err)
	}
	return r.daemon(ctx, program{
		node: controllerNode, name: controllerNode,
		args: s.controllerArgs(r.opts.Weft, s.controllerDir(), "--listen", "unix:"+s.controllerSocket()),
		log:  filepath.Join(s.dir, "controller.log"),
	}, s.controllerSocket())
}

// controllerArgs is the controller's command line.
func (s *State) controllerArgs(weft, dataDir string, more ...string) []string {
	return append([]string{weft, "controller", "--data-dir", dataDir, "--listen", fmt.Sprintf("127.0.0.1:%d", controllerPort), "--listen", s.controllerMgmtAPI(),
		"--asn", fmt.Sprint(s.controllerASN()), "--bgp-router-id", s.controllerID().String(), "--bgp-listen", "0.0.0.0:179"}, more...)
}

// controllerMgmtAPI is where nodes reach the controller's API.
func (s *State) controllerMgmtAPI() string {
	return netip.AddrPortFrom(s.controllerMgmt().Addr(), controllerPort).String()
}

// agentArgs is the command line of a switch's agent. The sockets of FRR's daemons are in
// frrDir, and what it keeps is in stateDir.
func (s *State) agentArgs(weft string, n Node, frrDir, stateDir string) []string {
	args := []string{weft, "agent", "--node", n.Name, "--serial", s.serial(n.Name), "--controller", "http://" + s.controllerMgmtAPI(), "--frr-dir", frrDir, "--state-dir", stateDir}
	if n.EVPN {
		args = append(args, "--keeper", keeperAddress)
	}
	return args
}

// serial is the serial number that a lab's switch has: that of the machine is the same
// for all of them.
func (s *State) serial(node string) string { return s.Name + "-" + node }

// Where a leaf's keeper is: bgpd knows it by keeperAddress, the controller dials
// keeperPort of the management address.
const (
	keeperAddress = "127.0.0.2"
	keeperPort    = 1179
)

// keeperArgs is the command line of a leaf's keeper.
func (s *State) keeperArgs(weft string, n Node) []string {
	spec := s.specOf(n.Name)
	return []string{weft, "keeper", "--asn", fmt.Sprint(spec.ASN), "--controllers", s.controllerMgmt().Addr().String(), "--from", keeperAddress,
		"--listen", netip.AddrPortFrom(n.Mgmt.Addr(), keeperPort).String(), "--bgpd", netip.AddrPortFrom(spec.VTEP, 179).String()}
}

// specOf is what the controller is told of a node.
func (s *State) specOf(node string) intent.NodeSpec {
	for _, f := range s.FabricNodes {
		if f.Metadata.Name == node {
			return f.Spec
		}
	}
	return intent.NodeSpec{}
}

// startAgent runs Weft's agent on a switch, and its keeper on an EVPN leaf, when there
// is a controller to ask.
func (r *run) startAgent(ctx context.Context, n Node) error {
	if !r.runsAgent(n) {
		return nil
	}
	dir := r.state.NodeDir(n.Name)
	if k, err := r.state.processOf(n.Name, "keeper"); n.EVPN && (err != nil || !k.Alive()) {
		err := r.daemon(ctx, program{node: n.Name, name: "keeper", args: r.state.keeperArgs(r.opts.Weft, n), log: filepath.Join(dir, "keeper.log")})
		if err != nil {
			return err
		}
	}
	return r.daemon(ctx, program{
		node: n.Name, name: "agent", args: r.state.agentArgs(r.opts.Weft, n, dir, filepath.Join(dir, "agent")),
		log: filepath.Join(r.state.NodeDir(n.Name), "agent.log"),
	})
}

// runsAgent reports whether a node is to run an agent, and can.
func (r *run) runsAgent(n Node) bool {
	return n.Agent && r.opts.Weft != "" && r.state.Controller != ""
}

// RestartController ends the lab's controller, at once when kill is set, and
// starts it again with the same data.
func RestartController(ctx context.Context, s *State, weft string, kill bool) error {
	if s.Controller == "" {
		return fmt.Errorf("lab %s runs without a controller", s.Name)
	}
	if err := Kill(s, controllerNode, kill); err != nil {
		return err
	}
	r := &run{state: s, opts: Options{Weft: weft}, progress: silent{}}
	return r.startController(ctx)
}

// register tells the controller of the fabric's nodes and links. It states them
// whole, so that doing it again changes nothing.
func (r *run) register(ctx context.Context) error {
	s := r.state
	c, err := client.New(s.Controller)
	if err != nil {
		return err
	}
	last := errors.New("no answer")
	err = until(ctx, 20*time.Millisecond, nil, func() (bool, error) {
		last = c.Ready(ctx)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("controller: not ready: %w: %w%s", err, last, logTail(filepath.Join(s.dir, "controller.log"), 5))
	}
	put := func(ctx context.Context, o intent.Object) error {
		if _, err := c.Put(ctx, o, client.PutOptions{}); err != nil {
			return fmt.Errorf("register %s: %w", o.Ref(), err)
		}
		return nil
	}
	var nodes, links []intent.Object
	for _, n := range s.FabricNodes {
		nodes = append(nodes, n)
	}
	for _, l := range s.FabricLinks {
		links = append(links, l)
	}
	if err := parallel(ctx, nodes, 8, put); err != nil {
		return err
	}
	if err := parallel(ctx, links, 8, put); err != nil || s.Fabric == nil {
		return err
	}
	return put(ctx, s.Fabric) // last: the agents get their states at once, and whole
}

// UseController says that the lab is to have a controller.
func (s *State) UseController() { s.Controller = "unix:" + s.controllerSocket() }
