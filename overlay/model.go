package overlay

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// Interface is an interface that an edge reports.
type Interface struct {
	Name    string
	IfaceID string // external_ids:iface-id
	OFPort  uint32 // port number on the device; 0 while it can't carry anything
	Error   string // the device's own words, when it could not open the interface
	// Active says that the device already carries traffic of a port of ours
	// here: after a restart, the place in use is known by it.
	Active bool
}

// LocalPort is a port as the edge that has it must serve it.
type LocalPort struct {
	Port      intent.Ref
	VNI       intent.VNI
	Interface string
	VLAN      uint16 // 802.1Q tag on the interface; 0 for untagged
	OFPort    uint32
	MAC       intent.MAC
	Addresses []netip.Addr
	Encap     intent.Encapsulation // of the network, with defaults filled in
	// Standby says that the port is about to come here but is elsewhere still:
	// everything is made ready, nothing is delivered to it, and of what it
	// sends only its announcement counts, which the device reports.
	Standby bool
	// Routing is the gateway of the port's network, nil when no router joins it.
	Routing *Routing
	// Services are what the station is told, nil when it is told nothing.
	Services *Services
	QoS      *QoS // nil when there are no limits
	// TenantQoS limits all ports of the tenant that the edge has, together; nil
	// when nothing does.
	TenantQoS *QoS
	// NAT is how its packets to and from outside are translated; nil when its
	// router leads to no external network.
	NAT *NAT
	// Policy filters what the port sends and receives; nil for a port in no
	// security group.
	Policy *Policy
	// Domain is the number under which the addresses around the port are known
	// in the tables of groups; zero without a policy.
	Domain intent.VNI
	// ACLs judge what crosses the borders of the network's subnets; nil when
	// nothing does.
	ACLs *NetworkACLs
}

// Learned is a station that an edge learned from traffic on a segment.
type Learned struct {
	VNI intent.VNI
	MAC intent.MAC
	IP  netip.Addr // invalid when only the MAC is known
}

// Equal reports whether two local ports are the same in all.
func (p LocalPort) Equal(q LocalPort) bool {
	return p.Port == q.Port && p.VNI == q.VNI && p.Interface == q.Interface && p.VLAN == q.VLAN && p.OFPort == q.OFPort && p.MAC == q.MAC && p.Encap == q.Encap && p.Standby == q.Standby && slices.Equal(p.Addresses, q.Addresses) &&
		p.Routing.Equal(q.Routing) && p.Services.Equal(q.Services) && p.QoS.Equal(q.QoS) && p.TenantQoS.Equal(q.TenantQoS) && p.NAT.Equal(q.NAT) &&
		p.Domain == q.Domain && p.Policy.Equal(q.Policy) && p.ACLs.Equal(q.ACLs)
}

// Attachment is where a port was found and what was made of it.
type Attachment struct {
	LocalPort
	Node string
	VTEP netip.Addr
	// RouterMAC is that of the VTEP when it takes part in symmetric routing.
	RouterMAC intent.MAC
}

func (a Attachment) equal(b Attachment) bool {
	return a.Node == b.Node && a.VTEP == b.VTEP && a.RouterMAC == b.RouterMAC && a.LocalPort.Equal(b.LocalPort)
}

