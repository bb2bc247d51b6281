//go:build lab

package lab

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/fabric/steering"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/topology"
)

// Of the test of the optimiser.
const (
	autoCapacity = 80e6 // bit/s that links between switches state
	elephantRate = 2_000_000
	// probeOnWire is what a probe each millisecond has on the way, in bytes a second. It
	// is one flow, which may go where its elephant does not, and 2 % of a link's traffic.
	probeOnWire = 1000 * (8 + tunnelled - payload)
	// measuring is by how much a figure may be off: a sender that does not run for
	// 0.3 s, as on a busy machine, sends that later, after the 15 s of a reading, and
	// links carry BGP and LLDP besides.
	measuring = 1.02
	// apart is by how much the matrix and the links' counters may differ, which are
	// not read at the same moment.
	apart = 0.08
)

// autoRig is a fabric of 2 spines and 4 leaves on which four elephants go by spine1.
type autoRig struct {
	*site
	file *topology.File
}

// limit says of all links that they have a capacity; the links themselves have more.
func (r *autoRig) limit(capacity intent.BitRate) {
	r.Helper()
	links, err := r.client.List(r.Context(), intent.KindLink, client.ListOptions{})
	require.NoError(r, err)
	require.NotEmpty(r, links)
	for _, o := range links {
		l := o.(*intent.Link)
		l.Spec.Capacity, l.Status = capacity, nil
		r.put(l)
	}
}

// Elephants of one flow, which the hash has all put on one spine: the optimiser parts
// them, until the most utilised link is within 2 % of the optimum of the linear program
// for what was measured, by the links' own counters; and then it changes nothing more.
// A probe each millisecond between the same VTEPs loses nothing.
func TestSteeringAuto(t *testing.T) {
	r := &autoRig{file: steeringFile(t)}
	r.site = siteOf(t, r.file)
	r.limit("80M")
	r.put(r.objects...)
	r.ready(patience)
	var streams []*udpFlows
	for _, from := range []int{1, 2} {
		for _, to := range []int{3, 4} {
			s := &udpFlows{from: fmt.Sprintf("blue-srv%d", from), to: fmt.Sprintf("blue-srv%d", to), address: fmt.Sprintf("10.0.0.%d", 10+to), flows: 1, rate: elephantRate}
			if len(streams) == 0 {
				s.rate -= probeOnWire * payload / tunnelled // the probe goes with it
			}
			s.opened = []*net.UDPConn{r.hashedTo(s, fmt.Sprintf("leaf%d", from), 0)}
			streams = append(streams, s)
		}
	}
	defer r.send(streams...)()
	p := r.probing(pairOf{streams[0].from, streams[0].to, netip.MustParseAddr(streams[0].address)})
	var optimum float64
	r.eventually(patience, func() error { // a sender that is held up sends at one time what the other reading lacks
		before, _ := r.utilisation(6 * time.Second) // longer than the matrix' window
		optimum = r.optimum(5 * time.Second)
		r.Logf("by ECMP the most utilised link is at %.1f %%, the optimum is %.1f %%", 100*before, 100*optimum)
		if before <= 1.9*optimum {
			return errStill("it is no place for the optimiser")
		}
		return nil
	})

	changes := r.watched()
	r.cli("steer", "auto")
	began := time.Now()
	after := 0.0
	var step time.Time
	r.eventually(patience, func() error {
		if c, err := r.client.Choice(t.Context()); err == nil && c.At != nil && !c.At.Equal(step) {
			step = *c.At
			r.Logf("step after %s: %.1f %% → %.1f %% (%.1f %%), %d changes: %s", step.Sub(began).Round(time.Millisecond), 100*c.Before, 100*c.After, 100*c.Target, len(c.Changes), c.Why)
		}
		if after, _ = r.utilisation(time.Second); after > 1.25*optimum { // a second is a coarse reading: the close one follows
			return errStill("the most utilised link is at %.1f %%, the optimum is %.1f %%:\n%s", 100*after, 100*optimum, r.cli("steer", "chosen"))
		}
		return nil
	})
	took, made := time.Since(began), changes()
	r.Logf("parted after %s by %d changes of routes:\n%s", took.Round(time.Millisecond), made, r.cli("steer", "chosen"))
	// A reading during which a sender was held up is repeated; what the optimiser left
	// uneven would stay so, for it changes nothing more.
	least := 0.0
	for reading := range 4 {
		after, least = r.utilisation(15 * time.Second)
		optimum = r.optimum(15 * time.Second)
		r.Logf("then the most utilised link is at %.2f %%, and no division of what went could be below %.2f %%; the optimum of the matrix is %.2f %%", 100*after, 100*least, 100*optimum)
		require.Equal(t, made, changes(), "it stays")
		if after <= 1.02*least*measuring && math.Abs(least/optimum-1) < apart || reading == 3 {
			break
		}
	}
	require.InEpsilon(t, least, optimum, apart)
	require.LessOrEqual(t, after, 1.02*least*measuring)
	sent, lost := p.end()
	r.Logf("of %d probes %d were lost", sent, lost)
	require.Zero(t, lost)
}

