package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
)

// GenerateParams are the sizes of a fabric. Spines and Leaves are those of the
// whole fabric; they are divided among the pods.
type GenerateParams struct {
	Name               string
	Superspines        int // needed for more than one pod
	Spines             int
	Leaves             int    // none makes a collapsed spine: the spines have the hosts, and are joined with each other
	Pods               int    // one when zero
	Planes             int    // that superspines, and the spines of each pod, are divided among; one when zero
	ParallelLinks      int    // of each leaf to each of its spines; one when zero
	Underlay           string // words for the label weft-underlay: "isis", "bgp unnumbered ipv6"; no label when empty
	HypervisorsPerLeaf int
	HostsPerHypervisor int      // VMs
	ServersPerLeaf     int      // bare metal
	VTEPsPerLeaf       int      // switches driven by the hardware_vtep schema
	ServersPerVTEP     int      // bare metal behind those, the second half on tagged ports
	Tenants            []string // of the VMs and of the servers behind VTEPs; blue and green when there are none
}

// MTU of a VM's link.
const vmMTU = 1500

// Limits of what Generate makes. 10.0.0.0/16 has room for every node.
const (
	maxNodes    = 20000
	narrowVMs   = 200 // as many get addresses from a /24
	maxParallel = 32
	firstVLAN   = 101 // of a VTEP's first server on a tagged port
)

