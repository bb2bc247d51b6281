package intent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLineViews(t *testing.T) {
	at := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }
	s := &InterconnectSpec{Lines: []Line{
		{Name: "private", Node: "leaf1", Interface: "dci", Peer: at(1), Preference: 200},
		{Name: "vpn1", Node: "leaf2", Interface: "dci", Peer: at(3)},
		{Name: "vpn2", Node: "leaf2", Interface: "dci2", Peer: at(5)},
	}}
	since := time.Unix(1000, 0)
	session := func(peers ...string) (out []LineSession) {
		for i, p := range peers {
			out = append(out, LineSession{p, since.Add(time.Duration(i) * time.Second)})
		}
		return out
	}
	for name, c := range map[string]struct {
		sessions map[string][]LineSession
		states   []LineState
		inUse    []bool
	}{
		"all up":           {map[string][]LineSession{"leaf1": session("dci", "192.0.2.1"), "leaf2": session("192.0.2.3", "192.0.2.5", "dci", "dci2")}, []LineState{LineUp, LineUp, LineUp}, []bool{true, false, false}},
		"primary cut":      {map[string][]LineSession{"leaf1": {}, "leaf2": session("dci", "192.0.2.3", "dci2", "192.0.2.5")}, []LineState{LineDown, LineUp, LineUp}, []bool{false, true, true}},
		"primary held":     {map[string][]LineSession{"leaf1": session("dci"), "leaf2": session("dci", "192.0.2.3", "dci2")}, []LineState{LineHeldDown, LineUp, LineHeldDown}, []bool{false, true, false}},
		"all held":         {map[string][]LineSession{"leaf1": session("dci"), "leaf2": session("dci")}, []LineState{LineHeldDown, LineHeldDown, LineDown}, []bool{true, true, false}},
		"a silent border":  {map[string][]LineSession{"leaf2": session("dci2", "192.0.2.5")}, []LineState{LineUnknown, LineDown, LineUp}, []bool{false, false, true}},
		"nothing is known": {nil, []LineState{LineUnknown, LineUnknown, LineUnknown}, []bool{false, false, false}},
	} {
		t.Run(name, func(t *testing.T) {
			views := LineViews(s, func(node string) ([]LineSession, bool) { l, ok := c.sessions[node]; return l, ok })
			for i, v := range views {
				require.Equal(t, c.states[i], v.State, v.Name)
				require.Equal(t, c.inUse[i], v.InUse, v.Name)
				require.Equal(t, v.State == LineUp || v.State == LineHeldDown, !v.Since.IsZero())
			}
		})
	}
	views := LineViews(s, func(string) ([]LineSession, bool) { return session("dci", "192.0.2.1"), true })
	require.Equal(t, since.Add(time.Second), views[0].Since, "of the session with the line's preference")
}
