package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

func TestPlaceOfABox(t *testing.T) {
	e, pass := wiredEngine(t)
	e.put(&intent.Node{Metadata: intent.Metadata{Name: "leaf3"}, Spec: intent.NodeSpec{Role: intent.RoleLeaf, Serial: "S3"}})
	e.put(&intent.Node{Metadata: intent.Metadata{Name: "leaf4"}, Spec: intent.NodeSpec{Role: intent.RoleLeaf, MAC: intent.MAC{2, 4}}})
	e.put(&intent.Node{Metadata: intent.Metadata{Name: "leaf5"}, Spec: intent.NodeSpec{Role: intent.RoleLeaf, MAC: intent.MAC{2, 5}, Serial: "S5"}})
	e.put(&intent.Node{Metadata: intent.Metadata{Name: "hv1"}, Spec: intent.NodeSpec{Role: intent.RoleServer}})
	e.put(cable("leaf3", "eth1", "spine1", "eth3"))
	e.put(cable("hv1", "eth1", "spine1", "eth4"))
	// The spine hears boxes: A where leaf2 belongs, B where leaf3 does, and C where
	// a server does.
	e.TakeSwitch("spine1", switchstate.Report{Serial: "SP1", Ports: []switchstate.Port{hearing("eth1", "leaf1", "eth1").Ports[0],
		hearing("eth2", "A", "eth1").Ports[0], hearing("eth3", "B", "eth1").Ports[0], hearing("eth4", "C", "eth1").Ports[0]}})
	hears := func(port string) []switchstate.Port { return hearing("eth1", "spine1", port).Ports }
	for _, c := range []struct {
		name      string
		box       switchstate.Announcement
		node, why string
	}{
		{"by cable", switchstate.Announcement{Serial: "A", Ports: hears("eth2")}, "leaf2", "it is wired as leaf2 is to be: eth1 to spine1:eth2"},
		{"by serial, wherever it is wired", switchstate.Announcement{Serial: "S3"}, "leaf3", "it has the serial number of leaf3"},
		{"by the MAC address of the box", switchstate.Announcement{Serial: "X", MAC: intent.MAC{2, 4}}, "leaf4", "it has the MAC address of leaf4"},
		{"by that of a port", switchstate.Announcement{Serial: "X", Ports: []switchstate.Port{{Name: "eth9", MAC: intent.MAC{2, 4}}}}, "leaf4", "it has the MAC address of leaf4"},
		{"by name", switchstate.Announcement{Serial: "X", Node: "leaf1"}, "leaf1", "it was told to be leaf1"},
		{"a name that there is not", switchstate.Announcement{Serial: "X", Node: "leaf9"}, "", "there is no node leaf9: create it, or admit the box as another one"},
		{"the name of another box", switchstate.Announcement{Serial: "X", Node: "leaf3"}, "", "leaf3 is to be the box with serial S3 (spec.serial), and this one has X"},
		{"a name and the serial of another", switchstate.Announcement{Serial: "S3", Node: "leaf1"}, "", "it was told to be leaf1, but its serial number or MAC address is that of leaf3"},
		{"a MAC address with another serial", switchstate.Announcement{Serial: "X", MAC: intent.MAC{2, 5}}, "", "it has the MAC address of leaf5 (spec.mac), but the serial number X instead of S5"},
		{"wired as another box", switchstate.Announcement{Serial: "B", Ports: hears("eth3")}, "", "it is wired as leaf3 is to be, but that is the box with serial S3 (spec.serial)"},
		{"wired as a server", switchstate.Announcement{Serial: "C", Ports: hears("eth4")}, "", "it is wired as hv1 is to be, which is no switch of the fabric"},
		{"a stranger", switchstate.Announcement{Serial: "X"}, "", "none of its ports hears a switch of the fabric"},
	} {
		t.Run(c.name, func(t *testing.T) {
			node, why := e.PlaceBox(c.box)
			require.Equal(t, c.node, node)
			require.Equal(t, c.why, why)
		})
	}
	serial, live := e.LiveBox("spine1")
	require.True(t, live)
	require.Equal(t, "SP1", serial)
	pass(silentAfter + time.Second)
	_, live = e.LiveBox("spine1")
	require.False(t, live)
	node, why := e.PlaceBox(switchstate.Announcement{Serial: "A", Ports: hears("eth2")})
	require.Empty(t, node, "what a silent switch heard long ago counts for nothing")
	require.Equal(t, "eth1 hears spine1:eth2, which does not report to the controller", why)
}

// Boxes that wait are bounded, all of them and of one address, and forgotten when
// they are silent.
func TestUnknownBoxesAreBounded(t *testing.T) {
	e := New(Config{})
	now := time.Now()
	e.unknowns.now = func() time.Time { return now }
	hold := func(from string, n int) error {
		return e.HoldBox(Unknown{Announcement: switchstate.Announcement{Serial: fmt.Sprintf("S%d", n), Token: "secret"},
			Fingerprint: fmt.Sprintf("%s %d", from, n), From: netip.MustParseAddr(from), Why: "it is new"})
	}
	for i := range unknownFromMost {
		require.NoError(t, hold("192.0.2.1", i))
	}
	err := hold("192.0.2.1", unknownFromMost)
	require.ErrorIs(t, err, ErrManyUnknown)
	require.EqualError(t, err, "too many switches wait to be admitted: 64 from 192.0.2.1 do")
	require.NoError(t, hold("192.0.2.1", 0), "one that is known is heard all the same")
	for i := unknownFromMost; i < unknownMost; i++ {
		require.NoError(t, hold(fmt.Sprintf("192.0.3.%d", i/unknownFromMost), i))
	}
	require.ErrorIs(t, hold("192.0.4.1", 0), ErrManyUnknown)
	require.Len(t, e.UnknownBoxes(), unknownMost)
	for _, u := range e.UnknownBoxes() {
		require.Empty(t, u.Token, "tokens are kept nowhere")
	}
	since := e.UnknownBoxes()[0].Since
	now = now.Add(unknownAfter / 2)
	require.NoError(t, hold("192.0.2.1", 0))
	now = now.Add(unknownAfter/2 + time.Second)
	left := e.UnknownBoxes()
	require.Len(t, left, 1)
	require.Equal(t, since, left[0].Since)
	e.AdmitBox(left[0].Fingerprint, left[0].Serial, "leaf1", "it was admitted")
	require.Empty(t, e.UnknownBoxes())
	for _, fingerprint := range []string{"of S1", "of another that says S1"} {
		require.NoError(t, e.HoldBox(Unknown{Announcement: switchstate.Announcement{Serial: "S1", Node: "leaf1"}, Fingerprint: fingerprint, Why: "there is no node leaf1"}))
	}
	require.NoError(t, e.HoldBox(Unknown{Announcement: switchstate.Announcement{Serial: "S2", Node: "leaf1"}, Fingerprint: "of S2", Why: "there is no node leaf1"}))
	e.put(&intent.Node{Metadata: intent.Metadata{Name: "leaf1"}, Spec: intent.NodeSpec{Role: intent.RoleLeaf}})
	require.NoError(t, e.TakeSwitch("leaf1", switchstate.Report{Serial: "S1"}))
	require.Len(t, e.UnknownBoxes(), 1, "one that reports under the name it waited for waits no longer")
	require.Equal(t, "S2", e.UnknownBoxes()[0].Serial)
	events := e.Events()
	events = slices.DeleteFunc(events, func(ev southbound.Event) bool { return ev.Reason != "Joined" })
	require.Equal(t, "the switch with serial S0 is leaf1 now: it was admitted", events[len(events)-1].Message)
}
