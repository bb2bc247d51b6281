package intent

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// APIVersion is the only version of the objects so far.
const APIVersion = "weft/v1"

// Kind names a type of object.
type Kind string

// The kinds, in the order in which they must be applied: what is named comes
// before what names it.
const (
	KindTenant Kind = "Tenant"
	KindNode   Kind = "Node"
	KindLink   Kind = "Link"
	// KindFabric comes after the switches and links, so that it is planned once, whole.
	KindFabric Kind = "Fabric"
	// KindExternalNetwork comes after the nodes that are its borders.
	KindExternalNetwork Kind = "ExternalNetwork"
	// KindNetworkACL comes before the networks that it judges.
	KindNetworkACL Kind = "NetworkACL"
	KindNetwork    Kind = "Network"
	// KindSecurityGroup comes before the ports that are in it.
	KindSecurityGroup Kind = "SecurityGroup"
	KindPort          Kind = "Port"
	KindRouter        Kind = "Router"
	// KindFloatingIP needs the router of its port's network.
	KindFloatingIP Kind = "FloatingIP"
	// KindInterconnect comes after the networks that it stretches.
	KindInterconnect Kind = "Interconnect"
	// KindSteeringPolicy comes after the switches and tenants that it names.
	KindSteeringPolicy Kind = "SteeringPolicy"
)

// Kinds lists all kinds in apply order; delete in the reverse order.
func Kinds() []Kind {
	return []Kind{KindTenant, KindNode, KindLink, KindFabric, KindExternalNetwork, KindNetworkACL, KindNetwork, KindSecurityGroup, KindPort, KindRouter, KindFloatingIP, KindInterconnect, KindSteeringPolicy}
}

// Tenanted reports whether objects of the kind live inside a tenant.
func (k Kind) Tenanted() bool {
	return k == KindNetwork || k == KindPort || k == KindRouter || k == KindSecurityGroup || k == KindNetworkACL || k == KindFloatingIP
}

// Phrase is the kind in a sentence, with its article.
func (k Kind) Phrase() string {
	switch k {
	case KindExternalNetwork:
		return "an external network"
	case KindFloatingIP:
		return "a floating IP"
	case KindSecurityGroup:
		return "a security group"
	case KindNetworkACL:
		return "a network ACL"
	case KindInterconnect:
		return "an interconnect"
	case KindSteeringPolicy:
		return "a steering policy"
	}
	return "a " + strings.ToLower(string(k))
}

// Plural is the kind's name in URLs and on the command line: "networks".
func (k Kind) Plural() string {
	if k == KindSteeringPolicy {
		return "steeringpolicies"
	}
	return strings.ToLower(string(k)) + "s"
}

// ParseKind accepts what people type: Network, network, networks, net.
func ParseKind(s string) (Kind, error) {
	l := strings.ToLower(s)
	for _, k := range Kinds() {
		if l == strings.ToLower(string(k)) || l == k.Plural() {
			return k, nil
		}
	}
	switch l {
	case "net", "nets":
		return KindNetwork, nil
	case "acl", "acls":
		return KindNetworkACL, nil
	case "sg", "sgs":
		return KindSecurityGroup, nil
	case "rtr", "rtrs", "vrf", "vrfs":
		return KindRouter, nil
	case "extnet", "extnets":
		return KindExternalNetwork, nil
	case "fip", "fips":
		return KindFloatingIP, nil
	case "dci", "dcis":
		return KindInterconnect, nil
	case "steering", "steer":
		return KindSteeringPolicy, nil
	}
	names := make([]string, 0, len(Kinds()))
	for _, k := range Kinds() {
		names = append(names, k.Plural())
	}
	return "", fmt.Errorf("unknown kind %q: use one of %s", s, strings.Join(names, ", "))
}

