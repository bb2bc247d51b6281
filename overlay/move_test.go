package overlay

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

func vtep(s string) netip.Addr { return netip.MustParseAddr(s) }

func leaf(i int) *intent.Node {
	n := hypervisor(i)
	n.Metadata.Name = "leaf" + string(rune('0'+i))
	n.Spec.Role, n.Spec.VSwitch, n.Spec.EVPN = intent.RoleLeaf, nil, &intent.EVPN{}
	return n
}

// twoHosts has port a on hv1, and hv2 ready for it.
func twoHosts(t *testing.T) (*Model, *intent.Port) {
	m := NewModel()
	m.Put(network("web", 100))
	m.Put(hypervisor(1))
	m.Put(hypervisor(2))
	p := port("a", "web", 7, intent.Binding{IfaceID: "vm-a"})
	m.Put(p)
	m.Observe("hv1", []Interface{{Name: "tap0", IfaceID: "vm-a", OFPort: 5}})
	m.Observe("hv2", nil)
	at, ok := m.Attachment(p.Ref())
	require.True(t, ok)
	require.Equal(t, "hv1", at.Node)
	require.Empty(t, m.TakeMoved())
	return m, p
}

func TestPortMovesWhenItSpeaks(t *testing.T) {
	m, p := twoHosts(t)
	m.Observe("hv2", []Interface{{Name: "tap9", IfaceID: "vm-a", OFPort: 2}})
	require.Len(t, m.Standby(p.Ref()), 1)
	require.Equal(t, []string{"hv1", "hv2"}, slices.Sorted(m.Carriers(100)), "the new place has the segment before the port is there")
	m.Announced("hv2", "tap8")
	at, _ := m.Attachment(p.Ref())
	require.Equal(t, "hv1", at.Node, "another interface has spoken")
	m.Announced("hv2", "tap9")
	at, _ = m.Attachment(p.Ref())
	require.Equal(t, "hv2", at.Node)
	require.False(t, m.Local("hv2")[p.Ref()].Standby)
	require.True(t, m.Local("hv1")[p.Ref()].Standby, "the old place is ready to take it back")
	r, _ := m.Segment(100).Get(evpn.MACKey(p.Spec.MAC))
	require.Equal(t, vtep("10.0.0.2"), r.VTEP)
	require.Equal(t, uint32(1), r.Seq)
	require.Equal(t, []Moved{{p.Ref(), intent.Place{Node: "hv1", Interface: "tap0"}, intent.Place{Node: "hv2", Interface: "tap9"}}}, m.TakeMoved())
	m.Observe("hv1", nil)
	require.Empty(t, m.Local("hv1"))
	require.Equal(t, []string{"hv2"}, slices.Sorted(m.Carriers(100)))
}

func TestPortMovesWhenTheOldPlaceIsGone(t *testing.T) {
	m, p := twoHosts(t)
	m.Observe("hv1", nil)
	_, ok := m.Attachment(p.Ref())
	require.False(t, ok)
	m.Observe("hv2", []Interface{{Name: "tap9", IfaceID: "vm-a", OFPort: 2}})
	r, _ := m.Segment(100).Get(evpn.MACKey(p.Spec.MAC))
	require.Equal(t, uint32(1), r.Seq)
	require.Len(t, m.TakeMoved(), 1, "unplugged before plugged is a move too")
}

func TestRequestedPlaceIsPreparedAndUsedOnArrival(t *testing.T) {
	m := NewModel()
	m.Put(network("web", 100))
	m.Put(hypervisor(1))
	m.Put(leaf(2))
	p := port("a", "web", 7, intent.Binding{Node: "hv1", Interface: "tap0"})
	m.Put(p)
	m.Observe("hv1", []Interface{{Name: "tap0", OFPort: 5}})
	m.Observe("leaf2", []Interface{{Name: "eth3", OFPort: 1}})
	require.Empty(t, m.Local("leaf2"))
	q := *p
	q.Spec.Requested = intent.Place{Node: "leaf2", Interface: "eth3"}
	m.Put(&q)
	require.True(t, m.Local("leaf2")[p.Ref()].Standby)
	// The leaf's routes for others change nothing.
	other := evpn.Route{Key: evpn.MACKey(intent.MAC{2, 8}), RD: evpn.NewRD(1, 1), VNI: 100, Targets: []intent.RouteTarget{intent.VNIRouteTarget(65001, 100)}, VTEP: vtep("10.0.0.2")}
	m.TakeRoutes("leaf2", []RouteChange{{Route: other}})
	at, _ := m.Attachment(p.Ref())
	require.Equal(t, "hv1", at.Node)
	mine := other
	mine.Key, mine.Seq = evpn.MACKey(p.Spec.MAC), 1
	m.TakeRoutes("leaf2", []RouteChange{{Route: mine}})
	at, _ = m.Attachment(p.Ref())
	require.Equal(t, "leaf2", at.Node)
	r, _ := m.Segment(100).Get(mine.Key)
	require.Equal(t, vtep("10.0.0.2"), r.VTEP)
	require.Equal(t, evpn.OriginPort, r.Origin)
	require.Empty(t, m.TakeAlarms(), "a move that was asked for is no spoofing")
	// The store then makes the requested place the binding.
	done := *p
	done.Spec.Binding = intent.Binding{Node: "leaf2", Interface: "eth3"}
	m.Put(&done)
	at, _ = m.Attachment(p.Ref())
	require.Equal(t, "leaf2", at.Node)
	require.Empty(t, m.Local("hv1"))
	require.Len(t, m.TakeMoved(), 1)
}

