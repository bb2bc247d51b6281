package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/atomicfile"
	"github.com/weft-sdn/weft/controller/intent"
	"golang.org/x/sys/unix"
)

// Phase says how far a lab has come.
type Phase string

// Phases of a lab. One that is found in another phase than Up was left half
// made, by a crash or by a running "weft lab up".
const (
	PhaseStarting Phase = "starting"
	PhaseUp       Phase = "up"
	PhaseStopping Phase = "stopping"
)

// State is what a lab is made of. It is written before the first thing is
// made, so that whatever happens, what there may be is known.
type State struct {
	Name    string       `json:"name"`
	Source  string       `json:"source"` // the topology file
	Site    int          `json:"site,omitempty"`
	Phase   Phase        `json:"phase"`
	Created time.Time    `json:"created"`
	Mgmt    netip.Prefix `json:"mgmt"`
	// Underlay says how the fabric routes: "bgp numbered".
	Underlay string `json:"underlay,omitempty"`
	Nodes    []Node `json:"nodes"`
	Links    []Link `json:"links"`
	// Controller is the API's endpoint; empty without a controller.
	Controller string    `json:"controller,omitempty"`
	Processes  []Process `json:"processes"`
	// Raised are limits of the host that the lab raised, as they were before.
	Raised map[string]string `json:"raised,omitempty"`
	Widths []PathWidth       `json:"widths"`
	// Widths6 are the same to the IPv6 loopbacks, where there are some.
	Widths6 []PathWidth `json:"widths6,omitempty"`
	// The fabric as the controller is told of it.
	FabricNodes []*intent.Node `json:"fabricNodes,omitempty"`
	FabricLinks []*intent.Link `json:"fabricLinks,omitempty"`
	// Fabric is how the underlay is planned: with it the agents configure the
	// switches.
	Fabric *intent.Fabric `json:"fabric,omitempty"`

	dir string
	mu  sync.Mutex
}

// Node is a namespace of the lab and what is to run in it.
type Node struct {
	Name     string      `json:"name"`
	Kind     string      `json:"kind"`
	Role     intent.Role `json:"role"`
	RoleRule string      `json:"roleRule"`
	// Mgmt is the address in the management network, for nodes that are in it.
	Mgmt   netip.Prefix `json:"mgmt,omitzero"`
	Exec   []string     `json:"exec,omitempty"`
	Env    []string     `json:"env,omitempty"`
	Router *Router      `json:"router,omitempty"`
	VTEP   *VTEP        `json:"vtep,omitempty"`
	// Addresses are set on interfaces by the lab: what no daemon owns.
	Addresses []Address `json:"addresses,omitempty"`
	Gateways  []Gateway `json:"gateways,omitempty"`
	// Tags are the VLANs of a server's interfaces.
	Tags []Tag `json:"tags,omitempty"`
	// EVPN says that the node is a leaf with servers in tenants' networks: a
	// BGP EVPN edge. Agent says that it is to run Weft's agent: each switch.
	EVPN  bool `json:"evpn,omitempty"`
	Agent bool `json:"agent,omitempty"`
}

// Address is an address of an interface.
type Address struct {
	Interface string       `json:"interface"`
	Prefix    netip.Prefix `json:"prefix"`
}

// Gateway is a next hop on an interface; for everything without a prefix.
type Gateway struct {
	Interface string       `json:"interface"`
	To        netip.Prefix `json:"to,omitzero"`
	Via       netip.Addr   `json:"via"`
}

// Router is a node's FRR.
type Router struct {
	Managed  bool              `json:"managed"`            // configured by Weft, not by a file of the user's
	Config   string            `json:"config"`             // all of it
	Sections map[string]string `json:"sections,omitempty"` // by daemon, when managed
	Source   string            `json:"source,omitempty"`   // the user's frr.conf
	Sysctls  map[string]string `json:"sysctls,omitempty"`
	Daemons  []string          `json:"daemons"`
	Loopback netip.Addr        `json:"loopback,omitzero"`
	Sessions int               `json:"sessions"` // BGP sessions that must come up
	// Adjacencies are those of IS-IS that must come up.
	Adjacencies int `json:"adjacencies,omitempty"`
	// Injection says that the controller may announce routes to it alone.
	Injection bool `json:"injection,omitempty"`
}

// VTEP is the place in the underlay of the Open vSwitch of a hypervisor or
// hardware VTEP.
type VTEP struct {
	Address netip.Addr   `json:"address"`
	Uplink  string       `json:"uplink"`
	Link    netip.Prefix `json:"link,omitzero"` // address of the uplink, when it is not the VTEP's
	Gateway netip.Addr   `json:"gateway,omitzero"`
	Colours []netip.Addr `json:"colours,omitempty"`
}

// Link joins interfaces of two nodes.
type Link struct {
	A   End `json:"a"`
	B   End `json:"b"`
	MTU int `json:"mtu"`
}

// End is one end of a link.
type End struct {
	Node      string     `json:"node"`
	Interface string     `json:"interface"`
	MAC       intent.MAC `json:"mac,omitzero"`
}

// PathWidth is the number of equal-cost paths that the graph has from one
// switch to another's loopback.
type PathWidth struct {
	From string     `json:"from"`
	To   string     `json:"to"`
	Addr netip.Addr `json:"address"`
	Want int        `json:"want"`
	// Over are the interfaces of the next hops, sorted; of several parallel
	// links each.
	Over []string `json:"over"`
}

// Parent is the folder in which labs keep theirs.
func Parent() string {
	if d := os.Getenv("WEFT_LAB_DIR"); d != "" {
		return d
	}
	return "/run/weft"
}

