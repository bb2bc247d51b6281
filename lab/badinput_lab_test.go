//go:build lab

package lab

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/southbound"
)

// patience is for what takes a second or so on an idle machine.
const patience = 60 * time.Second

// alarms is what "weft get alarms" prints.
func (w *site) alarms() []client.Alarm {
	w.Helper()
	var a client.Alarms
	require.NoError(w, json.Unmarshal([]byte(w.cli("get", "alarms", "-o", "json")), &a))
	return a.Items
}

// raised waits for an alarm of a device and returns it.
func (w *site) raised(device, reason, object string) (alarm client.Alarm) {
	w.Helper()
	took := w.eventually(patience, func() error {
		all := w.alarms()
		i := slices.IndexFunc(all, func(a client.Alarm) bool {
			return a.Device == device && a.Reason == reason && strings.Contains(a.Object, object)
		})
		if i < 0 {
			return fmt.Errorf("no alarm %s of %s, but %v", reason, device, all)
		}
		alarm = all[i]
		return nil
	})
	w.Logf("after %s: %s %s %s: %s", took.Round(time.Millisecond), alarm.Device, alarm.Reason, alarm.Object, alarm.Message)
	return alarm
}

// raisedSaying is raised for an alarm whose message becomes what it must be: the first
// look at its cause may show a part of it.
func (w *site) raisedSaying(device, reason, object string, says *regexp.Regexp) (alarm client.Alarm) {
	w.Helper()
	w.raised(device, reason, object)
	w.eventually(patience, func() error {
		all := w.alarms()
		i := slices.IndexFunc(all, func(a client.Alarm) bool {
			return a.Device == device && a.Reason == reason && strings.Contains(a.Object, object) && says.MatchString(a.Message)
		})
		if i < 0 {
			return fmt.Errorf("no alarm %s of %s says %s: %v", reason, device, says, all)
		}
		alarm = all[i]
		return nil
	})
	return alarm
}

// ended waits until a device has no alarm for a reason.
func (w *site) ended(device, reason string) {
	w.Helper()
	w.eventually(patience, func() error {
		for _, a := range w.alarms() {
			if a.Device == device && a.Reason == reason {
				return errStill("%s: %s", a.Object, a.Message)
			}
		}
		return nil
	})
}

// logged counts the lines of the controller's log about a device and a reason,
// but for those that tell of an end.
func (w *site) logged(device, reason, object string) (lines []string) {
	w.Helper()
	b, err := os.ReadFile(w.process(controllerNode, controllerNode).Log)
	require.NoError(w, err)
	for l := range strings.Lines(string(b)) {
		if strings.Contains(l, " device="+device+" ") && strings.Contains(l, " reason="+reason) && strings.Contains(l, object) && !strings.Contains(l, "the alarm ended") {
			lines = append(lines, l)
		}
	}
	return lines
}

func (w *site) loggedOnce(device, reason, object string) {
	w.Helper()
	w.loggedTimes(1, device, reason, object)
}

// loggedTimes wants so many lines; an alarm may be seen before its line is written.
func (w *site) loggedTimes(n int, device, reason, object string) {
	w.Helper()
	var lines []string
	w.eventually(patience, func() error {
		if lines = w.logged(device, reason, object); len(lines) < n {
			return errStill("%d lines of %s", len(lines), object)
		}
		return nil
	})
	require.Len(w, lines, n)
}

// edges is what all edges have: flows, forwarding tables, rows of databases.
func (w *site) edges() map[string]map[string]bool {
	w.Helper()
	all := map[string]map[string]bool{}
	add := func(node, text string, keep func(string) bool) {
		all[node] = map[string]bool{}
		for l := range strings.Lines(text) {
			if l = strings.TrimSpace(l); l != "" && keep(l) {
				all[node][l] = true
			}
		}
	}
	for node, flows := range w.allFlows() {
		add(node, strings.Join(slices.Collect(maps.Keys(flows)), "\n"), func(string) bool { return true })
	}
	for _, leaf := range []string{"leaf1", "leaf2"} {
		out, err := exec.CommandContext(w.Context(), "ip", "netns", "exec", w.Namespace(leaf), "bridge", "fdb", "show").CombinedOutput()
		require.NoError(w, err, "%s", out)
		add(leaf, string(out), func(l string) bool { return strings.Contains(l, " dst ") }) // behind tunnels
	}
	v := w.vtep("show")
	for ls := range strings.Lines(w.vtep("list-ls")) {
		if name := strings.TrimSpace(ls); strings.HasPrefix(name, "weft-") {
			v += w.vtep("list-remote-macs", name)
		}
	}
	add("vtep1", v, func(l string) bool { return true })
	return all
}

