package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/frr"
	"github.com/weft-sdn/weft/topology"
)

// DefaultImage is the image that "make image" builds: FRR, Open vSwitch and weft.
const DefaultImage = "weft-node:latest"

// The management network of an exported lab, when its file gives none: not
// containerlab's own, whose addresses other labs may have.
const (
	exportMgmt      = "172.20.21.0/24"
	largeExportMgmt = "172.21.0.0/16"
)

// Paths in the containers and in the exported folder.
const (
	nodeMount   = "/weft" // where a container sees its files, read-only
	startScript = "start.sh"
	frrConf     = "frr.conf"    // all of a switch's configuration
	emptyConf   = "start.conf"  // what FRR starts with where an agent does the rest
	agentState  = "state.json"  // what the agent starts with until the controller answers
	fabricFile  = "fabric.yaml" // nodes and links
	routingFile = "underlay.yaml"
	tenantsFile = "tenants.yaml"
)

// ExportOptions say how a lab is written for containerlab.
type ExportOptions struct {
	Image string // of the nodes that Weft starts; DefaultImage when empty
	// Rendered has the switches read the whole of their FRR configuration from files, and
	// no controller and no agents in the lab.
	Rendered bool
}

// Export is a lab as files for containerlab.
type Export struct {
	Topology string       // path of the topology file: dc.clab.yml
	Files    []ExportFile // sorted by path; the topology file is one of them
	Notes    []string     // what the user should know
}

// ExportFile is one file, or a copy of one.
type ExportFile struct {
	Path string // below the folder, with '/'
	Data []byte
	Mode fs.FileMode
}

// NewExport makes the files of a lab for containerlab: a topology file that it
// deploys, and for each node that Weft starts a start script and what it needs. It is
// the same lab as Plan makes of the file: the same addresses, configurations, links and
// objects; each switch has an agent, with the state that the controller's plan gives it.
// Files that the user binds into a node are read and copied.
func NewExport(file *topology.File, o ExportOptions) (*Export, error) {
	if o.Image == "" {
		o.Image = DefaultImage
	}
	file, err := withMgmt(file)
	if err != nil {
		return nil, err
	}
	s, notes, err := Plan(file)
	if err != nil {
		return nil, err
	}
	objects, err := Intent(file)
	if err != nil {
		return nil, err
	}
	e := &exporter{file: file, state: s, image: o.Image, rendered: o.Rendered, export: &Export{Topology: file.Name + ".clab.yml"}}
	for _, n := range notes {
		if !strings.HasPrefix(n, unusedNote) { // what the export uses is another matter
			e.export.Notes = append(e.export.Notes, n)
		}
	}
	if out := e.leftOut(); len(out) > 0 {
		e.note("left out of the exported file: %s", strings.Join(out, "; "))
	}
	d := topology.Deployment{
		Name: file.Name, Prefix: file.Prefix, Kind: "linux", Image: o.Image, Mgmt: file.Mgmt,
		Comment: exportMark(e.export.Topology) + " The image of the nodes:\n\"make image\" in Weft's repository.",
	}
	names := make([]string, 0, len(file.Nodes))
	for _, n := range s.Nodes {
		names = append(names, n.Name)
	}
	slices.SortFunc(names, func(a, b string) int { return file.Nodes[a].Line - file.Nodes[b].Line })
	var errs []error
	for _, name := range names {
		n, err := e.node(name)
		errs = append(errs, err)
		d.Nodes = append(d.Nodes, n)
	}
	if o.Rendered {
		e.note("without a controller the underlay is all that there is: tenants' networks are not made")
	} else {
		errs = append(errs, e.states(), e.controller(&d, objects))
	}
	for _, l := range s.Links {
		d.Links = append(d.Links, topology.Link{A: e.end(l.A), B: e.end(l.B), MTU: l.MTU})
	}
	text, err := d.Encode()
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, fmt.Errorf("export lab %s: %w", file.Name, err)
	}
	e.add(e.export.Topology, text)
	slices.SortFunc(e.export.Files, func(a, b ExportFile) int { return strings.Compare(a.Path, b.Path) })
	return e.export, nil
}

