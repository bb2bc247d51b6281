//go:build lab

package lab

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/topology"
)

// TestMain gives the labs of the tests namespaces that nobody else sees, so that labs of
// the same names may be up on the machine. To look into one while a test runs:
// "nsenter -m -t PID ip netns exec weft-LAB-NODE ...", with PID that of the tests.
func TestMain(m *testing.M) {
	if err := netns.Isolate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	if binaryDir != "" {
		_ = os.RemoveAll(binaryDir)
	}
	os.Exit(status)
}

var binaryDir string

// weftBinary builds the command once: what runs in these labs is the tree's.
var weftBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "weft-bin-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	path := filepath.Join(dir, "weft")
	if out, err := exec.Command("go", "build", "-o", path, "../cmd/weft").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build weft: %w: %s", err, out)
	}
	return path, nil
})

// site is a running lab with a controller, and a client of it.
type site struct {
	*State
	testing.TB
	weft    string
	client  *client.Client
	objects []intent.Object // of the tenants, as the file's labels ask for them

	written map[intent.Ref]bool // since ready was asked last
}

// newSite brings a generated lab up; no tenant is in it yet.
func newSite(t testing.TB, p topology.GenerateParams) *site {
	t.Helper()
	labDir(t)
	weft, err := weftBinary()
	require.NoError(t, err)
	file, err := topology.Generate(p)
	require.NoError(t, err)
	s, _, err := Plan(file)
	require.NoError(t, err)
	s.UseController()
	began := time.Now()
	var out bytes.Buffer
	require.NoError(t, Up(t.Context(), s, Options{Weft: weft, Progress: PrintProgress(&out, false)}), "%s", &out)
	t.Logf("%d nodes up after %s", len(s.Nodes), time.Since(began).Round(time.Millisecond))
	w := &site{State: s, TB: t, weft: weft}
	w.client, err = client.New(s.Controller)
	require.NoError(t, err)
	w.objects, err = Intent(file)
	require.NoError(t, err)
	w.nodesReady()
	return w
}

// newTenants is newSite with the tenants, all of it Ready.
func newTenants(t testing.TB, p topology.GenerateParams) *site {
	t.Helper()
	w := newSite(t, p)
	w.put(w.objects...)
	w.ready(patience)
	return w
}

func (w *site) put(objects ...intent.Object) {
	w.Helper()
	if w.written == nil {
		w.written = map[intent.Ref]bool{}
	}
	for _, o := range objects {
		_, err := w.client.Put(w.Context(), o, client.PutOptions{})
		require.NoError(w, err, "%s", o.Ref())
		switch o.Ref().Kind {
		case intent.KindTenant, intent.KindNetwork, intent.KindRouter, intent.KindSecurityGroup, intent.KindNetworkACL:
			w.written[o.Ref()] = true
		}
	}
}

// ready waits until every port is Ready with what was put: ports alone are Ready as
// they were before until the controller has taken what their networks, routers and
// groups are now.
func (w *site) ready(within time.Duration) {
	w.Helper()
	w.eventually(within, w.taken)
	w.written = nil
	ctx, cancel := context.WithTimeout(w.Context(), within)
	defer cancel()
	require.NoError(w, WaitReady(ctx, w.State))
}

// taken tells of the first object that was put and that the controller, or an edge that
// has it, does not have yet.
func (w *site) taken() error {
	for r := range w.written {
		o, err := w.client.Get(w.Context(), r)
		if p := (*client.Problem)(nil); errors.As(err, &p) && p.Type == client.TypeNotFound {
			continue // deleted since
		}
		if err != nil {
			return err
		}
		var st *intent.Status
		spread := false // over edges that have to know of it
		switch o := o.(type) {
		case *intent.Tenant:
			st = o.Status
		case *intent.Network:
			st = o.Status
		case *intent.NetworkACL:
			st = o.Status
		case *intent.Router:
			st, spread = o.Status, true
		case *intent.SecurityGroup:
			st, spread = o.Status, true
		}
		loading := func(why intent.Reason) bool { return why.Code == "Loading" }
		if st != nil && (spread && st.Phase == intent.PhasePending || slices.ContainsFunc(st.Reasons, loading)) {
			return fmt.Errorf("%s is %s: %+v", r, st.Phase, st.Reasons)
		}
	}
	return nil
}