// Model holds all intent of the overlay and all places that edges reported,
// and keeps the segment tables that follow from them. It is not safe for
// concurrent use.
type Model struct {
	networks map[intent.Ref]*intent.Network
	ports    map[intent.Ref]*intent.Port
	nodes    map[string]*edge
	segments map[intent.VNI]*evpn.Segment
	past     evpn.Revision // the highest of tables that were given up

	carriers   map[intent.VNI]map[string]struct{} // nodes with local ports, or ports that need the table
	unreported map[string]struct{}                // edges that have never reported
	absent     map[string]struct{}                // peers of other fabrics that have not, either

	portsOf  map[intent.Ref]map[intent.Ref]struct{} // network -> ports
	byIface  map[string]intent.Ref                  // iface-id -> port
	byPlace  map[place]few[intent.Ref]              // node and interface -> ports, one per VLAN
	seen     map[string]few[place]                  // iface-id -> places that report it
	attached map[intent.Ref]attached
	standby  map[intent.Ref][]Attachment // where ports are prepared beside that
	fresh    map[standbyPlace]struct{}   // where they were plugged in since they moved last
	held     map[netip.Addr]int          // VTEPs of places of ports that are held back, and how many
	left     map[intent.Ref]place        // where ports were that are nowhere now
	moved    []Moved
	holding  bool                    // see Hold
	serviced int                     // edges that another one replicates for
	hardware int                     // hardware VTEPs
	leaves   map[netip.Addr]struct{} // VTEPs of EVPN leaves

	served  served
	byVNI   map[intent.VNI]*intent.Network
	imports map[intent.RouteTarget]map[intent.VNI]struct{} // configured ones
	strays  map[intent.VNI]map[taken]struct{}              // routes for VNIs that no network has
	owners  map[address]intent.MAC                         // of addresses, by the ports that are attached
	refused map[address]map[taken]struct{}                 // routes for addresses that a port owns
	hosts   map[address][]taken                            // routes for addresses that are in the tables
	alarms  []Alarm

	interconnects map[string]*interconnect

	routers    map[intent.Ref]*router // external networks among them
	byL3VNI    map[intent.VNI]*router
	vrfImports map[intent.RouteTarget]map[intent.VNI]struct{} // configured ones
	staleNodes map[string]struct{}                            // leaves that began to route, or ended
	staleVRFs  map[intent.VNI]struct{}                        // L3VNIs of routers whose subnets changed
	routersOf  map[intent.Ref]few[intent.Ref]                 // network -> routers that name it
	mirrored   map[intent.VNI]intent.VNI                      // L2VNI -> L3VNI that has its stations
	stale      map[intent.Ref]struct{}                        // routers to be compiled again
	unlinked   map[intent.Ref]struct{}                        // those that have something of a router which changed
	shared     shared
	borders    map[string]map[intent.Ref]struct{} // nodes -> external networks that they lead to
	onLeaves   map[intent.Ref]int                 // ports on EVPN leaves of each router
	hopPorts   map[intent.Ref]few[intent.Ref]     // next hops -> routers
	hopAddrs   map[address]few[intent.Ref]
	compiling  bool
	awaiting   bool // some edge has not reported

	security    security
	acls        acls
	limits      limits
	offences    map[rowOf]map[evpn.Source]offence // by the rows of ports that others announce
	translating translating

	// Clock tells the time of moves; time.Now when nil. It is set before use.
	Clock func() time.Time

	touchedNodes map[string]struct{}
	touchedVNIs  map[intent.VNI]struct{}

	scratch map[string]struct{} // of observe
}

type place struct{ node, iface string }

// attached is an Attachment as it is kept: the edge has the rest, as a local port.
type attached struct {
	edge      *edge
	vtep      netip.Addr
	routerMAC intent.MAC
	onLeaf    bool // and routed there
}

// attachment returns where a port is; ok is false while it is nowhere.
func (m *Model) attachment(r intent.Ref) (Attachment, bool) {
	a, ok := m.attached[r]
	if !ok {
		return Attachment{}, false
	}
	return Attachment{LocalPort: a.edge.local[r], Node: a.edge.key, VTEP: a.vtep, RouterMAC: a.routerMAC}, true
}

// edge is a node and what it reported. It exists as soon as either is known.
type edge struct {
	key      string // in nodes
	spec     *intent.Node
	peerOf   string // interconnect of which it is a peer, and no edge of ours
	reported bool
	ifaces   map[string]Interface
	local    map[intent.Ref]LocalPort // replaced rather than changed once it was lent
	lent     atomic.Bool              // a reader has local
	localRev uint64                   // counts the changes of local
	onVNI    map[intent.VNI]int       // local ports per VNI
	// away says that the leaf's session is lost and its routes are kept; waiting are
	// its prefix routes then.
	away       bool
	waiting    map[evpn.Key][]evpn.RouteID
	leads      map[lead]int              // routes by which it leads to a prefix
	reading    map[intent.VNI]int        // local ports that need a table beside their VNI's
	floods     map[intent.VNI]netip.Addr // the IMET routes it originates
	sourceRows map[sourceRow]netip.Addr  // of its source addresses, with the VTEP
	learned    map[Learned]struct{}      // as reported
	stated     map[Learned]netip.Addr    // those of them that are rows, with the VTEP
	standby    map[intent.Ref]struct{}   // local ports that are in standby
	routes     map[evpn.RouteID]announced
	routerMACs map[routerMACKey]int // of its routes, and how many have each
	said       map[alarmKey]int     // alarms of its routes and stations, and how many cause each
}

