//go:build lab

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/topology"
)

// cycles of deletion and creation that the test does; the benchmark does as
// many as it is asked to.
const cycles = 2000

// Names, VNIs, addresses and interfaces that are given back are used again at
// once, thousands of times, also while a hypervisor is away; nothing sticks.
func TestChurn(t *testing.T) { churn(t, cycles) }

func BenchmarkChurn(b *testing.B) {
	if b.N == 1 {
		return // the framework's trial: a whole lab for one cycle
	}
	began := time.Now()
	took := churn(b, b.N)
	b.ReportMetric(float64(b.N)/took.Seconds(), "cycles/s")
	b.Logf("with the lab, its checks and the comparison from scratch %s", time.Since(began).Round(time.Millisecond))
}

func churn(t testing.TB, total int) time.Duration {
	w := newSite(t, topology.GenerateParams{Name: "churn", Spines: 1, Leaves: 2, HypervisorsPerLeaf: 2, HostsPerHypervisor: 2})
	empty := w.allFlows()
	vni := intent.VNI(5000)
	for _, o := range w.objects {
		if n, ok := o.(*intent.Network); ok { // given, or it would not be the same from scratch
			vni++
			n.Spec.VNI = vni
		}
	}
	w.put(w.objects...)
	w.ready(patience)
	w.check()

	c := &churning{site: w, total: int64(total)}
	w.put(poolObjects()...)
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var errs []error
	var mu sync.Mutex
	for i, o := range w.objects {
		if p, ok := o.(*intent.Port); ok {
			wg.Go(func() {
				if err := c.slot(ctx, i, *p); err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, err)
					cancel()
				}
			})
		}
	}
	c.absences(ctx)
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	_, err := w.client.Delete(t.Context(), poolObjects()[0].Ref(), client.DeleteOptions{Cascade: true})
	require.NoError(t, err)
	took := time.Since(began)
	w.ready(patience)
	t.Logf("%d cycles in %s, %.0f a second, with %d ports, %d networks and %d tenants made again; all Ready %s after the last",
		total, took.Round(time.Millisecond), float64(total)/took.Seconds(), c.ports.Load(), c.networks.Load(), c.tenants.Load(), (time.Since(began) - took).Round(time.Millisecond))

	w.nodesReady()
	w.eventually(patience, w.nothingStuck)
	for _, e := range w.events(began) {
		require.NotEqual(t, "Refused", e.Reason, "%+v", e)
		require.False(t, e.Device == "hv4" && strings.Contains(e.Reason, "Repaired"), "hv4 was never away, and is not as it was left: %+v", e)
	}
	w.check()
	w.eventually(patience, w.onlyOurNetworks)
	churned := w.allFlows()

	// From scratch: what is left when all is gone is what was there at first,
	// and the same intent makes the same flows again.
	tenants, err := w.client.List(t.Context(), intent.KindTenant, client.ListOptions{})
	require.NoError(t, err)
	for _, o := range tenants {
		_, err := w.client.Delete(t.Context(), o.Ref(), client.DeleteOptions{Cascade: true})
		require.NoError(t, err)
	}
	w.eventually(patience, func() error { return differ(empty, w.allFlows()) })
	t.Logf("with the tenants gone, every hypervisor has the %d flows of an empty one", len(empty["hv1"]))
	w.put(w.objects...)
	w.ready(patience)
	w.check()
	w.eventually(patience, func() error { return differ(churned, w.allFlows()) })
	return took
}

var metadata = regexp.MustCompile(`metadata=0x([0-9a-f]+)`)

// onlyOurNetworks says which flow is of a network that is not the file's: what is
// deleted goes after all that is there is Ready.
func (w *site) onlyOurNetworks() error {
	w.Helper()
	ours := map[string]bool{}
	for _, o := range w.objects {
		if n, ok := o.(*intent.Network); ok {
			ours[fmt.Sprintf("%x", uint32(n.Spec.VNI))] = true
		}
	}
	for node, flows := range w.allFlows() {
		for f := range flows {
			if m := metadata.FindStringSubmatch(f); m != nil && !ours[m[1]] {
				return fmt.Errorf("%s still has %s", node, f)
			}
		}
	}
	return nil
}

// churning is one run.
type churning struct {
	*site
	total                    int64
	done                     atomic.Int64
	ports, networks, tenants atomic.Int64
}

// subnets are the same in every tenant.
var subnets = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00:0:0:a::/64")}

// poolObjects are a tenant in whose network all slots meet.
func poolObjects() []intent.Object {
	return []intent.Object{&intent.Tenant{Metadata: intent.Metadata{Name: "pool"}},
		&intent.Network{Metadata: intent.Metadata{Name: "net", Tenant: "pool"}, Spec: intent.NetworkSpec{Subnets: subnets}}}
}

