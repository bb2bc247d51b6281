//go:build budget

package vswitch

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/budget"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

func TestBudget(t *testing.T) {
	counts := map[string]float64{}

	// A network's thousandth hypervisor, as another one sees it: the mean of
	// those before it.
	rep := to([]uint32{1}, numbered(900)...)
	mods, bytes := 0, 0
	joins := numbered(1000)[900:]
	counts["allocations of a join in a network of 1,000"] = budget.Allocs(len(joins), func() {
		for _, a := range joins {
			next := replication{rep.ports, rep.vteps.with([]evpn.Row{{Key: evpn.FloodKey(a)}})}
			var c changes
			pipe.changeFlood(&c, 100, rep, next)
			rep = next
			mods += len(c.del) + len(c.add)
			for _, m := range c.mods() {
				bytes += len(m.AppendTo(nil, 1))
			}
		}
	})
	counts["flow-mods of flooding of a join in a network of 1,000"] = float64(mods) / float64(len(joins))
	counts["bytes of flooding of a join in a network of 1,000"] = float64(bytes / len(joins))

	// An edge that has 20,000 flows, all as they should be.
	rows := manyRows(10_000)
	c := pipe.compileRows(100, rows, 1)
	has, err := openflow.ReadDescribed(descriptions(c))
	require.NoError(t, err)
	counts["flow-mods to an edge that has its 20,000 flows"] = 1
	counts["allocations to compare a flow of 20,000"] = budget.Allocs(c.mods.Len(), func() {
		x := &comparison{segs: map[intent.VNI]*expected{100: expect(c, self)}, own: expect(compileFlows(pipe.base()), self)}
		x.compare(has)
		x.dropUnknown()
		x.putMissing()
		counts["flow-mods to an edge that has its 20,000 flows"] = float64(x.changes.len() - len(pipe.base()))
	})
	counts["heap bytes of a row's flow that edges share"] = budget.Heap(c.mods.Len(), func() any { return pipe.compileRows(100, rows, 1) })
	// An ACL that many networks have, with two subnets each.
	rules := []intent.ACLRule{aclRuleOf(intent.Allow, intent.Ingress, "tcp", "80", "", ""), aclRuleOf(intent.Deny, intent.Ingress, "", "", "", "")}
	judged := func(networks int, rules []intent.ACLRule) *acls {
		all, a := map[intent.Ref]overlay.LocalPort{}, acl("edge", rules...)
		for i := range networks {
			l := judgedBy(local(1), subnetACLs(a))
			l.VNI, l.Port.Name, l.ACLs.Subnets = intent.VNI(i+1), strconv.Itoa(i), l.ACLs.Subnets[1:]
			all[l.Port] = l
		}
		return aclsOf(all)
	}
	counts["flows of an ACL of 2 rules"] = float64(len(aclFlows(1, acl("edge", rules...))))
	counts["flows of a network with an ACL"] = float64(len(judged(2, rules).flows()) - len(judged(1, rules).flows()))
	var c2 changes
	judged(1000, rules).change(&c2, judged(1000, append(rules, aclRuleOf(intent.Allow, intent.Ingress, "udp", "53", "", ""))), func(intent.VNI) bool { return false })
	counts["flow-mods of one more rule of an ACL of 1,000 networks"] = float64(c2.len())
	fip := natted(local(1, "192.168.0.1"), nil, "203.0.113.10", "192.168.0.1")
	counts["flows of a floating IP where its port is"] = float64(len(translatingPipe(fip).floating(fip)))
	counts["flows of a floating IP elsewhere"] = float64(len(pipe.routed(7000, hostTo(evpn.HostKey(fip.MAC, netip.MustParseAddr("203.0.113.10")), other, 0, intent.RouterMAC(other)))))
	router := natted(local(1), addrs("203.0.113.2"))
	counts["flows of source NAT of one more router"] = float64(len(natOf(locals(router)).source(5000, router.NAT)))
	countTenant(counts)
	budget.Check(t, counts)
}

func manyRows(n int) []evpn.Row {
	var rows []evpn.Row
	for i := range n {
		m := intent.MAC{2, 0}
		binary.BigEndian.PutUint32(m[2:], uint32(i))
		rows = append(rows, rowTo(evpn.MACKey(m), other), rowTo(evpn.HostKey(m, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})), other))
	}
	return rows
}

// descriptions are compiled flows as a switch describes them.
func descriptions(c *compiled) []byte {
	var all []byte
	for i := range c.mods.Len() {
		f := c.mods.At(i).Decode().Flow
		all = appendDescription(all, f, f.Match.AppendTo(nil))
	}
	return all
}

// countTenant is what the limits of a tenant with 1,000 ports cost on an edge.
func countTenant(counts map[string]float64) {
	q := overlay.QoS{Out: overlay.Limit{Rate: 1000, Burst: 100}, In: overlay.Limit{Rate: 1000, Burst: 100}}
	many := func(q *overlay.QoS) (pipeline, map[intent.Ref]overlay.LocalPort) {
		all := map[intent.Ref]overlay.LocalPort{}
		for i := range 1000 {
			l := local(byte(i))
			l.OFPort, l.Port.Name, l.TenantQoS = uint32(i+1), strconv.Itoa(i), q
			all[l.Port] = l
		}
		p := pipe
		p.tenants = tenantsOf(all)
		return p, all
	}
	change := func(from, to *overlay.QoS) (c changes) {
		before, was := many(from)
		after, now := many(to)
		c.replaceMeters(before.metersOf(was), after.metersOf(now))
		for r := range was {
			c.replace(before.port(was[r]), after.port(now[r]))
		}
		return c
	}
	faster := q
	faster.Out.Rate = 2000
	c, rate := change(nil, &q), change(&q, &faster)
	counts["flow-mods per port of a tenant that is limited from now on"] = float64(c.len()) / 1000
	counts["meters of a limited tenant with 1,000 ports"] = float64(len(c.meters))
	counts["flow-mods of another rate of a tenant with 1,000 ports"] = float64(rate.len())
	counts["meter-mods of another rate of a tenant with 1,000 ports"] = float64(len(rate.meters))
}
