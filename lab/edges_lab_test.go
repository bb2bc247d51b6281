//go:build lab

package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/topology"
)

// Every kind of edge in one network, and a second network with the same
// addresses beside it: all pairs, all copies, what the devices say, what is on
// the wire, and a controller that is killed.
func TestEdgesInOneNetwork(t *testing.T) {
	w := edgesSite(t)
	w.requireMemoryBelow(4 << 30)
	stop := w.capture("spine1", "eth1")
	c := w.check()
	packets := stop()
	var out bytes.Buffer
	require.NoError(t, c.Print(&out))
	t.Log(&out)
	kinds := []string{probe.EVPNLeaf, probe.HardwareVTEP, probe.VSwitch}
	for _, rows := range [][]probe.EdgeRow{c.Unicast.Edges, c.Broadcast.Edges} {
		require.Len(t, rows, len(kinds)*len(kinds), "all ordered pairs of kinds of edges")
		for _, r := range rows {
			require.Contains(t, kinds, r.From)
			require.Contains(t, kinds, r.To)
			require.NotZero(t, r.Expected)
			require.Equal(t, r.Expected, r.Seen, "%s to %s", r.From, r.To)
			require.Zero(t, r.Duplicated)
		}
	}
	w.requireVXLAN(packets)
	w.requireRoutesOnLeaf("leaf1")
	w.learnedMACIsEverywhere()
	before := w.allFlows()
	w.cleanWindow(6*time.Second, "kill -9 and start of the controller", func() {
		time.Sleep(1500 * time.Millisecond) // a part of the window is before the kill, and one without a controller
		require.NoError(t, Kill(w.State, controllerNode, true))
		time.Sleep(1500 * time.Millisecond)
		w.startController()
		w.ready(patience)
	})
	w.requireOlder(before, w.allFlows())
	w.check()
}

// requireMemoryBelow adds up what the lab's processes have for themselves.
func (w *site) requireMemoryBelow(most int) {
	w.Helper()
	sum := 0
	for _, p := range w.Processes {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.PID))
		require.NoError(w, err)
		for _, l := range strings.Split(string(b), "\n") {
			var kb int
			if n, _ := fmt.Sscanf(l, "Pss: %d kB", &kb); n == 1 {
				sum += kb << 10
			}
		}
	}
	w.Logf("%d processes have %d MB of memory (proportional set size), the controller among them", len(w.Processes), sum>>20)
	require.NotZero(w, sum)
	require.Less(w, sum, most)
}

// capture records an interface until the function that it returns is called,
// which gives the file.
func (w *site) capture(node, iface string) func() string {
	w.Helper()
	path := filepath.Join(w.TempDir(), node+".pcap")
	ctx, cancel := context.WithCancel(w.Context())
	done := make(chan error, 1)
	file, err := os.Create(path)
	require.NoError(w, err)
	go func() {
		_, err := Capture(ctx, file, w.State, node, iface)
		done <- err
	}()
	w.eventually(patience, func() error {
		if st, err := os.Stat(path); err != nil || st.Size() == 0 {
			return fmt.Errorf("nothing is captured yet: %v", err)
		}
		return nil
	})
	return func() string {
		cancel()
		require.NoError(w, <-done)
		require.NoError(w, file.Close())
		return path
	}
}

// requireVXLAN has tshark read a capture: tunnelled packets have the networks'
// VNIs and nothing is malformed.
func (w *site) requireVXLAN(path string) {
	w.Helper()
	vnis := map[string]bool{}
	for _, o := range w.list(intent.KindNetwork) {
		vnis[fmt.Sprint(o.(*intent.Network).Spec.VNI)] = true
	}
	out, err := exec.Command("tshark", "-r", path, "-Y", "vxlan", "-T", "fields", "-e", "vxlan.vni").Output()
	require.NoError(w, err)
	seen := map[string]int{}
	for _, v := range strings.Fields(string(out)) {
		seen[v]++
		require.True(w, vnis[v], "VNI %s is no network's", v)
	}
	require.NotEmpty(w, seen)
	w.Logf("tunnelled packets on the link, by VNI: %v", seen)
	w.requireWellFormed(path)
}

// payloadless are the protocols of which a test's packets are, as tshark names them:
// what is in them has no form.
var payloadless = map[string]bool{"eth": true, "ethertype": true, "arp": true, "ip": true, "ipv6": true, "icmp": true, "icmpv6": true, "udp": true, "tcp": true, "vxlan": true,
	"bgp": true, "data": true, "_ws.malformed": true}

// requireWellFormed has tshark find nothing malformed in a capture. A payload that it
// takes for another protocol's, for the port that the kernel chose, does not count.
func (w *site) requireWellFormed(path string, options ...string) {
	w.Helper()
	out, err := exec.Command("tshark", append([]string{"-r", path, "-Y", "_ws.malformed", "-T", "fields", "-e", "frame.number", "-e", "frame.protocols"}, options...)...).Output()
	require.NoError(w, err)
	for line := range strings.Lines(string(out)) {
		number, protocols, _ := strings.Cut(strings.TrimSpace(line), "\t")
		foreign := func(p string) bool { return !payloadless[p] }
		if slices.ContainsFunc(strings.Split(protocols, ":"), foreign) {
			w.Logf("frame %s of %s is not what tshark takes it for: %s", number, filepath.Base(path), protocols)
			continue
		}
		text, _ := exec.Command("tshark", append([]string{"-r", path, "-Y", "frame.number == " + number, "-V", "-x"}, options...)...).Output()
		require.Fail(w, "malformed, by tshark's word", "%s: %s\n%s", number, protocols, text)
	}
}

