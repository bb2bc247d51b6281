//go:build lab

package vtep

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
)

// bed has switch tor1 with two ports, both in use, and what others have of web.
func bed(t *testing.T) (*server, *tables, *running) {
	s := newServer(t, schemaFile)
	s.ctl("add-ps", "tor1", "--", "set", "Physical_Switch", "tor1", "description=ToR", "--", "add-port", "tor1", "eth1", "--", "add-port", "tor1", "eth2")
	tb := newTables()
	tb.set(100, imet(ip(1)), imet(ip(7)), imet(ip(8)), at(1, ip(1)), at(7, ip(7)), at(8, ip(8)), addr(7, host(7), ip(7)))
	r := start(t, node("tor1", ip(1), s.db()), tb, plugged)
	r.synced()
	return s, tb, r
}

func plugged(f *feed) {
	f.plug("a", "eth1", 0, 100)
	f.plug("b", "eth2", 20, 200)
}

func remotes(s *server) string { return s.ctl("list-remote-macs", "weft-100") }

const webMACs = `ucast-mac-remote
  02:00:00:00:00:07 -> vxlan_over_ipv4/10.0.0.7
  02:00:00:00:00:08 -> vxlan_over_ipv4/10.0.0.8

mcast-mac-remote
  unknown-dst -> vxlan_over_ipv4/10.0.0.7
  unknown-dst -> vxlan_over_ipv4/10.0.0.8`

func TestServesASwitch(t *testing.T) {
	s, tb, r := bed(t)
	require.Equal(t, webMACs, remotes(s))
	require.Equal(t, "0000 weft-100", s.ctl("list-bindings", "tor1", "eth1"))
	require.Equal(t, "0020 weft-200", s.ctl("list-bindings", "tor1", "eth2"))
	require.Equal(t, "weft-100,source_node,100\nweft-200,source_node,200", s.table("Logical_Switch", "name,replication_mode,tunnel_key"))
	require.Equal(t, "02:00:00:00:00:07,192.168.0.7\n02:00:00:00:00:08,", s.table("Ucast_Macs_Remote", "MAC,ipaddr"))
	require.Equal(t, `"10.0.0.1"`, strings.Trim(s.ctl("get", "Physical_Switch", "tor1", "tunnel_ips"), "[]"))
	r.locked(func() {
		require.Equal(t, []overlay.Interface{{Name: "eth1", OFPort: 1}, {Name: "eth2", OFPort: 1}}, r.ifaces)
	})
	require.Equal(t, "ToR (hardware_vtep 1.7.0)", r.Status().Software)
	require.Empty(t, r.said("Repaired"))

	t.Run("a change is one transaction", func(t *testing.T) {
		before := s.written()
		tb.set(100, at(9, ip(7)))
		r.synced()
		require.Equal(t, before+1, s.written())
		tb.set(100, at(7, ip(8))) // moves
		r.synced()
		require.Contains(t, remotes(s), "02:00:00:00:00:07 -> vxlan_over_ipv4/10.0.0.8")
		tb.withdraw(100, evpn.MACKey(mac(9)))
		tb.withdraw(100, evpn.MACKey(mac(7)))
		r.synced()
		tb.withdraw(100, evpn.FloodKey(ip(7)))
		r.synced()
		require.NotContains(t, s.table("Physical_Locator", "dst_ip"), "10.0.0.7", "a locator that nothing refers to goes")
		require.Equal(t, 1, s.count("Physical_Locator_Set"))
		tb.set(100, imet(ip(7)), at(7, ip(7)))
		r.synced()
		require.Equal(t, webMACs, remotes(s))
		require.Empty(t, r.said("Repaired"))
	})
	t.Run("a restart writes nothing and deletes nothing of edges that have not reported", func(t *testing.T) {
		r.stop()
		before := s.written()
		again := start(t, node("tor1", ip(1), s.db()), tb, plugged)
		again.synced()
		again.stop()
		tb.change(func() {
			tb.segments = map[intent.VNI]*evpn.Segment{}
			tb.unreported[ip(7)], tb.unreported[ip(8)] = struct{}{}, struct{}{}
		})
		third := start(t, node("tor1", ip(1), s.db()), tb, plugged)
		third.synced()
		require.Equal(t, before, s.written())
		tb.change(func() { delete(tb.unreported, ip(8)) })
		s.eventually("8 has nothing", func() bool { return !strings.Contains(remotes(s), "10.0.0.8") })
		require.Contains(t, remotes(s), "02:00:00:00:00:07 -> vxlan_over_ipv4/10.0.0.7")
		require.Contains(t, remotes(s), "unknown-dst -> vxlan_over_ipv4/10.0.0.7")
		third.synced()
		require.Empty(t, append(again.said("Repaired"), third.said("Repaired")...))
	})
}