// Ref identifies an object. Tenant is empty for kinds that no tenant owns.
type Ref struct {
	Kind   Kind   `json:"kind" yaml:"kind"`
	Tenant string `json:"tenant,omitempty" yaml:"tenant,omitempty"`
	Name   string `json:"name" yaml:"name"`
}

// String gives "Network blue/web" or "Node leaf1".
func (r Ref) String() string {
	if r.Kind.Tenanted() {
		return string(r.Kind) + " " + r.Tenant + "/" + r.Name
	}
	return string(r.Kind) + " " + r.Name
}

// Metadata is common to all objects.
type Metadata struct {
	Name   string            `json:"name" yaml:"name" doc:"Name, unique per kind and tenant: lower-case letters, digits, '-', '.' and '_'" maxLength:"63"`
	Tenant string            `json:"tenant,omitempty" yaml:"tenant,omitempty" doc:"Owning tenant, for kinds that live in one"`
	Labels map[string]string `json:"labels,omitempty" yaml:"labels,omitempty" doc:"Free labels"`
	// Revision is the store's revision of the object's last change: the ETag.
	Revision int64 `json:"revision,omitempty" yaml:"revision,omitempty" doc:"Store revision of the last change; set by the server"`
	// Created is set by the server when the object is first written.
	Created *time.Time `json:"created,omitempty" yaml:"created,omitempty" doc:"Time of creation; set by the server"`
}

// Object is any of the kinds: a pointer to the struct of its name.
type Object interface {
	// Ref identifies the object.
	Ref() Ref
	// Meta gives access to the metadata.
	Meta() *Metadata
	// Validate checks the object alone, without others; it returns a
	// FieldErrors or nil.
	Validate() error
}

// New returns an empty object of a kind with kind and apiVersion filled in.
func New(k Kind) (Object, error) {
	h := Header{APIVersion: APIVersion, Kind: k}
	switch k {
	case KindTenant:
		return &Tenant{Header: h}, nil
	case KindNode:
		return &Node{Header: h}, nil
	case KindLink:
		return &Link{Header: h}, nil
	case KindFabric:
		return &Fabric{Header: h}, nil
	case KindNetworkACL:
		return &NetworkACL{Header: h}, nil
	case KindNetwork:
		return &Network{Header: h}, nil
	case KindSecurityGroup:
		return &SecurityGroup{Header: h}, nil
	case KindPort:
		return &Port{Header: h}, nil
	case KindRouter:
		return &Router{Header: h}, nil
	case KindExternalNetwork:
		return &ExternalNetwork{Header: h}, nil
	case KindFloatingIP:
		return &FloatingIP{Header: h}, nil
	case KindInterconnect:
		return &Interconnect{Header: h}, nil
	case KindSteeringPolicy:
		return &SteeringPolicy{Header: h}, nil
	}
	return nil, fmt.Errorf("unknown kind %q", k)
}

// Header is the start of each document.
type Header struct {
	APIVersion string `json:"apiVersion,omitempty" yaml:"apiVersion,omitempty" doc:"weft/v1"`
	Kind       Kind   `json:"kind,omitempty" yaml:"kind,omitempty" doc:"Kind of object"`
}

// Tenant is an owner of networks. Names and addresses of two tenants never
// meet.
type Tenant struct {
	Header   `yaml:",inline"`
	Metadata Metadata   `json:"metadata" yaml:"metadata"`
	Spec     TenantSpec `json:"spec,omitempty" yaml:"spec,omitempty"`
	Status   *Status    `json:"status,omitempty" yaml:"status,omitempty"`
}

// TenantSpec says who the tenant is, and what it may use.
type TenantSpec struct {
	Description string     `json:"description,omitempty" yaml:"description,omitempty"`
	QoS         *TenantQoS `json:"qos,omitempty" yaml:"qos,omitempty" doc:"Rate limits of all its ports of one hypervisor together"`
}

// Ref identifies the tenant.
func (t *Tenant) Ref() Ref { return Ref{KindTenant, "", t.Metadata.Name} }