// vtep runs vtep-ctl on the hardware VTEP.
func (w *site) vtep(args ...string) string {
	w.Helper()
	out, err := exec.CommandContext(w.Context(), "vtep-ctl", append([]string{"--timeout=10", "--db=unix:" + filepath.Join(w.NodeDir("vtep1"), "db.sock")}, args...)...).CombinedOutput()
	require.NoError(w, err, "vtep-ctl %v: %s", args, out)
	return string(out)
}

// changed says what is otherwise than it was on the edges, but for nodes and
// lines with one of the words.
func (w *site) changed(was map[string]map[string]bool, but ...string) error {
	w.Helper()
	var diff []string
	other := func(node, what string, a, b map[string]bool) {
		for l := range a {
			if !b[l] && !slices.ContainsFunc(but, func(x string) bool { return strings.Contains(l, x) || strings.HasPrefix(node, x) }) {
				diff = append(diff, node+" "+what+" "+l)
			}
		}
	}
	but = append(slices.Clone(but), roaming.String()) // the emulator keeps it for minutes
	now := w.edges()
	for node := range was {
		other(node, "lacks", was[node], now[node])
		other(node, "has too much:", now[node], was[node])
	}
	if slices.Sort(diff); len(diff) > 0 {
		return fmt.Errorf("%d lines differ: %s", len(diff), strings.Join(diff[:min(len(diff), 10)], "\n"))
	}
	return nil
}

// settled waits until all edges are as they were.
func (w *site) settled(was map[string]map[string]bool, but ...string) {
	w.Helper()
	w.eventually(patience, func() error { return w.changed(was, but...) })
}

// has waits until all edges have a MAC, or until none has it, but for nodes.
func (w *site) has(yes bool, mac intent.MAC, but ...string) {
	w.Helper()
	w.eventually(patience, func() error {
		for node, lines := range w.edges() {
			if slices.ContainsFunc(but, func(x string) bool { return strings.HasPrefix(node, x) }) {
				continue
			}
			found := false
			for l := range lines {
				found = found || strings.Contains(l, mac.String())
			}
			if found != yes {
				return errStill("%s: %s there: %v", node, mac, found)
			}
		}
		return nil
	})
}

func (w *site) session(node string) intent.BGPSession {
	w.Helper()
	s := w.cliGet(intent.Ref{Kind: intent.KindNode, Name: node}).Session
	if s == nil {
		return intent.BGPSession{}
	}
	return *s
}

func (w *site) delete(r intent.Ref) {
	w.Helper()
	_, err := w.client.Delete(w.Context(), r, client.DeleteOptions{})
	require.NoError(w, err)
	delete(w.written, r)
}