func (w *site) list(k intent.Kind) []intent.Object {
	w.Helper()
	all, err := w.client.List(w.Context(), k, client.ListOptions{})
	require.NoError(w, err)
	return all
}

// requireRoutesOnLeaf wants the routes of all other edges on a leaf, each with
// its own VTEP as next hop, in bgpd, and the same from the controller.
func (w *site) requireRoutesOnLeaf(leaf string) {
	w.Helper()
	web := intent.Ref{Kind: intent.KindNetwork, Tenant: "blue", Name: "web"}
	var origins map[string]int
	w.eventually(patience, func() error { // what the check had switches learn comes later to one than to the other
		out, err := vty(w.Context(), w.NodeDir(leaf), "bgpd", "show bgp l2vpn evpn")
		if err != nil {
			return err
		}
		routes, err := w.client.Routes(w.Context(), web)
		if err != nil {
			return err
		}
		origins = map[string]int{}
		for _, r := range routes.Items {
			origins[r.Origin]++
			require.NotEmpty(w, r.Source)
			if r.Type != "MAC/IP" || !r.Best || r.Node == leaf || r.IP.IsValid() {
				continue
			}
			if text := string(out); !strings.Contains(text, "[2]:[0]:[48]:["+r.MAC+"]") || !strings.Contains(text, r.VTEP.String()) {
				return fmt.Errorf("bgpd has no route for %s at %s", r.MAC, r.VTEP)
			}
		}
		if origins["port"] == 0 || origins["bgp"] == 0 {
			return fmt.Errorf("paths by origin: %v", origins)
		}
		return nil
	})
	w.Logf("the segment table of %s has paths by origin: %v", web, origins)
}

// learnedMACIsEverywhere has a station that nobody declared speak at a hardware
// VTEP: all other edges get its MAC, and no frame for it is flooded then.
func (w *site) learnedMACIsEverywhere() {
	w.Helper()
	mac := intent.MAC{2, 0xaa, 0, 0, 0, 1}
	at := time.Now()
	require.NoError(w, netns.Do(w.Namespace("blue-srv3"), func() error {
		i, err := net.InterfaceByName("eth1")
		if err != nil {
			return err
		}
		return sendRARP(i.Index, mac)
	}))
	web := intent.Ref{Kind: intent.KindNetwork, Tenant: "blue", Name: "web"}
	w.eventually(patience, func() error {
		routes, err := w.client.Routes(w.Context(), web)
		if err != nil {
			return err
		}
		for _, r := range routes.Items {
			if r.MAC == mac.String() && r.Node == "vtep1" && r.Origin == "learned" {
				return nil
			}
		}
		return fmt.Errorf("the MAC is not in the segment table")
	})
	known := time.Now()
	w.eventually(patience, func() error {
		for _, n := range w.hypervisors() {
			if !strings.Contains(w.ofctl(n.Name, "dump-flows"), "dl_dst="+mac.String()) {
				return fmt.Errorf("%s does not have it", n.Name)
			}
		}
		for _, leaf := range []string{"leaf1", "leaf2"} {
			fdb, err := exec.Command("ip", "netns", "exec", w.Namespace(leaf), "bridge", "fdb", "show").Output()
			if err != nil {
				return err
			}
			if !strings.Contains(string(fdb), mac.String()+" dev vx") {
				return fmt.Errorf("%s does not have it", leaf)
			}
		}
		return nil
	})
	w.Logf("a MAC that the switch learned is in the segment table after %s (the emulator looks once a second), and on every other edge %s later",
		known.Sub(at).Round(time.Millisecond), time.Since(known).Round(time.Millisecond))
}

// Networks by Geneve and NVGRE, and VXLAN on another port, between vSwitches.
func TestEncapsulations(t *testing.T) {
	w := newSite(t, topology.GenerateParams{Name: "encap", Spines: 1, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 2})
	encaps := []intent.Encapsulation{{Type: intent.Geneve}, {Type: intent.NVGRE}, {Type: intent.VXLAN, UDPPort: 8472}}
	filters := []string{"geneve", "gre", "udp.dstport==8472"}
	for i, e := range encaps {
		for _, o := range w.objects {
			if n, ok := o.(*intent.Network); ok {
				n.Spec.Encapsulation = e
			}
		}
		w.put(w.objects...)
		w.ready(patience)
		stop := w.capture("spine1", "eth1")
		w.check()
		out, err := exec.Command("tshark", "-r", stop(), "-Y", filters[i], "-T", "fields", "-e", "frame.number", "-e", "gre.key").Output()
		require.NoError(t, err)
		lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
		require.Greater(t, len(lines), 10, "packets by %s", e)
		if e.Type == intent.NVGRE {
			keys := map[string]bool{}
			for _, l := range lines {
				_, key, _ := strings.Cut(l, "\t")
				keys[key] = true
			}
			require.Greater(t, len(keys), 3, "the flow id differs between flows")
		}
		t.Logf("%s: all pairs, %d packets on the spine", e, len(lines))
	}
}
