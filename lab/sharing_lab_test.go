//go:build lab

package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
)

// sharingVMs: a tenant "hub" with services in net9 and more in net10, of which two
// tenants have some; red has a second router on net3. x1 has the address of w1.
var sharingVMs = []routedVM{
	{"w1", "red", "hv1", 1, 11}, {"w2", "red", "hv2", 1, 12}, {"d2", "red", "hv2", 2, 12}, {"q1", "red", "hv1", 3, 11}, {"q2", "red", "hv2", 3, 12},
	{"x1", "ink", "hv1", 1, 11}, {"z2", "ink", "hv2", 5, 12},
	{"s1", "hub", "hv1", 9, 11}, {"s2", "hub", "hv2", 9, 12}, {"u2", "hub", "hv2", 9, 200}, {"t1", "hub", "hv1", 10, 11},
}

func sharingRouter(tenant, name, export string, imports []intent.RouterImport, networks ...int) *intent.Router {
	r := &intent.Router{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindRouter}, Metadata: intent.Metadata{Tenant: tenant, Name: name},
		Spec: intent.RouterSpec{Imports: imports}}
	if export != "" {
		r.Spec.RouteTargets.Export = []string{export}
	}
	for _, n := range networks {
		r.Spec.Networks = append(r.Spec.Networks, intent.RouterNetwork{Network: fmt.Sprintf("net%d", n)})
	}
	return r
}

func taking(target string, prefixes ...string) intent.RouterImport {
	i := intent.RouterImport{RouteTarget: target}
	for _, p := range prefixes {
		i.Prefixes = append(i.Prefixes, netip.MustParsePrefix(p))
	}
	return i
}

// The route targets of the lab, and the half of the services' subnet that is for
// others.
const (
	hubTarget, redTarget, inkTarget = "65000:900", "65000:1", "65000:2"
	services4, services6            = "10.9.0.0/25", "fd00:0:0:9::/121"
)

// TestTenantsSharing: services of one router are had by routers of others, on real
// vSwitches with packets of both families: who is reached by whom, and who is not.
func TestTenantsSharing(t *testing.T) {
	w := newVMSite(t, "sharing", sharingVMs)
	for _, v := range sharingVMs {
		w.objects = append(w.objects, v.port())
	}
	step := func(name string, do func()) {
		if !t.Failed() {
			began := time.Now()
			do()
			t.Logf("%s: done after %s", name, time.Since(began).Round(time.Millisecond))
		}
	}
	step("nothing is shared", w.nothingShared)
	stop := w.capture("spine1", "eth1")
	step("services", w.services)
	step("the L3VNI of who receives is on the wire", func() { w.requireReceiversVNI(stop()) })
	step("filters and ways back hold", w.filtersHold)
	step("nobody pretends", w.nobodyPretends)
	step("traceroute", w.sharedTraceroute)
	step("a static route", w.sharedStatic)
	step("groups", w.sharedGroups)
	step("the controller is killed", w.sharedKill)
	step("sharing ends", w.sharingEnds)
}

func (w *routedSite) nothingShared() {
	w.put(sharingRouter("red", "r", redTarget, nil, 1, 2), sharingRouter("red", "r2", "", nil, 3),
		sharingRouter("ink", "r", inkTarget, nil, 1, 5), sharingRouter("hub", "services", hubTarget, nil, 9, 10))
	w.ready(patience)
	w.once("w1", "d2", false, true)
	for _, to := range []string{"s1", "s2", "q2"} {
		w.noRoute("w1", to)
	}
}

// noRoute: the sender is told that there is no route, and nothing arrives.
func (w *routedSite) noRoute(from, to string) { w.told(from, to, [2]uint8{3, 0}, [2]uint8{1, 0}) }

// prohibited: the sender is told that it may not, and nothing arrives.
func (w *routedSite) prohibited(from, to string) { w.told(from, to, [2]uint8{3, 13}, [2]uint8{1, 5}) }

