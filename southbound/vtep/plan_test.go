package vtep

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

func ip(i byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, i}) }

func mac(i byte) intent.MAC { return intent.MAC{2, 0, 0, 0, 0, i} }

func host(i byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 0, i}) }

func port(name string) intent.Ref { return intent.Ref{Kind: intent.KindPort, Tenant: "t", Name: name} }

func imet(a netip.Addr) evpn.Row {
	return evpn.Row{Key: evpn.FloodKey(a), Path: evpn.Path{VTEP: a}}
}

func at(i byte, vtep netip.Addr) evpn.Row {
	return evpn.Row{Key: evpn.MACKey(mac(i)), Path: evpn.Path{VTEP: vtep}}
}

func addr(i byte, a, vtep netip.Addr) evpn.Row {
	return evpn.Row{Key: evpn.HostKey(mac(i), a), Path: evpn.Path{VTEP: vtep}}
}

// database is a hardware_vtep database that takes changes as the server does.
type database struct {
	n        int
	logical  map[string]ovsdb.VTEPLogical
	ports    map[string]map[string]map[int]string // switch -> port -> bindings
	tunnels  map[string]netip.Addr                // of switches
	ucast    map[string]map[intent.MAC]ovsdb.VTEPRemote
	mcast    map[string]ovsdb.VTEPFlood
	acls     map[string]ovsdb.VTEPACL
	judged   map[string]map[int]string // switch/port -> VLAN -> ACL
	noACLs   bool
	loose    map[string]ovsdb.VTEPEntry // that no ACL has
	written  int                        // rows
	faults   []string
	unplaced bool // switches have no tunnel address yet
}

func newDatabase() *database {
	return &database{loose: map[string]ovsdb.VTEPEntry{}, acls: map[string]ovsdb.VTEPACL{}, judged: map[string]map[int]string{}, logical: map[string]ovsdb.VTEPLogical{}, ucast: map[string]map[intent.MAC]ovsdb.VTEPRemote{}, mcast: map[string]ovsdb.VTEPFlood{},
		ports:   map[string]map[string]map[int]string{"tor1": {"eth1": {}, "eth2": {}}, "tor2": {"eth1": {}}},
		tunnels: map[string]netip.Addr{"tor1": ip(1), "tor2": ip(2)}}
}

func (d *database) uuid() string {
	d.n++
	return fmt.Sprintf("u%04d", d.n)
}

func (d *database) add(name string, key int) string {
	u := d.uuid()
	d.logical[u] = ovsdb.VTEPLogical{Name: name, Key: key, Replication: sourceNode}
	return u
}

func (d *database) rows(name string) *ovsdb.VTEPRows {
	r := &ovsdb.VTEPRows{NoACLs: d.noACLs, ACLs: maps.Clone(d.acls), LooseEntries: maps.Clone(d.loose), ACLsBound: map[string]bool{}, Others: map[netip.Addr]string{}, Bound: map[string][]string{}, Logical: map[string]ovsdb.VTEPLogical{},
		Ucast: map[string]map[intent.MAC]ovsdb.VTEPRemote{}, Mcast: map[string]ovsdb.VTEPFlood{}, TwiceU: map[string]string{}, TwiceM: map[string]string{}}
	for u, l := range d.logical {
		r.Logical[u] = l
	}
	for s, ports := range d.ports {
		if s != name {
			for p := range ports {
				for _, a := range d.judged[s+"/"+p] {
					r.ACLsBound[a] = true
				}
			}
			r.Others[d.tunnels[s]] = s
			for _, of := range ports {
				for _, l := range of {
					if !slices.Contains(r.Bound[l], s) {
						r.Bound[l] = append(r.Bound[l], s)
					}
				}
			}
			continue
		}
		r.Switch = &ovsdb.VTEPSwitch{UUID: s, Ports: map[string]ovsdb.VTEPPort{}}
		if !d.unplaced {
			r.Switch.TunnelIPs = []string{d.tunnels[s].String()}
		}
		for p, of := range ports {
			r.Switch.Ports[p] = ovsdb.VTEPPort{UUID: s + "/" + p, Bindings: of, ACLs: maps.Clone(d.judged[s+"/"+p]), Faults: d.faults}
		}
	}
	for l, of := range d.ucast {
		r.Ucast[l] = map[intent.MAC]ovsdb.VTEPRemote{}
		for m, u := range of {
			r.Ucast[l][m] = u
		}
	}
	for l, m := range d.mcast {
		r.Mcast[l] = m
	}
	return r
}

