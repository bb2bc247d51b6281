//go:build lab

package linux

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/southbound/leafstate"
)

// FRR that is started anew knows no remote station until a reflector has told it all.
// Until then, however long that takes, the kernel keeps what it has and forwards: while
// there is no reflector, and while there is one that knows nothing itself, as a keeper
// that was started anew, too. Then what nobody announces goes.
func TestForwardingOutlivesFRRWhileNobodyTellsIt(t *testing.T) {
	const bogus = "02:00:00:00:00:98"
	r := newRig(t)
	a, b := r.up()
	r.reach(a, b)
	a.sw.settle = 2 * time.Second
	mac := b.port(1).MAC
	keys := []fdbKey{{vni: labVNI, part: tunnelPart, mac: mac}, {vni: labVNI, part: bridgePart, mac: mac}, {vni: labVNI, part: floodPart, ip: b.vtep()}}
	entries := func() string { return a.run("bridge", "fdb", "show", "dev", "vx100") }
	look := func() leafstate.InPlace {
		in, err := a.applied(a.state())
		require.NoError(t, err)
		for _, want := range []string{mac.String() + " dst " + b.vtep().String(), mac.String() + " extern_learn master", "00:00:00:00:00:00 dst " + b.vtep().String()} {
			require.Contains(t, entries(), want)
		}
		return in
	}
	// doubted waits until entries are otherwise than zebra has it, for longer than is
	// needed when it knows all.
	doubted := func(why string) {
		t.Helper()
		from := time.Now()
		r.wait(why, func() error {
			look()
			for _, k := range keys {
				d, ok := a.sw.fdb.doubts[k]
				if !ok || d.diff.fault != fdbBogus || !time.Now().After(d.due.Add(2*a.sw.settle)) || time.Since(from) < 3*a.sw.settle {
					return fmt.Errorf("%v: %+v", k, d)
				}
			}
			return nil
		})
	}

	a.zebra.stop()
	a.bgpd.stop()
	b.bgpd.stop()
	r.bgpd.stop()
	a.run("bridge", "fdb", "add", bogus, "dev", "vx100", "dst", "192.0.2.99", "self", "extern_learn")
	a.zebra, a.bgpd = r.startZebra(a.ns, a.dir), r.startBGP(a.ns, a.dir)
	doubted("no reflector")
	r.bgpd = r.startBGP(r.router, r.dir+"/rr")
	r.wait("a session with the reflector", func() error {
		look()
		if !strings.Contains(a.vty("bgpd", "show bgp l2vpn evpn summary json"), established) {
			return fmt.Errorf("none")
		}
		return nil
	})
	doubted("a reflector that knows nothing")
	require.Contains(t, entries(), bogus)

	a.sw.settle = 5 * time.Second // for all of b's routes to be there, on a machine that is busy
	b.bgpd = r.startBGP(b.ns, b.dir)
	b.mustApply(b.state())
	r.wait("the entry of nobody's is removed", func() error {
		look()
		if strings.Contains(entries(), bogus) {
			return fmt.Errorf("%+v", a.sw.fdb)
		}
		return nil
	})
	r.reach(a, b)
}
