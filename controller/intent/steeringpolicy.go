package intent

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// SteeringPolicy says which ways some of the underlay's traffic takes. It is the
// operator's; no tenant owns it.
type SteeringPolicy struct {
	Header   `yaml:",inline"`
	Metadata Metadata           `json:"metadata" yaml:"metadata"`
	Spec     SteeringPolicySpec `json:"spec" yaml:"spec"`
	Status   *Status            `json:"status,omitempty" yaml:"status,omitempty"`
}

// SteeringPolicySpec is what a policy asks for: exactly one of Pin, Avoid, Weight,
// Auto and Freeze.
type SteeringPolicySpec struct {
	Priority int           `json:"priority,omitempty" yaml:"priority,omitempty" doc:"The higher one is heard first; 0 when left out"`
	Scope    SteeringScope `json:"scope,omitzero" yaml:"scope,omitempty" doc:"The traffic that it is about; all when left out"`

	Pin    *SteeringPin   `json:"pin,omitempty" yaml:"pin,omitempty" doc:"By these next switches only, evenly"`
	Avoid  *SteeringAvoid `json:"avoid,omitempty" yaml:"avoid,omitempty" doc:"By no way that has one of these"`
	Weight map[string]int `json:"weight,omitempty" yaml:"weight,omitempty" doc:"By these next switches in these proportions, each 1 to 64; parallel links share"`
	Auto   *SteeringAuto  `json:"auto,omitempty" yaml:"auto,omitempty" doc:"As the optimiser says, for the traffic that is measured"`
	// Freeze is a hard stop: while there is such a policy, leaves keep the routes
	// that they were given, but for those that lead nowhere.
	Freeze bool `json:"freeze,omitempty" yaml:"freeze,omitempty" doc:"Hard stop: while this is there nothing is steered otherwise than it is, and what leads nowhere is withdrawn"`

	Until     time.Time `json:"until,omitzero" yaml:"until,omitempty" doc:"When the policy ends (RFC 3339); never when left out"`
	Suspended bool      `json:"suspended,omitempty" yaml:"suspended,omitempty" doc:"The policy is kept, and does nothing"`
}

// SteeringScope is the traffic that a policy is about; an empty field means any.
type SteeringScope struct {
	From      string `json:"from,omitempty" yaml:"from,omitempty" doc:"Leaf at which the traffic begins, or behind which"`
	To        string `json:"to,omitempty" yaml:"to,omitempty" doc:"Leaf at which it ends, or behind which"`
	Tenant    string `json:"tenant,omitempty" yaml:"tenant,omitempty" doc:"Only what is this tenant's"`
	Network   string `json:"network,omitempty" yaml:"network,omitempty" doc:"Only what is of this network of the tenant"`
	Direction string `json:"direction,omitempty" yaml:"direction,omitempty" doc:"forward (default): from From to To; both: also the way back" enum:"forward,both"`
}

// SteeringPin names next switches.
type SteeringPin struct {
	Via []string `json:"via" yaml:"via" doc:"Next switches, as the leaf sees them: spines" minItems:"1"`
}

// SteeringAvoid names interfaces (leaf1:eth2) and switches.
type SteeringAvoid struct {
	Links []string `json:"links,omitempty" yaml:"links,omitempty" doc:"Interfaces, such as leaf1:eth2: either end of a link"`
	Nodes []string `json:"nodes,omitempty" yaml:"nodes,omitempty" doc:"Switches"`
}

// SteeringAuto names the objective, and bounds what is steered for it.
type SteeringAuto struct {
	Objective string `json:"objective,omitempty" yaml:"objective,omitempty" doc:"min-max-utilisation: the most utilised link is to be utilised least" enum:"min-max-utilisation"`
	Most      int    `json:"most,omitempty" yaml:"most,omitempty" doc:"How many pairs of leaf and VTEP are steered at most, those with the most traffic; the others stay on ECMP. All when left out" minimum:"0" maximum:"100000"`
	// Colours is nil for as many as there are.
	Colours *int `json:"colours,omitempty" yaml:"colours,omitempty" doc:"How many tenants are given a colour by it at most, of those that policies leave over, to part their elephants from the others' mice; 0 for none, as many as there are when left out" minimum:"0" maximum:"8"`
}

// MinMaxUtilisation is the only objective: the most utilised link is to be utilised
// least.
const MinMaxUtilisation = "min-max-utilisation"

// Bounds of a steering policy.
const (
	MaxSteeringWeight   = 64
	maxSteeringPriority = 1 << 30
	maxSteeringNames    = 64
	maxSteeringMost     = 100_000
)

// Directions of a steering policy.
const (
	SteerForward = "forward"
	SteerBoth    = "both"
)

// Injection tells how the controller announces routes to a leaf that are for it alone,
// by internal BGP (see SteeringPolicy).
type Injection struct {
	Address  netip.Addr `json:"address" yaml:"address" doc:"BGP address of the leaf's bgpd"`
	Port     uint16     `json:"port,omitempty" yaml:"port,omitempty" doc:"TCP port; 179 when left out"`
	Password string     `json:"password,omitempty" yaml:"password,omitempty" doc:"TCP-MD5 password (RFC 2385)"`
}

// At is where the leaf's bgpd is dialled.
func (i Injection) At() netip.AddrPort {
	if i.Port == 0 {
		return netip.AddrPortFrom(i.Address, 179)
	}
	return netip.AddrPortFrom(i.Address, i.Port)
}

// Ref identifies the policy.
func (p *SteeringPolicy) Ref() Ref { return Ref{KindSteeringPolicy, "", p.Metadata.Name} }

// Meta returns the metadata.
func (p *SteeringPolicy) Meta() *Metadata { return &p.Metadata }

