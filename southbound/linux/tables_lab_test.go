//go:build lab

package linux

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// has reports whether the leaf's tables have an entry.
func (l *leaf) has(kind leafstate.EntryKind, mac intent.MAC) error {
	l.tables.mu.Lock()
	defer l.tables.mu.Unlock()
	var all []string
	for e := range l.tables.entries {
		if e.Kind == kind && e.MAC == mac {
			return nil
		}
		all = append(all, fmt.Sprint(e))
	}
	return fmt.Errorf("no %s of %s in %s", kind, mac, strings.Join(all, ", "))
}

// where waits until the tables have exactly one entry for a MAC, of a kind.
func (l *leaf) where(kind leafstate.EntryKind, mac intent.MAC) {
	l.r.t.Helper()
	other := map[leafstate.EntryKind]leafstate.EntryKind{leafstate.Local: leafstate.Remote, leafstate.Remote: leafstate.Local}[kind]
	l.r.wait(fmt.Sprintf("leaf %d has %s as %s only", l.i, mac, kind), func() error {
		if err := l.has(kind, mac); err != nil {
			return err
		}
		if l.has(other, mac) == nil {
			return fmt.Errorf("%s is %s as well", mac, other)
		}
		return nil
	})
}

func TestTablesFollowServersThatMove(t *testing.T) {
	r := newRig(t)
	a, b := r.up()
	a.follow()
	b.follow()
	r.reach(a, b)
	mac, ip := a.port(1).MAC, a.port(1).Addresses[0]
	a.where(leafstate.Local, mac)
	b.where(leafstate.Remote, mac)

	// The server's address comes and goes with a neighbour where it is.
	a.run("ip", "neigh", "replace", ip.String(), "lladdr", mac.String(), "dev", "br100", "nud", "reachable")
	r.wait("the address is told", func() error { return b.has(leafstate.Neighbour, mac) })
	a.run("ip", "neigh", "del", ip.String(), "dev", "br100")
	r.wait("the address is withdrawn", func() error {
		if b.has(leafstate.Neighbour, mac) == nil {
			return fmt.Errorf("%s is still a neighbour", ip)
		}
		return nil
	})

	// It moves there and back, without a word to the leaf that it leaves.
	from, to := a, b
	for range 4 {
		r.in(from.server(1), "ip", "link", "set", "eth0", "address", "02:00:00:00:99:99")
		s := to.state()
		s.Segments[0].Ports = []leafstate.Port{a.port(1)} // both leaves call it eth1
		to.mustApply(s)
		r.in(to.server(1), "ip", "link", "set", "eth0", "address", mac.String())
		r.in(to.server(1), "ip", "addr", "replace", ip.String()+"/24", "dev", "eth0")
		speak(to.server(1), ip)
		to.where(leafstate.Local, mac)
		from.where(leafstate.Remote, mac)
		from, to = to, from
	}
}

// speak has a server send a frame to all. Nobody answers it.
func speak(ns string, ip netip.Addr) {
	_ = exec.Command("ip", "netns", "exec", ns, "ping", "-c1", "-W0.01", "-b", "-I", ip.String(), "192.168.1.255").Run()
}

func TestTablesTenThousand(t *testing.T) {
	const n = 10000
	r := newRig(t)
	a, _ := r.up()
	stop := a.follow()
	add, remove := a.flood(n)
	flooded := func(e leafstate.Entry) bool {
		return e.Kind == leafstate.Remote && e.VTEP == netip.AddrFrom4([4]byte{10, 9, 0, 77})
	}
	count := func() int {
		a.tables.mu.Lock()
		defer a.tables.mu.Unlock()
		got := 0
		for e := range a.tables.entries {
			if flooded(e) {
				got++
			}
		}
		return got
	}
	until := func(want int) error {
		if got := count(); got != want {
			return fmt.Errorf("%d of %d", got, want)
		}
		return nil
	}
	timed := func(what string, f func()) {
		begin := time.Now()
		f()
		t.Logf("%s: %v", what, time.Since(begin))
	}
	a.tables.All()
	timed("10,000 entries written to the kernel", func() { a.batch(add) })
	timed("until the tables had them", func() { r.wait("all are there", func() error { return until(n) }) })
	timed("read anew", func() { require.NoError(t, a.read()) })
	require.NoError(t, until(n))
	more, _ := a.tables.Changes()
	more = slices.DeleteFunc(more, func(e leafstate.Entry) bool { return !flooded(e) }) // stations may speak meanwhile
	require.Len(t, more, n, "told once each")
	timed("the state applied again", func() { a.mustApply(a.state()) })
	a.batch(remove)
	r.wait("all are gone", func() error { return until(0) })

	// With hardly any buffer messages are lost; what is missed is read.
	stop()
	a.tables.buffer = 4096
	a.follow()
	a.batch(add)
	r.wait("all are there", func() error { return until(n) })
	a.batch(remove)
	r.wait("all are gone", func() error { return until(0) })
	a.tables.mu.Lock()
	defer a.tables.mu.Unlock()
	require.Positive(t, a.tables.lost, "messages were lost")
}

// flood has the commands for bridge(8) that add and remove remote stations.
func (l *leaf) flood(n int) (add, remove []byte) {
	var in, out bytes.Buffer
	for i := range n {
		mac := intent.MAC{2, 7, 7, 0, byte(i >> 8), byte(i)}
		fmt.Fprintf(&in, "fdb replace %s dev vx100 dst 10.9.0.77 self extern_learn\nfdb replace %s dev vx100 master extern_learn\n", mac, mac)
		fmt.Fprintf(&out, "fdb del %s dev vx100 self\nfdb del %s dev vx100 master\n", mac, mac)
	}
	return in.Bytes(), out.Bytes()
}

func (l *leaf) batch(commands []byte) {
	c := exec.Command("bridge", "-n", l.ns, "-batch", "-")
	c.Stdin = bytes.NewReader(commands)
	out, err := c.CombinedOutput()
	require.NoError(l.r.t, err, string(out))
}
