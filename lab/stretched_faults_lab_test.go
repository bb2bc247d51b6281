//go:build lab

package lab

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/probe"
)

// TestTenantsStretchedFaults moves a VM from one fabric to the other, cuts the
// links, and has the ends disagree.
func TestTenantsStretchedFaults(t *testing.T) {
	f := newFabrics(t)
	f.stretch()
	f.check()
	f.moves()
	f.cut()
	f.disagree()
	f.check()
}

// moves moves a VM to the other fabric and back with its MAC and addresses: its
// port is there before its interface is.
func (f *fabrics) moves() {
	f.Helper()
	west, east := f.sites[0], f.sites[1]
	port := &intent.Port{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindPort}, Metadata: intent.Metadata{Tenant: "red", Name: "nomad"},
		Spec: intent.PortSpec{Network: "red", Binding: intent.Binding{IfaceID: "nomad"}, MAC: intent.MAC{2, 0x5e, 0, 0, 0, 99},
			Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.99"), netip.MustParseAddr("fd00:0:0:9::99")}}}
	for _, w := range f.sites {
		p := *port
		w.put(&p)
		w.plug("hv1", "nomad", port.Spec.MAC, netip.MustParsePrefix("10.9.0.99/24"), netip.MustParsePrefix("fd00:0:0:9::99/64"))
	}
	at := func(w *site, up bool) {
		f.Helper()
		name := w.hostPort("nomad")
		if up {
			w.vsctl("hv1", "set", "Interface", name, "external_ids:iface-id=nomad")
		} else {
			w.vsctl("hv1", "remove", "Interface", name, "external_ids", "iface-id")
		}
	}
	at(east, false)
	east.eventually(patience, func() error { return f.portAt(east, "") })
	west.eventually(patience, func() error { return f.portAt(west, "hv1") })
	here, there := west, east
	for range 4 {
		answered := f.pinger()
		at(here, false)
		at(there, true)
		there.eventually(patience, func() error { return f.portAt(there, "hv1") })
		gap := answered()
		f.Logf("a VM moved from %s to %s: the longest time without an answer, as seen from red-vm2 of west, was %s", here.State.Name, there.State.Name, gap.Round(time.Millisecond))
		here, there = there, here
	}
	at(here, false)
	for _, w := range f.sites {
		w.delete(port.Ref())
	}
}

// portAt says where the port nomad is not.
func (f *fabrics) portAt(w *site, node string) error {
	o, err := w.client.Get(f.Context(), intent.Ref{Kind: intent.KindPort, Tenant: "red", Name: "nomad"})
	if err != nil {
		return err
	}
	if st := o.(*intent.Port).Status; st.Node != node || node != "" && st.Phase != intent.PhaseReady {
		return fmt.Errorf("at %q, %s: %+v", st.Node, st.Phase, st.Reasons)
	}
	return nil
}

// pinger asks the VM every 5 ms from red-vm2 in the first fabric until the function
// it returns is called, which returns the longest time without an answer.
func (f *fabrics) pinger() func() time.Duration {
	f.Helper()
	ctx, cancel := context.WithCancel(f.Context())
	out := &answers{}
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", f.sites[0].Namespace("red-vm2"), "ping", "-D", "-n", "-i", "0.005", "10.9.0.99")
	cmd.Stdout = out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	require.NoError(f, cmd.Start())
	since := func(at time.Time) {
		f.Helper()
		f.sites[0].eventually(patience, func() error {
			if last, _ := out.told(); last <= float64(at.UnixNano())/1e9 {
				return fmt.Errorf("nothing was answered since %s", at.Format("15:04:05.000"))
			}
			return nil
		})
	}
	since(time.Now()) // there are answers from before
	return func() time.Duration {
		since(time.Now()) // and where it is now
		cancel()
		_ = cmd.Wait()
		_, gap := out.told()
		return time.Duration(gap * float64(time.Second))
	}
}

// answers is what ping prints.
type answers struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (a *answers) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out.Write(b)
}

// told is when the last answer came, and the longest time between two, in seconds.
func (a *answers) told() (last, gap float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for l := range strings.Lines(a.out.String()) {
		var at float64
		if n, _ := fmt.Sscanf(l, "[%f]", &at); n != 1 || !strings.HasSuffix(l, "ms\n") || !strings.Contains(l, "bytes from") {
			continue
		}
		if last > 0 {
			gap = max(gap, at-last)
		}
		last = at
	}
	return last, gap
}