// told has the sender be told by an ICMP error of its gateway; nobody gets the
// packet.
func (w *routedSite) told(from, to string, v4, v6 [2]uint8) {
	w.Helper()
	for _, six := range []bool{false, true} {
		want := refusal{w.vms[from].gateway(six), v4[0], v4[1]}
		if six {
			want.kind, want.code = v6[0], v6[1]
		}
		w.eventually(patience, func() error { // what changed may be on its way to the switch
			r, ok := w.refused(from, netip.AddrPortFrom(w.vms[to].address(six), routedPort), 0)
			if !ok || r != want {
				return fmt.Errorf("%s to %s: %+v, want %+v", from, to, r, want)
			}
			return nil
		})
		w.mu.Lock()
		w.seen = nil
		w.mu.Unlock()
		_, _ = w.refused(from, netip.AddrPortFrom(w.vms[to].address(six), routedPort), 0)
		w.mu.Lock()
		require.Empty(w, w.seen, "%s to %s", from, to)
		w.mu.Unlock()
	}
}

// share has the hub's services be had by red and ink, each with a way back.
func (w *routedSite) share() {
	w.put(sharingRouter("red", "r", redTarget, []intent.RouterImport{taking(hubTarget, services4, services6)}, 1, 2),
		sharingRouter("ink", "r", inkTarget, []intent.RouterImport{taking(hubTarget, services4, services6)}, 1, 5),
		sharingRouter("hub", "services", hubTarget, []intent.RouterImport{taking(redTarget, "10.1.0.0/24", "fd00:0:0:1::/64"), taking(inkTarget, "10.5.0.0/24", "fd00:0:0:5::/64")}, 9, 10))
	w.ready(patience)
}

// services: who shares reaches each other, with one hop in between.
func (w *routedSite) services() {
	before := w.countFlows("")
	w.share()
	pairs := 0
	for _, user := range []string{"w1", "w2", "z2"} {
		for _, service := range []string{"s1", "s2"} {
			for _, six := range []bool{false, true} {
				w.once(user, service, six, true)
				w.once(service, user, six, true)
				pairs += 2
			}
		}
	}
	w.ping("w1", w.vms["s2"].v4().String())
	w.ping("s1", w.vms["w2"].v6().String())
	// A prefix is one flow in the route table of each hypervisor that has ports of
	// the router, however many hosts there are.
	require.Equal(w, map[string]int{"hv1": 2 + 2 + 4, "hv2": 2 + 2 + 4}, w.countFlows("resubmit(,23)"))
	w.Logf("%d pairs of VM and family reached each other; flows before %v, shared %v", pairs, before, w.countFlows(""))
}

// countFlows counts the flows of each hypervisor that have a text.
func (w *routedSite) countFlows(text string) map[string]int {
	out := map[string]int{}
	for _, hv := range []string{"hv1", "hv2"} {
		for l := range strings.Lines(w.ofctl(hv, "dump-flows")) {
			if strings.Contains(l, "cookie=") && strings.Contains(l, text) {
				out[hv]++
			}
		}
	}
	return out
}

// requireReceiversVNI: what crosses the spine has the L3VNI of the router that has
// the receiver.
func (w *routedSite) requireReceiversVNI(path string) {
	w.Helper()
	out, err := exec.Command("tshark", "-r", path, "-Y", fmt.Sprintf("vxlan && udp.dstport==%d && ip && !icmp && !icmpv6", routedPort), "-T", "fields", "-E", "separator=,", "-E", "occurrence=l",
		"-e", "vxlan.vni", "-e", "ip.dst").Output()
	require.NoError(w, err)
	vni := func(tenant, name string) string {
		o, err := w.client.Get(w.Context(), intent.Ref{Kind: intent.KindRouter, Tenant: tenant, Name: name})
		require.NoError(w, err)
		return fmt.Sprint(o.(*intent.Router).Spec.VNI)
	}
	want := map[string]string{"10.9.": vni("hub", "services"), "10.1.": vni("red", "r"), "10.5.": vni("ink", "r")}
	seen := map[string]int{}
	for line := range strings.Lines(string(out)) {
		v, dst, _ := strings.Cut(strings.TrimSpace(line), ",")
		if want[dst[:5]] == "" {
			continue // the inner destination of IPv6 is none of these
		}
		require.Equal(w, want[dst[:5]], v, "%s", line)
		seen[dst[:5]]++
	}
	w.Logf("packets on the spine by destination: %v, with L3VNIs %v", seen, want)
	require.Len(w, seen, 3)
}

