package vswitch

import (
	"context"
	"errors"
	"fmt"

	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// CountPolicy implements southbound.Judge. It asks on a connection of its own, so
// that it neither waits for what is being programmed nor holds that up.
func (d *Driver) CountPolicy(ctx context.Context, l overlay.LocalPort) (southbound.PolicyCount, error) {
	g, err := d.guardOf(l)
	if err != nil {
		return southbound.PolicyCount{}, err
	}
	var c southbound.PolicyCount
	number := g.numberOf(l)
	has, err := d.counted(ctx, number, tableRulesIn, tableRulesOut)
	if err == nil {
		c = g.count(number, l.Policy, has)
	}
	d.mu.Lock()
	for _, o := range d.ports {
		if o.Policy != nil && o.Policy.Key() == l.Policy.Key() {
			c.Ports++
		}
	}
	d.mu.Unlock()
	return c, err
}

// counted reads the counters of the flows that have a number, of a policy or an
// ACL, in some tables.
func (d *Driver) counted(ctx context.Context, number uint32, tables ...uint8) (map[flowKey]southbound.FlowCount, error) {
	has := map[flowKey]southbound.FlowCount{}
	err := d.read(ctx, func(ctx context.Context, conn *openflow.Conn) error {
		for _, table := range tables {
			fs, err := conn.DumpTable(ctx, table, policyCookie(number), ^uint64(0))
			if err != nil {
				return err
			}
			for _, f := range fs {
				has[keyOf(f.Flow)] = southbound.FlowCount{Packets: f.Packets, Bytes: f.Bytes}
			}
		}
		return nil
	})
	return has, err
}

// CountACL implements southbound.Judge.
func (d *Driver) CountACL(ctx context.Context, a *overlay.ACL) (southbound.ACLCount, error) {
	d.mu.Lock()
	b := d.acls
	d.mu.Unlock()
	if b == nil || !b.known[a.Key()].Equal(a) {
		return southbound.ACLCount{}, d.fail(southbound.CodeNotReady, "read the counters of network ACL "+a.Key(), "wait a moment", errors.New("the device does not have these rules yet"))
	}
	number := b.numberOf(a)
	has, err := d.counted(ctx, number, tableACLIn, tableACLOut)
	if err != nil {
		return southbound.ACLCount{}, err
	}
	return countACL(number, a, has), nil
}

// countACL sums the flows of each rule.
func countACL(number uint32, a *overlay.ACL, has map[flowKey]southbound.FlowCount) southbound.ACLCount {
	none := aclDenials(number)
	c := southbound.ACLCount{Rules: make([]southbound.FlowCount, len(a.Rules)), In: has[keyOf(none[0])], Out: has[keyOf(none[1])]}
	for i, r := range a.Rules {
		for _, f := range aclRule(number, i, r) {
			c.Rules[i].Packets += has[keyOf(f)].Packets
			c.Rules[i].Bytes += has[keyOf(f)].Bytes
		}
	}
	return c
}

// count sums the flows of each rule. A flow that several rules share since they
// allow the same counts for the first of them; one by which several let later
// fragments pass, of which nobody can tell whose they are, counts for none.
func (g *guard) count(number uint32, p *overlay.Policy, has map[flowKey]southbound.FlowCount) southbound.PolicyCount {
	c := southbound.PolicyCount{Rules: make([]southbound.FlowCount, len(p.Rules))}
	owners := map[flowKey]int{}
	for _, r := range p.Rules {
		for _, f := range g.rule(number, r) {
			owners[keyOf(f)]++
		}
	}
	seen := map[flowKey]bool{}
	for i, r := range p.Rules {
		for _, f := range g.rule(number, r) {
			k := keyOf(f)
			if _, later := f.Match.Get(openflow.FieldIPFrag); later && owners[k] > 1 {
				continue
			}
			if !seen[k] {
				seen[k] = true
				c.Rules[i].Packets += has[k].Packets
				c.Rules[i].Bytes += has[k].Bytes
			}
		}
	}
	none := g.denials(number, p)
	c.In, c.Out = has[keyOf(none[0])], has[keyOf(none[1])]
	return c
}

// PortFlows implements southbound.Judge.
func (d *Driver) PortFlows(ctx context.Context, l overlay.LocalPort) (lines []southbound.FlowLine, err error) {
	cookies := []uint64{macCookie(l.VNI, l.MAC)}
	w := words{port: l}
	if l.Policy != nil {
		g, err := d.guardOf(l)
		if err != nil {
			return nil, err
		}
		w.guard = g
		cookies = append(cookies, policyCookie(g.numberOf(l)))
	}
	if l.ACLs != nil {
		d.mu.Lock()
		w.acls = d.acls
		d.mu.Unlock()
		for _, a := range l.ACLs.All() {
			cookies = append(cookies, policyCookie(w.acls.numberOf(a)))
		}
	}
	err = d.read(ctx, func(ctx context.Context, conn *openflow.Conn) error {
		for _, c := range cookies {
			fs, err := conn.DumpFlows(ctx, c, ^uint64(0))
			if err != nil {
				return err
			}
			for _, f := range fs {
				if !w.concerns(f.Flow) {
					continue
				}
				lines = append(lines, southbound.FlowLine{Table: f.Table, Priority: f.Priority, Words: w.say(f.Flow),
					FlowCount: southbound.FlowCount{Packets: f.Packets, Bytes: f.Bytes}})
			}
		}
		return nil
	})
	sortLines(lines)
	return lines, err
}

// guardOf is the guard by which the device has a port's policy.
func (d *Driver) guardOf(l overlay.LocalPort) (*guard, error) {
	d.mu.Lock()
	g := d.guard
	d.mu.Unlock()
	if l.Policy == nil || g == nil || g.policies[l.Policy.Key()] == nil {
		return nil, d.fail(southbound.CodeNotReady, "read the policy of "+l.Port.String(), "wait until the port is Ready", fmt.Errorf("the device does not have the policy of groups %s yet", l.Policy.Names()))
	}
	return g, nil
}

// read asks the device something on a connection of its own.
func (d *Driver) read(ctx context.Context, ask func(context.Context, *openflow.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	c, err := openflow.Dial(ctx, d.openflow, openflow.Config{Logger: d.log})
	if err != nil {
		return d.fail(southbound.CodeUnreachable, "connect by OpenFlow to "+d.openflow, "", err)
	}
	defer c.Close()
	if err := ask(ctx, c); err != nil {
		return d.fail(southbound.CodeUnreachable, "read flows", "", err)
	}
	return nil
}
