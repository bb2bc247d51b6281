package overlay

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// oracleOps is how many operations TestOracle does; `make oracle` asks for
// 100,000 by the environment.
const oracleOps = 4000

// number reads a number from the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	require.NoError(t, err, name)
	return n
}

// world is one model that lives through all operations, and what it was told
// last of each thing.
type world struct {
	*rand.Rand
	m       *Model
	now     time.Time
	objects map[intent.Ref]intent.Object
	reports map[string][]Interface
	learned map[string][]Learned
	routes  map[string]map[evpn.RouteID]RouteChange
	synced  map[string]bool
	readers map[intent.VNI]*tableReader
	did     []string // the last operations
}

// tableReader is an edge that reads a segment by a cursor.
type tableReader struct {
	rows map[evpn.Key]netip.Addr
	at   evpn.Revision
}

const (
	oracleNodes, oracleLeaves, oracleNetworks, oraclePorts, oracleGroups = 5, 2, 6, 12, 3
	oracleACLs                                                           = 2
	firstVNI                                                             = intent.VNI(100)
	lastVNI                                                              = firstVNI + oracleNetworks + 1
	oracleRouters                                                        = 3
	firstL3VNI                                                           = intent.VNI(900)
	oracleOutside                                                        = 2 // external networks
	lastL3VNI                                                            = firstL3VNI + oracleRouters + oracleOutside + 1
	oracleFloating                                                       = 5
	oracleHardware                                                       = "hv4" // the hypervisors from this one on are hardware VTEPs instead
)

func (w *world) hv() int      { return 1 + w.IntN(oracleNodes) }
func (w *world) port() string { return fmt.Sprintf("p%02d", w.IntN(oraclePorts)) }
func (w *world) anyEdge() string {
	if w.IntN(4) == 0 {
		return w.leaf()
	}
	return fmt.Sprintf("hv%d", w.hv())
}
func (w *world) leaf() string      { return fmt.Sprintf("leaf%d", 8+w.IntN(oracleLeaves)) }
func (w *world) often(in int) bool { return w.IntN(in) != 0 }

// oracleBorders may be borders of external networks.
var oracleBorders = []string{"hv1", "leaf8", "leaf9"}

// step does one operation and tells what it was.
func (w *world) step() string {
	// Nothing is taken for a duplicate that moves every hour.
	w.now = w.now.Add(time.Hour)
	switch w.IntN(22) {
	case 0:
		n := hypervisor(w.hv())
		if n.Metadata.Name >= oracleHardware {
			return w.put(hardware(n, n.Metadata.Name > oracleHardware))
		}
		if w.IntN(2) == 0 {
			n.Spec.VTEP = netip.AddrFrom4([4]byte{10, 0, 1, n.Spec.VTEP.As4()[3]})
		}
		for i := range oracleOutside {
			if w.IntN(2) == 0 {
				n.Spec.VSwitch.SourceAddresses = append(n.Spec.VSwitch.SourceAddresses, intent.SourceAddress{External: fmt.Sprintf("x%d", i),
					Addresses: []netip.Addr{netip.AddrFrom4([4]byte{203, 0, byte(113 + i), 200 + n.Spec.VTEP.As4()[3] + 5*byte(w.IntN(2))})}})
			}
		}
		return w.put(n)
	case 1:
		n := leaf(8 + w.IntN(oracleLeaves))
		return w.put(n)
	case 2:
		i := w.IntN(oracleNetworks)
		n := network(fmt.Sprintf("n%d", i), firstVNI+intent.VNI(i))
		if i == oracleNetworks-1 && w.IntN(2) == 0 {
			n.Spec.VNI = lastVNI // this one changes its VNI
		}
		if w.IntN(8) != 0 { // networks of the same remainder overlap: a router has one of each
			n.Spec.Subnets = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, 0, byte(i%3) * 16}), 28)}
			if w.IntN(2) == 0 {
				n.Spec.DHCP = &intent.DHCP{Lease: intent.Seconds(w.IntN(2) * 600)}
			}
			for a := range oracleACLs { // the first for the whole network, the next for its subnet; they may not be there
				if w.IntN(3) == 0 {
					n.Spec.ACLs = append(n.Spec.ACLs, intent.SubnetACL{ACL: fmt.Sprintf("a%d", w.IntN(oracleACLs)), Subnet: []netip.Prefix{{}, n.Spec.Subnets[0]}[a]})
				}
			}
		}
		n.Spec.RouteTargets.Import = [][]string{nil, nil, {"1:1"}, {"1:1", "1:2"}}[w.IntN(4)]
		return w.put(n)
	case 3:
		return w.delete()
	case 4, 5, 6:
		return w.putPort()
	case 7, 8, 9:
		return w.observe()
	case 10:
		return w.learn()
	case 11:
		return w.putRouter()
	case 12:
		n := w.leaf()
		w.m.Synced(n)
		w.synced[n] = true
		return n + " is synced"
	case 13:
		return w.putGroup()
	case 14:
		return w.putACL()
	case 15:
		return w.putOutside()
	case 16:
		return w.putFloating()
	case 17, 18:
		return w.fabric()
	case 19:
		n, away := w.leaf(), w.IntN(2) == 0
		w.m.SetAway(n, away)
		return fmt.Sprintf("%s is away: %v", n, away)
	case 20:
		return w.putTenant()
	}
	return w.route()
}

