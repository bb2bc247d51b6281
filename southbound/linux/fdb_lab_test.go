//go:build lab

package linux

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// Each kind of entry is written as zebra writes it, read as it was written, and removed,
// also when somebody else wrote it.
func TestForwardingTablesOfTheKernel(t *testing.T) {
	ns := fmt.Sprintf("wfdb%d", os.Getpid())
	sh := func(line string) string {
		t.Helper()
		out, err := exec.Command("ip", "netns", "exec", ns, "sh", "-ec", line).CombinedOutput()
		require.NoError(t, err, "%s: %s", line, out)
		return string(out)
	}
	require.NoError(t, exec.Command("ip", "netns", "add", ns).Run())
	t.Cleanup(func() { require.NoError(t, exec.Command("ip", "netns", "del", ns).Run()) })
	sh(`ip link set lo up; ip addr add 10.254.0.1/32 dev lo
ip link add br100 type bridge; ip link set br100 alias weft up
ip link add vx100 type vxlan id 100 local 10.254.0.1 dstport 4789 nolearning; ip link set vx100 alias weft master br100 up`)
	read := func() (k fdbKernel) {
		t.Helper()
		require.NoError(t, netns.Do(ns, func() (err error) {
			k, err = readFDB(leafstate.State{Segments: []leafstate.Segment{{VNI: 100}}})
			return err
		}))
		return k
	}
	show := func() string { return sh("bridge fdb show dev vx100; ip neigh show dev br100") }
	mend := func(x fdbDiff) {
		t.Helper()
		k := read()
		require.NoError(t, netns.Do(ns, func() error { return k.mend(x) }))
	}
	require.Empty(t, read().entries)

	w, asIt := asZebra()
	for _, d := range compareFDB(w, fdb{}, everything()) {
		mend(d)
	}
	sh("bridge fdb append 00:00:00:00:00:00 dev vx100 dst 10.254.0.2 self permanent") // as zebra does; the agent leaves it to zebra
	k := read()
	require.Len(t, k.entries, len(asIt.entries))
	for key, e := range asIt.entries {
		require.Equal(t, e.fdbValue, k.entries[key].fdbValue)
		require.Equal(t, e.learned, k.entries[key].learned, "%+v", key)
	}
	for _, line := range []string{"02:01:00:00:00:00 extern_learn master br100", "02:01:00:00:00:00 dst 10.254.0.2 self extern_learn", "00:00:00:00:00:00 dst 10.254.0.2 self permanent",
		"10.0.0.13 lladdr 02:01:00:00:00:00 extern_learn NOARP"} {
		require.Contains(t, show(), line)
	}

	sh(`bridge fdb replace 02:01:00:00:00:00 dev vx100 dst 192.0.2.99 self
bridge fdb append 00:00:00:00:00:00 dev vx100 dst 192.0.2.99 self
bridge fdb add 02:00:00:00:00:99 dev vx100 dst 192.0.2.99 self master extern_learn
bridge fdb add 02:00:00:00:00:98 dev vx100 dst 192.0.2.99 self
bridge fdb add 02:00:00:00:00:97 dev vx100 master static
bridge fdb add 02:00:00:00:00:96 dev vx100 master permanent
ip neigh replace 10.0.0.13 lladdr 02:00:00:00:00:99 dev br100 nud permanent
ip neigh replace 10.0.0.14 lladdr 02:00:00:00:00:99 dev br100 nud permanent`)
	diffs := compareFDB(w, read().entries, everything())
	require.Len(t, diffs, 9)
	for _, d := range diffs {
		mend(d)
	}
	require.Empty(t, compareFDB(w, read().entries, everything()))
	require.NotContains(t, show(), "192.0.2.99")
	require.NotContains(t, show(), "02:00:00:00:00:9")
	require.Contains(t, show(), "02:01:00:00:00:00 dst 10.254.0.2 self extern_learn", "FRR's again")

	for key, e := range read().entries {
		mend(fdbDiff{key: key, fault: fdbBogus, have: e})
		mend(fdbDiff{key: key, fault: fdbBogus, have: e}) // it is gone already
	}
	require.Empty(t, read().entries)
	require.Contains(t, show(), "master br100 permanent", "the device's own")

	// A station that may not move is one that zebra writes so.
	sh("bridge fdb add 02:01:00:00:00:00 dev vx100 master static sticky")
	mend(fdbDiff{key: fdbTunnelOfA, want: fdbValue{vtep: fdbP}})
	require.True(t, strings.Contains(show(), "02:01:00:00:00:00 dst 10.254.0.2 self static") || strings.Contains(show(), "02:01:00:00:00:00 dst 10.254.0.2 self sticky static"), show())
}
