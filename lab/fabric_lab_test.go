//go:build lab

package lab

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/southbound/linux"
	"github.com/weft-sdn/weft/topology"
	"golang.org/x/sys/unix"
)

// siteOf brings the lab of a file up, with its tenants.
func siteOf(t *testing.T, file *topology.File) *site {
	t.Helper()
	labDir(t)
	weft, err := weftBinary()
	require.NoError(t, err)
	s, _, err := Plan(file)
	require.NoError(t, err)
	s.UseController()
	began := time.Now()
	var out bytes.Buffer
	require.NoError(t, Up(t.Context(), s, Options{Weft: weft, Progress: PrintProgress(&out, false)}), "%s", &out)
	w := &site{State: s, TB: t, weft: weft}
	w.client, err = client.New(s.Controller)
	require.NoError(t, err)
	w.objects, err = Intent(file)
	require.NoError(t, err)
	w.nodesReady()
	t.Logf("%d nodes up and known after %s", len(s.Nodes), time.Since(began).Round(time.Millisecond))
	return w
}

// Every shape and protocol of an underlay: the lab comes up, every kernel on the
// way from each leaf to each other has the very next hops of the planned path
// set, for loopbacks, VTEPs and racks, and the tenants' packets arrive, all of
// them and nowhere else.
func TestFabricShapes(t *testing.T) {
	for name, file := range fabricFiles(t) {
		t.Run(name, func(t *testing.T) {
			facts, err := PlanFabric(file)
			require.NoError(t, err)
			w := siteOf(t, file)
			st, err := ReadStatus(t.Context(), w.State)
			require.NoError(t, err)
			require.True(t, st.OK(), "%+v", st)
			w.requirePaths(file.Graph, facts)
			require.NotEmpty(t, w.objects)
			w.put(w.objects...)
			w.ready(60 * time.Second)
			c := w.check()
			t.Logf("%s: %s", facts.Params, c.Verdict())
		})
	}
}

// fabricFiles are containerlab's own examples, whose clients become a tenant's
// servers, and ours.
func fabricFiles(t *testing.T) map[string]*topology.File {
	t.Helper()
	files := map[string]*topology.File{}
	for _, name := range []string{"clos01", "frr01"} {
		text, err := os.ReadFile("../topology/testdata/" + name + ".clab.yml")
		require.NoError(t, err)
		s := string(text)
		for i := 1; i <= 3; i++ {
			labels := fmt.Sprintf("      labels: {weft-tenant: blue, weft-network: lan, weft-addresses: 10.0.0.%d/24}\n", i)
			add := fmt.Sprintf("        - ip addr add 10.0.0.%d/24 dev eth1\n", i)
			s = strings.Replace(s, fmt.Sprintf("    client%d:\n      kind: linux\n", i), fmt.Sprintf("    client%d:\n      kind: linux\n%s      exec:\n%s", i, labels, add), 1)
			s = strings.Replace(s, fmt.Sprintf("    PC%d:\n      group: hosts\n      exec:\n", i), fmt.Sprintf("    PC%d:\n      group: hosts\n%s      exec:\n%s", i, labels, add), 1)
		}
		files[name], err = topology.Parse([]byte(s), name+".clab.yml")
		require.NoError(t, err)
	}
	paths, err := filepath.Glob("../docs/examples/*.clab.yml")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(paths), 5)
	for _, p := range paths {
		files[strings.TrimSuffix(filepath.Base(p), ".clab.yml")], err = LoadFile(p)
		require.NoError(t, err)
	}
	// The same cables by the other protocol, without addresses.
	text, err := os.ReadFile("../docs/examples/unequal.clab.yml")
	require.NoError(t, err)
	other := strings.Replace(string(text), "    kind: linux\n", "    kind: linux\n    labels: {weft-underlay: isis unnumbered ipv6}\n", 1)
	files["unequal by IS-IS"], err = topology.Parse([]byte(other), "unequal.clab.yml")
	require.NoError(t, err)
	return files
}

// requirePaths waits until all kernels are as planned: those on the way may come
// after the leaves, for which Up waits.
func (w *site) requirePaths(g *topology.Graph, facts *fabric.Facts) {
	w.Helper()
	compared := 0
	w.eventually(10*time.Second, func() (err error) {
		compared, err = w.comparePaths(g, facts)
		return err
	})
	require.Positive(w, compared)
	w.Logf("%d routes compared with the planned path sets, next hop by next hop", compared)
}

// comparePaths walks the planned path set of each pair of leaves and compares
// each kernel on it with the plan.
func (w *site) comparePaths(g *topology.Graph, facts *fabric.Facts) (compared int, err error) {
	fibs := map[string]map[netip.Prefix][]string{}
	for _, n := range g.Switches() {
		fibs[n.Name] = w.fib(n.Name)
	}
	leaves := g.ByRole(intent.RoleLeaf, intent.RoleBorder)
	for _, to := range leaves {
		fact, _ := facts.Node(to.Name)
		prefixes := []netip.Prefix{fact.Rack}
		for _, a := range []netip.Addr{fact.Loopback, fact.VTEP, fact.Loopback6} {
			if a.IsValid() {
				prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()))
			}
		}
		for _, from := range leaves {
			if from.Name == to.Name {
				continue
			}
			set := g.Paths(from.Name, to.Name, topology.PathOptions{})
			way := []string{from.Name}
			for i := 0; i < len(way); i++ {
				var want []string
				for _, l := range set.Next(way[i]) {
					want = append(want, l.A.Interface)
					if l.B.Node != to.Name && !slices.Contains(way, l.B.Node) {
						way = append(way, l.B.Node)
					}
				}
				slices.Sort(want)
				for _, p := range prefixes {
					if have := fibs[way[i]][p]; len(want) == 0 || !slices.Equal(want, have) {
						return 0, fmt.Errorf("%s to %s: the kernel of %s has %v to %s, planned are %v", from.Name, to.Name, way[i], have, p, want)
					}
					compared++
				}
			}
		}
	}
	return compared, nil
}

// fib reads a kernel's routes: the interfaces of each one's next hops, sorted.
func (w *site) fib(node string) map[netip.Prefix][]string {
	w.Helper()
	out := map[netip.Prefix][]string{}
	require.NoError(w, netns.Do(w.Namespace(node), func() error {
		links, err := linux.Listed(netlink.LinkList)
		if err != nil {
			return err
		}
		names := map[int]string{}
		for _, l := range links {
			names[l.Attrs().Index] = l.Attrs().Name
		}
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			routes, err := linux.Listed(func() ([]netlink.Route, error) {
				return netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
			})
			if err != nil {
				return err
			}
			for _, r := range routes {
				if r.Dst == nil || r.Type != unix.RTN_UNICAST {
					continue
				}
				ones, _ := r.Dst.Mask.Size()
				a, _ := netip.AddrFromSlice(r.Dst.IP)
				p := netip.PrefixFrom(a.Unmap(), ones)
				legs := r.MultiPath
				if len(legs) == 0 {
					legs = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex}}
				}
				for _, h := range legs {
					out[p] = append(out[p], names[h.LinkIndex])
				}
				slices.Sort(out[p])
			}
		}
		return nil
	}))
	return out
}