// hardware makes a hypervisor a hardware VTEP, which replicates itself or not.
func hardware(n *intent.Node, serviced bool) *intent.Node {
	n.Spec.VSwitch, n.Spec.HardwareVTEP = nil, &intent.HardwareVTEP{}
	if serviced {
		n.Spec.HardwareVTEP.Replication = serviceNode
	}
	return n
}

// putTenant puts the tenant, which may limit its ports.
func (w *world) putTenant() string {
	tenant := &intent.Tenant{Metadata: intent.Metadata{Name: "t"}}
	if w.IntN(3) != 0 {
		tenant.Spec.QoS = &intent.TenantQoS{In: intent.RateLimit{Rate: intent.BitRate(fmt.Sprintf("%dM", 1+w.IntN(2)))}}
	}
	return w.put(tenant)
}

// putRouter puts a router on up to three networks, of which others may name
// some, too.
func (w *world) putRouter() string {
	i := w.IntN(oracleRouters)
	r := &intent.Router{Metadata: intent.Metadata{Name: fmt.Sprintf("r%d", i), Tenant: "t"}, Spec: intent.RouterSpec{VNI: firstL3VNI + intent.VNI(i)}}
	if i == oracleRouters-1 && w.IntN(2) == 0 {
		r.Spec.VNI = lastL3VNI - 1 // this one changes its L3VNI
	}
	r.Spec.RouteTargets.Import = [][]string{nil, nil, {"1:1"}}[w.IntN(3)]
	r.Metadata.Tenant = "t"
	w.shares(r)
	for k := range 3 {
		if w.IntN(3) != 0 {
			r.Spec.Networks = append(r.Spec.Networks, intent.RouterNetwork{Network: fmt.Sprintf("n%d", k+3*w.IntN(2))})
		}
	}
	for k := range w.IntN(3) {
		s := intent.StaticRoute{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(k), 0}), 24), Blackhole: w.IntN(5) == 0}
		for range w.IntN(3) {
			h := intent.NextHop{Port: w.port(), Weight: uint16(w.IntN(3))}
			if w.IntN(2) == 0 {
				h = intent.NextHop{Address: netip.AddrFrom4([4]byte{192, 168, 0, byte(w.IntN(48))})}
			}
			s.NextHops = append(s.NextHops, h)
		}
		r.Spec.Routes = append(r.Spec.Routes, s)
	}
	return w.put(r)
}

// shares has a router export and import, and lead outside.
func (w *world) shares(r *intent.Router) {
	r.Spec.RouteTargets.Export = [][]string{nil, nil, {"7:1"}, {"7:2", "7:1"}}[w.IntN(4)]
	for _, t := range []string{"7:1", "7:2", "65001:900", "65001:901"} {
		if w.IntN(3) == 0 {
			i := intent.RouterImport{RouteTarget: t}
			if w.IntN(2) == 0 {
				i.Prefixes = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, 0, byte(w.IntN(4)) * 8}), 29), netip.MustParsePrefix("172.16.0.0/15")}
			}
			r.Spec.Imports = append(r.Spec.Imports, i)
		}
	}
	if w.IntN(2) == 0 {
		r.Spec.External = &intent.RouterExternal{Network: fmt.Sprintf("x%d", w.IntN(oracleOutside)), SNAT: w.IntN(2) == 0}
		if w.IntN(3) != 0 {
			r.Spec.External.Advertise = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, 0, byte(w.IntN(6)) * 8}), 29)}
		}
	}
}

