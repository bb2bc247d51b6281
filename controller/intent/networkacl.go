package intent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// NetworkACL is an ordered list of rules that allow or deny, for networks of its
// tenant that name it: it judges what crosses the border of a subnet, packet by
// packet. It is stateless: answers need a rule of their own. The first rule that
// matches decides; what none matches is denied.
type NetworkACL struct {
	Header   `yaml:",inline"`
	Metadata Metadata       `json:"metadata" yaml:"metadata"`
	Spec     NetworkACLSpec `json:"spec" yaml:"spec"`
	Status   *Status        `json:"status,omitempty" yaml:"status,omitempty"`
}

// NetworkACLSpec are the rules, the first first.
type NetworkACLSpec struct {
	Description string    `json:"description,omitempty" yaml:"description,omitempty" doc:"Free text"`
	Rules       []ACLRule `json:"rules,omitempty" yaml:"rules,omitempty" doc:"Rules in their order: the first that matches a packet decides; what none matches is denied" maxItems:"256"`
}

// MaxACLRules of a NetworkACL.
const MaxACLRules = 256

// ACLRule allows or denies packets of one direction. A field that is left out
// matches all.
type ACLRule struct {
	Action      ACLAction    `json:"action" yaml:"action" doc:"allow or deny" enum:"allow,deny"`
	Direction   Direction    `json:"direction" yaml:"direction" doc:"ingress: what enters the subnet; egress: what leaves it" enum:"ingress,egress"`
	Protocol    Protocol     `json:"protocol,omitempty" yaml:"protocol,omitempty" doc:"tcp, udp, sctp, icmp, icmpv6, or an IP protocol number; any when left out" pattern:"^(tcp|udp|sctp|icmp|icmpv6|[0-9]{1,3})$" patternDescription:"tcp, udp, sctp, icmp, icmpv6 or a number from 0 to 255"`
	Ports       PortRange    `json:"ports,omitzero" yaml:"ports,omitempty" doc:"Destination port or range such as 80 or 8000-8080, with tcp, udp and sctp; all when left out" pattern:"^[0-9]{1,5}(-[0-9]{1,5})?$" patternDescription:"a port like 80 or a range like 8000-8080"`
	SourcePorts PortRange    `json:"sourcePorts,omitzero" yaml:"sourcePorts,omitempty" doc:"Source port or range, with tcp, udp and sctp; all when left out" pattern:"^[0-9]{1,5}(-[0-9]{1,5})?$" patternDescription:"a port like 80 or a range like 8000-8080"`
	ICMPType    *uint8       `json:"icmpType,omitempty" yaml:"icmpType,omitempty" doc:"ICMP type, with icmp and icmpv6; all when left out" minimum:"0" maximum:"255"`
	ICMPCode    *uint8       `json:"icmpCode,omitempty" yaml:"icmpCode,omitempty" doc:"ICMP code, with icmpType; all when left out" minimum:"0" maximum:"255"`
	Source      netip.Prefix `json:"source,omitzero" yaml:"source,omitempty" doc:"Source addresses; any when left out" pattern:"^[0-9A-Fa-f:.]+/[0-9]{1,3}$" patternDescription:"a prefix like 192.0.2.0/24"`
	Destination netip.Prefix `json:"destination,omitzero" yaml:"destination,omitempty" doc:"Destination addresses; any when left out" pattern:"^[0-9A-Fa-f:.]+/[0-9]{1,3}$" patternDescription:"a prefix like 192.0.2.0/24"`
}

// ACLAction is what a rule does.
type ACLAction string

// Actions.
const (
	Allow ACLAction = "allow"
	Deny  ACLAction = "deny"
)

// SubnetACL says which NetworkACL judges what crosses the border of a subnet.
type SubnetACL struct {
	ACL string `json:"acl" yaml:"acl" doc:"NetworkACL of the same tenant" minLength:"1" maxLength:"63"`
	// Subnet is zero for the whole network: its subnets that have no other.
	Subnet netip.Prefix `json:"subnet,omitzero" yaml:"subnet,omitempty" doc:"Subnet of the network; all that have no other when left out" pattern:"^[0-9A-Fa-f:.]+/[0-9]{1,3}$" patternDescription:"a prefix like 192.0.2.0/24"`
}

// Ref identifies the ACL.
func (a *NetworkACL) Ref() Ref { return Ref{KindNetworkACL, a.Metadata.Tenant, a.Metadata.Name} }

// Meta returns the metadata.
func (a *NetworkACL) Meta() *Metadata { return &a.Metadata }

// ACLRef is the ACL that an entry of ACLs names.
func (n *Network) ACLRef(s SubnetACL) Ref { return Ref{KindNetworkACL, n.Metadata.Tenant, s.ACL} }

