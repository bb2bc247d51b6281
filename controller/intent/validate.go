package intent

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// FieldError is one fault in one field of an object.
type FieldError struct {
	Object Ref    `json:"-"`
	Field  string `json:"field"`  // JSON path, such as spec.subnets[1]
	Detail string `json:"detail"` // what is wrong and what to do
}

// Error is a sentence that names the object and the field.
func (e FieldError) Error() string { return fmt.Sprintf("%s: %s: %s", e.Object, e.Field, e.Detail) }

// FieldErrors are all faults found in an object.
type FieldErrors []FieldError

// Error joins the sentences.
func (es FieldErrors) Error() string {
	s := make([]string, len(es))
	for i, e := range es {
		s[i] = e.Error()
	}
	return strings.Join(s, "; ")
}

// Faults collects field errors of one object.
type Faults struct {
	ref  Ref
	list FieldErrors
}

// NewFaults starts a collection for an object.
func NewFaults(r Ref) *Faults { return &Faults{ref: r} }

// Add notes a fault in a field.
func (f *Faults) Add(field, format string, args ...any) {
	f.list = append(f.list, FieldError{f.ref, field, fmt.Sprintf(format, args...)})
}

// Err is nil when nothing was added.
func (f *Faults) Err() error {
	if len(f.list) == 0 {
		return nil
	}
	return f.list
}

var nameRE = regexp.MustCompile(`^[a-z0-9]([-a-z0-9._]{0,61}[a-z0-9])?$`)

func (f *Faults) header(h Header, m Metadata, k Kind) {
	if h.APIVersion != "" && h.APIVersion != APIVersion {
		f.Add("apiVersion", "%q is not known: use %s", h.APIVersion, APIVersion)
	}
	if h.Kind != "" && h.Kind != k {
		f.Add("kind", "is %q where a %s is expected", h.Kind, k)
	}
	f.name("metadata.name", m.Name)
	switch {
	case k.Tenanted() && m.Tenant == "":
		f.Add("metadata.tenant", "is missing: %s belongs to a tenant", k.Phrase())
	case k.Tenanted():
		f.name("metadata.tenant", m.Tenant)
	case m.Tenant != "":
		f.Add("metadata.tenant", "must be left out: %s belongs to no tenant", k.Phrase())
	}
}

func (f *Faults) name(field, name string) {
	// Kinds that come from a topology keep its spelling; containerlab allows
	// capitals.
	n := name
	if f.ref.Kind == KindNode || f.ref.Kind == KindLink {
		n = strings.ReplaceAll(strings.ToLower(name), ":", "-")
	}
	if f.ref.Kind == KindLink && len(n) > 63 && len(n) <= 200 {
		n = n[:62] + "x"
	}
	if !nameRE.MatchString(n) {
		f.Add(field, "%q is not a name: use 1 to 63 lower-case letters, digits, '-', '.' or '_', with a letter or digit at both ends", name)
	}
}

// Validate checks the tenant alone.
func (t *Tenant) Validate() error {
	f := NewFaults(t.Ref())
	f.header(t.Header, t.Metadata, KindTenant)
	f.tenantQoS("spec.qos", t.Spec.QoS)
	return f.Err()
}

// Validate checks the network alone: VNI range, MTU, and its subnets against
// each other.
func (n *Network) Validate() error {
	f := NewFaults(n.Ref())
	f.header(n.Header, n.Metadata, KindNetwork)
	if n.Spec.VNI > MaxVNI {
		f.Add("spec.vni", "%d is outside 1..%d", n.Spec.VNI, MaxVNI)
	}
	switch e := n.Spec.Encapsulation; {
	case e.Type != "" && e.Type != VXLAN && e.Type != Geneve && e.Type != NVGRE:
		f.Add("spec.encapsulation.type", "%q is not known: use vxlan, geneve or nvgre", e.Type)
	case e.Type == NVGRE && e.UDPPort != 0:
		f.Add("spec.encapsulation.udpPort", "goes with vxlan and geneve: nvgre is not over UDP")
	}
	if s := n.Spec.Spoofing; s != "" && s != SpoofingRefuse && s != SpoofingReport {
		f.Add("spec.spoofing", "%q is not known: use refuse or report", s)
	}
	f.routeTargets("spec.routeTargets.import", n.Spec.RouteTargets.Import)
	f.routeTargets("spec.routeTargets.export", n.Spec.RouteTargets.Export)
	if m := n.Spec.MTU; m != 0 && (m < 576 || m > 9216) {
		f.Add("spec.mtu", "%d is outside 576..9216", m)
	}
	v6 := false
	for i, p := range n.Spec.Subnets {
		field := fmt.Sprintf("spec.subnets[%d]", i)
		switch {
		case !p.IsValid():
			f.Add(field, "is not a subnet like 10.0.0.0/24")
			continue
		case p.Addr().Is4In6() || p.Addr().IsMulticast() || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast():
			f.Add(field, "%s can't be used for hosts", p)
		case p.Masked() != p:
			f.Add(field, "%s has host bits set: use %s", p, p.Masked())
		case p.Bits() > p.Addr().BitLen()-2:
			f.Add(field, "%s has no room for two hosts", p)
		}
		v6 = v6 || p.Addr().Is6()
		for j, q := range n.Spec.Subnets[:i] {
			if q.IsValid() && p.Overlaps(q) {
				f.Add(field, "%s overlaps spec.subnets[%d] (%s)", p, j, q)
			}
		}
	}
	f.acls(n)
	f.dhcp(n)
	if v6 && n.Spec.MTU != 0 && n.Spec.MTU < 1280 {
		f.Add("spec.mtu", "%d is too small for IPv6, which needs 1280 (RFC 8200 section 5)", n.Spec.MTU)
	}
	return f.Err()
}

