//go:build lab

package lab

import (
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/topology"
)

// fault is something that keeps an object from being Ready.
type fault struct {
	name    string
	object  intent.Ref
	breaks  func()
	device  string
	message string // the device's own words, as a regular expression
	action  string
	mends   func()
}

// Whatever is wrong, the object that is not Ready names the device, has the
// device's own words, and says what to do; mended, it is Ready by itself.
func TestFaultsAreNamed(t *testing.T) {
	w := newTenants(t, topology.GenerateParams{Name: "faults", Spines: 1, Leaves: 2, HypervisorsPerLeaf: 2, HostsPerHypervisor: 1})
	faults := append(w.bindingFaults(), w.deviceFaults()...)
	require.GreaterOrEqual(t, len(faults), 10)
	for _, f := range faults {
		w.show(f)
	}
	_, err := w.client.Delete(t.Context(), w.extraPort(intent.Binding{}).Ref(), client.DeleteOptions{})
	require.NoError(t, err) // no VM of the lab is behind it
	w.ready(patience)
	w.check()
}

// show breaks something, wants to be told, mends it, and wants it Ready.
func (w *site) show(f fault) {
	w.Helper()
	f.breaks()
	var why intent.Reason
	noticed := w.eventually(patience, func() error {
		s := w.cliGet(f.object)
		if s.Phase == intent.PhaseReady || len(s.Reasons) == 0 {
			return fmt.Errorf("%s is %s with reasons %+v", f.object, s.Phase, s.Reasons)
		}
		why = s.Reasons[0]
		if why.Device != f.device || !regexp.MustCompile(f.message).MatchString(why.Message) {
			return fmt.Errorf("%s: %s waits for device %q, want %q; it says %q, want %q", f.name, f.object, why.Device, f.device, why.Message, f.message)
		}
		return nil
	})
	require.Regexp(w, f.action, why.Action, f.name)
	f.mends()
	mended := w.eventually(patience, func() error {
		if s := w.cliGet(f.object); s.Phase != intent.PhaseReady {
			return fmt.Errorf("%s: mended, but %s is %s: %+v", f.name, f.object, s.Phase, s.Reasons)
		}
		return nil
	})
	w.Logf("%s: told after %s, Ready %s after it was mended\n  %s waits for %q\n  because %s\n  so %s", f.name,
		noticed.Round(time.Millisecond), mended.Round(time.Millisecond), f.object, why.Device, why.Message, why.Action)
}

// extraPort is one more port of blue's, bound as a fault needs it.
func (w *site) extraPort(b intent.Binding) *intent.Port {
	p := w.portOf("blue-vm1")
	p.Metadata = intent.Metadata{Name: "extra", Tenant: "blue"}
	p.Spec.MAC, p.Spec.Addresses = intent.MAC{2, 0, 10, 0, 0, 77}, []netip.Addr{netip.MustParseAddr("10.0.0.77"), netip.MustParseAddr("fd00:0:0:a::77")}
	p.Spec.Binding = b
	return p
}

// bindingFaults are those of a port that is in the wrong place or in none.
func (w *site) bindingFaults() []fault {
	extra := w.extraPort(intent.Binding{}).Ref()
	bind := func(b intent.Binding) func() { return func() { w.put(w.extraPort(b)) } }
	internal := func(name, id string) func() {
		return func() {
			w.vsctl("hv2", "--may-exist", "add-port", bridgeInt, name, "--", "set", "Interface", name, "type=internal", "external_ids:iface-id="+id)
		}
	}
	there := bind(intent.Binding{Node: "hv2", Interface: "late0"})
	return []fault{
		{name: "no interface with the iface-id", object: extra, breaks: bind(intent.Binding{IfaceID: "late-vm"}), device: "any hypervisor",
			message: `no hypervisor reports an interface with external_ids:iface-id=late-vm`, action: `set external_ids:iface-id=late-vm`, mends: internal("late0", "late-vm")},
		{name: "a switch, no edge", object: extra, breaks: bind(intent.Binding{Node: "leaf1", Interface: "eth1"}), device: "leaf1",
			message: `node leaf1 (has no vSwitch|is no edge)`, action: `bind the port to a node with`, mends: there},
		{name: "no such interface", object: extra, breaks: bind(intent.Binding{Node: "hv2", Interface: "late1"}), device: "hv2",
			message: `bridge br-int has no interface late1`, action: `on hv2: ovs-vsctl add-port br-int late1`, mends: internal("late1", "other")},
		{name: "an interface that the switch can't open", object: extra, breaks: func() {
			// Not waited for: ovs-vsctl itself fails with the same words.
			_ = ovsVsctl(w.Context(), w.NodeDir("hv2"), "add-port", bridgeInt, "absent0")
			w.put(w.extraPort(intent.Binding{Node: "hv2", Interface: "absent0"}))
		}, device: "hv2", message: `interface absent0: could not open network device absent0 \(No such device\)`, action: `mend interface absent0 on hv2`,
			mends: func() {
				require.NoError(w, netns.Do(w.Namespace("hv2"), exec.Command("ip", "link", "add", "absent0", "type", "veth", "peer", "name", "absent1").Run))
			}},
	}
}