// Meta returns the metadata.
func (t *Tenant) Meta() *Metadata { return &t.Metadata }

// Phase is the short word for an object's state on the devices.
type Phase string

// Phases. Ready is said only of what the devices confirmed.
const (
	PhaseReady    Phase = "Ready"
	PhasePending  Phase = "Pending"  // waits for a device or for a binding
	PhaseDegraded Phase = "Degraded" // works, but some device lacks it
	PhaseFailed   Phase = "Failed"   // a device refused it
)

// Status is what the devices say about an object. It is computed, not stored.
type Status struct {
	Phase Phase `json:"phase,omitempty" yaml:"phase,omitempty" doc:"Ready, Pending, Degraded or Failed, from the devices"`
	// Applied is the object's revision that every device concerned confirmed;
	// zero when none is.
	Applied int64 `json:"applied,omitempty" yaml:"applied,omitempty" doc:"Revision confirmed by all devices that carry the object"`
	// Reasons tell for each device that is waited for what it says and what
	// to do.
	Reasons []Reason `json:"reasons,omitempty" yaml:"reasons,omitempty" doc:"Why the object is not Ready, one entry per device"`

	// Port status.
	Node      string `json:"node,omitempty" yaml:"node,omitempty" doc:"Port: node on which the port was found"`
	Interface string `json:"interface,omitempty" yaml:"interface,omitempty" doc:"Port: interface on that node"`
	VTEP      string `json:"vtep,omitempty" yaml:"vtep,omitempty" doc:"Port, hypervisor: VTEP address"`
	// Requested is where the port is being moved to, once that place is there.
	Requested string `json:"requested,omitempty" yaml:"requested,omitempty" doc:"Port: NODE:INTERFACE that is prepared for it while it moves"`
	// Network status.
	VTEPs []string `json:"vteps,omitempty" yaml:"vteps,omitempty" doc:"Network: VTEPs that carry it"`
	Ports *Counts  `json:"ports,omitempty" yaml:"ports,omitempty" doc:"Network, router, security group, network ACL: ports in all and ports Ready"`
	// Router status.
	Gateways []string `json:"gateways,omitempty" yaml:"gateways,omitempty" doc:"Router: NETWORK ADDRESS for each of its gateways"`
	// Node status.
	Software string `json:"software,omitempty" yaml:"software,omitempty" doc:"Node: software and version that it reports"`
	Flows    int    `json:"flows,omitempty" yaml:"flows,omitempty" doc:"Node: our flows, read from the device"`
	// Maintenance is how far a switch is drained.
	Maintenance *MaintenanceStatus `json:"maintenance,omitempty" yaml:"maintenance,omitempty" doc:"Node: how far a drain has come, from the switch itself"`
	// Underlay is what a switch's agent says of the state that it fetched.
	Underlay *UnderlayStatus `json:"underlay,omitempty" yaml:"underlay,omitempty" doc:"Node: the underlay state of a switch, as its agent confirmed it"`
	// Fabric status.
	Switches *Counts `json:"switches,omitempty" yaml:"switches,omitempty" doc:"Fabric: switches in all and those that confirmed their present state"`
	// Session is the BGP session of an EVPN leaf.
	Session *BGPSession `json:"session,omitempty" yaml:"session,omitempty" doc:"Node: BGP session with an EVPN leaf"`
	// Outside are the sessions of an external network's borders.
	Outside []OutsideSession `json:"outside,omitempty" yaml:"outside,omitempty" doc:"External network: BGP sessions of its borders with routers outside"`
	// Interconnect status.
	Peers     []PeerSession   `json:"peers,omitempty" yaml:"peers,omitempty" doc:"Interconnect: BGP sessions with the other fabric"`
	Stretched []StretchedView `json:"stretched,omitempty" yaml:"stretched,omitempty" doc:"Interconnect: what crosses of each network"`
	Lines     []LineView      `json:"lines,omitempty" yaml:"lines,omitempty" doc:"Interconnect: its lines, as their border leaves see them"`
	// Steered are the routes of a steering policy.
	Steered []SteeredRoute `json:"steered,omitempty" yaml:"steered,omitempty" doc:"Steering policy: routes of leaves that it makes or changes"`
	// Given are the colours that tenants were given for the traffic of a policy of action auto.
	Given []GivenColour `json:"given,omitempty" yaml:"given,omitempty" doc:"Steering policy of action auto: tenants that were given a colour, so that their elephants go apart from others' mice"`
}

