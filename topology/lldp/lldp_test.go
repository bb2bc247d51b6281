package lldp

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

func whole() Frame {
	return Frame{Chassis: "leaf1", Port: "eth1", System: "leaf1", Description: "to spine1:eth1", TTL: 8 * time.Second, MaxFrame: 9234}
}

// What a frame is on the wire, by hand from IEEE 802.1AB-2016 clause 8.
const golden = "0180c200000e" + "020000000001" + "88cc" +
	"0206" + "07" + "6c65616631" + // chassis ID, locally assigned
	"0405" + "05" + "65746831" + // port ID, interface name
	"0602" + "0008" + // TTL
	"080e" + "746f207370696e65313a65746831" + // port description
	"0a05" + "6c65616631" + // system name
	"fe06" + "00120f04" + "2412" + // IEEE 802.3 maximum frame size
	"0000"

func TestEncode(t *testing.T) {
	b, err := whole().Encode(intent.MAC{2, 0, 0, 0, 0, 1})
	require.NoError(t, err)
	require.Equal(t, golden, hex.EncodeToString(b))
	got, err := Decode(b)
	require.NoError(t, err)
	require.Equal(t, whole(), got)
	require.Equal(t, "leaf1", got.Device())

	_, err = Frame{Chassis: "leaf1"}.Encode(intent.MAC{})
	require.Error(t, err)
	long := Frame{Chassis: strings.Repeat("x", 300), Port: "eth1"}
	b, err = long.Encode(intent.MAC{})
	require.NoError(t, err)
	got, err = Decode(b)
	require.NoError(t, err)
	require.Len(t, got.Chassis, 255)
}

func TestDecodeOthers(t *testing.T) {
	const head = "0180c200000e" + "020000000001" + "88cc"
	for name, c := range map[string]struct {
		tlvs string
		want Frame
		err  string
	}{
		"MAC addresses":        {"0207" + "04" + "02aabbccddee" + "0407" + "03" + "02aabbccddef" + "0602" + "0078" + "0000", Frame{Chassis: "02:aa:bb:cc:dd:ee", Port: "02:aa:bb:cc:dd:ef", TTL: 2 * time.Minute}, ""},
		"network address":      {"0206" + "05" + "01" + "c0000201" + "0402" + "07" + "31" + "0602" + "0078" + "0000", Frame{Chassis: "192.0.2.1", Port: "1", TTL: 2 * time.Minute}, ""},
		"escape sequences":     {"0206" + "07" + "1b5b326a61" + "0402" + "07" + "31" + "0602" + "0078" + "0000", Frame{Chassis: "[2ja", Port: "1", TTL: 2 * time.Minute}, ""},
		"taken back":           {"0202" + "07" + "61" + "0402" + "07" + "31" + "0602" + "0000" + "0000", Frame{Chassis: "a", Port: "1"}, ""},
		"truncated":            {"0206" + "07" + "6c65", Frame{}, "LLDP VData"},
		"one octet":            {"02", Frame{}, "LLDP vdata < 2 bytes"},
		"no end":               {"0202" + "07" + "61" + "0402" + "07" + "31" + "0602" + "0078", Frame{}, "mandatory"},
		"no port":              {"0202" + "07" + "61" + "0602" + "0078" + "0a01" + "61" + "0000", Frame{}, "mandatory"},
		"another order":        {"0402" + "07" + "31" + "0202" + "07" + "61" + "0602" + "0078" + "0000", Frame{}, "come first and once"},
		"two chassis":          {"0202" + "07" + "61" + "0402" + "07" + "31" + "0602" + "0078" + "0202" + "07" + "62" + "0000", Frame{}, "come first and once"},
		"a name of no letters": {"0202" + "07" + "01" + "0402" + "07" + "31" + "0602" + "0078" + "0000", Frame{}, "has no name"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := hex.DecodeString(head + c.tlvs)
			require.NoError(t, err)
			got, err := Decode(b)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
	_, err := Decode([]byte{1, 2, 3})
	require.Error(t, err)
	_, err = Decode(append(make([]byte, 12), 8, 0, 0x45))
	require.Error(t, err)
}

// Whatever comes is read or refused; what was read can be said again and means the
// same.
func FuzzDecode(f *testing.F) {
	b, _ := hex.DecodeString(golden)
	f.Add(b)
	f.Add(b[:30])
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Decode(b)
		if err != nil {
			return
		}
		again, err := got.Encode(intent.MAC{2})
		require.NoError(t, err)
		same, err := Decode(again)
		require.NoError(t, err)
		require.Equal(t, got, same)
	})
}
