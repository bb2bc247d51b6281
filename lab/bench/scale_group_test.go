//go:build bench

package bench

import (
	"fmt"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
)

// tableMembers is where a vSwitch has the members of the groups that ingress rules
// name (docs/architecture.md).
const tableMembers = 61

// group puts all ports of one tenant into one security group whose rules name
// the group, and then one more port, again and again. What one more member costs
// must not depend on how many there are, nor on the number of rules.
func (r *rig) group(say sayer, file func(string) string) {
	n := r.simNet(0)
	with := func(p *intent.Port) *intent.Port {
		q := *p
		q.Spec.SecurityGroups = []string{"all"}
		return &q
	}
	r.put(0, groupNaming(n.tenant, 1))
	// One member tells what an edge has in that table beside members.
	edge := n.edges[0]
	first := r.newSpare(n, edge, "first-member")
	r.once("the first member's port", first.cookie, n.edges, &arrival{}, func() { r.put(0, first.port) })
	r.once("the first member", tableCookie(tableMembers), []int{edge}, &arrival{table: tableMembers}, func() { r.put(0, with(first.port)) })
	r.quiet()
	beside := int64(r.sim(edge).Stats().Tables[tableMembers]) - 1

	var ports []intent.Object
	local := map[int]int{edge: 1} // members of each edge
	for _, k := range r.nets {
		if k.tenant != n.tenant {
			continue
		}
		for i := range portsPerEdge * len(k.edges) {
			ports = append(ports, with(r.portOf[fmt.Sprintf("%s-p%d", k.name, i)]))
			local[k.edges[i%len(k.edges)]]++
		}
	}
	members, edges := int64(len(ports)+1), int64(0)
	var reading []int
	for e := range local {
		if e >= r.reals() {
			reading = append(reading, e)
			edges++
		}
	}
	was, used, plain := r.farm.Totals(), r.cpu(), r.sim(edge).Stats().Flows
	var took, busy time.Duration
	r.profiling(file("cpu-group"), 5, func() {
		began := time.Now()
		r.apply(ports, func(int) {})
		r.await("all members on all edges", func() (bool, string) {
			got := r.farm.Flows(tableMembers)
			return got == edges*(members+beside), fmt.Sprintf("%d of %d", got, edges*(members+beside))
		})
		took, busy = time.Since(began), r.cpu()-used
	})
	now := r.farm.Totals()
	say("group: members", "", float64(members))
	say("group: edges with members", "", float64(len(local)))
	say("group: all joined after", "s", took.Seconds())
	say("group: CPU for that", "s", busy.Seconds())
	say("group: flow-mods for that, per member and edge", "", float64(now.FlowMods-was.FlowMods)/float64(members*edges))
	say("group: more flows on an edge, per member", "", float64(r.sim(edge).Stats().Flows-plain)/float64(members))
	say("group: more flows on an edge, per local port", "", float64(r.sim(edge).Stats().Flows-plain)/float64(local[edge]))
	for _, rules := range []int{1, 20} {
		r.put(0, groupNaming(n.tenant, rules))
		r.quiet()
		r.oneMore(say, n, fmt.Sprintf("group: one more member, %d rules", rules), rules, reading, with)
	}
}

// oneMore has a port join the group and leave it, until all edges that have members
// know.
func (r *rig) oneMore(say sayer, n *scaleNet, what string, serial int, reading []int, with func(*intent.Port) *intent.Port) {
	s := r.newSpare(n, n.edges[0], fmt.Sprintf("member%d", serial))
	r.once("the port that joins", s.cookie, n.edges, &arrival{}, func() { r.put(0, s.port) })
	r.quiet()
	const times = 20
	var joined, left []time.Duration
	was, used := r.farm.Totals(), r.cpu()
	for range times {
		joined = append(joined, r.once("a member", tableCookie(tableMembers), reading, &arrival{table: tableMembers}, func() { r.put(0, with(s.port)) }))
		left = append(left, r.once("a member that left", tableCookie(tableMembers), reading, &arrival{table: tableMembers, gone: true}, func() { r.put(0, s.port) }))
	}
	r.quiet()
	now := r.farm.Totals()
	p50, p99 := percentiles(joined)
	say(what+", on all edges, p50", "ms", ms(p50))
	say(what+", on all edges, p99", "ms", ms(p99))
	p50, _ = percentiles(left)
	say(what+", left again, p50", "ms", ms(p50))
	say(what+" and left: CPU", "ms", float64((r.cpu()-used).Milliseconds())/times)
	say(what+" and left: flow-mods per edge", "", float64(now.FlowMods-was.FlowMods)/times/float64(len(reading)))
}

// groupNaming is a tenant's group with some rules, all of which name it.
func groupNaming(tenant string, rules int) *intent.SecurityGroup {
	g := &intent.SecurityGroup{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindSecurityGroup}, Metadata: intent.Metadata{Name: "all", Tenant: tenant}}
	for i := range rules {
		g.Spec.Rules = append(g.Spec.Rules, intent.SecurityRule{Direction: intent.Ingress, Protocol: "tcp", Ports: intent.PortRange{First: uint16(8000 + 2*i), Last: uint16(8000 + 2*i)}, Group: "all"})
	}
	return g
}