// Subnet is the subnet of the network that contains the address, or the zero
// Prefix.
func (n *Network) Subnet(a netip.Addr) netip.Prefix {
	for _, p := range n.Spec.Subnets {
		if p.Contains(a) {
			return p
		}
	}
	return netip.Prefix{}
}

// Validate checks the port alone; what needs its network is checked by the
// store with CheckPort.
func (p *Port) Validate() error {
	f := NewFaults(p.Ref())
	f.header(p.Header, p.Metadata, KindPort)
	if p.Spec.Network == "" {
		f.Add("spec.network", "is missing: a port belongs to a network")
	} else {
		f.name("spec.network", p.Spec.Network)
	}
	b := p.Spec.Binding
	switch {
	case b.VLAN > 4094:
		f.Add("spec.binding.vlan", "%d is outside 1..4094", b.VLAN)
	case b.VLAN != 0 && b.IfaceID != "":
		f.Add("spec.binding.vlan", "goes with node and interface, not with ifaceID")
	case b.IfaceID != "" && (b.Node != "" || b.Interface != ""):
		f.Add("spec.binding", "has both ifaceID and node/interface: give one of them")
	case b.Node != "" && b.Interface == "":
		f.Add("spec.binding.interface", "is missing: node %s is named without an interface", b.Node)
	case b.Node == "" && b.Interface != "":
		f.Add("spec.binding.node", "is missing: interface %s is named without a node", b.Interface)
	}
	switch q := p.Spec.Requested; {
	case q.IsZero():
	case q.Node == "":
		f.Add("spec.requested.node", "is missing: say to which node the port moves")
	case b.IsZero():
		f.Add("spec.requested", "goes with spec.binding: a port that is nowhere can't move, bind it")
	case b.Node != "" && q.Interface == "":
		f.Add("spec.requested.interface", "is missing: node %s is named without an interface", q.Node)
	case b.Node == q.Node && b.Interface == q.Interface:
		f.Add("spec.requested", "%s is where the port is", q)
	case b.VLAN != 0:
		f.Add("spec.requested", "can't be used with spec.binding.vlan: change the binding itself")
	}
	if p.Spec.MAC.Multicast() {
		f.Add("spec.mac", "%s is a multicast address", p.Spec.MAC)
	}
	for i, a := range p.Spec.Addresses {
		field := fmt.Sprintf("spec.addresses[%d]", i)
		if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
			f.Add(field, "is not an IPv4 or IPv6 address")
			continue
		}
		if slices.Contains(p.Spec.Addresses[:i], a) {
			f.Add(field, "%s is given twice", a)
		}
	}
	f.groups(p)
	f.qos("spec.qos", p.Spec.QoS)
	return f.Err()
}

// maxGroups of a port, so that writing it fits into etcd's 128 operations.
const maxGroups = 16

func (f *Faults) groups(p *Port) {
	for i, g := range p.Spec.SecurityGroups {
		field := fmt.Sprintf("spec.securityGroups[%d]", i)
		f.name(field, g)
		if slices.Contains(p.Spec.SecurityGroups[:i], g) {
			f.Add(field, "%s is given twice", g)
		}
	}
	if n := len(p.Spec.SecurityGroups); n > maxGroups {
		f.Add("spec.securityGroups", "has %d groups: a port may be in %d", n, maxGroups)
	}
	if len(p.Spec.SecurityGroups) > 0 && p.Spec.Binding.VLAN != 0 {
		f.Add("spec.securityGroups", "can't be kept on a tagged port of a switch: only vSwitches filter statefully")
	}
}

