package overlay

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// served are two networks that tell stations things, with a port each at hv1.
func servedModel() (*Model, *intent.Network) {
	m := NewModel()
	m.Put(hypervisor(1))
	na, nb := network("na", 100), network("nb", 200)
	na.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24"), netip.MustParsePrefix("fd00::/64")}
	na.Spec.DHCP = &intent.DHCP{Domain: "blue.example"}
	nb.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}
	nb.Spec.DHCP = &intent.DHCP{Lease: 600}
	m.Put(na)
	m.Put(nb)
	m.Put(port("a", "na", 1, intent.Binding{IfaceID: "a"}))
	m.Put(port("b", "nb", 2, intent.Binding{IfaceID: "b"}))
	m.Observe("hv1", []Interface{{Name: "tapa", IfaceID: "a", OFPort: 1}, {Name: "tapb", IfaceID: "b", OFPort: 2}})
	m.Touched()
	return m, na
}

func TestServicesFollowNetworkAndRouter(t *testing.T) {
	m, na := servedModel()
	of := func(name string) LocalPort {
		return m.Local("hv1")[intent.Ref{Kind: intent.KindPort, Tenant: "t", Name: name}]
	}
	require.Equal(t, &Services{Lease: intent.DefaultLease, MTU: 1500, Domain: "blue.example",
		Subnets: []ServedSubnet{{Prefix: na.Spec.Subnets[0]}, {Prefix: na.Spec.Subnets[1]}}}, of("a").Services)
	require.Equal(t, intent.Seconds(600), of("b").Services.Lease)
	_, before := m.Behind("hv1", nil)
	require.Empty(t, before)

	r := &intent.Router{Metadata: intent.Metadata{Tenant: "t", Name: "r"}, Spec: intent.RouterSpec{Networks: []intent.RouterNetwork{{Network: "na", Gateways: []netip.Addr{netip.MustParseAddr("192.168.0.254")}}}}}
	rev, _ := m.Behind("hv1", nil)
	m.Put(r)
	now, _ := m.Behind("hv1", nil)
	require.Equal(t, rev+1, now, "the port of the router's network alone")
	require.Equal(t, "192.168.0.254", of("a").Services.Subnets[0].Gateway.String())
	require.Equal(t, "fd00::1", of("a").Services.Subnets[1].Gateway.String())
	require.False(t, of("b").Services.Subnets[0].Gateway.IsValid())
	nodes, vnis := m.Touched()
	require.Equal(t, []string{"hv1"}, nodes)
	require.Empty(t, vnis, "no row follows from what stations are told")

	m.Put(r)
	again, _ := m.Behind("hv1", nil)
	require.Equal(t, now, again, "the same once more changes nothing")
	m.Delete(r.Ref())
	require.False(t, of("a").Services.Subnets[0].Gateway.IsValid())
	silent := *na
	silent.Spec.DHCP = nil
	m.Put(&silent)
	require.Nil(t, of("a").Services)
	require.NotNil(t, of("b").Services)
	m.Delete(na.Ref())
	require.Empty(t, m.served.of)
}

func TestQoSIsCompiled(t *testing.T) {
	ef := uint8(46)
	for _, c := range []struct {
		in   *intent.QoS
		want *QoS
	}{
		{nil, nil},
		{&intent.QoS{}, nil},
		{&intent.QoS{DSCP: &ef}, &QoS{Mark: true, DSCP: 46}},
		{&intent.QoS{Out: intent.RateLimit{Rate: "10M"}}, &QoS{Out: Limit{10000, 1000}}},
		{&intent.QoS{In: intent.RateLimit{Rate: "64k"}}, &QoS{In: Limit{64, leastBurst}}},
		{&intent.QoS{In: intent.RateLimit{Rate: "1000G", Burst: "12001"}}, &QoS{In: Limit{1e9, 13}}},
	} {
		require.Equal(t, c.want, compileQoS(c.in))
	}
	zero := uint8(0)
	require.False(t, compileQoS(&intent.QoS{DSCP: &zero}).Equal(nil), "best effort is a mark")
}

// A tenant's limits come to all its ports, whoever is there first, and to no other's;
// what does not change them touches nobody.
func TestTenantLimitsFollow(t *testing.T) {
	m, _ := servedModel()
	of := func(name string) *QoS {
		return m.Local("hv1")[intent.Ref{Kind: intent.KindPort, Tenant: "t", Name: name}].TenantQoS
	}
	tenant := func(name string, q *intent.TenantQoS) *intent.Tenant {
		return &intent.Tenant{Metadata: intent.Metadata{Name: name}, Spec: intent.TenantSpec{QoS: q}}
	}
	rev := func() uint64 { r, _ := m.Behind("hv1", nil); return r }
	at := rev()
	m.Put(tenant("t", nil))
	m.Put(tenant("t", &intent.TenantQoS{}))
	m.Put(tenant("other", &intent.TenantQoS{Out: intent.RateLimit{Rate: "1M"}}))
	require.Equal(t, at, rev())
	require.False(t, m.LimitsTenant("t"))
	require.Nil(t, of("a"))

	limited := tenant("t", &intent.TenantQoS{Out: intent.RateLimit{Rate: "1M"}, In: intent.RateLimit{Rate: "2M", Burst: "1M"}})
	m.Put(limited)
	require.Equal(t, at+2, rev(), "both ports")
	require.Equal(t, &QoS{Out: Limit{1000, 100}, In: Limit{2000, 1000}}, of("a"))
	require.Same(t, of("a"), of("b"))
	require.True(t, m.LimitsTenant("t"))
	nodes, vnis := m.Touched()
	require.Equal(t, []string{"hv1"}, nodes)
	require.Empty(t, vnis)
	m.Put(limited)
	require.Equal(t, at+2, rev())

	m.Put(port("c", "na", 3, intent.Binding{IfaceID: "c"}))
	m.Observe("hv1", []Interface{{Name: "tapa", IfaceID: "a", OFPort: 1}, {Name: "tapc", IfaceID: "c", OFPort: 3}})
	require.Same(t, of("a"), of("c"), "one that comes later")
	m.Delete(limited.Ref())
	require.Nil(t, of("a"))
	require.Nil(t, of("c"))
	require.Len(t, m.limits, 1)
}
