package vtep

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

// shared has two switches of one database in one network, with the same feed.
func shared() (*database, *driver, *driver) {
	a, b := newDriver("tor1", ip(1)), newDriver("tor2", ip(2))
	a.port("a", "eth1", 0, 100)
	b.port("b", "eth1", 5, 100)
	rows := []evpn.Row{imet(ip(1)), imet(ip(2)), imet(ip(7)), at(1, ip(1)), at(2, ip(2)), at(7, ip(7))}
	a.in.rows[100], b.in.rows[100] = rows, rows
	return newDatabase(), a, b
}

func TestSwitchesOfOneDatabase(t *testing.T) {
	d, a, b := shared()
	a.bring(t, d)
	require.Equal(t, 0, func() int { r := b.look(d, true); return len(r.change.Ucast) + len(r.change.Make) }(), "the second finds all there")
	b.bring(t, d)
	both := `tor1 eth1 0 weft-100
tor2 eth1 5 weft-100
weft-100 02:00:00:00:00:07 at 10.0.0.7 
weft-100 key 100 source_node
weft-100 unknown-dst [10.0.0.7]`
	require.Equal(t, both, d.text(), "what is inside the database is no remote row")
	require.True(t, a.look(d, true).change.Empty())
	require.True(t, b.look(d, true).change.Empty())

	clear(a.in.local)
	clear(a.in.rows)
	a.bring(t, d)
	require.Equal(t, strings.TrimPrefix(both, "tor1 eth1 0 weft-100\n"), d.text(), "the other one needs it still")
	require.True(t, b.look(d, true).change.Empty())
	clear(b.in.local)
	clear(b.in.rows)
	b.bring(t, d)
	require.Empty(t, d.text())
	require.Empty(t, append(a.found, b.found...))
}

// What both have to write the first by name writes; the second takes over when
// that one does not.
func TestFirstSwitchWrites(t *testing.T) {
	d, a, b := shared()
	a.bring(t, d)
	b.bring(t, d)
	rows := append(slices.Clone(a.in.rows[100]), at(8, ip(7)))
	a.in.rows[100], b.in.rows[100] = rows, rows
	res := b.look(d, true)
	require.True(t, res.change.Empty())
	require.True(t, res.left)
	require.False(t, res.complete[100])
	require.Equal(t, 1, a.look(d, true).change.Rows())

	b.now = b.now.Add(yieldTime)
	require.Equal(t, 1, b.look(d, true).change.Rows(), "it does not come")
	a.bring(t, d)
	res = b.look(d, true)
	require.True(t, res.complete[100])
	require.False(t, res.left)
}

// Two switches that want different replication agree on the first one's.
func TestReplicationOfSharedLogicalSwitch(t *testing.T) {
	d, a, b := shared()
	served := imet(ip(2))
	served.Replicator = ip(7)
	rows := []evpn.Row{imet(ip(1)), served, imet(ip(7)), imet(ip(8))}
	a.in.rows[100], b.in.rows[100], b.in.replication = rows, rows, serviceNode
	a.bring(t, d)
	b.bring(t, d)
	require.Contains(t, d.text(), "source_node\nweft-100 unknown-dst [10.0.0.7 10.0.0.8]")
	b.now = b.now.Add(time.Hour)
	require.True(t, b.look(d, true).change.Empty())
	require.True(t, a.look(d, true).change.Empty())
}

func TestDoubleRowsAreDropped(t *testing.T) {
	d, a, _ := shared()
	a.bring(t, d)
	r := d.rows("tor1")
	for u := range d.logical {
		r.TwiceU, r.TwiceM = map[string]string{"x": u, "y": "somebody else's"}, map[string]string{"z": u}
	}
	ch := planner{input: a.in, desired: desire(a.in, r), r: r, mem: a.mem, mend: true}.plan().change
	require.Equal(t, []string{"x"}, ch.DropU)
	require.Equal(t, []string{"z"}, ch.DropM)
}

// Whatever happens in whatever order, two switches end at what a reader of the
// feeds alone would make, and then nobody writes any more.
func TestRandomSequences(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		d := newDatabase()
		of := []*driver{newDriver("tor1", ip(1)), newDriver("tor2", ip(2))}
		rows := map[intent.VNI]map[evpn.Key]evpn.Row{100: {}, 200: {}}
		for range 40 {
			randomChange(rng, d, of, rows)
			v := of[rng.IntN(2)]
			v.now = v.now.Add(time.Duration(rng.IntN(2)) * 2 * yieldTime)
			v.bring(t, d)
		}
		for range 3 {
			for _, v := range of {
				v.now = v.now.Add(2 * yieldTime)
				v.bring(t, d)
			}
		}
		before := d.written
		for _, v := range of {
			require.False(t, v.look(d, true).left)
			v.bring(t, d)
		}
		require.Equal(t, before, d.written, "seed %d", seed)
		require.Equal(t, expected(of, rows), d.text(), "seed %d", seed)
	}
}