// cut cuts what joins the fabrics: first the controllers from each other, then the
// border leaves.
func (f *fabrics) cut() {
	f.Helper()
	west := f.sites[0]
	link := func(node, state string) {
		f.Helper()
		out, err := exec.Command("ip", "netns", "exec", west.Namespace(node), "ip", "link", "set", JoinPort, state).CombinedOutput()
		require.NoError(f, err, "%s", out)
	}
	peer := func(i int) string { return interconnected + "@" + f.joined.Controllers[1-i].String() }
	f.cleanWindow(16*time.Second, "controllers cut from each other and joined again", func() { // what is between VMs needs no controller
		link(controllerNode, "down")
		began := time.Now()
		for i, w := range f.sites {
			w.raised(peer(i), "Session", "")
			f.Logf("%s: the alarm about the session was raised %s after the controllers were cut from each other", w.State.Name, time.Since(began).Round(10*time.Millisecond))
			require.Equal(f, intent.PhasePending, f.status(w).Phase)
		}
		link(controllerNode, "up")
		for i, w := range f.sites {
			w.eventually(patience, func() error { return f.stretched(w) })
			w.ended(peer(i), "Session")
		}
		f.Logf("the sessions were back %s after the cut", time.Since(began).Round(10*time.Millisecond))
	})

	// Of two links between border leaves one is enough, without either none is left.
	rep := f.window(6*time.Second, func() {
		time.Sleep(1500 * time.Millisecond) // a part of the window is before the cut
		link("leaf1", "down")
	})
	gap := time.Duration(0)
	for _, p := range rep.Worst {
		gap = max(gap, p.Gap)
	}
	f.Logf("one of two links between the fabrics cut: %d probes, lost %d, longest gap %s, doubled %d", rep.Sent, rep.Lost, gap.Round(time.Millisecond), rep.Dup)
	require.Zero(f, rep.Leaked+rep.Dup)
	f.check()
	link("leaf2", "down")
	began := time.Now()
	f.apart()
	link("leaf1", "up")
	link("leaf2", "up")
	took := f.whole()
	f.Logf("both links between the fabrics were cut for %s; all pairs were back %s later", (time.Since(began) - took).Round(time.Millisecond), took.Round(time.Millisecond))
	f.check()
}

// whole waits until all pairs reach each other, and what is sent to all comes to all,
// and returns how long that took.
func (f *fabrics) whole() time.Duration {
	f.Helper()
	return f.sites[0].eventually(patience, func() error {
		field, err := probe.Open(f.hosts())
		if err != nil {
			return err
		}
		defer field.Close()
		rep, err := field.Check(f.Context(), probe.CheckOptions{Tries: 1})
		if err == nil && !rep.OK() {
			err = fmt.Errorf("%+v", rep.Failures)
		}
		if err != nil {
			return err
		}
		cast, err := field.Broadcast(f.Context(), f.uplinks(), probe.CheckOptions{Tries: 1})
		if err == nil && !cast.OK() {
			err = fmt.Errorf("%+v", cast.Failures)
		}
		return err
	})
}

// disagree has the two ends differ in what they must agree on.
func (f *fabrics) disagree() {
	f.Helper()
	west, east := f.sites[0], f.sites[1]
	peer := interconnected + "@" + f.joined.Controllers[1].String()
	for _, c := range []struct {
		what   string
		change func(*intent.Interconnect)
		reason string
		says   string
	}{
		{"AS", func(c *intent.Interconnect) { c.Spec.ASN++ }, "Session", "spec.asn of the interconnect says"},
		{"password", func(c *intent.Interconnect) { c.Spec.Peers[0].Password = "other" }, "Session", "passwords differ"},
		{"too many routes", func(c *intent.Interconnect) { c.Spec.Peers[0].MaxRoutes = 5 }, "Session", "announces more than the 5 routes"},
	} {
		wrong := f.interconnect(0)
		c.change(wrong)
		west.put(wrong)
		a := west.raisedSaying(peer, c.reason, "", regexp.MustCompile(regexp.QuoteMeta(c.says)))
		f.Logf("%s: %s", c.what, a.Message)
		west.put(f.interconnect(0))
		west.eventually(patience, func() error { return f.stretched(west) })
		west.ended(peer, c.reason)
	}

	// The same network with another VNI there: it is not used, and said.
	o, err := east.client.Get(f.Context(), intent.Ref{Kind: intent.KindNetwork, Tenant: "red", Name: "red"})
	require.NoError(f, err)
	n := o.(*intent.Network)
	n.Metadata.Revision, n.Status = 0, nil
	n.Spec.VNI = 10101
	east.put(n)
	a := west.raised(peer, "UnknownVNI", "Network red/red VNI 10101")
	f.Logf("another VNI: %s", a.Message)
	require.Contains(f, a.Message, "give the network the same spec.vni")
	f.apart()
	n.Metadata.Revision = 0
	n.Spec.VNI = redVNI
	east.put(n)
	for _, w := range f.sites {
		w.eventually(patience, func() error { return f.stretched(w) })
	}
	west.ended(peer, "UnknownVNI")
	east.ready(patience)
	f.Logf("all pairs were back %s after the VNIs were the same again", f.whole().Round(time.Millisecond)) // a hardware VTEP's own program takes its time
}
