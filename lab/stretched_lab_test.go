//go:build lab

package lab

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/probe"
)

// fabrics are two labs that are joined: red is stretched from one to the other,
// blue is in both and is not.
type fabrics struct {
	testing.TB
	sites  [2]*site
	joined *Joined
}

const (
	redVNI, blueVNI = intent.VNI(10100), intent.VNI(10200)
	redTarget       = "65500:10100"
	interconnected  = "dc"
)

// site makes one of the labs, with its tenants.
func (f *fabrics) site(number int, path string) *site {
	f.Helper()
	weft, err := weftBinary()
	require.NoError(f, err)
	file, err := LoadFile(path)
	require.NoError(f, err)
	s, _, err := PlanSite(file, number)
	require.NoError(f, err)
	s.UseController()
	var out bytes.Buffer
	require.NoError(f, Up(f.Context(), s, Options{Weft: weft, Progress: PrintProgress(&out, false)}), "%s", &out)
	w := &site{State: s, TB: f.TB, weft: weft}
	w.client, err = client.New(s.Controller)
	require.NoError(f, err)
	w.objects, err = Intent(file)
	require.NoError(f, err)
	for _, o := range w.objects {
		if n, ok := o.(*intent.Network); ok {
			n.Spec.VNI = map[string]intent.VNI{"red": redVNI, "blue": blueVNI}[n.Metadata.Name]
		}
	}
	w.nodesReady()
	w.put(w.objects...)
	w.ready(30 * time.Second)
	return w
}

func newFabrics(t testing.TB) *fabrics {
	t.Helper()
	labDir(t)
	f := &fabrics{TB: t}
	for i, path := range []string{"testdata/west.clab.yml", "testdata/east.clab.yml"} {
		f.sites[i] = f.site(i, path)
	}
	var err error
	f.joined, err = Join(t.Context(), [2]*State{f.sites[0].State, f.sites[1].State}, [2]string{"leaf1", "leaf1"})
	require.NoError(t, err)
	return f
}

// interconnect is what the controller of a site is told: that of the second waits
// for the first to dial.
func (f *fabrics) interconnect(i int) *intent.Interconnect {
	return &intent.Interconnect{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindInterconnect}, Metadata: intent.Metadata{Name: interconnected},
		Spec: intent.InterconnectSpec{ASN: f.joined.ASNs[1-i], Peers: []intent.FabricPeer{{Address: f.joined.Controllers[1-i], Password: "between us", Passive: i == 1, HoldTime: 3}},
			Networks: []intent.StretchedNetwork{{Tenant: "red", Network: "red", RouteTarget: redTarget}}}}
}

func (f *fabrics) stretch() {
	f.Helper()
	for i, w := range f.sites {
		w.put(f.interconnect(i))
	}
	for _, w := range f.sites {
		took := w.eventually(20*time.Second, func() error { return f.stretched(w) })
		f.Logf("%s: red is stretched %s later", w.State.Name, took.Round(time.Millisecond))
	}
}

func (f *fabrics) status(w *site) intent.Status {
	f.Helper()
	o, err := w.client.Get(f.Context(), intent.Ref{Kind: intent.KindInterconnect, Name: interconnected})
	require.NoError(f, err)
	return *o.(*intent.Interconnect).Status
}

// stretched says what a site still lacks of the other's red.
func (f *fabrics) stretched(w *site) error {
	st := f.status(w)
	if st.Phase != intent.PhaseReady {
		return fmt.Errorf("%s: %+v", st.Phase, st.Reasons)
	}
	// Of three hosts each a MAC row and two addresses, and a VTEP for each edge.
	if s := st.Stretched[0]; len(s.VTEPs) != 3 || s.Sent < 12 || s.Received < 12 || s.Used < 12 {
		return fmt.Errorf("%+v", s)
	}
	return nil
}

// hosts are those of both labs. Blue is another network in each.
func (f *fabrics) hosts() []probe.Host {
	f.Helper()
	var all []probe.Host
	for _, w := range f.sites {
		hosts, _, err := w.hosts(f.Context())
		require.NoError(f, err)
		for _, h := range hosts {
			if h.Tenant == "blue" {
				h.Network += " of " + w.State.Name
			}
			if slices.ContainsFunc(all, func(o probe.Host) bool { return o.Name == h.Name }) {
				h.Name += "@" + w.State.Name // a VM that may be in both
			}
			all = append(all, h)
		}
	}
	return all
}

func (f *fabrics) uplinks() (all []probe.Uplink) {
	for _, w := range f.sites {
		for _, u := range w.uplinks() {
			u.Node += " of " + w.State.Name
			all = append(all, u)
		}
	}
	return all
}