// filtersHold: what no filter names is not reached, from where there is no way back
// nothing is sent, and two who have something of a third have nothing of each other.
func (w *routedSite) filtersHold() {
	for _, p := range [][2]string{{"w1", "u2"}, {"w2", "t1"}, {"w1", "z2"}, {"z2", "d2"}, {"q1", "s1"}, {"s1", "d2"}, {"s1", "q1"}} {
		w.noRoute(p[0], p[1])
	}
	for _, p := range [][2]string{{"d2", "s1"}, {"x1", "s1"}, {"x1", "s2"}, {"u2", "w1"}, {"t1", "w2"}} {
		w.prohibited(p[0], p[1])
	}
	// x1 has w1's addresses: what services send there is w1's, what its own router
	// sends there is its.
	for _, six := range []bool{false, true} {
		w.once("s2", "w1", six, true)
		w.once("z2", "x1", six, true)
	}
}

// nobodyPretends: a VM that may send from any address, since a route leads to it,
// is not believed to be a service or somebody else's station.
func (w *routedSite) nobodyPretends() {
	r := sharingRouter("red", "r", redTarget, []intent.RouterImport{taking(hubTarget, services4, services6)}, 1, 2)
	r.Spec.Routes = []intent.StaticRoute{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHops: []intent.NextHop{{Port: "w2"}}}}
	w.put(r)
	w.ready(patience)
	for _, pretended := range []string{w.vms["s2"].v4().String(), w.vms["t1"].v4().String(), w.vms["z2"].v4().String()} {
		var c *net.UDPConn
		require.NoError(w, netns.Do(w.Namespace("w2"), func() (err error) {
			if err := addAddress(Address{"lo", netip.PrefixFrom(netip.MustParseAddr(pretended), 32)}); err != nil {
				return err
			}
			c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(pretended)})
			return err
		}))
		payload := "I am " + pretended
		for range 3 {
			_, err := c.WriteToUDPAddrPort([]byte(payload), netip.AddrPortFrom(w.vms["s1"].v4(), routedPort))
			require.NoError(w, err)
		}
		// It does reach its own router's stations so: that the route is for.
		w.eventually(patience, func() error {
			if _, err := c.WriteToUDPAddrPort([]byte(payload+" here"), netip.AddrPortFrom(w.vms["d2"].v4(), routedPort)); err != nil {
				return err
			}
			time.Sleep(20 * time.Millisecond)
			if len(w.sightings(payload+" here")) == 0 {
				return fmt.Errorf("%s does not reach d2 from w2", pretended)
			}
			return nil
		})
		require.Empty(w, w.sightings(payload))
		require.NoError(w, c.Close())
	}
	w.once("w2", "s1", false, true)
	w.share()
}

// sharedTraceroute reads gateway, then host.
func (w *routedSite) sharedTraceroute() {
	for _, p := range [][2]string{{"w1", "s1"}, {"w1", "s2"}, {"s1", "z2"}} {
		for _, six := range []bool{false, true} {
			dest := netip.AddrPortFrom(w.vms[p[1]].address(six), 33434)
			exceeded, reached := refusal{w.vms[p[0]].gateway(six), 11, 0}, refusal{dest.Addr(), 3, 3}
			if six {
				exceeded.kind, reached.kind, reached.code = 3, 1, 4
			}
			for ttl, want := range []refusal{exceeded, reached} {
				got := w.refusal(p[0], dest, ttl+1)
				require.Equal(w, want, got, "%v, TTL %d", p, ttl+1)
			}
		}
	}
}

// sharedStatic: what is behind a station of the other router is had by its static
// route, and answers.
func (w *routedSite) sharedStatic() {
	require.NoError(w, netns.Do(w.Namespace("s2"), func() error { return addAddress(Address{"lo", netip.PrefixFrom(behind.Addr().Next(), 32)}) }))
	hub := sharingRouter("hub", "services", hubTarget, []intent.RouterImport{taking(redTarget, "10.1.0.0/24", "fd00:0:0:1::/64"), taking(inkTarget, "10.5.0.0/24", "fd00:0:0:5::/64")}, 9, 10)
	hub.Spec.Routes = []intent.StaticRoute{{Prefix: behind, NextHops: []intent.NextHop{{Port: "s2"}}}}
	w.put(hub, sharingRouter("red", "r", redTarget, []intent.RouterImport{taking(hubTarget, services4, services6, behind.String())}, 1, 2))
	w.ready(patience)
	w.ping("w1", behind.Addr().Next().String())
	w.ping("w2", behind.Addr().Next().String())
	r := w.refusal("z2", netip.AddrPortFrom(behind.Addr().Next(), 9), 0) // ink does not take it
	require.Equal(w, refusal{w.vms["z2"].gateway(false), 3, 0}, r)
	w.share()
}

