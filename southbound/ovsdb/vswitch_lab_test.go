//go:build lab

package ovsdb

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/southbound/ovstest"
)

type repairs struct {
	mu   sync.Mutex
	list []Repair
}

func (r *repairs) add(p Repair) { r.mu.Lock(); r.list = append(r.list, p); r.mu.Unlock() }
func (r *repairs) take() []Repair {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.list
	r.list = nil
	return l
}

func keep(t *testing.T, o *ovstest.OVS, r *repairs) *VSwitch {
	v := NewVSwitch(VSwitchConfig{Name: "hv1", Endpoint: o.DB(), Bridge: "br-int", DatapathType: "dummy", VTEP: netip.MustParseAddr("10.0.0.1"),
		Tunnel: "weft-vxlan", OpenFlowListen: "punix:" + o.Dir + "/weft.sock", OnRepair: r.add})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = v.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return v
}

func ready(v *VSwitch) func() bool {
	return func() bool { s := v.State(); return s.Connected && s.BridgeReady && s.TunnelOFPort == TunnelPort }
}

func TestBridgeIsMadeAndMended(t *testing.T) {
	o := ovstest.Start(t)
	o.Vsctl("--no-wait", "add-br", "other", "--", "set", "bridge", "other", "datapath_type=dummy", "--", "set-controller", "other", "tcp:127.0.0.1:9")
	var r repairs
	v := keep(t, o, &r)
	o.Eventually("ready", ready(v))
	require.Empty(t, r.take(), "what is made first is no repair")
	require.Equal(t, "secure", o.Vsctl("get-fail-mode", "br-int"))
	require.Equal(t, "punix:"+o.Dir+"/weft.sock", o.Vsctl("get-controller", "br-int"))
	first := v.State().BridgeUUID

	for _, c := range []struct {
		what string
		args []string
		want Repair
	}{
		{"the tunnel port is removed", []string{"del-port", "weft-vxlan"}, Repair{"hv1", "port weft-vxlan", "was missing", "made again"}},
		{"its local end is changed", []string{"set", "interface", "weft-vxlan", "options:local_ip=10.9.9.9"},
			Repair{"hv1", "port weft-vxlan", "had type vxlan and options map[key:flow local_ip:10.9.9.9 remote_ip:flow]", "set back"}},
		{"the bridge turns standalone", []string{"set-fail-mode", "br-int", "standalone"}, Repair{"hv1", "bridge br-int", `had fail_mode "standalone"`, "set back"}},
		{"the listener is removed", []string{"del-controller", "br-int"}, Repair{"hv1", "bridge br-int", "did not listen on punix:" + o.Dir + "/weft.sock", "set back"}},
	} {
		o.Vsctl(append([]string{"--no-wait"}, c.args...)...)
		var got []Repair
		o.Eventually(c.what, func() bool { got = append(got, r.take()...); return len(got) > 0 && ready(v)() })
		require.Equal(t, []Repair{c.want}, got)
	}
	o.Vsctl("--no-wait", "del-br", "br-int")
	o.Eventually("the bridge is back", func() bool { return ready(v)() && v.State().BridgeUUID != first })
	require.Equal(t, "tcp:127.0.0.1:9", o.Vsctl("get-controller", "other"))
}

func TestInterfacesAreSeen(t *testing.T) {
	o := ovstest.Start(t)
	var r repairs
	v := keep(t, o, &r)
	o.Eventually("ready", ready(v))
	see := func(what string, ok func(map[string]Interface) bool) {
		t.Helper()
		o.Eventually(what, func() bool { return ok(v.State().Interfaces) })
	}
	require.Empty(t, v.State().Interfaces)
	o.Plug("br-int", "tap1", "vm1")
	see("the port", func(i map[string]Interface) bool { return i["tap1"].IfaceID == "vm1" && i["tap1"].OFPort > 0 })
	o.Vsctl("set", "interface", "tap1", "external_ids:iface-id=vm2")
	see("another id", func(i map[string]Interface) bool { return i["tap1"].IfaceID == "vm2" })
	o.Vsctl("--no-wait", "add-port", "br-int", "tap9", "--", "set", "interface", "tap9", "type=nonsense")
	see("what can't be opened", func(i map[string]Interface) bool { return i["tap9"].OFPort <= 0 && i["tap9"].Error != "" })
	args := []string{"--no-wait"}
	for i := range 1000 {
		args = append(args, "--", "add-port", "br-int", fmt.Sprintf("p%d", i), "--", "set", "interface", fmt.Sprintf("p%d", i), "type=dummy", fmt.Sprintf("external_ids:iface-id=i%d", i))
	}
	o.Vsctl(args...)
	see("a thousand", func(i map[string]Interface) bool {
		n := 0
		for _, p := range i {
			if p.OFPort > 0 {
				n++
			}
		}
		return n == 1001
	})
	o.Vsctl("del-port", "tap1")
	see("gone", func(i map[string]Interface) bool { _, ok := i["tap1"]; return !ok })
}

func TestOutageIsToldAndMended(t *testing.T) {
	o := ovstest.Start(t)
	var r repairs
	v := keep(t, o, &r)
	o.Eventually("ready", ready(v))
	o.Plug("br-int", "tap1", "vm1")
	o.Eventually("seen", func() bool { return v.State().Interfaces["tap1"].OFPort > 0 })
	o.StopServer()
	o.Eventually("lost", func() bool { return !v.State().Connected && v.State().Err != nil })
	require.Contains(t, v.State().Interfaces, "tap1", "what was known stays")
	o.Eventually("in the system's words", func() bool { e := v.State().Err; return e != nil && e.Error() == "connection refused" })
	o.StartServer()
	o.Eventually("back", ready(v))
	o.Eventually("with the port", func() bool { return v.State().Interfaces["tap1"].OFPort > 0 })
	require.Empty(t, r.take())
}

func TestSecondSessionWritesNothing(t *testing.T) {
	o := ovstest.Start(t)
	var r repairs
	v := keep(t, o, &r)
	o.Eventually("ready", ready(v))
	before := o.Versions()
	w := keep(t, o, &r)
	o.Eventually("ready", ready(w))
	require.Equal(t, before, o.Versions())
}