// nodesReady waits until every node is of which there is something to say.
func (w *site) nodesReady() {
	w.Helper()
	w.eventually(patience, func() error {
		nodes, err := w.client.List(w.Context(), intent.KindNode, client.ListOptions{})
		for _, o := range nodes {
			if s := o.(*intent.Node).Status; s != nil && s.Phase != intent.PhaseReady {
				return fmt.Errorf("%s is %s: %+v", o.Ref(), s.Phase, s.Reasons)
			}
		}
		return err
	})
}

// eventually asks until there is no error; after the time it fails with the
// last one.
func (w *site) eventually(within time.Duration, ask func() error) time.Duration {
	w.Helper()
	began := time.Now()
	var last error
	ctx, cancel := context.WithTimeout(w.Context(), within)
	defer cancel()
	err := until(ctx, 20*time.Millisecond, nil, func() (bool, error) {
		last = ask()
		return last == nil, nil
	})
	require.NoError(w, err, "after %s: %v", within, last)
	return time.Since(began)
}

// cli runs the weft command against the lab's controller.
func (w *site) cli(args ...string) string {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), w.weft, args...)
	cmd.Env = append(os.Environ(), "WEFT_SERVER="+w.Controller)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(w, err, "weft %s: %s", strings.Join(args, " "), &errs)
	return string(out)
}

// cliGet reads one object as "weft get KIND NAME -o json" prints it.
func (w *site) cliGet(r intent.Ref) intent.Status {
	w.Helper()
	args := []string{"get", strings.ToLower(string(r.Kind)), r.Name, "-o", "json"}
	if r.Tenant != "" {
		args = append(args, "-t", r.Tenant)
	}
	var o struct{ Status intent.Status }
	require.NoError(w, json.Unmarshal([]byte(w.cli(args...)), &o))
	return o.Status
}

func (w *site) hypervisors() []Node {
	return slices.DeleteFunc(slices.Clone(w.Nodes), func(n Node) bool { return n.Role != intent.RoleHypervisor })
}

func (w *site) ofctl(node string, args ...string) string {
	w.Helper()
	all := []string{"-O", "OpenFlow15"}
	if args[0] == "--strict" {
		all, args = append(all, args[0]), args[1:]
	}
	all = append(all, args[0], "unix:"+filepath.Join(w.NodeDir(node), bridgeInt+".mgmt"))
	out, err := exec.Command("ovs-ofctl", append(all, args[1:]...)...).CombinedOutput()
	require.NoError(w, err, "ovs-ofctl %s: %s", strings.Join(args, " "), out)
	return string(out)
}

func (w *site) vsctl(node string, args ...string) {
	w.Helper()
	require.NoError(w, ovsVsctl(w.Context(), w.NodeDir(node), args...))
}

var (
	flowAge   = regexp.MustCompile(`duration=([0-9.]+)s, `)
	flowStats = regexp.MustCompile(`(n_packets|n_bytes|idle_age|hard_age)=[0-9]+, `)
)

// flows are the flows of a hypervisor's br-int, each with its age.
func (w *site) flows(node string) map[string]time.Duration {
	w.Helper()
	found := map[string]time.Duration{}
	for line := range strings.Lines(w.ofctl(node, "dump-flows")) {
		age := flowAge.FindStringSubmatch(line)
		if age == nil {
			continue
		}
		seconds, err := strconv.ParseFloat(age[1], 64)
		require.NoError(w, err)
		key := strings.TrimSpace(flowStats.ReplaceAllString(flowAge.ReplaceAllString(line, ""), ""))
		found[key] = time.Duration(seconds * float64(time.Second))
	}
	return found
}

func (w *site) allFlows() map[string]map[string]time.Duration {
	w.Helper()
	all := map[string]map[string]time.Duration{}
	for _, n := range w.hypervisors() {
		all[n.Name] = w.flows(n.Name)
		require.NotEmpty(w, all[n.Name], "%s", n.Name)
	}
	return all
}

// differ tells what two states of all flows do not have in common.
func differ(was, now map[string]map[string]time.Duration) error {
	var diff []string
	for node := range was {
		for f := range was[node] {
			if _, ok := now[node][f]; !ok {
				diff = append(diff, node+" lacks "+f)
			}
		}
		for f := range now[node] {
			if _, ok := was[node][f]; !ok {
				diff = append(diff, node+" has too much: "+f)
			}
		}
	}
	if slices.Sort(diff); len(diff) > 0 {
		return fmt.Errorf("%d flows differ: %s", len(diff), strings.Join(diff[:min(len(diff), 10)], "\n"))
	}
	return nil
}

