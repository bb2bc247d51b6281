package frr_test

import (
	"os"
	"path/filepath"
	"testing"

	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/southbound/frr"
)

// A border leaf with lines to another fabric, one better than the others, which share
// by weight.
func TestGoldenLines(t *testing.T) {
	f := plan(t, clos(2, 2), fabric.Params{})
	s, err := fabric.Device(f, "leaf1")
	if err != nil {
		t.Fatal(err)
	}
	c := &intent.Interconnect{Metadata: intent.Metadata{Name: "east"}, Spec: intent.InterconnectSpec{Prefixes: []netip.Prefix{prefix("172.16.0.0/16")}}}
	for i, l := range []intent.Line{{Name: "private", Preference: 200}, {Name: "vpn1", Weight: 3}, {Name: "vpn2"}} {
		l.Node, l.Interface, l.ASN = "leaf1", []string{"dci", "dci2", "dci3"}[i], 4220100001
		l.Address = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(2 * i)}), 31)
		l.Peer = l.Address.Addr().Next()
		c.Spec.Lines = append(c.Spec.Lines, l)
	}
	if s, err = fabric.AddLines(f, s, c); err != nil {
		t.Fatal(err)
	}
	config, err := frr.Render(s)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("testdata", "lines-leaf1.conf"), config.Text())
}

// golden compares a text with a file, or writes it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what is rendered now (-update writes it):\n%s", path, got)
	}
}
