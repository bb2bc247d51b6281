package linux

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/frr"
)

var (
	fdbA, fdbB   = intent.MAC{2, 1}, intent.MAC{2, 2}
	fdbP, fdbQ   = netip.MustParseAddr("10.254.0.2"), netip.MustParseAddr("10.254.0.3")
	fdbHost      = netip.MustParseAddr("10.0.0.13")
	fdbTunnelOfA = fdbKey{vni: 100, part: tunnelPart, mac: fdbA}
	fdbBridgeOfA = fdbKey{vni: 100, part: bridgePart, mac: fdbA}
	fdbFloodToP  = fdbKey{vni: 100, part: floodPart, ip: fdbP}
	fdbNeighbour = fdbKey{vni: 100, part: neighbourPart, ip: fdbHost}
)

// asZebra is what zebra has of one station behind one VTEP, and the kernel then.
func asZebra() (fdbWant, fdbKernel) {
	k := fdbKernel{fdb{
		fdbTunnelOfA: {fdbValue: fdbValue{vtep: fdbP}, device: 7, learned: true}, fdbBridgeOfA: {device: 7, learned: true},
		fdbFloodToP: {device: 7}, fdbNeighbour: {fdbValue: fdbValue{mac: fdbA}, device: 6, learned: true},
	}, map[station]bool{}, map[intent.VNI]segmentDevices{100: {vni: 100, vxlan: 7, bridge: 6}}}
	w := fdbWant{map[fdbKey]fdbValue{}, map[fdbKey]bool{}}
	w.heard(100, []netip.Addr{fdbP})
	w.take(100, map[intent.MAC]frr.EVPNPlace{fdbA: {VTEP: fdbP}}, map[netip.Addr]frr.EVPNPlace{fdbHost: {VTEP: fdbP, MAC: fdbA}}, k)
	return w, k
}

func never() bool { return false }

func everything() fdbScopes { return fdbScopes{100: {all: true}} }

// Each thing that a person can do to an entry is one difference, in words.
func TestCompareFDB(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(fdbWant, fdbKernel)
		want []string
	}{
		"as zebra has it":    {func(fdbWant, fdbKernel) {}, nil},
		"the tunnel is gone": {func(_ fdbWant, k fdbKernel) { delete(k.entries, fdbTunnelOfA) }, []string{"FDB entry 02:01:00:00:00:00 dev vx100 dst 10.254.0.2: was missing; put back"}},
		"the bridge's part":  {func(_ fdbWant, k fdbKernel) { delete(k.entries, fdbBridgeOfA) }, []string{"FDB entry 02:01:00:00:00:00 dev vx100 master: was missing; put back"}},
		"a VTEP that announced no IMET route, or whose entry zebra puts back": {func(_ fdbWant, k fdbKernel) { delete(k.entries, fdbFloodToP) }, nil},
		"a neighbour is gone": {func(_ fdbWant, k fdbKernel) { delete(k.entries, fdbNeighbour) }, []string{"neighbour 10.0.0.13 dev br100 lladdr 02:01:00:00:00:00: was missing; put back"}},
		"another VTEP": {func(_ fdbWant, k fdbKernel) {
			k.entries[fdbTunnelOfA] = fdbEntry{fdbValue: fdbValue{vtep: fdbQ}, device: 7}
		},
			[]string{"FDB entry 02:01:00:00:00:00 dev vx100: had dst 10.254.0.3; set back to dst 10.254.0.2"}},
		"another MAC": {func(_ fdbWant, k fdbKernel) {
			k.entries[fdbNeighbour] = fdbEntry{fdbValue: fdbValue{mac: fdbB, alien: true}, device: 6}
		},
			[]string{"neighbour 10.0.0.13 dev br100: had lladdr 02:02:00:00:00:00, not FRR's; set back to lladdr 02:01:00:00:00:00"}},
		"one VTEP too many": {func(_ fdbWant, k fdbKernel) {
			k.entries[fdbKey{vni: 100, part: floodPart, ip: fdbQ}] = fdbEntry{device: 7}
		},
			[]string{"FDB entry 00:00:00:00:00:00 dev vx100 dst 10.254.0.3: was added, and BGP has no such; removed"}},
		"a station of nobody's": {func(_ fdbWant, k fdbKernel) {
			k.entries[fdbKey{vni: 100, part: tunnelPart, mac: fdbB}] = fdbEntry{fdbValue: fdbValue{vtep: fdbQ}, device: 7}
			k.entries[fdbKey{vni: 100, part: bridgePart, mac: fdbB}] = fdbEntry{device: 7}
		}, []string{"FDB entry 02:02:00:00:00:00 dev vx100 dst 10.254.0.3: was added, and BGP has no such; removed", "FDB entry 02:02:00:00:00:00 dev vx100 master: was added, and BGP has no such; removed"}},
		"it is withdrawn": {func(w fdbWant, k fdbKernel) {
			for key := range k.entries {
				delete(k.entries, key)
				delete(w.want, key)
			}
		}, nil},
		"it moved to a port, and zebra knows": {func(w fdbWant, k fdbKernel) {
			delete(k.entries, fdbBridgeOfA)
			delete(w.want, fdbTunnelOfA)
			delete(w.want, fdbBridgeOfA)
			w.take(100, map[intent.MAC]frr.EVPNPlace{fdbA: {}}, nil, k)
		}, nil},
		"it moved to a port, and zebra is about to know": {func(w fdbWant, k fdbKernel) {
			delete(k.entries, fdbBridgeOfA)
			k.ports[station{100, fdbA}] = true
			w.take(100, map[intent.MAC]frr.EVPNPlace{fdbA: {VTEP: fdbP}}, nil, k)
		}, nil},
		"a neighbour that is not to be there yet": {func(w fdbWant, k fdbKernel) {
			delete(w.want, fdbNeighbour)
			w.take(100, nil, map[netip.Addr]frr.EVPNPlace{fdbHost: {MAC: fdbA}}, k)
		}, nil},
		"a neighbour for good, which zebra takes for one of its own": {func(w fdbWant, k fdbKernel) {
			delete(w.want, fdbNeighbour)
			k.entries[fdbNeighbour] = fdbEntry{fdbValue: fdbValue{mac: fdbB, alien: true}, device: 6}
			w.take(100, nil, map[netip.Addr]frr.EVPNPlace{fdbHost: {MAC: fdbB}}, k)
		}, []string{"neighbour 10.0.0.13 dev br100 lladdr 02:02:00:00:00:00, not FRR's: was added, and BGP has no such; removed"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, k := asZebra()
			c.do(w, k)
			var got []string
			for _, d := range compareFDB(w, k.entries, everything()) {
				got = append(got, d.String())
			}
			require.Equal(t, c.want, got)
		})
	}
}