// Bad input of every kind, one after the other in one lab of all edges: told in
// the alarms and once in the log, with no effect on anything else, and over when
// its cause is.
func TestEdgesReportBadInput(t *testing.T) {
	w := edgesSite(t)
	r := newRogue(w)
	r.bgpd("otheras", 1791, 65012, "")
	r.bgpd("password", 1792, 65013, "right")
	s := r.speaker(1790, 65010, netip.AddrFrom4([4]byte{10, 99, 0, 1}))
	c := r.cutter(6641, netip.AddrPortFrom(nodeAddr(w, "vtep1"), ovsdbPort).String())
	other, secret := r.node("otheras", 1791, 65011, 2), r.node("password", 1792, 65013, 3)
	secret.Spec.EVPN.Password = "wrong"
	// Leaves use a route only when they reach its next hop.
	for _, leaf := range []string{"leaf1", "leaf2"} {
		out, err := exec.CommandContext(w.Context(), "ip", "-n", w.Namespace(leaf), "route", "add", "10.99.0.0/24", "dev", "eth1").CombinedOutput()
		require.NoError(w, err, "%s", out)
	}
	b := &badInput{s: s, second: r.speaker(1793, 65014, netip.AddrFrom4([4]byte{10, 99, 0, 4})), cutter: c, web: w.vniOf("blue"), red: w.vniOf("red")}
	began := w.in(t).edges()
	w.put(r.node("good", 1790, 65010, 1), r.node("second", 1793, 65014, 4), other, secret)
	w.established("good")
	w.established("second")
	for _, c := range []struct {
		name string
		run  func(*badInput, *site)
	}{
		{"malformed UPDATE", (*badInput).malformed},
		{"VNI that nobody has", (*badInput).unknownVNI},
		{"addresses and MAC of a port", (*badInput).spoofing},
		{"MAC on two edges", (*badInput).duplicate},
		{"database that goes away in a transaction", (*badInput).cut},
		{"VLAN bound by someone else", (*badInput).vlanTaken},
		{"peer in another AS", func(_ *badInput, w *site) { r.otherAS(w, other) }},
		{"peer with another password", func(_ *badInput, w *site) { r.wrongPassword(w) }},
	} {
		ok := t.Run(c.name, func(t *testing.T) {
			b.s.TB = t
			c.run(b, w.in(t))
		})
		b.s.TB = t
		require.True(t, ok, "the others would fail, too")
	}
	require.Equal(t, int32(1), s.sessions.Load(), "the good peer's session was up all the time")
	require.Zero(t, w.session("good").Flaps)
	w.settled(began)
	require.Empty(t, w.alarms())
	w.check()
	for _, n := range []string{"good", "second", "otheras", "password"} {
		w.delete(intent.Ref{Kind: intent.KindNode, Name: n})
	}
	w.settled(began)
	require.Empty(t, w.alarms())
}

type badInput struct {
	s        *speaker
	second   *speaker
	cutter   *cutter
	web, red intent.VNI
}

func (w *site) vniOf(tenant string) intent.VNI {
	w.Helper()
	o, err := w.client.Get(w.Context(), intent.Ref{Kind: intent.KindNetwork, Tenant: tenant, Name: "web"})
	require.NoError(w, err)
	return o.(*intent.Network).Spec.VNI
}

func nodeAddr(w *site, name string) netip.Addr {
	n, err := w.Node(name)
	require.NoError(w, err)
	return n.Mgmt.Addr()
}

var (
	stationA = intent.MAC{2, 0xbb, 0, 0, 0, 1}
	stationB = intent.MAC{2, 0xbb, 0, 0, 0, 2}
	stationC = intent.MAC{2, 0xbb, 0, 0, 0, 3}
	roaming  = intent.MAC{2, 0xcc, 0, 0, 0, 1}
)

// RFC 7606: the routes of a malformed UPDATE count as withdrawn, the session and
// the other routes stay.
func (b *badInput) malformed(w *site) {
	before := w.edges()
	good, bad := b.s.nlri(b.web, stationB, netip.Addr{}), b.s.nlri(b.web, stationA, netip.Addr{})
	b.s.say(b.s.announce(b.web, 0, good, bad))
	w.has(true, stationA)
	w.has(true, stationB)
	both := w.edges()

	b.s.say(b.s.malformed(b.web, bad))
	a := w.raised("good", southbound.AlarmMalformed, "BGP session")
	require.Contains(w, a.Message, "RFC 7606")
	w.has(false, stationA)
	b.s.say(b.s.malformed(b.web, bad), b.s.malformed(b.web, bad))
	w.eventually(patience, func() error {
		if st := w.session("good"); st.Malformed != 3 || st.State != "Established" || st.Flaps != 0 || st.Received != 1 {
			return errStill("%+v", st)
		}
		return nil
	})
	w.loggedOnce("good", southbound.AlarmMalformed, "")
	require.NoError(w, w.changed(both, stationA.String()), "nothing else")

	b.s.say(b.s.announce(b.web, 0, bad))
	w.ended("good", southbound.AlarmMalformed)
	w.settled(both)
	b.s.say(b.s.withdraw(good, bad))
	w.settled(before)
}

