package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/ipam"
)

// namedGroups are the other groups that a group's rules name, each once.
func namedGroups(g *intent.SecurityGroup) []intent.Ref {
	var out []intent.Ref
	for _, r := range g.Spec.Rules {
		if ref := g.GroupRef(r); r.Group != "" && ref != g.Ref() && !slices.Contains(out, ref) {
			out = append(out, ref)
		}
	}
	return out
}

// inTenant checks that an object's tenant exists.
func (w *write) inTenant(o intent.Object, have func(intent.Ref) intent.Object) error {
	ref := intent.Ref{Kind: intent.KindTenant, Name: o.Meta().Tenant}
	if have(ref) == nil {
		f := intent.NewFaults(o.Ref())
		f.Add("metadata.tenant", "names an unknown tenant %q", ref.Name)
		return f.Err()
	}
	w.deps = append(w.deps, exists(w.s.keys.object(ref)))
	return nil
}

// group checks a security group against its tenant and the groups that its
// rules name. One that is to be written by the same transaction is as good as
// one that exists.
func (w *write) group(ctx context.Context, g *intent.SecurityGroup, have func(intent.Ref) intent.Object) error {
	if err := w.inTenant(g, have); err != nil {
		return err
	}
	f := intent.NewFaults(g.Ref())
	for i, r := range g.Spec.Rules {
		ref := g.GroupRef(r)
		if r.Group == "" || ref == g.Ref() || have(ref) != nil {
			continue
		}
		if !w.beside[ref] {
			f.Add(fmt.Sprintf("spec.rules[%d].group", i), "names an unknown security group %q of tenant %s", r.Group, g.Metadata.Tenant)
		} else if !slices.Contains(w.needs, ref) {
			w.needs = append(w.needs, ref)
		}
	}
	if err := f.Err(); err != nil {
		return err
	}
	for _, ref := range namedGroups(g) {
		w.deps = append(w.deps, exists(w.s.keys.object(ref)))
	}
	if old, _ := w.old.(*intent.SecurityGroup); old != nil && g.Spec.ID == 0 {
		g.Spec.ID = old.Spec.ID
	}
	if g.Spec.ID == 0 {
		return w.allocGroup(ctx, g)
	}
	return nil
}

// allocGroup chooses the number of a group.
func (w *write) allocGroup(ctx context.Context, g *intent.SecurityGroup) error {
	s := w.s
	id, err := s.groups.take(w.raced, func() ([]uint32, error) {
		taken := map[uint32]bool{}
		err := s.eachKey(ctx, s.keys.groups(), func(key string) {
			if v, err := strconv.ParseUint(lastPart(key), 10, 32); err == nil {
				taken[uint32(v)] = true
			}
		})
		if err != nil {
			return nil, err
		}
		return collect(taken, ipam.Range[uint32]{First: 1, Last: intent.MaxGroupID}.Next)
	})
	if errors.Is(err, ipam.ErrExhausted) {
		return &ExhaustedError{g.Ref(), "spec.id", fmt.Sprintf("no number is free in 1..%d: delete a security group", intent.MaxGroupID)}
	}
	if err != nil {
		return fmt.Errorf("choose a number of a security group: %w", err)
	}
	g.Spec.ID = id
	w.chose("spec.id", func() { s.groups.give(id) })
	return nil
}

// portGroups checks that a port's groups exist.
func (w *write) portGroups(f *intent.Faults, p *intent.Port, have func(intent.Ref) intent.Object) {
	for i, ref := range p.GroupRefs() {
		if have(ref) == nil {
			f.Add(fmt.Sprintf("spec.securityGroups[%d]", i), "names an unknown security group %q of tenant %s", ref.Name, p.Metadata.Tenant)
			continue
		}
		w.deps = append(w.deps, exists(w.s.keys.object(ref)))
	}
}

// edgeOnly is the kind of edge of a node that is no vSwitch, empty for others.
func edgeOnly(node *intent.Node) string {
	switch {
	case node.Spec.EVPN != nil:
		return "BGP EVPN leaf"
	case node.Spec.HardwareVTEP != nil:
		return "hardware VTEP"
	}
	return ""
}

// particular reports whether not every kind of edge can serve a port of a network.
func particular(n *intent.Network, p *intent.Port) bool {
	return n != nil && (!n.Spec.Encapsulation.Standard() || len(n.Spec.ACLs) > 0) || len(p.Spec.SecurityGroups) > 0 || limited(p)
}

// limited reports whether a port has any quality of service.
func limited(p *intent.Port) bool { return p.Spec.QoS != nil && *p.Spec.QoS != (intent.QoS{}) }

// incapable says why a node can't carry a network or serve a port of it, or
// nothing when it can. Either may be nil.
func incapable(node *intent.Node, n *intent.Network, p *intent.Port) string {
	kind := edgeOnly(node)
	if kind == "" {
		return ""
	}
	var out []string
	say := func(format string, args ...any) {
		out = append(out, fmt.Sprintf("%s is a %s, which can't ", node.Metadata.Name, kind)+fmt.Sprintf(format, args...))
	}
	if n != nil && !n.Spec.Encapsulation.Standard() {
		say("do %s, the encapsulation of %s: only vSwitches can; use a hypervisor, or vxlan on port 4789", n.Spec.Encapsulation, n.Ref())
	}
	if n != nil && len(n.Spec.ACLs) > 0 && node.Spec.EVPN != nil {
		say("judge by network ACLs, and %s has some: only vSwitches and hardware VTEPs can; use one of these, or leave spec.acls of the network out", n.Ref())
	}
	if p != nil && len(p.Spec.SecurityGroups) > 0 {
		say("filter statefully: only vSwitches can; use a hypervisor, or leave spec.securityGroups out")
	}
	if p != nil && limited(p) {
		say("limit or mark what a port sends: only vSwitches can; use a hypervisor, or leave spec.qos out")
	}
	return strings.Join(out, "; ")
}