// putOutside puts an external network, which may limit what it takes.
func (w *world) putOutside() string {
	i := w.IntN(oracleOutside)
	n := &intent.ExternalNetwork{Metadata: intent.Metadata{Name: fmt.Sprintf("x%d", i)}, Spec: intent.ExternalNetworkSpec{VNI: firstL3VNI + oracleRouters + intent.VNI(i)}}
	if i == 1 && w.IntN(2) == 0 {
		n.Spec.VNI = lastL3VNI // this one changes its L3VNI
	}
	n.Spec.RouteTargets.Import = [][]string{nil, nil, {"1:1"}}[w.IntN(3)]
	n.Spec.Import = [][]netip.Prefix{nil, {netip.MustParsePrefix("10.0.0.0/8")}}[w.IntN(2)]
	n.Spec.Pools = [][]netip.Prefix{nil, {netip.MustParsePrefix("172.16.0.0/24")}}[w.IntN(2)]
	for b := range oracleBorders {
		if w.IntN(2) == 0 {
			n.Spec.Borders = append(n.Spec.Borders, intent.Border{Node: oracleBorders[b]})
		}
	}
	return w.put(n)
}

// putFloating puts a floating IP for some port, which may not be there, and an
// address that it may not have.
func (w *world) putFloating() string {
	i, x := w.IntN(oracleFloating), w.IntN(oracleOutside)
	f := &intent.FloatingIP{Metadata: intent.Metadata{Name: fmt.Sprintf("f%d", i), Tenant: "t"},
		Spec: intent.FloatingIPSpec{External: fmt.Sprintf("x%d", x), Address: netip.AddrFrom4([4]byte{203, 0, byte(113 + x), byte(10 + i)}), Port: w.port()}}
	if w.IntN(4) == 0 {
		f.Spec.Fixed = netip.AddrFrom4([4]byte{192, 168, 0, byte(w.IntN(48))})
	}
	return w.put(f)
}

func (w *world) put(o intent.Object) string {
	w.m.Put(o)
	w.objects[o.Ref()] = o
	return "put " + o.Ref().String()
}

