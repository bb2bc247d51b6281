package engine

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
)

// translated is a bed with a router that leads outside, with source NAT, and its
// port on hv1.
func translated(t *testing.T, more ...intent.Object) (*bed, *intent.Router, *intent.FloatingIP) {
	n, p, r := web(), vm(1), vrf("web")
	n.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("fd00::/64")}
	p.Spec.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fd00::1")}
	r.Spec.External = &intent.RouterExternal{Network: "internet", SNAT: true}
	x := &intent.ExternalNetwork{Metadata: intent.Metadata{Name: "internet"}, Spec: intent.ExternalNetworkSpec{VNI: 7000, Pools: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}}
	f := &intent.FloatingIP{Metadata: intent.Metadata{Name: "f", Tenant: "t"}, Spec: intent.FloatingIPSpec{External: "internet", Address: netip.MustParseAddr("203.0.113.9"), Port: p.Metadata.Name}}
	return newBed(t, append([]intent.Object{hv(1), hv(2), n, p, r, x, f}, more...)...), r, f
}

func TestFloatingIPIsReadyWhenItsEdgeTranslates(t *testing.T) {
	q := vm(2)
	q.Spec.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.2")}
	b, r, f := translated(t, q)
	require.Equal(t, "NotPlugged", b.untilPhase(f, intent.PhasePending).Reasons[0].Code)
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	b.edge("hv2").set(func() { b.edge("hv2").ifaces = tap(2) })
	st := b.untilPhase(f, intent.PhaseReady)
	require.Equal(t, "hv1", st.Node)
	require.Equal(t, int64(1), st.Applied)

	b.edge("hv2").set(func() { b.edge("hv2").down = errors.New("timed out") })
	later := *f
	later.Metadata.Revision, later.Spec.Address = 7, netip.MustParseAddr("203.0.113.10")
	require.Equal(t, "Loading", b.Status(&later).Reasons[0].Code)
	b.put(&later)
	st = b.untilPhase(&later, intent.PhaseDegraded)
	require.Equal(t, "hv2", st.Reasons[0].Device, "it does not know where the address is")
	b.edge("hv2").set(func() { b.edge("hv2").down = nil })
	b.untilPhase(&later, intent.PhaseReady)

	b.edge("hv1").set(func() { b.edge("hv1").down = errors.New("timed out") })
	require.Equal(t, "Unreachable", b.untilPhase(&later, intent.PhasePending).Reasons[0].Code)
	b.edge("hv1").set(func() { b.edge("hv1").down = nil })

	inside := *r
	inside.Spec.External = nil
	b.put(&inside)
	require.Contains(t, b.untilPhase(&later, intent.PhaseDegraded).Reasons[0].Message, "no router leads from the port's address to external network internet")
	b.del(vm(1).Ref())
	b.until("there is no port", func() bool { return b.Status(&later).Reasons[0].Code == "NoPort" })
}

// An edge that is no vSwitch does not translate, and that is said.
func TestFloatingIPOnAnotherKindOfEdge(t *testing.T) {
	b, _, f := translated(t, evpnLeaf())
	p := vm(1)
	p.Spec.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	p.Spec.Binding = intent.Binding{Node: "leaf1", Interface: "eth1"}
	b.put(p)
	b.edge("leaf1").set(func() { b.edge("leaf1").ifaces = []overlay.Interface{{Name: "eth1", OFPort: 1}} })
	st := b.untilPhase(f, intent.PhaseDegraded)
	require.Contains(t, st.Reasons[0].Message, "203.0.113.9 leads nowhere")
	require.Equal(t, "leaf1", st.Reasons[0].Device)
}

// A router with source NAT is Degraded while a hypervisor of its ports has no source
// address; that the pools have none of a family is no fault of the hypervisor's.
func TestRouterWithoutSourceAddressesIsDegraded(t *testing.T) {
	b, r, _ := translated(t)
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(1) })
	st := b.untilPhase(r, intent.PhaseDegraded)
	require.Equal(t, []intent.Reason{{Device: "hv1", Code: "NoSourceAddress",
		Message: "hv1 has no source address of IPv4 in external network internet: what ports there send outside is not translated, but for floating IPs",
		Action:  "name internet in spec.vswitch.sourceAddresses of Node hv1"}}, st.Reasons)
	n := hv(1)
	n.Spec.VSwitch.SourceAddresses = []intent.SourceAddress{{External: "internet", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.2")}}}
	b.put(n)
	b.untilPhase(r, intent.PhaseReady)
}
