package openflow

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

// What Open vSwitch 3.1.0 sent for a frame on port 9 that a flow had given
// metadata 100 and register 3 the value 7.
const packetIn = "060a007400000000ffffffff002a010c7ef70000000000640001002c800000040000000980010310000000000000000700000000ffffffff800004080000000000000064000000000000ffffffffffff02000000000108004500001c0000000040110000c0a80001c0a800020044004300080000"

func TestReadsAPacketIn(t *testing.T) {
	m, err := hex.DecodeString(packetIn)
	require.NoError(t, err)
	p, err := readPacketIn(m[headerLen:])
	require.NoError(t, err)
	require.Equal(t, ReasonAction, p.Reason)
	require.Equal(t, uint8(12), p.Table)
	require.Equal(t, uint64(0x7ef7000000000064), p.Cookie)
	require.Equal(t, uint32(9), p.InPort)
	require.Equal(t, 42, p.Length)
	require.Equal(t, m[len(m)-42:], p.Data)
	for _, c := range []struct {
		field FieldID
		want  uint64
		ok    bool
	}{{FieldMetadata, 100, true}, {FieldReg(3), 7, true}, {FieldReg(5), 0, false}, {FieldTunnelID, 0, false}} {
		v, ok := p.Value(c.field)
		require.Equal(t, c.want, v)
		require.Equal(t, c.ok, ok)
	}
	require.Equal(t, "in_port=9,metadata=0x64,xreg1=0x7/0xffffffff", p.Match.String())
}

// The first bytes are those of ovs-ofctl 3.1.0; the second it sent with the
// register before the metadata, which means the same.
func TestGoldenPacketOut(t *testing.T) {
	frame, err := hex.DecodeString("ffffffffffff0200000000010806")
	require.NoError(t, err)
	out := PacketOut{InPort: PortController, Actions: []Action{Output(3)}, Data: frame}
	require.Equal(t, "060d003e00000002ffffffff001000000001000c80000004fffffffd0000000000000010000000030000000000000000ffffffffffff0200000000010806", hex.EncodeToString(out.appendTo(nil, 2)))
	out = PacketOut{InPort: 3, Metadata: []Field{Metadata(100), Reg(3, 7)}, Actions: []Action{Resubmit(60)}, Data: frame}
	require.Equal(t, "060d005e00000002ffffffff001000000001002c8000000400000003800004080000000000000064"+"80010310000000000000000700000000ffffffff"+"00000000ffff001000002320000efff83c000000ffffffffffff0200000000010806",
		hex.EncodeToString(out.appendTo(nil, 2)))
}

func TestFullQueueDropsAndCounts(t *testing.T) {
	q := NewPacketQueue(2)
	for i := range 5 {
		q.Put(PacketIn{InPort: uint32(i)})
	}
	require.EqualValues(t, 3, q.Dropped())
	require.Equal(t, uint32(0), (<-q.C()).InPort)
	q.Put(PacketIn{InPort: 9})
	require.Equal(t, uint32(1), (<-q.C()).InPort)
	require.Equal(t, uint32(9), (<-q.C()).InPort)
	require.EqualValues(t, 3, q.Dropped())
}

func FuzzPacketIn(f *testing.F) {
	m, _ := hex.DecodeString(packetIn)
	f.Add(m[headerLen:])
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := readPacketIn(b)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(p.Data), len(b))
		_ = p.Match.String()
		_, _ = p.Value(FieldReg(3))
		_, _ = p.Value(FieldMetadata)
	})
}
