package engine

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// way is an edge that leads outside as it is told to.
type way struct {
	node   string
	mu     sync.Mutex
	report *leafstate.RouterReport
}

func (w *way) Outside(intent.VNI) (leafstate.RouterReport, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.report == nil {
		return leafstate.RouterReport{}, false
	}
	return *w.report, true
}

func (w *way) OutsideError(*intent.ExternalNetwork) *southbound.OpError {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.report == nil {
		return &southbound.OpError{Device: w.node, Op: "lead outside", Code: southbound.CodeNotReady, Err: errors.New("no VRF yet")}
	}
	return nil
}

// Status says of an external network what its borders say.
func TestExternalNetworksStatus(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.1")
	n := &intent.ExternalNetwork{Metadata: intent.Metadata{Name: "internet"}, Spec: intent.ExternalNetworkSpec{VNI: 7000,
		Borders: []intent.Border{{Node: "leaf1", Peers: []intent.BorderPeer{{Address: peer, ASN: 64999}}}, {Node: "hv1"}, {Node: "nowhere"}}}}
	ways := map[string]*way{}
	var mu sync.Mutex
	b := newBedWith(t, func(c *Config) {
		make := c.NewDriver
		c.NewDriver = func(n *intent.Node, f southbound.Feed) southbound.Driver {
			d := make(n, f).(*edge)
			if n.Spec.EVPN == nil {
				return d
			}
			mu.Lock()
			defer mu.Unlock()
			ways[d.node] = &way{node: d.node}
			return outsideDriver{d, ways[d.node]}
		}
	}, hv(1), evpnLeaf(), n)
	reasons := func(s *intent.Status) (codes []string) {
		for _, r := range s.Reasons {
			codes = append(codes, r.Device+" "+r.Code)
		}
		return codes
	}
	st := b.untilPhase(n, intent.PhasePending)
	require.Subset(t, reasons(st), []string{"leaf1 " + southbound.CodeNotReady, "hv1 " + southbound.AlarmCapability, "nowhere UnknownNode"})
	require.Equal(t, []intent.OutsideSession{{Node: "leaf1", Peer: peer, ASN: 64999, State: "Unknown"}}, st.Outside)

	say := func(s leafstate.OutsideSession) {
		mu.Lock()
		w := ways["leaf1"]
		mu.Unlock()
		w.mu.Lock()
		w.report = &leafstate.RouterReport{VNI: 7000, Sessions: []leafstate.OutsideSession{s}}
		w.mu.Unlock()
	}
	say(leafstate.OutsideSession{Peer: peer, State: "Active"})
	st = b.Status(n)
	require.Equal(t, intent.PhasePending, st.Phase, "no way leads outside")
	require.Contains(t, reasons(st), "leaf1 "+southbound.AlarmPeerDown)

	say(leafstate.OutsideSession{Peer: peer, State: "Established", Taken: 3, Announced: 1})
	st = b.Status(n)
	require.Equal(t, intent.PhaseDegraded, st.Phase, "one does, others don't")
	require.Equal(t, 3, st.Outside[0].Taken)

	less := &intent.ExternalNetwork{Metadata: n.Metadata, Spec: n.Spec}
	less.Spec.Borders = n.Spec.Borders[:1]
	b.put(less)
	st = b.untilPhase(less, intent.PhaseReady)
	require.Equal(t, less.Metadata.Revision, st.Applied)

	none := &intent.ExternalNetwork{Metadata: n.Metadata, Spec: n.Spec}
	none.Spec.Borders = nil
	b.put(none)
	b.until("nobody leads outside", func() bool { return slices.Equal(reasons(b.Status(none)), []string{" NoBorder"}) })
}

// outsideDriver is an edge, and what it says of the outside.
type outsideDriver struct {
	*edge
	way *way
}

func (d outsideDriver) Outside(v intent.VNI) (leafstate.RouterReport, bool) { return d.way.Outside(v) }
func (d outsideDriver) OutsideError(n *intent.ExternalNetwork) *southbound.OpError {
	return d.way.OutsideError(n)
}