// check sends all to all: red reaches red in both fabrics with one copy each, and
// nothing else crosses.
func (f *fabrics) check() {
	f.Helper()
	field, err := probe.Open(f.hosts())
	require.NoError(f, err)
	defer field.Close()
	uni, err := field.Check(f.Context(), probe.CheckOptions{})
	require.NoError(f, err)
	require.True(f, uni.OK(), "%+v", uni.Failures)
	cast, err := field.Broadcast(f.Context(), f.uplinks(), probe.CheckOptions{})
	require.NoError(f, err)
	require.True(f, cast.OK(), "%+v", cast.Failures)
	var out bytes.Buffer
	require.NoError(f, uni.Print(&out))
	require.NoError(f, cast.Print(&out))
	f.Log(&out)
	for _, r := range cast.Rows {
		if r.Tenant == "red" {
			require.Equal(f, 6, r.Sent)
			require.Equal(f, 6*5, r.Seen, "each copy once, at each other red host of both fabrics")
		}
		require.Zero(f, r.Lost+r.Leaked+r.Duplicated+r.Stray, "%+v", r)
	}
}

// apart waits until nothing of red crosses any longer, or checks that nothing does
// yet. A hardware VTEP's own program takes a moment to follow its database.
func (f *fabrics) apart() {
	f.Helper()
	hosts := f.hosts()
	for i := range hosts {
		if f.east(hosts[i].Name) {
			hosts[i].Network += " there"
		}
	}
	f.sites[0].eventually(10*time.Second, func() error {
		field, err := probe.Open(hosts)
		if err != nil {
			return err
		}
		defer field.Close()
		uni, err := field.Check(f.Context(), probe.CheckOptions{Tries: 1})
		if err != nil {
			return err
		}
		// To a MAC that is gone a hardware VTEP floods, in its own fabric.
		bad := slices.DeleteFunc(uni.Failures, func(x probe.Failure) bool {
			_, at, _ := strings.Cut(x.Detail, "at the interface of ")
			return x.What == "flooded" && f.east(x.Flow.Source) && f.east(at)
		})
		if len(bad) > 0 {
			return fmt.Errorf("%+v", bad)
		}
		return nil
	})
}

// east reports whether a host is in the second fabric.
func (f *fabrics) east(host string) bool {
	return slices.ContainsFunc(f.sites[1].Nodes, func(n Node) bool { return n.Name == host })
}

// crossed counts, by VNI, the tunnelled packets in a capture of the link between
// the fabrics.
func (f *fabrics) crossed(path string) map[string]int {
	f.Helper()
	out, err := exec.Command("tshark", "-r", path, "-Y", "vxlan", "-T", "fields", "-e", "vxlan.vni").Output()
	require.NoError(f, err)
	seen := map[string]int{}
	for _, v := range strings.Fields(string(out)) {
		seen[v]++
	}
	return seen
}

// window probes all pairs while something happens.
func (f *fabrics) window(length time.Duration, happens func()) *probe.LossReport {
	f.Helper()
	field, err := probe.Open(f.hosts())
	require.NoError(f, err)
	defer field.Close()
	type result struct {
		rep *probe.LossReport
		err error
	}
	done := make(chan result, 1)
	go func() {
		rep, err := field.Continuous(f.Context(), probe.ContinuousOptions{Duration: length, Rate: 2000})
		done <- result{rep, err}
	}()
	happens()
	r := <-done
	require.NoError(f, r.err)
	return r.rep
}

