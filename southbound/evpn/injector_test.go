package evpn

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/stretchr/testify/require"
)

func injection(prefix string, hops ...string) Injection {
	r := Injection{Prefix: netip.MustParsePrefix(prefix)}
	for _, h := range hops {
		var weight int
		a, w, _ := strings.Cut(h, "*")
		if _, err := fmt.Sscan(w, &weight); err != nil {
			panic(err)
		}
		r.Hops = append(r.Hops, InjectedHop{netip.MustParseAddr(a), weight})
	}
	return r
}

func TestWrongInjectionsAreRefused(t *testing.T) {
	i := NewInjector(InjectorConfig{})
	for want, routes := range map[string][]Injection{
		"route 10.0.0.1/24: it is not an IPv4 prefix":                    {injection("10.0.0.1/24", "10.1.0.0*1")},
		"route 2001:db8::/64: it is not an IPv4 prefix":                  {injection("2001:db8::/64", "10.1.0.0*1")},
		"route 10.0.0.0/24: 0 next hops are outside 1..64":               {injection("10.0.0.0/24")},
		"route 10.0.0.0/24: next hop 10.1.0.0 with weight 0 can't be":    {injection("10.0.0.0/24", "10.1.0.0*0")},
		"route 10.0.0.0/24: next hop 2001:db8::1 with weight 1 can't be": {injection("10.0.0.0/24", "2001:db8::1*1")},
		"route 10.0.0.0/24: next hop 10.1.0.0 is there twice":            {injection("10.0.0.0/24", "10.1.0.0*1", "10.1.0.0*2")},
		"route 10.0.0.0/24 is given twice":                               {injection("10.0.0.0/24", "10.1.0.0*1"), injection("10.0.0.0/24", "10.1.0.2*1")},
	} {
		require.EqualError(t, i.Set(routes), want)
	}
	require.EqualError(t, i.Run(context.Background()), "an injector needs a leaf, its AS and a router ID")
}

// gobgpLeaf is an independent speaker that takes what is injected, and writes down
// what it has after each change.
type gobgpLeaf struct {
	mu      sync.Mutex
	paths   map[string]string // by prefix and path identifier
	history []string
}

func (l *gobgpLeaf) take(p *api.Path) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var prefix api.IPAddressPrefix
	if p.Nlri == nil || p.Nlri.UnmarshalTo(&prefix) != nil {
		return
	}
	key := fmt.Sprintf("%s/%d %d", prefix.Prefix, prefix.PrefixLen, p.Identifier)
	if p.IsWithdraw {
		delete(l.paths, key)
	} else {
		l.paths[key] = words(p)
	}
	l.history = append(l.history, l.text())
}

// text is all paths: next hop, local preference, communities and bandwidth.
func (l *gobgpLeaf) text() string {
	var out []string
	for k, v := range l.paths {
		prefix, _, _ := strings.Cut(k, " ")
		out = append(out, prefix+" "+v)
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func (l *gobgpLeaf) has() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text()
}

func words(p *api.Path) string {
	var hop api.NextHopAttribute
	var preference api.LocalPrefAttribute
	var communities api.CommunitiesAttribute
	var extended api.ExtendedCommunitiesAttribute
	var bandwidth api.LinkBandwidthExtended
	for _, a := range p.Pattrs {
		_ = a.UnmarshalTo(&hop)
		_ = a.UnmarshalTo(&preference)
		_ = a.UnmarshalTo(&communities)
		if a.UnmarshalTo(&extended) == nil {
			for _, c := range extended.Communities {
				_ = c.UnmarshalTo(&bandwidth)
			}
		}
	}
	return fmt.Sprintf("%s*%.0f pref %d %x", hop.NextHop, bandwidth.Bandwidth/perWeight, preference.LocalPref, communities.Communities)
}

// What a leaf gets: each next hop as a path of its own with its weight, not to be
// passed on; what is replaced is there before the old goes, so that the leaf never is
// without a path between two steered states.
func TestInjectorMakesBeforeItBreaks(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	log := slog.New(slog.DiscardHandler)
	server, at, err := startGoBGP(ctx, 65001, netip.MustParseAddr("10.255.0.1"), netip.MustParseAddrPort("127.0.0.1:0"), log)
	require.NoError(t, err)
	defer server.Stop()
	leaf := &gobgpLeaf{paths: map[string]string{}}
	family := &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
	require.NoError(t, server.AddPeer(ctx, &api.AddPeerRequest{Peer: &api.Peer{
		Conf:      &api.PeerConf{NeighborAddress: "127.0.0.2", PeerAsn: 65001, LocalAsn: 65001},
		Transport: &api.Transport{PassiveMode: true},
		AfiSafis:  []*api.AfiSafi{{Config: &api.AfiSafiConfig{Family: family, Enabled: true}, AddPaths: &api.AddPaths{Config: &api.AddPathsConfig{Receive: true}}}},
	}}))
	require.NoError(t, server.WatchEvent(ctx, &api.WatchEventRequest{Table: &api.WatchEventRequest_Table{
		Filters: []*api.WatchEventRequest_Table_Filter{{Type: api.WatchEventRequest_Table_Filter_ADJIN}},
	}}, func(e *api.WatchEventResponse) {
		for _, p := range e.GetTable().GetPaths() {
			leaf.take(p)
		}
	}))
	i := NewInjector(InjectorConfig{Leaf: at, From: netip.MustParseAddr("127.0.0.2"), ASN: 65001, RouterID: netip.MustParseAddr("10.0.0.2")})
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx) }()
	defer func() {
		stop()
		require.ErrorIs(t, <-done, context.Canceled)
	}()
	set := func(want string, routes ...Injection) {
		t.Helper()
		require.NoError(t, i.Set(routes))
		require.Eventually(t, func() bool { return leaf.has() == want }, time.Minute, 5*time.Millisecond, "%s", want)
	}
	const rest = " pref 200 [ffffff01]"
	set("10.254.0.3/32 10.1.0.0*1"+rest, injection("10.254.0.3/32", "10.1.0.0*1"))
	require.True(t, i.Established())
	set("10.254.0.3/32 10.1.0.0*3"+rest+"; 10.254.0.3/32 10.1.0.2*1"+rest, injection("10.254.0.3/32", "10.1.0.0*3", "10.1.0.2*1"))
	set("10.254.0.3/32 10.1.0.4*1"+rest, injection("10.254.0.3/32", "10.1.0.4*1"))
	set("10.254.0.3/32 10.1.0.4*1"+rest+"; 10.64.2.0/24 10.1.0.0*1"+rest, injection("10.64.2.0/24", "10.1.0.0*1"), injection("10.254.0.3/32", "10.1.0.4*1"))
	steps := len(leaf.history)
	set("10.64.2.0/24 10.1.0.0*1"+rest, injection("10.64.2.0/24", "10.1.0.0*1"))
	leaf.mu.Lock()
	defer leaf.mu.Unlock()
	for _, at := range leaf.history[:steps] {
		require.Contains(t, at, "10.254.0.3/32", "the leaf is never without a path: %v", leaf.history)
	}
	require.Equal(t, steps+1, len(leaf.history), "what stays is not sent again")
}