// A logical switch on which stations were learned goes as well: the server
// would refuse to leave their rows behind.
func TestRemovesWhatHasLearnedStations(t *testing.T) {
	s, _, r := bed(t)
	s.ctl("add-ucast-local", "weft-100", "02:00:00:00:00:0a", "10.0.0.1", "--", "add-mcast-local", "weft-100", "unknown-dst", "10.0.0.1")
	r.unplug("a")
	s.eventually("it is gone", func() bool { return s.ctl("list-ls") == "weft-200" })
	r.synced()
	require.Empty(t, s.ctl("list-bindings", "tor1", "eth1"))
	require.Empty(t, r.said(southbound.CodeRefused))
	require.Zero(t, s.count("Ucast_Macs_Remote")+s.count("Ucast_Macs_Local")+s.count("Mcast_Macs_Local")+s.count("Physical_Locator"))

	require.NoError(t, func() error { r.stop(); return r.Withdraw(t.Context()) }())
	require.Empty(t, s.ctl("list-ls"))
	require.Equal(t, 2, s.count("Physical_Port"), "the switch itself stays")
}

// What another table refers to can't be removed: it is left, and told.
func TestLogicalSwitchInUse(t *testing.T) {
	s, _, r := bed(t)
	uuid := s.ctl("get", "Logical_Switch", "weft-100", "_uuid")
	s.ctl("create", "Logical_Router", "name=r", "switch_binding=10.1.0.1/24="+uuid)
	r.unplug("a")
	s.eventually("it is told", func() bool { return len(r.said("NotCleaned")) == 1 })
	require.Contains(t, r.said("NotCleaned")[0], "remaining reference")
	r.synced()
	s.eventually("everything else goes on", func() bool { return s.ctl("list-bindings", "tor1", "eth1") == "" })
	r.plug("c", "eth1", 7, 300)
	r.synced()
	require.Len(t, r.said("NotCleaned"), 1)
}

func TestSwitchIsMissingOrOther(t *testing.T) {
	s := newServer(t, schemaFile)
	tb := newTables()
	r := start(t, node("tor1", ip(1), s.db()), tb, plugged)
	s.eventually("it is missing", func() bool { return r.Status().Err != nil })
	err := r.Status().Err
	require.Equal(t, southbound.CodeNotReady, err.Code)
	require.EqualError(t, err, "tor1: find physical switch tor1: the database has no Physical_Switch tor1")
	require.Contains(t, err.Action, "vtep-ctl add-ps tor1")

	s.ctl("add-ps", "tor1", "--", "set", "Physical_Switch", "tor1", "tunnel_ips=10.9.9.9")
	s.eventually("its address is another", func() bool { return r.Status().Err != nil && strings.Contains(r.Status().Err.Error(), "10.9.9.9") })
	require.Equal(t, southbound.CodeNotReady, r.Status().Err.Code)
	require.Equal(t, "10.9.9.9", strings.Trim(s.ctl("get", "Physical_Switch", "tor1", "tunnel_ips"), `[]"`), "it is not ours to change")
	s.ctl("set", "Physical_Switch", "tor1", "tunnel_ips=10.0.0.1", "--", "add-port", "tor1", "eth1", "--", "add-port", "tor1", "eth2")
	r.synced()
	r.saidOnce(t, "Recovered")

	s.ctl("del-ps", "tor1")
	s.eventually("it was removed", func() bool { return r.Status().Err != nil })
	_, ok := r.Programmed(port("a"))
	require.False(t, ok)
	require.Empty(t, r.Cursors())
}

