package lab

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/southbound/frr"
	"github.com/weft-sdn/weft/topology"
)

// vmMTU is the MTU of a link to a VM or server when the file gives none.
const vmMTU = intent.DefaultMTU

// defaultMgmt is containerlab's management network, and largeMgmt the one for
// labs that don't fit into it.
var (
	defaultMgmt = netip.MustParsePrefix("172.20.20.0/24")
	largeMgmt   = netip.MustParsePrefix("172.20.0.0/16")
)

// LoadFile reads a topology file.
func LoadFile(path string) (*topology.File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read topology: %w", err)
	}
	return topology.Parse(data, path)
}

// PlanFabric plans the underlay of a file, as its label weft-underlay asks.
func PlanFabric(file *topology.File) (*fabric.Facts, error) {
	params, err := fabric.ParamsOf(file.Graph)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.Source(), err)
	}
	facts, err := fabric.Plan(file.Graph, params)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.Source(), err)
	}
	return facts, nil
}

// Plan makes the state that a lab of the file is to have. The notes are what
// the user should know.
func Plan(file *topology.File) (s *State, notes []string, err error) { return PlanSite(file, 0) }

func plan(file *topology.File, params fabric.Params) (s *State, notes []string, err error) {
	if err := CheckName(file.Name); err != nil {
		return nil, nil, fmt.Errorf("%s: name: %w", file.Source(), err)
	}
	mgmt, err := mgmtOf(file)
	if err != nil {
		return nil, nil, err
	}
	params.Controllers = []netip.Addr{(&State{Mgmt: mgmt}).controllerMgmt().Addr()}
	facts, err := fabric.Plan(file.Graph, params)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file.Source(), err)
	}
	source, err := filepath.Abs(file.Source())
	if err != nil {
		return nil, nil, err
	}
	p := &planner{file: file, facts: facts, state: &State{Name: file.Name, Source: source, Underlay: facts.Params.String(), Mgmt: mgmt, dir: filepath.Join(Parent(), file.Name)}}
	ports, err := Intent(file)
	if err != nil {
		return nil, nil, err
	}
	p.macs, p.tags = map[string]intent.MAC{}, map[string][]Tag{}
	for _, o := range ports {
		if port, ok := o.(*intent.Port); ok {
			if e, ok := portEnd(file.Graph, port); ok {
				p.macs[e.String()] = port.Spec.MAC
				if vlan := port.Spec.Binding.VLAN; vlan != 0 {
					p.tags[e.Node] = append(p.tags[e.Node], Tag{e.Interface, vlan})
				}
			}
		}
	}
	var errs []error
	for _, n := range file.Graph.Nodes {
		errs = append(errs, p.node(n))
	}
	for _, l := range file.Graph.Links {
		errs = append(errs, p.link(l))
	}
	errs = append(errs, p.mgmt())
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	p.widths()
	p.objects()
	p.uncolour()
	if len(p.emulated) > 0 {
		p.note("emulated by FRR: %s", strings.Join(p.emulated, ", "))
	}
	if ignored := file.Ignored(); len(ignored) > 0 {
		p.note(unusedNote+" %s", strings.Join(ignored, "; "))
	}
	return p.state, p.notes, nil
}

// unusedNote begins the note on what a file has in vain.
const unusedNote = "the file also has, and the lab has no use for:"

type planner struct {
	file  *topology.File
	facts *fabric.Facts
	state *State
	notes []string
	// emulated are the switches of vendors' kinds.
	emulated []string
	macs     map[string]intent.MAC // of VMs' and servers' interfaces, "vm1:eth1"
	tags     map[string][]Tag      // of servers
}