// A route for a VNI that no network has, and one for another tenant's VNI with
// the label of this one.
func (b *badInput) unknownVNI(w *site) {
	before := w.edges()
	const nobodys = 7777
	stray, crossed := b.s.nlri(nobodys, stationA, netip.Addr{}), b.s.nlri(b.web, stationB, netip.Addr{})
	b.s.say(b.s.announce(nobodys, 0, stray), b.s.announce(nobodys, 1, stray), b.s.announce(b.red, 0, crossed))
	w.raised("good", southbound.AlarmUnknownVNI, "VNI 7777")
	w.raised("good", southbound.AlarmUnknownVNI, fmt.Sprintf("VNI %d", b.web))
	w.loggedOnce("good", southbound.AlarmUnknownVNI, "VNI 7777")
	w.loggedOnce("good", southbound.AlarmUnknownVNI, fmt.Sprintf("object=\"VNI %d\"", b.web))
	require.NoError(w, w.changed(before), "no edge uses it, leaves included")
	b.s.say(b.s.withdraw(stray, crossed))
	w.ended("good", southbound.AlarmUnknownVNI)
	w.settled(before)
}

// A leaf announces what is a VM's: its MAC and address, and its address with
// another MAC. The VM stays where it is. The alarms end with the routes, and
// with the port.
func (b *badInput) spoofing(w *site) {
	before := w.edges()
	p := w.portOf("blue-vm1")
	mac, ip := p.Spec.MAC, p.Spec.Addresses[0]
	if mac.IsZero() {
		o, err := w.client.Get(w.Context(), p.Ref())
		require.NoError(w, err)
		mac = o.(*intent.Port).Spec.MAC
	}
	same, taken := b.s.nlri(b.web, mac, ip), b.s.nlri(b.web, stationC, ip)
	b.s.say(b.s.announce(b.web, 9, same), b.s.announce(b.web, 0, taken), b.s.announce(b.web, 10, same))
	w.raised("good", southbound.AlarmSpoofing, mac.String())
	a := w.raised("good", southbound.AlarmSpoofing, stationC.String())
	require.Contains(w, a.Message, "the route is not used")
	w.loggedOnce("good", southbound.AlarmSpoofing, stationC.String())
	w.loggedTimes(1, "good", southbound.AlarmSpoofing, mac.String()+"\"") // the MAC's
	w.loggedTimes(2, "good", southbound.AlarmSpoofing, ip.String())       // one for each MAC with the address
	require.NoError(w, w.changed(before), "no edge uses it, leaves included")
	b.s.say(b.s.withdraw(same))
	w.eventually(patience, func() error {
		for _, a := range w.alarms() {
			if strings.Contains(a.Object, mac.String()) {
				return errStill("%+v", a)
			}
		}
		return nil
	})
	require.NoError(w, w.changed(before))

	// The port leaves: nobody's address any more.
	w.delete(p.Ref())
	w.ended("good", southbound.AlarmSpoofing)
	// The speaker here does not answer when it is asked for its routes again
	// (RFC 2918), so leaves get it with the next announcement at the earliest.
	w.has(true, stationC, "leaf")
	w.put(p)
	w.ready(patience)
	w.raised("good", southbound.AlarmSpoofing, stationC.String())
	w.has(false, stationC)
	b.s.say(b.s.withdraw(taken))
	w.ended("good", southbound.AlarmSpoofing)
	w.settled(before)
}