// deviceFaults are those of a hypervisor; the last of its own ports waits too.
func (w *site) deviceFaults() []fault {
	node := func(name string) intent.Ref { return intent.Ref{Kind: intent.KindNode, Name: name} }
	hv4, err := w.Node("hv4")
	require.NoError(w, err)
	signal := func(node, name string, s syscall.Signal) func() {
		return func() { require.NoError(w, w.process(node, name).signal(s)) }
	}
	address := func(verb string) func() {
		return func() {
			out, err := exec.Command("ip", "-n", w.Namespace("hv4"), "addr", verb, hv4.Mgmt.String(), "dev", w.mgmtInterface("hv4")).CombinedOutput()
			require.NoError(w, err, "%s", out)
		}
	}
	const runs = `check that ovs-vswitchd and ovsdb-server run and that the controller reaches them`
	return []fault{
		{name: "the database server killed", object: node("hv1"), device: "hv1", message: `connect to OVSDB tcp:.*: connection refused`, action: `on hv1: ` + runs,
			breaks: func() { require.NoError(w, stop([]Process{w.process("hv1", "ovsdb-server")}, 0)) }, mends: func() { w.startOVSDB("hv1") }},
		{name: "the database server silent", object: node("hv1"), device: "hv1", message: `connect to OVSDB tcp:.*: the server does not answer`, action: `on hv1: ` + runs,
			breaks: signal("hv1", "ovsdb-server", syscall.SIGSTOP), mends: signal("hv1", "ovsdb-server", syscall.SIGCONT)},
		{name: "the switch killed", object: w.portOf("green-vm1").Ref(), device: "hv2", message: `connect by OpenFlow to tcp:.*: connection refused`, action: `on hv2: ` + runs,
			breaks: func() { require.NoError(w, stop([]Process{w.process("hv2", "ovs-vswitchd")}, 0)) }, mends: func() { w.startVSwitchd("hv2") }},
		{name: "the switch silent", object: node("hv2"), device: "hv2", message: `talk OpenFlow to tcp:.*|connect by OpenFlow to tcp:.*`, action: `on hv2: ` + runs,
			breaks: signal("hv2", "ovs-vswitchd", syscall.SIGSTOP), mends: signal("hv2", "ovs-vswitchd", syscall.SIGCONT)},
		{name: "a management address that nobody has", object: node("hv4"), device: "hv4", message: `connect to OVSDB tcp:.*: (the server does not answer|no route to host)`, action: `on hv4: ` + runs,
			breaks: address("del"), mends: address("add")},
		{name: "the tunnel port's name taken", object: node("hv3"), device: "hv3", message: `port weft-vxlan is on (br-phy|another bridge): remove it there`, action: `hv3`,
			breaks: func() {
				// While the controller does not look: Open vSwitch 3.1 fails an
				// assertion when a port moves to another bridge in one step.
				signal(controllerNode, controllerNode, syscall.SIGSTOP)()
				w.vsctl("hv3", "del-port", "weft-vxlan")
				w.vsctl("hv3", "add-port", bridgePhy, "weft-vxlan", "--", "set", "Interface", "weft-vxlan", "type=internal")
				signal(controllerNode, controllerNode, syscall.SIGCONT)()
			}, mends: func() { w.vsctl("hv3", "del-port", bridgePhy, "weft-vxlan") }},
		{name: "the tunnel's address taken by another tunnel", object: node("hv3"), device: "hv3", message: `open tunnel port weft-vxlan: .*File exists`, action: `look at ovs-vswitchd's log on hv3`,
			breaks: func() {
				hv3, err := w.Node("hv3")
				require.NoError(w, err)
				signal(controllerNode, controllerNode, syscall.SIGSTOP)()
				w.vsctl("hv3", "del-port", "weft-vxlan")
				w.vsctl("hv3", "add-port", bridgePhy, "theirs", "--", "set", "Interface", "theirs", "type=vxlan",
					"options:key=flow", "options:remote_ip=flow", "options:local_ip="+hv3.VTEP.Address.String())
				signal(controllerNode, controllerNode, syscall.SIGCONT)()
				// Open vSwitch itself does not try again once the other is gone.
			}, mends: func() { w.vsctl("hv3", "del-port", bridgePhy, "theirs") }},
		w.listenerFault(),
	}
}

// listenerFault names an address for OpenFlow that the hypervisor does not have.
func (w *site) listenerFault() fault {
	var right, wrong intent.Node
	for _, n := range w.FabricNodes {
		if n.Metadata.Name == "hv3" {
			right, wrong = *n, *n
			v := *n.Spec.VSwitch
			v.OpenFlow = "tcp:" + strings.Split(w.controllerMgmt().String(), "/")[0] + ":6699"
			wrong.Spec.VSwitch = &v
		}
	}
	return fault{name: "OpenFlow where nobody listens", object: right.Ref(), device: "hv3", message: `connect by OpenFlow to tcp:.*:6699: .*connection refused`, action: `on hv3: check`,
		breaks: func() { w.put(&wrong) }, mends: func() { w.put(&right) }}
}
