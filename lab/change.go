package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
)

// Difference is what a topology file has that a running lab has not, and the other
// way round.
type Difference struct {
	Added, Removed           []Node
	AddedLinks, RemovedLinks []Link
}

// Empty reports whether there is none.
func (d *Difference) Empty() bool {
	return len(d.Added)+len(d.Removed)+len(d.AddedLinks)+len(d.RemovedLinks) == 0
}

// String is "adds spine5, leaf7 and 10 links; removes hv3 and 1 link".
func (d *Difference) String() string {
	if d.Empty() {
		return "changes nothing"
	}
	one := func(verb string, nodes []Node, links int) string {
		var names []string
		for _, n := range nodes {
			names = append(names, n.Name)
		}
		what := strings.Join(names, ", ")
		if links > 0 {
			l := fmt.Sprintf("%d links", links)
			if links == 1 {
				l = "1 link"
			}
			what = strings.TrimPrefix(what+" and "+l, " and ")
		}
		return verb + " " + what
	}
	var parts []string
	if len(d.Added)+len(d.AddedLinks) > 0 {
		parts = append(parts, one("adds", d.Added, len(d.AddedLinks)))
	}
	if len(d.Removed)+len(d.RemovedLinks) > 0 {
		parts = append(parts, one("removes", d.Removed, len(d.RemovedLinks)))
	}
	return strings.Join(parts, "; ")
}

// among reports whether a node is among those that come or go.
func among(nodes []Node, name string) bool {
	return slices.ContainsFunc(nodes, func(n Node) bool { return n.Name == name })
}

// sameCable reports whether two links join the same interfaces.
func sameCable(a, b Link) bool {
	at := func(x, y End) bool { return x.Node == y.Node && x.Interface == y.Interface }
	return at(a.A, b.A) && at(a.B, b.B) || at(a.A, b.B) && at(a.B, b.A)
}

// difference compares a running lab with the plan of a changed file. It refuses what
// can't be changed in a lab that runs.
func difference(running, plan *State) (*Difference, error) {
	d := &Difference{}
	var errs []error
	for _, n := range plan.Nodes {
		old, err := running.Node(n.Name)
		if err != nil {
			d.Added = append(d.Added, n)
			continue
		}
		errs = append(errs, stays(old, n))
	}
	for _, n := range running.Nodes {
		if _, err := plan.Node(n.Name); err != nil {
			d.Removed = append(d.Removed, n)
		}
	}
	without := func(list, other []Link) (out []Link) {
		for _, l := range list {
			if !slices.ContainsFunc(other, func(o Link) bool { return sameCable(l, o) }) {
				out = append(out, l)
			}
		}
		return out
	}
	d.AddedLinks, d.RemovedLinks = without(plan.Links, running.Links), without(running.Links, plan.Links)
	for _, l := range append(slices.Clone(d.AddedLinks), d.RemovedLinks...) {
		for _, e := range []End{l.A, l.B} {
			n, err := running.Node(e.Node)
			if err == nil && n.Role == intent.RoleVTEP && !among(d.Removed, e.Node) {
				errs = append(errs, fmt.Errorf("%s is a hardware VTEP: its cables can't be changed while it runs", e.Node))
			}
		}
	}
	errs = append(errs, renumbered(running, plan)...)
	return d, errors.Join(errs...)
}

// stays checks that a node of both is the same.
func stays(old, now Node) error {
	switch {
	case old.Role != now.Role:
		return fmt.Errorf("%s is a %s and would be a %s: take it out of the file first, and then put it in anew", now.Name, old.Role, now.Role)
	case old.EVPN != now.EVPN:
		return fmt.Errorf("%s would begin or cease to be an EVPN leaf, by its servers: only a new leaf can", now.Name)
	case (old.Router == nil) != (now.Router == nil) || old.Router != nil && old.Router.Managed != now.Router.Managed:
		return fmt.Errorf("%s would be configured in another way: take it out of the file first, and then put it in anew", now.Name)
	case old.VTEP != nil && now.VTEP != nil && !old.VTEP.sameBut(now.VTEP):
		return fmt.Errorf("%s would have another VTEP address or uplink (%s on %s, was %s on %s)", now.Name, now.VTEP.Address, now.VTEP.Uplink, old.VTEP.Address, old.VTEP.Uplink)
	}
	return nil
}

// sameBut reports whether two ends of tunnels differ in nothing but colours, of which
// renumbered tells.
func (v VTEP) sameBut(o *VTEP) bool {
	v.Colours = o.Colours
	return reflect.DeepEqual(v, *o)
}

// coloursAre is "colours 10.128.0.1 10.128.1.1", or "no colours".
func coloursAre(list []netip.Addr) string {
	if len(list) == 0 {
		return "no colours"
	}
	return "colours " + strings.Trim(fmt.Sprint(list), "[]")
}