// Action is the word for what the policy asks for: pin, avoid, weight, auto or freeze.
func (s *SteeringPolicySpec) Action() string {
	switch {
	case s.Pin != nil:
		return "pin"
	case s.Avoid != nil:
		return "avoid"
	case s.Weight != nil:
		return "weight"
	case s.Auto != nil:
		return "auto"
	case s.Freeze:
		return "freeze"
	}
	return ""
}

// Via are the next switches of a pin or weights, in order.
func (s *SteeringPolicySpec) Via() []string {
	if s.Pin != nil {
		return s.Pin.Via
	}
	return slices.Sorted(maps.Keys(s.Weight))
}

// Active reports whether the policy does something at a time.
func (s *SteeringPolicySpec) Active(now time.Time) bool {
	return !s.Suspended && (s.Until.IsZero() || s.Until.After(now))
}

// Validate checks the policy alone.
func (p *SteeringPolicy) Validate() error {
	f, s := NewFaults(p.Ref()), &p.Spec
	f.header(p.Header, p.Metadata, KindSteeringPolicy)
	given := 0
	for _, g := range []bool{s.Pin != nil, s.Avoid != nil, s.Weight != nil, s.Auto != nil, s.Freeze} {
		if g {
			given++
		}
	}
	if given != 1 {
		f.Add("spec", "exactly one of pin, avoid, weight, auto and freeze is expected, there are %d", given)
	}
	if s.Priority < -maxSteeringPriority || s.Priority > maxSteeringPriority {
		f.Add("spec.priority", "%d is outside -%d..%d", s.Priority, maxSteeringPriority, maxSteeringPriority)
	}
	f.steeringScope(s)
	if s.Pin != nil {
		f.steeringNames("spec.pin.via", s.Pin.Via, "switch")
	}
	if a := s.Avoid; a != nil {
		if len(a.Links)+len(a.Nodes) == 0 {
			f.Add("spec.avoid", "is empty: name links or nodes")
		}
		if len(a.Links) > 0 {
			f.steeringNames("spec.avoid.links", a.Links, "link")
		}
		if len(a.Nodes) > 0 {
			f.steeringNames("spec.avoid.nodes", a.Nodes, "switch")
		}
	}
	if s.Weight != nil {
		f.steeringNames("spec.weight", slices.Sorted(maps.Keys(s.Weight)), "switch with its weight")
	}
	for _, via := range slices.Sorted(maps.Keys(s.Weight)) {
		if w := s.Weight[via]; w < 1 || w > MaxSteeringWeight {
			f.Add("spec.weight."+via, "%d is outside 1..%d", w, MaxSteeringWeight)
		}
	}
	if a := s.Auto; a != nil && a.Objective != "" && a.Objective != MinMaxUtilisation {
		f.Add("spec.auto.objective", "%q is not known: use %s", a.Objective, MinMaxUtilisation)
	}
	if a := s.Auto; a != nil && (a.Most < 0 || a.Most > maxSteeringMost) {
		f.Add("spec.auto.most", "%d is outside 0..%d", a.Most, maxSteeringMost)
	}
	if a := s.Auto; a != nil && a.Colours != nil && (*a.Colours < 0 || *a.Colours > MaxColours) {
		f.Add("spec.auto.colours", "%d is outside 0..%d", *a.Colours, MaxColours)
	}
	return f.Err()
}

func (f *Faults) steeringScope(s *SteeringPolicySpec) {
	c := s.Scope
	switch {
	case s.Freeze && c != (SteeringScope{}):
		f.Add("spec.scope", "must be left out: a freeze is of the whole fabric")
	case c.From != "" && c.From == c.To:
		f.Add("spec.scope", "the traffic goes from %s to itself", c.From)
	}
	if c.Network != "" && c.Tenant == "" {
		f.Add("spec.scope.network", "goes with tenant: say whose network it is")
	}
	if d := c.Direction; d != "" && d != SteerForward && d != SteerBoth {
		f.Add("spec.scope.direction", "%q is not known: use %s or %s", d, SteerForward, SteerBoth)
	}
	for field, name := range map[string]string{"tenant": c.Tenant, "network": c.Network} {
		if name != "" {
			f.name("spec.scope."+field, name)
		}
	}
}

// steeringNames checks a list of names of switches or interfaces.
func (f *Faults) steeringNames(field string, names []string, what string) {
	if len(names) == 0 {
		f.Add(field, "is empty: name at least one %s", what)
	}
	if len(names) > maxSteeringNames {
		f.Add(field, "has %d: a policy may have %d", len(names), maxSteeringNames)
		return
	}
	for i, n := range names {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch node, iface, ok := strings.Cut(n, ":"); {
		case n == "":
			f.Add(at, "is empty")
		case slices.Contains(names[:i], n):
			f.Add(at, "%s is given twice", n)
		case what == "link" && (!ok || node == "" || iface == ""):
			f.Add(at, "%q is not an interface like leaf1:eth2", n)
		}
	}
}

// injection checks how a leaf is told of its routes.
func (f *Faults) injection(n *Node) {
	i := n.Spec.Injection
	switch {
	case i == nil:
		return
	case n.Spec.Role != RoleLeaf && n.Spec.Role != RoleBorder:
		f.Add("spec.injection", "goes with leaves and borders: a %s chooses no first link", n.Spec.Role)
	case n.Spec.ASN == 0:
		f.Add("spec.asn", "is missing: with injection the controller is an internal BGP peer")
	}
	if a := i.Address; !a.Is4() || a.IsUnspecified() || a.IsMulticast() {
		f.Add("spec.injection.address", "is not a unicast IPv4 address")
	}
	if l := len(i.Password); l > maxPassword {
		f.Add("spec.injection.password", "has %d octets: TCP-MD5 takes %d", l, maxPassword)
	}
}
