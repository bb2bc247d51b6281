//go:build lab

package lab

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/topology"
)

// tampering is something that another program does to a hypervisor.
type tampering struct {
	name string
	do   func()
	// event must be among the texts of the events that follow.
	event *regexp.Regexp
}

// What another program does to our flows and rows is mended, and told; what
// is its own stays.
func TestRepairsWhatOthersDid(t *testing.T) {
	w := newTenants(t, topology.GenerateParams{Name: "repair", Spines: 1, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 2})
	const hv = "hv1"
	// Another program's: a flow with a cookie of its own in a table of its
	// own, a port, and a bridge.
	const foreign = "cookie=0xbeef, table=60, priority=7,ip actions=drop"
	w.ofctl(hv, "add-flow", foreign)
	w.vsctl(hv, "--", "add-port", bridgeInt, "other0", "--", "set", "Interface", "other0", "type=internal", "external_ids:owner=other",
		"--", "add-br", "br-other", "--", "set", "Bridge", "br-other", "datapath_type=netdev")
	time.Sleep(200 * time.Millisecond)
	want := ours(w.flows(hv))
	victim := w.flowIn(hv, 40)
	for _, c := range []tampering{
		{"a flow deleted", func() { w.ofctl(hv, "--strict", "del-flows", match(victim)) }, regexp.MustCompile(`flow .* was missing; put back`)},
		{"a flow changed", func() { w.ofctl(hv, "--strict", "mod-flows", match(victim)+" actions=drop") }, regexp.MustCompile(`flow .* was changed; put back as`)},
		{"a foreign flow with our cookie", func() {
			w.ofctl(hv, "add-flow", "cookie=0x7ef7000000000001, table=50, priority=999 actions=drop")
		}, regexp.MustCompile(`flow .*priority=999.* was not ours though it had our cookie; deleted`)},
		{"all flows deleted", func() {
			w.ofctl(hv, "del-flows")
			w.ofctl(hv, "add-flow", foreign)
		}, regexp.MustCompile(`was missing; put back; .* and [0-9]+ more`)},
		{"the tunnel port removed", func() { w.vsctl(hv, "del-port", bridgeInt, "weft-vxlan") }, regexp.MustCompile(`port weft-vxlan: was missing; made again`)},
		{"the tunnel port's options changed", func() {
			w.vsctl(hv, "set", "Interface", "weft-vxlan", "options:remote_ip=192.0.2.1")
		}, regexp.MustCompile(`port weft-vxlan: had type vxlan and options .*192\.0\.2\.1.*; set back`)},
	} {
		w.tamper(hv, c, want)
	}
	require.Contains(t, strings.Join(slices.Collect(maps.Keys(w.flows(hv))), "\n"), "cookie=0xbeef")
	w.vsctl(hv, "get", "Port", "other0", "name")
	w.vsctl(hv, "get", "Bridge", "br-other", "name")
	w.check()

	// Open vSwitch itself may drop all flows when fail_mode changes.
	w.tamper(hv, tampering{"fail_mode changed", func() { w.vsctl(hv, "set", "Bridge", bridgeInt, "fail_mode=standalone") },
		regexp.MustCompile(`bridge br-int: had fail_mode "standalone"; set back`)}, want)
	w.check()

	// With the bridge everything on it goes; the VMs' ports are plugged in
	// again by who plugged them in at first.
	w.tamper(hv, tampering{"the bridge removed", func() {
		w.vsctl(hv, "del-br", bridgeInt)
		for _, p := range w.vmPorts(hv) {
			w.vsctl(hv, "--may-exist", "add-br", bridgeInt, "--", "set", "Bridge", bridgeInt, "datapath_type=netdev",
				"--", "--may-exist", "add-port", bridgeInt, p.iface, "--", "set", "Interface", p.iface, "external_ids:iface-id="+p.ifaceID)
		}
	}, regexp.MustCompile(`(bridge br-int|port weft-vxlan): .*(made again|set back|was missing)`)}, nil)
	w.vsctl(hv, "get", "Bridge", "br-other", "name")
	w.check()
}

// tamper does it and waits until the hypervisor has the flows again, all ports
// are Ready, and an event says what was found.
func (w *site) tamper(hv string, c tampering, want map[string]time.Duration) {
	w.Helper()
	began := time.Now()
	c.do()
	var told string
	took := w.eventually(patience, func() error {
		told = ""
		for _, e := range w.events(began) {
			if e.Device == hv && c.event.MatchString(e.Message) {
				told = e.Message
			}
		}
		if told == "" {
			return fmt.Errorf("no event like %s", c.event)
		}
		if want == nil {
			return nil
		}
		return differ(map[string]map[string]time.Duration{hv: want}, map[string]map[string]time.Duration{hv: ours(w.flows(hv))})
	})
	require.Contains(w, w.cli("get", "events"), told)
	w.Logf("%s: repaired after %s: %.200s", c.name, took.Round(time.Millisecond), told)
	w.ready(patience)
}

// ours leaves out the flows of other programs.
func ours(flows map[string]time.Duration) map[string]time.Duration {
	maps.DeleteFunc(flows, func(f string, _ time.Duration) bool { return !strings.HasPrefix(f, "cookie=0x7ef7") })
	return flows
}

// flowIn is a flow of ours in a table.
func (w *site) flowIn(node string, table int) string {
	w.Helper()
	for _, f := range slices.Sorted(maps.Keys(w.flows(node))) {
		if strings.Contains(f, fmt.Sprintf("table=%d, ", table)) {
			return f
		}
	}
	require.Fail(w, "no flow", "table %d of %s", table, node)
	return ""
}

var cookieField = regexp.MustCompile(`cookie=0x[0-9a-f]+, `)

// match is a flow as ovs-ofctl takes it to name it: without cookie and actions.
func match(flow string) string {
	m, _, _ := strings.Cut(cookieField.ReplaceAllString(flow, ""), " actions=")
	return strings.TrimSpace(m)
}
