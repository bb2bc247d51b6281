package vtep

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

// applyACLs takes what a change says of ACLs, as the server does.
func (d *database) applyACLs(t *testing.T, ch ovsdb.VTEPChange) {
	t.Helper()
	names := map[string]string{}
	for name, c := range ch.ACLs {
		a, uuid := ovsdb.VTEPACL{Name: name, Entries: map[string]ovsdb.VTEPEntry{}}, c.UUID
		if uuid == "" {
			for _, o := range d.acls {
				require.NotEqual(t, name, o.Name, "names are unique")
			}
			uuid = d.uuid()
			names[name] = uuid
		}
		for _, u := range c.Keep {
			e, ok := d.acls[uuid].Entries[u]
			if !ok {
				e, ok = d.loose[u]
				delete(d.loose, u)
			}
			require.True(t, ok, "referential integrity")
			a.Entries[u] = e
		}
		for _, e := range c.Add {
			a.Entries[d.uuid()] = e
		}
		require.NotEmpty(t, a.Entries, "an ACL has at least one entry")
		for u := range d.acls[uuid].Entries {
			require.True(t, slices.Contains(c.Keep, u) || slices.Contains(c.Drop, u), "no entry is left behind")
		}
		d.acls[uuid] = a
	}
	for port, of := range ch.UnbindACL {
		for vlan, a := range of {
			require.Equal(t, a, d.judged[port][vlan])
			delete(d.judged[port], vlan)
		}
	}
	for port, of := range ch.BindACL {
		for vlan, a := range of {
			if u, ok := names[a]; ok {
				a = u
			}
			require.Contains(t, d.acls, a, "referential integrity")
			require.NotContains(t, d.judged[port], vlan, "an insertion into a map changes nothing that is there")
			d.bindACL(port, vlan, a)
		}
	}
	for _, uuid := range ch.DropACLs {
		delete(d.acls, uuid)
		for _, of := range d.judged {
			for _, u := range of {
				require.NotEqual(t, uuid, u, "referential integrity")
			}
		}
	}
}

func (d *database) bindACL(port string, vlan int, uuid string) {
	if d.judged[port] == nil {
		d.judged[port] = map[int]string{}
	}
	d.judged[port][vlan] = uuid
}

// aclText is what the database has of ACLs, without UUIDs.
func (d *database) aclText() (out []string) {
	for _, a := range d.acls {
		for _, e := range a.Entries {
			out = append(out, a.Name+" "+entryText(e))
		}
	}
	for _, e := range d.loose {
		out = append(out, "loose "+entryText(e))
	}
	for port, of := range d.judged {
		for vlan, u := range of {
			out = append(out, fmt.Sprintf("%s %d ACL %s", strings.Replace(port, "/", " ", 1), vlan, d.acls[u].Name))
		}
	}
	return out
}

func entryText(e ovsdb.VTEPEntry) string {
	text := fmt.Sprintf("%02d", e.Sequence)
	for _, w := range []struct {
		yes     bool
		is, not string
	}{{e.Egress, " egress", " ingress"}, {e.Permit, " permit", " deny"}} {
		if w.yes {
			text += w.is
		} else {
			text += w.not
		}
	}
	text += fmt.Sprintf(" %s/%s > %s/%s", e.Source, e.SourceMask, e.Dest, e.DestMask)
	if e.Protocol.Set {
		text += fmt.Sprintf(" proto %d", e.Protocol.Value)
	}
	if e.SourcePorts.Max > 0 {
		text += fmt.Sprintf(" from %d-%d", e.SourcePorts.Min, e.SourcePorts.Max)
	}
	if e.DestPorts.Max > 0 {
		text += fmt.Sprintf(" to %d-%d", e.DestPorts.Min, e.DestPorts.Max)
	}
	if e.ICMPType.Set {
		text += fmt.Sprintf(" type %d", e.ICMPType.Value)
	}
	if e.ICMPCode.Set {
		text += fmt.Sprintf(" code %d", e.ICMPCode.Value)
	}
	return text
}

func acl(name string, rules ...intent.ACLRule) *overlay.ACL {
	return &overlay.ACL{Tenant: "t", Name: name, Rules: rules}
}

func rule(a intent.ACLAction, d intent.Direction, proto intent.Protocol, port uint16, source, destination string) intent.ACLRule {
	r := intent.ACLRule{Action: a, Direction: d, Protocol: proto, Ports: intent.PortRange{First: port, Last: port}}
	if source != "" {
		r.Source = netip.MustParsePrefix(source)
	}
	if destination != "" {
		r.Destination = netip.MustParsePrefix(destination)
	}
	return r
}

