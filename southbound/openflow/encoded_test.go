package openflow

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

func keyBytes(f Flow) []byte {
	return f.Match.AppendTo([]byte{f.Table, byte(f.Priority >> 8), byte(f.Priority)})
}

func TestEncodedAreTheSameMessages(t *testing.T) {
	var e Encoded
	require.Zero(t, e.Len())
	require.Zero(t, e.Size())
	e.Grow(3, 100)
	var want []byte
	for i, f := range examples() {
		f.Cookie, f.Table = 0x7ef7000000000064, uint8(i)
		m := FlowMod{Command: Command(i % 5), CookieMask: uint64(i), Flow: f}
		e.Append(m)
		want = appendBundleAdd(want, 100+uint32(i), 7, m)
		at := e.At(i)
		require.Equal(t, keyBytes(f), at.AppendKey(nil))
		require.Equal(t, f.Instructions.AppendTo(nil), at.Instructions().AppendTo(nil))
		require.Equal(t, []any{f.Cookie, f.Table}, []any{at.Cookie(), at.Table()})
		require.Equal(t, m.AppendTo(nil, 1), at.Decode().AppendTo(nil, 1))
	}
	require.Equal(t, len(want), e.Size())
	var got []byte
	half := e.Slice(4, e.Len())
	for i := range 4 {
		got = e.appendTo(got, i, 100+uint32(i), 7)
	}
	for i := range half.Len() {
		got = half.appendTo(got, i, 104+uint32(i), 7)
	}
	require.Equal(t, want, got)
	require.Equal(t, "cookie=0x7ef7000000000064,table=5", batch{[]FlowMod{{}}, []Encoded{e.Slice(1, 3), half}}.at(1 + 2 + 1).Flow.String()[:33])
	e.Reset()
	require.Zero(t, e.Len())
}

func TestDescribedFlowsAreThoseOfADump(t *testing.T) {
	m, err := hex.DecodeString(dumped)
	require.NoError(t, err)
	var d Described
	require.NoError(t, d.add(m[16:]))
	require.Equal(t, 2, d.Len())
	rest := m[16:]
	for f := range d.All() {
		want, r, err := readFlowDesc(rest)
		require.NoError(t, err)
		rest = r
		require.Equal(t, keyBytes(want.Flow), f.AppendKey(nil))
		require.True(t, bytes.Equal(want.Instructions.AppendTo(nil), f.Instructions().AppendTo(nil)))
		require.Equal(t, []any{want.Cookie, want.Table}, []any{f.Cookie(), f.Table()})
		got, err := f.Decode()
		require.NoError(t, err)
		require.Equal(t, want, got)
		v, ok := f.Metadata()
		require.Equal(t, f.Table() == 21, ok)
		require.Equal(t, ok, v == 0x64)
	}
	require.Error(t, (&Described{}).add(m[16:len(m)-8]))
	for range d.All() {
		break
	}
}

// A match with more fields than are put into order in place has the same key.
func TestKeyOfManyFields(t *testing.T) {
	var fs []Field
	for i := range fieldsMost + 5 {
		fs = append(fs, Field{ID: id(0x7000, uint32(100-i)), size: 2, value: [16]byte{byte(i)}})
	}
	b := make([]byte, 24)
	match := append([]byte{0, 1, 0, 0}, Match{fs}.AppendTo(nil)...)
	match[3] = byte(len(match))
	b = append(b, pad8(match, 0)...)
	b = append(b, 0, 0, 0, 4, 0, 0, 0, 0)
	b[1] = byte(len(b))
	f, _, err := readDescribed(b)
	require.NoError(t, err)
	want, _, err := readFlowDesc(b)
	require.NoError(t, err)
	require.Equal(t, keyBytes(want.Flow), f.AppendKey(nil))
}

// The TTL stands behind the fields that it needs, though its number is small.
func TestKeyWithTTL(t *testing.T) {
	fl := Flow{Table: 24, Priority: 210, Match: NewMatch(EthType(0x800), IPTTL(1), Reg(4, 7), Metadata(5))}
	var e Encoded
	e.Append(FlowMod{Flow: fl})
	b := make([]byte, 24)
	match := append([]byte{0, 1, 0, 0}, IPTTL(1).appendTo(nil)...) // as a switch may describe it
	for _, f := range []Field{Metadata(5), EthType(0x800)} {
		match = f.appendTo(match)
	}
	for _, f := range NewMatch(Reg(4, 7)).fields {
		match = f.appendTo(match)
	}
	match[3] = byte(len(match))
	b = append(b, pad8(match, 0)...)
	b = append(b, 0, 0, 0, 4, 0, 0, 0, 0)
	b[1], b[descTable], b[descPriority+1] = byte(len(b)), fl.Table, byte(fl.Priority)
	f, _, err := readDescribed(b)
	require.NoError(t, err)
	require.Equal(t, e.At(0).AppendKey(nil), f.AppendKey(nil))
}