// NewModel returns an empty model.
func NewModel() *Model {
	return &Model{
		networks: map[intent.Ref]*intent.Network{}, ports: map[intent.Ref]*intent.Port{},
		nodes: map[string]*edge{}, segments: map[intent.VNI]*evpn.Segment{},
		carriers: map[intent.VNI]map[string]struct{}{}, unreported: map[string]struct{}{}, absent: map[string]struct{}{}, interconnects: map[string]*interconnect{},
		portsOf: map[intent.Ref]map[intent.Ref]struct{}{}, byIface: map[string]intent.Ref{},
		byPlace: map[place]few[intent.Ref]{}, seen: map[string]few[place]{},
		attached: map[intent.Ref]attached{}, standby: map[intent.Ref][]Attachment{}, held: map[netip.Addr]int{}, left: map[intent.Ref]place{}, fresh: map[standbyPlace]struct{}{},
		leaves: map[netip.Addr]struct{}{}, byVNI: map[intent.VNI]*intent.Network{}, imports: map[intent.RouteTarget]map[intent.VNI]struct{}{},
		strays: map[intent.VNI]map[taken]struct{}{}, owners: map[address]intent.MAC{}, refused: map[address]map[taken]struct{}{},
		hosts:   map[address][]taken{},
		byL3VNI: map[intent.VNI]*router{}, vrfImports: map[intent.RouteTarget]map[intent.VNI]struct{}{}, staleNodes: map[string]struct{}{}, staleVRFs: map[intent.VNI]struct{}{},
		routers: map[intent.Ref]*router{}, routersOf: map[intent.Ref]few[intent.Ref]{}, mirrored: map[intent.VNI]intent.VNI{}, stale: map[intent.Ref]struct{}{}, unlinked: map[intent.Ref]struct{}{}, shared: newShared(), borders: map[string]map[intent.Ref]struct{}{}, onLeaves: map[intent.Ref]int{},
		hopPorts: map[intent.Ref]few[intent.Ref]{}, hopAddrs: map[address]few[intent.Ref]{},
		offences:     map[rowOf]map[evpn.Source]offence{},
		security:     newSecurity(),
		acls:         newACLs(),
		limits:       limits{},
		translating:  newTranslating(),
		touchedNodes: map[string]struct{}{}, touchedVNIs: map[intent.VNI]struct{}{}, served: newServed(), scratch: map[string]struct{}{},
	}
}

// Touched returns the nodes whose local ports changed and the VNIs whose
// tables changed since the last call.
func (m *Model) Touched() (nodes []string, vnis []intent.VNI) {
	nodes, vnis = slices.Sorted(maps.Keys(m.touchedNodes)), slices.Sorted(maps.Keys(m.touchedVNIs))
	clear(m.touchedNodes)
	clear(m.touchedVNIs)
	return nodes, vnis
}

// Put takes an object, new or changed. Kinds that the overlay does not need
// are ignored.
func (m *Model) Put(o intent.Object) {
	switch o := o.(type) {
	case *intent.Tenant:
		m.setTenant(o.Metadata.Name, o)
	case *intent.Network:
		old := m.networks[o.Ref()]
		m.networks[o.Ref()] = o
		m.acls.setNetwork(old, o)
		m.settleNetwork(old, o)
		m.settleStretched(old, o)
		m.settleServices(o.Ref())
		m.settleGateways(old, o)
		m.settleAll(m.portsOf[o.Ref()])
	case *intent.Port:
		if old := m.ports[o.Ref()]; old != nil {
			m.unindex(old)
		}
		was := m.ports[o.Ref()]
		m.ports[o.Ref()] = o
		m.index(o)
		m.hopDeclared(was)
		m.hopDeclared(o)
		m.settle(o.Ref())
		m.settleRouters()
	case *intent.NetworkACL:
		m.setACL(o.Ref(), o)
	case *intent.SecurityGroup:
		m.setGroup(o.Ref(), o)
	case *intent.ExternalNetwork:
		m.putOutside(o.Ref(), o)
	case *intent.FloatingIP:
		m.putFloating(o.Ref(), o)
	case *intent.Node:
		e := m.edge(o.Metadata.Name)
		was, from, bridged := e.vtep(), e.spec, m.hardware
		m.serviced -= e.serviced()
		m.hardware -= e.bridging()
		m.setLeaf(e, false)
		e.spec = o
		m.serviced += e.serviced()
		m.hardware += e.bridging()
		m.setLeaf(e, true)
		m.markReported(o.Metadata.Name, e)
		m.settleSources(e)
		if e.vtep() != was || !sourcesAlike(from, o) {
			m.settleNode(e)
		}
		if e.vtep() != was {
			m.settleLearned(o.Metadata.Name, e)
			m.touchBordersOf(o.Metadata.Name)
		}
		m.rebridgeAll(bridged)
		m.settleAwaiting()
		m.settleRouters()
	case *intent.Interconnect:
		m.putInterconnect(o.Metadata.Name, o)
	case *intent.Router:
		m.serveRouter(o.Ref(), o)
		was := m.routerSpec(o.Ref())
		m.putRouter(o.Ref(), o)
		m.settleVRF(o.Ref(), was, o)
		if was == nil || !outsideAlike(was.Spec.External, o.Spec.External) {
			m.settleOutside(o)
		}
	}
	m.settleStaleNodes()
}

