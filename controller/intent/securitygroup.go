package intent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// SecurityGroup is a set of ports of a tenant and what they may receive and
// send. Rules are stateful and only allow: replies to what was allowed pass. A
// port that is in a group receives nothing that no rule allows; it sends
// anything until one of its groups has an egress rule.
type SecurityGroup struct {
	Header   `yaml:",inline"`
	Metadata Metadata          `json:"metadata" yaml:"metadata"`
	Spec     SecurityGroupSpec `json:"spec" yaml:"spec"`
	Status   *Status           `json:"status,omitempty" yaml:"status,omitempty"`
}

// SecurityGroupSpec are the group's rules.
type SecurityGroupSpec struct {
	// ID names the group on devices.
	ID          uint32         `json:"id,omitempty" yaml:"id,omitempty" doc:"Number of the group on devices, 1 to 16777215; allocated when left out" minimum:"0" maximum:"16777215"`
	Description string         `json:"description,omitempty" yaml:"description,omitempty" doc:"Free text"`
	Rules       []SecurityRule `json:"rules,omitempty" yaml:"rules,omitempty" doc:"What is allowed"`
}

// MaxGroupID is the largest number of a group.
const MaxGroupID = 1<<24 - 1

// SecurityRule allows connections in one direction.
type SecurityRule struct {
	Direction Direction    `json:"direction" yaml:"direction" doc:"ingress: what ports of the group may receive; egress: what they may send" enum:"ingress,egress"`
	Protocol  Protocol     `json:"protocol,omitempty" yaml:"protocol,omitempty" doc:"tcp, udp, sctp, icmp, icmpv6, or an IP protocol number; any when left out" pattern:"^(tcp|udp|sctp|icmp|icmpv6|[0-9]{1,3})$" patternDescription:"tcp, udp, sctp, icmp, icmpv6 or a number from 0 to 255"`
	Ports     PortRange    `json:"ports,omitzero" yaml:"ports,omitempty" doc:"Destination port or range such as 80 or 8000-8080, with tcp, udp and sctp; all when left out" pattern:"^[0-9]{1,5}(-[0-9]{1,5})?$" patternDescription:"a port like 80 or a range like 8000-8080"`
	ICMPType  *uint8       `json:"icmpType,omitempty" yaml:"icmpType,omitempty" doc:"ICMP type, with icmp and icmpv6; all when left out" minimum:"0" maximum:"255"`
	ICMPCode  *uint8       `json:"icmpCode,omitempty" yaml:"icmpCode,omitempty" doc:"ICMP code, with icmpType; all when left out" minimum:"0" maximum:"255"`
	CIDR      netip.Prefix `json:"cidr,omitzero" yaml:"cidr,omitempty" doc:"Addresses of the other side; any when cidr and group are left out" pattern:"^[0-9A-Fa-f:.]+/[0-9]{1,3}$" patternDescription:"a prefix like 192.0.2.0/24"`
	Group     string       `json:"group,omitempty" yaml:"group,omitempty" doc:"Security group of the same tenant that the other side is in, instead of cidr" minLength:"1" maxLength:"63"`
}

// Direction is seen from the port: ingress is what it receives.
type Direction string

// Directions.
const (
	Ingress Direction = "ingress"
	Egress  Direction = "egress"
)

// Protocol is an IP protocol by name or number; empty for any.
type Protocol string

// Number is the protocol's number (IANA, Assigned Internet Protocol Numbers); ok
// is false for any.
func (p Protocol) Number() (n uint8, ok bool) {
	switch p {
	case "":
		return 0, false
	case "icmp":
		return 1, true
	case "tcp":
		return 6, true
	case "udp":
		return 17, true
	case "icmpv6":
		return 58, true
	case "sctp":
		return 132, true
	}
	u, err := strconv.ParseUint(string(p), 10, 8)
	return uint8(u), err == nil
}

// HasPorts reports whether the protocol has ports.
func (p Protocol) HasPorts() bool {
	n, ok := p.Number()
	return ok && (n == 6 || n == 17 || n == 132)
}

// PortRange is a range of transport ports, both ends included. The zero value
// means all.
type PortRange struct{ First, Last uint16 }

// IsZero reports whether all ports are meant.
func (r PortRange) IsZero() bool { return r == PortRange{} }

// String is 80 or 8000-8080.
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// MarshalText writes what UnmarshalText reads.
func (r PortRange) MarshalText() ([]byte, error) {
	if r.IsZero() {
		return nil, nil
	}
	return []byte(r.String()), nil
}

// UnmarshalText reads a port or a range.
func (r *PortRange) UnmarshalText(b []byte) error {
	*r = PortRange{}
	if len(b) == 0 {
		return nil
	}
	first, last, ranged := strings.Cut(string(b), "-")
	if !ranged {
		last = first
	}
	lo, err1 := strconv.ParseUint(first, 10, 16)
	hi, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || lo == 0 || lo > hi {
		return fmt.Errorf("%q is not a port like 80 or a range like 8000-8080", b)
	}
	*r = PortRange{uint16(lo), uint16(hi)}
	return nil
}

