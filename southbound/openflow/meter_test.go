package openflow

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

// The bytes are what ovs-ofctl 3.1.0 sent for the same changes.
func TestGoldenMeterMods(t *testing.T) {
	for _, c := range []struct {
		what string
		mod  MeterMod
		want string
	}{
		{"meter=65539,kbps,burst,stats,bands=type=drop,rate=1000,burst_size=100", MeterMod{MeterAdd, Meter{ID: 65539, Rate: 1000, Burst: 100}},
			"061d0020000000020000000d0001000300010010000003e80000006400000000"},
		{"meter=65540,pktps,burst,stats,bands=type=drop,rate=10,burst_size=20", MeterMod{MeterModify, Meter{ID: 65540, Packets: true, Rate: 10, Burst: 20}},
			"061d0020000000020001000e00010004000100100000000a0000001400000000"},
		{"a deletion of meter=65539", MeterMod{MeterDelete, Meter{ID: 65539}}, "061d0010000000020002000000010003"},
	} {
		require.Equal(t, c.want, hex.EncodeToString(c.mod.appendTo(nil, 2)), c.what)
	}
	require.Equal(t, "0612001800000002000a000000000000ffffffff00000000", hex.EncodeToString(meterRequest(multipartMeterDesc, 2, MeterAll)))
	require.Equal(t, "06120018000000020009000000000000ffffffff00000000", hex.EncodeToString(meterRequest(multipartMeterStats, 2, MeterAll)))
	require.Equal(t, "meter=65540 pktps burst stats bands=type=drop rate=10 burst_size=20", Meter{ID: 65540, Packets: true, Rate: 10, Burst: 20}.String())
}

// ovs-ofctl sent this for ip,in_port=9,actions=meter:65539,set_field:46->ip_dscp,goto_table:12.
func TestGoldenMeterAction(t *testing.T) {
	f := Flow{Table: 11, Priority: 100, Cookie: 0x7ef7000000000064, Match: NewMatch(InPort(9), EthType(0x0800)),
		Instructions: NewInstructions(Apply(MeterBy(65539), SetField(IPDSCP(46))), GotoTable(12))}
	require.Equal(t, "060e0070000000027ef700000000006400000000000000000b00000000000064ffffffffffffffffffffffff0000000000010012800000040000000980000a0208000000000000000004002000000000001d00080001000300190010800010012e00000000000000000100080c000000",
		hex.EncodeToString(FlowMod{Command: FlowAdd, Flow: f}.AppendTo(nil, 2)))
	require.Equal(t, "cookie=0x7ef7000000000064,table=11,priority=100,in_port=9,eth_type=0x800 actions=meter:65539,set_field:46->ip_dscp,goto_table:12", f.String())
}

// Multipart replies of Open vSwitch 3.1.0: two meters, of which the second took
// eight packets and dropped five.
const (
	meterDescs   = "0613004000000005000a0000000000000018000d0001000300010010000003e800000064000000000018000e0001000400010010000000010000000300000000"
	meterCounted = "06130080000000040009000000000000000100030038000000000000000000000000000000000000000000000000000000000002226452400000000000000000000000000000000000010004003800000000000000000001000000000000000800000000000001500000000222180700000000000000000500000000000000d2"
)

func TestReadsMeters(t *testing.T) {
	rest := func(s string) []byte {
		m, err := hex.DecodeString(s)
		require.NoError(t, err)
		_, more, rest, err := readMultipart(m[headerLen:])
		require.NoError(t, err)
		require.False(t, more)
		return rest
	}
	var meters []MeterDesc
	for b := rest(meterDescs); len(b) > 0; {
		m, r, err := readMeterDesc(b)
		require.NoError(t, err)
		meters, b = append(meters, m), r
	}
	require.Equal(t, []MeterDesc{{Meter{ID: 65539, Rate: 1000, Burst: 100}, true}, {Meter{ID: 65540, Packets: true, Rate: 1, Burst: 3}, true}}, meters)
	var stats []MeterStats
	for b := rest(meterCounted); len(b) > 0; {
		m, r, err := readMeterStats(b)
		require.NoError(t, err)
		stats, b = append(stats, m), r
	}
	require.Equal(t, []MeterStats{{ID: 65539}, {ID: 65540, Packets: 8, Bytes: 336, DroppedPackets: 5, DroppedBytes: 210}}, stats)
}

func FuzzMeters(f *testing.F) {
	for _, s := range []string{meterDescs, meterCounted} {
		m, _ := hex.DecodeString(s)
		f.Add(m[16:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, rest, err := readMeterDesc(b); err == nil {
			require.Less(t, len(rest), len(b))
			_ = m.String()
		}
		if _, rest, err := readMeterStats(b); err == nil {
			require.Less(t, len(rest), len(b))
		}
	})
}
