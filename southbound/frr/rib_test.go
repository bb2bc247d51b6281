package frr_test

import (
	"net/netip"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/weft-sdn/weft/southbound/frr"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What FRR 8.4 prints on a leaf with two unnumbered uplinks.
func TestParseRIB(t *testing.T) {
	got, err := frr.ParseRIB(read(t, "rib.json"))
	if err != nil {
		t.Fatal(err)
	}
	uplinks := []frr.NextHop{
		{Via: netip.MustParseAddr("fe80::a4ec:45ff:feed:15e9"), Interface: "eth1", Index: 4, Weight: 1},
		{Via: netip.MustParseAddr("fe80::ec59:4ff:fe7c:b68f"), Interface: "eth2", Index: 2, Weight: 1},
	}
	want := []frr.Route{
		{Prefix: prefix("10.64.0.0/24"), Protocol: "static", Distance: 1, Selected: true, Installed: true}, // a blackhole
		{Prefix: prefix("10.64.1.0/24"), Protocol: "bgp", Distance: 20, Selected: true, Installed: true, NextHops: uplinks},
		{Prefix: prefix("10.254.0.1/32"), Protocol: "connected", Selected: true, Installed: true, NextHops: []frr.NextHop{{Interface: "lo", Index: 1, Weight: 1}}},
		{Prefix: prefix("10.254.0.2/32"), Protocol: "bgp", Distance: 20, Selected: true, Installed: true, NextHops: uplinks},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseRIBCases(t *testing.T) {
	hop := `{"ip":"10.0.0.1","interfaceName":"eth1","interfaceIndex":3,"active":true,"weight":3}`
	one := []frr.NextHop{{Via: netip.MustParseAddr("10.0.0.1"), Interface: "eth1", Index: 3, Weight: 3}}
	for name, c := range map[string]struct {
		text string
		want []frr.Route
	}{
		"nothing":       {"", nil},
		"no routes":     {"{}", nil},
		"a remark":      {"% Unknown command", nil},
		"another VRF":   {`{"10.1.0.0/16":[{"prefix":"10.1.0.0/16","vrfName":"red","nexthops":[` + hop + `]}]}`, nil},
		"not usable":    {`{"a":[{"prefix":"10.1.0.0/16","protocol":"bgp","nexthops":[{"ip":"10.0.0.9","interfaceName":"eth1"}]}]}`, []frr.Route{{Prefix: prefix("10.1.0.0/16"), Protocol: "bgp"}}},
		"recursive":     {`{"a":[{"prefix":"10.1.0.0/16","protocol":"bgp","distance":200,"nexthops":[{"ip":"10.9.9.9","active":true,"recursive":true},` + hop + `]}]}`, []frr.Route{{Prefix: prefix("10.1.0.0/16"), Protocol: "bgp", Distance: 200, NextHops: one}}},
		"two protocols": {`{"a":[{"prefix":"10.1.0.0/16","protocol":"bgp","distance":20},{"prefix":"10.1.0.0/16","protocol":"static","distance":1,"selected":true}]}`, []frr.Route{{Prefix: prefix("10.1.0.0/16"), Protocol: "static", Distance: 1, Selected: true}, {Prefix: prefix("10.1.0.0/16"), Protocol: "bgp", Distance: 20}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := frr.ParseRIB([]byte(c.text))
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
	for _, bad := range []string{"[]", `{"a":[{"prefix":"ten"}]}`, `{"a":[{"prefix":"10.0.0.0/8","nexthops":[{"ip":"x","interfaceName":"eth1","active":true}]}]}`} {
		if got, err := frr.ParseRIB([]byte(bad)); err == nil {
			t.Errorf("%s was read: %+v", bad, got)
		}
	}
	if !(frr.Route{Protocol: "bgp", Distance: 200}).Internal() || (frr.Route{Protocol: "bgp", Distance: 20}).Internal() {
		t.Error("a route is internal when it is from an iBGP session")
	}
}

func FuzzParseRIB(f *testing.F) {
	f.Add(read(f, "rib.json"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := frr.ParseRIB(b)
		if err != nil && list != nil {
			t.Error("routes beside an error")
		}
		for _, r := range list {
			if !r.Prefix.IsValid() || r.Prefix != r.Prefix.Masked() {
				t.Errorf("prefix %s", r.Prefix)
			}
			if slices.ContainsFunc(r.NextHops, func(h frr.NextHop) bool { return h.Interface == "" || h.Weight < 1 }) {
				t.Errorf("next hops %+v", r.NextHops)
			}
		}
	})
}

func TestParseBFDPeersOfALeaf(t *testing.T) {
	got, err := frr.ParseBFDPeers(read(t, "bfd.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := []frr.BFDPeer{
		{Peer: "fe80::a4ec:45ff:feed:15e9", Interface: "eth1", Status: "up", Receive: 50, Transmit: 50, Multiplier: 3, Diagnostic: "ok", RemoteDiagnostic: "ok"},
		{Peer: "fe80::ec59:4ff:fe7c:b68f", Interface: "eth2", Status: "down", Receive: 50, Transmit: 50, Multiplier: 3, Diagnostic: "ok", RemoteDiagnostic: "ok"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for _, none := range []string{"", "[]", "% BFD is not running", `[{"peer":"10.0.0.1","vrf":"red"}]`} {
		if got, err := frr.ParseBFDPeers([]byte(none)); err != nil || len(got) != 0 {
			t.Errorf("%q: %+v, %v", none, got, err)
		}
	}
	if _, err := frr.ParseBFDPeers([]byte(`{"peer":1}`)); err == nil {
		t.Error("no list was read")
	}
}