// routeTargets checks a list of route targets: ASN:N or IPv4:N, where both
// halves together have six octets (RFC 4360 section 3, RFC 5668).
func (f *Faults) routeTargets(field string, list []string) {
	for i, s := range list {
		if _, err := ParseRouteTarget(s); err != nil {
			f.Add(fmt.Sprintf("%s[%d]", field, i), "%v", err)
		} else if slices.Contains(list[:i], s) {
			f.Add(fmt.Sprintf("%s[%d]", field, i), "%s is given twice", s)
		}
	}
}

// CheckPort checks a port against its network: each address must be a host
// address of one of the network's subnets.
func CheckPort(p *Port, n *Network) error {
	f := NewFaults(p.Ref())
	for i, a := range p.Spec.Addresses {
		field := fmt.Sprintf("spec.addresses[%d]", i)
		s := n.Subnet(a)
		switch {
		case !s.IsValid() && len(n.Spec.Subnets) == 0:
			f.Add(field, "%s can't be used: %s has no subnet", a, n.Ref())
		case !s.IsValid():
			f.Add(field, "%s is outside the subnets %v of %s", a, n.Spec.Subnets, n.Ref())
		case !HostAddress(s, a):
			f.Add(field, "%s is the network or broadcast address of %s", a, s)
		}
	}
	return f.Err()
}

// HostAddress reports whether a host of the subnet may have the address: not
// the network address, nor for IPv4 the broadcast address (RFC 1122 section
// 3.2.1.3), nor for IPv6 the subnet-router anycast address (RFC 4291 section
// 2.6.1).
func HostAddress(s netip.Prefix, a netip.Addr) bool {
	if !s.Contains(a) || a == s.Masked().Addr() {
		return false
	}
	return a.Is6() || s.Contains(a.Next())
}

// Validate checks the node alone.
func (n *Node) Validate() error {
	f := NewFaults(n.Ref())
	f.header(n.Header, n.Metadata, KindNode)
	if !slices.Contains(Roles(), n.Spec.Role) {
		f.Add("spec.role", "%q is not a role: use one of %v", n.Spec.Role, Roles())
	}
	if n.Spec.VSwitch != nil {
		f.endpoint("spec.vswitch.ovsdb", n.Spec.VSwitch.OVSDB)
		if n.Spec.VSwitch.OpenFlow != "" {
			f.endpoint("spec.vswitch.openflow", n.Spec.VSwitch.OpenFlow)
		}
		if d := n.Spec.VSwitch.DatapathType; d != "" && d != "system" && d != "netdev" && d != "dummy" {
			f.Add("spec.vswitch.datapathType", "%q is not known: use system or netdev", d)
		}
		if !n.Spec.VTEP.IsValid() {
			f.Add("spec.vtep", "is missing: tunnels of a vSwitch need an address to end at")
		}
		f.sourceAddresses("spec.vswitch.sourceAddresses", n.Spec.VSwitch.SourceAddresses)
	}
	if h := n.Spec.HardwareVTEP; h != nil {
		f.endpoint("spec.hardwareVTEP.ovsdb", h.OVSDB)
		if r := h.Replication; r != "" && r != "source_node" && r != "service_node" {
			f.Add("spec.hardwareVTEP.replication", "%q is not known: use source_node or service_node", r)
		}
		if n.Spec.VSwitch != nil {
			f.Add("spec.hardwareVTEP", "can't be given together with spec.vswitch: a node is one kind of edge")
		}
		if !n.Spec.VTEP.IsValid() {
			f.Add("spec.vtep", "is missing: tunnels of a switch need an address to end at")
		}
	}
	f.evpn(n)
	f.injection(n)
	if a := n.Spec.Loopback6; a.IsValid() && !a.Is6() {
		f.Add("spec.loopback6", "%s is not an IPv6 address", a)
	}
	if r := n.Spec.Rack; r.IsValid() && (!r.Addr().Is4() || r != r.Masked()) {
		f.Add("spec.rack", "%s is not an IPv4 prefix without host bits", r)
	}
	if s := n.Spec.Serial; s != "" && CheckSerial(s) != nil {
		f.Add("spec.serial", "%v", CheckSerial(s))
	}
	if n.Spec.MAC.Multicast() {
		f.Add("spec.mac", "%s is a multicast address", n.Spec.MAC)
	}
	if m := n.Spec.Maintenance; m != "" && m != MaintenanceDrain {
		f.Add("spec.maintenance", "%q is not known: use drain, or leave it out", m)
	} else if m != "" && !n.Spec.Role.Switch() {
		f.Add("spec.maintenance", "is for switches of the underlay only, and the role is %s", n.Spec.Role)
	}
	if n.Spec.VTEP.IsValid() && (n.Spec.VTEP.IsUnspecified() || n.Spec.VTEP.IsMulticast()) {
		f.Add("spec.vtep", "%s is not a unicast address", n.Spec.VTEP)
	}
	f.colours(n)
	return f.Err()
}