// check is "weft lab check": it must find everything as expected. What is lost is tried
// more often than there: a machine that is busy loses packets.
func (w *site) check() *Checked {
	w.Helper()
	c, err := Check(w.Context(), w.State, probe.CheckOptions{Tries: 10})
	require.NoError(w, err)
	var out bytes.Buffer
	require.NoError(w, c.Print(&out))
	require.True(w, c.OK(), "%s", &out)
	return c
}

// startController starts the controller that was killed.
func (w *site) startController() {
	w.Helper()
	r := &run{state: w.State, opts: Options{Weft: w.weft}, progress: silent{}}
	require.NoError(w, r.startController(w.Context()))
}

// process is a running process of a node.
func (w *site) process(node, name string) Process {
	w.Helper()
	i := slices.IndexFunc(w.Processes, func(p Process) bool { return p.Node == node && p.Name == name })
	require.GreaterOrEqual(w, i, 0, "%s of %s", name, node)
	return w.Processes[i]
}

// startVSwitchd starts a hypervisor's ovs-vswitchd that was killed, and does
// what its host's network scripts would: the VTEP's address was on an
// interface of the process.
func (w *site) startVSwitchd(node string) {
	w.Helper()
	n, err := w.Node(node)
	require.NoError(w, err)
	r := &run{state: w.State, progress: silent{}}
	require.NoError(w, os.RemoveAll(filepath.Join(w.NodeDir(node), "ovs-vswitchd.ctl")))
	require.NoError(w, r.startOVS(w.Context(), node, "ovs-vswitchd"))
	require.NoError(w, ovsVsctl(w.Context(), w.NodeDir(node), "get", "Bridge", bridgePhy, "datapath_id"))
	w.eventually(patience, func() error {
		return netns.Do(w.Namespace(node), func() error { return underlayOf(n) })
	})
}

// startOVSDB starts a hypervisor's database server that was killed.
func (w *site) startOVSDB(node string) {
	w.Helper()
	for _, f := range []string{"ovsdb-server.ctl", "db.sock"} {
		require.NoError(w, os.RemoveAll(filepath.Join(w.NodeDir(node), f)))
	}
	r := &run{state: w.State, progress: silent{}}
	require.NoError(w, r.startOVS(w.Context(), node, "ovsdb-server"))
}

// plug adds a VM to a hypervisor of the running lab, as a hypervisor manager
// would. It is in the lab's state, so that taking the lab down finds it.
func (w *site) plug(hypervisor, vm string, mac intent.MAC, addresses ...netip.Prefix) {
	w.Helper()
	iface := "v" + vm
	require.LessOrEqual(w, len(iface), 15)
	w.Nodes = append(w.Nodes, Node{Name: vm, Kind: "linux", Role: intent.RoleVM})
	link := Link{A: End{Node: hypervisor, Interface: iface}, B: End{Node: vm, Interface: "eth1", MAC: mac}, MTU: vmMTU}
	w.Links = append(w.Links, link)
	require.NoError(w, w.save())
	require.NoError(w, makeNamespace(w.Namespace(vm), hostSysctls))
	require.NoError(w, makeLink(w.State.Name, link))
	require.NoError(w, netns.Do(w.Namespace(vm), func() error {
		for _, a := range addresses {
			if err := addAddress(Address{"eth1", a}); err != nil {
				return err
			}
		}
		return checksumOff("eth1")
	}))
	w.vsctl(hypervisor, "add-port", bridgeInt, iface, "--", "set", "Interface", iface, "external_ids:iface-id="+vm)
}

// events are those after a moment.
func (w *site) events(since time.Time) []client.Event {
	w.Helper()
	all, err := w.client.Events(w.Context())
	require.NoError(w, err)
	return slices.DeleteFunc(all, func(e client.Event) bool { return e.Time.Before(since) })
}

// portOf finds the port that the file's labels ask for.
func (w *site) portOf(vm string) *intent.Port {
	w.Helper()
	for _, o := range w.objects {
		if p, ok := o.(*intent.Port); ok && cmp.Or(p.Spec.Binding.IfaceID, p.Metadata.Name) == vm {
			copied := *p
			return &copied
		}
	}
	require.Fail(w, "no port", vm)
	return nil
}