func TestVLANTakenUntilFreed(t *testing.T) {
	s := newServer(t, schemaFile)
	s.ctl("add-ps", "tor1", "--", "add-port", "tor1", "eth1", "--", "add-port", "tor1", "eth2",
		"--", "add-ls", "theirs", "--", "set", "Logical_Switch", "theirs", "tunnel_key=200", "--", "bind-ls", "tor1", "eth1", "0", "theirs", "--", "add-ucast-remote", "theirs", "02:00:00:00:00:07", "10.0.0.66")
	tb := newTables()
	r := start(t, node("tor1", ip(1), s.db()), tb, plugged)
	object := "port eth1 untagged"
	s.eventually("an alarm", func() bool { return r.raised(southbound.AlarmVLANTaken, object) != "" })
	s.eventually("a foreign logical switch with our key", func() bool { return strings.Contains(r.raised(alarmKey, "VNI 200"), "theirs") })
	s.eventually("a reason", func() bool { return r.PortError(port("a")) != nil })
	require.ErrorContains(t, r.PortError(port("a")), "is bound to logical switch theirs")
	require.Nil(t, r.Status().Err)
	require.Equal(t, "0000 theirs", s.ctl("list-bindings", "tor1", "eth1"))
	_, ok := r.Programmed(port("a"))
	require.False(t, ok)

	s.ctl("unbind-ls", "tor1", "eth1", "0", "--", "set", "Logical_Switch", "theirs", "tunnel_key=5")
	r.synced()
	s.eventually("no alarm", func() bool {
		return r.raised(southbound.AlarmVLANTaken, object) == "" && r.raised(alarmKey, "VNI 200") == ""
	})
	require.Nil(t, r.PortError(port("a")))
	require.Contains(t, s.ctl("list-remote-macs", "theirs"), "10.0.0.66")
	require.Empty(t, r.said("Repaired"))
}

func TestLearnedStations(t *testing.T) {
	s, _, r := bed(t)
	r.locked(func() { require.Empty(t, r.told) })
	began := time.Now()
	s.ctl("add-ucast-local", "weft-100", "02:00:00:00:00:0a", "10.0.0.1", "--", "add-ucast-local", "weft-100", "02:00:00:00:00:0b", "10.0.0.99",
		"--", "add-ls", "theirs", "--", "add-ucast-local", "theirs", "02:00:00:00:00:0c", "10.0.0.1")
	has := func(want ...overlay.Learned) bool {
		ok := false
		r.locked(func() {
			ok = len(r.told) == len(want)
			for _, l := range want {
				ok = ok && r.told[l]
			}
		})
		return ok
	}
	s.eventually("its own on our logical switches", func() bool { return has(overlay.Learned{VNI: 100, MAC: mac(10)}) })
	t.Logf("learned %s after vtep-ctl began", time.Since(began))

	row := strings.TrimSpace(s.ctl("--no-heading", "--columns=_uuid", "--format=csv", "find", "Ucast_Macs_Local", `MAC="02:00:00:00:00:0a"`))
	s.ctl("set", "Ucast_Macs_Local", row, "ipaddr=192.168.0.10")
	s.eventually("with its address", func() bool {
		return has(overlay.Learned{VNI: 100, MAC: mac(10)}, overlay.Learned{VNI: 100, MAC: mac(10), IP: host(10)})
	})
	object := "VNI 100 Ucast_Macs_Local 02:00:00:00:00:0a"
	s.ctl("set", "Ucast_Macs_Local", row, "ipaddr=nonsense")
	s.eventually("garbage is told", func() bool { return strings.Contains(r.raised(southbound.AlarmMalformed, object), `ipaddr "nonsense"`) })
	s.eventually("the MAC stays", func() bool { return has(overlay.Learned{VNI: 100, MAC: mac(10)}) })
	s.ctl("set", "Ucast_Macs_Local", row, `MAC="ff:ff:ff:ff:ff:ff"`, `ipaddr=""`)
	s.eventually("a MAC that is none", func() bool { return has() && r.raised(southbound.AlarmMalformed, object) == "" })
	s.ctl("clear-local-macs", "weft-100")
	s.eventually("no alarm is left", func() bool { n := 0; r.locked(func() { n = len(r.active) }); return n == 0 })
	require.Nil(t, r.Status().Err)
}