// renumbered finds nodes and links of both whose numbers would be others.
func renumbered(running, plan *State) (errs []error) {
	behind := "; name what is new behind what is there, leaf9 after leaf8, and plug it in behind"
	for _, n := range plan.FabricNodes {
		old := running.specOf(n.Metadata.Name)
		switch {
		case old.Role == "":
		case old.ASN != n.Spec.ASN || old.Loopback != n.Spec.Loopback || old.VTEP != n.Spec.VTEP:
			errs = append(errs, fmt.Errorf("%s would be renumbered: ASN %d, loopback %s, VTEP %s, was %d, %s, %s%s", n.Metadata.Name,
				n.Spec.ASN, n.Spec.Loopback, n.Spec.VTEP, old.ASN, old.Loopback, old.VTEP, behind))
		case !slices.Equal(old.Colours, n.Spec.Colours):
			errs = append(errs, fmt.Errorf("%s would have %s, and has %s; take the lab down and bring it up anew", n.Metadata.Name, coloursAre(n.Spec.Colours), coloursAre(old.Colours)))
		}
	}
	for _, l := range plan.FabricLinks {
		i := slices.IndexFunc(running.FabricLinks, func(o *intent.Link) bool { return o.Metadata.Name == l.Metadata.Name })
		same := func(e intent.LinkEnd) bool { return slices.Contains(running.FabricLinks[i].Spec.Endpoints, e) }
		if i >= 0 && !(same(l.Spec.Endpoints[0]) && same(l.Spec.Endpoints[1])) {
			errs = append(errs, fmt.Errorf("link %s would have other addresses%s", l.Metadata.Name, behind))
		}
	}
	return errs
}

// Change makes a running lab what the plan of a changed file says: nodes and links
// come and go while the others run. Switches that go are drained before, so that what
// stays loses nothing. When what is new can't be started, it is taken away again.
func Change(ctx context.Context, plan *State, opts Options) (*Difference, error) {
	if err := CheckHost(plan); err != nil {
		return nil, err
	}
	running, err := Load(plan.Name)
	if err != nil {
		return nil, err
	}
	_, unlock, err := lock(plan.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	switch {
	case running.Phase != PhaseUp:
		return nil, fmt.Errorf("lab %s is not up: bring it up with \"weft lab up\"", plan.Name)
	case running.Controller == "":
		return nil, fmt.Errorf("lab %s runs without a controller, which tells switches of new neighbours: take it down and bring it up anew", plan.Name)
	case running.Site != plan.Site:
		return nil, fmt.Errorf("lab %s is of site %d, not %d", plan.Name, running.Site, plan.Site)
	}
	d, err := difference(running, plan)
	if err != nil {
		return nil, fmt.Errorf("change lab %s: %w", plan.Name, err)
	}
	if opts.Progress == nil {
		opts.Progress = silent{}
	}
	if opts.Timeout == 0 {
		opts.Timeout = 2 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	c := &change{Difference: d, running: running, plan: plan, run: &run{opts: opts, progress: opts.Progress}}
	return d, c.do(ctx)
}

// change is one change of a running lab.
type change struct {
	*Difference
	running, plan *State
	run           *run
}

func (c *change) do(ctx context.Context) error {
	if c.Empty() {
		return nil
	}
	both, err := c.merge()
	if err != nil {
		return err
	}
	c.run.state = both
	if err := both.save(); err != nil { // whatever happens, what there may be is known
		return err
	}
	type step struct {
		name string
		do   func(context.Context) error
	}
	steps := []step{
		{fmt.Sprintf("%d new nodes and %d new links", len(c.Added), len(c.AddedLinks)), c.add},
		{"what is new registered with the controller", c.register},
	}
	if len(c.Removed)+len(c.RemovedLinks) > 0 {
		steps = append(steps, step{"what goes drained and unregistered", c.unregister},
			step{fmt.Sprintf("%d nodes and %d links taken away", len(c.Removed), len(c.RemovedLinks)), c.remove})
	}
	steps = append(steps, step{"sessions and equal-cost paths", c.converge})
	for i, s := range steps {
		done := c.run.progress.Phase(s.name)
		err := s.do(ctx)
		done(err)
		if err != nil && i == 0 {
			return errors.Join(err, c.undo())
		}
		if err != nil {
			return fmt.Errorf("%w; lab %s is changed in part: run it again, or take it down", err, c.plan.Name)
		}
	}
	return nil
}

// merge is the lab with all that it has and gets: the plan, with what runs of it,
// and what goes.
func (c *change) merge() (*State, error) {
	s := c.plan
	s.dir, s.Phase, s.Created, s.Processes, s.Raised, s.Controller, s.Mgmt = c.running.dir, PhaseUp, c.running.Created, c.running.Processes, c.running.Raised, c.running.Controller, c.running.Mgmt
	taken := map[netip.Prefix]bool{}
	for _, n := range c.running.Nodes {
		taken[n.Mgmt] = true
	}
	next := s.controllerMgmt().Addr()
	for i := range s.Nodes {
		n := &s.Nodes[i]
		old, err := c.running.Node(n.Name)
		switch {
		case err == nil:
			n.Mgmt = old.Mgmt
			continue
		case !n.Mgmt.IsValid():
			continue
		}
		for n.Mgmt = netip.PrefixFrom(next, s.Mgmt.Bits()); taken[n.Mgmt] || n.Mgmt == s.controllerMgmt(); n.Mgmt = netip.PrefixFrom(next, s.Mgmt.Bits()) {
			next = next.Next()
		}
		if taken[n.Mgmt] = true; !intent.HostAddress(s.Mgmt, n.Mgmt.Addr()) {
			return nil, fmt.Errorf("change lab %s: the management network %s has no free address", s.Name, s.Mgmt)
		}
	}
	for i := range c.Added {
		c.Added[i], _ = s.Node(c.Added[i].Name)
	}
	for _, o := range s.FabricNodes {
		if n, err := s.Node(o.Metadata.Name); err == nil {
			n.reach(&o.Spec)
		}
	}
	s.Nodes, s.Links = append(s.Nodes, c.Removed...), append(s.Links, c.RemovedLinks...)
	return s, nil
}
