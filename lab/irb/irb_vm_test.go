//go:build vm

package irb

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab"
)

// weft is the command, which "make test-vm" builds.
const weft = "../../bin/weft"

// patience is long: the machine is an interpreted one.
const patience = 3 * time.Minute

// site is the lab with both tenants' networks and routers in place.
type site struct {
	*lab.State
	*testing.T
	client *client.Client
}

func newSite(t *testing.T) *site {
	t.Helper()
	command, err := filepath.Abs(weft)
	require.NoError(t, err)
	require.FileExists(t, command, "run make build")
	dir, err := os.MkdirTemp("", "weft-lab-") // which FRR's user can enter
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Setenv("WEFT_LAB_DIR", dir)
	file, err := lab.LoadFile("testdata/irb.clab.yml")
	require.NoError(t, err)
	s, _, err := lab.Plan(file)
	require.NoError(t, err)
	s.UseController()
	began := time.Now()
	require.NoError(t, lab.Up(t.Context(), s, lab.Options{Weft: command}))
	t.Cleanup(func() { require.NoError(t, lab.Down(s.Name, nil)) })
	w := &site{State: s, T: t}
	w.client, err = client.New(s.Controller)
	require.NoError(t, err)
	t.Cleanup(w.tellOfFailure)
	objects, err := lab.Intent(file)
	require.NoError(t, err)
	for _, tenant := range []string{"blue", "red"} {
		objects = append(objects, &intent.Router{Metadata: intent.Metadata{Tenant: tenant, Name: "r"},
			Spec: intent.RouterSpec{Networks: []intent.RouterNetwork{{Network: "a"}, {Network: "b"}}}})
	}
	for _, o := range objects {
		_, err := w.client.Put(t.Context(), o, client.PutOptions{})
		require.NoError(t, err, "%s", o.Ref())
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, lab.WaitReady(ctx, s))
	t.Logf("%d nodes up and %d objects in place after %s", len(s.Nodes), len(objects), time.Since(began).Round(time.Second))
	return w
}

// tellOfFailure logs what is where when the test failed.
func (w *site) tellOfFailure() {
	if !w.Failed() {
		return
	}
	for _, leaf := range []string{"leaf1", "leaf2"} {
		for _, c := range []string{"ip -br addr", "ip route show table all", "ip neigh", "bridge fdb"} {
			w.Logf("%s: %s\n%s", leaf, c, w.try(leaf, strings.Fields(c)...))
		}
		for _, c := range []string{"show bgp l2vpn evpn summary", "show bgp l2vpn evpn", "show evpn next-hops vni all", "show evpn rmac vni all", "show running-config"} {
			w.Logf("%s: %s\n%s", leaf, c, w.try(leaf, "vtysh", "--vty_socket", w.NodeDir(leaf), "-c", c))
		}
		log, _ := os.ReadFile(filepath.Join(w.NodeDir(leaf), "agent.log"))
		w.Logf("%s: agent\n%s", leaf, log)
	}
	nodes, _ := w.client.List(context.Background(), intent.KindNode, client.ListOptions{})
	for _, o := range nodes {
		if s := o.(*intent.Node).Status; s != nil {
			w.Logf("%s: %s %+v %+v", o.Ref(), s.Phase, s.Reasons, s.Session)
		}
	}
	log, _ := os.ReadFile(filepath.Join(lab.Parent(), w.State.Name, "controller.log"))
	w.Logf("controller\n%s", log[max(0, len(log)-4000):])
}

// try runs a program in a node and returns what it prints.
func (w *site) try(node string, words ...string) string {
	out, err := exec.Command("ip", append([]string{"netns", "exec", w.Namespace(node)}, words...)...).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	return string(out)
}

// ping sends an echo request from a host, and waits a second for the answer.
func (w *site) ping(from, to string) error { return w.ask(from, to, time.Second) }