func TestTunnelDown(t *testing.T) {
	s, _, r := bed(t)
	s.ctl("add-ucast-local", "weft-100", "02:00:00:00:00:0a", "10.0.0.1")
	at := func(dst string) string {
		return strings.TrimSpace(s.ctl("--no-heading", "--columns=_uuid", "--format=csv", "find", "Physical_Locator", `dst_ip="`+dst+`"`))
	}
	s.ctl("--id=@t", "create", "Tunnel", "local="+at("10.0.0.1"), "remote="+at("10.0.0.7"), "bfd_params:enable=true", "bfd_status:state=down",
		`bfd_status:diagnostic="Control Detection Time Expired"`, "--", "add", "Physical_Switch", "tor1", "tunnels", "@t")
	s.eventually("it is down", func() bool { return r.raised(alarmTunnel, "tunnel to 10.0.0.7") != "" })
	require.Contains(t, r.raised(alarmTunnel, "tunnel to 10.0.0.7"), "Control Detection Time Expired")
	tunnel := s.ctl("--no-heading", "--columns=_uuid", "--format=csv", "list", "Tunnel")
	for _, set := range []string{"bfd_status:state=up", "bfd_params:enable=false"} {
		s.ctl("set", "Tunnel", tunnel, set)
		s.eventually("it is not down", func() bool { return r.raised(alarmTunnel, "tunnel to 10.0.0.7") == "" })
		s.ctl("set", "Tunnel", tunnel, "bfd_status:state=down")
		if set == "bfd_status:state=up" {
			s.eventually("it is down again", func() bool { return r.raised(alarmTunnel, "tunnel to 10.0.0.7") != "" })
		}
	}
	require.Equal(t, `{enable="false"}`, s.ctl("get", "Tunnel", tunnel, "bfd_params"), "nobody turns it on")
	s.ctl("set", "Physical_Switch", "tor1", "switch_fault_status=mac_table_exhaustion")
	s.eventually("a fault", func() bool { return r.raised(alarmFault, "mac_table_exhaustion") != "" })
	require.Empty(t, r.raised(alarmTunnel, "tunnel to 10.0.0.7"), "BFD is off")
	require.Nil(t, r.Status().Err)
}

func TestMendsAtOnceAndTells(t *testing.T) {
	s, _, r := bed(t)
	s.ctl("clear-remote-macs", "weft-100", "--", "unbind-ls", "tor1", "eth1", "0")
	s.eventually("all is back", func() bool { return remotes(s) == webMACs })
	r.synced()
	told := r.saidOnce(t, "Repaired")
	for _, part := range []string{"port eth1 untagged was not bound to weft-100; bound again", "unknown-dst of weft-100 led to []; put back", "MAC 02:00:00:00:00:07 of weft-100 was missing; put back"} {
		require.Contains(t, told, part)
	}
	s.ctl("add-ls", "theirs", "--", "add-ucast-remote", "theirs", "02:00:00:00:00:07", "10.0.0.66")

	// Who does it again and again does not keep the database busy.
	for began := time.Now(); time.Since(began) < 2*time.Second || len(r.said("Repaired")) <= 2 && time.Since(began) < patience; {
		s.ctl("clear-remote-macs", "weft-100")
	}
	n := len(r.said("Repaired"))
	require.Greater(t, n, 2)
	require.LessOrEqual(t, n, 13)
	s.eventually("all is back", func() bool { return remotes(s) == webMACs })
	r.synced()
	require.Contains(t, s.ctl("list-remote-macs", "theirs"), "10.0.0.66")
}

func TestServerIsAway(t *testing.T) {
	s, tb, r := bed(t)
	before := s.written()
	s.stop()
	s.eventually("it is told", func() bool { return r.Status().Err != nil && r.Status().Err.Code == southbound.CodeUnreachable })
	_, ok := r.Programmed(port("a"))
	require.False(t, ok)
	s.eventually("in the system's words", func() bool {
		return strings.Contains(r.Status().Err.Error(), "connect to OVSDB "+s.db()) && strings.Contains(r.Status().Err.Error(), "connection refused")
	})
	s.start()
	r.synced()
	require.Equal(t, before, s.written())
	s.stop()
	tb.set(100, at(9, ip(7)))
	s.start()
	r.synced()
	require.Equal(t, before+1, s.written(), "only what differs")
	require.Contains(t, remotes(s), "02:00:00:00:00:09")
	require.Empty(t, r.said("Repaired"))
}

// Schemas before replication_mode are served as well.
func TestOldSchema(t *testing.T) {
	old := t.TempDir() + "/old.ovsschema"
	text := newServerless(t, "jq", `.tables.Logical_Switch.columns |= del(.replication_mode) | .version = "1.3.0" | del(.cksum)`, schemaFile)
	require.NoError(t, os.WriteFile(old, []byte(text), 0o600))
	s := newServer(t, old)
	s.ctl("add-ps", "tor1", "--", "add-port", "tor1", "eth1", "--", "add-port", "tor1", "eth2")
	tb := newTables()
	tb.set(100, imet(ip(7)), at(7, ip(7)))
	r := start(t, node("tor1", ip(1), s.db()), tb, plugged)
	r.synced()
	require.Equal(t, "hardware_vtep 1.3.0", r.Status().Software)
	require.Contains(t, remotes(s), "02:00:00:00:00:07 -> vxlan_over_ipv4/10.0.0.7")
	s.ctl("clear", "Logical_Switch", "weft-100", "tunnel_key")
	s.eventually("mended", func() bool { return s.ctl("get", "Logical_Switch", "weft-100", "tunnel_key") == "100" })
}