const stateFile = "state.json"

// Dir is the lab's folder.
func (s *State) Dir() string { return s.dir }

// NodeDir is the folder of a node's daemons.
func (s *State) NodeDir(node string) string { return filepath.Join(s.dir, "nodes", node) }

// Namespaces are the namespaces that the lab has or may have.
func (s *State) Namespaces() []string {
	ns := []string{Namespace(s.Name, mgmtNode), Namespace(s.Name, controllerNode)}
	for _, n := range s.Nodes {
		ns = append(ns, Namespace(s.Name, n.Name))
	}
	return ns
}

// Namespace is the namespace of a node of the lab.
func (s *State) Namespace(node string) string { return Namespace(s.Name, node) }

// Node finds a node, the controller included.
func (s *State) Node(name string) (Node, error) {
	if name == controllerNode {
		return Node{Name: name, Kind: "weft"}, nil
	}
	for _, n := range s.Nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return Node{}, fmt.Errorf("lab %s has no node %q: \"weft lab status\" lists them", s.Name, name)
}

// neighbour is the other end of a node's interface.
func (s *State) neighbour(node, iface string) (End, bool) {
	for _, l := range s.Links {
		switch {
		case l.A.Node == node && l.A.Interface == iface:
			return l.B, true
		case l.B.Node == node && l.B.Interface == iface:
			return l.A, true
		}
	}
	return End{}, false
}

// mtu is the MTU of a node's interface.
func (s *State) mtu(node, iface string) int {
	for _, l := range s.Links {
		if l.A.Node == node && l.A.Interface == iface || l.B.Node == node && l.B.Interface == iface {
			return l.MTU
		}
	}
	return intent.DefaultMTU
}

// record adds processes and writes the state.
func (s *State) record(ps ...Process) error {
	s.mu.Lock()
	for _, p := range ps {
		s.Processes = slices.DeleteFunc(s.Processes, func(q Process) bool { return q.Node == p.Node && q.Name == p.Name })
		s.Processes = append(s.Processes, p)
	}
	s.mu.Unlock()
	return s.save()
}

func (s *State) setPhase(p Phase) error {
	s.mu.Lock()
	s.Phase = p
	s.mu.Unlock()
	return s.save()
}

// save writes the state so that a crash leaves the old or the new one.
func (s *State) save() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return fmt.Errorf("save state of lab %s: %w", s.Name, err)
	}
	if err := atomicfile.Replace(filepath.Join(s.dir, stateFile), b, 0o644); err != nil {
		return fmt.Errorf("save state of lab %s: %w", s.Name, err)
	}
	return nil
}

// ErrNoLab says that there is no such lab, or none at all.
var ErrNoLab = errors.New("no lab")

// Load reads the state of a lab by its name.
func Load(name string) (*State, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	dir := filepath.Join(Parent(), name)
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w named %s is here: \"weft lab up FILE\" brings one up", ErrNoLab, name)
	}
	if err != nil {
		return nil, fmt.Errorf("read state of lab %s: %w", name, err)
	}
	s := &State{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("read state of lab %s: %w", name, err)
	}
	s.dir = dir
	return s, nil
}

// List reads the states of all labs, by name. Folders without a readable
// state are left out.
func List() ([]*State, error) {
	entries, err := os.ReadDir(Parent())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list labs: %w", err)
	}
	var all []*State
	for _, e := range entries {
		if s, err := Load(e.Name()); err == nil {
			all = append(all, s)
		}
	}
	return all, nil
}

// Find gives the lab of that name, or the only one when the name is empty.
func Find(name string) (*State, error) {
	if name != "" {
		return Load(name)
	}
	all, err := List()
	if err != nil {
		return nil, err
	}
	switch len(all) {
	case 0:
		return nil, fmt.Errorf("%w is running: \"weft lab up FILE\" brings one up", ErrNoLab)
	case 1:
		return all[0], nil
	}
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Name
	}
	return nil, fmt.Errorf("several labs are running (%s): say which with --lab NAME", strings.Join(names, ", "))
}

// FindAPI gives the endpoint of the running lab's controller.
func FindAPI() (endpoint, labName string, err error) {
	all, err := List()
	if err != nil {
		return "", "", err
	}
	var with []*State
	var names []string
	for _, s := range all {
		if s.Controller != "" {
			with = append(with, s)
			names = append(names, s.Name)
		}
	}
	switch len(with) {
	case 0:
		return "", "", fmt.Errorf("%w with a controller is running: \"weft lab up FILE\" brings one up", ErrNoLab)
	case 1:
		return with[0].Controller, with[0].Name, nil
	}
	return "", "", fmt.Errorf("several labs are running (%s): name the endpoint of one, such as %s", strings.Join(names, ", "), with[0].Controller)
}

// lock takes the lab's folder for ourselves, making it if need be. It fails at
// once while another weft has it.
func lock(name string) (dir string, unlock func(), err error) {
	dir = filepath.Join(Parent(), name)
	for {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", nil, fmt.Errorf("make the lab's folder: %w", err)
		}
		f, err := os.Open(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed by a "lab down" that just ended
		}
		if err != nil {
			return "", nil, fmt.Errorf("lock lab %s: %w", name, err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			return "", nil, fmt.Errorf("lab %s is being brought up or taken down by another weft: wait for it to end", name)
		}
		var held, there unix.Stat_t
		if unix.Fstat(int(f.Fd()), &held) == nil && unix.Stat(dir, &there) == nil && held.Ino == there.Ino {
			return dir, func() { f.Close() }, nil
		}
		f.Close()
	}
}