// TestTenantsStretched joins two fabrics: all edges of red reach each other, blue
// never crosses, controllers come and go, networks are taken out and put back.
func TestTenantsStretched(t *testing.T) {
	f := newFabrics(t)
	west, east := f.sites[0], f.sites[1]
	stop := west.capture("leaf1", JoinPort)
	f.apart()
	require.Empty(t, f.crossed(stop()), "without an interconnect nothing crosses")

	f.stretch()
	stop = west.capture("leaf1", JoinPort)
	f.check()
	seen := f.crossed(stop())
	t.Logf("tunnelled packets on the link between the fabrics, by VNI: %v", seen)
	require.Len(t, seen, 1, "only red crosses")
	require.NotZero(t, seen[fmt.Sprint(redVNI)])
	t.Log("\n" + west.cli("describe", "interconnect", interconnected))

	// Either controller is killed and comes back, and both.
	for _, killed := range [][]*site{{west}, {east}, {west, east}} {
		before := map[*site]map[string]map[string]time.Duration{}
		names := ""
		for _, w := range killed {
			before[w] = w.allFlows()
			names += " " + w.State.Name
		}
		rep := f.window(10*time.Second, func() {
			time.Sleep(1500 * time.Millisecond) // a part of the window is before the kill, and one without a controller
			for _, w := range killed {
				require.NoError(t, Kill(w.State, controllerNode, true))
			}
			time.Sleep(1500 * time.Millisecond)
			began := time.Now()
			for _, w := range killed {
				w.startController()
			}
			for _, w := range killed {
				w.ready(20 * time.Second)
				w.eventually(20*time.Second, func() error { return f.stretched(w) })
			}
			t.Logf("the interconnect is Ready %s after the start", time.Since(began).Round(time.Millisecond))
		})
		t.Logf("controllers killed and started:%s: %d probes of %d pairs, lost %d, doubled %d, astray %d", names, rep.Sent, rep.Pairs, rep.Lost, rep.Dup, rep.Leaked)
		require.True(t, rep.OK(), "%+v", rep.Worst)
		for _, w := range killed {
			w.requireOlder(before[w], w.allFlows())
		}
	}
	f.check()

	// A network that is taken out at one end does not cross any longer.
	was := f.interconnect(0)
	was.Spec.Networks = nil
	west.put(was)
	west.eventually(10*time.Second, func() error {
		if st := f.status(east); st.Stretched[0].Received != 0 || st.Stretched[0].Used != 0 {
			return fmt.Errorf("%+v", st.Stretched)
		}
		return nil
	})
	a := west.raised(interconnected+"@"+f.joined.Controllers[1].String(), "UnknownVNI", "route target "+redTarget)
	require.Contains(t, a.Message, "no network of interconnect dc has")
	f.apart()
	west.put(f.interconnect(0))
	west.eventually(10*time.Second, func() error { return f.stretched(west) })
	west.eventually(10*time.Second, func() error { return f.stretched(east) })
	west.ended(interconnected+"@"+f.joined.Controllers[1].String(), "UnknownVNI")
	f.check()

	// The interconnect goes, at one end.
	west.delete(intent.Ref{Kind: intent.KindInterconnect, Name: interconnected})
	east.eventually(10*time.Second, func() error {
		if st := f.status(east); st.Stretched[0].Used != 0 {
			return fmt.Errorf("%+v", st.Stretched)
		}
		return nil
	})
	f.apart()
}

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
	east.eventually(10*time.Second, func() error { return f.portAt(east, "") })
	west.eventually(10*time.Second, func() error { return f.portAt(west, "hv1") })
	here, there := west, east
	for range 4 {
		answered := f.pinger()
		at(here, false)
		at(there, true)
		there.eventually(10*time.Second, func() error { return f.portAt(there, "hv1") })
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
	out := &bytes.Buffer{}
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", f.sites[0].Namespace("red-vm2"), "ping", "-D", "-n", "-i", "0.005", "10.9.0.99")
	cmd.Stdout = out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	require.NoError(f, cmd.Start())
	time.Sleep(300 * time.Millisecond) // so that there are answers from before
	return func() time.Duration {
		time.Sleep(700 * time.Millisecond) // and from after
		cancel()
		_ = cmd.Wait()
		var first, last, gap float64
		for l := range strings.Lines(out.String()) {
			var at float64
			if n, _ := fmt.Sscanf(l, "[%f]", &at); n != 1 || !strings.Contains(l, "bytes from") {
				continue
			}
			if last > 0 {
				gap = max(gap, at-last)
			} else {
				first = at
			}
			last = at
		}
		require.NotZero(f, first, "%s", out.String())
		require.Less(f, float64(time.Now().UnixNano())/1e9-last, 0.5, "it answers where it is now")
		return time.Duration(gap * float64(time.Second))
	}
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
	rep := f.window(16*time.Second, func() {
		link(controllerNode, "down")
		began := time.Now()
		for i, w := range f.sites {
			w.raised(peer(i), "Session", "")
			f.Logf("%s: the alarm about the session was raised %s after the controllers were cut from each other", w.State.Name, time.Since(began).Round(10*time.Millisecond))
			require.Equal(f, intent.PhasePending, f.status(w).Phase)
		}
		link(controllerNode, "up")
		for i, w := range f.sites {
			w.eventually(30*time.Second, func() error { return f.stretched(w) })
			w.ended(peer(i), "Session")
		}
		f.Logf("the sessions were back %s after the cut", time.Since(began).Round(10*time.Millisecond))
	})
	f.Logf("controllers cut from each other and joined again: %d probes, lost %d, doubled %d", rep.Sent, rep.Lost, rep.Dup)
	require.True(f, rep.OK(), "what is between VMs needs no controller: %+v", rep.Worst)

	link("leaf1", "down")
	began := time.Now()
	f.apart()
	link("leaf1", "up")
	took := f.whole()
	f.Logf("the link between the border leaves was cut for %s; all pairs were back %s later", (time.Since(began) - took).Round(time.Millisecond), took.Round(time.Millisecond))
	f.check()
}

// whole waits until all pairs reach each other, and returns how long that took.
func (f *fabrics) whole() time.Duration {
	f.Helper()
	return f.sites[0].eventually(30*time.Second, func() error {
		field, err := probe.Open(f.hosts())
		if err != nil {
			return err
		}
		defer field.Close()
		rep, err := field.Check(f.Context(), probe.CheckOptions{Tries: 1})
		if err == nil && !rep.OK() {
			err = fmt.Errorf("%+v", rep.Failures)
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
		a := west.raised(peer, c.reason, "")
		require.Contains(f, a.Message, c.says)
		f.Logf("%s: %s", c.what, a.Message)
		west.put(f.interconnect(0))
		west.eventually(40*time.Second, func() error { return f.stretched(west) })
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
		w.eventually(20*time.Second, func() error { return f.stretched(w) })
	}
	west.ended(peer, "UnknownVNI")
	east.ready(20 * time.Second)
	f.Logf("all pairs were back %s after the VNIs were the same again", f.whole().Round(time.Millisecond)) // a hardware VTEP's own program takes its time
}