func (p *planner) note(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

func (p *planner) node(g topology.Node) error {
	if err := checkNode(g.Name); err != nil {
		return err
	}
	c := p.file.Nodes[g.Name]
	n := Node{Name: g.Name, Kind: g.Kind, Role: g.Role, RoleRule: g.RoleRule, Exec: c.Exec, Tags: p.tags[g.Name]}
	for k, v := range c.Env {
		n.Env = append(n.Env, k+"="+v)
	}
	var err error
	switch {
	case g.Role.Switch():
		if n.Router, err = p.router(g, c); err == nil {
			outside := p.outside(g)
			n.EVPN = n.Router.Managed && (p.servers(g) || outside)
			n.Agent = true
			if n.EVPN && outside {
				n.Router.detect()
			}
		}
	case g.Role == intent.RoleHypervisor:
		p.hypervisor(&n)
	case g.Role == intent.RoleVTEP:
		err = p.hardwareVTEP(&n)
	}
	p.state.Nodes = append(p.state.Nodes, n)
	return err
}

// servers reports whether a switch is a leaf with a server that has a port in a
// tenant's network.
func (p *planner) servers(g topology.Node) bool {
	if g.Role != intent.RoleLeaf && g.Role != intent.RoleBorder {
		return false
	}
	return slices.ContainsFunc(p.file.Graph.Neighbours(g.Name), func(name string) bool {
		n, _ := p.file.Graph.Node(name)
		return n.Role == intent.RoleServer && n.Labels[topology.LabelNetwork] != ""
	})
}

// outside reports whether a switch is a border that has a link to something which is
// no part of the fabric.
func (p *planner) outside(g topology.Node) bool {
	return g.Role == intent.RoleBorder && slices.ContainsFunc(p.file.Graph.Neighbours(g.Name), func(name string) bool {
		n, _ := p.file.Graph.Node(name)
		return n.Role == intent.RoleServer && n.Labels[topology.LabelNetwork] == ""
	})
}

// detect adds bfdd, which sessions with routers outside may ask for.
func (r *Router) detect() {
	if slices.Contains(r.Daemons, "bfdd") {
		return
	}
	r.Daemons = append(r.Daemons, "bfdd")
	r.Sections["bfdd"] = ""
}

// router plans a switch's FRR: by the user's frr.conf when one is bound and
// there, else by the fabric's plan.
func (p *planner) router(g topology.Node, c topology.NodeConfig) (*Router, error) {
	fact, _ := p.facts.Node(g.Name)
	d, err := fabric.Device(p.facts, g.Name)
	if err != nil {
		return nil, err
	}
	r := &Router{Sysctls: frr.Sysctls(d), Loopback: fact.Loopback}
	for _, b := range c.Binds {
		if b.Target != "/etc/frr/frr.conf" && b.Target != "/etc/frr" {
			continue
		}
		path := b.Source
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(p.file.Source()), path)
		}
		if b.Target == "/etc/frr" {
			path = filepath.Join(path, "frr.conf")
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			p.note("%s: %s is not there, so Weft configures the node", g.Name, path)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: bind %s: %w", g.Name, b, err)
		}
		r.Source, r.Config = path, string(text)
		r.Daemons = []string{"zebra", "staticd", "bgpd"}
		if daemons, err := os.ReadFile(p.daemonsFile(c, path)); err == nil {
			r.Daemons = boundDaemons(string(daemons))
		}
		return r, nil
	}
	conf, err := frr.Render(d)
	if err != nil {
		return nil, err
	}
	r.Injection = d.BGP != nil && len(d.BGP.Injectors) > 0
	r.Managed, r.Config, r.Daemons, r.Sections = true, conf.Text(), conf.Daemons(), map[string]string{}
	for _, name := range r.Daemons {
		r.Sections[name] = conf.Daemon(name)
	}
	r.Sessions, r.Adjacencies = len(p.facts.SessionsOf(g.Name)), len(p.facts.AdjacenciesOf(g.Name))
	if g.Kind != "linux" {
		p.emulated = append(p.emulated, g.Name+" ("+g.Kind+")")
	}
	return r, nil
}

// daemonsFile is the bound "daemons" file, or the one beside frr.conf.
func (p *planner) daemonsFile(c topology.NodeConfig, conf string) string {
	for _, b := range c.Binds {
		if b.Target == "/etc/frr/daemons" {
			if filepath.IsAbs(b.Source) {
				return b.Source
			}
			return filepath.Join(filepath.Dir(p.file.Source()), b.Source)
		}
	}
	return filepath.Join(filepath.Dir(conf), "daemons")
}

