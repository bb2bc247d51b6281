//go:build lab

package lab

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/topology"
)

// rackedFile is a generated fabric whose servers, at EVPN leaves, have ports in one
// network of a tenant's.
func rackedFile(t *testing.T, p topology.GenerateParams) *topology.File {
	t.Helper()
	file, err := topology.Generate(p)
	require.NoError(t, err)
	b, err := file.Encode()
	require.NoError(t, err)
	text := string(b)
	for i := 1; strings.Contains(text, fmt.Sprintf("    server%d:\n", i)); i++ {
		text = strings.Replace(text, fmt.Sprintf("    server%d:\n", i), fmt.Sprintf("    server%d:\n      labels: {weft-tenant: blue, weft-network: lan, weft-addresses: 10.0.0.%d/24}\n      exec: [ip addr add 10.0.0.%d/24 dev eth1]\n", i, i, i), 1)
	}
	file, err = topology.Parse([]byte(text), p.Name+".clab.yml")
	require.NoError(t, err)
	return file
}

// figures are those of a fabric with 3 packets of 50 ms for BFD, or without it, that
// others measured on such a machine: to be beaten.
const figures = `figures to beat: a local link down 0 to 2 packets; a remote link down 124 ms; a spine's bgpd killed 62 ms;
all links of a spine 1 packet; one-way loss 11.4 s without BFD, 182 ms with BFD of 3 packets of 50 ms`

// Whatever fails, what has a way left is carried again, and once it is mended every
// kernel has its full ECMP width. Nobody asks the controller: it is killed first.
func TestFabricFailures(t *testing.T) {
	w := siteOf(t, rackedFile(t, topology.GenerateParams{Name: "failures", Spines: 4, Leaves: 6, ServersPerLeaf: 1}))
	w.put(w.objects...)
	w.ready(patience)
	o := FailureOptions{Weft: w.weft, Calm: 200 * time.Millisecond, Told: func(r FailureResult) {
		t.Logf("%s of %s: %d streams on it, %d hit, %d lost, gap %s, pause %s; mended: %d lost, healed after %s", r.Kind, r.What, r.Crossing, r.Down.Hit, r.Down.Lost, gap(r.Down), r.Down.Pause, r.Up.Lost, r.Healed)
		for _, f := range r.Faults {
			t.Errorf("%s of %s: %s", r.Kind, r.What, f)
		}
	}}
	rep, err := TryFailures(t.Context(), w.State, w.failures(), o)
	require.NotNil(t, rep, "%v", err)
	var out bytes.Buffer
	require.NoError(t, rep.Print(&out))
	t.Logf("%s\n%s", &out, figures)
	require.NoError(t, err)
	require.True(t, rep.OK())
	require.Zero(t, rep.Results[0].Down.Lost, "nothing is lost when the controller dies")
	for _, r := range rep.Results {
		// A leaf is its server's only one.
		require.Equal(t, strings.Contains(r.What, "leaf3 from all"), len(r.Severed) > 0, "%s: %+v", r.What, r.Severed)
	}
}

// failures are those of the test, in order.
func (w *site) failures() []Failure {
	node := func(name string) Node {
		n, err := w.Node(name)
		require.NoError(w, err)
		return n
	}
	list := []Failure{{Kind: NodeCrash, What: "the controller, for good", fail: func(context.Context) error { return Kill(w.State, controllerNode, true) }, mend: func(context.Context) error { return nil }}}
	fabric := slices.DeleteFunc(slices.Clone(w.Links), func(l Link) bool { return !node(l.A.Node).Role.Switch() || !node(l.B.Node).Role.Switch() })
	require.Len(w, fabric, 24)
	list = append(list, w.leafCutOff("leaf3", fabric), w.halves(fabric))
	for _, d := range []string{"bgpd", "bfdd", "zebra"} {
		list = append(list, w.daemonCrash(node("spine1"), d))
	}
	list = append(list, w.oneWayLoss(fabric[5], fabric[5].A), w.oneWayLoss(fabric[5], fabric[5].B))
	for _, n := range w.Nodes {
		if n.Role == intent.RoleSpine {
			list = append(list, w.nodeCut(n), w.nodeCrash(n, w.weft))
		}
	}
	for _, l := range fabric { // twice, at either end
		list = append(list, w.linkDown(l, l.A), w.linkDown(l, l.B))
	}
	return list
}

// leafCutOff takes all links to spines of a leaf down. The others then have no route
// to it, and no MAC address behind it.
func (w *site) leafCutOff(leaf string, fabric []Link) Failure {
	f := w.linksDown(leaf+" from all spines", slices.DeleteFunc(slices.Clone(fabric), func(l Link) bool { return l.A.Node != leaf && l.B.Node != leaf })...)
	spec := w.specOf(leaf)
	f.during = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		var left string
		err := until(ctx, 50*time.Millisecond, nil, func() (bool, error) {
			left = ""
			for _, n := range w.Nodes {
				if n.Router != nil && n.Name != leaf && left == "" {
					left = w.leftOf(n, spec)
				}
			}
			return left == "", nil
		})
		if err != nil {
			return fmt.Errorf("%w: %s", err, left)
		}
		return nil
	}
	return f
}

// leftOf says what a switch still has of a leaf: a route, or MAC addresses behind it.
func (w *site) leftOf(n Node, leaf intent.NodeSpec) string {
	routes := w.fib(n.Name)
	for _, p := range []netip.Prefix{netip.PrefixFrom(leaf.VTEP, 32), netip.PrefixFrom(leaf.Loopback, 32)} {
		if legs, ok := routes[p]; ok {
			return fmt.Sprintf("%s still has a route to %s, by %v", n.Name, p, legs)
		}
	}
	if !n.EVPN {
		return ""
	}
	out, err := exec.Command("bridge", "-n", w.Namespace(n.Name), "fdb", "show").CombinedOutput()
	require.NoError(w, err, "%s", out)
	for _, l := range strings.Split(string(out), "\n") {
		if strings.Contains(l, "dst "+leaf.VTEP.String()+" ") {
			return fmt.Sprintf("%s still has %s", n.Name, l)
		}
	}
	return ""
}

// halves parts the fabric in two, each of three leaves and two spines.
func (w *site) halves(fabric []Link) Failure {
	half := func(node string) bool {
		return strings.Contains("leaf1 leaf2 leaf3 spine1 spine2", node)
	}
	return w.linksDown("between two halves", slices.DeleteFunc(slices.Clone(fabric), func(l Link) bool { return half(l.A.Node) == half(l.B.Node) })...)
}
