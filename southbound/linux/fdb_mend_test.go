package linux

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/southbound/leafstate"
)

// What zebra does not know is nobody's once a reflector has told routes for a while, and
// as long as it does.
func TestFRRHasSettled(t *testing.T) {
	dir := t.TempDir()
	bgpd := newScripted(t, dir, "bgpd")
	s := New(Config{FRRDir: dir, Keeper: netip.MustParseAddr("127.0.0.2"), Logger: slog.New(slog.DiscardHandler)})
	want := leafstate.State{ASN: 65000, Peers: []leafstate.Peer{{Address: netip.MustParseAddr("192.0.2.1")}}}
	start := time.Now()
	settled := func(after time.Duration, peer, state string, up time.Duration, routes int) bool {
		t.Helper()
		bgpd.mu.Lock()
		bgpd.says = map[string]string{"show bgp l2vpn evpn summary json": fmt.Sprintf(`{"peers":{%q:{"state":%q,"peerUptimeMsec":%d,"pfxRcd":%d}}}`, peer, state, up.Milliseconds(), routes)}
		bgpd.mu.Unlock()
		yes, err := s.settled(t.Context(), want, start, start.Add(after))
		require.NoError(t, err)
		return yes
	}
	const keeper = "127.0.0.2"
	require.False(t, settled(59*time.Second, keeper, established, 2*time.Minute, 3), "FRR has just started")
	require.True(t, settled(time.Minute, keeper, established, time.Minute, 3))
	require.False(t, settled(time.Hour, keeper, established, 59*time.Second, 3), "the session is new")
	require.True(t, settled(time.Hour, keeper, established, time.Hour, 3))
	require.False(t, settled(time.Hour, keeper, "Active", 0, 0), "no session")
	require.False(t, settled(time.Hour, "192.0.2.7", established, time.Hour, 3), "somebody else's session")
	require.False(t, settled(time.Hour, keeper, established, time.Hour, 0), "a keeper that knows nothing itself")
	require.False(t, settled(time.Hour+59*time.Second, keeper, established, time.Hour, 1), "it begins to")
	require.True(t, settled(time.Hour+time.Minute, keeper, established, time.Hour, 3))

	bgpd.mu.Lock()
	bgpd.hangUp = "show"
	bgpd.mu.Unlock()
	yes, err := s.settled(t.Context(), want, start, start.Add(2*time.Hour))
	require.ErrorContains(t, err, "ask bgpd")
	require.False(t, yes)
}

// A run of FRR is that of both daemons, and since when the later one is there.
func TestRunOfFRR(t *testing.T) {
	dir := t.TempDir()
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	start := func(daemon string, at time.Time) {
		path := filepath.Join(dir, daemon+".vty")
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		require.NoError(t, os.Chtimes(path, at, at))
	}
	start("zebra", at)
	_, _, err := frrRun(dir)
	require.ErrorContains(t, err, "bgpd does not run")
	start("bgpd", at.Add(time.Minute))
	run, since, err := frrRun(dir)
	require.NoError(t, err)
	require.True(t, since.Equal(at.Add(time.Minute)))
	for _, daemon := range []string{"zebra", "bgpd"} {
		start(daemon, at.Add(time.Hour))
		again, since, err := frrRun(dir)
		require.NoError(t, err)
		require.NotEqual(t, run, again)
		require.True(t, since.Equal(at.Add(time.Hour)))
		run = again
	}
}