// hashedTo opens a flow that leaves its leaf by one of the uplinks: another source port
// is tried until one does.
func (r *autoRig) hashedTo(s *udpFlows, leaf string, uplink int) *net.UDPConn {
	r.Helper()
	body := make([]byte, payload)
	for range 64 {
		c := r.sockets(s)[0]
		before := r.sentBy(leaf, "eth1", "eth2")
		for range 50 {
			_, _ = c.Write(body)
		}
		var by []uint64
		r.eventually(patience, func() error {
			by = r.sentBy(leaf, "eth1", "eth2")
			by[0], by[1] = by[0]-before[0], by[1]-before[1]
			if by[0]+by[1] < 50*payload {
				return errStill("%d bytes of %d left", by[0]+by[1], 50*payload)
			}
			return nil
		})
		if by[uplink] > by[1-uplink] {
			return c
		}
		c.Close()
	}
	require.Fail(r, "64 flows all leave by the other uplink", "%+v", s)
	return nil
}

// optimum is the least utilisation of the most utilised link that any division of the
// measured traffic has: a bound that follows from duality, within 0.2 % of it.
func (r *autoRig) optimum(window time.Duration) float64 {
	r.Helper()
	n, err := steering.NewNetwork(r.file.Graph, steering.Capacities{Default: autoCapacity})
	require.NoError(r, err)
	m, err := r.client.Matrix(r.Context(), window)
	require.NoError(r, err)
	var ds []demand.Demand
	for _, c := range m.Cells {
		if c.From != c.To {
			ds = append(ds, demand.Demand{Key: demand.Key{From: c.From, To: c.To, Tenant: c.Tenant}, Rate: c.Rate})
		}
	}
	matrix, err := demand.New(ds)
	require.NoError(r, err)
	traffic, err := steering.NewTraffic(n, matrix)
	require.NoError(r, err)
	report, err := steering.Simulate(traffic, nil, steering.AllUp, steering.Settings{Gap: 0.002})
	require.NoError(r, err)
	return report.Bound
}

// utilisation is that of the most utilised link within a time, each way of each link by
// the counter of the interface that sends; and the least that it could have been had what
// went been divided otherwise. With two spines that is half of what leaves a leaf, or
// comes to it: the optimum of the linear program.
func (r *autoRig) utilisation(within time.Duration) (most, least float64) {
	r.Helper()
	ports := map[string][]string{"spine1": {"eth1", "eth2", "eth3", "eth4"}, "spine2": {"eth1", "eth2", "eth3", "eth4"}}
	for i := range 4 {
		ports[fmt.Sprintf("leaf%d", i+1)] = []string{"eth1", "eth2"}
	}
	type reading struct {
		at    time.Time
		bytes []uint64
	}
	before := map[string]reading{}
	for node, names := range ports {
		before[node] = reading{time.Now(), r.sentBy(node, names...)}
	}
	time.Sleep(within)      // the time over which is measured
	to := map[int]float64{} // by the spines' port
	for node, names := range ports {
		bytes, took := r.sentBy(node, names...), time.Since(before[node].at).Seconds()
		from := 0.0
		for i := range bytes {
			used := 8 * float64(bytes[i]-before[node].bytes[i]) / took / autoCapacity
			most = max(most, used)
			if len(names) == 2 {
				from += used
			} else {
				to[i] += used
			}
		}
		least = max(least, from/2)
	}
	for _, used := range to {
		least = max(least, used/2)
	}
	return most, least
}

// watched counts the changes that the leaves' kernels make to their routes to VTEPs.
func (r *autoRig) watched() func() int {
	r.Helper()
	var mu sync.Mutex
	count := 0
	done := make(chan struct{})
	var all sync.WaitGroup
	r.Cleanup(func() { close(done); all.Wait() })
	for i := range 4 {
		updates := make(chan netlink.RouteUpdate, 64)
		require.NoError(r, netns.Do(r.Namespace(fmt.Sprintf("leaf%d", i+1)), func() error { return netlink.RouteSubscribe(updates, done) }))
		all.Go(func() {
			for u := range updates {
				if u.Dst == nil {
					continue
				}
				if ones, _ := u.Dst.Mask.Size(); ones == 32 {
					mu.Lock()
					count++
					mu.Unlock()
				}
			}
		})
	}
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return count
	}
}
