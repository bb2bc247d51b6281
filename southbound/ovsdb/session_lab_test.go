//go:build lab

package ovsdb

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/southbound/ovstest"
)

// session is a VSwitch that runs against a real Open vSwitch.
type session struct {
	*VSwitch
	t    *testing.T
	stop func()

	mu      sync.Mutex
	repairs []Repair
	log     strings.Builder
}

func start(t *testing.T, o *ovstest.OVS, edit ...func(*VSwitchConfig)) *session {
	s := &session{t: t}
	cfg := VSwitchConfig{Name: "hv1", Endpoint: o.DB(), Bridge: "br-int", DatapathType: "dummy",
		VTEP: netip.MustParseAddr("10.0.0.1"), Tunnel: "weft-vxlan", OpenFlowListen: "punix:" + o.Dir + "/br-int.of",
		Logger: slog.New(slog.NewTextHandler(s, nil)),
		OnRepair: func(r Repair) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.repairs = append(s.repairs, r)
		}}
	for _, e := range edit {
		e(&cfg)
	}
	s.VSwitch = NewVSwitch(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		assert.ErrorIs(t, <-done, context.Canceled)
	})
	t.Cleanup(s.stop)
	return s
}

// Write implements io.Writer for the log.
func (s *session) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

// until waits for a state, woken only by Changed.
func (s *session) until(what string, ok func(State) bool) State {
	s.t.Helper()
	end := time.After(ovstest.Patience)
	for {
		if st := s.State(); ok(st) {
			return st
		}
		select {
		case <-s.Changed():
		case <-end:
			require.FailNow(s.t, what, "%+v", s.State())
		}
	}
}

func (s *session) ready() State {
	s.t.Helper()
	return s.until("the bridge is ready", func(st State) bool { return st.BridgeReady && st.TunnelOFPort != 0 })
}

func (s *session) repaired() []Repair {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Repair(nil), s.repairs...)
}