func (p *GenerateParams) check() error {
	for _, n := range []*int{&p.Pods, &p.Planes, &p.ParallelLinks} {
		if *n == 0 {
			*n = 1
		}
	}
	if len(p.Tenants) == 0 {
		p.Tenants = []string{"blue", "green"}
	}
	for _, c := range []struct {
		name     string
		n, least int
	}{
		{"superspines", p.Superspines, 0}, {"spines", p.Spines, 0}, {"leaves", p.Leaves, 0}, {"pods", p.Pods, 1},
		{"planes", p.Planes, 1}, {"parallel links", p.ParallelLinks, 1},
		{"hypervisors per leaf", p.HypervisorsPerLeaf, 0}, {"hosts per hypervisor", p.HostsPerHypervisor, 0},
		{"servers per leaf", p.ServersPerLeaf, 0}, {"VTEPs per leaf", p.VTEPsPerLeaf, 0}, {"servers per VTEP", p.ServersPerVTEP, 0},
	} {
		if c.n < c.least || c.n > maxNodes {
			return fmt.Errorf("%s: %d is outside %d..%d", c.name, c.n, c.least, maxNodes)
		}
	}
	switch {
	case p.ParallelLinks > maxParallel:
		return fmt.Errorf("parallel links: %d is outside 1..%d", p.ParallelLinks, maxParallel)
	case !goodName(p.Name):
		return fmt.Errorf("name: %q is not a name for a lab: use 1 to 63 letters, digits, '-', '.' or '_', with a letter or digit at both ends", p.Name)
	case p.Leaves == 0 && p.Spines == 0:
		return fmt.Errorf("leaves: a fabric needs leaves, or spines alone for a collapsed spine")
	case p.Leaves == 0 && (p.Superspines > 0 || p.Pods > 1):
		return fmt.Errorf("leaves: a collapsed spine, without leaves, has no pods and no superspines")
	case p.Leaves > 1 && p.Spines == 0:
		return fmt.Errorf("spines: %d leaves need at least one spine", p.Leaves)
	case p.Spines%p.Pods != 0:
		return fmt.Errorf("spines: %d spines can't be divided among %d pods", p.Spines, p.Pods)
	case p.Leaves%p.Pods != 0:
		return fmt.Errorf("leaves: %d leaves can't be divided among %d pods", p.Leaves, p.Pods)
	case p.Pods > 1 && p.Superspines == 0:
		return fmt.Errorf("superspines: %d pods need at least one superspine", p.Pods)
	case p.Superspines > 0 && p.Spines == 0:
		return fmt.Errorf("spines: superspines need spines below them")
	case p.Superspines%p.Planes != 0:
		return fmt.Errorf("planes: %d superspines can't be divided among %d planes", p.Superspines, p.Planes)
	case p.Spines/p.Pods%p.Planes != 0:
		return fmt.Errorf("planes: %d spines of a pod can't be divided among %d planes", p.Spines/p.Pods, p.Planes)
	case p.Planes > 1 && p.Superspines == 0:
		return fmt.Errorf("planes: they are of superspines, and there is none")
	case p.HypervisorsPerLeaf == 0 && p.HostsPerHypervisor > 0:
		return fmt.Errorf("hypervisors per leaf: VMs need hypervisors")
	case p.VTEPsPerLeaf == 0 && p.ServersPerVTEP > 0:
		return fmt.Errorf("VTEPs per leaf: servers behind VTEPs need VTEPs")
	case p.nodes() > maxNodes:
		return fmt.Errorf("the fabric has more than %d nodes", maxNodes)
	}
	if strings.IndexFunc(p.Underlay, func(r rune) bool { return r != ' ' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') }) >= 0 {
		return fmt.Errorf("underlay: %q is not words like \"bgp unnumbered\"", p.Underlay)
	}
	for i, t := range p.Tenants {
		if err := (&intent.Tenant{Metadata: intent.Metadata{Name: t}}).Validate(); err != nil {
			return err
		}
		if slices.Contains(p.Tenants[:i], t) {
			return fmt.Errorf("tenants: %s is given twice", t)
		}
	}
	return nil
}

// nodes is how many nodes the fabric has. Each size is at most maxNodes, so
// nothing overflows.
func (p *GenerateParams) nodes() int {
	return p.Superspines + p.Spines + p.Leaves + p.edges()*(p.ServersPerLeaf+p.HypervisorsPerLeaf*(1+p.HostsPerHypervisor)+p.VTEPsPerLeaf*(1+p.ServersPerVTEP))
}

// edges is how many switches have hosts: the leaves, or a collapsed spine.
func (p *GenerateParams) edges() int {
	if p.Leaves == 0 {
		return p.Spines
	}
	return p.Leaves
}

// edge is the name of a switch with hosts.
func (p *GenerateParams) edge(i int) string {
	if p.Leaves == 0 {
		return numbered("spine", i)
	}
	return numbered("leaf", i)
}

// Generate makes the topology file of a Clos fabric with hypervisors and VMs,
// as a containerlab user would write it. All tenants have the same addresses
// and the same MACs, which is what an overlay is for.
func Generate(p GenerateParams) (*File, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	g := &generator{GenerateParams: p, ports: map[string]int{}, vms: map[string]int{}}
	g.switches()
	g.hosts()
	return Parse([]byte(g.text()), p.Name+".clab.yml")
}

// generator collects the text of a file.
type generator struct {
	GenerateParams
	nodes strings.Builder
	links strings.Builder
	ports map[string]int // interfaces in use, by node
	vms   map[string]int // by tenant
	made  []string       // groups that have nodes
}

func (g *generator) node(group, name string) {
	if !slices.Contains(g.made, group) {
		g.made = append(g.made, group)
	}
	fmt.Fprintf(&g.nodes, "    %s:\n      group: %s\n", name, group)
}

// link joins the next free interfaces of two nodes.
func (g *generator) link(a, b string, mtu int) {
	g.ports[a]++
	g.ports[b]++
	fmt.Fprintf(&g.links, "    - endpoints: [\"%s:eth%d\", \"%s:eth%d\"]\n", a, g.ports[a], b, g.ports[b])
	if mtu != 0 {
		fmt.Fprintf(&g.links, "      mtu: %d\n", mtu)
	}
}

func numbered(word string, n int) string { return fmt.Sprintf("%s%d", word, n+1) }

func (g *generator) switches() {
	for i := range g.Superspines {
		g.node("superspines", numbered("superspine", i))
	}
	for i := range g.Spines {
		g.node("spines", numbered("spine", i))
	}
	for i := range g.Leaves {
		g.node("leaves", numbered("leaf", i))
	}
	if g.Leaves == 0 {
		g.collapsed()
		return
	}
	spines, leaves := g.Spines/g.Pods, g.Leaves/g.Pods
	for i := range g.Leaves {
		for s := range spines {
			for range g.ParallelLinks {
				g.link(numbered("leaf", i), numbered("spine", i/leaves*spines+s), 0)
			}
		}
	}
	// The first spines of each pod are on the first plane's superspines, the
	// next ones on the next plane's.
	wide := g.Superspines / g.Planes
	for i := range g.Spines {
		plane := i % spines / (spines / g.Planes)
		for s := range wide {
			g.link(numbered("spine", i), numbered("superspine", plane*wide+s), 0)
		}
	}
}

// collapsed joins each spine with each other.
func (g *generator) collapsed() {
	for i := range g.Spines {
		for s := range i {
			for range g.ParallelLinks {
				g.link(numbered("spine", i), numbered("spine", s), 0)
			}
		}
	}
}

func (g *generator) hosts() {
	n := g.edges() * g.HypervisorsPerLeaf
	for i := range n {
		g.node("hypervisors", numbered("hv", i))
		g.link(g.edge(i/g.HypervisorsPerLeaf), numbered("hv", i), 0)
	}
	for i := range g.edges() * g.ServersPerLeaf {
		g.node("servers", numbered("server", i))
		g.link(g.edge(i/g.ServersPerLeaf), numbered("server", i), 0)
	}
	vteps := g.edges() * g.VTEPsPerLeaf
	for i := range vteps {
		g.node("vteps", numbered("vtep", i))
		g.link(g.edge(i/g.VTEPsPerLeaf), numbered("vtep", i), 0)
	}
	vms, servers := n*g.HostsPerHypervisor, vteps*g.ServersPerVTEP
	most := (vms+len(g.Tenants)-1)/len(g.Tenants) + (servers+len(g.Tenants)-1)/len(g.Tenants)
	// In turn over the whole fabric, so that a tenant has hosts on every edge,
	// or where there are fewer hosts than tenants, on many.
	for i := range vms {
		g.host(tenantHost{edge: numbered("hv", i/g.HostsPerHypervisor), group: "vms", word: "vm"}, g.Tenants[i%len(g.Tenants)], most > narrowVMs)
	}
	for i := range servers {
		h := tenantHost{edge: numbered("vtep", i/g.ServersPerVTEP), group: "servers", word: "server"}
		if tagged := i%g.ServersPerVTEP - (g.ServersPerVTEP+1)/2; tagged >= 0 {
			h.vlan = firstVLAN + tagged
		}
		g.host(h, g.Tenants[i%len(g.Tenants)], most > narrowVMs)
	}
}

// tenantHost is a VM or server with a port in its tenant's network.
type tenantHost struct {
	edge        string // where its link leads
	group, word string
	vlan        int // 802.1Q tag; none when zero
}

// host writes a tenant's next host; they are counted from one within the
// tenant.
func (g *generator) host(h tenantHost, tenant string, wide bool) {
	g.vms[tenant]++
	number := g.vms[tenant]
	name := fmt.Sprintf("%s-%s%d", tenant, h.word, number)
	v4, v6, mac := vmAddresses(number, wide)
	g.node(h.group, name)
	fmt.Fprintf(&g.nodes, `      labels:
        %s: %s
        %s: %s
        %s: %s %s
`, LabelTenant, quote(tenant), LabelNetwork, quote(tenant), LabelAddresses, v4, v6)
	if h.vlan != 0 {
		fmt.Fprintf(&g.nodes, "        %s: \"%d\"\n", LabelVLAN, h.vlan)
	}
	fmt.Fprintf(&g.nodes, `      exec:
        - ip link set eth1 address %s
        - ip addr add %s dev eth1
        - ip -6 addr add %s dev eth1 nodad
        - ip link set eth1 up
`, mac, v4, v6)
	g.link(h.edge, name, vmMTU)
}

// quote writes a name so that YAML takes it for a text: 1e3, true, null.
func quote(name string) string {
	if strings.Trim(name, "0123456789._+-exabcdf") == "" || slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, name) {
		return `"` + name + `"`
	}
	return name
}