// apply takes a change, or reports the server's refusal.
func (d *database) apply(t *testing.T, ch ovsdb.VTEPChange) {
	t.Helper()
	d.written += ch.Rows()
	made := map[string]string{}
	ref := func(s string) string {
		if u, ok := made[s]; ok {
			return u
		}
		require.Contains(t, d.logical, s, "referential integrity")
		return s
	}
	if ch.TunnelIP.IsValid() {
		d.unplaced = false
	}
	for _, l := range ch.Make {
		made[l.Name] = d.add(l.Name, l.Key)
		d.logical[made[l.Name]] = l
	}
	for u, l := range ch.Adjust {
		d.logical[u] = l
	}
	for p, of := range ch.Unbind {
		s, name, _ := strings.Cut(p, "/")
		for vlan, l := range of {
			require.Equal(t, l, d.ports[s][name][vlan])
			delete(d.ports[s][name], vlan)
		}
	}
	for p, of := range ch.Bind {
		s, name, _ := strings.Cut(p, "/")
		for vlan, l := range of {
			require.NotContains(t, d.ports[s][name], vlan, "an insertion into a map changes nothing that is there")
			d.ports[s][name][vlan] = ref(l)
		}
	}
	d.applyACLs(t, ch)
	d.applyMACs(t, ch, ref)
	for _, l := range ch.Remove {
		delete(d.logical, l)
		delete(d.ucast, l)
		delete(d.mcast, l)
		for _, ports := range d.ports {
			for _, of := range ports {
				for _, u := range of {
					require.NotEqual(t, l, u, "referential integrity")
				}
			}
		}
	}
}

func (d *database) applyMACs(t *testing.T, ch ovsdb.VTEPChange, ref func(string) string) {
	for _, of := range d.ucast {
		for m, u := range of {
			if slices.Contains(ch.DropU, u.UUID) {
				delete(of, m)
			}
		}
	}
	for k, u := range ch.Ucast {
		l := ref(k.Logical)
		if d.ucast[l] == nil {
			d.ucast[l] = map[intent.MAC]ovsdb.VTEPRemote{}
		}
		require.Equal(t, d.ucast[l][k.MAC].UUID, u.UUID)
		if u.UUID == "" {
			u.UUID = d.uuid()
		}
		d.ucast[l][k.MAC] = u
	}
	for l, m := range d.mcast {
		if slices.Contains(ch.DropM, m.UUID) {
			delete(d.mcast, l)
		}
	}
	for l, m := range ch.Mcast {
		l = ref(l)
		require.Equal(t, d.mcast[l].UUID, m.UUID)
		require.NotEmpty(t, m.VTEPs, "a locator set has at least one")
		if m.UUID == "" {
			m.UUID = d.uuid()
		}
		d.mcast[l] = m
	}
}

