package lab

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/lab/probe"
)

// Checked is the result of checking a lab with packets.
type Checked struct {
	Lab       string                 `json:"lab"`
	Underlay  []PathCheck            `json:"underlay"`
	Unicast   *probe.Report          `json:"unicast,omitempty"`
	Broadcast *probe.BroadcastReport `json:"broadcast,omitempty"`
	Notes     []string               `json:"notes,omitempty"`
}

// PathCheck says how packets go from one leaf's loopback to another's.
type PathCheck struct {
	probe.PathRow
	Want int `json:"want"` // equal-cost paths in the graph, from the leaf on
	Have int `json:"have"` // next hops in the kernel's FIB
}

// OK reports whether all packets came and every path was used.
func (p PathCheck) OK() bool {
	return p.Received == p.Sent && p.Have == p.Want && len(p.Uplinks) == p.Want
}

// OK reports whether everything is as expected.
func (c *Checked) OK() bool {
	return !slices.ContainsFunc(c.Underlay, func(p PathCheck) bool { return !p.OK() }) &&
		(c.Unicast == nil || c.Unicast.OK()) && (c.Broadcast == nil || c.Broadcast.OK())
}

// WaitReady waits until all ports that the controller has are Ready, by the
// devices' word, or the context ends: then it tells of the first that is not.
func WaitReady(ctx context.Context, s *State) error {
	c, err := client.New(s.Controller)
	if err != nil {
		return err
	}
	why := "the controller does not answer"
	err = until(ctx, 100*time.Millisecond, nil, func() (bool, error) {
		ports, err := c.List(ctx, intent.KindPort, client.ListOptions{})
		if err != nil {
			return false, nil // it may be starting; the context bounds the wait
		}
		for _, o := range ports {
			p := o.(*intent.Port)
			if p.Status != nil && p.Status.Phase == intent.PhaseReady {
				continue
			}
			why = p.Ref().String() + " is not Ready"
			if p.Status != nil && len(p.Status.Reasons) > 0 {
				why += ": " + p.Status.Reasons[0].Message
			}
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the ports: %s: %w", why, err)
	}
	return nil
}

// Check sends packets between all leaves and between all VMs of a lab, and
// compares what arrives with the graph and with the controller's intent.
func Check(ctx context.Context, s *State, o probe.CheckOptions) (*Checked, error) {
	c := &Checked{Lab: s.Name}
	var err error
	if c.Underlay, err = checkUnderlay(ctx, s); err != nil {
		return nil, err
	}
	if s.Controller == "" {
		c.Notes = append(c.Notes, "no controller, so nothing is expected between VMs")
		return c, nil
	}
	hosts, notes, err := s.hosts(ctx)
	if err != nil {
		return nil, err
	}
	c.Notes = append(c.Notes, notes...)
	if len(hosts) == 0 {
		return c, nil
	}
	field, err := probe.Open(hosts)
	if err != nil {
		return nil, err
	}
	defer field.Close()
	if c.Unicast, err = field.Check(ctx, o); err != nil {
		return nil, err
	}
	c.Broadcast, err = field.Broadcast(ctx, s.uplinks(), o)
	return c, err
}

// CheckContinuously sends between all VMs that must reach each other until the
// context ends.
func CheckContinuously(ctx context.Context, s *State, o probe.ContinuousOptions) (*probe.LossReport, error) {
	hosts, _, err := s.hosts(ctx)
	if err != nil {
		return nil, err
	}
	field, err := probe.Open(hosts)
	if err != nil {
		return nil, err
	}
	defer field.Close()
	return field.Continuous(ctx, o)
}

func checkUnderlay(ctx context.Context, s *State) ([]PathCheck, error) {
	var switches []probe.Switch
	have := map[[2]string]Width{}
	for _, n := range s.Nodes {
		if n.Router == nil || !n.Router.Managed || (n.Role != intent.RoleLeaf && n.Role != intent.RoleBorder) {
			continue
		}
		if !netns.Exists(s.Namespace(n.Name)) {
			return nil, fmt.Errorf("%s: its namespace is gone: \"weft lab up\" repairs the lab", n.Name)
		}
		ws, err := s.widthsOf(n.Name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.Name, err)
		}
		for _, w := range ws {
			// Of IPv4 and IPv6, the one that is not as it should be.
			if _, both := have[[2]string{w.From, w.To}]; !both || w.Have != w.Want {
				have[[2]string{w.From, w.To}] = w
			}
		}
		switches = append(switches, probe.Switch{Name: n.Name, Namespace: s.Namespace(n.Name), Loopback: n.Router.Loopback, Uplinks: s.fabricInterfaces(n.Name)})
	}
	rows, err := probe.Underlay(ctx, switches)
	if err != nil {
		return nil, err
	}
	paths := []PathCheck{}
	for _, r := range rows {
		if w, ok := have[[2]string{r.From, r.To}]; ok {
			paths = append(paths, PathCheck{r, w.Want, w.Have})
		}
	}
	return paths, nil
}

// fabricInterfaces are a switch's interfaces to other switches.
func (s *State) fabricInterfaces(node string) []string {
	var list []string
	for _, l := range s.Links {
		for _, e := range [][2]End{{l.A, l.B}, {l.B, l.A}} {
			if peer, err := s.Node(e[1].Node); e[0].Node == node && err == nil && peer.Role.Switch() {
				list = append(list, e[0].Interface)
			}
		}
	}
	return list
}

// uplinks are those of the hypervisors.
func (s *State) uplinks() []probe.Uplink {
	var us []probe.Uplink
	for _, n := range s.Nodes {
		if n.VTEP != nil && n.VTEP.Uplink != "" {
			us = append(us, probe.Uplink{Node: n.Name, Namespace: s.Namespace(n.Name), Interface: n.VTEP.Uplink, VTEP: n.VTEP.Address})
		}
	}
	return us
}

// hosts are the VMs and servers of the lab with what the controller's intent
// says of them. Those without a port are there to catch what leaks.
func (s *State) hosts(ctx context.Context) (hosts []probe.Host, notes []string, err error) {
	if s.Controller == "" {
		return nil, nil, fmt.Errorf("lab %s has no controller, so nothing is expected between VMs", s.Name)
	}
	c, err := client.New(s.Controller)
	if err != nil {
		return nil, nil, err
	}
	networks, err := c.List(ctx, intent.KindNetwork, client.ListOptions{})
	if err != nil {
		return nil, nil, err
	}
	ports, err := c.List(ctx, intent.KindPort, client.ListOptions{})
	if err != nil {
		return nil, nil, err
	}
	routers, err := c.List(ctx, intent.KindRouter, client.ListOptions{})
	if err != nil {
		return nil, nil, err
	}
	hosts, notes = s.hostsOf(networks, ports)
	for _, o := range routers {
		r := o.(*intent.Router)
		for i := range hosts {
			h := &hosts[i]
			if h.Tenant == r.Metadata.Tenant && slices.ContainsFunc(r.Spec.Networks, func(n intent.RouterNetwork) bool { return n.Network == h.Network }) {
				h.Router = r.Metadata.Name
			}
		}
	}
	return hosts, notes, nil
}

// hostsOf joins intent and lab.
func (s *State) hostsOf(networks, ports []intent.Object) (hosts []probe.Host, notes []string) {
	subnets := map[intent.Ref][]netip.Prefix{}
	for _, o := range networks {
		subnets[o.Ref()] = o.(*intent.Network).Spec.Subnets
	}
	used := map[string]bool{}
	unready := 0
	for _, o := range ports {
		p := o.(*intent.Port)
		at, edge, ok := s.place(p)
		if !ok {
			notes = append(notes, fmt.Sprintf("%s is bound to nothing of this lab, so it is not checked", p.Ref()))
			continue
		}
		if p.Status != nil && p.Status.Phase != intent.PhaseReady {
			unready++
		}
		h := probe.Host{
			Name: at.Node, Namespace: s.Namespace(at.Node), Interface: at.Interface, Tenant: p.Metadata.Tenant, Network: p.Spec.Network,
			Addresses: p.Spec.Addresses, Subnets: subnets[p.NetworkRef()], VTEP: edge.VTEP, Edge: edgeKind(edge),
		}
		if used[h.Name] {
			h.Name += ":" + at.Interface
		}
		used[at.Node] = true
		hosts = append(hosts, h)
	}
	if unready > 0 {
		notes = append(notes, fmt.Sprintf("%d ports are not Ready: \"weft get ports -A -o wide\" says why", unready))
	}
	for _, n := range s.Nodes {
		if n.Role != intent.RoleVM && n.Role != intent.RoleServer || used[n.Name] {
			continue
		}
		for _, l := range s.Links {
			for _, e := range []End{l.A, l.B} {
				if e.Node == n.Name && !used[n.Name] {
					used[n.Name] = true
					hosts = append(hosts, probe.Host{Name: n.Name, Namespace: s.Namespace(n.Name), Interface: e.Interface})
				}
			}
		}
	}
	if len(ports) == 0 {
		notes = append(notes, "the controller has no port, so nothing is expected between VMs: \"weft lab intent FILE\" writes what the file's labels ask for, \"weft apply\" takes it")
	}
	slices.SortFunc(hosts, func(a, b probe.Host) int { return cmp.Compare(a.Name, b.Name) })
	return hosts, notes
}

// edgeKind names the kind of an edge.
func edgeKind(n intent.NodeSpec) string {
	switch {
	case n.HardwareVTEP != nil:
		return probe.HardwareVTEP
	case n.EVPN != nil:
		return probe.EVPNLeaf
	}
	return probe.VSwitch
}

// place finds the host interface that a port is bound to, and the edge that it
// is plugged into. A port by iface-id that several edges have is where the
// devices say.
func (s *State) place(p *intent.Port) (host End, edge intent.NodeSpec, ok bool) {
	b, at := p.Spec.Binding, ""
	if p.Status != nil {
		at = p.Status.Node
	}
	for _, n := range s.Nodes {
		if b.Node != "" && b.Node != n.Name || b.IfaceID != "" && at != "" && at != n.Name {
			continue
		}
		ports := s.vmPorts(n.Name)
		i := slices.IndexFunc(ports, func(p vmPort) bool {
			return b.IfaceID != "" && p.ifaceID == b.IfaceID || b.Node != "" && p.iface == b.Interface
		})
		if i < 0 {
			continue
		}
		host, ok = s.neighbour(n.Name, ports[i].iface)
		for _, f := range s.FabricNodes {
			if f.Metadata.Name == n.Name {
				edge = f.Spec
			}
		}
		return host, edge, ok
	}
	return End{}, intent.NodeSpec{}, false
}

// Print writes the result as tables.
func (c *Checked) Print(w io.Writer) error {
	if len(c.Underlay) > 0 {
		fmt.Fprintln(w, "underlay, loopback to loopback; paths as in the graph, in the kernel, and seen to be used:")
		if err := printPaths(w, c.Underlay); err != nil {
			return err
		}
	}
	if c.Unicast != nil {
		fmt.Fprintf(w, "\noverlay, every ordered pair of %d hosts by IPv4 and IPv6:\n", c.Unicast.Hosts)
		if err := c.Unicast.Print(w); err != nil {
			return err
		}
	}
	if c.Broadcast != nil && len(c.Broadcast.Rows) > 0 {
		fmt.Fprintln(w, "\nbroadcast and multicast, copies counted at every host and on every hypervisor's uplink:")
		if err := c.Broadcast.Print(w); err != nil {
			return err
		}
	}
	for _, n := range c.Notes {
		fmt.Fprintln(w, "\nnote: "+n)
	}
	_, err := fmt.Fprintln(w, "\n"+c.Verdict())
	return err
}

// Verdict is the result in a line.
func (c *Checked) Verdict() string {
	wrong := 0
	for _, p := range c.Underlay {
		if !p.OK() {
			wrong++
		}
	}
	parts := []string{fmt.Sprintf("%d of %d pairs of leaves by all their paths", len(c.Underlay)-wrong, len(c.Underlay))}
	if c.Unicast != nil {
		seen, expected, leaked, doubled := 0, 0, c.Unicast.Flooded, 0
		for _, r := range c.Unicast.Rows {
			seen, expected, leaked, doubled = seen+r.Seen, expected+r.Expected, leaked+r.Leaked, doubled+r.Duplicated
		}
		parts = append(parts, fmt.Sprintf("%d of %d flows, %d leaked, %d doubled", seen, expected, leaked, doubled))
	}
	if c.Broadcast != nil {
		seen, expected, leaked, doubled, stray := 0, 0, 0, 0, 0
		for _, r := range c.Broadcast.Rows {
			seen, expected, leaked, doubled, stray = seen+r.Seen, expected+r.Expected, leaked+r.Leaked, doubled+r.Duplicated, stray+r.Stray
		}
		parts = append(parts, fmt.Sprintf("%d of %d copies of broadcasts, %d leaked, %d doubled, %d astray on uplinks", seen, expected, leaked, doubled, stray))
	}
	word := "PASS"
	if !c.OK() {
		word = "FAIL: not as expected"
	}
	return word + ": " + strings.Join(parts, "; ")
}

// listedPaths is the number of leaf pairs that are listed when all is well.
const listedPaths = 64

func printPaths(w io.Writer, paths []PathCheck) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "FROM\tTO\tSENT\tRECEIVED\tGRAPH\tKERNEL\tUSED\tBY UPLINK\t")
	left := 0
	for i, p := range paths {
		if i >= listedPaths && p.OK() {
			left++
			continue
		}
		var by []string
		for u, n := range p.Uplinks {
			by = append(by, fmt.Sprintf("%s:%d", u, n))
		}
		slices.Sort(by)
		note := ""
		if !p.OK() {
			note = " not as expected"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s%s\t\n", p.From, p.To, p.Sent, p.Received, p.Want, p.Have, len(p.Uplinks), strings.Join(by, " "), note)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if left > 0 {
		fmt.Fprintf(w, "and %d more pairs, all as expected\n", left)
	}
	return nil
}