// hypervisor plans where the VTEP's address is: on br-phy, over the first
// uplink. Further uplinks have their addresses themselves.
func (p *planner) hypervisor(n *Node) {
	fact, _ := p.facts.Node(n.Name)
	n.VTEP = &VTEP{Address: fact.VTEP, Uplink: fact.Uplink, Gateway: fact.Gateway, Colours: fact.Colours}
	if !fact.VTEP.IsValid() {
		p.note("%s has no link to a leaf: its tunnels lead nowhere", n.Name)
	}
	for _, l := range p.facts.LinksOf(n.Name) {
		switch {
		case l.A.Interface == fact.Uplink:
			n.VTEP.Link = l.A.Address
		case l.A.Address.IsValid():
			n.Addresses = append(n.Addresses, Address{l.A.Interface, l.A.Address})
		}
	}
}

func (p *planner) link(g topology.Link) error {
	l := Link{MTU: vmMTU}
	if planned, ok := p.facts.Link(g.A.Node, g.A.Interface); ok {
		l.MTU = planned.MTU
	} else if g.MTU > 0 {
		l.MTU = g.MTU
	}
	var errs []error
	end := func(e topology.End) End {
		out := End{Node: e.Node, Interface: e.Interface}
		if e.MAC != "" {
			m, err := intent.ParseMAC(strings.ToLower(e.MAC))
			errs = append(errs, err)
			out.MAC = m
		}
		if m, ok := p.macs[e.String()]; ok {
			out.MAC = m
		}
		errs = append(errs, checkInterface(e.Node, e.Interface))
		return out
	}
	l.A, l.B = end(g.A), end(g.B)
	if l.A.Node == l.B.Node {
		errs = append(errs, fmt.Errorf("link %s joins a node with itself", g))
	}
	p.state.Links = append(p.state.Links, l)
	return errors.Join(errs...)
}

// mgmtOf is the management network of a file's lab.
func mgmtOf(file *topology.File) (netip.Prefix, error) {
	if w := file.Mgmt.IPv4Subnet; w != "" && w != "auto" {
		m, err := netip.ParsePrefix(w)
		if err != nil || !m.Addr().Is4() {
			return netip.Prefix{}, fmt.Errorf("%s: mgmt: ipv4-subnet: %q is not an IPv4 prefix like 172.20.20.0/24", file.Source(), w)
		}
		return m.Masked(), nil
	}
	managed := 0
	for _, n := range file.Graph.Nodes {
		if n.Role.Switch() || n.Role.Tunnels() {
			managed++
		}
	}
	if managed > 250 {
		return largeMgmt, nil
	}
	return defaultMgmt, nil
}

// mgmt gives switches, hypervisors and hardware VTEPs their management
// addresses, after those of the bridge and the controller.
func (p *planner) mgmt() error {
	s := p.state
	var in []int
	for i, n := range s.Nodes {
		if n.Router != nil || n.VTEP != nil {
			in = append(in, i)
		}
	}
	a := s.controllerMgmt().Addr()
	for _, i := range in {
		a = a.Next()
		if !intent.HostAddress(s.Mgmt, a) {
			return fmt.Errorf("%s: mgmt: ipv4-subnet: %s is too small for %d nodes, the bridge and the controller", p.file.Source(), s.Mgmt, len(in))
		}
		s.Nodes[i].Mgmt = netip.PrefixFrom(a, s.Mgmt.Bits())
	}
	return nil
}

// widths derives from the graph the next hops that each leaf has to each other.
func (p *planner) widths() {
	leaves := p.file.Graph.ByRole(intent.RoleLeaf, intent.RoleBorder)
	for _, to := range leaves {
		fact, _ := p.facts.Node(to.Name)
		for _, from := range leaves {
			if from.Name == to.Name || !p.managed(from.Name) || !p.managed(to.Name) {
				continue
			}
			var over []string
			for _, l := range p.file.Graph.Paths(from.Name, to.Name, topology.PathOptions{}).Next(from.Name) {
				over = append(over, l.A.Interface)
			}
			if len(over) == 0 {
				continue
			}
			slices.Sort(over)
			w := PathWidth{From: from.Name, To: to.Name, Addr: fact.Loopback, Want: len(over), Over: over}
			p.state.Widths = append(p.state.Widths, w)
			if w.Addr = fact.Loopback6; w.Addr.IsValid() {
				p.state.Widths6 = append(p.state.Widths6, w)
			}
		}
	}
}

func (p *planner) managed(node string) bool {
	n, err := p.state.Node(node)
	return err == nil && n.Router != nil && n.Router.Managed
}