// ACLRefs are the ACLs that the network names, each once.
func (n *Network) ACLRefs() []Ref {
	var out []Ref
	for _, s := range n.Spec.ACLs {
		if r := n.ACLRef(s); !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

// Families are the IP versions of which a rule speaks.
func (r ACLRule) Families() (v4, v6 bool) {
	n, _ := r.Protocol.Number()
	v4, v6 = n != 58, n != 1
	for _, p := range []netip.Prefix{r.Source, r.Destination} {
		if p.IsValid() {
			v4, v6 = v4 && p.Addr().Is4(), v6 && p.Addr().Is6()
		}
	}
	return v4, v6
}

// Equal reports whether two rules are the same.
func (r ACLRule) Equal(o ACLRule) bool {
	same := func(a, b *uint8) bool { return a == b || a != nil && b != nil && *a == *b }
	return same(r.ICMPType, o.ICMPType) && same(r.ICMPCode, o.ICMPCode) && r.Action == o.Action && r.Direction == o.Direction && r.Protocol == o.Protocol &&
		r.Ports == o.Ports && r.SourcePorts == o.SourcePorts && r.Source == o.Source && r.Destination == o.Destination
}

// String is the rule in words: "allow ingress tcp to port 80 from 192.0.2.0/24".
func (r ACLRule) String() string { return string(r.Action) + " " + r.match() }

// match is what the rule matches, in words.
func (r ACLRule) match() string {
	words := []string{string(r.Direction)}
	if r.Protocol == "" {
		words = append(words, "any protocol")
	} else {
		words = append(words, string(r.Protocol))
	}
	if r.ICMPType != nil {
		words = append(words, fmt.Sprintf("type %d", *r.ICMPType))
	}
	if r.ICMPCode != nil {
		words = append(words, fmt.Sprintf("code %d", *r.ICMPCode))
	}
	end := func(side string, p netip.Prefix, ports PortRange) {
		switch {
		case p.IsValid() && !ports.IsZero():
			words = append(words, side, p.String(), "port", ports.String())
		case p.IsValid():
			words = append(words, side, p.String())
		case !ports.IsZero():
			words = append(words, side, "port", ports.String())
		}
	}
	end("from", r.Source, r.SourcePorts)
	end("to", r.Destination, r.Ports)
	return strings.Join(words, " ")
}

// Validate checks the ACL alone.
func (a *NetworkACL) Validate() error {
	f := NewFaults(a.Ref())
	f.header(a.Header, a.Metadata, KindNetworkACL)
	if n := len(a.Spec.Rules); n > MaxACLRules {
		f.Add("spec.rules", "has %d rules: an ACL may have %d", n, MaxACLRules)
	}
	for i, r := range a.Spec.Rules {
		field := fmt.Sprintf("spec.rules[%d]", i)
		f.aclRule(field, r)
		if j := slices.IndexFunc(a.Spec.Rules[:i], func(o ACLRule) bool { return o.match() == r.match() }); j >= 0 {
			f.Add(field, "never decides: spec.rules[%d] matches the same, and comes first", j)
		}
	}
	return f.Err()
}

func (f *Faults) aclRule(field string, r ACLRule) {
	if r.Action != Allow && r.Action != Deny {
		f.Add(field+".action", "%q is not known: use allow or deny", r.Action)
	}
	f.traffic(field, r.Direction, r.Protocol, r.ICMPType, r.ICMPCode)
	f.ports(field+".ports", r.Protocol, r.Ports)
	f.ports(field+".sourcePorts", r.Protocol, r.SourcePorts)
	f.side(field+".source", r.Protocol, r.Source)
	f.side(field+".destination", r.Protocol, r.Destination)
	if s, d := r.Source, r.Destination; s.IsValid() && d.IsValid() && s.Addr().Is4() != d.Addr().Is4() {
		f.Add(field+".destination", "%s is of another IP version than source (%s): nothing matches both", d, s)
	}
}

// acls checks a network's ACLs against its subnets.
func (f *Faults) acls(n *Network) {
	if len(n.Spec.ACLs) > 0 && len(n.Spec.Subnets) == 0 {
		f.Add("spec.acls", "goes with spec.subnets: without subnets there is no border to cross")
	}
	for i, s := range n.Spec.ACLs {
		field := fmt.Sprintf("spec.acls[%d]", i)
		f.name(field+".acl", s.ACL)
		if s.Subnet != (netip.Prefix{}) && !slices.Contains(n.Spec.Subnets, s.Subnet) {
			f.Add(field+".subnet", "%s is not among spec.subnets", s.Subnet)
			continue
		}
		j := slices.IndexFunc(n.Spec.ACLs[:i], func(o SubnetACL) bool { return o.Subnet == s.Subnet })
		switch {
		case j < 0:
		case s.Subnet.IsValid():
			f.Add(field+".subnet", "%s has an ACL already: spec.acls[%d]; put the rules into one", s.Subnet, j)
		default:
			f.Add(field+".subnet", "is missing: spec.acls[%d] is for the whole network already", j)
		}
	}
}
