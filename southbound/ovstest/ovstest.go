// Package ovstest starts real Open vSwitch daemons for tests: databases and
// OpenFlow are the real ones, the datapath carries no packets, so that no root
// and no namespace is needed. A test fails where Open vSwitch is missing.
package ovstest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// OVS is one Open vSwitch in a directory of its own.
type OVS struct {
	Dir string

	t          testing.TB
	server, vs *exec.Cmd
}

// Start starts both daemons and stops them when the test ends.
func Start(t testing.TB) *OVS {
	dir, err := os.MkdirTemp("", "weft-ovs") // t.TempDir is too long for a socket's path
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	o := &OVS{Dir: dir, t: t}
	o.Run("ovsdb-tool", "create", dir+"/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
	o.StartServer()
	o.Vsctl("--no-wait", "init")
	o.StartSwitch()
	t.Cleanup(func() { o.StopSwitch(); o.StopServer() })
	return o
}

// DB is the database's endpoint.
func (o *OVS) DB() string { return "unix:" + o.Dir + "/db.sock" }

// Bridge is a bridge's own OpenFlow endpoint.
func (o *OVS) Bridge(name string) string { return "unix:" + filepath.Join(o.Dir, name+".mgmt") }

func (o *OVS) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), "OVS_RUNDIR="+o.Dir, "OVS_LOGDIR="+o.Dir, "OVS_DBDIR="+o.Dir)
	return c
}

func (o *OVS) daemon(name string, args ...string) *exec.Cmd {
	c := o.command(name, args...)
	require.NoError(o.t, c.Start(), "install openvswitch-switch")
	return c
}

func stop(c **exec.Cmd) {
	if *c != nil {
		_ = (*c).Process.Kill()
		_ = (*c).Wait()
		*c = nil
	}
}

// StartServer starts the database server and waits until it answers.
func (o *OVS) StartServer() {
	os.Remove(o.Dir + "/db.sock")
	o.server = o.daemon("ovsdb-server", o.Dir+"/conf.db", "--remote=punix:"+o.Dir+"/db.sock", "--unixctl="+o.Dir+"/db.ctl")
	o.Eventually("ovsdb-server answers", func() bool { return o.command("ovsdb-client", "list-dbs", o.DB()).Run() == nil })
}

// StopServer kills the database server.
func (o *OVS) StopServer() { stop(&o.server) }

// StartSwitch starts the switch.
func (o *OVS) StartSwitch() {
	o.vs = o.daemon("ovs-vswitchd", "--enable-dummy=override", "--disable-system", "--disable-system-route", "--unixctl="+o.Dir+"/vs.ctl", o.DB())
}

// StopSwitch kills the switch.
func (o *OVS) StopSwitch() { stop(&o.vs) }

// Run runs a program against this Open vSwitch and returns what it prints.
func (o *OVS) Run(name string, args ...string) string {
	o.t.Helper()
	c := o.command(name, args...)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	require.NoError(o.t, err, "%s %s: %s", name, strings.Join(args, " "), errs.String())
	return strings.TrimSpace(string(out))
}

// Vsctl runs ovs-vsctl.
func (o *OVS) Vsctl(args ...string) string {
	o.t.Helper()
	return o.Run("ovs-vsctl", append([]string{"--db=" + o.DB(), "--timeout=60"}, args...)...)
}

// Ofctl runs ovs-ofctl at OpenFlow 1.5.
func (o *OVS) Ofctl(args ...string) string {
	o.t.Helper()
	return o.Run("ovs-ofctl", append([]string{"-O", "OpenFlow15"}, args...)...)
}

// Plug adds an interface with an iface-id to a bridge, as a hypervisor's
// manager does.
func (o *OVS) Plug(bridge, name, ifaceID string) {
	o.t.Helper()
	o.Vsctl("--no-wait", "add-port", bridge, name, "--", "set", "interface", name, "type=dummy", "external_ids:iface-id="+ifaceID)
}

// Versions has the version of each row that a controller might write: it
// changes with every write.
func (o *OVS) Versions() string {
	o.t.Helper()
	out := ""
	for _, table := range []string{"Bridge", "Port", "Controller"} {
		out += o.Run("ovsdb-client", "transact", o.DB(), `["Open_vSwitch",{"op":"select","table":"`+table+`","where":[],"columns":["_uuid","_version"]}]`)
	}
	return out
}

// Patience is how long a test waits for what must come, on a machine with other work.
const Patience = time.Minute

// Eventually waits until ok holds.
func (o *OVS) Eventually(what string, ok func() bool) {
	o.t.Helper()
	require.Eventually(o.t, ok, Patience, 5*time.Millisecond, what)
}

// Revalidated waits until the datapath has forgotten what it knew by flows that are no
// more: the switch confirms a change of flows before its cached ones follow.
func (o *OVS) Revalidated() {
	o.t.Helper()
	for range 2 { // the first may have begun before the change
		o.Run("ovs-appctl", "-t", o.Dir+"/vs.ctl", "revalidator/wait")
	}
}