func acls(rest *overlay.ACL, of ...*overlay.ACL) *overlay.NetworkACLs {
	n := &overlay.NetworkACLs{Rest: rest}
	for i, p := range []string{"192.168.0.0/24", "192.168.1.0/24", "fd00::/64"} {
		s := overlay.ACLSubnet{Prefix: netip.MustParsePrefix(p), ACL: rest}
		if i < len(of) && of[i] != nil {
			s.ACL = of[i]
		}
		n.Subnets = append(n.Subnets, s)
	}
	return n
}

var (
	tcp80 = rule(intent.Allow, intent.Ingress, "tcp", 80, "", "")
	ssh   = rule(intent.Deny, intent.Ingress, "tcp", 22, "10.0.0.0/8", "")
)

func TestEntriesOfACLs(t *testing.T) {
	kind, code := uint8(3), uint8(4)
	unreachable := rule(intent.Allow, intent.Egress, "icmp", 0, "", "")
	unreachable.ICMPType, unreachable.ICMPCode = &kind, &code
	answers := rule(intent.Allow, intent.Egress, "tcp", 0, "192.168.0.0/16", "10.0.0.0/8")
	answers.SourcePorts = intent.PortRange{First: 20, Last: 80}
	own := acl("own", ssh, tcp80, answers, unreachable, rule(intent.Allow, intent.Ingress, "", 0, "", "192.168.9.0/24"), rule(intent.Allow, intent.Ingress, "", 0, "fd01::/16", ""))
	var got []string
	for _, e := range aclEntries(acls(nil, own, nil, own)) {
		got = append(got, entryText(e))
	}
	scopes := func(first int, way string) (out []string) {
		for i, p := range []string{"0.0.0.0/0.0.0.0 > 169.254.0.0/255.255.0.0", "0.0.0.0/0.0.0.0 > 224.0.0.0/240.0.0.0", "0.0.0.0/0.0.0.0 > 255.255.255.255/255.255.255.255",
			"::/:: > fe80::/ffc0::", "::/:: > ff00::/ff00::", "::/:: > ::/:: proto 58 type 135", "::/:: > ::/:: proto 58 type 136"} {
			out = append(out, fmt.Sprintf("%02d %s permit %s", first+i, way, p))
		}
		return out
	}
	require.Equal(t, slices.Concat([]string{
		"01 ingress permit 192.168.0.0/255.255.255.0 > 192.168.0.0/255.255.255.0",
		"02 ingress permit fd00::/ffff:ffff:ffff:ffff:: > fd00::/ffff:ffff:ffff:ffff::"},
		scopes(3, "ingress"), []string{
			"10 ingress permit 192.168.0.0/255.255.255.0 > 10.0.0.0/255.0.0.0 proto 6 from 20-80",
			"11 ingress permit 192.168.0.0/255.255.255.0 > 0.0.0.0/0.0.0.0 proto 1 type 3 code 4",
			"12 ingress deny 192.168.0.0/255.255.255.0 > 0.0.0.0/0.0.0.0",
			"13 ingress deny fd00::/ffff:ffff:ffff:ffff:: > ::/::",
			"14 egress permit 192.168.0.0/255.255.255.0 > 192.168.0.0/255.255.255.0",
			"15 egress permit fd00::/ffff:ffff:ffff:ffff:: > fd00::/ffff:ffff:ffff:ffff::"},
		scopes(16, "egress"), []string{
			"23 egress deny 10.0.0.0/255.0.0.0 > 192.168.0.0/255.255.255.0 proto 6 to 22-22",
			"24 egress permit 0.0.0.0/0.0.0.0 > 192.168.0.0/255.255.255.0 proto 6 to 80-80",
			"25 egress deny 0.0.0.0/0.0.0.0 > 192.168.0.0/255.255.255.0",
			"26 egress permit ::/:: > fd00::/ffff:ffff:ffff:ffff:: proto 6 to 80-80",
			"27 egress permit fd01::/ffff:: > fd00::/ffff:ffff:ffff:ffff::",
			"28 egress deny ::/:: > fd00::/ffff:ffff:ffff:ffff::"}), got, "192.168.1.0/24 has no ACL")

	got = nil
	for _, e := range aclEntries(acls(acl("rest", tcp80), own)) {
		if e.Egress {
			got = append(got, entryText(e)[3:])
		}
	}
	require.Equal(t, []string{
		"egress deny 10.0.0.0/255.0.0.0 > 192.168.0.0/255.255.255.0 proto 6 to 22-22",
		"egress permit 0.0.0.0/0.0.0.0 > 192.168.0.0/255.255.255.0 proto 6 to 80-80",
		"egress deny 0.0.0.0/0.0.0.0 > 192.168.0.0/255.255.255.0",
		"egress permit 0.0.0.0/0.0.0.0 > 0.0.0.0/0.0.0.0 proto 6 to 80-80",
		"egress deny 0.0.0.0/0.0.0.0 > 0.0.0.0/0.0.0.0",
		"egress permit ::/:: > ::/:: proto 6 to 80-80",
		"egress deny ::/:: > ::/::"}, got[10:], "the whole network's comes last, for all that is left")
}