// written is what sessions write, with the rows' identities.
func written(o *ovstest.OVS) string {
	var b strings.Builder
	for table, columns := range map[string]string{"Open_vSwitch": "_uuid,bridges", "Bridge": "_uuid,name,ports,controller,fail_mode,protocols,external_ids,other_config",
		"Port": "_uuid,name,interfaces,external_ids", "Interface": "_uuid,name,type,options,ofport_request,external_ids", "Controller": "_uuid,target,connection_mode,external_ids"} {
		lines := strings.Split(o.Vsctl("--no-heading", "--format=csv", "--columns="+columns, "list", table), "\n")
		slices.Sort(lines)
		b.WriteString(table + " " + strings.Join(lines, "\n") + "\n")
	}
	all := strings.Split(b.String(), "\n")
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// transactions counts what was ever written: records in the database's file.
func transactions(o *ovstest.OVS) int {
	return strings.Count(o.Run("ovsdb-tool", "show-log", o.Dir+"/conf.db"), "record ")
}

func listens(o *ovstest.OVS, socket string) {
	o.Eventually("listens on "+socket, func() bool { _, err := os.Stat(o.Dir + "/" + socket); return err == nil })
}

func TestMakesEverything(t *testing.T) {
	o := ovstest.Start(t)
	o.Vsctl("set", "Open_vSwitch", ".", "external_ids:system-id=abc", "external_ids:hostname=hv1.example", "ovs_version=3.1.0")
	s := start(t, o)
	st := s.ready()
	require.NoError(t, st.Err)
	assert.True(t, st.Connected)
	assert.EqualValues(t, TunnelPort, st.TunnelOFPort)
	assert.Equal(t, "abc", st.SystemID)
	assert.Equal(t, "hv1.example", st.Hostname)
	assert.Equal(t, "3.1.0", st.OVSVersion)
	assert.Equal(t, o.Vsctl("get", "Bridge", "br-int", "_uuid"), st.BridgeUUID)
	assert.Empty(t, st.Interfaces, "neither the tunnel nor the bridge's own")
	assert.Equal(t, "secure", o.Vsctl("get", "Bridge", "br-int", "fail_mode"))
	assert.Equal(t, "dummy", o.Vsctl("get", "Bridge", "br-int", "datapath_type"))
	assert.Contains(t, o.Vsctl("get", "Bridge", "br-int", "protocols"), "OpenFlow15")
	assert.Equal(t, `{key=flow, local_ip="10.0.0.1", remote_ip=flow}`, o.Vsctl("get", "Interface", "weft-vxlan", "options"))
	assert.Equal(t, "weft", o.Vsctl("get", "Interface", "weft-vxlan", "external_ids:weft-owner"))
	assert.Equal(t, "punix:"+o.Dir+"/br-int.of", o.Vsctl("get-controller", "br-int"))
	listens(o, "br-int.of")
	assert.Contains(t, o.Ofctl("dump-ports-desc", "unix:"+o.Dir+"/br-int.of"), "weft-vxlan")
	assert.Empty(t, s.repaired(), "making is no repair")
	s.mu.Lock()
	defer s.mu.Unlock()
	assert.Equal(t, 1, strings.Count(s.log.String(), "\n"), "one line for one change of the connection:\n%s", s.log.String())
}

// A controller that comes back to what it left writes nothing at all.
func TestRestartWritesNothing(t *testing.T) {
	o := ovstest.Start(t)
	s := start(t, o)
	s.ready()
	o.Plug("br-int", "v1", "vm1")
	s.until("the port is there", func(st State) bool { return st.Interfaces["v1"].OFPort > 0 })
	s.stop()
	rows, records := written(o), transactions(o)
	for range 3 {
		s := start(t, o)
		s.ready()
		time.Sleep(100 * time.Millisecond)
		s.stop()
		assert.Empty(t, s.repaired())
	}
	assert.Equal(t, rows, written(o))
	assert.Equal(t, records, transactions(o))
	o.Vsctl("--no-wait", "set", "Bridge", "br-int", "external_ids:x=1")
	assert.Equal(t, records+1, transactions(o), "a write would have been counted")
}

func TestMends(t *testing.T) {
	o := ovstest.Start(t)
	s := start(t, o)
	first := s.ready()
	began := time.Now()

	o.Vsctl("--no-wait", "del-br", "br-int")
	st := s.until("another bridge", func(st State) bool {
		return st.BridgeUUID != first.BridgeUUID && st.BridgeReady && st.TunnelOFPort == TunnelPort
	})
	require.NoError(t, st.Err)
	assert.Equal(t, "punix:"+o.Dir+"/br-int.of", o.Vsctl("get-controller", "br-int"))

	before := o.Vsctl("get", "Interface", "weft-vxlan", "_uuid")
	o.Vsctl("--no-wait", "del-port", "br-int", "weft-vxlan")
	o.Eventually("the tunnel is back", func() bool {
		u := o.Vsctl("--if-exists", "get", "Interface", "weft-vxlan", "_uuid")
		return u != "" && u != before
	})
	s.ready()

	o.Vsctl("--no-wait", "set", "Interface", "weft-vxlan", "options:local_ip=10.9.9.9", "options:csum=true")
	o.Eventually("its options are back", func() bool {
		return o.Vsctl("get", "Interface", "weft-vxlan", "options") == `{key=flow, local_ip="10.0.0.1", remote_ip=flow}`
	})
	o.Vsctl("--no-wait", "set-fail-mode", "br-int", "standalone")
	o.Eventually("secure again", func() bool { return o.Vsctl("get-fail-mode", "br-int") == "secure" })
	o.Vsctl("--no-wait", "set", "Bridge", "br-int", "protocols=OpenFlow10,OpenFlow13")
	o.Eventually("speaks 1.5 again", func() bool {
		return o.Vsctl("get", "Bridge", "br-int", "protocols") == "[OpenFlow10, OpenFlow13, OpenFlow15]"
	})
	o.Vsctl("--no-wait", "del-controller", "br-int")
	o.Eventually("listens again", func() bool { return o.Vsctl("get-controller", "br-int") != "" })
	s.ready()
	t.Logf("six mends in %s", time.Since(began))

	for _, want := range []string{"bridge br-int: was missing", "port weft-vxlan: was missing", "local_ip:10.9.9.9", `had fail_mode "standalone"`, "had protocols [OpenFlow10 OpenFlow13]", "did not listen on"} {
		o.Eventually(want+" is told", func() bool { // once the database has confirmed it
			return slices.ContainsFunc(s.repaired(), func(r Repair) bool { return strings.Contains(r.Object+": "+r.Found, want) })
		})
	}
	for _, r := range s.repaired() {
		assert.Equal(t, "hv1", r.Device)
	}
}

// Who undoes our rows again and again does not keep the database busy.
func TestMendingIsBounded(t *testing.T) {
	o := ovstest.Start(t)
	s := start(t, o)
	s.ready()
	for began := time.Now(); time.Since(began) < 3*time.Second || len(s.repaired()) == 0 && time.Since(began) < ovstest.Patience; {
		o.Vsctl("--no-wait", "--if-exists", "del-port", "br-int", "weft-vxlan")
	}
	n := len(s.repaired())
	assert.Positive(t, n)
	assert.LessOrEqual(t, n, 12)
	s.ready()
}

func TestOthersRowsStay(t *testing.T) {
	o := ovstest.Start(t)
	o.Vsctl("add-br", "br-int", "--", "set", "Bridge", "br-int", "datapath_type=dummy", "external_ids:theirs=1", "other_config:hwaddr=02:00:00:00:00:01",
		"--", "add-port", "br-int", "t1", "--", "set", "Interface", "t1", "type=gre", "options:remote_ip=10.0.0.9",
		"--", "add-br", "br-ex", "--", "set", "Bridge", "br-ex", "datapath_type=dummy", "fail_mode=standalone",
		"--", "add-port", "br-ex", "p1", "--", "set", "Interface", "p1", "type=dummy",
		"--", "set-controller", "br-int", "punix:"+o.Dir+"/br-int.theirs")
	rows := func() string {
		return o.Vsctl("--columns=_uuid,name,type,options,ofport,external_ids", "list", "Interface", "t1") + o.Vsctl("list", "Port", "t1", "p1", "br-ex") + o.Vsctl("list", "Bridge", "br-ex")
	}
	o.Ofctl("add-flow", "unix:"+o.Dir+"/br-int.mgmt", "table=7,priority=9,actions=drop")
	s := start(t, o)
	st := s.ready()
	assert.Equal(t, `{theirs="1"}`, o.Vsctl("get", "Bridge", "br-int", "external_ids"))
	assert.Equal(t, `{hwaddr="02:00:00:00:00:01"}`, o.Vsctl("get", "Bridge", "br-int", "other_config"))
	assert.Contains(t, o.Vsctl("get-controller", "br-int"), "br-int.theirs")
	assert.Contains(t, o.Vsctl("get-controller", "br-int"), "br-int.of")
	assert.NotContains(t, st.Interfaces, "p1", "of another bridge")
	assert.Contains(t, st.Interfaces, "t1")
	before := rows()

	o.Vsctl("del-port", "br-int", "weft-vxlan")
	o.Eventually("the tunnel is back", func() bool { return o.Vsctl("--if-exists", "get", "Interface", "weft-vxlan", "name") != "" })
	s.ready()
	assert.Equal(t, before, rows())
	assert.Empty(t, st.Err)
}

// With fail_mode=secure, flows outlive every change of our listener, and no
// hidden in-band flow comes.
func TestListenerFlushesNothing(t *testing.T) {
	o := ovstest.Start(t)
	s := start(t, o, func(c *VSwitchConfig) { c.OpenFlowListen = "" })
	s.ready()
	flow := func() bool {
		return strings.Contains(o.Ofctl("dump-flows", "unix:"+o.Dir+"/br-int.mgmt"), "cookie=0x77")
	}
	o.Ofctl("add-flow", "unix:"+o.Dir+"/br-int.mgmt", "cookie=0x77,table=3,priority=9,actions=drop")
	require.True(t, flow())
	s.stop()

	for _, name := range []string{"br-int.of1", "br-int.of2"} {
		s := start(t, o, func(c *VSwitchConfig) { c.OpenFlowListen = "punix:" + o.Dir + "/" + name })
		s.until("listens", func(st State) bool { return st.BridgeReady })
		listens(o, name)
		assert.Equal(t, "punix:"+o.Dir+"/"+name, o.Vsctl("get-controller", "br-int"), "ours of before is gone")
		assert.True(t, flow(), "after the listener came")
		assert.NotContains(t, o.Run("ovs-appctl", "-t", o.Dir+"/vs.ctl", "bridge/dump-flows", "br-int"), "priority=180", "in-band flows")
		s.stop()
		assert.True(t, flow(), "after the controller went")
	}
	o.Vsctl("del-controller", "br-int")
	assert.True(t, flow(), "after the listener went")
}

func TestNameTaken(t *testing.T) {
	o := ovstest.Start(t)
	o.Vsctl("add-br", "br-ex", "--", "set", "Bridge", "br-ex", "datapath_type=dummy", "--", "add-port", "br-ex", "weft-vxlan", "--", "set", "Interface", "weft-vxlan", "type=dummy")
	s := start(t, o)
	st := s.until("says why", func(st State) bool { return st.Err != nil })
	assert.ErrorContains(t, st.Err, "weft-vxlan is on another bridge")
	assert.True(t, st.Connected)
	o.Vsctl("del-port", "br-ex", "weft-vxlan")
	s.ready()
}

// The database server is killed: the state says so and why; when it is back,
// all is read again.
func TestServerOutage(t *testing.T) {
	o := ovstest.Start(t)
	s := start(t, o)
	s.ready()
	for i := range 5 {
		o.Plug("br-int", fmt.Sprintf("v%d", i), fmt.Sprintf("vm%d", i))
	}
	all := func(st State) bool {
		if !st.Connected || !st.BridgeReady || len(st.Interfaces) != 5 {
			return false
		}
		for _, i := range st.Interfaces {
			if i.OFPort <= 0 {
				return false
			}
		}
		return true
	}
	before := s.until("five ports", func(st State) bool { return all(st) && st.Interfaces["v4"].LinkUp && st.Interfaces["v4"].MTU > 0 })
	rows := written(o)
	for range 2 {
		o.StopServer()
		down := s.until("the outage", func(st State) bool { return !st.Connected })
		require.Error(t, down.Err)
		assert.True(t, down.Since.After(before.Since))
		s.until("the reason", func(st State) bool {
			return strings.Contains(st.Err.Error(), "connection refused") || strings.Contains(st.Err.Error(), "no such file")
		})
		time.Sleep(time.Second)
		o.StartServer()
		// The link states are not in the database's file: ovs-vswitchd writes
		// them when it has connected again, with waits of its own.
		after := s.until("five ports as before", func(st State) bool { return all(st) && maps.Equal(before.Interfaces, st.Interfaces) })
		require.NoError(t, after.Err)
		assert.Equal(t, before.BridgeUUID, after.BridgeUUID)
	}
	assert.Empty(t, s.repaired())
	assert.Equal(t, rows, written(o))
}

// A bridge that only stands in the database is not ready.
func TestSwitchAway(t *testing.T) {
	o := ovstest.Start(t)
	o.StopSwitch()
	s := start(t, o)
	st := s.until("says why", func(st State) bool { return st.Err != nil })
	assert.EqualError(t, st.Err, "ovs-vswitchd has not made bridge br-int yet")
	assert.True(t, st.Connected)
	assert.False(t, st.BridgeReady)
	o.StartSwitch()
	s.ready()
}

func TestInterfaces(t *testing.T) {
	o := ovstest.Start(t)
	s := start(t, o)
	s.ready()
	o.Plug("br-int", "v1", "vm1")
	v1 := s.until("v1", func(st State) bool { return st.Interfaces["v1"].OFPort > 0 }).Interfaces["v1"]
	assert.Equal(t, "vm1", v1.IfaceID)

	o.Vsctl("--no-wait", "set", "Interface", "v1", "external_ids:iface-id=vm2", `external_ids:attached-mac="02:00:00:00:00:05"`)
	s.until("changed", func(st State) bool {
		i := st.Interfaces["v1"]
		return i.IfaceID == "vm2" && i.AttachedMAC == "02:00:00:00:00:05" && i.OFPort == v1.OFPort
	})
	o.Vsctl("--no-wait", "remove", "Interface", "v1", "external_ids", "iface-id")
	s.until("removed", func(st State) bool { return st.Interfaces["v1"].IfaceID == "" })
	o.Vsctl("--no-wait", "set", "Interface", "v1", "external_ids:iface-id=vm1")
	s.until("set again", func(st State) bool { return st.Interfaces["v1"].IfaceID == "vm1" })

	// The same name again, in one transaction, with another port number.
	o.Vsctl("--no-wait", "del-port", "br-int", "v1", "--", "add-port", "br-int", "v1", "--", "set", "Interface", "v1",
		"type=dummy", "ofport_request=77", "external_ids:iface-id=vm1")
	s.until("made again", func(st State) bool { return st.Interfaces["v1"].OFPort == 77 })

	o.Plug("br-int", "v2", "vm1")
	st := s.until("both", func(st State) bool { return st.Interfaces["v2"].OFPort > 0 })
	assert.Equal(t, st.Interfaces["v1"].IfaceID, st.Interfaces["v2"].IfaceID, "a duplicate is shown as it is")

	o.Vsctl("--no-wait", "add-port", "br-int", "bad", "--", "set", "Interface", "bad", "type=nonsense")
	bad := s.until("refused", func(st State) bool { return st.Interfaces["bad"].Error != "" }).Interfaces["bad"]
	assert.Equal(t, -1, bad.OFPort)

	o.Vsctl("--no-wait", "del-port", "br-int", "v1")
	s.until("gone", func(st State) bool { _, ok := st.Interfaces["v1"]; return !ok })
}

// An old snapshot does not change, and nothing is told when nothing changed:
// the statistics, which the switch writes every few seconds, are not followed.
func TestSnapshotAndQuiet(t *testing.T) {
	o := ovstest.Start(t)
	o.Vsctl("set", "Open_vSwitch", ".", "other_config:stats-update-interval=5000")
	s := start(t, o)
	s.ready()
	o.Plug("br-int", "v1", "vm1")
	s.until("all of v1", func(st State) bool {
		v1 := st.Interfaces["v1"]
		return v1.LinkUp && v1.OFPort > 0 && v1.MTU > 0
	})
	old := s.State()
	time.Sleep(6 * time.Second)
	assert.Equal(t, old.Generation, s.State().Generation)
	o.Vsctl("--no-wait", "del-port", "br-int", "v1")
	s.until("gone", func(st State) bool { return len(st.Interfaces) == 0 })
	assert.Contains(t, old.Interfaces, "v1")
}

func TestThousandPorts(t *testing.T) {
	o := ovstest.Start(t)
	s := start(t, o)
	s.ready()
	const n = 1000
	var args []string
	for i := range n {
		name := fmt.Sprintf("v%d", i)
		args = append(args, "--", "add-port", "br-int", name, "--", "set", "Interface", name, "type=dummy", "external_ids:iface-id=vm"+name)
	}
	began := time.Now()
	o.Vsctl(append([]string{"--no-wait"}, args...)...)
	s.until("all are there", func(st State) bool { return len(st.Interfaces) == n })
	t.Logf("%d interfaces known after %s", n, time.Since(began))
	s.until("all have port numbers", func(st State) bool {
		for _, i := range st.Interfaces {
			if i.OFPort <= 0 {
				return false
			}
		}
		return true
	})
	t.Logf("with port numbers after %s, %d states", time.Since(began), s.State().Generation)
	assert.Len(t, s.State().Interfaces, n)
}
