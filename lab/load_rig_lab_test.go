//go:build lab

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/topology"
)

// steeringFile is a fabric of 2 spines and 4 leaves, each with a server of blue's and
// one of red's; at leaf1 and leaf3 is a hypervisor with a VM of each. More tenants have
// servers at these two.
func steeringFile(t testing.TB, more ...string) *topology.File {
	t.Helper()
	var nodes, links strings.Builder
	ports := map[string]int{"leaf1": 2, "leaf2": 2, "leaf3": 2, "leaf4": 2, "hv1": 1, "hv3": 1}
	next := func(node string) string { ports[node]++; return fmt.Sprintf("%s:eth%d", node, ports[node]) }
	host := func(name, tenant string, number int, at string) {
		fmt.Fprintf(&nodes, "    %s:\n      labels: {weft-tenant: %s, weft-network: lan, weft-addresses: 10.0.0.%d/24}\n      exec:\n        - ip addr add 10.0.0.%d/24 dev eth1\n        - ip link set eth1 up\n", name, tenant, number, number)
		fmt.Fprintf(&links, "    - endpoints: [%q, %q]\n      mtu: 1500\n", next(at), name+":eth1")
	}
	nodes.WriteString("    spine1:\n    spine2:\n")
	for i := 1; i <= 4; i++ {
		leaf := fmt.Sprintf("leaf%d", i)
		fmt.Fprintf(&nodes, "    %s:\n", leaf)
		for j := 1; j <= 2; j++ {
			fmt.Fprintf(&links, "    - endpoints: [\"%s:eth%d\", \"spine%d:eth%d\"]\n", leaf, j, j, i)
		}
		for _, tenant := range []string{"blue", "red"} {
			host(fmt.Sprintf("%s-srv%d", tenant, i), tenant, 10+i, leaf)
		}
		if i%2 == 1 {
			for _, tenant := range more {
				host(fmt.Sprintf("%s-srv%d", tenant, i), tenant, 10+i, leaf)
			}
			hv := fmt.Sprintf("hv%d", i)
			fmt.Fprintf(&nodes, "    %s:\n", hv)
			fmt.Fprintf(&links, "    - endpoints: [%q, \"%s:eth1\"]\n", next(leaf), hv)
			for _, tenant := range []string{"blue", "red"} {
				host(fmt.Sprintf("%s-vm%d", tenant, i), tenant, 20+i, hv)
			}
		}
	}
	text := "name: steer\ntopology:\n  defaults:\n    kind: linux\n  nodes:\n" + nodes.String() + "  links:\n" + links.String()
	file, err := topology.Parse([]byte(text), "steer.clab.yml")
	require.NoError(t, err)
	return file
}

// udpFlows are so many UDP flows from a host to another, together of some rate.
type udpFlows struct {
	from, to string // hosts
	address  string // of to
	flows    int
	rate     int            // bytes of UDP payload per second
	opened   []*net.UDPConn // instead of new ones
}

// payload is the size of a datagram; on the way they have the headers of
// UDP, IP and Ethernet, and those of VXLAN, UDP and IP of the tunnel.
const (
	payload   = 1000
	tunnelled = payload + 8 + 20 + 14 + 8 + 8 + 20 + 14
)

// send has streams sent until the function that it returns is called.
func (w *site) send(streams ...*udpFlows) (stop func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Context())
	var wg sync.WaitGroup
	for _, s := range streams {
		sockets := s.opened
		if sockets == nil {
			sockets = w.sockets(s)
		}
		wg.Go(func() {
			s.run(ctx, sockets)
			for _, c := range sockets {
				c.Close()
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// sockets opens a socket for each flow, in the sender's namespace.
func (w *site) sockets(s *udpFlows) (out []*net.UDPConn) {
	w.Helper()
	require.NoError(w, netns.Do(w.Namespace(s.from), func() error {
		for range s.flows {
			d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
				var err error
				return firstErr(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 1<<20) }), err)
			}}
			c, err := d.DialContext(w.Context(), "udp4", netip.AddrPortFrom(netip.MustParseAddr(s.address), 9).String())
			if err != nil {
				return err
			}
			out = append(out, c.(*net.UDPConn))
		}
		return nil
	}))
	return out
}

func firstErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// run sends round robin, as much as is due by the clock.
func (s *udpFlows) run(ctx context.Context, sockets []*net.UDPConn) {
	began, body := time.Now(), make([]byte, payload)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := int64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for due := int64(time.Since(began).Seconds() * float64(s.rate) / payload); n < due; n++ {
			_, _ = sockets[n%int64(len(sockets))].Write(body) // nobody listens: refusals are ICMP's
		}
	}
}
