//go:build lab

package lab

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

// forwardingTables changes what zebra wrote into leaf1's forwarding tables by hand: each
// change is mended and told, and what is withdrawn meanwhile stays away.
func (w *site) forwardingTables() {
	vni := w.l2vni("leaf1")
	br, vx := "br"+vni, "vx"+vni
	mac, far := w.remoteEntry("leaf1", vx), w.specOf("leaf2").VTEP.String()
	const flood, nobody, bogus = "00:00:00:00:00:00", "192.0.2.99", "02:00:00:00:00:99"
	const other = "02:00:00:00:00:97"
	var host string // zebra's entry, which may come after that of its MAC
	w.eventually(patience, func() error {
		have := strings.Fields(w.shell("leaf1", "ip neigh show dev "+br+" nud noarp"))
		if len(have) == 0 {
			return fmt.Errorf("leaf1 has no neighbour behind another VTEP")
		}
		host = have[0]
		return nil
	})
	sh := func(line string) func() { return func() { w.shell("leaf1", line) } }
	entries := func(want, not string) func() error {
		return func() error {
			have := w.shell("leaf1", "bridge fdb show dev "+vx+"; ip neigh show dev "+br)
			if want != "" && !strings.Contains(have, want) || not != "" && strings.Contains(have, not) {
				return fmt.Errorf("leaf1 is to have %q and not %q: %s", want, not, have)
			}
			return nil
		}
	}
	w.handChange(handChange{"an FDB entry removed", "leaf1", sh("bridge fdb del " + mac + " dev " + vx + " dst " + far + " self"),
		regexp.MustCompile(`FDB entry ` + mac + ` dev ` + vx + ` dst ` + far + `: was missing; put back`), entries(mac+" dst "+far+" self extern_learn", "")})
	w.pass()
	w.handChangesAtOnce(
		handChange{"the VTEP of an FDB entry changed", "leaf1", sh("bridge fdb replace " + mac + " dev " + vx + " dst " + nobody + " self"),
			regexp.MustCompile(`FDB entry ` + mac + ` dev ` + vx + `: had dst ` + nobody + `; set back to dst ` + far), entries(mac+" dst "+far+" self extern_learn", mac+" dst "+nobody)},
		handChange{"a flood entry removed", "leaf1", sh("bridge fdb del " + flood + " dev " + vx + " dst " + far + " self"),
			nil, entries(flood+" dst "+far+" self permanent", "")},
		handChange{"a flood entry added", "leaf1", sh("bridge fdb append " + flood + " dev " + vx + " dst " + nobody + " self"),
			regexp.MustCompile(`FDB entry ` + flood + ` dev ` + vx + ` dst ` + nobody + `: was added.*removed`), entries("", flood+" dst "+nobody)},
		handChange{"an FDB entry added", "leaf1", sh("bridge fdb add " + bogus + " dev " + vx + " dst " + nobody + " self master extern_learn"),
			regexp.MustCompile(`FDB entry ` + bogus + ` dev ` + vx + ` dst ` + nobody + `: was added.*removed`), entries("", bogus)},
		handChange{"a neighbour changed", "leaf1", sh("ip neigh replace " + host + " lladdr " + other + " dev " + br + " nud permanent"),
			regexp.MustCompile(`neighbour ` + host + ` dev ` + br + `.* lladdr ` + other), entries("", other)},
	)
	w.pass()
	w.Logf("leaf1's neighbours: %s", w.shell("leaf1", "ip neigh show dev "+br))
	w.withdrawn(vx, mac, far)
}

// withdrawn takes server2's port away just when somebody removed its entry on leaf1.
func (w *site) withdrawn(vx, mac, far string) {
	var port *intent.Port
	for _, o := range w.objects {
		if p, ok := o.(*intent.Port); ok && p.Spec.MAC.String() == mac {
			port = p
		}
	}
	require.NotNil(w, port, "whose port has %s", mac)
	w.shell("leaf1", "bridge fdb del "+mac+" dev "+vx+" dst "+far+" self")
	_, err := w.client.Delete(w.Context(), port.Ref(), client.DeleteOptions{})
	require.NoError(w, err)
	gone := func() error {
		if have := w.shell("leaf1", "bridge fdb show dev "+vx); strings.Contains(have, mac) {
			return fmt.Errorf("%s is withdrawn: %s", mac, have)
		}
		return nil
	}
	w.eventually(patience, gone)
	// Another change is mended by looks that came after the withdrawal.
	const bogus = "02:00:00:00:00:98"
	w.handChange(handChange{"an FDB entry added after a withdrawal", "leaf1", func() { w.shell("leaf1", "bridge fdb add "+bogus+" dev "+vx+" dst "+far+" self") },
		regexp.MustCompile(`FDB entry ` + bogus + ` dev ` + vx + ` dst ` + far + `: was added.*removed`), gone})
	w.put(port)
	w.ready(patience)
}
