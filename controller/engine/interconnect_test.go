package engine

import (
	"context"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// otherFabric is a speaker towards another fabric that keeps what it was told.
type otherFabric struct {
	speaker
	mu    sync.Mutex
	asn   uint32
	heard bool
	ended bool
	says  []evpn.Route
}

func (f *otherFabric) Run(ctx context.Context) error {
	<-ctx.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	return ctx.Err()
}

func (f *otherFabric) Heard() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.heard
}
func (f *otherFabric) Routes(string) []evpn.Route { return f.says }

func (f *otherFabric) set(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *otherFabric) is(what func() bool) func() bool {
	return func() bool { f.mu.Lock(); defer f.mu.Unlock(); return what() }
}

// announced counts the routes that it was told and has not been told to withdraw.
func (f *otherFabric) announced() int {
	f.speaker.mu.Lock()
	defer f.speaker.mu.Unlock()
	return len(f.speaker.routes)
}

func toEast(networks ...string) *intent.Interconnect {
	c := &intent.Interconnect{Metadata: intent.Metadata{Name: "east"}, Spec: intent.InterconnectSpec{ASN: 64513, Peers: []intent.FabricPeer{{Address: netip.MustParseAddr("192.0.2.1"), Password: "p"}}}}
	for _, n := range networks {
		c.Spec.Networks = append(c.Spec.Networks, intent.StretchedNetwork{Tenant: web().Metadata.Tenant, Network: n, RouteTarget: "65500:1"})
	}
	return c
}

const east = "east@192.0.2.1"

// newFabricBed is a bed with a speaker for leaves, and one for each interconnect, in
// the order in which they were made.
func newFabricBed(t *testing.T, objects ...intent.Object) (b *bed, s *speaker, made func(n int) *otherFabric) {
	s = &speaker{routes: map[evpn.RouteID]evpn.Route{}}
	var mu sync.Mutex
	var all []*otherFabric
	b = newBedWith(t, func(c *Config) {
		c.Speaker, c.ASN = s, 64512
		c.NewFabric = func(_ string, asn uint32) Fabric {
			f := &otherFabric{asn: asn, speaker: speaker{routes: map[evpn.RouteID]evpn.Route{}}}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, f)
			return f
		}
	}, objects...)
	return b, s, func(n int) (f *otherFabric) {
		b.until("a speaker is made", func() bool { mu.Lock(); defer mu.Unlock(); return len(all) > n })
		mu.Lock()
		defer mu.Unlock()
		return all[n]
	}
}