// MaxColours is how many addresses a node's tunnels may end at besides its VTEP
// address.
const MaxColours = 8

func (f *Faults) colours(n *Node) {
	s := &n.Spec
	switch l := len(s.Colours); {
	case l == 0:
		return
	case l > MaxColours:
		f.Add("spec.colours", "has %d addresses: a node may have %d", l, MaxColours)
		return
	case !s.VTEP.Is4():
		f.Add("spec.vtep", "is missing, or not IPv4: colours are further addresses of a VTEP that has an IPv4 one")
	case !s.TakesColours() && !s.Role.Switch():
		f.Add("spec.colours", "is for other nodes: a switch with the hardware_vtep schema takes in what is sent to spec.vtep alone; leave it out")
	}
	for i, a := range s.Colours {
		at := fmt.Sprintf("spec.colours[%d]", i)
		switch {
		case !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
			f.Add(at, "is not a unicast IPv4 address")
		case a == s.VTEP:
			f.Add(at, "%s is spec.vtep: a colour is another address", a)
		case slices.Contains(s.Colours[:i], a):
			f.Add(at, "%s is given twice", a)
		}
	}
}

// maxSerial is the longest serial number, in bytes.
const maxSerial = 128

// CheckSerial checks the serial number of a box: 1 to 128 bytes of printable ASCII
// without spaces.
func CheckSerial(s string) error {
	if s == "" || len(s) > maxSerial {
		return fmt.Errorf("has %d characters: a serial number has 1 to %d", len(s), maxSerial)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%q is not a serial number: use printable ASCII without spaces", s)
	}
	return nil
}

func (f *Faults) evpn(n *Node) {
	s := &n.Spec
	if s.EVPN == nil {
		return
	}
	if s.VSwitch != nil || s.HardwareVTEP != nil {
		f.Add("spec.evpn", "can't be given together with spec.vswitch or spec.hardwareVTEP: a node is one kind of edge")
	}
	if !s.VTEP.IsValid() {
		f.Add("spec.vtep", "is missing: tunnels of a leaf need an address to end at")
	}
	if !s.Peer().Addr().IsValid() {
		f.Add("spec.evpn.address", "is missing, and so is spec.loopback: the controller needs an address to dial")
	}
	if s.PeerASN() == 0 {
		f.Add("spec.evpn.asn", "is missing, and so is spec.asn: the controller speaks BGP in the leaf's AS")
	}
	if len(s.EVPN.Password) > 80 {
		f.Add("spec.evpn.password", "has %d characters: TCP-MD5 takes 80 at most", len(s.EVPN.Password))
	}
}

func (f *Faults) endpoint(field, s string) {
	scheme, rest, ok := strings.Cut(s, ":")
	switch {
	case !ok || rest == "":
	case scheme == "unix":
		return
	case scheme == "tcp" || scheme == "ssl":
		if ap, err := netip.ParseAddrPort(rest); err == nil && ap.Port() != 0 {
			return
		}
	}
	f.Add(field, "%q is not an endpoint: use tcp:ADDRESS:PORT, ssl:ADDRESS:PORT or unix:PATH", s)
}

// Validate checks the link alone.
func (l *Link) Validate() error {
	f := NewFaults(l.Ref())
	f.header(l.Header, l.Metadata, KindLink)
	if len(l.Spec.Endpoints) != 2 {
		f.Add("spec.endpoints", "has %d ends: a link has two", len(l.Spec.Endpoints))
		return f.Err()
	}
	for i, e := range l.Spec.Endpoints {
		if e.Node == "" {
			f.Add(fmt.Sprintf("spec.endpoints[%d].node", i), "is missing")
		}
		if e.Interface == "" {
			f.Add(fmt.Sprintf("spec.endpoints[%d].interface", i), "is missing")
		}
	}
	if a, b := l.Spec.Endpoints[0], l.Spec.Endpoints[1]; a.Node == b.Node && a.Interface == b.Interface {
		f.Add("spec.endpoints", "both ends are %s:%s", a.Node, a.Interface)
	}
	if c, ok := l.Spec.Capacity.Bits(); !ok {
		f.Add("spec.capacity", "%q is not a rate like 500k, 10M or 1G", l.Spec.Capacity)
	} else if l.Spec.Capacity != "" && c == 0 {
		f.Add("spec.capacity", "is zero: leave it out to have what the ports report")
	}
	return f.Err()
}