// GivenColour is a colour that the optimiser gave a tenant.
type GivenColour struct {
	Tenant  string    `json:"tenant" yaml:"tenant" doc:"Whose traffic has the colour"`
	Colour  int       `json:"colour" yaml:"colour" doc:"The colour, from 1"`
	Policy  string    `json:"policy,omitempty" yaml:"policy,omitempty" doc:"For whose traffic it was given"`
	Since   time.Time `json:"since,omitzero" yaml:"since,omitempty" doc:"When it was given"`
	Rate    float64   `json:"rate" yaml:"rate" doc:"bit/s of the tenant's elephants"`
	With    float64   `json:"with" yaml:"with" doc:"Utilisation of the most utilised link, 1 being its capacity"`
	Without float64   `json:"without" yaml:"without" doc:"What that could be were the elephants hashed among all else; in the step in which the colour was given, the least that it could have been without"`
}

// UnderlayStatus is the state of one switch.
type UnderlayStatus struct {
	Wanted   string `json:"wanted,omitempty" yaml:"wanted,omitempty" doc:"Hash of the state that the switch is to have"`
	Applied  string `json:"applied,omitempty" yaml:"applied,omitempty" doc:"Hash of the state that its agent has put in place"`
	Revision uint64 `json:"revision,omitempty" yaml:"revision,omitempty" doc:"Store revision at which the wanted state last changed"`
}

// OutsideSession is the BGP session of a border with a router outside, as the
// border sees it.
type OutsideSession struct {
	Node      string     `json:"node" yaml:"node" doc:"The border"`
	Peer      netip.Addr `json:"peer" yaml:"peer" doc:"The router outside"`
	ASN       uint32     `json:"asn" yaml:"asn" doc:"Its autonomous system"`
	State     string     `json:"state" yaml:"state" doc:"State of the session (RFC 4271 section 8.2.2), or Unknown while the border is silent"`
	Since     time.Time  `json:"since,omitzero" yaml:"since,omitempty" doc:"When it was established"`
	Taken     int        `json:"taken" yaml:"taken" doc:"Prefixes that were learned and passed the filter"`
	Announced int        `json:"announced" yaml:"announced" doc:"Prefixes that the router outside was told"`
}

// Counts are ports of a network or tenant.
type Counts struct {
	Total int `json:"total" yaml:"total"`
	Ready int `json:"ready" yaml:"ready"`
}

// Reason is one cause for an object not to be Ready.
type Reason struct {
	Device  string `json:"device,omitempty" yaml:"device,omitempty" doc:"Device waited for"`
	Code    string `json:"code" yaml:"code" doc:"One word for programs: Unreachable, NotBound, ..."`
	Message string `json:"message" yaml:"message" doc:"The device's own words where it said any"`
	Action  string `json:"action,omitempty" yaml:"action,omitempty" doc:"What to do about it"`
}