// vmAddresses are those of a VM: 10.0.0.11/24 and fd00:0:0:a::11/64 for the
// first one. A tenant with many VMs has a /16, and its IPv6 addresses count in
// hexadecimal.
func vmAddresses(number int, wide bool) (v4, v6 netip.Prefix, mac intent.MAC) {
	n := 10 + number
	a4 := [4]byte{10, 0, byte(n >> 8), byte(n)}
	bits, low := 24, n/100<<8|n/10%10<<4|n%10 // n in decimal, as it reads
	if wide {
		bits, low = 16, n
	}
	a6 := [16]byte{0: 0xfd, 7: 0x0a, 14: byte(low >> 8), 15: byte(low)}
	mac = intent.MAC{2, 0, a4[0], a4[1], a4[2], a4[3]}
	return netip.PrefixFrom(netip.AddrFrom4(a4), bits), netip.PrefixFrom(netip.AddrFrom16(a6), 64), mac
}

// groupRoles are the groups that Generate makes, from the top.
var groupRoles = []struct {
	group string
	role  intent.Role
}{
	{"superspines", intent.RoleSuperspine}, {"spines", intent.RoleSpine}, {"leaves", intent.RoleLeaf},
	{"hypervisors", intent.RoleHypervisor}, {"vteps", intent.RoleVTEP}, {"servers", intent.RoleServer}, {"vms", intent.RoleVM},
}

