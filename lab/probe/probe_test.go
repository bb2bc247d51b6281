package probe

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func addrs(s ...string) []netip.Addr {
	var as []netip.Addr
	for _, a := range s {
		as = append(as, netip.MustParseAddr(a))
	}
	return as
}

// Two tenants with the same addresses, and one host alone.
func overlapping() []Host {
	return []Host{
		{Name: "r1", Tenant: "red", Network: "n", Addresses: addrs("10.0.0.1", "fd00::1"), Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}},
		{Name: "r2", Tenant: "red", Network: "n", Addresses: addrs("10.0.0.2", "fd00::2")},
		{Name: "b1", Tenant: "blue", Network: "n", Addresses: addrs("10.0.0.1")},
		{Name: "b2", Tenant: "blue", Network: "n", Addresses: addrs("10.0.0.9", "fd00::9")},
		{Name: "none"},
	}
}

func TestExpectation(t *testing.T) {
	e := expect(overlapping())
	var reach, never []string
	for _, x := range e.reach {
		reach = append(reach, x.flow.String())
	}
	for _, x := range e.never {
		never = append(never, x.flow.String()+" "+x.to.String())
	}
	require.Equal(t, []string{
		"r1 > r2 IPv4", "r1 > r2 IPv6", "r2 > r1 IPv4", "r2 > r1 IPv6",
		"b1 > b2 IPv4", "b2 > b1 IPv4", // b1 has no IPv6
	}, reach)
	require.Contains(t, never, "r1 > b2 IPv4 10.0.0.9")
	require.NotContains(t, never, "r2 > b1 IPv4 10.0.0.1", "10.0.0.1 is r1 in red: it is tried there")
	require.Contains(t, never, "none > r1 IPv4 10.0.0.1")
}

func TestReportTellsEveryDifference(t *testing.T) {
	f := &Field{Hosts: overlapping(), index: map[string]int{"r1": 0, "r2": 1, "b1": 2, "b2": 3, "none": 4}}
	e := expect(f.Hosts)
	v4 := func(s, d string) Flow { return Flow{s, d, false} }
	copies := map[copyKey]int{
		{v4("r1", "r2"), 1, "r2"}: 1,
		{v4("r2", "r1"), 2, "r1"}: 3, // twice too often
		{v4("r2", "r1"), 2, "b1"}: 1, // and at another tenant's host of that address
		{v4("r1", "b2"), 3, "b2"}: 1, // where it must never arrive
	}
	done := map[Flow]bool{v4("r1", "r2"): true, v4("r2", "r1"): true, {"r1", "r2", true}: true, {"r2", "r1", true}: true, v4("b1", "b2"): true}
	rep := f.report(e, copies, done)
	require.False(t, rep.OK())
	byName := map[string]Row{}
	for _, r := range rep.Rows {
		byName[r.From+">"+r.To] = r
	}
	require.Equal(t, Row{From: "red", To: "red", Pairs: 2, Expected: 4, Seen: 4, Duplicated: 2}, byName["red>red"])
	require.Equal(t, Row{From: "red", To: "blue", Pairs: 4, Leaked: 2}, byName["red>blue"])
	require.Equal(t, Row{From: "blue", To: "blue", Pairs: 2, Expected: 2, Seen: 1, Lost: 1}, byName["blue>blue"])
	var out bytes.Buffer
	require.NoError(t, rep.Print(&out))
	for _, line := range []string{"lost b2 > b1 IPv4", "duplicated r2 > r1 IPv4: 3 copies", "leaked r2 > r1 IPv4: 1 at b1 (tenant blue)", "leaked r1 > b2 IPv4"} {
		require.Contains(t, out.String(), line)
	}
}

func TestTableListsTwentyFailures(t *testing.T) {
	r := &Report{}
	for range 25 {
		r.Failures = append(r.Failures, Failure{Flow{"a", "b", false}, "lost", ""})
	}
	var out bytes.Buffer
	require.NoError(t, r.Print(&out))
	require.Equal(t, 20, strings.Count(out.String(), "lost a > b"))
	require.Contains(t, out.String(), "and 5 more")
}

