package frr_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/device"
	"github.com/weft-sdn/weft/southbound/frr"
)

var update = flag.Bool("update", false, "write the golden files anew")

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestGolden(t *testing.T) {
	for _, f := range fabrics {
		facts := plan(t, f.graph, f.params)
		for _, node := range f.nodes {
			t.Run(f.name+"-"+node, func(t *testing.T) {
				got := render(t, facts, node).Text()
				path := filepath.Join("testdata", f.name+"-"+node+".conf")
				if *update {
					if err := os.MkdirAll("testdata", 0o755); err != nil {
						t.Fatal(err)
					}
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
			})
		}
	}
}

func render(t testing.TB, f *fabric.Facts, node string) frr.Config {
	t.Helper()
	s, err := fabric.Device(f, node)
	if err != nil {
		t.Fatal(err)
	}
	c, err := frr.Render(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Each daemon gets its own sections and no other's; together they are the whole.
func TestDaemonsShareTheText(t *testing.T) {
	c := render(t, plan(t, clos(2, 2), fabric.Params{BFD: true}), "leaf1")
	if got, want := c.Daemons(), []string{"zebra", "staticd", "bfdd", "bgpd"}; !slices.Equal(got, want) {
		t.Fatalf("daemons %v, want %v", got, want)
	}
	for daemon, has := range map[string]string{
		"zebra": "interface eth1", "staticd": "ip route 10.64.0.0/24 blackhole", "bgpd": "router bgp 4200100001", "bfdd": "profile fabric\n",
	} {
		for _, d := range c.Daemons() {
			if got := strings.Contains(c.Daemon(d), "\n"+has) || strings.Contains(c.Daemon(d), "\n "+has); got != (d == daemon) {
				t.Errorf("%q in the text of %s: %v", has, d, got)
			}
		}
		if !strings.Contains(c.Daemon(daemon), "hostname leaf1\n") {
			t.Errorf("%s does not get the hostname", daemon)
		}
	}
	for line := range strings.Lines(c.Text()) {
		if !slices.ContainsFunc(c.Daemons(), func(d string) bool { return strings.Contains(c.Daemon(d), line) }) {
			t.Errorf("no daemon gets %q", line)
		}
	}
	spine := render(t, plan(t, clos(2, 2), fabric.Params{}), "spine1")
	if got := spine.Daemons(); !slices.Equal(got, []string{"zebra", "bgpd"}) {
		t.Errorf("a spine without BFD needs %v", got)
	}
}

func TestDaemonsFile(t *testing.T) {
	isis := render(t, plan(t, clos(2, 2), fabric.Params{Protocol: fabric.ISIS}), "spine1").DaemonsFile()
	if !strings.Contains(isis, "isisd=yes\n") || strings.Contains(isis, "bgpd") {
		t.Errorf("a spine of IS-IS runs\n%s", isis)
	}
	bgp := render(t, plan(t, clos(2, 2), fabric.Params{BFD: true}), "leaf1").DaemonsFile()
	if !strings.Contains(bgp, "bgpd=yes\n") || !strings.Contains(bgp, "bfdd=yes\n") || !strings.Contains(bgp, "bfdd_wrap=\"/usr/bin/chrt --rr 1\"\n") || strings.Contains(bgp, "isisd") {
		t.Errorf("a leaf of BGP runs\n%s", bgp)
	}
}

func TestParseAdjacencies(t *testing.T) {
	got, err := frr.ParseAdjacencies([]byte(`{"areas":[{"area":"fabric","circuits":[
		{"circuit":0,"adj":"spine2","interface":"eth2","level":2,"state":"Initializing","expires-in":"3s","snpa":"2020.2020.2020"},
		{"circuit":0,"adj":"spine1","interface":"eth1","level":2,"state":"Up","expires-in":"3s","snpa":"2020.2020.2020"},
		{"circuit":0}]}]}`))
	want := []frr.Adjacency{{Interface: "eth1", Neighbor: "spine1", State: "Up"}, {Interface: "eth2", Neighbor: "spine2", State: "Initializing"}}
	if err != nil || !slices.Equal(got, want) || !got[0].Up() || got[1].Up() {
		t.Errorf("%+v, %v", got, err)
	}
	for _, none := range []string{"", "{}", "% no IS-IS\n", `{"areas":[{"circuits":[{"circuit":0}]}]}`} {
		if got, err := frr.ParseAdjacencies([]byte(none)); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %v", none, got, err)
		}
	}
	if _, err := frr.ParseAdjacencies([]byte(`{"areas":{}}`)); err == nil {
		t.Error("areas that are no list are read as if none")
	}
}

func FuzzParseAdjacencies(f *testing.F) {
	f.Add([]byte(`{"areas":[{"circuits":[{"adj":"a","interface":"b","state":"Up"}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if list, err := frr.ParseAdjacencies(b); err != nil && list != nil {
			t.Error("adjacencies beside an error")
		}
	})
}

func TestRenderRefusesWhatFRRWouldMisread(t *testing.T) {
	for what, s := range map[string]device.State{
		"hostname with a space":  {Hostname: "leaf 1"},
		"no hostname":            {},
		"line break in a name":   {Hostname: "leaf1", Interfaces: []device.Interface{{Name: "eth1\nno router bgp"}}},
		"line break in a remark": {Hostname: "leaf1", Interfaces: []device.Interface{{Name: "eth1", Description: "x\nno router bgp"}}},
		"a port like a group":    {Hostname: "leaf1", BGP: &device.BGP{Groups: []device.PeerGroup{{Name: "fabric"}}, Neighbors: []device.Neighbor{{Interface: "fabric"}}}},
		"a neighbour nowhere":    {Hostname: "leaf1", BGP: &device.BGP{Neighbors: []device.Neighbor{{Description: "x"}}}},
	} {
		if _, err := frr.Render(s); err == nil {
			t.Errorf("%s: rendered", what)
		}
	}
}

func TestParseSummary(t *testing.T) {
	b, err := os.ReadFile("testdata/summary.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := frr.ParseSummary(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range got {
		t.Logf("%+v", s)
	}
	if len(got) != 3 || got[0].Peer != "10.192.0.0" || got[1].Peer != "eth2" || got[2].Peer != "eth9" {
		t.Fatalf("sessions %+v", got)
	}
	if s := got[0]; !s.Up() || s.RemoteASN != 4200001001 || s.Received != 4 || s.Uptime == 0 || s.Description != "spine1:eth1" {
		t.Errorf("numbered: %+v", s)
	}
	if s := got[1]; s.Up() || s.State != "Active" || s.Uptime != 0 || len(s.Families) != 2 {
		t.Errorf("up in one family only: %+v", s)
	}
	if s := got[2]; s.State != "Idle (Admin)" {
		t.Errorf("shut down: %+v", s)
	}
	for _, none := range []string{"", "{}", "% BGP instance not found\n", `{"warning":"Default BGP instance not found"}`} {
		if got, err := frr.ParseSummary([]byte(none)); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %v", none, got, err)
		}
	}
	if _, err := frr.ParseSummary([]byte(`{"ipv4Unicast":{"peers":[]}}`)); err == nil {
		t.Error("peers as a list are read as if none")
	}
}

func FuzzParseSummary(f *testing.F) {
	b, _ := os.ReadFile("testdata/summary.json")
	f.Add(b)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := frr.ParseSummary(b)
		if err != nil && list != nil {
			t.Error("sessions beside an error")
		}
	})
}

func TestSysctls(t *testing.T) {
	m := frr.Sysctls(device.State{})
	for k, want := range map[string]string{"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1", "net.ipv4.conf.all.rp_filter": "0", "net.ipv4.fib_multipath_hash_policy": "1"} {
		if m[k] != want {
			t.Errorf("%s is %q, want %s", k, m[k], want)
		}
	}
}

// Each switch hashes flows in a way of its own, and always the same.
func TestHashSeeds(t *testing.T) {
	seeds := map[string]string{}
	for _, name := range []string{"leaf1", "leaf2", "spine1", "spine2", "superspine1", "superspine2"} {
		m := frr.Sysctls(device.State{Hostname: name})
		for k, v := range m {
			if !frr.Optional(k) {
				continue
			}
			if seeds[v] != "" || v == "0" || frr.Sysctls(device.State{Hostname: name})[k] != v {
				t.Errorf("%s and %s: %s = %s", name, seeds[v], k, v)
			}
			seeds[v] = name
		}
	}
	if len(seeds) != 6 || frr.Optional("net.ipv4.ip_forward") {
		t.Errorf("seeds are %v", seeds)
	}
}

func TestParseBFDPeers(t *testing.T) {
	got, err := frr.ParseBFDPeers([]byte(`[{"multihop":false,"peer":"10.192.0.0","local":"10.192.0.1","vrf":"default","interface":"eth1","id":1,"status":"up","uptime":132},
		{"peer":"fe80::1","interface":"eth2","status":"down","downtime":3,"diagnostic":"control detection time expired"}]`))
	want := []frr.BFDPeer{{Peer: "10.192.0.0", Interface: "eth1", Status: "up"}, {Peer: "fe80::1", Interface: "eth2", Status: "down", Diagnostic: "control detection time expired"}}
	if err != nil || !slices.Equal(got, want) || !got[0].Up() || got[1].Up() {
		t.Errorf("%+v, %v", got, err)
	}
	for _, none := range []string{"", "[]", "% Unknown command\n"} {
		if got, err := frr.ParseBFDPeers([]byte(none)); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %v", none, got, err)
		}
	}
	if _, err := frr.ParseBFDPeers([]byte(`{"peer":"10.0.0.1"}`)); err == nil {
		t.Error("a peer that is no list is read as if none")
	}
}

func FuzzParseBFDPeers(f *testing.F) {
	f.Add([]byte(`[{"peer":"a","status":"up"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if list, err := frr.ParseBFDPeers(b); err != nil && list != nil {
			t.Error("peers beside an error")
		}
	})
}
