package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/weft-sdn/weft/lab/netns"
)

// waitGateway waits until a node's Open vSwitch knows the link-layer
// address of its gateway. The userspace datapath drops the packet for which it
// has to ask, so that without this the first packet of a new lab is lost. It
// learns the address from the answer to the kernel's own question, and keeps
// it while tunnels use it.
func (r *run) waitGateway(ctx context.Context, n Node) error {
	gw := n.VTEP.Gateway
	ctl := filepath.Join(r.state.NodeDir(n.Name), "ovs-vswitchd.ctl")
	err := until(ctx, 20*time.Millisecond, nil, func() (bool, error) {
		if err := netns.Do(r.state.Namespace(n.Name), func() error { return ask(gw) }); err != nil {
			return false, err
		}
		out, err := exec.CommandContext(ctx, "ovs-appctl", "-t", ctl, "tnl/neigh/show").Output()
		return err == nil && knows(string(out), gw), nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("no answer in time")
	}
	if err != nil {
		return fmt.Errorf("%s: gateway %s: %w", n.Name, gw, err)
	}
	return nil
}

// ask sends a datagram to the discard port (RFC 863): the kernel then asks for
// the neighbour.
func ask(gw netip.Addr) error {
	c, err := net.Dial("udp", netip.AddrPortFrom(gw, 9).String())
	if err != nil {
		return err
	}
	defer c.Close()
	_, _ = c.Write([]byte{0}) // an answer of "port unreachable" to an earlier one is no matter
	return nil
}

// knows finds an address in the table that tnl/neigh/show prints.
func knows(table string, a netip.Addr) bool {
	for _, l := range strings.Split(table, "\n") {
		if f := strings.Fields(l); len(f) == 3 && f[0] == a.String() {
			return true
		}
	}
	return false
}