// withMgmt is the file with a management network of its own, when it has none.
func withMgmt(file *topology.File) (*topology.File, error) {
	f := *file
	m := &f.Mgmt
	if m.Network == "" {
		m.Network = "weft-" + f.Name
	}
	if m.IPv4Subnet == "" || m.IPv4Subnet == "auto" {
		m.IPv4Subnet = exportMgmt
		if len(f.Nodes) > 250 {
			m.IPv4Subnet = largeExportMgmt
		}
	}
	subnet, err := netip.ParsePrefix(m.IPv4Subnet)
	if err != nil {
		return nil, fmt.Errorf("%s: mgmt: ipv4-subnet: %q is not an IPv4 prefix like 172.20.20.0/24", f.Source(), m.IPv4Subnet)
	}
	if first := subnet.Masked().Addr().Next(); m.IPv4GW != "" && m.IPv4GW != first.String() {
		return nil, fmt.Errorf("%s: mgmt: ipv4-gw: Weft counts the nodes' addresses from %s, the gateway's: leave ipv4-gw out", f.Source(), first)
	}
	return &f, nil
}

// exporter collects an Export.
type exporter struct {
	file     *topology.File
	state    *State
	image    string
	rendered bool
	export   *Export
}

func (e *exporter) note(format string, args ...any) {
	e.export.Notes = append(e.export.Notes, fmt.Sprintf(format, args...))
}

func (e *exporter) add(p string, data []byte) {
	e.export.Files = append(e.export.Files, ExportFile{Path: p, Data: data, Mode: 0o644})
}

// leftOut lists what the file has and the export has not. Images and files of
// nodes that Weft starts are told of node by node.
func (e *exporter) leftOut() []string {
	kept := []string{"image", "env", "ports", "binds", "prefix", "mgmt"}
	return slices.DeleteFunc(e.file.Ignored(), func(line string) bool {
		field, _, _ := strings.Cut(line, ":")
		return slices.Contains(kept, field)
	})
}

// nodePath is where a node's file is in the folder.
func nodePath(node string, elem ...string) string {
	return path.Join(append([]string{"nodes", node}, elem...)...)
}

func (e *exporter) end(x End) topology.End {
	return topology.End{Node: x.Node, Interface: x.Interface}
}

// node writes one node's files and what containerlab is told of it.
func (e *exporter) node(name string) (topology.DeployedNode, error) {
	n, err := e.state.Node(name)
	if err != nil {
		return topology.DeployedNode{}, err
	}
	c := e.settingsOf(name)
	d := topology.DeployedNode{Name: name}
	d.Group, d.Labels, d.Env, d.Exec, d.Ports = c.Group, c.Labels, c.Env, c.Exec, c.Ports
	if strings.HasPrefix(n.RoleRule, "graph") || strings.HasPrefix(n.RoleRule, "kind") {
		// What decided the role may not be in the exported file.
		d.Labels = map[string]string{topology.LabelRole: string(n.Role)}
		for k, v := range c.Labels {
			d.Labels[k] = v
		}
	}
	if n.Mgmt.IsValid() {
		d.MgmtIPv4 = n.Mgmt.Addr()
		if _, taken := e.state.neighbour(name, "eth0"); taken {
			return d, fmt.Errorf("%s: interface eth0 is containerlab's management interface: give the link another", name)
		}
	}
	own := n.Router == nil && n.VTEP == nil || n.Router != nil && !n.Router.Managed
	if own {
		if err := e.userFiles(&d, c); err != nil {
			return d, err
		}
	}
	if n.Router == nil && n.VTEP == nil {
		e.host(&d)
	}
	if own {
		e.addresses(&d)
	}
	if own && c.Image != "" && (len(n.Tags) == 0 || n.Router != nil) {
		d.Image = c.Image
		return d, nil
	}
	if own && c.Image != "" {
		e.note("%s: its frames have a VLAN tag, which Weft's image sets: %s is left out", name, c.Image)
	}
	if !own && (c.Image != "" || len(c.Binds) > 0) {
		e.note("%s: Weft starts it from its own image: the file's image and binds are left out", name)
	}
	text, err := e.script(n)
	if err != nil {
		return d, err
	}
	switch {
	case n.Router == nil:
	case e.byAgent(n):
		e.add(nodePath(name, emptyConf), []byte(frr.Start(name)))
	default:
		e.add(nodePath(name, frrConf), []byte(n.Router.Config))
	}
	e.start(&d, text)
	return d, nil
}

// settingsOf is what the file says of a node, without what an earlier export
// added: a file that was exported is exported as it was.
func (e *exporter) settingsOf(name string) topology.NodeConfig {
	c := e.file.Nodes[name]
	if c.Image == e.image {
		c.Image = ""
	}
	c.Binds = slices.DeleteFunc(slices.Clone(c.Binds), func(b topology.Bind) bool { return b.Target == nodeMount })
	return c
}