// A station is behind the hardware VTEP, and then announced by two leaves in turn
// until it is kept where it is (RFC 7432 section 15.1).
func (b *badInput) duplicate(w *site) {
	before := w.edges()
	mac := roaming
	web := intent.Ref{Kind: intent.KindNetwork, Tenant: "blue", Name: "web"}
	best := func() (r client.Route) {
		all, err := w.client.Routes(w.Context(), web)
		require.NoError(w, err)
		for _, r := range all.Items {
			if r.MAC == mac.String() && r.Best {
				return r
			}
		}
		return client.Route{}
	}
	frozen := func() bool {
		return slices.ContainsFunc(w.alarms(), func(a client.Alarm) bool { return a.Reason == southbound.AlarmDuplicateMAC })
	}
	moves := 0
	for ; !frozen(); moves++ {
		require.Less(w, moves, 8, "it moves and moves")
		at, by := "good", b.s
		switch {
		case moves == 0:
			at = "vtep1"
			require.NoError(w, netns.Do(w.Namespace("blue-srv3"), func() error {
				i, err := net.InterfaceByName("eth1")
				if err != nil {
					return err
				}
				return sendRARP(i.Index, mac)
			}))
		case moves%2 == 0:
			at, by = "second", b.second
		}
		if moves > 0 {
			by.say(by.announce(b.web, best().Sequence+1, by.nlri(b.web, mac, netip.Addr{})))
		}
		w.eventually(patience, func() error {
			if r := best(); r.Node != at && !frozen() {
				return errStill("best is %+v", r)
			}
			return nil
		})
	}
	a := w.raised(causeOf(w, mac), southbound.AlarmDuplicateMAC, mac.String())
	kept := best()
	w.Logf("%d claims, then it is kept at %s", moves, kept.Node)
	require.Contains(w, a.Message, kept.VTEP.String())
	claim := b.s
	if kept.Node == "good" {
		claim = b.second
	}
	claim.say(claim.announce(b.web, kept.Sequence+10, claim.nlri(b.web, mac, netip.Addr{})))
	w.eventually(patience, func() error {
		all, err := w.client.Routes(w.Context(), web)
		require.NoError(w, err)
		for _, r := range all.Items {
			if r.MAC == mac.String() && r.Sequence == kept.Sequence+10 {
				return nil
			}
		}
		return errStill("the newest route is not there")
	})
	require.Equal(w, kept.Node, best().Node)
	w.loggedOnce(a.Device, southbound.AlarmDuplicateMAC, "")
	require.NoError(w, w.changed(before), "no other MAC")

	require.Contains(w, w.cli("clear", "alarm", a.ID), "cleared")
	w.eventually(patience, func() error {
		if r := best(); r.Node == kept.Node || frozen() {
			return errStill("where it was: %+v", r)
		}
		return nil
	})
	b.s.say(b.s.withdraw(b.s.nlri(b.web, mac, netip.Addr{})))
	b.second.say(b.second.withdraw(b.second.nlri(b.web, mac, netip.Addr{})))
	w.settled(before)
}

// causeOf is the device that an alarm about a MAC names.
func causeOf(w *site, mac intent.MAC) string {
	for _, a := range w.alarms() {
		if strings.Contains(a.Object, mac.String()) {
			return a.Device
		}
	}
	return ""
}

// The hardware VTEP's database goes away in the middle of a transaction, and
// comes back.
func (b *badInput) cut(w *site) {
	before := w.edges()
	ref := intent.Ref{Kind: intent.KindNode, Name: "vtep1"}
	at := func(ovsdb string) (was string) {
		o, err := w.client.Get(w.Context(), ref)
		require.NoError(w, err)
		n := o.(*intent.Node)
		was, n.Spec.HardwareVTEP.OVSDB, n.Status = n.Spec.HardwareVTEP.OVSDB, ovsdb, nil
		w.put(n)
		w.eventually(patience, func() error {
			if s := w.cliGet(ref); s.Phase != intent.PhaseReady {
				return errStill("%+v", s.Reasons)
			}
			return nil
		})
		return was
	}
	direct := at(fmt.Sprintf("tcp:%s:6641", b.s.addr))
	require.NoError(w, w.changed(before))
	b.cutter.armed.Store(true)
	route := b.s.nlri(b.web, stationA, netip.Addr{})
	b.s.say(b.s.announce(b.web, 0, route))
	a := w.raised("vtep1", southbound.CodeUnreachable, "")
	require.Equal(w, int32(1), b.cutter.cuts.Load())
	w.eventually(patience, func() error { // the others go on
		for node, lines := range w.edges() {
			found := slices.ContainsFunc(slices.Collect(maps.Keys(lines)), func(l string) bool { return strings.Contains(l, stationA.String()) })
			if found != (node != "vtep1") {
				return errStill("%s has it: %v", node, found)
			}
		}
		return nil
	})
	require.NoError(w, w.changed(before, stationA.String()), "all of a transaction or nothing")
	require.NotEmpty(w, a.Message)
	b.cutter.down.Store(false)
	w.ended("vtep1", southbound.CodeUnreachable)
	w.has(true, stationA)
	w.loggedOnce("vtep1", southbound.CodeUnreachable, "")
	b.s.say(b.s.withdraw(route))
	w.has(false, stationA)
	at(direct)
	w.settled(before)
}