// Ref identifies the group.
func (g *SecurityGroup) Ref() Ref { return Ref{KindSecurityGroup, g.Metadata.Tenant, g.Metadata.Name} }

// Meta returns the metadata.
func (g *SecurityGroup) Meta() *Metadata { return &g.Metadata }

// GroupRef is the group that a rule names; the zero Ref when it names none.
func (g *SecurityGroup) GroupRef(r SecurityRule) Ref {
	if r.Group == "" {
		return Ref{}
	}
	return Ref{KindSecurityGroup, g.Metadata.Tenant, r.Group}
}

// Families are the IP versions of which a rule speaks.
func (r SecurityRule) Families() (v4, v6 bool) {
	n, _ := r.Protocol.Number()
	v4 = (!r.CIDR.IsValid() || r.CIDR.Addr().Is4()) && n != 58
	v6 = (!r.CIDR.IsValid() || r.CIDR.Addr().Is6()) && n != 1
	return v4, v6
}

// String is the rule in words: "ingress tcp 80 from group web".
func (r SecurityRule) String() string {
	words := []string{string(r.Direction)}
	if r.Protocol == "" {
		words = append(words, "any protocol")
	} else {
		words = append(words, string(r.Protocol))
	}
	if !r.Ports.IsZero() {
		words = append(words, r.Ports.String())
	}
	if r.ICMPType != nil {
		words = append(words, fmt.Sprintf("type %d", *r.ICMPType))
	}
	if r.ICMPCode != nil {
		words = append(words, fmt.Sprintf("code %d", *r.ICMPCode))
	}
	side := "from"
	if r.Direction == Egress {
		side = "to"
	}
	switch {
	case r.Group != "":
		words = append(words, side, "group", r.Group)
	case r.CIDR.IsValid():
		words = append(words, side, r.CIDR.String())
	default:
		words = append(words, side, "anywhere")
	}
	return strings.Join(words, " ")
}

// Validate checks the group alone.
func (g *SecurityGroup) Validate() error {
	f := NewFaults(g.Ref())
	f.header(g.Header, g.Metadata, KindSecurityGroup)
	if g.Spec.ID > MaxGroupID {
		f.Add("spec.id", "%d is outside 1..%d", g.Spec.ID, MaxGroupID)
	}
	for i, r := range g.Spec.Rules {
		field := fmt.Sprintf("spec.rules[%d]", i)
		f.rule(field, r)
		if j := slices.IndexFunc(g.Spec.Rules[:i], func(o SecurityRule) bool { return o.String() == r.String() }); j >= 0 {
			f.Add(field, "is given twice: spec.rules[%d] says the same", j)
		}
	}
	return f.Err()
}

func (f *Faults) rule(field string, r SecurityRule) {
	f.traffic(field, r.Direction, r.Protocol, r.ICMPType, r.ICMPCode)
	f.ports(field+".ports", r.Protocol, r.Ports)
	if r.Group != "" {
		f.name(field+".group", r.Group)
	}
	if r.Group != "" && r.CIDR != (netip.Prefix{}) {
		f.Add(field, "has both cidr and group: give one of them")
		return
	}
	f.side(field+".cidr", r.Protocol, r.CIDR)
}

// traffic checks the direction, protocol and ICMP type of a rule.
func (f *Faults) traffic(field string, d Direction, p Protocol, icmpType, icmpCode *uint8) {
	if d != Ingress && d != Egress {
		f.Add(field+".direction", "%q is not known: use ingress or egress", d)
	}
	n, ok := p.Number()
	if p != "" && !ok {
		f.Add(field+".protocol", "%q is not known: use tcp, udp, sctp, icmp, icmpv6 or a number from 0 to 255", p)
	}
	if icmpType != nil && !(ok && (n == 1 || n == 58)) {
		f.Add(field+".icmpType", "goes with icmp and icmpv6")
	}
	if icmpCode != nil && icmpType == nil {
		f.Add(field+".icmpCode", "goes with icmpType")
	}
}

// ports checks that a rule's protocol has ports, if it names any.
func (f *Faults) ports(field string, p Protocol, ports PortRange) {
	if !ports.IsZero() && !p.HasPorts() {
		f.Add(field, "goes with tcp, udp and sctp: %s has no ports", cmp.Or(string(p), "any protocol"))
	}
}

// side checks the addresses of one side of a rule's packets.
func (f *Faults) side(field string, proto Protocol, p netip.Prefix) {
	n, ok := proto.Number()
	switch {
	case p == netip.Prefix{}:
	case !p.IsValid() || p.Addr().Is4In6() || p.Addr().Zone() != "":
		f.Add(field, "is not a prefix like 10.0.0.0/24")
	case p.Masked() != p:
		f.Add(field, "%s has host bits set: use %s", p, p.Masked())
	case n == 1 && ok && p.Addr().Is6():
		f.Add(field, "%s is IPv6, and icmp is IPv4: use icmpv6", p)
	case n == 58 && ok && p.Addr().Is4():
		f.Add(field, "%s is IPv4, and icmpv6 is IPv6: use icmp", p)
	}
}