// sharedGroups: groups know the stations of both routers of a tenant, and nobody
// else who has their addresses.
func (w *routedSite) sharedGroups() {
	w.put(sharingRouter("red", "r2", "65000:3", []intent.RouterImport{taking(redTarget, "10.1.0.0/24", "fd00:0:0:1::/64")}, 3))
	w.put(sharingRouter("red", "r", redTarget, []intent.RouterImport{taking(hubTarget, services4, services6), taking("65000:3")}, 1, 2))
	w.put(w.group("red", "app"), w.group("red", "db", "ingress udp 4243 from app", "ingress tcp 80 from app", "egress any to app"))
	w.join("w1", "app")
	for _, db := range []string{"q1", "q2"} {
		w.serve(db, 80)
		w.join(db, "db")
	}
	w.ready(patience)
	for _, db := range []string{"q1", "q2"} {
		w.attempts([]attempt{{"w1", db, "tcp", 80, true}, {"w2", db, "tcp", 80, false}, {"w1", db, "ping", 0, false}})
		for _, six := range []bool{false, true} {
			w.once("w1", db, six, true)
		}
	}
	// w2 joins and leaves: on both hypervisors, in the other VRF.
	w.join("w2", "app")
	w.attempts([]attempt{{"w2", "q1", "tcp", 80, true}, {"w2", "q2", "tcp", 80, true}})
	w.join("w2")
	w.eventually(patience, func() error {
		for _, db := range []string{"q1", "q2"} {
			if w.reach("w2", w.address(db, 4), "tcp", 80, refusedAfter) == nil {
				return errStill("w2 reaches " + db)
			}
		}
		return nil
	})
	for _, db := range []string{"q1", "q2"} {
		w.join(db)
	}
	w.join("w1")
}

// sharedKill: what is shared goes on while the controller is away, and nothing is
// made again when it comes back.
func (w *routedSite) sharedKill() {
	w.ready(patience)
	for try := 1; ; try++ {
		before := w.allFlows()
		sent, lost := w.losses(func() {
			time.Sleep(time.Second)
			require.NoError(w, Kill(w.State, controllerNode, true))
			time.Sleep(time.Second)
			w.startController()
			w.ready(patience)
		}, "s1", "s2", "q2")
		w.Logf("controller killed and started, window %d: %d packets to shared services sent, %d lost", try, sent, lost)
		after := w.allFlows()
		require.NoError(w, differ(before, after))
		w.Logf("%d flows, none made again", w.requireOlder(before, after))
		if lost == 0 {
			break
		}
		require.Less(w, try, windows, "packets were lost in every window")
	}
}

// sharingEnds: with the import of either side, and nothing is left of it.
func (w *routedSite) sharingEnds() {
	w.put(sharingRouter("hub", "services", hubTarget, []intent.RouterImport{taking(inkTarget, "10.5.0.0/24", "fd00:0:0:5::/64")}, 9, 10))
	w.prohibited("w1", "s1") // no way back any more
	w.noRoute("s1", "w1")
	w.once("z2", "s2", false, true) // the other one goes on
	w.put(sharingRouter("red", "r", redTarget, nil, 1, 2), sharingRouter("red", "r2", "", nil, 3), sharingRouter("ink", "r", inkTarget, nil, 1, 5), sharingRouter("hub", "services", hubTarget, nil, 9, 10))
	w.noRoute("w1", "s1")
	w.noRoute("z2", "s1")
	for _, text := range []string{"resubmit(,23)", "table=23"} {
		require.Empty(w, w.countFlows(text))
	}
	for _, e := range w.events(time.Time{}) {
		require.NotContains(w, e.Reason, "Repaired", "%+v", e)
	}
}