// BGPSession is the controller's session with an EVPN leaf, as the speaker sees
// it.
type BGPSession struct {
	State      string    `json:"state" yaml:"state" doc:"State of the session: Idle, Connect, Active, OpenSent, OpenConfirm or Established (RFC 4271 section 8.2.2)"`
	Since      time.Time `json:"since,omitzero" yaml:"since,omitempty" doc:"When it was established, or lost"`
	Received   uint64    `json:"received" yaml:"received" doc:"EVPN routes that the peer announces now"`
	Advertised uint64    `json:"advertised" yaml:"advertised" doc:"EVPN routes announced to it"`
	Updates    Traffic   `json:"updates" yaml:"updates" doc:"UPDATE messages"`
	Flaps      uint32    `json:"flaps" yaml:"flaps" doc:"Times that an established session was lost"`
	Malformed  uint64    `json:"malformed,omitempty" yaml:"malformed,omitempty" doc:"Routes taken as withdrawn because their UPDATE was malformed (RFC 7606)"`
	LastError  string    `json:"lastError,omitempty" yaml:"lastError,omitempty" doc:"Why the session is not established, or was lost last"`
	Synced     bool      `json:"synced" yaml:"synced" doc:"The peer has announced all that it has (End-of-RIB)"`
	Restarting bool      `json:"restarting,omitempty" yaml:"restarting,omitempty" doc:"The peer is away and its routes are kept (RFC 4724)"`
}

// PeerSession is the session with one speaker of another fabric.
type PeerSession struct {
	Peer       string `json:"peer" yaml:"peer" doc:"Address of the peer"`
	BGPSession `yaml:",inline"`
}

// StretchedView is what crosses of a network, as the tables have it now.
type StretchedView struct {
	Network  string   `json:"network" yaml:"network" doc:"TENANT/NAME"`
	VNI      VNI      `json:"vni" yaml:"vni" doc:"L2VNI of the network here"`
	Sent     int      `json:"sent" yaml:"sent" doc:"EVPN routes announced to the other fabric"`
	Received int      `json:"received" yaml:"received" doc:"EVPN routes that the other fabric announces"`
	Used     int      `json:"used" yaml:"used" doc:"Rows of the network's table that lead to the other fabric"`
	VTEPs    []string `json:"vteps,omitempty" yaml:"vteps,omitempty" doc:"VTEPs of the other fabric that have the network"`
}

// SteeredRoute is a route that a leaf is given in place of the one that it has.
type SteeredRoute struct {
	Device string       `json:"device" yaml:"device" doc:"The leaf"`
	Prefix netip.Prefix `json:"prefix" yaml:"prefix" doc:"VTEP or rack"`
	To     string       `json:"to" yaml:"to" doc:"Node that has the prefix"`
	Policy string       `json:"policy,omitempty" yaml:"policy,omitempty" doc:"That decides, or took ways away"`
	// Colour is set for traffic of one tenant or network, which is sent to addresses of
	// its own.
	Colour  int          `json:"colour,omitempty" yaml:"colour,omitempty" doc:"Of the addresses in the prefix, and of the traffic that is sent to them"`
	Tenant  string       `json:"tenant,omitempty" yaml:"tenant,omitempty" doc:"Whose traffic has the colour"`
	Network string       `json:"network,omitempty" yaml:"network,omitempty" doc:"The tenant's network whose traffic has it, when only that of one has"`
	Before  []SteeredHop `json:"before,omitempty" yaml:"before,omitempty" doc:"Next hops without the policy"`
	After   []SteeredHop `json:"after,omitempty" yaml:"after,omitempty" doc:"Next hops with it"`
	// State is what the leaf says: Ready when its kernel has the next hops.
	State Phase `json:"state,omitempty" yaml:"state,omitempty" doc:"Ready, Pending, Degraded or Failed, from the leaf"`
}

// SteeredHop is a next hop of a leaf.
type SteeredHop struct {
	Switch    string     `json:"switch" yaml:"switch"`
	Interface string     `json:"interface" yaml:"interface" doc:"Of the leaf"`
	Address   netip.Addr `json:"address" yaml:"address"`
	Weight    int        `json:"weight" yaml:"weight"`
}

// Traffic counts messages in both directions.
type Traffic struct {
	In  uint64 `json:"in" yaml:"in"`
	Out uint64 `json:"out" yaml:"out"`
}
