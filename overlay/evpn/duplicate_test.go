package evpn

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

var (
	twin  = intent.MAC{2, 0, 0, 0, 0, 1}
	leafA = netip.MustParseAddr("10.0.0.1")
	leafB = netip.MustParseAddr("10.0.0.2")
)

// fight lets two leaves announce one MAC in turn, each time with a higher
// sequence number.
func fight(s *Segment, first uint32, times int) {
	for i := range times {
		seq := first + uint32(i)
		p := Path{VTEP: leafA, Source: "a", Seq: seq, Origin: OriginBGP}
		if seq%2 == 1 {
			p.VTEP, p.Source = leafB, "b"
		}
		s.Set(MACKey(twin), p)
		s.Set(HostKey(twin, netip.MustParseAddr("192.0.2.1")), p)
	}
}

func TestDuplicateMACIsFrozenAndCleared(t *testing.T) {
	now := time.Unix(0, 0)
	s := &Segment{Clock: func() time.Time { return now }}
	fight(s, 0, 5) // four moves
	require.False(t, s.Frozen(twin))
	fight(s, 5, 1)
	require.True(t, s.Frozen(twin), "five moves in 180 s")
	kept, _ := s.Get(MACKey(twin))
	require.Equal(t, leafA, kept.VTEP, "the fifth move is not followed")
	rev := s.Rev()
	fight(s, 6, 20)
	host, _ := s.Get(HostKey(twin, netip.MustParseAddr("192.0.2.1")))
	now = now.Add(time.Hour)
	fight(s, 26, 1)
	got, _ := s.Get(MACKey(twin))
	require.Equal(t, kept.VTEP, got.VTEP, "a frozen MAC stays, however long it takes")
	hostNow, _ := s.Get(HostKey(twin, netip.MustParseAddr("192.0.2.1")))
	require.Equal(t, host.VTEP, hostNow.VTEP)

	require.True(t, s.Clear(twin) || s.Rev() > rev)
	require.False(t, s.Frozen(twin))
	fight(s, 27, 1)
	got, _ = s.Get(MACKey(twin))
	require.Equal(t, leafB, got.VTEP, "a cleared MAC moves again")

	s.Withdraw(MACKey(twin), "a")
	s.Withdraw(MACKey(twin), "b")
	_, ok := s.Get(MACKey(twin))
	require.False(t, ok)
}

func TestFrozenMACGoesWithItsPath(t *testing.T) {
	s := &Segment{}
	fight(s, 0, 8)
	require.True(t, s.Frozen(twin))
	at, _ := s.Get(MACKey(twin))
	s.Withdraw(MACKey(twin), at.Source)
	now, ok := s.Get(MACKey(twin))
	require.True(t, ok)
	require.NotEqual(t, at.VTEP, now.VTEP, "the place that is left is used")
}

func TestSlowMovesAreNoDuplicate(t *testing.T) {
	now := time.Unix(0, 0)
	s := &Segment{Clock: func() time.Time { return now }}
	for i := range uint32(40) {
		now = now.Add(movesTime/(movesMost-1) + time.Second)
		fight(s, i, 1)
	}
	require.False(t, s.Frozen(twin))
}

func TestPortWinsOverWhatIsLearned(t *testing.T) {
	s := &Segment{}
	k := MACKey(twin)
	s.Set(k, Path{VTEP: leafA, Source: "hv1/t/p", Origin: OriginPort})
	require.False(t, s.Set(k, Path{VTEP: leafB, Source: "b", Origin: OriginBGP, Seq: 9}))
	r, _ := s.Get(k)
	require.Equal(t, leafA, r.VTEP)
	s.Follow(true)
	r, _ = s.Get(k)
	require.Equal(t, leafB, r.VTEP)
	require.Len(t, s.Paths(k), 2)
	s.Follow(false)
	r, _ = s.Get(k)
	require.Equal(t, leafA, r.VTEP)
	require.True(t, s.Withdraw(k, "hv1/t/p"))
	r, _ = s.Get(k)
	require.Equal(t, leafB, r.VTEP)
}

// TestMovesAreMeasuredByAMonotonicClock: a clock that is set meanwhile makes no
// duplicate and hides none.
func TestMovesAreMeasuredByAMonotonicClock(t *testing.T) {
	var s Segment
	require.Contains(t, s.now().String(), " m=+", "the time has a monotonic reading")
}