func (g *generator) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s.\n# Made by weft. Its lab needs no images; for containerlab, give each group one.\nname: %s\n\n", g.summary(), quote(g.Name))
	b.WriteString("topology:\n  defaults:\n    kind: linux\n")
	if g.Underlay != "" {
		fmt.Fprintf(&b, "    labels:\n      %s: %s\n", LabelUnderlay, quote(g.Underlay))
	}
	b.WriteString("\n  groups:\n")
	for _, r := range groupRoles {
		role := r.role
		if g.Leaves == 0 && role == intent.RoleSpine {
			role = intent.RoleLeaf
		}
		if slices.Contains(g.made, r.group) {
			fmt.Fprintf(&b, "    %s:\n      labels:\n        %s: %s\n", r.group, LabelRole, role)
		}
	}
	b.WriteString("\n  nodes:\n" + g.nodes.String())
	if g.links.Len() > 0 {
		b.WriteString("\n  links:\n" + g.links.String())
	}
	return b.String()
}

func (g *generator) summary() string {
	hypervisors, vteps := g.edges()*g.HypervisorsPerLeaf, g.edges()*g.VTEPsPerLeaf
	var parts []string
	for _, c := range []struct {
		n         int
		one, more string
	}{
		{g.Superspines, "superspine", "superspines"}, {g.Spines, "spine", "spines"}, {g.Leaves, "leaf", "leaves"},
		{hypervisors, "hypervisor", "hypervisors"}, {vteps, "hardware VTEP", "hardware VTEPs"},
		{g.edges()*g.ServersPerLeaf + vteps*g.ServersPerVTEP, "server", "servers"},
		{hypervisors * g.HostsPerHypervisor, "VM", "VMs"},
	} {
		switch c.n {
		case 0:
		case 1:
			parts = append(parts, "1 "+c.one)
		default:
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.more))
		}
	}
	return "A Clos fabric: " + strings.Join(parts, ", ")
}
