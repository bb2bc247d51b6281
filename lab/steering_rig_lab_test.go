//go:build lab

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
)

// flowsAtOnce is how many flows there are between two hosts at a time.
const flowsAtOnce = 200

// steerPort is where flows lead to.
const steerPort = 7201

// pairOf are two hosts between which flows go.
type pairOf struct {
	from, to string
	at       netip.Addr // of to
}

// dialled opens flows, each with a source port of its own.
func (w *site) dialled(p pairOf, n int) []*net.UDPConn {
	w.Helper()
	out := make([]*net.UDPConn, n)
	require.NoError(w, netns.Do(w.Namespace(p.from), func() (err error) {
		for i := range out {
			if out[i], err = net.DialUDP("udp", nil, &net.UDPAddr{IP: p.at.AsSlice(), Port: steerPort}); err != nil {
				return err
			}
		}
		return nil
	}))
	return out
}

func shut(all []*net.UDPConn) {
	for _, c := range all {
		c.Close()
	}
}

// sentBy reads how many bytes a node's interfaces have sent.
func (w *site) sentBy(node string, interfaces ...string) []uint64 {
	w.Helper()
	out := make([]uint64, len(interfaces))
	require.NoError(w, netns.Do(w.Namespace(node), func() error {
		for i, name := range interfaces {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			out[i] = l.Attrs().Statistics.TxBytes
		}
		return nil
	}))
	return out
}

// rounds is how often shares sends flowsAtOnce flows when none of it is lost.
const rounds = 32

// shares sends flows between hosts, 200 at a time, and says which part of what a leaf
// sent left by each of its uplinks: by their counters. A hash deals flows out like dice:
// that of 6,400 flows is within 3 points of the weights but once in some 500,000 times.
// A vSwitch on a busy machine drops packets of new flows: more are sent then.
func (w *site) shares(p pairOf, leaf string, uplinks ...string) []float64 {
	w.Helper()
	const size, datagrams = 400, 3
	before := w.sentBy(leaf, uplinks...)
	payload := make([]byte, size)
	out, sum, sent := make([]float64, len(uplinks)), 0.0, 0
	for deadline := time.Now().Add(patience); sent < rounds || sum < rounds*flowsAtOnce*datagrams*size; sent++ {
		require.True(w, time.Now().Before(deadline), "%.0f bytes left by these links of %d flows", sum, sent*flowsAtOnce)
		flows := w.dialled(p, flowsAtOnce)
		for range datagrams {
			for _, c := range flows {
				_, _ = c.Write(payload) // the port may be closed
			}
			time.Sleep(4 * time.Millisecond) // a burst, not a flood: a vSwitch decides about each new flow
		}
		shut(flows)
		sum = 0
		for i, after := range w.sentBy(leaf, uplinks...) {
			out[i] = float64(after - before[i])
			sum += out[i]
		}
	}
	for i := range out {
		out[i] *= 100 / sum
	}
	return out
}

// requireShares checks parts of a hundred.
func (w *site) requireShares(want, got []float64, why string) {
	w.Helper()
	w.Logf("%s: %.1f %% of the bytes leave by each uplink, asked is %.0f", why, got, want)
	for i := range want {
		require.InDelta(w, want[i], got[i], 3, "%s: %.1f", why, got)
	}
}

// steady is a probe each millisecond, by 200 flows in turn.
type steady struct {
	stop    chan struct{}
	done    sync.WaitGroup
	from    int64 // the first that counts: those before found the way
	sent    atomic.Int64
	arrived []atomic.Bool
}

// probing begins a probe between hosts; it goes on until end. It counts from the first
// on after which each flow brought one: hosts then know each other's MAC, and a vSwitch
// the flows.
func (w *site) probing(p pairOf) *steady {
	w.Helper()
	s := &steady{stop: make(chan struct{}), arrived: make([]atomic.Bool, pingMost)}
	var in *net.UDPConn
	require.NoError(w, netns.Do(w.Namespace(p.to), func() (err error) {
		in, err = net.ListenUDP("udp", &net.UDPAddr{IP: p.at.AsSlice(), Port: steerPort})
		return err
	}))
	raw, err := in.SyscallConn()
	require.NoError(w, err)
	require.NoError(w, raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20) }))
	require.NoError(w, err)
	flows := w.dialled(p, flowsAtOnce)
	s.done.Go(func() {
		buf := make([]byte, 64)
		for {
			n, err := in.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil && n == 8 {
				s.arrived[binary.BigEndian.Uint64(buf)].Store(true)
			}
		}
	})
	s.done.Go(func() {
		defer in.Close()
		defer shut(flows)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := range pingMost {
			select {
			case <-s.stop:
				s.drain()
				return
			case <-tick.C:
			}
			_, _ = flows[i%len(flows)].Write(binary.BigEndian.AppendUint64(nil, uint64(i)))
			s.sent.Add(1)
		}
		<-s.stop
	})
	w.eventually(patience, func() error {
		s.from = s.sent.Load() - 10 - flowsAtOnce
		for i := range int64(flowsAtOnce) {
			if s.from < 0 || !s.arrived[s.from+i].Load() {
				return errors.New("probes do not arrive")
			}
		}
		return nil
	})
	return s
}

