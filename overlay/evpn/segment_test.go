package evpn

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/intent"
	"pgregory.net/rapid"
)

var (
	v1 = netip.MustParseAddr("10.0.0.1")
	v2 = netip.MustParseAddr("10.0.0.2")
	v3 = netip.MustParseAddr("10.0.0.3")
	m1 = intent.MAC{2, 0, 0, 0, 0, 1}
)

func TestBestPath(t *testing.T) {
	for _, c := range []struct {
		name  string
		paths []Path
		want  Source
	}{
		{"one", []Path{{VTEP: v1, Source: "a"}}, "a"},
		{"higher sequence number wins", []Path{{VTEP: v1, Seq: 1, Source: "a"}, {VTEP: v2, Seq: 2, Source: "b"}}, "b"},
		{"lower VTEP breaks the tie", []Path{{VTEP: v2, Source: "a"}, {VTEP: v1, Source: "b"}}, "b"},
		{"sticky beats any sequence number", []Path{{VTEP: v3, Sticky: true, Source: "a"}, {VTEP: v1, Seq: 9, Source: "b"}}, "a"},
		{"a source replaces its own path", []Path{{VTEP: v1, Seq: 5, Source: "a"}, {VTEP: v2, Seq: 3, Source: "b"}, {VTEP: v3, Seq: 1, Source: "a"}}, "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Segment
			for _, p := range c.paths {
				s.Set(MACKey(m1), p)
			}
			r, ok := s.Get(MACKey(m1))
			require.True(t, ok)
			require.Equal(t, c.want, r.Source)
		})
	}
}

func TestMoveRaisesTheSequenceNumber(t *testing.T) {
	var s Segment
	k := MACKey(m1)
	require.True(t, s.Move(k, Path{VTEP: v1, Source: "hv1"}))
	require.False(t, s.Move(k, Path{VTEP: v1, Source: "hv1"}), "repeating it changes nothing")
	require.True(t, s.Move(k, Path{VTEP: v2, Source: "hv2"}))
	r, _ := s.Get(k)
	require.Equal(t, Path{VTEP: v2, Seq: 1, Source: "hv2"}, r.Path)
	require.False(t, s.Withdraw(k, "hv1"), "the loser leaves unnoticed")
	require.True(t, s.Withdraw(k, "hv2"))
	require.Zero(t, s.Len())
	require.True(t, s.Move(k, Path{VTEP: v1, Source: "hv1"}))
	r, _ = s.Get(k)
	require.Equal(t, uint32(2), r.Seq, "a tombstone remembers the sequence number")
}

func TestTrimKeepsWhatAReaderHasNotSeen(t *testing.T) {
	var s Segment
	s.Set(MACKey(m1), Path{VTEP: v1, Source: "a"})
	seen := s.Rev()
	s.Withdraw(MACKey(m1), "a")
	s.Trim(seen)
	rows := slices.Collect(s.Changes(seen))
	require.Len(t, rows, 1)
	require.True(t, rows[0].Deleted)
	s.Trim(s.Rev())
	require.Empty(t, slices.Collect(s.Changes(0)))
	require.Empty(t, s.entries)
}

// A reader that applies Changes at any moments ends with the rows of a table
// that is computed from scratch out of all paths.
func TestReadersAgreeWithFromScratch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Segment
		type offer struct {
			k   Key
			src Source
		}
		all := map[offer]Path{}
		readers := make([]struct {
			at   Revision
			rows map[Key]Path
		}, 3)
		for i := range readers {
			readers[i].rows = map[Key]Path{}
		}
		read := func(i int) {
			r := &readers[i]
			for row := range s.Changes(r.at) {
				if row.Rev <= r.at {
					t.Fatalf("revision %d came again at %d", row.Rev, r.at)
				}
				r.at = row.Rev
				if row.Deleted {
					delete(r.rows, row.Key)
				} else {
					r.rows[row.Key] = row.Path
				}
			}
			r.at = s.Rev()
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			k := MACKey(intent.MAC{2, 0, 0, 0, 0, rapid.Byte().Draw(t, "mac") % 4})
			src := Source(fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "source")))
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0, 1:
				p := Path{VTEP: []netip.Addr{v1, v2, v3}[rapid.IntRange(0, 2).Draw(t, "vtep")], Seq: rapid.Uint32Range(0, 3).Draw(t, "seq"), Source: src}
				s.Set(k, p)
				all[offer{k, src}] = p
			case 2:
				s.Withdraw(k, src)
				delete(all, offer{k, src})
			case 3:
				read(rapid.IntRange(0, 2).Draw(t, "reader"))
				s.Trim(min(readers[0].at, readers[1].at, readers[2].at))
			}
		}
		want := map[Key]Path{}
		for o, p := range all {
			if q, ok := want[o.k]; !ok || p.better(q, false) {
				want[o.k] = p
			}
		}
		for i := range readers {
			read(i)
			if !maps.Equal(want, readers[i].rows) {
				t.Fatalf("reader %d has %v, want %v", i, readers[i].rows, want)
			}
		}
		if s.Len() != len(want) {
			t.Fatalf("Len %d, want %d", s.Len(), len(want))
		}
	})
}

func BenchmarkSet(b *testing.B) {
	b.ReportAllocs()
	var s Segment
	for i := range b.N {
		s.Set(MACKey(intent.MAC{2, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}), Path{VTEP: v1, Source: "hv1"})
	}
}

func BenchmarkOneChangeAmongMany(b *testing.B) {
	var s Segment
	for i := range 100_000 {
		s.Set(MACKey(intent.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}), Path{VTEP: v1, Source: "hv1"})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		at := s.Rev()
		s.Set(MACKey(m1), Path{VTEP: v1, Seq: uint32(i + 1), Source: "hv1"})
		for range s.Changes(at) {
		}
	}
}