// judged gives a driver's ports of a VNI ACLs.
func (v *driver) judged(vni intent.VNI, n *overlay.NetworkACLs) {
	for r, l := range v.in.local {
		if l.VNI == vni {
			l.ACLs = n
			v.in.local[r] = l
		}
	}
}

// judgedTor is tor1 with an ACL on db, and a database that has all of it.
func judgedTor(t *testing.T) (*database, *driver) {
	d, v := newDatabase(), tor1()
	v.judged(200, acls(acl("edge", tcp80)))
	v.bring(t, d)
	return d, v
}

func lines(d *database, with string) (n int) {
	for l := range strings.Lines(d.text()) {
		if strings.Contains(l, with) {
			n++
		}
	}
	return n
}

func TestACLsAreMadeOnceAndGo(t *testing.T) {
	d, v := judgedTor(t)
	require.Equal(t, 1, lines(d, "tor1 eth2 20 ACL weft-200"))
	want := len(aclEntries(acls(acl("edge", tcp80))))
	require.Equal(t, want, lines(d, "gress "))
	require.Empty(t, v.found)
	before := d.written
	for _, o := range []*driver{v, {in: v.in, mem: newMemory()}} { // a controller that starts finds all right
		require.True(t, o.look(d, true).change.Empty())
		require.Empty(t, o.look(d, true).unjudged)
	}
	v.judged(200, acls(acl("edge", tcp80, rule(intent.Allow, intent.Egress, "", 0, "", ""))))
	v.bring(t, d)
	require.Empty(t, v.found)
	require.Equal(t, want+2, lines(d, "gress "))
	require.Greater(t, d.written, before)
	v.judged(200, nil)
	v.bring(t, d)
	require.Equal(t, all, d.text(), "nothing of ACLs is left")
	v.judged(200, acls(acl("edge", tcp80)))
	v.bring(t, d)
	delete(v.in.local, port("b"))
	delete(v.in.rows, 200)
	v.bring(t, d)
	require.Zero(t, lines(d, "ACL")+lines(d, "gress "), "with the last port")
	require.Empty(t, v.found)
}

// One more rule at the end costs its entries and those that deny, after it.
func TestARuleCostsItsEntries(t *testing.T) {
	d, v := judgedTor(t)
	v.judged(200, acls(acl("edge", tcp80, ssh)))
	res := v.look(d, true)
	c := res.change.ACLs["weft-200"]
	require.Len(t, c.Add, 4, "ssh of IPv4, and what comes after it has another place")
	require.Len(t, c.Drop, 3)
	require.NotEmpty(t, c.Keep)
	require.True(t, res.unjudged[port("b")], "not Ready before the switch has it")
	require.False(t, res.unjudged[port("a")])
}

func TestTamperingWithACLsIsPutBackAndTold(t *testing.T) {
	one := func(d *database) string { return slices.Collect(maps.Keys(d.acls))[0] }
	for name, c := range map[string]struct {
		tamper func(d *database)
		told   string
	}{
		"unbound":         {func(d *database) { delete(d.judged["tor1/eth2"], 20) }, "ACL weft-200 was not bound to port eth2 VLAN 20; bound again"},
		"bound elsewhere": {func(d *database) { d.bindACL("tor1/eth1", 0, one(d)) }, "ACL weft-200 was bound to port eth1 untagged; unbound"},
		"deleted": {func(d *database) {
			maps.Copy(d.loose, d.acls[one(d)].Entries)
			delete(d.acls, one(d))
			delete(d.judged["tor1/eth2"], 20)
		}, "ACL weft-200 was not bound to port eth2 VLAN 20; bound again; ACL weft-200 was missing; made again"},
		"an entry is gone": {func(d *database) {
			delete(d.acls[one(d)].Entries, slices.Max(slices.Collect(maps.Keys(d.acls[one(d)].Entries))))
		}, "ACL weft-200 had other entries; put back"},
		"an entry is more": {func(d *database) { d.acls[one(d)].Entries["x"] = ovsdb.VTEPEntry{Permit: true} }, "ACL weft-200 had other entries; put back"},
		"an entry is turned": {func(d *database) {
			for u, e := range d.acls[one(d)].Entries {
				e.Permit = !e.Permit
				d.acls[one(d)].Entries[u] = e
				return
			}
		}, "ACL weft-200 had other entries; put back"},
	} {
		t.Run(name, func(t *testing.T) {
			d, v := judgedTor(t)
			before := d.text()
			c.tamper(d)
			paced := v.look(d, false)
			require.True(t, paced.change.Empty(), "it is not time yet: %+v", paced.change)
			require.True(t, paced.left)
			v.bring(t, d)
			require.Equal(t, before, d.text())
			require.Equal(t, []string{c.told}, v.found)
		})
	}
}