func (w *world) delete() string {
	refs := slices.SortedFunc(maps.Keys(w.objects), func(a, b intent.Ref) int { return cmpString(a.String(), b.String()) })
	if len(refs) == 0 {
		return "delete nothing"
	}
	r := refs[w.IntN(len(refs))]
	w.m.Delete(r)
	delete(w.objects, r)
	if r.Kind == intent.KindNode { // as the engine: its session ends, and with it what it said
		delete(w.reports, r.Name)
		delete(w.learned, r.Name)
		delete(w.routes, r.Name)
		delete(w.synced, r.Name)
	}
	if r.Kind == intent.KindInterconnect {
		for _, n := range []string{PeerName(r.Name, netip.MustParseAddr("192.0.2.1")), PeerName(r.Name, netip.MustParseAddr("192.0.2.2"))} {
			delete(w.routes, n)
			delete(w.synced, n)
		}
	}
	return "delete " + r.String()
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (w *world) putPort() string {
	name := w.port()
	i, _ := strconv.Atoi(name[1:])
	b := intent.Binding{IfaceID: name}
	if w.IntN(3) == 0 {
		b = intent.Binding{Node: w.anyEdge(), Interface: "if-" + name, VLAN: uint16(w.IntN(2))}
	}
	p := port(name, fmt.Sprintf("n%d", w.IntN(oracleNetworks)), byte(10+2*i+w.IntN(2)), b)
	if w.IntN(3) == 0 {
		p.Spec.QoS = &intent.QoS{Out: intent.RateLimit{Rate: intent.BitRate(fmt.Sprintf("%dM", 1+w.IntN(2)))}}
	}
	if w.IntN(4) == 0 {
		p.Spec.Requested = intent.Place{Node: fmt.Sprintf("hv%d", w.hv())}
	}
	for g := range oracleGroups {
		if w.IntN(3) == 0 {
			p.Spec.SecurityGroups = append(p.Spec.SecurityGroups, fmt.Sprintf("g%d", g))
		}
	}
	return w.put(p)
}

// putGroup puts a group with rules that name others, which may not be there; one
// changes its number.
func (w *world) putGroup() string {
	i := w.IntN(oracleGroups)
	g := &intent.SecurityGroup{Metadata: intent.Metadata{Name: fmt.Sprintf("g%d", i), Tenant: "t"}, Spec: intent.SecurityGroupSpec{ID: uint32(i + 1)}}
	if i == 0 && w.IntN(2) == 0 {
		g.Spec.ID = oracleGroups + 1
	}
	for range w.IntN(3) {
		r := intent.SecurityRule{Direction: []intent.Direction{intent.Ingress, intent.Egress}[w.IntN(2)], Protocol: "tcp"}
		if w.IntN(3) != 0 {
			r.Group = fmt.Sprintf("g%d", w.IntN(oracleGroups))
		}
		g.Spec.Rules = append(g.Spec.Rules, r)
	}
	return w.put(g)
}

// putACL puts an ACL that networks may name.
func (w *world) putACL() string {
	a := &intent.NetworkACL{Metadata: intent.Metadata{Name: fmt.Sprintf("a%d", w.IntN(oracleACLs)), Tenant: "t"}}
	for i := range w.IntN(3) {
		a.Spec.Rules = append(a.Spec.Rules, intent.ACLRule{Action: []intent.ACLAction{intent.Allow, intent.Deny}[w.IntN(2)], Direction: intent.Ingress, Protocol: []intent.Protocol{"tcp", "udp"}[i]})
	}
	return w.put(a)
}

func (w *world) observe() string {
	n := w.anyEdge()
	if strings.HasPrefix(n, "leaf") && !w.exists(n) {
		return "nobody reports"
	}
	var ifs []Interface
	for i := range oraclePorts {
		name := fmt.Sprintf("p%02d", i)
		if w.IntN(3) == 0 {
			ifs = append(ifs, Interface{Name: "tap" + name, IfaceID: name, OFPort: uint32(w.IntN(4))})
		}
		if w.IntN(3) == 0 {
			ifs = append(ifs, Interface{Name: "if-" + name, OFPort: uint32(w.IntN(4))})
		}
	}
	w.m.Observe(n, ifs)
	w.reports[n] = ifs
	return fmt.Sprintf("%s reports %d interfaces", n, len(ifs))
}

// exists reports whether a node does. The engine has no session with others.
func (w *world) exists(node string) bool {
	return w.objects[intent.Ref{Kind: intent.KindNode, Name: node}] != nil
}

// learn tells stations; each is on one node only, or which row wins would
// depend on the order.
func (w *world) learn() string {
	i := w.hv()
	n := fmt.Sprintf("hv%d", i)
	var ls []Learned
	for s := range 3 {
		if w.often(3) {
			l := Learned{VNI: firstVNI + intent.VNI(w.IntN(oracleNetworks)), MAC: intent.MAC{2, 9, 0, 0, byte(i), byte(s)}}
			if w.IntN(2) == 0 {
				l.IP = netip.AddrFrom4([4]byte{192, 168, 0, byte(w.IntN(48))})
			}
			ls = append(ls, l)
		}
	}
	w.m.Learn(n, ls)
	w.learned[n] = ls
	return fmt.Sprintf("%s learned %d stations", n, len(ls))
}

// route tells a route, of which sequence number and place belong together.
func (w *world) route() string {
	n := w.leaf()
	if !w.exists(n) {
		return "nobody tells"
	}
	if !w.often(12) {
		w.m.TakePeerLost(n)
		delete(w.routes, n)
		return n + " is lost"
	}
	c := macRoute(byte(w.IntN(3)), firstVNI+intent.VNI(w.IntN(oracleNetworks)), []string{"", "192.168.0.1", "192.168.0.2"}[w.IntN(3)],
		[]string{"1:1", "1:2", "65001:100", "65001:101"}[w.IntN(4)])
	c.VTEP = netip.AddrFrom4([4]byte{10, 0, 0, n[4] - '0'})
	w.routed(&c)
	c.Withdrawn = w.IntN(4) == 0
	w.m.TakeRoutes(n, []RouteChange{c})
	if w.routes[n] == nil {
		w.routes[n] = map[evpn.RouteID]RouteChange{}
	}
	if c.Withdrawn {
		delete(w.routes[n], c.ID())
	} else {
		w.routes[n][c.ID()] = c
	}
	return fmt.Sprintf("%s tells %v, withdrawn %v", n, c.Key, c.Withdrawn)
}

// routed makes some routes such of a leaf that routes for a router: hosts with two
// labels, in the subnets and elsewhere, and prefixes.
func (w *world) routed(c *RouteChange) {
	v := firstL3VNI + intent.VNI(w.IntN(oracleRouters+oracleOutside+2))
	t := intent.VNIRouteTarget(65001, v)
	switch w.IntN(4) {
	case 0:
		if w.IntN(2) == 0 {
			c.Key = evpn.HostKey(c.MAC, netip.AddrFrom4([4]byte{10, 99, 0, byte(w.IntN(2))}))
		}
		if c.IP.IsValid() {
			c.L3VNI, c.RouterMAC, c.Targets = v, intent.MAC{6, 0, 0, 0, 0, byte(w.IntN(2))}, append(c.Targets, t)
		}
	case 1:
		p := []string{"192.168.0.0/28", "192.168.0.1/32", "10.99.0.0/16", "172.16.0.0/24"}[w.IntN(4)]
		c.Route = evpn.Route{Key: evpn.PrefixKey(netip.MustParsePrefix(p)), RD: evpn.NewRD(65001, v), VNI: v, VTEP: c.VTEP,
			RouterMAC: intent.MAC{6, 0, 0, 0, 0, byte(w.IntN(2))}, Targets: append(c.Targets, t)}
	}
}

// scratch is a model that is told only the end, as a controller that starts is:
// the edges say which interfaces are in use, and nobody is placed before.
func (w *world) scratch() *Model {
	want := NewModel()
	want.Clock = w.m.Clock
	want.Hold(true)
	for _, o := range w.objects {
		want.Put(o)
	}
	active := map[place]bool{}
	for r := range w.objects {
		if a, ok := w.m.Attachment(r); ok {
			active[place{a.Node, a.Interface}] = true
		}
	}
	for n, ifs := range w.reports {
		ifs = slices.Clone(ifs)
		for i := range ifs {
			ifs[i].Active = active[place{n, ifs[i].Name}]
		}
		want.Observe(n, ifs)
	}
	want.Hold(false)
	for n, ls := range w.learned {
		want.Learn(n, ls)
	}
	for n, rs := range w.routes {
		for _, c := range rs {
			want.TakeRoutes(n, []RouteChange{c})
		}
	}
	for n := range w.synced {
		want.Synced(n)
	}
	for n, e := range w.m.nodes {
		want.SetAway(n, e.away)
	}
	return want
}

// routedRowsOf are the rows of an L3VNI's table.
func routedRowsOf(m *Model, v intent.VNI) []string {
	var out []string
	if s := m.Segment(v); s != nil {
		for r := range s.Rows() {
			out = append(out, fmt.Sprintf("%s %s %s/%d at %s, L2VNI %d, router MAC %s", r.Type, r.MAC, r.IP, r.Bits, r.VTEP, r.VNI, r.RouterMAC))
		}
	}
	slices.Sort(out)
	return out
}

// compare tells where the model differs from one made from scratch.
func (w *world) compare(t *testing.T) {
	want := w.scratch()
	for v := firstVNI; v <= lastVNI; v++ {
		require.Equal(t, rowsOf(want, v), rowsOf(w.m, v), "VNI %d", v)
		require.Equal(t, slices.Sorted(want.Carriers(v)), slices.Sorted(w.m.Carriers(v)), "carriers of VNI %d", v)
	}
	for v := firstL3VNI; v <= lastL3VNI; v++ {
		require.Equal(t, routedRowsOf(want, v), routedRowsOf(w.m, v), "L3VNI %d", v)
		require.Equal(t, slices.Sorted(want.Carriers(v)), slices.Sorted(w.m.Carriers(v)), "carriers of L3VNI %d", v)
	}
	for _, n := range oracleBorders {
		require.Equal(t, want.Borders(n), w.m.Borders(n), "borders")
	}
	for id := uint32(1); id <= oracleGroups+1; id++ {
		require.Equal(t, membersOf(want, id), membersOf(w.m, id), "group %d", id)
		require.Equal(t, slices.Sorted(want.Carriers(GroupTable(id))), slices.Sorted(w.m.Carriers(GroupTable(id))), "readers of group %d", id)
	}
	for i := 1; i <= oracleNodes; i++ {
		n := fmt.Sprintf("hv%d", i)
		got, expected := w.m.Local(n), want.Local(n)
		require.Equal(t, len(expected), len(got), "ports of %s: %v, want %v", n, got, expected)
		for r, p := range expected {
			require.True(t, p.Equal(got[r]), "%s: %s is %v, want %v", n, r, got[r], p)
		}
	}
	require.Equal(t, want.Unreported(), w.m.Unreported())
	for v, r := range w.readers {
		r.read(w.m.Segment(v))
		rows := 0
		if s := w.m.Segment(v); s != nil {
			rows = s.Len()
		}
		require.Len(t, r.rows, rows, "a reader of VNI %d", v)
	}
}

func (r *tableReader) read(s *evpn.Segment) {
	if s == nil { // forgotten, once every reader had passed its end
		clear(r.rows)
		r.at = 0
		return
	}
	r.at = follow(s, r.rows, r.at)
}

// TestOracle: one model lives through random operations of all kinds; ever and
// again it must equal one that is told only the end, and so must the tables of
// those who read its changes by cursors. WEFT_ORACLE_OPS and WEFT_ORACLE_SEED
// say how many operations, and which.
func TestOracle(t *testing.T) {
	ops, seed := number(t, "WEFT_ORACLE_OPS", oracleOps), number(t, "WEFT_ORACLE_SEED", rand.Uint64())
	w := &world{Rand: rand.New(rand.NewPCG(seed, 1)), m: NewModel(), now: time.Now(), objects: map[intent.Ref]intent.Object{}, reports: map[string][]Interface{},
		learned: map[string][]Learned{}, routes: map[string]map[evpn.RouteID]RouteChange{}, synced: map[string]bool{}, readers: map[intent.VNI]*tableReader{}}
	w.m.Clock = func() time.Time { return w.now }
	for v := firstVNI; v <= lastVNI; v++ {
		w.readers[v] = &tableReader{rows: map[evpn.Key]netip.Addr{}}
	}
	for v := firstL3VNI; v <= lastL3VNI; v++ {
		w.readers[v] = &tableReader{rows: map[evpn.Key]netip.Addr{}}
	}
	for id := uint32(1); id <= oracleGroups+1; id++ {
		w.readers[GroupTable(id)] = &tableReader{rows: map[evpn.Key]netip.Addr{}}
	}
	n := uint64(0)
	defer func() {
		if t.Failed() {
			t.Logf("WEFT_ORACLE_SEED=%d, after %d operations; the last ones were %v", seed, n, w.did)
		}
	}()
	for next := uint64(1); n < ops; n++ {
		w.did = append(w.did, w.step())
		w.m.Touched()
		w.m.TakeMoved()
		w.m.TakeAlarms()
		if w.IntN(4) == 0 { // somebody reads, and what all have passed is forgotten
			v := firstVNI + intent.VNI(w.IntN(int(lastVNI-firstVNI)+1))
			switch w.IntN(3) {
			case 0:
				v = firstL3VNI + intent.VNI(w.IntN(int(lastL3VNI-firstL3VNI)+1))
			case 1:
				v = GroupTable(1 + uint32(w.IntN(oracleGroups+1)))
			}
			r := w.readers[v]
			r.read(w.m.Segment(v))
			if s := w.m.Segment(v); s != nil {
				w.m.Trim(v, r.at, 1)
			}
		}
		if n == next || n == ops-1 {
			w.compare(t)
			w.did = nil
			next = n + 1 + w.Uint64N(50)
		}
	}
	t.Logf("%d operations, seed %d", n, seed)
}

// TestSameNetworkAgain is what random routes once failed on.
func TestSameNetworkAgain(t *testing.T) {
	m := NewModel()
	m.Put(leaf(1))
	for range 25 {
		m.Put(network("na", 100))
		m.TakeRoutes("leaf1", []RouteChange{macRoute(0, 100, "", "65001:100")})
	}
	require.Len(t, rowsOf(m, 100), 1)
	require.Empty(t, m.TakeAlarms())
}
