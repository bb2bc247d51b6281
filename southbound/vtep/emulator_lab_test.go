//go:build lab

package vtep

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// emulator is a switch in a namespace of its own: Open vSwitch with the
// userspace datapath and the emulator of vtep(5) that comes with it. A server
// hangs on its port eth1, and a VTEP of the kernel on its uplink.
type emulator struct {
	*server
	tor, srv, peer string // namespaces
}

// newEmulator needs root.
func newEmulator(t *testing.T) *emulator {
	dir, err := os.MkdirTemp("", "weft-vtep")
	require.NoError(t, err)
	id := fmt.Sprintf("wv%d", os.Getpid())
	e := &emulator{server: &server{t: t, dir: dir}, tor: id + "-tor", srv: id + "-srv", peer: id + "-peer"}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, ns := range []string{e.tor, e.srv, e.peer} {
		e.run("ip", "netns", "add", ns)
		t.Cleanup(func() { e.run("ip", "netns", "del", ns) })
	}
	e.cable(e.tor, "eth1", e.srv, "eth0")
	e.cable(e.tor, "uplink", e.peer, "uplink")
	e.run("ip", "-n", e.tor, "link", "add", "eth2", "type", "veth", "peer", "name", "nowhere")
	e.run("ip", "-n", e.tor, "link", "set", "uplink", "arp", "off")
	e.run("ip", "-n", e.srv, "link", "set", "eth0", "address", mac(10).String())
	e.run("ip", "-n", e.srv, "address", "add", "192.168.0.10/24", "dev", "eth0")
	e.run("ip", "-n", e.peer, "address", "add", "10.0.0.7/24", "dev", "uplink")
	e.run("ip", "-n", e.peer, "link", "add", "vx", "address", mac(7).String(), "type", "vxlan", "id", "100", "local", "10.0.0.7", "remote", "10.0.0.1", "dstport", "4789", "nolearning")
	e.run("ip", "-n", e.peer, "address", "add", "192.168.0.7/24", "dev", "vx")
	e.run("ip", "-n", e.peer, "link", "set", "vx", "up")
	e.startSwitch()
	return e
}

// cable joins two namespaces. What the kernel sends into Open vSwitch must have
// its checksums.
func (e *emulator) cable(a, aName, b, bName string) {
	e.run("ip", "-n", a, "link", "add", aName, "mtu", "1600", "type", "veth", "peer", "name", bName, "netns", b)
	for _, end := range [][2]string{{a, aName}, {b, bName}} {
		e.run("ip", "-n", end[0], "link", "set", end[1], "up")
		e.run("ip", "netns", "exec", end[0], "ethtool", "-K", end[1], "tx", "off")
	}
}

// in runs a program in the switch's namespace.
func (e *emulator) in(name string, args ...string) *exec.Cmd {
	c := exec.Command("ip", append([]string{"netns", "exec", e.tor, name}, args...)...)
	c.Env = append(os.Environ(), "OVS_RUNDIR="+e.dir, "OVS_LOGDIR="+e.dir, "OVS_DBDIR="+e.dir, "OVS_SYSCONFDIR="+e.dir)
	return c
}