func TestOnlyStretchedNetworksAreAnnounced(t *testing.T) {
	p1, p2 := vm(1), vm(2)
	p1.Spec.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	other := web()
	other.Metadata.Name, other.Spec.VNI = "other", 200
	p2.Spec.Network = "other"
	b, _, made := newFabricBed(t, hv(1), web(), other, p1, p2, toEast("web"))
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = append(tap(1), tap(2)...) })
	f := made(0)
	b.until("the peer is known", func() bool { f.speaker.mu.Lock(); defer f.speaker.mu.Unlock(); return len(f.peers) == 1 && f.opened })
	require.Equal(t, BGPPeer{Name: east, Address: netip.MustParseAddrPort("192.0.2.1:179"), ASN: 64513, LocalASN: 64512, Password: "p", MaxRoutes: defaultMaxRoutes,
		HoldTime: toEast().Spec.Peers[0].Hold()}, f.peers[0])
	b.until("the rows of web are announced", func() bool { return f.announced() == 3 })
	b.until("they may be sent", f.released)
	r, ok := f.has(evpn.HostKey(p1.Spec.MAC, p1.Spec.Addresses[0]))
	require.True(t, ok)
	require.Equal(t, []intent.RouteTarget{toEast("web").Spec.Networks[0].Target()}, r.Targets, "the target between the fabrics, and no other")
	require.Equal(t, netip.MustParseAddr("10.0.0.1"), r.VTEP)
	require.Equal(t, intent.VNI(100), r.VNI)

	// What is there is not sent back, not even when it takes the place of ours.
	b.TakeRoutes(east, []overlay.RouteChange{{Route: evpn.Route{Key: evpn.MACKey(intent.MAC{2, 9}), RD: evpn.NewRD(64513, 100), VNI: 100, VTEP: netip.MustParseAddr("10.80.0.1"), Targets: r.Targets}}})
	b.until("it is in the table", func() bool { return len(b.Routes(100)) == 4 })
	require.Equal(t, "east", func() string {
		for _, r := range b.Routes(100) {
			if r.Origin == evpn.OriginFabric {
				return r.Node
			}
		}
		return ""
	}())
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = tap(2) })
	b.until("what is here no longer is withdrawn", func() bool { return f.announced() == 0 })
	b.edge("hv1").set(func() { b.edge("hv1").ifaces = append(tap(1), tap(2)...) })
	b.until("it is announced again", func() bool { return f.announced() == 3 })

	b.put(toEast("other"))
	b.until("another network is", func() bool {
		f.speaker.mu.Lock()
		defer f.speaker.mu.Unlock()
		for _, r := range f.routes {
			if r.VNI != 200 {
				return false
			}
		}
		return len(f.routes) > 0
	})
	b.put(toEast())
	b.until("none is", func() bool { return f.announced() == 0 })

	// Another AS is another speaker.
	c := toEast("web")
	c.Spec.ASN = 64514
	b.put(c)
	second := made(1)
	require.Equal(t, uint32(64514), second.asn)
	b.until("the first one ends", f.is(func() bool { return f.ended }))
	b.until("the second one announces", func() bool { return second.announced() == 3 })
	b.del(c.Ref())
	b.until("it ends with the interconnect", second.is(func() bool { return second.ended }))
	second.speaker.mu.Lock()
	defer second.speaker.mu.Unlock()
	require.Empty(t, second.peers, "the peers were told")
}

// EVPN leaves are told all there is at once after a start: what is in other fabrics,
// too, as long as these can be reached. These are told what leaves have.
func TestLeavesWaitForOtherFabrics(t *testing.T) {
	b, s, made := newFabricBed(t, evpnLeaf(), web(), toEast("web"))
	f := made(0)
	b.until("both sessions may start", func() bool { return f.open() && s.open() })
	b.PeerChanged("leaf1")
	require.False(t, s.released() || f.released())
	f.synced(east)
	b.PeerChanged(east)
	b.until("leaves may be told", s.released)
	require.False(t, f.released(), "the other fabric is told once the leaves were heard")
	s.synced("leaf1")
	b.PeerChanged("leaf1")
	b.until("all is known", f.released)
}

// Two controllers that start at once wait for each other's leaves, and not for each
// other's leaves to have been told.
func TestOtherFabricsDoNotWaitForLeavesToBeTold(t *testing.T) {
	b, s, made := newFabricBed(t, evpnLeaf(), web(), toEast("web"))
	f := made(0)
	b.until("both sessions may start", func() bool { return f.open() && s.open() })
	s.synced("leaf1")
	b.PeerChanged("leaf1")
	b.until("the other fabric may be told", f.released)
	require.False(t, s.released())
}

func TestLeavesDoNotWaitForAFabricThatIsNotThere(t *testing.T) {
	b, s, made := newFabricBed(t, evpnLeaf(), web(), toEast("web"))
	f := made(0)
	b.until("both sessions may start", func() bool { return f.open() && s.open() })
	f.set(func() { f.heard = true })
	b.PeerChanged(east)
	b.until("leaves may be told", s.released)
	st := b.Status(toEast("web"))
	require.Equal(t, intent.PhasePending, st.Phase)
	require.Equal(t, east, st.Reasons[0].Device)
}