// Delete takes the deletion of an object.
func (m *Model) Delete(r intent.Ref) {
	switch r.Kind {
	case intent.KindTenant:
		m.setTenant(r.Name, nil)
	case intent.KindNetworkACL:
		m.setACL(r, nil)
	case intent.KindSecurityGroup:
		m.setGroup(r, nil)
	case intent.KindExternalNetwork:
		if m.routers[r] != nil {
			m.putOutside(r, nil)
		}
	case intent.KindFloatingIP:
		m.putFloating(r, nil)
	case intent.KindNetwork:
		old := m.networks[r]
		delete(m.networks, r)
		m.acls.setNetwork(old, nil)
		m.settleServices(r)
		m.settleAll(m.portsOf[r])
		m.settleNetwork(old, nil)
		m.settleStretched(old, nil)
		m.settleGateways(old, nil)
	case intent.KindPort:
		if p := m.ports[r]; p != nil {
			m.unindex(p)
			delete(m.ports, r)
			m.hopDeclared(p)
			m.settle(r)
			m.settleRouters()
			delete(m.left, r)
		}
	case intent.KindNode:
		if e := m.nodes[r.Name]; e != nil {
			m.observe(r.Name, e, nil)
			m.learn(r.Name, e, nil)
			m.forgetRoutes(r.Name, e)
			m.serviced -= e.serviced()
			m.rebridgeAll(0)
			m.hardware -= e.bridging()
			m.setLeaf(e, false)
			e.spec = nil
			m.settleSources(e)
			delete(m.unreported, r.Name)
			delete(m.nodes, r.Name)
			m.settleAwaiting()
			m.settleRouters()
		}
	case intent.KindInterconnect:
		m.putInterconnect(r.Name, nil)
	case intent.KindRouter:
		m.serveRouter(r, nil)
		was := m.routerSpec(r)
		m.putRouter(r, nil)
		m.settleVRF(r, was, nil)
	}
	m.settleStaleNodes()
}

// Observe takes the interfaces that an edge reports: all that it has now. An
// edge that can't be reached is not observed; what it said last stays.
func (m *Model) Observe(node string, ifaces []Interface) {
	e := m.edge(node)
	m.observe(node, e, ifaces)
	if e.spec == nil || e.spec.Spec.EVPN == nil {
		m.setReported(node, e)
	}
}

// Synced takes that an EVPN leaf has announced all the routes that it has: of
// these edges, that is the report.
// So it is of a speaker of another fabric.
func (m *Model) Synced(node string) {
	delete(m.absent, node)
	if !m.IsPeer(node) {
		m.setReported(node, m.edge(node))
	}
}

func (m *Model) setReported(node string, e *edge) {
	first := !e.reported
	e.reported = true
	m.markReported(node, e)
	if m.holding && first {
		m.rebridgeAll(0)
	}
	m.settleAwaiting()
	m.settleRouters()
	if m.holding && m.AllReported() {
		m.settleHeld()
	}
}

// markReported keeps the set of edges that have never reported.
func (m *Model) markReported(node string, e *edge) {
	if e.spec != nil && e.spec.Spec.Edge() && !e.reported {
		m.unreported[node] = struct{}{}
	} else {
		delete(m.unreported, node)
	}
}

func (m *Model) observe(node string, e *edge, ifaces []Interface) {
	var affected map[intent.Ref]struct{}
	note := func(i Interface) {
		if affected == nil {
			affected = map[intent.Ref]struct{}{}
		}
		for r := range m.byPlace[place{node, i.Name}].all() {
			affected[r] = struct{}{}
		}
		if r, ok := m.byIface[i.IfaceID]; ok && i.IfaceID != "" {
			affected[r] = struct{}{}
		}
	}
	gone := func(old Interface) {
		if at := m.seen[old.IfaceID].without(place{node, old.Name}); at.empty() {
			delete(m.seen, old.IfaceID)
		} else {
			m.seen[old.IfaceID] = at
		}
		note(old)
	}
	// Mostly one interface of many is another: the others are only looked up.
	now := m.scratch
	clear(now)
	for _, i := range ifaces {
		now[i.Name] = struct{}{}
		old, ok := e.ifaces[i.Name]
		if ok && old == i {
			continue
		}
		if ok {
			gone(old)
		}
		if i.IfaceID != "" {
			m.seen[i.IfaceID] = m.seen[i.IfaceID].with(place{node, i.Name})
		}
		e.ifaces[i.Name] = i
		note(i)
	}
	if len(now) < len(e.ifaces) {
		for name, old := range e.ifaces {
			if _, ok := now[name]; !ok {
				delete(e.ifaces, name)
				gone(old)
			}
		}
	}
	m.settleAll(affected)
}