func TestACLsThatCanNotBeBound(t *testing.T) {
	// Somebody else's ACL.
	d, v := newDatabase(), tor1()
	v.judged(200, acls(acl("edge")))
	d.acls["theirs"] = ovsdb.VTEPACL{Name: "theirs", Entries: map[string]ovsdb.VTEPEntry{"e": {}}}
	d.bindACL("tor1/eth2", 20, "theirs")
	res := v.bring(t, d)
	require.Equal(t, "port eth2 VLAN 20 has ACL theirs, which is not Weft's", res.refused[port("b")])
	require.Contains(t, res.alarms[southbound.AlarmKey{Reason: alarmACL, Object: "port eth2 VLAN 20"}], "unbind it there, or take the ACLs from the network of Port t/b")
	require.Equal(t, 1, lines(d, "ACL theirs"))
	require.Zero(t, lines(d, "ACL weft"))
	delete(d.judged["tor1/eth2"], 20)
	res = v.bring(t, d)
	require.Empty(t, res.refused)
	require.Equal(t, 1, lines(d, "ACL weft-200"))
	require.Contains(t, d.acls, "theirs", "it is left alone")

	// Untagged and tagged frames on one port.
	v.port("c", "eth1", 7, 300)
	v.judged(100, acls(acl("edge")))
	res = v.bring(t, d)
	require.Equal(t, "an ACL of the untagged frames of port eth1 would judge those of VLAN 7, too: give each network a VLAN there", res.refused[port("a")])
	require.Zero(t, lines(d, "eth1 0 ACL"))
	delete(v.in.local, port("c"))
	delete(v.in.rows, 300)
	res = v.bring(t, d)
	require.Empty(t, res.refused)
	require.Equal(t, 1, lines(d, "tor1 eth1 0 ACL weft-100"))
	v.port("c", "eth1", 7, 300)
	v.bring(t, d)
	require.Zero(t, lines(d, "eth1 0 ACL"), "it would judge the other's frames")

	// A schema without ACLs.
	d, v = newDatabase(), tor1()
	d.noACLs = true
	v.judged(200, acls(acl("edge")))
	res = v.bring(t, d)
	require.Contains(t, res.refused[port("b")], "has no ACLs")
	require.Empty(t, res.refused[port("a")])
	require.Equal(t, all, d.text())
}

func TestFaultsOfACLs(t *testing.T) {
	d, v := judgedTor(t)
	for u, a := range d.acls {
		a.Faults = []string{"resource_shortage", "entry 9: invalid_acl_entry"}
		d.acls[u] = a
	}
	res := v.look(d, true)
	require.True(t, res.change.Empty())
	require.Equal(t, "the switch says of ACL weft-200: resource_shortage, entry 9: invalid_acl_entry", res.refused[port("b")])
	d, v = judgedTor(t)
	d.faults = []string{faultACL}
	require.Equal(t, "the switch says of port eth2: invalid_ACL_binding", v.look(d, true).refused[port("b")])
}

// Two switches of one database share an ACL, and the last one removes it.
func TestACLsOfOneDatabase(t *testing.T) {
	d, a, b := shared()
	for _, v := range []*driver{a, b} {
		v.judged(100, acls(acl("edge", tcp80)))
		v.bring(t, d)
	}
	require.Equal(t, 2, lines(d, "ACL weft-100"))
	require.Len(t, d.acls, 1)
	require.True(t, a.look(d, true).change.Empty())
	for _, v := range []*driver{a, b} {
		v.judged(100, acls(acl("edge", tcp80, ssh)))
	}
	require.Empty(t, b.look(d, true).change.ACLs, "the first by name writes")
	a.bring(t, d)
	require.True(t, b.look(d, true).change.Empty())
	for i, v := range []*driver{a, b} {
		v.judged(100, nil)
		v.bring(t, d)
		require.Len(t, d.acls, 1-i)
	}
	require.Empty(t, append(a.found, b.found...))
}
