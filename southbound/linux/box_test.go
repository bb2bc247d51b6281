package linux

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSerialOfFirmware(t *testing.T) {
	for text, want := range map[string]string{
		"FOX2219 \n": "FOX2219", "To be filled by O.E.M.\n": "", "None\n": "", "": "", "Not Specified": "", "System Serial Number": "", "0": "",
		"AB 12\tC": "AB12C", "caf\xe9": "", "gr\u00fcn": "",
	} {
		require.Equal(t, want, firmwareSerial(text), "%q", text)
	}
}

func TestBGPSummary(t *testing.T) {
	asn, id := parseBGPSummary([]byte(`{"ipv4Unicast":{"routerId":"10.255.0.3","as":65101,"peers":{}},"l2VpnEvpn":{"routerId":"10.255.0.3","as":65101}}`))
	require.Equal(t, uint32(65101), asn)
	require.Equal(t, "10.255.0.3", id)
	for _, none := range []string{"", "{}", "[]", `{"ipv4Unicast":{"as":1,"routerId":"x"}}`, `{"warning":"no BGP"}`} {
		asn, id = parseBGPSummary([]byte(none))
		require.Zero(t, asn, none)
		require.Empty(t, id, none)
	}
}