// text is what the database has, without UUIDs.
func (d *database) text() string {
	var out []string
	for u, l := range d.logical {
		out = append(out, fmt.Sprintf("%s key %d %s", l.Name, l.Key, l.Replication))
		for m, r := range d.ucast[u] {
			out = append(out, fmt.Sprintf("%s %s at %s %s", l.Name, m, r.VTEP, r.IP))
		}
		if m, ok := d.mcast[u]; ok {
			out = append(out, fmt.Sprintf("%s unknown-dst %v", l.Name, m.VTEPs))
		}
	}
	for s, ports := range d.ports {
		for p, of := range ports {
			for vlan, u := range of {
				out = append(out, fmt.Sprintf("%s %s %d %s", s, p, vlan, d.logical[u].Name))
			}
		}
	}
	out = append(out, d.aclText()...)
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// driver is the planning of one switch's driver.
type driver struct {
	in    input
	mem   *memory
	now   time.Time
	was   map[intent.VNI]time.Time
	found []string

	ofACLs map[intent.VNI]*overlay.NetworkACLs // of networks, in random sequences
}

func newDriver(name string, vtep netip.Addr) *driver {
	return &driver{ofACLs: map[intent.VNI]*overlay.NetworkACLs{}, mem: newMemory(), in: input{name: name, vtep: vtep, local: map[intent.Ref]overlay.LocalPort{},
		rows: map[intent.VNI][]evpn.Row{}, revs: map[intent.VNI]evpn.Revision{}}}
}

func (v *driver) port(name, iface string, vlan uint16, vni intent.VNI) {
	v.in.local[port(name)] = overlay.LocalPort{Port: port(name), VNI: vni, Interface: iface, VLAN: vlan, OFPort: 1}
	if v.in.rows[vni] == nil {
		v.in.rows[vni] = []evpn.Row{}
	}
}

func (v *driver) look(d *database, mend bool) result {
	r := d.rows(v.in.name)
	des := desire(v.in, r)
	res := planner{input: v.in, desired: des, r: r, mem: v.mem, mend: mend, now: v.now, was: v.was}.plan()
	v.was = res.behind
	v.mem.seen(des, res)
	return res
}

// bring plans and writes until nothing differs.
func (v *driver) bring(t *testing.T, d *database) result {
	t.Helper()
	for range 10 {
		r := d.rows(v.in.name)
		res := v.look(d, true)
		if res.change.Empty() {
			return res
		}
		if res.found.n > 0 {
			v.found = append(v.found, res.found.String())
		}
		part, _ := first(res.change)
		d.apply(t, part)
		v.mem.wrote(desire(v.in, r), r, &part)
	}
	require.Fail(t, "planning does not come to an end")
	return result{}
}

// tor1 has web untagged on eth1 and db as VLAN 20 on eth2; others have web too.
func tor1() *driver {
	v := newDriver("tor1", ip(1))
	v.port("a", "eth1", 0, 100)
	v.port("b", "eth2", 20, 200)
	v.in.rows[100] = []evpn.Row{imet(ip(1)), imet(ip(7)), imet(ip(8)), at(1, ip(1)), at(7, ip(7)), at(8, ip(8)),
		addr(7, netip.MustParseAddr("fd00::7"), ip(7)), addr(7, host(70), ip(7)), addr(7, host(7), ip(7)), addr(1, host(1), ip(1))}
	v.in.rows[200] = []evpn.Row{imet(ip(1))}
	return v
}

const all = `tor1 eth1 0 weft-100
tor1 eth2 20 weft-200
weft-100 02:00:00:00:00:07 at 10.0.0.7 192.168.0.7
weft-100 02:00:00:00:00:08 at 10.0.0.8 
weft-100 key 100 source_node
weft-100 unknown-dst [10.0.0.7 10.0.0.8]
weft-200 key 200 source_node`

func TestMakesEverythingOnce(t *testing.T) {
	d, v := newDatabase(), tor1()
	d.unplaced = true
	res := v.bring(t, d)
	require.Equal(t, all, d.text())
	require.Equal(t, map[intent.VNI]bool{100: true, 200: true}, res.complete)
	require.Len(t, res.bound, 2)
	require.Empty(t, res.alarms)
	require.Empty(t, v.found, "making is no repair")
	require.False(t, d.unplaced, "tunnel_ips is set where it was empty")

	after := tor1() // a controller that starts
	after.bring(t, d)
	require.Equal(t, all, d.text())
	before := d.written
	require.True(t, tor1().look(d, true).change.Empty())
	require.Equal(t, before, d.written, "a restart writes nothing")
}

// One row that changes is one row that is written.
func TestChangeCostsOneRow(t *testing.T) {
	d, v := newDatabase(), tor1()
	v.bring(t, d)
	for what, rows := range map[string][]evpn.Row{
		"a new MAC":     append(slices.Clone(v.in.rows[100]), at(9, ip(7))),
		"a moved MAC":   slices.Concat(v.in.rows[100][:5], []evpn.Row{at(8, ip(7))}, v.in.rows[100][6:]),
		"a deleted MAC": slices.Concat(v.in.rows[100][:5], v.in.rows[100][6:]),
		"an address":    append(slices.Clone(v.in.rows[100]), addr(8, host(8), ip(8))),
		"a new VTEP":    append(slices.Clone(v.in.rows[100]), imet(ip(9))),
	} {
		w := *v
		w.in.rows = map[intent.VNI][]evpn.Row{100: rows, 200: v.in.rows[200]}
		res := w.look(d, false)
		require.Equal(t, 1, res.change.Rows(), what)
		require.False(t, res.left, what)
		require.Zero(t, res.found.n, "%s is the feed's doing", what)
	}
}

func TestForeignBindingsStay(t *testing.T) {
	d, v := newDatabase(), tor1()
	theirs := d.add("theirs", 5)
	d.ports["tor1"]["eth1"][0] = theirs
	d.ports["tor1"]["eth1"][7] = theirs
	res := v.bring(t, d)
	require.Equal(t, map[slot]intent.VNI{{"eth2", 20}: 200}, res.bound, "everything else goes on")
	require.Equal(t, map[southbound.AlarmKey]string{{Reason: southbound.AlarmVLANTaken, Object: "port eth1 untagged"}: "port eth1 untagged is bound to logical switch theirs, which is not Weft's: unbind it there, or give Port t/a another VLAN"}, res.alarms)
	require.Contains(t, res.refused[port("a")], "which is not Weft's")
	require.Equal(t, "theirs key 5 source_node\ntor1 eth1 0 theirs\ntor1 eth1 7 theirs\ntor1 eth2 20 weft-200\nweft-200 key 200 source_node", d.text(),
		"a logical switch that no port can use is not made")

	delete(d.ports["tor1"]["eth1"], 0)
	res = v.bring(t, d)
	require.Empty(t, res.alarms)
	require.Empty(t, res.refused)
	require.Len(t, res.bound, 2)
	require.Empty(t, v.found)
}

func TestForeignKey(t *testing.T) {
	d, v := newDatabase(), tor1()
	d.add("theirs", 100)
	res := v.bring(t, d)
	key := southbound.AlarmKey{Reason: alarmKey, Object: "VNI 100"}
	require.Contains(t, res.alarms[key], "logical switch theirs, which is not Weft's, has tunnel key 100")
	require.Equal(t, "theirs key 100 source_node\n"+all, d.text(), "it is on no port here")
	require.Empty(t, res.refused)

	// Where both would be on one switch, the one that came second is not made.
	d, v = newDatabase(), tor1()
	theirs := d.add("theirs", 100)
	d.ports["tor1"]["eth2"][1] = theirs
	res = v.bring(t, d)
	require.Contains(t, res.alarms, key)
	require.Contains(t, res.refused[port("a")], "tunnel key 100 and is bound on this switch")
	require.Equal(t, map[slot]intent.VNI{{"eth2", 20}: 200}, res.bound)
	require.NotContains(t, d.text(), "weft-100")

	// Ours stays when theirs comes later.
	d, v = newDatabase(), tor1()
	v.bring(t, d)
	d.ports["tor1"]["eth2"][1] = d.add("theirs", 100)
	res = v.bring(t, d)
	require.Contains(t, res.alarms, key)
	require.Len(t, res.bound, 2)
	require.True(t, res.complete[100])
}

func TestTamperingIsPutBackAndTold(t *testing.T) {
	for name, c := range map[string]struct {
		tamper func(d *database, web string)
		said   string
	}{
		"a MAC is deleted": {func(d *database, web string) { delete(d.ucast[web], mac(7)) }, "MAC 02:00:00:00:00:07 of weft-100 was missing; put back"},
		"a MAC is led astray": {func(d *database, web string) {
			d.ucast[web][mac(7)] = ovsdb.VTEPRemote{UUID: d.ucast[web][mac(7)].UUID, VTEP: ip(66), IP: "x"}
		}, `was at 10.0.0.66 with address "x"; put back`},
		"a MAC is added":  {func(d *database, web string) { d.ucast[web][mac(66)] = ovsdb.VTEPRemote{UUID: "x", VTEP: ip(66)} }, "MAC 02:00:00:00:00:42 of weft-100 was not ours; deleted"},
		"flooding is cut": {func(d *database, web string) { delete(d.mcast, web) }, "unknown-dst of weft-100 led to []; put back"},
		"flooding is changed": {func(d *database, web string) {
			d.mcast[web] = ovsdb.VTEPFlood{UUID: d.mcast[web].UUID, VTEPs: []netip.Addr{ip(66)}}
		}, "unknown-dst of weft-100 led to [10.0.0.66]; put back"},
		"the key is changed": {func(d *database, web string) {
			d.logical[web] = ovsdb.VTEPLogical{Name: "weft-100", Key: 5, Replication: serviceNode}
		}, `logical switch weft-100 had tunnel key 5 and replication_mode "service_node"; set back`},
		"a port is unbound": {func(d *database, web string) { delete(d.ports["tor1"]["eth1"], 0) }, "port eth1 untagged was not bound to weft-100; bound again"},
		"a port is bound":   {func(d *database, web string) { d.ports["tor1"]["eth1"][9] = web }, "port eth1 VLAN 9 was bound to weft-100; unbound"},
		"all is gone": {func(d *database, web string) {
			delete(d.ports["tor1"]["eth1"], 0)
			delete(d.logical, web)
			delete(d.ucast, web)
			delete(d.mcast, web)
		}, "logical switch weft-100 was missing; made again"},
		"tunnel_ips is emptied": {func(d *database, web string) { d.unplaced = true }, "tunnel_ips of physical switch tor1 was empty; set again"},
	} {
		t.Run(name, func(t *testing.T) {
			d, v := newDatabase(), tor1()
			v.bring(t, d)
			var web string
			for u, l := range d.logical {
				if l.Name == "weft-100" {
					web = u
				}
			}
			c.tamper(d, web)
			res := v.look(d, false)
			require.True(t, res.left, "it can wait")
			require.True(t, res.change.Empty(), "%+v", res.change)
			v.bring(t, d)
			require.Equal(t, all, d.text())
			require.Contains(t, strings.Join(v.found, "\n"), c.said)
			require.Len(t, v.found, 1)
		})
	}
}

// Who can write what we write is not answered with a loop of writes: what was
// written once and is not there is somebody else's doing.
func TestWhatDoesNotStayIsPaced(t *testing.T) {
	d, v := newDatabase(), tor1()
	r := d.rows("tor1")
	res := v.look(d, true)
	d.apply(t, res.change)
	v.mem.wrote(desire(v.in, r), r, &res.change)
	for u := range d.ucast { // before it was read once
		clear(d.ucast[u])
	}
	res = v.look(d, false)
	require.True(t, res.left)
	require.True(t, res.change.Empty())
}

func TestUnreportedIsKept(t *testing.T) {
	d := newDatabase()
	tor1().bring(t, d)
	v := tor1() // a controller that starts, and knows of 8 but not of 7 yet
	v.in.rows[100] = []evpn.Row{imet(ip(1)), imet(ip(8)), at(8, ip(8))}
	v.in.unreported = overlay.AwayVTEPs(ip(7))
	before := d.written
	v.bring(t, d)
	require.Equal(t, all, d.text())
	require.Equal(t, before, d.written)

	// A MAC that was there and is elsewhere now moves at once.
	v.in.rows[100] = append(v.in.rows[100], at(7, ip(8)))
	v.bring(t, d)
	require.Contains(t, d.text(), "02:00:00:00:00:07 at 10.0.0.8")
	require.Contains(t, d.text(), "[10.0.0.7 10.0.0.8]")

	v.in.unreported = overlay.Away{}
	v.bring(t, d)
	require.Contains(t, d.text(), "unknown-dst [10.0.0.8]")
	require.Empty(t, v.found, "that is no tampering")
}

func TestServiceNode(t *testing.T) {
	own := func(by netip.Addr) evpn.Row {
		r := imet(ip(1))
		r.Replicator = by
		return r
	}
	d, v := newDatabase(), tor1()
	v.in.replication = serviceNode
	v.in.rows[100] = []evpn.Row{own(ip(8)), imet(ip(7)), imet(ip(8))}
	v.bring(t, d)
	require.Contains(t, d.text(), "weft-100 key 100 service_node\nweft-100 unknown-dst [10.0.0.8]")

	// After a restart the vSwitch that replicates has not reported yet: it
	// stays, whoever else could do it.
	before := d.written
	for _, by := range []netip.Addr{{}, ip(7)} {
		after := tor1()
		after.in.replication = serviceNode
		after.in.rows[100] = []evpn.Row{own(by), imet(ip(7))}
		after.in.unreported = overlay.AwayVTEPs(ip(8))
		after.bring(t, d)
		require.Equal(t, before, d.written)
	}

	v.in.rows[100] = []evpn.Row{own(ip(7)), imet(ip(7))}
	v.bring(t, d)
	require.Contains(t, d.text(), "unknown-dst [10.0.0.7]")
	v.in.rows[100] = []evpn.Row{own(netip.Addr{})}
	v.bring(t, d)
	require.Contains(t, d.text(), "weft-100 key 100 source_node")
	require.NotContains(t, d.text(), "unknown-dst")
}

func TestPortsFollow(t *testing.T) {
	d, v := newDatabase(), tor1()
	v.bring(t, d)
	v.port("a", "eth1", 0, 200) // into the other network
	delete(v.in.rows, 100)
	v.bring(t, d)
	require.Equal(t, "tor1 eth1 0 weft-200\ntor1 eth2 20 weft-200\nweft-200 key 200 source_node", d.text())
	v.port("a", "eth1", 30, 200)
	v.bring(t, d)
	require.Equal(t, "tor1 eth1 30 weft-200\ntor1 eth2 20 weft-200\nweft-200 key 200 source_node", d.text())
	clear(v.in.local)
	clear(v.in.rows)
	v.bring(t, d)
	require.Empty(t, d.text())
	require.Empty(t, v.found)

	v.port("c", "eth9", 0, 100)
	res := v.bring(t, d)
	require.Equal(t, "physical switch tor1 has no port eth9", res.refused[port("c")])
	require.Empty(t, d.text())
}

func TestFaultyPortIsNotConfirmed(t *testing.T) {
	d, v := newDatabase(), tor1()
	d.faults = []string{"invalid_vlan_map"}
	res := v.bring(t, d)
	require.Len(t, res.bound, 2, "the bindings stay")
	require.Equal(t, "the switch says of port eth1: invalid_vlan_map", res.refused[port("a")])
	d.faults = []string{"unspecified_fault"}
	require.Empty(t, v.bring(t, d).refused)
}

func TestVTEPsThatTheSchemaCannotName(t *testing.T) {
	d, v := newDatabase(), tor1()
	six := netip.MustParseAddr("fd00::9")
	v.in.rows[100] = append(v.in.rows[100], imet(six), at(9, six))
	res := v.bring(t, d)
	require.Equal(t, all, d.text())
	require.Contains(t, res.alarms[southbound.AlarmKey{Reason: southbound.AlarmCapability, Object: "VNI 100 VTEP fd00::9"}], "VXLAN over IPv4 only")
}

func TestNames(t *testing.T) {
	for name, want := range map[string]intent.VNI{"weft-1": 1, "weft-16777215": 16777215, "weft-16777216": 0, "weft-0": 0, "weft-007": 0, "weft-": 0,
		"weft-web": 0, "weft--1": 0, "weft-+1": 0, "web": 0, "": 0} {
		v, ok := vniOf(name)
		require.Equal(t, want, v, name)
		require.Equal(t, want != 0, ok, name)
	}
}

func TestLargeChangesAreCut(t *testing.T) {
	d, v := newDatabase(), newDriver("tor1", ip(1))
	v.port("a", "eth1", 0, 100)
	for i := range 2*chunk + 1 {
		v.in.rows[100] = append(v.in.rows[100], evpn.Row{Key: evpn.MACKey(intent.MAC{2, 1, byte(i >> 16), byte(i >> 8), byte(i), 0}), Path: evpn.Path{VTEP: ip(7)}})
	}
	parts := 0
	for {
		r := d.rows("tor1")
		res := v.look(d, true)
		if res.change.Empty() {
			require.True(t, res.complete[100])
			break
		}
		require.False(t, res.complete[100], "not before all is there")
		part, _ := first(res.change)
		require.LessOrEqual(t, len(part.Ucast), chunk)
		d.apply(t, part)
		v.mem.wrote(desire(v.in, r), r, &part)
		parts++
	}
	require.Equal(t, 3, parts)
	require.Empty(t, v.found)
}
