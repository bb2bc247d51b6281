package frr_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/topology"
)

// graph builds a graph from cables, "leaf1:eth1 spine1:eth1". A node's role is
// its name without the number; a router is a leaf.
func graph(cables ...string) *topology.Graph {
	g := &topology.Graph{}
	seen := map[string]bool{}
	for _, c := range cables {
		var ends []topology.End
		for _, e := range strings.Fields(c) {
			node, iface, _ := strings.Cut(e, ":")
			if !seen[node] {
				role := intent.Role(strings.TrimRight(node, "0123456789"))
				if role == "router" {
					role = intent.RoleLeaf
				}
				g.Nodes = append(g.Nodes, topology.Node{Name: node, Role: role})
			}
			seen[node] = true
			ends = append(ends, topology.End{Node: node, Interface: iface})
		}
		g.Links = append(g.Links, topology.Link{A: ends[0], B: ends[1]})
	}
	return g
}

// clos is every leaf on every spine.
func clos(spines, leaves int, more ...string) *topology.Graph {
	var cables []string
	for l := 1; l <= leaves; l++ {
		for s := 1; s <= spines; s++ {
			cables = append(cables, fmt.Sprintf("leaf%d:eth%d spine%d:eth%d", l, s, s, l))
		}
	}
	return graph(append(cables, more...)...)
}

// ring is three routers, as in containerlab's frr01.
func ring() *topology.Graph {
	return graph("router1:eth1 router2:eth1", "router1:eth2 router3:eth1", "router2:eth2 router3:eth2")
}

// planes is two pods of two spines and a leaf, the first spines of the pods on
// one pair of superspines, the second ones on another.
func planes() *topology.Graph {
	var cables []string
	for pod := range 2 {
		for plane := range 2 {
			spine := fmt.Sprintf("spine%d", pod*2+plane+1)
			cables = append(cables, fmt.Sprintf("leaf%d:eth%d %s:eth9", pod+1, plane+1, spine))
			for s := range 2 {
				cables = append(cables, fmt.Sprintf("%s:eth%d superspine%d:eth%d", spine, s+1, plane*2+s+1, pod+1))
			}
		}
	}
	return graph(cables...)
}

// fabrics are those whose configurations are kept in testdata.
var fabrics = []struct {
	name   string
	graph  *topology.Graph
	params fabric.Params
	nodes  []string
}{
	{"numbered", clos(2, 2, "hypervisor1:eth1 leaf1:eth3", "hypervisor2:eth1 leaf1:eth4", "server1:eth1 leaf1:eth5", "border1:eth1 spine1:eth3"),
		fabric.Params{BFD: true}, []string{"leaf1", "spine1", "border1"}},
	{"injected", clos(2, 2), fabric.Params{Controllers: []netip.Addr{netip.MustParseAddr("172.20.20.2")}}, []string{"leaf1", "spine1"}},
	{"unnumbered", clos(2, 2), fabric.Params{Unnumbered: true}, []string{"leaf1", "spine2"}},
	{"dualstack", clos(2, 2), fabric.Params{Unnumbered: true, Loopbacks6: prefix("fd00:ff::/64")}, []string{"leaf2"}},
	{"pods", graph("spine1:eth1 superspine1:eth1", "spine2:eth1 superspine1:eth2", "leaf1:eth1 spine1:eth2", "leaf2:eth1 spine2:eth2"),
		fabric.Params{}, []string{"superspine1", "spine2"}},
	{"dualstack-numbered", clos(2, 2), fabric.Params{BFD: true, Loopbacks6: prefix("fd00:ff::/64"), P2P6: prefix("fd00:c0::/96")}, []string{"leaf1"}},
	{"isis", clos(2, 2, "hypervisor1:eth1 leaf1:eth3", "border1:eth1 spine1:eth3"), fabric.Params{Protocol: fabric.ISIS, BFD: true}, []string{"leaf1", "spine2"}},
	{"isis-unnumbered", clos(2, 2), fabric.Params{Protocol: fabric.ISIS, Unnumbered: true, Loopbacks6: prefix("fd00:ff::/64")}, []string{"leaf2"}},
	{"planes", planes(), fabric.Params{}, []string{"spine1", "superspine3"}},
	{"unequal", graph("leaf1:eth1 spine1:eth1", "leaf1:eth2 spine1:eth2", "leaf1:eth3 spine2:eth1", "leaf2:eth1 spine1:eth3", "leaf2:eth2 spine2:eth2", "leaf3:eth1 spine1:eth4"),
		fabric.Params{}, []string{"leaf1", "spine1"}},
	{"ring", ring(), fabric.Params{}, []string{"router1", "router3"}},
}

func plan(t testing.TB, g *topology.Graph, p fabric.Params) *fabric.Facts {
	t.Helper()
	f, err := fabric.Plan(g, p)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