// zebra is asked about what changed alone: what it was not asked for is nobody's fault.
func TestScopesOfFDB(t *testing.T) {
	_, k := asZebra()
	require.Empty(t, k.entries.changed(k.entries))
	now := fdb{}
	for key, e := range k.entries {
		now[key] = e
	}
	delete(now, fdbTunnelOfA)
	asked := k.entries.changed(now)
	require.Equal(t, fdbScopes{100: {macs: map[intent.MAC]bool{fdbA: true}, ips: map[netip.Addr]bool{}}}, asked)
	require.True(t, asked.has(fdbTunnelOfA) && asked.has(fdbBridgeOfA) && asked.has(fdbFloodToP))
	require.False(t, asked.has(fdbNeighbour))
	require.False(t, asked.has(fdbKey{vni: 100, mac: fdbB}))
	require.False(t, asked.has(fdbKey{vni: 101, mac: fdbA}))
	require.Empty(t, compareFDB(fdbWant{}, fdb{fdbKey{vni: 100, mac: fdbB}: {}}, asked))
	anew := fdb{}
	for key, e := range k.entries {
		e.device = 9
		anew[key] = e
	}
	require.True(t, k.entries.changed(anew).has(fdbNeighbour), "its device was made anew")
	require.True(t, fdb(nil).changed(anew).has(fdbTunnelOfA), "the first look")
}

// What differs is mended at a second look that still finds it so, and then ever less
// often; what others decide meanwhile is not.
func TestDoubtsOfFDB(t *testing.T) {
	w, k := asZebra()
	seen, asked := fdb{}, everything()
	for key, e := range k.entries {
		seen[key] = e
	}
	delete(k.entries, fdbTunnelOfA)
	now := time.Now()
	d := fdbDoubts{}
	look := func() int { return len(d.look(compareFDB(w, k.entries, asked), seen, asked, never, now)) }
	require.Zero(t, look())
	require.True(t, d.open(now))
	now = now.Add(fdbTime / 2)
	require.Zero(t, look(), "too early")
	now = now.Add(fdbTime)
	require.Equal(t, 1, look())
	require.False(t, d.open(now))
	require.Zero(t, look(), "it is just written")
	now = now.Add(2 * fdbTime)
	require.Equal(t, 1, look(), "somebody does it again and again")
	now = now.Add(2 * fdbTime)
	require.Zero(t, look())
	now = now.Add(2 * fdbTime)
	require.Equal(t, 1, look())

	// zebra gave it up, and then has it elsewhere.
	delete(w.want, fdbTunnelOfA)
	delete(w.want, fdbBridgeOfA)
	delete(k.entries, fdbBridgeOfA)
	require.Zero(t, look())
	require.Empty(t, d)
	w.want[fdbTunnelOfA] = fdbValue{vtep: fdbP}
	require.Zero(t, look())
	now = now.Add(fdbTime)
	w.want[fdbTunnelOfA] = fdbValue{vtep: fdbQ}
	require.Zero(t, look(), "another difference is another doubt")
}