// A VLAN that a port of ours needs is bound to somebody else's logical switch.
func (b *badInput) vlanTaken(w *site) {
	before := w.edges()
	w.vtep("add-ls", "theirs", "--", "set", "Logical_Switch", "theirs", "tunnel_key=7000", "--", "bind-ls", switchName, "eth2", "30", "theirs")
	p := &intent.Port{Metadata: intent.Metadata{Name: "extra", Tenant: "blue"}, Spec: intent.PortSpec{Network: "web",
		Binding: intent.Binding{Node: "vtep1", Interface: "eth2", VLAN: 30}, MAC: intent.MAC{2, 0xdd, 0, 0, 0, 1}, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.77")}}}
	w.put(p)
	a := w.raised("vtep1", southbound.AlarmVLANTaken, "eth2 VLAN 30")
	require.Contains(w, a.Message, "theirs")
	w.eventually(patience, func() error {
		if s := w.cliGet(p.Ref()); s.Phase == intent.PhaseReady || len(s.Reasons) == 0 || !strings.Contains(fmt.Sprint(s.Reasons), "theirs") {
			return errStill("the port: %+v", s)
		}
		return nil
	})
	require.Contains(w, w.vtep("list-bindings", switchName, "eth2"), "0030 theirs", "left alone")
	w.loggedOnce("vtep1", southbound.AlarmVLANTaken, "")
	require.NoError(w, w.changed(before, p.Spec.MAC.String(), "theirs", "VLAN"), "but for the port itself")

	w.vtep("unbind-ls", switchName, "eth2", "30")
	w.ended("vtep1", southbound.AlarmVLANTaken)
	w.ready(patience)
	require.Contains(w, w.vtep("list-bindings", switchName, "eth2"), fmt.Sprintf("0030 weft-%d", b.web))
	w.delete(p.Ref())
	w.vtep("del-ls", "theirs")
	w.settled(before)
}

// A leaf that is in another AS than the intent says, until it is not.
func (r *rogue) otherAS(w *site, n *intent.Node) {
	// Whose OPEN comes first decides which end refuses the other's.
	w.raisedSaying("otheras", southbound.AlarmSession, "BGP session", regexp.MustCompile("the peer is in AS 65012, the intent says 65011|the peer does not expect AS 65011"))
	w.loggedOnce("otheras", southbound.AlarmSession, "")
	before := w.edges()
	n.Spec.ASN = 65012
	w.put(n)
	w.ended("otheras", southbound.AlarmSession)
	w.established("otheras")
	require.NoError(w, w.changed(before))
}

// A leaf with another TCP-MD5 password, until it has ours.
func (r *rogue) wrongPassword(w *site) {
	w.raisedSaying("password", southbound.AlarmSession, "BGP session", regexp.MustCompile("the TCP-MD5 passwords differ"))
	w.loggedOnce("password", southbound.AlarmSession, "")
	before := w.edges()
	r.configure("password", "router bgp 65013", fmt.Sprintf("neighbor %s password wrong", r.controllerMgmt().Addr()))
	w.ended("password", southbound.AlarmSession)
	w.established("password")
	require.NoError(w, w.changed(before))
}

func (w *site) established(node string) {
	w.Helper()
	w.eventually(patience, func() error {
		if s := w.session(node); s.State != "Established" {
			return errStill("%+v", s)
		}
		return nil
	})
}