// objects are what the controller is told of the fabric: nodes and links, and
// how it reaches each edge over the management network.
func (p *planner) objects() {
	for _, o := range fabric.Intent(p.facts) {
		switch o := o.(type) {
		case *intent.Node:
			if n, err := p.state.Node(o.Metadata.Name); err == nil {
				n.reach(&o.Spec)
				o.Spec.Unmanaged = n.Router != nil && !n.Router.Managed
			}
			p.state.FabricNodes = append(p.state.FabricNodes, o)
		case *intent.Link:
			p.state.FabricLinks = append(p.state.FabricLinks, o)
		case *intent.Fabric:
			p.state.Fabric = o
		}
	}
}

// uncolour takes the colours away from leaves that the user configures, and from what
// is behind them: nothing leads there.
func (p *planner) uncolour() {
	without := map[string]bool{}
	for _, n := range p.state.FabricNodes {
		if !n.Spec.Unmanaged {
			continue
		}
		without[n.Metadata.Name] = true
		for _, l := range p.facts.LinksOf(n.Metadata.Name) {
			if far, _ := p.facts.Node(l.B.Node); far.Uplink == l.B.Interface {
				without[l.B.Node] = true
			}
		}
	}
	for _, n := range p.state.FabricNodes {
		if without[n.Metadata.Name] {
			n.Spec.Colours = nil
		}
	}
	for _, n := range p.state.Nodes {
		if without[n.Name] && n.VTEP != nil {
			n.VTEP.Colours = nil
		}
	}
}

// reach says how the controller reaches the node as an end of tunnels.
func (n Node) reach(s *intent.NodeSpec) {
	if r := n.Router; r != nil && r.Injection {
		s.Injection = &intent.Injection{Address: n.Mgmt.Addr()}
	}
	switch {
	case n.EVPN:
		s.EVPN = &intent.EVPN{Address: n.Mgmt.Addr(), Port: keeperPort}
	case n.VTEP == nil || !n.VTEP.Address.IsValid():
	case n.Role == intent.RoleVTEP:
		s.HardwareVTEP = &intent.HardwareVTEP{OVSDB: fmt.Sprintf("tcp:%s:%d", n.Mgmt.Addr(), ovsdbPort), Switch: switchName}
	default:
		s.VSwitch = &intent.VSwitch{
			OVSDB:    fmt.Sprintf("tcp:%s:%d", n.Mgmt.Addr(), ovsdbPort),
			OpenFlow: fmt.Sprintf("tcp:%s:%d", n.Mgmt.Addr(), openflowPort),
			Bridge:   bridgeInt, DatapathType: "netdev",
		}
	}
}

// NameOf is the lab's name that a user means: of a topology file, or itself.
func NameOf(arg string) (string, error) {
	if _, err := Load(arg); err == nil {
		return arg, nil
	}
	if _, err := os.Stat(arg); err != nil {
		return arg, CheckName(arg)
	}
	file, err := LoadFile(arg)
	if err != nil {
		return "", err
	}
	return file.Name, nil
}

// Intent makes the objects that the file's labels ask for. A port without a
// MAC gets the one that the lab gives its interface.
func Intent(file *topology.File) ([]intent.Object, error) {
	objects, err := file.Intent()
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if port, ok := o.(*intent.Port); ok && port.Spec.MAC.IsZero() {
			port.Spec.MAC = madeMAC(file.Name, port.Ref().String())
		}
	}
	return objects, nil
}

// madeMAC is a locally administered address made from names.
func madeMAC(lab, name string) intent.MAC {
	h := sha256.Sum256([]byte(lab + "/" + name))
	return intent.MAC{0x02, h[0], h[1], h[2], h[3], h[4]}
}

// portEnd finds the VM's or server's interface that a port is for.
func portEnd(g *topology.Graph, port *intent.Port) (topology.End, bool) {
	b := port.Spec.Binding
	for _, l := range g.Links {
		for _, l := range []topology.Link{l, {A: l.B, B: l.A}} {
			if b.IfaceID != "" && l.A.Node == b.IfaceID || b.Node != "" && l.B.Node == b.Node && l.B.Interface == b.Interface {
				return l.A, true
			}
		}
	}
	return topology.End{}, false
}