func (m *Model) edge(name string) *edge {
	e := m.nodes[name]
	if e == nil {
		e = &edge{key: name, ifaces: map[string]Interface{}, local: map[intent.Ref]LocalPort{}, onVNI: map[intent.VNI]int{}, reading: map[intent.VNI]int{}, floods: map[intent.VNI]netip.Addr{},
			stated: map[Learned]netip.Addr{}, standby: map[intent.Ref]struct{}{}, routes: map[evpn.RouteID]announced{}, routerMACs: map[routerMACKey]int{}, said: map[alarmKey]int{}}
		m.nodes[name] = e
	}
	return e
}

func (e *edge) vtep() netip.Addr {
	if e.spec == nil {
		return netip.Addr{}
	}
	return e.spec.Spec.VTEP
}

func (m *Model) setLeaf(e *edge, yes bool) {
	switch {
	case e.spec == nil || e.spec.Spec.EVPN == nil:
	case yes:
		m.leaves[e.vtep()] = struct{}{}
	default:
		delete(m.leaves, e.vtep())
	}
}

// unmanaged reports whether someone else configures the edge, so that what
// ports it has can't be known.
func (e *edge) unmanaged() bool {
	return e.spec != nil && e.spec.Spec.EVPN != nil && e.spec.Spec.EVPN.Unmanaged
}

// serviced is 1 for an edge that another one replicates for.
func (e *edge) serviced() int {
	if e.spec != nil && e.spec.Spec.HardwareVTEP != nil && e.spec.Spec.HardwareVTEP.Replication == serviceNode {
		return 1
	}
	return 0
}

func (m *Model) index(p *intent.Port) {
	set := m.portsOf[p.NetworkRef()]
	if set == nil {
		set = map[intent.Ref]struct{}{}
		m.portsOf[p.NetworkRef()] = set
	}
	set[p.Ref()] = struct{}{}
	m.usePolicy(p, true)
	if id := p.Spec.Binding.IfaceID; id != "" {
		m.byIface[id] = p.Ref()
	}
	for _, at := range places(p) {
		m.byPlace[at] = m.byPlace[at].with(p.Ref())
	}
}

// places are the node and interface by which a port is bound, and those to
// which it is to move.
func places(p *intent.Port) []place {
	var at []place
	if b := p.Spec.Binding; b.Node != "" {
		at = append(at, place{b.Node, b.Interface})
	}
	if q := p.Spec.Requested; q.Interface != "" {
		at = append(at, place{q.Node, q.Interface})
	}
	return at
}

func (m *Model) unindex(p *intent.Port) {
	m.usePolicy(p, false)
	set := m.portsOf[p.NetworkRef()]
	if delete(set, p.Ref()); len(set) == 0 {
		delete(m.portsOf, p.NetworkRef())
	}
	b := p.Spec.Binding
	if m.byIface[b.IfaceID] == p.Ref() {
		delete(m.byIface, b.IfaceID)
	}
	for _, at := range places(p) {
		if left := m.byPlace[at].without(p.Ref()); left.empty() {
			delete(m.byPlace, at)
		} else {
			m.byPlace[at] = left
		}
	}
}

func (m *Model) settleAll(ports map[intent.Ref]struct{}) {
	for _, r := range slices.SortedFunc(maps.Keys(ports), compareRefs) {
		m.settle(r)
	}
}

func (m *Model) settleNode(e *edge) {
	affected := map[intent.Ref]struct{}{}
	for name, i := range e.ifaces {
		if r, ok := m.byIface[i.IfaceID]; ok && i.IfaceID != "" {
			affected[r] = struct{}{}
		}
		for r := range m.byPlace[place{e.name(), name}].all() {
			affected[r] = struct{}{}
		}
	}
	m.settleAll(affected)
}

func (e *edge) name() string {
	if e.spec == nil {
		return ""
	}
	return e.spec.Metadata.Name
}

func compareRefs(a, b intent.Ref) int {
	if c := strings.Compare(a.Tenant, b.Tenant); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}