// What nobody announced goes when it came while somebody looked, or when FRR runs for
// long: zebra that is started anew does not know yet what it has in the kernel.
func TestBogusEntriesOfFDB(t *testing.T) {
	w, k := asZebra()
	seen, asked, now := fdb{}, everything(), time.Now()
	for key, e := range k.entries {
		seen[key] = e
	}
	look := func(d fdbDoubts, seen fdb, settled bool) []fdbDiff {
		due := d.look(compareFDB(w, k.entries, asked), seen, asked, func() bool { return settled }, now)
		require.Empty(t, due)
		now = now.Add(fdbTime)
		return d.look(compareFDB(w, k.entries, asked), k.entries, asked, func() bool { return settled }, now)
	}
	added := fdbKey{vni: 100, part: tunnelPart, mac: fdbB}
	k.entries[added] = fdbEntry{fdbValue: fdbValue{vtep: fdbQ}, device: 7, learned: true}
	d := fdbDoubts{}
	due := look(d, seen, false)
	require.Len(t, due, 1)
	require.False(t, d.leftover(due[0]))
	require.Empty(t, look(fdbDoubts{}, nil, false), "it may be of the zebra before")
	d = fdbDoubts{}
	due = look(d, nil, true)
	require.Len(t, due, 1)
	require.True(t, d.leftover(due[0]))
	require.Empty(t, look(fdbDoubts{}, k.entries, false))
	k.entries[added] = fdbEntry{fdbValue: fdbValue{vtep: fdbQ}, device: 7}
	d = fdbDoubts{}
	due = look(d, nil, true)
	require.Len(t, due, 1)
	require.False(t, d.leftover(due[0]), "no daemon wrote it")

	delete(k.entries, added)
	delete(w.want, fdbNeighbour)
	k.entries[fdbNeighbour] = fdbEntry{fdbValue: fdbValue{mac: fdbB, alien: true}, device: 6}
	require.Len(t, look(fdbDoubts{}, seen, false), 1, "it came in place of zebra's")
}

// While the kernel tells of nothing there is no look, but for doubts, another state, what
// was missed, and once a minute.
func TestIdleFDB(t *testing.T) {
	now := time.Now()
	f := fdbState{seen: fdb{}, doubts: fdbDoubts{}, whole: now, rev: 7}
	require.True(t, f.idle(7, now))
	require.False(t, f.idle(8, now))
	require.False(t, f.idle(7, now.Add(fdbWhole)))
	f.doubts[fdbFloodToP] = fdbDoubt{}
	require.False(t, f.idle(7, now))
	require.False(t, fdbState{whole: now, rev: 7}.idle(7, now), "the look before failed")

	tables := NewTables()
	quiet, n := tables.quiet(0)
	require.False(t, quiet, "nothing is followed")
	tables.follows(true)
	quiet, n = tables.quiet(n)
	require.False(t, quiet, "what came before is not known")
	quiet, n = tables.quiet(n)
	require.True(t, quiet)
	tables.take(netlink.NeighUpdate{})
	quiet, n = tables.quiet(n)
	require.False(t, quiet)
	tables.follows(false)
	quiet, _ = tables.quiet(n)
	require.False(t, quiet)
	quiet, _ = (*Tables)(nil).quiet(0)
	require.False(t, quiet)
}

// Many entries of a kind are told in one line.
func TestRepairsOfFDB(t *testing.T) {
	var many []fdbDiff
	for i := range byte(fdbWordsMost + 1) {
		many = append(many, fdbDiff{key: fdbKey{vni: 100, mac: intent.MAC{2, i}}, want: fdbValue{vtep: fdbP}})
	}
	one := fdbDiff{key: fdbFloodToP}
	require.Equal(t, []string{"4 entries, among them " + many[0].String(), one.String()}, fdbRepairs(append(many, one)))
	require.Len(t, fdbRepairs(many[1:]), fdbWordsMost)
}
