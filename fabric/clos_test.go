package fabric_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/topology"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

// graph builds a graph from cables, "leaf1:eth1 spine1:eth1". A node's role is
// its name without the number.
func graph(cables ...string) *topology.Graph {
	g := &topology.Graph{}
	seen := map[string]bool{}
	for _, c := range cables {
		var ends []topology.End
		for _, e := range strings.Fields(c) {
			node, iface, _ := strings.Cut(e, ":")
			if !seen[node] {
				g.Nodes = append(g.Nodes, topology.Node{Name: node, Role: intent.Role(strings.TrimRight(node, "0123456789"))})
			}
			seen[node] = true
			ends = append(ends, topology.End{Node: node, Interface: iface})
		}
		g.Links = append(g.Links, topology.Link{A: ends[0], B: ends[1]})
	}
	return g
}

// clos is the size of a fabric.
type clos struct{ pods, superspines, spines, leaves, borders, hypervisors, vteps int }

// graph cables the fabric: numbers run through all pods, pod by pod, so that
// only the last pod can grow at its end. Hypervisors have two uplinks, to two
// leaves of their pod where there are two; hardware VTEPs have one.
func (c clos) graph() *topology.Graph {
	var cables []string
	port := map[string]int{}
	// Borders have ports of their own on the spines, so that one more leaf
	// moves no cable.
	cable := func(a, b string) {
		b += ":eth"
		if strings.HasPrefix(a, "border") {
			b += "ext"
		}
		port[b]++
		cables = append(cables, fmt.Sprintf("%s %s%d", a, b, port[b]))
	}
	spine, leaf, hypervisor, vtep := 0, 0, 0, 0
	for range c.pods {
		for s := 1; s <= c.spines; s++ {
			for t := 1; t <= c.superspines; t++ {
				cable(fmt.Sprintf("spine%d:up%d", spine+s, t), fmt.Sprintf("superspine%d", t))
			}
		}
		for l := 1; l <= c.leaves; l++ {
			for s := 1; s <= c.spines; s++ {
				cable(fmt.Sprintf("leaf%d:up%d", leaf+l, s), fmt.Sprintf("spine%d", spine+s))
			}
			for h := 1; h <= c.hypervisors; h++ {
				hypervisor++
				cables = append(cables,
					fmt.Sprintf("hypervisor%d:eth1 leaf%d:down%d", hypervisor, leaf+l, 2*h),
					fmt.Sprintf("hypervisor%d:eth2 leaf%d:down%d", hypervisor, leaf+max(1, l-1), 100+2*hypervisor))
			}
			for v := 1; v <= c.vteps; v++ {
				vtep++
				cables = append(cables, fmt.Sprintf("vtep%d:eth1 leaf%d:down%d", vtep, leaf+l, 50+v))
			}
		}
		for b := 1; b <= c.borders; b++ {
			for s := 1; s <= c.spines; s++ {
				cable(fmt.Sprintf("border%d:up%d", b, spine+s), fmt.Sprintf("spine%d", spine+s))
			}
		}
		spine, leaf = spine+c.spines, leaf+c.leaves
	}
	return graph(cables...)
}

// shuffled is the graph with nodes and links in another order and links turned
// around.
func shuffled(g *topology.Graph, seed uint64) *topology.Graph {
	r := rand.New(rand.NewPCG(seed, 0))
	s := &topology.Graph{Nodes: append([]topology.Node(nil), g.Nodes...), Links: append([]topology.Link(nil), g.Links...)}
	r.Shuffle(len(s.Nodes), func(i, j int) { s.Nodes[i], s.Nodes[j] = s.Nodes[j], s.Nodes[i] })
	r.Shuffle(len(s.Links), func(i, j int) { s.Links[i], s.Links[j] = s.Links[j], s.Links[i] })
	for i := range s.Links {
		if r.IntN(2) == 0 {
			s.Links[i].A, s.Links[i].B = s.Links[i].B, s.Links[i].A
		}
	}
	return s
}