func randomChange(rng *rand.Rand, d *database, of []*driver, rows map[intent.VNI]map[evpn.Key]evpn.Row) {
	vni := intent.VNI(100 * (1 + rng.IntN(2)))
	n := byte(1 + rng.IntN(8))
	switch rng.IntN(8) {
	case 0, 1:
		r := at(n, ip(byte(1+rng.IntN(5))))
		if rng.IntN(3) == 0 {
			r = addr(n, host(n), ip(7))
		}
		rows[vni][r.Key] = r
	case 2:
		r := imet(ip(n))
		rows[vni][r.Key] = r
	case 3:
		for k := range rows[vni] {
			delete(rows[vni], k)
			break
		}
	case 4:
		v, vlan := of[rng.IntN(2)], uint16(rng.IntN(3))
		if name := fmt.Sprintf("p%d", vlan); rng.IntN(2) == 0 {
			v.port(name, "eth1", vlan, vni)
		} else {
			delete(v.in.local, port(name))
		}
	case 5: // a network's ACLs
		n := []*overlay.NetworkACLs{nil, acls(acl("edge", tcp80)), acls(acl("edge", ssh, tcp80)), acls(nil, acl("db"))}[rng.IntN(4)]
		for _, v := range of {
			v.ofACLs[vni] = n
		}
	case 6: // somebody else
		randomTamperingWithACLs(rng, d)
	case 7:
		for u := range d.logical {
			switch rng.IntN(4) {
			case 0:
				for m := range d.ucast[u] {
					delete(d.ucast[u], m)
				}
			case 1:
				delete(d.mcast, u)
			case 2:
				d.logical[u] = ovsdb.VTEPLogical{Name: d.logical[u].Name, Key: 9}
			case 3:
				d.ports["tor1"]["eth1"][7] = u
			}
			break
		}
	}
	for _, v := range of {
		v.in.rows = map[intent.VNI][]evpn.Row{}
		for vni, n := range v.ofACLs {
			v.judged(vni, n)
		}
		for _, l := range v.in.local {
			v.in.rows[l.VNI] = []evpn.Row{}
			for _, r := range rows[l.VNI] {
				v.in.rows[l.VNI] = append(v.in.rows[l.VNI], r)
			}
		}
	}
}

// randomTamperingWithACLs does something to an ACL or its bindings.
func randomTamperingWithACLs(rng *rand.Rand, d *database) {
	for u, a := range d.acls {
		switch rng.IntN(3) {
		case 0:
			for e := range a.Entries {
				if len(a.Entries) > 1 {
					delete(a.Entries, e)
				}
				break
			}
		case 1:
			for _, of := range d.judged {
				maps.DeleteFunc(of, func(_ int, b string) bool { return b == u })
			}
		case 2:
			if _, taken := d.judged["tor2/eth1"][9]; !taken {
				d.bindACL("tor2/eth1", 9, u)
			}
		}
		break
	}
}

// mixed reports whether a switch has tagged ports beside untagged ones: all are on
// one port there.
func mixed(v *driver) bool {
	for _, l := range v.in.local {
		if l.VLAN != 0 {
			return true
		}
	}
	return false
}

// expected is made from the feeds alone.
func expected(of []*driver, rows map[intent.VNI]map[evpn.Key]evpn.Row) string {
	out := map[string]bool{}
	for _, v := range of {
		for _, l := range v.in.local {
			name := logicalName(l.VNI)
			out[fmt.Sprintf("%s %s %d %s", v.in.name, l.Interface, l.VLAN, name)] = true
			out[fmt.Sprintf("%s key %d source_node", name, l.VNI)] = true
			if l.ACLs != nil && !(l.VLAN == 0 && mixed(v)) {
				out[fmt.Sprintf("%s %s %d ACL %s", v.in.name, l.Interface, l.VLAN, name)] = true
				for _, e := range aclEntries(l.ACLs) {
					out[name+" "+entryText(e)] = true
				}
			}
			var vteps []netip.Addr
			for k, r := range rows[l.VNI] {
				inside := r.VTEP == ip(1) || r.VTEP == ip(2)
				switch {
				case inside:
				case k.Type == evpn.IMET:
					vteps = append(vteps, r.IP)
				case !k.IP.IsValid():
					address := ""
					if h, ok := rows[l.VNI][evpn.HostKey(k.MAC, host(k.MAC[5]))]; ok {
						address = h.IP.String()
					}
					out[fmt.Sprintf("%s %s at %s %s", name, k.MAC, r.VTEP, address)] = true
				}
			}
			slices.SortFunc(vteps, netip.Addr.Compare)
			if len(vteps) > 0 {
				out[fmt.Sprintf("%s unknown-dst %v", name, vteps)] = true
			}
		}
	}
	lines := []string{}
	for l := range out {
		lines = append(lines, l)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
