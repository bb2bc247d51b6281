//go:build lab

package lab

import (
	"bytes"
	"fmt"
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
	betweenTarget   = "65500:10100"
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
	w.ready(patience)
	return w
}

func newFabrics(t testing.TB) *fabrics {
	t.Helper()
	labDir(t)
	f := &fabrics{TB: t}
	for i, path := range []string{"testdata/west.clab.yml", "testdata/east.clab.yml"} {
		f.sites[i] = f.site(i+1, path)
	}
	var err error
	f.joined, err = Join(t.Context(), [2]*State{f.sites[0].State, f.sites[1].State}, [2]string{"leaf1", "leaf1"}, [2]string{"leaf2", "leaf2"})
	require.NoError(t, err)
	return f
}

// interconnect is what the controller of a site is told: that of the second waits
// for the first to dial.
func (f *fabrics) interconnect(i int) *intent.Interconnect {
	return &intent.Interconnect{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindInterconnect}, Metadata: intent.Metadata{Name: interconnected},
		Spec: intent.InterconnectSpec{ASN: f.joined.ASNs[1-i], Peers: []intent.FabricPeer{{Address: f.joined.Controllers[1-i], Password: "between us", Passive: i == 1, HoldTime: 3}},
			Networks: []intent.StretchedNetwork{{Tenant: "red", Network: "red", RouteTarget: betweenTarget}}}}
}

func (f *fabrics) stretch() {
	f.Helper()
	for i, w := range f.sites {
		w.put(f.interconnect(i))
	}
	for _, w := range f.sites {
		took := w.eventually(patience, func() error { return f.stretched(w) })
		f.Logf("%s: red is stretched %s later", w.State.Name, took.Round(time.Millisecond))
	}
	f.Logf("all pairs reach each other %s after that", f.whole().Round(time.Millisecond)) // a hardware VTEP's own program takes its time
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
	uni, err := field.Check(f.Context(), probe.CheckOptions{Tries: 10}) // a machine that is busy loses packets
	require.NoError(f, err)
	require.True(f, uni.OK(), "%+v", uni.Failures)
	cast, err := field.Broadcast(f.Context(), f.uplinks(), probe.CheckOptions{Tries: 10})
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
	f.sites[0].eventually(patience, func() error {
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

// crossing counts, by VNI, the tunnelled packets on the links between the fabrics
// while something is done.
func (f *fabrics) crossing(do func()) map[string]int {
	f.Helper()
	stops := []func() string{f.sites[0].capture("leaf1", JoinPort), f.sites[0].capture("leaf2", JoinPort)}
	do()
	seen := map[string]int{}
	for _, stop := range stops {
		out, err := exec.Command("tshark", "-r", stop(), "-Y", "vxlan", "-T", "fields", "-e", "vxlan.vni").Output()
		require.NoError(f, err)
		for _, v := range strings.Fields(string(out)) {
			seen[v]++
		}
	}
	return seen
}

// cleanWindow wants a window without any loss, as that of one lab: one of a few.
func (f *fabrics) cleanWindow(length time.Duration, what string, happens func()) {
	f.Helper()
	for try := 1; ; try++ {
		rep := f.window(length, happens)
		f.Logf("%s, window %d: %d probes of %d pairs, lost %d, doubled %d, astray %d", what, try, rep.Sent, rep.Pairs, rep.Lost, rep.Dup, rep.Leaked)
		require.Zero(f, rep.Leaked+rep.Dup, "%+v", rep.Worst)
		if rep.OK() {
			return
		}
		f.Logf("  %+v", rep.Worst)
		require.Less(f, try, windows, "%s: packets were lost in every window", what)
	}
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
	seen := f.crossing(f.apart)
	require.Empty(t, seen, "without an interconnect nothing crosses")

	f.stretch()
	seen = f.crossing(f.check)
	t.Logf("tunnelled packets on the links between the fabrics, by VNI: %v", seen)
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
		f.cleanWindow(10*time.Second, "controllers killed and started:"+names, func() {
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
				w.ready(patience)
				w.eventually(patience, func() error { return f.stretched(w) })
			}
			t.Logf("the interconnect is Ready %s after the start", time.Since(began).Round(time.Millisecond))
		})
		for _, w := range killed {
			w.requireOlder(before[w], w.allFlows())
		}
	}
	f.check()

	// A network that is taken out at one end does not cross any longer.
	was := f.interconnect(0)
	was.Spec.Networks = nil
	west.put(was)
	west.eventually(patience, func() error {
		if st := f.status(east); st.Stretched[0].Received != 0 || st.Stretched[0].Used != 0 {
			return fmt.Errorf("%+v", st.Stretched)
		}
		return nil
	})
	a := west.raised(interconnected+"@"+f.joined.Controllers[1].String(), "UnknownVNI", "route target "+betweenTarget)
	require.Contains(t, a.Message, "no network of interconnect dc has")
	f.apart()
	west.put(f.interconnect(0))
	west.eventually(patience, func() error { return f.stretched(west) })
	west.eventually(patience, func() error { return f.stretched(east) })
	west.ended(interconnected+"@"+f.joined.Controllers[1].String(), "UnknownVNI")
	f.whole() // a hardware VTEP's own program takes its time
	f.check()

	// The interconnect goes, at one end.
	west.delete(intent.Ref{Kind: intent.KindInterconnect, Name: interconnected})
	east.eventually(patience, func() error {
		if st := f.status(east); st.Stretched[0].Used != 0 {
			return fmt.Errorf("%+v", st.Stretched)
		}
		return nil
	})
	f.apart()
}