// echo is ping of what must be answered, however late.
func (w *site) echo(from, to string) error { return w.ask(from, to, patience) }

func (w *site) ask(from, to string, wait time.Duration) error {
	out, err := exec.Command("ip", "netns", "exec", w.Namespace(from), "ping", "-c1", fmt.Sprintf("-W%.0f", wait.Seconds()), to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s to %s: %w: %s", from, to, err, out)
	}
	return nil
}

// eventually asks until there is no error.
func (w *site) eventually(what string, ask func() error) {
	w.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = ask(); err == nil {
			return
		}
	}
	require.NoError(w, err, what)
}

// l3VNI is that of a tenant's router.
func (w *site) l3VNI(tenant string) intent.VNI {
	w.Helper()
	o, err := w.client.Get(w.Context(), intent.Ref{Kind: intent.KindRouter, Tenant: tenant, Name: "r"})
	require.NoError(w, err)
	v := o.(*intent.Router).Spec.VNI
	require.NotZero(w, v, "the L3VNI is allocated")
	return v
}

// echo is an echo request or reply as it is on a wire: outer source, VNI and inner
// destination MAC are empty when it is not tunnelled.
type echo struct{ outer, vni, mac, src, dst string }

// capture records an interface until the function that it returns is called and so many
// echo requests and replies are recorded, which it gives in the order of their coming.
func (w *site) capture(node, iface string) func(least int) []echo {
	w.Helper()
	path := filepath.Join(w.TempDir(), node+".pcap")
	file, err := os.Create(path)
	require.NoError(w, err)
	ctx, cancel := context.WithCancel(w.Context())
	done := make(chan error, 1)
	go func() {
		_, err := lab.Capture(ctx, file, w.State, node, iface)
		done <- err
	}()
	w.eventually("the capture begins", func() error {
		if st, err := os.Stat(path); err != nil || st.Size() == 0 {
			return fmt.Errorf("nothing is captured yet: %v", err)
		}
		return nil
	})
	return func(least int) []echo {
		w.Helper()
		w.eventually("what was answered is recorded", func() error {
			if least == 0 {
				return nil
			}
			if all, err := readEchoes(path); len(all) < least {
				return fmt.Errorf("%d of %d: %v", len(all), least, err) // it may be cut in the middle of a packet
			}
			return nil
		})
		cancel()
		<-done
		require.NoError(w, file.Close())
		all, err := readEchoes(path)
		require.NoError(w, err)
		return all
	}
}

func readEchoes(path string) (all []echo, err error) {
	out, err := exec.Command("tshark", "-r", path, "-Y", "icmp.type == 8 || icmp.type == 0 || icmpv6.type == 128 || icmpv6.type == 129", "-T", "json",
		"-e", "vxlan.vni", "-e", "ip.src", "-e", "ip.dst", "-e", "ipv6.src", "-e", "ipv6.dst", "-e", "eth.dst").Output()
	if err != nil {
		return nil, err
	}
	var list []struct {
		Source struct {
			Layers map[string][]string `json:"layers"`
		} `json:"_source"`
	}
	if err := json.Unmarshal(out[max(0, bytes.IndexByte(out, '[')):], &list); err != nil {
		return nil, err
	}
	for _, p := range list {
		l := p.Source.Layers
		src, dst, macs := append(l["ip.src"], l["ipv6.src"]...), append(l["ip.dst"], l["ipv6.dst"]...), l["eth.dst"]
		e := echo{mac: macs[len(macs)-1], src: src[len(src)-1], dst: dst[len(dst)-1]}
		if len(l["vxlan.vni"]) > 0 {
			e.outer, e.vni = src[0], l["vxlan.vni"][0]
		}
		all = append(all, e)
	}
	return all, nil
}

