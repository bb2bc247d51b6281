package topology

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
)

// Intent makes the tenants, networks and ports that the labels of VMs and
// servers ask for: weft-tenant and weft-network, with weft-addresses and
// weft-mac or, without them, the "ip" commands in exec. A VM's port is bound by
// its name as iface-id, a server's by the interface of its switch and, with
// weft-vlan, by the 802.1Q tag of its frames there. Objects come in apply order,
// ports in the order of the file.
func (f *File) Intent() ([]intent.Object, error) {
	b := &intentBuilder{file: f, tenants: map[string]*intent.Tenant{}, networks: map[string]*intent.Network{}, ports: map[string]string{}, links: map[string][]Link{}}
	for _, l := range f.Graph.Links {
		back, _ := l.From(l.B.Node)
		b.links[l.A.Node] = append(b.links[l.A.Node], l)
		b.links[l.B.Node] = append(b.links[l.B.Node], back)
	}
	var names []string
	for _, n := range f.Graph.Nodes {
		_, tenant := n.Labels[LabelTenant]
		_, network := n.Labels[LabelNetwork]
		_, vlan := n.Labels[LabelVLAN]
		if tenant || network || vlan {
			names = append(names, n.Name)
		}
	}
	slices.SortStableFunc(names, func(x, y string) int { return f.Nodes[x].Line - f.Nodes[y].Line })
	var ports []intent.Object
	for _, name := range names {
		if p := b.node(name); p != nil {
			ports = append(ports, p)
		}
	}
	var out []intent.Object
	for _, t := range b.order {
		out = append(out, b.tenants[t])
	}
	for _, n := range b.networkOrder {
		out = append(out, b.networks[n])
	}
	out = append(out, ports...)
	for _, o := range out {
		b.check(o)
	}
	if err := b.faults.err(); err != nil {
		return nil, err
	}
	return out, nil
}

// intentBuilder collects objects while it walks the nodes.
type intentBuilder struct {
	file         *File
	tenants      map[string]*intent.Tenant
	order        []string
	networks     map[string]*intent.Network // by tenant/name
	networkOrder []string
	ports        map[string]string // tenant/name -> node
	links        map[string][]Link // of each node, A being its end
	faults       Faults
}

func (b *intentBuilder) fault(node, format string, args ...any) {
	b.faults = append(b.faults, Fault{b.file.source, b.file.Nodes[node].Line, "node " + node + ": " + fmt.Sprintf(format, args...)})
}

// check lets an object check itself.
func (b *intentBuilder) check(o intent.Object) {
	var fields intent.FieldErrors
	if err := o.Validate(); errors.As(err, &fields) {
		for _, e := range fields {
			b.faults = append(b.faults, Fault{b.file.source, b.lineOf(o), e.Error()})
		}
	}
}

// lineOf is the line of a port's node, and of the first node that asks for a
// tenant or network.
func (b *intentBuilder) lineOf(o intent.Object) int {
	ref, line := o.Ref(), 0
	for _, n := range b.file.Graph.Nodes {
		at := b.file.Nodes[n.Name].Line
		var hit bool
		switch ref.Kind {
		case intent.KindTenant:
			hit = n.Labels[LabelTenant] == ref.Name
		case intent.KindNetwork:
			hit = n.Labels[LabelTenant] == ref.Tenant && n.Labels[LabelNetwork] == ref.Name
		case intent.KindPort:
			hit = b.ports[ref.Tenant+"/"+ref.Name] == n.Name
		}
		if hit && (line == 0 || at < line) {
			line = at
		}
	}
	return line
}

func (b *intentBuilder) node(name string) intent.Object {
	n, _ := b.file.Graph.Node(name)
	tenant, network := n.Labels[LabelTenant], n.Labels[LabelNetwork]
	switch {
	case n.Role != intent.RoleVM && n.Role != intent.RoleServer:
		label := LabelTenant
		if tenant == "" && network == "" {
			label = LabelVLAN
		}
		b.fault(name, "label %s: a %s has no port in a tenant's network", label, n.Role)
		return nil
	case tenant == "":
		b.fault(name, "label %s is missing: a network belongs to a tenant", LabelTenant)
		return nil
	case network == "":
		b.fault(name, "label %s is missing: say to which network of tenant %s the node belongs", LabelNetwork, tenant)
		return nil
	}
	h, err := hostAddresses(n, b.file.Nodes[name], b.links[name])
	if err != nil {
		b.fault(name, "%s", err)
		return nil
	}
	net := b.network(tenant, network)
	for _, a := range h.addresses {
		b.subnet(name, net, a.Masked())
	}
	if h.mtu != 0 && h.mtu != intent.DefaultMTU && (net.Spec.MTU == 0 || h.mtu < net.Spec.MTU) {
		net.Spec.MTU = h.mtu
	}
	p := &intent.Port{Header: header(intent.KindPort), Metadata: intent.Metadata{Name: strings.ToLower(name), Tenant: tenant}}
	p.Spec = intent.PortSpec{Network: network, MAC: h.mac, Binding: h.binding}
	for _, a := range h.addresses {
		p.Spec.Addresses = append(p.Spec.Addresses, a.Addr())
	}
	key := tenant + "/" + p.Metadata.Name
	if other, ok := b.ports[key]; ok {
		b.fault(name, "its port has the same name as that of node %s", other)
		return nil
	}
	b.ports[key] = name
	return p
}

