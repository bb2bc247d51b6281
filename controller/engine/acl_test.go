package engine

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
)

func networkACL(ports ...uint16) *intent.NetworkACL {
	a := &intent.NetworkACL{Metadata: intent.Metadata{Name: "edge", Tenant: "t"}}
	for _, p := range ports {
		a.Spec.Rules = append(a.Spec.Rules, intent.ACLRule{Action: intent.Allow, Direction: intent.Ingress, Protocol: "tcp", Ports: intent.PortRange{First: p, Last: p}})
	}
	return a
}

func judged(acl string) *intent.Network {
	n := web()
	n.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}
	n.Spec.ACLs = []intent.SubnetACL{{ACL: acl}}
	return n
}

// An ACL is Ready when the edges with ports of its networks are.
func TestACLIsReadyWhenItsEdgesAre(t *testing.T) {
	a, later := networkACL(80), networkACL(80, 81)
	b := newBed(t, hv(1), hv(2), a, judged("edge"), vm(1), vm(2))
	require.Equal(t, &intent.Counts{Total: 2}, b.untilPhase(a, intent.PhaseReady).Ports)
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.edge("hv2").set(func() { b.edge("hv2").ifaces = tap(2) })
	b.until("both ports are confirmed", func() bool { return b.Status(a).Ports.Ready == 2 })
	b.edge("hv2").set(func() { b.edge("hv2").down = errors.New("timed out") })
	b.untilPhase(a, intent.PhaseDegraded)
	b.put(later)
	b.until("hv1 has the new rules", func() bool {
		st := b.Status(later)
		return st.Phase == intent.PhaseDegraded && st.Ports.Ready == 1
	})
	b.edge("hv2").set(func() { b.edge("hv2").down = nil })
	b.until("both have", func() bool { return b.Status(later).Applied == later.Metadata.Revision })
}

// counting is a device that counts, or doesn't answer.
type counting struct {
	southbound.Judge
	count southbound.ACLCount
	err   error
}

func (c counting) CountACL(context.Context, *overlay.ACL) (southbound.ACLCount, error) {
	return c.count, c.err
}

// Of many devices each is asked, what they count is summed, and those that do not
// answer are named.
func TestACLCountersAreSummed(t *testing.T) {
	acl := &overlay.ACL{Rules: []intent.ACLRule{{}}}
	judges, nodes := map[string]southbound.Judge{"tor": nil}, []string{"tor"}
	out := ACLCounters{ACL: acl, Count: southbound.ACLCount{Rules: make([]southbound.FlowCount, 1)}}
	for i := range 5 * askedMost {
		n := string(rune('a' + i))
		nodes = append(nodes, n)
		c := southbound.FlowCount{Packets: 1, Bytes: 10}
		judges[n] = counting{count: southbound.ACLCount{Rules: []southbound.FlowCount{c}, In: c, Out: southbound.FlowCount{Packets: 2, Bytes: 20}}}
	}
	judges["a"] = counting{err: errors.New("a is away")}
	answers := askACL(t.Context(), acl, nodes, judges)
	require.EqualError(t, answers[0].err, "it counts nothing for ACLs: only vSwitches do")
	require.EqualError(t, answers[1].err, "a is away")
	for _, a := range answers[2:] {
		require.NoError(t, a.err)
		out.add(a.value)
	}
	require.Equal(t, southbound.ACLCount{Rules: []southbound.FlowCount{{Packets: 79, Bytes: 790}}, In: southbound.FlowCount{Packets: 79, Bytes: 790}, Out: southbound.FlowCount{Packets: 158, Bytes: 1580}}, out.Count)
}

func TestACLCountersNameWhoCountsNothing(t *testing.T) {
	b := newBed(t, hv(1), networkACL(80), judged("edge"), vm(1))
	_, ok := b.ACLCounters(t.Context(), intent.Ref{Kind: intent.KindNetworkACL, Tenant: "t", Name: "nope"})
	require.False(t, ok)
	c, ok := b.ACLCounters(t.Context(), networkACL().Ref())
	require.True(t, ok)
	require.Len(t, c.Count.Rules, 1)
	require.Empty(t, c.Missing, "no edge has a port")
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.until("the edge has the port", func() bool {
		c, _ = b.ACLCounters(t.Context(), networkACL().Ref())
		return len(c.Missing) == 1
	})
	require.Equal(t, []UncountedACL{{"hv1", "it counts nothing for ACLs: only vSwitches do"}}, c.Missing)
}