func newServerless(t *testing.T, name string, args ...string) string {
	return (&server{t: t}).run(name, args...)
}

func TestTenThousandMACs(t *testing.T) {
	s := newServer(t, schemaFile)
	s.ctl("add-ps", "tor1", "--", "add-port", "tor1", "eth1", "--", "add-port", "tor1", "eth2")
	tb := newTables()
	rows := []evpn.Row{imet(ip(1))}
	for i := range 10000 {
		m := intent.MAC{2, 1, 0, byte(i >> 8), byte(i), 0}
		v := ip(byte(10 + i%100))
		rows = append(rows, imet(v), evpn.Row{Key: evpn.MACKey(m), Path: evpn.Path{VTEP: v}})
	}
	tb.set(100, rows...)
	before := s.written()
	began := time.Now()
	r := start(t, node("tor1", ip(1), s.db()), tb, plugged)
	r.synced()
	t.Logf("10,000 MACs at 100 VTEPs after %s", time.Since(began).Round(time.Millisecond))
	require.Equal(t, 10000, s.count("Ucast_Macs_Remote"))
	require.Equal(t, before+2, s.written(), "two chunks")

	began = time.Now()
	tb.set(100, at(1, ip(10)))
	r.synced()
	t.Logf("one more after %s", time.Since(began).Round(100*time.Microsecond))
	began = time.Now()
	r.unplug("a", "b")
	s.eventually("all gone", func() bool { return s.ctl("list-ls") == "" })
	t.Logf("all of it removed after %s", time.Since(began).Round(time.Millisecond))
	require.Zero(t, s.count("Ucast_Macs_Remote"))
}

// Two switches of one database, driven at once, come to the same end, and
// neither takes the other's writing for tampering.
func TestTwoSwitchesOfOneDatabase(t *testing.T) {
	s := newServer(t, schemaFile)
	for i := 1; i <= 2; i++ {
		n := fmt.Sprintf("tor%d", i)
		s.ctl("add-ps", n, "--", "add-port", n, "eth1", "--", "add-port", n, "eth2")
	}
	tb := newTables()
	tb.set(100, imet(ip(1)), imet(ip(2)), imet(ip(7)), imet(ip(8)), at(7, ip(7)), at(8, ip(8)), at(1, ip(1)), at(2, ip(2)))
	a := start(t, node("tor1", ip(1), s.db()), tb, plugged)
	b := start(t, node("tor2", ip(2), s.db()), tb, plugged)
	a.synced()
	b.synced()
	require.Equal(t, webMACs, remotes(s))
	for i := range 100 {
		tb.set(100, at(byte(10+i), ip(byte(7+i%2))))
		if i%10 == 0 {
			tb.withdraw(100, evpn.MACKey(mac(byte(10+i))))
		}
		if i%25 == 0 {
			b.unplug("b")
			a.plug("x", "eth1", uint16(i+1), 200)
			a.unplug("b")
		}
		if i%25 == 12 {
			b.plug("b", "eth2", 20, 200)
			a.unplug("x")
		}
	}
	a.synced()
	b.synced()
	require.Equal(t, 2+90, strings.Count(remotes(s), "02:00:00"))
	require.Empty(t, append(a.said("Repaired"), b.said("Repaired")...))
	require.Empty(t, append(a.said(southbound.CodeRefused), b.said(southbound.CodeRefused)...))

	a.stop()
	require.NoError(t, a.Withdraw(context.Background()))
	require.Empty(t, s.ctl("list-bindings", "tor1", "eth1"))
	require.Equal(t, 2+90, strings.Count(remotes(s), "02:00:00"), "the other switch has it still")
	b.synced()
	b.stop()
	require.NoError(t, b.Withdraw(context.Background()))
	require.Empty(t, s.ctl("list-ls"))
	require.Zero(t, s.count("Ucast_Macs_Remote")+s.count("Physical_Locator")+s.count("Physical_Locator_Set"))
	require.Empty(t, append(a.said("Repaired"), b.said("Repaired")...))
}