func header(k intent.Kind) intent.Header {
	return intent.Header{APIVersion: intent.APIVersion, Kind: k}
}

func (b *intentBuilder) network(tenant, name string) *intent.Network {
	if b.tenants[tenant] == nil {
		b.tenants[tenant] = &intent.Tenant{Header: header(intent.KindTenant), Metadata: intent.Metadata{Name: tenant}}
		b.order = append(b.order, tenant)
	}
	key := tenant + "/" + name
	if b.networks[key] == nil {
		b.networks[key] = &intent.Network{Header: header(intent.KindNetwork), Metadata: intent.Metadata{Name: name, Tenant: tenant}}
		b.networkOrder = append(b.networkOrder, key)
	}
	return b.networks[key]
}

// subnet adds a subnet to a network; it must not overlap another one.
func (b *intentBuilder) subnet(node string, n *intent.Network, s netip.Prefix) {
	for _, o := range n.Spec.Subnets {
		if o == s {
			return
		}
		if o.Overlaps(s) {
			b.fault(node, "subnet %s overlaps %s of %s: give all its nodes the same prefix length", s, o, n.Ref())
			return
		}
	}
	n.Spec.Subnets = append(n.Spec.Subnets, s)
}

// host is what a node says about its interface.
type host struct {
	addresses []netip.Prefix
	mac       intent.MAC
	binding   intent.Binding
	mtu       int
}

// hostAddresses reads labels, and commands where a label is missing.
func hostAddresses(n Node, c NodeConfig, links []Link) (host, error) {
	var h host
	iface := "eth1"
	if len(links) > 0 {
		iface, h.mtu = links[0].A.Interface, links[0].MTU
	}
	addresses, mac := commands(c.Exec, iface)
	if label, ok := n.Labels[LabelAddresses]; ok {
		addresses = strings.FieldsFunc(label, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' || r == '\n' })
	}
	for _, s := range addresses {
		a, err := netip.ParsePrefix(s)
		if err != nil {
			return h, fmt.Errorf("address %q is not one with a prefix length, like 10.0.0.11/24", s)
		}
		if slices.ContainsFunc(h.addresses, func(o netip.Prefix) bool { return o.Addr() == a.Addr() }) {
			return h, fmt.Errorf("address %s is given twice", a.Addr())
		}
		h.addresses = append(h.addresses, a)
	}
	if len(links) > 0 {
		mac = first(n.Labels[LabelMAC], mac, links[0].A.MAC)
	}
	if mac = first(n.Labels[LabelMAC], mac); mac != "" {
		m, err := intent.ParseMAC(strings.ToLower(mac))
		if err != nil {
			return h, err
		}
		h.mac = m
	}
	vlan, err := vlanOf(n)
	switch {
	case err != nil:
		return h, err
	case n.Role == intent.RoleVM:
		h.binding = intent.Binding{IfaceID: n.Name}
	case len(links) == 0:
		return h, errors.New("has no link: its port can't be anywhere")
	default:
		h.binding = intent.Binding{Node: links[0].B.Node, Interface: links[0].B.Interface, VLAN: vlan}
	}
	return h, nil
}

// vlanOf reads the label weft-vlan; zero means untagged.
func vlanOf(n Node) (uint16, error) {
	label, ok := n.Labels[LabelVLAN]
	if !ok {
		return 0, nil
	}
	vlan, err := strconv.ParseUint(strings.TrimSpace(label), 10, 16)
	switch {
	case err != nil || vlan < 1 || vlan > 4094:
		return 0, fmt.Errorf("label %s: %q is not a VLAN: use 1 to 4094, or leave it out for untagged frames", LabelVLAN, label)
	case n.Role != intent.RoleServer:
		return 0, fmt.Errorf("label %s goes with servers: a %s's port is found by its iface-id, whatever the tag", LabelVLAN, n.Role)
	}
	return uint16(vlan), nil
}

// commands finds in exec what the node gives its interface: "ip addr add
// 10.0.0.11/24 dev eth1" and "ip link set eth1 address 02:...".
func commands(exec []string, iface string) (addresses []string, mac string) {
	for _, line := range exec {
		w := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == '"' || r == '\'' })
		at := slices.IndexFunc(w, func(s string) bool { return s == "ip" || strings.HasSuffix(s, "/ip") })
		if at < 0 {
			continue
		}
		w = slices.DeleteFunc(w[at+1:], func(s string) bool { return strings.HasPrefix(s, "-") })
		if len(w) < 3 {
			continue
		}
		after := func(word string) string {
			if i := slices.Index(w, word); i >= 0 && i+1 < len(w) {
				return w[i+1]
			}
			return ""
		}
		switch {
		case strings.HasPrefix("address", w[0]) && w[1] == "add" && after("dev") == iface:
			addresses = append(addresses, w[2])
		case strings.HasPrefix("link", w[0]) && w[1] == "set" && (w[2] == iface || after("dev") == iface):
			mac = first(after("address"), mac)
		}
	}
	return addresses, mac
}