func TestPortInTwoPlacesIsKept(t *testing.T) {
	m, p := twoHosts(t)
	now := time.Unix(0, 0)
	m.Segment(100).Clock = func() time.Time { return now }
	m.Observe("hv2", []Interface{{Name: "tap9", IfaceID: "vm-a", OFPort: 2}})
	for i := range 20 {
		m.Announced([]string{"hv2", "hv1"}[i%2], []string{"tap9", "tap0"}[i%2])
	}
	alarms := m.TakeAlarms()
	require.Len(t, alarms, 1)
	require.Equal(t, AlarmDuplicateMAC, alarms[0].Reason)
	require.Len(t, m.TakeMoved(), 5, "the first was to where it had been plugged in")
	at, _ := m.Attachment(p.Ref())
	require.True(t, m.ClearDuplicate(100, p.Spec.MAC))
	require.False(t, m.ClearDuplicate(100, p.Spec.MAC))
	require.Len(t, m.TakeAlarms(), 1)
	m.Announced("hv2", "tap9")
	m.Announced("hv1", "tap0")
	is, _ := m.Attachment(p.Ref())
	require.NotEmpty(t, m.TakeMoved())
	require.Equal(t, "hv1", is.Node, "from %s", at.Node)
}

func TestPlaceInUseIsKnownAfterARestart(t *testing.T) {
	m := NewModel()
	m.Hold(true)
	m.Put(network("web", 100))
	m.Put(hypervisor(1))
	m.Put(hypervisor(2))
	p := port("a", "web", 7, intent.Binding{IfaceID: "vm-a"})
	m.Put(p)
	m.Observe("hv1", []Interface{{Name: "tap0", IfaceID: "vm-a", OFPort: 5}})
	_, ok := m.Attachment(p.Ref())
	require.False(t, ok, "hv2 may have it in use")
	require.True(t, m.Local("hv1")[p.Ref()].Standby)
	require.True(t, m.Unreported().Has(m.nodes["hv1"].vtep()), "what is behind hv1 is not known while the port is held back")
	m.Observe("hv2", []Interface{{Name: "tap9", IfaceID: "vm-a", OFPort: 2, Active: true}})
	at, _ := m.Attachment(p.Ref())
	require.Equal(t, "hv2", at.Node)
	require.True(t, m.Unreported().None())

	m.Delete(p.Ref())
	m.Observe("hv2", []Interface{{Name: "tap9", IfaceID: "vm-a", OFPort: 2}})
	m.Put(hypervisor(3))
	m.Put(p)
	_, ok = m.Attachment(p.Ref())
	require.False(t, ok, "hv3 has not reported")
	require.Equal(t, 3, m.Unreported().Len())
	m.Hold(false)
	require.Equal(t, 1, m.Unreported().Len())
	at, ok = m.Attachment(p.Ref())
	require.True(t, ok)
	require.Equal(t, "hv1", at.Node)
}

func TestReplicatorOfASwitchThatCannot(t *testing.T) {
	m, _ := twoHosts(t)
	hw := hypervisor(9)
	hw.Metadata.Name, hw.Spec.VSwitch = "tor", nil
	hw.Spec.HardwareVTEP = &intent.HardwareVTEP{Replication: serviceNode}
	m.Put(hw)
	m.Put(port("s", "web", 9, intent.Binding{Node: "tor", Interface: "eth1"}))
	m.Observe("tor", []Interface{{Name: "eth1", OFPort: 1}})
	of := func() netip.Addr {
		r, ok := m.Segment(100).Get(evpn.FloodKey(vtep("10.0.0.9")))
		require.True(t, ok)
		return r.Replicator
	}
	require.Equal(t, vtep("10.0.0.1"), of())
	m.Observe("hv1", nil)
	require.False(t, of().IsValid(), "no vSwitch has the segment")
	m.Observe("hv2", []Interface{{Name: "tap9", IfaceID: "vm-a", OFPort: 2}})
	require.Equal(t, vtep("10.0.0.2"), of())
}

func TestPortThatIsPluggedEachTimeIsNoDuplicate(t *testing.T) {
	m, _ := twoHosts(t)
	for i := range 20 {
		from, to, iface := "hv1", "hv2", "tap9"
		if i%2 == 1 {
			from, to, iface = "hv2", "hv1", "tap0"
		}
		m.Observe(to, []Interface{{Name: iface, IfaceID: "vm-a", OFPort: 2}})
		m.Announced(to, iface)
		require.Len(t, m.TakeMoved(), 1)
		m.Observe(from, nil)
	}
	require.Empty(t, m.TakeAlarms())
}