// drain waits for what is on its way: until all is there, or nothing came for two
// seconds.
func (s *steady) drain() {
	for least, since := s.missing(), time.Now(); least > 0 && time.Since(since) < 2*time.Second; {
		time.Sleep(5 * time.Millisecond)
		if n := s.missing(); n < least {
			least, since = n, time.Now()
		}
	}
}

// missing counts probes that did not arrive.
func (s *steady) missing() (n int) {
	for i := s.from; i < s.sent.Load(); i++ {
		if !s.arrived[i].Load() {
			n++
		}
	}
	return n
}

// end ends the probe and says how many were sent and lost.
func (s *steady) end() (sent, lost int) {
	close(s.stop)
	s.done.Wait()
	return int(s.sent.Load() - s.from), s.missing()
}

// steeringPolicy is one of the CLI's making.
func steeringPolicy(name string, spec intent.SteeringPolicySpec) *intent.SteeringPolicy {
	return &intent.SteeringPolicy{Header: intent.Header{Kind: intent.KindSteeringPolicy}, Metadata: intent.Metadata{Name: name}, Spec: spec}
}

// steered waits until the kernel of a leaf has the next hops that are wanted to an
// address, as "eth1*75,eth2*25", and tells how long it took.
func (w *site) steered(leaf string, to netip.Addr, want string) time.Duration {
	w.Helper()
	return w.eventually(patience, func() error {
		if got := w.legs(leaf, to); got != want {
			return errStill("%s has %s to %s, not %s", leaf, got, to, want)
		}
		return nil
	})
}

// crashes has a spine crash to which leaf1's traffic to an address is pinned, while a
// probe runs, and start again: the traffic goes by leaf1's other uplink, and by the pinned
// one when the spine is back, and stays there.
func (w *site) crashes(spine string, to netip.Addr, pinned, other string, probe *steady) {
	w.Helper()
	node, err := w.Node(spine)
	require.NoError(w, err)
	f := w.nodeCrash(node, w.weft)
	require.NoError(w, f.fail(w.Context()))
	took := w.steered("leaf1", to, other)
	sent, lost := probe.end()
	w.Logf("%s died: leaf1's kernel has the other way after %s; %d of %d probes were lost", spine, took.Round(time.Millisecond), lost, sent)
	require.Less(w, lost, sent)
	require.NoError(w, f.mend(w.Context()))
	back := w.steered("leaf1", to, pinned)
	w.Logf("%s healed: the pin is back after %s", spine, back.Round(time.Millisecond))
	// The kernel's routes are followed for a while.
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		require.Equal(w, pinned, w.legs("leaf1", to), "the pin flaps")
	}
}

func length(n *net.IPNet) int {
	if n == nil {
		return -1
	}
	ones, _ := n.Mask.Size()
	return ones
}

// legs are the next hops of a leaf's kernel to an address, with weights where there are
// several.
func (w *site) legs(leaf string, to netip.Addr) string {
	w.Helper()
	var out []string
	require.NoError(w, netns.Do(w.Namespace(leaf), func() error {
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		longest := -1
		for _, r := range routes { // a rack is steered by one prefix
			if ones := length(r.Dst); r.Dst != nil && r.Dst.Contains(to.AsSlice()) {
				longest = max(longest, ones)
			}
		}
		routes = slices.DeleteFunc(routes, func(r netlink.Route) bool {
			return r.Dst == nil || length(r.Dst) != longest || !r.Dst.Contains(to.AsSlice())
		})
		for _, r := range routes {
			legs := r.MultiPath
			if len(legs) == 0 {
				legs = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex}}
			}
			for _, h := range legs {
				l, err := netlink.LinkByIndex(h.LinkIndex)
				if err != nil {
					return err
				}
				if leg := l.Attrs().Name; len(legs) > 1 {
					out = append(out, fmt.Sprintf("%s*%d", leg, h.Hops+1))
				} else {
					out = append(out, leg)
				}
			}
		}
		return nil
	}))
	slices.Sort(out)
	return strings.Join(out, ",")
}

// off deletes a policy.
func (w *site) off(name string) {
	w.Helper()
	_, err := w.client.Delete(w.Context(), intent.Ref{Kind: intent.KindSteeringPolicy, Name: name}, client.DeleteOptions{})
	require.NoError(w, err)
}
