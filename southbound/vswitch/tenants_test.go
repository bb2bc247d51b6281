package vswitch

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// together has a port be one of a tenant with limits.
func together(l overlay.LocalPort, tenant string, q overlay.QoS) overlay.LocalPort {
	l.Port.Tenant, l.TenantQoS = tenant, &q
	return l
}

var bothWays = overlay.QoS{Out: overlay.Limit{Rate: 5000, Burst: 500}, In: overlay.Limit{Rate: 6000, Burst: 600}}

// limitedTogether are the flows of a port of a tenant that is limited both ways.
func limitedTogether(l overlay.LocalPort) []openflow.Flow {
	l = together(l, "t", bothWays)
	p := pipe
	p.tenants = tenantsOf(locals(l))
	return p.port(l)
}

// A tenant's meters follow from the ports that are there, whatever was before, and are
// nobody else's.
func TestTenantNumbers(t *testing.T) {
	a, b := together(local(1), "blue", bothWays), together(local(2), "blue", bothWays)
	other, free := together(local(3), "red", overlay.QoS{In: overlay.Limit{Rate: 1, Burst: 1}}), local(4)
	all := tenantsOf(locals(a, b, other, free))
	n, m := all.numberOf(a), all.numberOf(other)
	require.Equal(t, n, all.numberOf(b))
	require.NotEqual(t, n, m)
	require.Zero(t, all.numberOf(free))
	require.Equal(t, n, tenantsOf(locals(b)).numberOf(b), "the same whoever else is there")
	require.Less(t, meterID(n, meterIn), uint32(200_000))
	require.ElementsMatch(t, []openflow.Meter{{ID: meterID(n, meterOut), Rate: 5000, Burst: 500}, {ID: meterID(n, meterIn), Rate: 6000, Burst: 600}, {ID: meterID(m, meterIn), Rate: 1, Burst: 1}}, all.meters())

	// Not those of a port.
	in := locals(a)
	taken := local(5)
	taken.OFPort = n
	in[taken.Port] = taken
	require.Equal(t, n+1, tenantsOf(in).numberOf(a))

	// One that is about to come has none yet.
	waits := standby(a)
	require.Empty(t, tenantsOf(locals(waits)).meters())
	require.Empty(t, pipe.metersOf(locals(waits)))

	// As many as ever fit.
	many := locals()
	for i := range 3000 {
		l := together(local(1), fmt.Sprintf("t%d", i), bothWays)
		l.OFPort = uint32(i + 1)
		many[l.Port] = l
	}
	seen := map[uint32]bool{}
	for _, n := range tenantsOf(many).numbers {
		require.False(t, seen[n])
		require.Greater(t, n, uint32(3000))
		seen[n] = true
	}
	require.Len(t, seen, 3000)
}

// A change of a rate changes the meter alone; the last port takes the meters along.
func TestTenantMetersFollow(t *testing.T) {
	slower := bothWays
	slower.Out.Rate = 100
	a, b := together(local(1), "t", bothWays), together(local(2), "t", bothWays)
	as, bs := together(local(1), "t", slower), together(local(2), "t", slower)
	p := func(ls ...overlay.LocalPort) pipeline {
		x := pipe
		x.tenants = tenantsOf(locals(ls...))
		return x
	}
	n := p(a).tenants.numberOf(a)
	var c changes
	c.replaceMeters(p(a, b).metersOf(locals(a, b)), p(as, bs).metersOf(locals(as, bs)))
	c.replace(p(a, b).port(a), p(as, bs).port(as))
	require.Equal(t, []openflow.MeterMod{{Command: openflow.MeterModify, Meter: openflow.Meter{ID: meterID(n, meterOut), Rate: 100, Burst: 500}}}, c.meters)
	require.Empty(t, c.add)
	require.Empty(t, c.del)
	require.Empty(t, c.spent)
	c = changes{}
	c.replaceMeters(p(a, b).metersOf(locals(a, b)), p(b).metersOf(locals(b)))
	require.True(t, c.empty())
	c.replaceMeters(p(b).metersOf(locals(b)), p().metersOf(locals()))
	require.Len(t, c.spent, 2)
}