// slot deletes and makes what is bound to one VM's interface again and again,
// each time as another: the file's own port, in a network where
// all slots take addresses from one pool, in another tenant with the same addresses, in a network made anew, in a tenant
// made anew. At the end it is the file's own port.
func (c *churning) slot(ctx context.Context, number int, own intent.Port) error {
	name := fmt.Sprintf("churn%d", number)
	tenant := &intent.Tenant{Metadata: intent.Metadata{Name: name}}
	network := &intent.Network{Metadata: intent.Metadata{Name: "net", Tenant: name}, Spec: intent.NetworkSpec{Subnets: subnets}}
	if err := c.make(ctx, tenant, network); err != nil {
		return err
	}
	allocated := own
	allocated.Metadata.Tenant, allocated.Spec.Network = "pool", "net"
	allocated.Spec.MAC, allocated.Spec.Addresses = intent.MAC{}, nil
	moved := own
	moved.Metadata.Tenant, moved.Spec.Network = name, "net"
	now := intent.Object(&own)
	for i := 1; c.done.Add(1) <= c.total; i++ {
		var err error
		switch {
		case i%25 == 0:
			c.tenants.Add(1)
			now, err = &moved, c.again(ctx, []intent.Ref{now.Ref(), tenant.Ref()}, tenant, network, &moved)
		case i%5 == 0:
			c.networks.Add(1)
			now, err = &moved, c.again(ctx, []intent.Ref{now.Ref(), network.Ref()}, network, &moved)
		default:
			c.ports.Add(1)
			next := []intent.Object{&own, &allocated, &moved}[i%3]
			err = c.again(ctx, []intent.Ref{now.Ref()}, next)
			now = next
		}
		if err != nil {
			return err
		}
	}
	return c.again(ctx, []intent.Ref{now.Ref(), tenant.Ref()}, &own)
}

// again deletes objects and makes others.
func (c *churning) again(ctx context.Context, gone []intent.Ref, made ...intent.Object) error {
	for _, r := range gone {
		if _, err := c.client.Delete(ctx, r, client.DeleteOptions{Cascade: true}); err != nil {
			return fmt.Errorf("delete %s: %w", r, err)
		}
	}
	return c.make(ctx, made...)
}

func (c *churning) make(ctx context.Context, objects ...intent.Object) error {
	for _, o := range objects {
		if _, err := c.client.Put(ctx, o, client.PutOptions{IfAbsent: true}); err != nil {
			return fmt.Errorf("make %s: %w", o.Ref(), err)
		}
	}
	return nil
}

// absences takes hypervisors away while the cycles go on: one that falls
// silent and comes back with what it had, one whose switch loses all its
// flows, and one whose database is gone for a while.
func (c *churning) absences(ctx context.Context) {
	c.Helper()
	at := func(tenths int64) bool {
		ok := until(ctx, 5*time.Millisecond, nil, func() (bool, error) { return c.done.Load() >= c.total*tenths/10, nil })
		c.Logf("%d cycles done", min(c.total, c.done.Load()))
		return ok == nil
	}
	if !at(2) {
		return
	}
	silent := []Process{c.process("hv1", "ovs-vswitchd"), c.process("hv1", "ovsdb-server")}
	for _, p := range silent {
		require.NoError(c, p.signal(syscall.SIGSTOP))
	}
	at(4)
	for _, p := range silent {
		require.NoError(c, p.signal(syscall.SIGCONT))
	}
	if !at(5) {
		return
	}
	require.NoError(c, stop([]Process{c.process("hv2", "ovs-vswitchd")}, 0))
	at(7)
	c.startVSwitchd("hv2")
	if !at(8) {
		return
	}
	require.NoError(c, stop([]Process{c.process("hv3", "ovsdb-server")}, 0))
	at(9)
	c.startOVSDB("hv3")
}

// nothingStuck says which object is not Ready, or that there are not those of the file.
func (w *site) nothingStuck() error {
	w.Helper()
	for _, k := range []intent.Kind{intent.KindTenant, intent.KindNetwork, intent.KindPort} {
		objects, err := w.client.List(w.Context(), k, client.ListOptions{})
		require.NoError(w, err)
		want := 0
		for _, o := range w.objects {
			if o.Ref().Kind == k {
				want++
			}
		}
		require.Len(w, objects, want, "%s", k)
		for _, o := range objects {
			if s := w.cliGet(o.Ref()); s.Phase != intent.PhaseReady {
				return fmt.Errorf("%s is %s: %+v", o.Ref(), s.Phase, s.Reasons)
			}
		}
	}
	return nil
}