func (e *emulator) daemon(name string, args ...string) {
	c := e.in(name, args...)
	log, err := os.OpenFile(e.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(e.t, err)
	defer log.Close()
	c.Stderr = log
	require.NoError(e.t, c.Start())
	e.t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
}

// said is what the daemons wrote.
func (e *emulator) said() string {
	b, err := os.ReadFile(e.dir + "/log")
	require.NoError(e.t, err)
	return string(b)
}

func (e *emulator) ovs(name string, args ...string) string {
	e.t.Helper()
	out, err := e.in(name, args...).CombinedOutput()
	require.NoError(e.t, err, "%s %v: %s", name, args, out)
	return strings.TrimSpace(string(out))
}

func (e *emulator) startSwitch() {
	for db, schema := range map[string]string{"conf.db": "vswitch", "vtep.db": "vtep"} {
		e.run("ovsdb-tool", "create", filepath.Join(e.dir, db), "/usr/share/openvswitch/"+schema+".ovsschema")
	}
	e.daemon("ovsdb-server", e.dir+"/conf.db", e.dir+"/vtep.db", "--remote=punix:"+e.dir+"/db.sock", "--unixctl="+e.dir+"/db.ctl", "-vconsole:off")
	e.eventually("ovsdb-server answers", func() bool { return e.in("ovsdb-client", "list-dbs", e.db()).Run() == nil })
	e.ovs("ovs-vsctl", "--no-wait", "init")
	e.daemon("ovs-vswitchd", e.db(), "--disable-system", "--unixctl="+e.dir+"/vs.ctl", "-vconsole:off")
	e.ovs("ovs-vsctl", "--timeout=60",
		"add-br", "br-phy", "--", "set", "Bridge", "br-phy", "datapath_type=netdev", "fail_mode=standalone", "--", "add-port", "br-phy", "uplink",
		"--", "add-br", "tor", "--", "set", "Bridge", "tor", "datapath_type=netdev", "fail_mode=secure", "--", "add-port", "tor", "eth1", "--", "add-port", "tor", "eth2")
	e.run("ip", "-n", e.tor, "link", "set", "br-phy", "up")
	e.run("ip", "-n", e.tor, "address", "add", "10.0.0.1/24", "dev", "br-phy")
	e.ovs("vtep-ctl", "add-ps", "tor", "--", "set", "Physical_Switch", "tor", "tunnel_ips=10.0.0.1", "--", "add-port", "tor", "eth1", "--", "add-port", "tor", "eth2")
	e.daemon("/usr/bin/python3", "/usr/share/openvswitch/scripts/ovs-vtep", "-vsyslog:off", "tor")
	e.eventually("ovs-vtep runs", func() bool { return e.in("ovs-vsctl", "br-exists", "vtep_bfd").Run() == nil })
}

func (e *emulator) flows(bridge string) string {
	out, _ := e.in("ovs-ofctl", "dump-flows", bridge).CombinedOutput() // the bridge may be going
	return string(out)
}

func (e *emulator) ping(from string, to string) error {
	return exec.Command("ip", "netns", "exec", from, "ping", "-c", "1", "-W", "1", to).Run()
}

// The emulator does what the driver writes, and what it learns comes back.
func TestEmulator(t *testing.T) {
	e := newEmulator(t)
	tb := newTables()
	n := node("tor1", ip(1), e.db())
	n.Spec.HardwareVTEP.Switch = "tor"
	r := start(t, n, tb)
	e.eventually("ports are known", func() bool {
		ok := false
		r.locked(func() { ok = len(r.ifaces) == 2 })
		return ok
	})
	require.Error(t, e.ping(e.srv, "192.168.0.7"), "nothing is bound")
	tb.set(100, imet(ip(1)), imet(ip(7)))
	r.plug("a", "eth1", 0, 100)
	r.plug("b", "eth2", 20, 100)
	r.synced()
	require.Equal(t, "OVS VTEP Emulator (hardware_vtep 1.7.0)", r.Status().Software)
	e.eventually("the VTEP is reached by flooding to it", func() bool { return e.ping(e.srv, "192.168.0.7") == nil })

	t.Run("what it learns is told", func(t *testing.T) {
		has := func() (ok bool) {
			r.locked(func() { ok = r.told[overlay.Learned{VNI: 100, MAC: mac(10)}] })
			return ok
		}
		e.eventually("the server's MAC", has)
		e.run("ip", "-n", e.srv, "link", "set", "eth0", "address", mac(11).String())
		e.eventually("it speaks", func() bool { return e.ping(e.srv, "192.168.0.7") == nil })
		spoke := time.Now()
		e.eventually("the emulator's row", func() bool { return strings.Contains(e.table("Ucast_Macs_Local", "MAC"), mac(11).String()) })
		row := time.Now()
		e.eventually("the next one's", func() (ok bool) {
			r.locked(func() { ok = r.told[overlay.Learned{VNI: 100, MAC: mac(11)}] })
			return ok
		})
		t.Logf("the emulator takes %s to write what it learned, the driver %s more to tell it", row.Sub(spoke).Round(time.Millisecond), time.Since(row).Round(time.Millisecond))
		e.eventually("it forgets after 15 s", func() bool { return !has() })
	})
	t.Run("flows follow", func(t *testing.T) {
		tb.set(100, at(7, ip(7)))
		r.synced()
		e.eventually("the MAC elsewhere", func() bool { return strings.Contains(e.flows("tor_vtep_ls1"), "dl_dst="+mac(7).String()) })
		e.eventually("the MAC is reached there", func() bool { return e.ping(e.srv, "192.168.0.7") == nil })
		e.eventually("the tagged port", func() bool { return strings.Contains(e.flows("tor"), "dl_vlan=20") })
		tb.withdraw(100, evpn.MACKey(mac(7)))
		e.eventually("no more", func() bool { return !strings.Contains(e.flows("tor_vtep_ls1"), "dl_dst="+mac(7).String()) })
		r.unplug("b")
		e.eventually("the tagged port is free", func() bool { return !strings.Contains(e.flows("tor"), "dl_vlan=20") })
		e.eventually("it is reached by flooding again", func() bool { return e.ping(e.srv, "192.168.0.7") == nil })
	})
	t.Run("nothing is written over and over", func(t *testing.T) {
		r.synced()
		require.Empty(t, r.said("Repaired"))
		r.stop()
		// What the emulator writes changes; what is ours does not.
		ours := func() string {
			return e.table("Logical_Switch", "_uuid,name,tunnel_key,replication_mode") + e.table("Mcast_Macs_Remote", "_uuid,MAC,locator_set") + e.table("Physical_Port", "_uuid,vlan_bindings")
		}
		before := ours()
		again := start(t, n, tb, func(f *feed) { f.plug("a", "eth1", 0, 100) })
		again.synced()
		require.Equal(t, before, ours())
		again.stop()
		require.NoError(t, again.Withdraw(t.Context()))
	})
	e.eventually("no bridge of a logical switch is left", func() bool { return !strings.Contains(e.ovs("ovs-vsctl", "list-br"), "tor_vtep_ls") })
	require.Error(t, e.ping(e.srv, "192.168.0.7"))
	require.Empty(t, e.ctl("list-ls"))
	e.eventually("the emulator says so", func() bool { return strings.Contains(e.said(), "removing 0000-eth1-l binding from weft-100") })
	require.NotContains(t, e.said(), "Traceback")

	// It goes on after all that.
	last := start(t, n, tb, func(f *feed) { f.plug("a", "eth1", 0, 100) })
	last.synced()
	e.eventually("served again", func() bool { return e.ping(e.srv, "192.168.0.7") == nil })
	last.stop()
	require.NoError(t, last.Withdraw(t.Context()))
}