// routed wants that two hosts reach each other through an L3VNI, in both
// directions with the router's MAC of the VTEP that is sent to, and looks at the
// link of a spine.
func (w *site) routed(tenant, a, b string, from, to netip.Addr) {
	w.Helper()
	near, far := w.vtep(a), w.vtep(b)
	vni := fmt.Sprint(w.l3VNI(tenant))
	w.eventually("both ways are routed", func() error {
		stop := w.capture("spine1", "eth1")
		err := w.ping(a, to.String())
		seen := stop(0)
		if err != nil {
			return err
		}
		want := []echo{
			{near.String(), vni, intent.RouterMAC(far).String(), from.String(), to.String()},
			{far.String(), vni, intent.RouterMAC(near).String(), to.String(), from.String()},
		}
		if len(seen) != 2 || seen[0] != want[0] || seen[1] != want[1] {
			return fmt.Errorf("on the spine are %+v, not %+v", seen, want)
		}
		return nil
	})
	w.Logf("%s %s and %s %s: L3VNI %s both ways, router MACs %s and %s", a, from, b, to, vni, intent.RouterMAC(far), intent.RouterMAC(near))
}

// vtep is that of the edge that has a host.
func (w *site) vtep(host string) netip.Addr {
	w.Helper()
	for _, l := range w.Links {
		for _, e := range [][2]lab.End{{l.A, l.B}, {l.B, l.A}} {
			if e[0].Node == host {
				o, err := w.client.Get(w.Context(), intent.Ref{Kind: intent.KindNode, Name: e[1].Node})
				require.NoError(w, err)
				return o.(*intent.Node).Spec.VTEP
			}
		}
	}
	require.Fail(w, "no link", host)
	return netip.Addr{}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// Two tenants with equal addresses, each within its own VRF, whatever edge its
// hosts are at.
func TestSymmetricRouting(t *testing.T) {
	w := newSite(t)
	w.serversAcrossLeaves()
	w.vmsAndServers()
	w.sharedAcrossLeaves()
}

// serversAcrossLeaves has servers talk across subnets and leaves, and to the same
// gateway everywhere.
func (w *site) serversAcrossLeaves() {
	w.Helper()
	for _, tenant := range []string{"blue", "red"} {
		w.routed(tenant, tenant+"-srv1", tenant+"-srv2", addr("10.1.0.21"), addr("10.2.0.22"))
		w.routed(tenant, tenant+"-srv1", tenant+"-srv2", addr("fd00:0:0:1::21"), addr("fd00:0:0:2::22"))
	}
	require.NotEqual(w, w.l3VNI("blue"), w.l3VNI("red"))

	stop := w.capture("red-srv2", "eth1")
	for range 5 {
		require.NoError(w, w.echo("blue-srv1", "10.2.0.22"))
	}
	require.NoError(w, w.echo("red-srv1", "10.2.0.22"))
	require.Len(w, stop(2), 2, "of the other tenant's packets none comes here")

	// The same gateway at both leaves, for hosts of one subnet.
	for _, host := range []string{"blue-srv1", "blue-srv3"} {
		require.NoError(w, w.echo(host, "10.1.0.1"))
		require.NoError(w, w.echo(host, "fd00:0:0:1::1"))
		require.Contains(w, w.try(host, "ip", "neigh", "show", "10.1.0.1"), intent.GatewayMAC.String())
	}
	require.Error(w, w.ping("blue-srv1", "10.2.0.99"), "a host that is nowhere")
	w.requireNothingOfTheUnderlay("blue-srv1")
}

// requireNothingOfTheUnderlay wants that a tenant reaches no address of the
// leaves.
func (w *site) requireNothingOfTheUnderlay(host string) {
	w.Helper()
	for _, other := range []string{"blue-srv1", "blue-srv2", "blue-vm1"} {
		require.Error(w, w.ping(host, w.vtep(other).String()), "the VTEP of %s", other)
	}
}

// vmsAndServers has a VM on a hypervisor talk to a server behind an EVPN leaf in
// another subnet: the vSwitch and the leaf are both symmetric VTEPs.
func (w *site) vmsAndServers() {
	w.Helper()
	for _, tenant := range []string{"blue", "red"} {
		w.routed(tenant, tenant+"-vm1", tenant+"-srv2", addr("10.1.0.11"), addr("10.2.0.22"))
		w.routed(tenant, tenant+"-vm1", tenant+"-srv2", addr("fd00:0:0:1::11"), addr("fd00:0:0:2::22"))
	}
	stop := w.capture("red-srv2", "eth1")
	for range 5 {
		require.NoError(w, w.echo("blue-vm1", "10.2.0.22"))
	}
	require.NoError(w, w.echo("red-vm1", "10.2.0.22"))
	require.Len(w, stop(2), 2, "of the other tenant's packets none comes here")
	w.requireNothingOfTheUnderlay("blue-vm1")
}

// sharedAcrossLeaves puts the tenant's subnets on two routers that share: a VM of the
// one and a server behind an EVPN leaf of the other reach each other, both ways with
// the L3VNI of the server's router, which is the one that its leaf has. Two servers
// behind leaves do not: no leaf looks anything up in another VRF.
func (w *site) sharedAcrossLeaves() {
	w.Helper()
	put := func(name, network string, v, from intent.VNI) {
		r := &intent.Router{Metadata: intent.Metadata{Tenant: "blue", Name: name}, Spec: intent.RouterSpec{VNI: v, Networks: []intent.RouterNetwork{{Network: network}}}}
		if from != 0 {
			r.Spec.Imports = []intent.RouterImport{{RouteTarget: fmt.Sprintf("65000:%d", from)}}
		}
		_, err := w.client.Put(w.Context(), r, client.PutOptions{})
		require.NoError(w, err)
	}
	own, other := w.l3VNI("blue"), intent.VNI(4242)
	put("r", "a", own, 0)
	put("s", "b", other, 0)
	w.eventually("the server is behind the other router", func() error { return w.ping("blue-srv2", "10.2.0.1") })
	require.Error(w, w.ping("blue-vm1", "10.2.0.22"), "nothing is shared yet")
	put("s", "b", other, own)
	put("r", "a", own, other)
	near, far, vni := w.vtep("blue-vm1"), w.vtep("blue-srv2"), fmt.Sprint(other)
	for _, pair := range [][2]string{{"10.1.0.11", "10.2.0.22"}, {"fd00:0:0:1::11", "fd00:0:0:2::22"}} {
		w.eventually("a VM reaches the server of the other router", func() error {
			stop := w.capture("spine1", "eth1")
			err := w.ping("blue-vm1", pair[1])
			seen := stop(0)
			if err != nil {
				return err
			}
			want := []echo{
				{near.String(), vni, intent.RouterMAC(far).String(), pair[0], pair[1]},
				{far.String(), vni, intent.RouterMAC(near).String(), pair[1], pair[0]},
			}
			if len(seen) != 2 || seen[0] != want[0] || seen[1] != want[1] {
				return fmt.Errorf("on the spine are %+v, not %+v", seen, want)
			}
			return nil
		})
		require.NoError(w, w.echo("blue-srv2", pair[0]), "and the server the VM")
	}
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	require.NoError(w, lab.WaitReady(ctx, w.State), "the leaf has the hosts that the table of its router has")
	w.Logf("VM of one router and server of the other, both ways with L3VNI %s of the server's", vni)
	require.Error(w, w.ping("blue-srv1", "10.2.0.22"), "both are behind leaves")
	require.NoError(w, w.echo("blue-srv1", "10.1.0.11"), "within the router all is as before")
	stop := w.capture("red-vm1", "eth1")
	for range 3 {
		require.NoError(w, w.echo("blue-srv2", "10.1.0.11"))
	}
	require.NoError(w, w.echo("red-srv2", "10.1.0.11"))
	require.Len(w, stop(2), 2, "of the other tenant's packets none comes here")
}