// start gives a node its start script.
func (e *exporter) start(d *topology.DeployedNode, text string) {
	e.export.Files = append(e.export.Files, ExportFile{Path: nodePath(d.Name, startScript), Data: []byte(text), Mode: 0o755})
	d.Binds = append(d.Binds, topology.Bind{Source: nodePath(d.Name), Target: nodeMount, Mode: "ro"})
	d.Command = "bash " + path.Join(nodeMount, startScript)
}

// host is a VM or server. It has no management interface, as in Weft's lab: its
// default route is its tenant's affair.
func (e *exporter) host(d *topology.DeployedNode) {
	d.NoMgmt = len(d.Ports) == 0
}

// addresses sets the MAC addresses of a node that starts by itself, where its
// own commands don't.
func (e *exporter) addresses(d *topology.DeployedNode) {
	said := strings.ToLower(strings.Join(d.Exec, "\n"))
	var set []string
	for _, x := range e.state.ends(d.Name) {
		if !x.MAC.IsZero() && !strings.Contains(said, x.MAC.String()) {
			set = append(set, fmt.Sprintf("ip link set %s address %s", x.Interface, x.MAC))
		}
	}
	d.Exec = append(set, d.Exec...)
}

// ends are the ends of links at a node.
func (s *State) ends(node string) []End {
	var out []End
	for _, l := range s.Links {
		for _, x := range []End{l.A, l.B} {
			if x.Node == node {
				out = append(out, x)
			}
		}
	}
	return out
}

// userFiles copies what the user binds into a node.
func (e *exporter) userFiles(d *topology.DeployedNode, c topology.NodeConfig) error {
	for _, b := range c.Binds {
		if b.Source == "" || filepath.IsAbs(b.Source) || strings.HasPrefix(b.Source, "~") {
			d.Binds = append(d.Binds, b)
			continue
		}
		from := filepath.Join(filepath.Dir(e.file.Source()), b.Source)
		to := nodePath(d.Name, "binds", filepath.ToSlash(filepath.Base(b.Source)))
		for slices.ContainsFunc(d.Binds, func(o topology.Bind) bool { return o.Source == to }) {
			to += "_"
		}
		err := e.copy(from, to)
		if errors.Is(err, fs.ErrNotExist) {
			e.note("%s: %s is not there, so it is not bound", d.Name, from)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: bind %s: %w", d.Name, b, err)
		}
		d.Binds = append(d.Binds, topology.Bind{Source: to, Target: b.Target, Mode: b.Mode})
	}
	return nil
}

// copy takes a file, or a folder with all that is in it.
func (e *exporter) copy(from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		e.export.Files = append(e.export.Files, ExportFile{Path: path.Join(to, filepath.ToSlash(below)), Data: data, Mode: info.Mode().Perm()})
		return nil
	})
}

// controller adds the controller's node and its objects.
func (e *exporter) controller(d *topology.Deployment, tenants []intent.Object) error {
	var parts []intent.Object
	for _, n := range e.state.FabricNodes {
		parts = append(parts, n)
	}
	for _, l := range e.state.FabricLinks {
		parts = append(parts, l)
	}
	for name, objects := range map[string][]intent.Object{fabricFile: parts, routingFile: {e.state.Fabric}, tenantsFile: tenants} {
		text, err := intent.EncodeYAML(objects...)
		if err != nil {
			return err
		}
		e.add(nodePath(controllerNode, name), text)
	}
	n := topology.DeployedNode{Name: controllerNode, MgmtIPv4: e.state.controllerMgmt().Addr()}
	n.Labels = map[string]string{topology.LabelRole: topology.RoleController}
	e.start(&n, e.controllerScript())
	d.Nodes = append(d.Nodes, n)
	return nil
}

// exportMark is how an exported topology file begins.
func exportMark(topology string) string {
	return fmt.Sprintf("Lab %s for containerlab, made by \"weft lab export\".", strings.TrimSuffix(topology, ".clab.yml"))
}

// Write writes the files into a folder, which is made. A folder with something
// in it must be that of an earlier export of the same lab; its nodes' files are
// replaced.
func (e *Export) Write(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("export: %w", err)
	}
	old, err := os.ReadFile(filepath.Join(dir, e.Topology))
	if len(entries) > 0 && (err != nil || !bytes.HasPrefix(old, []byte("# "+exportMark(e.Topology)))) {
		return fmt.Errorf("export: folder %s has other things in it: name an empty or new one", dir)
	}
	for _, f := range e.Files {
		to := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return fmt.Errorf("export: %w", err)
		}
		if err := os.WriteFile(to, f.Data, f.Mode); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	return nil
}