func TestPayload(t *testing.T) {
	id := ID{"run", "check", "vm1", "vm2", 7, 12345}
	got, ok := ParseID(id.Bytes())
	require.True(t, ok)
	require.Equal(t, id, got)
	for _, b := range []string{"", "weft-probe", "weft-probe a b c d x 1", "other a b c d 1 1", string(id.Bytes()) + " more"} {
		_, ok := ParseID([]byte(b))
		require.False(t, ok, b)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(ID{"run", "check", "vm1", "vm2", 7, 12345}.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, ok := ParseID(b); ok {
			if again, ok := ParseID(id.Bytes()); !ok || again != id {
				t.Fatalf("%+v is read as %+v", id, again)
			}
		}
		parseVXLAN(b)
	})
}

func TestLossesAndGaps(t *testing.T) {
	p := &pairState{}
	at := func(seq int) { p.arrive(Receipt{ID: ID{Seq: seq, Sent: int64(seq) * 10}}) }
	for _, seq := range []int{1, 2, 3, 9, 8, 10} {
		at(seq)
	}
	require.Equal(t, 6, p.got)
	require.EqualValues(t, 60, p.gap, "3 to 9")
	at(8)
	require.Equal(t, 1, p.dup)
	at(5000)
	at(5000)
	require.Equal(t, 2, p.dup)
	require.Equal(t, 7, p.got)
}

// A broadcast that was sent again counts once, by its last try, whatever came of the
// first; a copy astray counts always.
func TestBroadcastsThatWereSentAgain(t *testing.T) {
	hosts := []Host{
		{Name: "r1", Tenant: "red", Network: "n", Addresses: addrs("10.0.0.1"), VTEP: netip.MustParseAddr("192.0.2.1")},
		{Name: "r2", Tenant: "red", Network: "n", Addresses: addrs("10.0.0.2"), VTEP: netip.MustParseAddr("192.0.2.2")},
	}
	uplinks := []Uplink{{Node: "hv2", VTEP: hosts[1].VTEP}, {Node: "hv3", VTEP: netip.MustParseAddr("192.0.2.3")}}
	all := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	b := &broadcast{Field: &Field{Hosts: hosts}, copies: map[arrival]int{}, tunnels: map[tunnelled]int{}, shots: []shot{{from: 0, to: all, seq: 1}}}
	b.again(b.shots[:1])
	for _, seq := range []int{1, 2} { // the first came late
		b.copies[arrival{seq, "r2"}] = 1
		b.tunnels[tunnelled{arrival{seq, "hv2"}, 7}] = 1
	}
	rep := b.report(uplinks)
	require.True(t, rep.OK(), "%+v", rep.Failures)
	require.Equal(t, []BroadcastRow{{Tenant: "red", Network: "n", Kind: "255.255.255.255", Sent: 1, Expected: 1, Seen: 1, Tunnels: 1}}, rep.Rows)
	b.tunnels[tunnelled{arrival{1, "hv3"}, 7}] = 1
	rep = b.report(uplinks)
	require.Len(t, rep.Failures, 1)
	require.Equal(t, "stray", rep.Failures[0].What)
	require.Equal(t, 1, rep.Rows[0].Stray)
}

// A sender that was held up does not send at once what it missed.
func TestPacerGoesOnFromNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pacer{rate: 1000}
		began := time.Now()
		for range 100 {
			require.NoError(t, p.wait(t.Context()))
		}
		require.InDelta(t, 100, time.Since(began).Milliseconds(), 3)
		time.Sleep(5 * time.Millisecond) // is made up for
		for range 100 {
			require.NoError(t, p.wait(t.Context()))
		}
		require.InDelta(t, 200, time.Since(began).Milliseconds(), 3)
		time.Sleep(time.Second)
		began = time.Now()
		for range 100 {
			require.NoError(t, p.wait(t.Context()))
		}
		require.InDelta(t, 100, time.Since(began).Milliseconds(), 3)
	})
}

func TestSubnetBroadcast(t *testing.T) {
	for p, want := range map[string]string{"10.0.0.0/24": "10.0.0.255", "10.1.2.128/25": "10.1.2.255", "172.16.0.0/12": "172.31.255.255"} {
		require.Equal(t, want, subnetBroadcast(netip.MustParsePrefix(p)).String())
	}
}
