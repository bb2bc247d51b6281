package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/weft-sdn/weft/lab/netns"
)

// Status is what a lab is like now, by the kernel's and the daemons' word.
type Status struct {
	Name       string       `json:"name"`
	Phase      Phase        `json:"phase"`
	Source     string       `json:"source"`
	Created    time.Time    `json:"created"`
	Controller string       `json:"controller,omitempty"`
	Nodes      []NodeStatus `json:"nodes"`
	Widths     []Width      `json:"widths"`
}

// NodeStatus is what one node is like.
type NodeStatus struct {
	Name        string   `json:"name"`
	Role        string   `json:"role"`
	Mgmt        string   `json:"mgmt,omitempty"`
	Processes   int      `json:"processes"` // that should run
	Alive       int      `json:"alive"`
	Dead        []string `json:"dead,omitempty"`
	Managed     bool     `json:"managed,omitempty"`
	Sessions    int      `json:"sessions"` // BGP sessions expected
	Established int      `json:"established"`
	Adjacencies int      `json:"adjacencies,omitempty"` // of IS-IS, expected
	Up          int      `json:"up,omitempty"`          // of those
	Problem     string   `json:"problem,omitempty"`
}

// OK reports whether all is as it should be.
func (s *Status) OK() bool {
	if s.Phase != PhaseUp {
		return false
	}
	for _, n := range s.Nodes {
		if n.Problem != "" {
			return false
		}
	}
	return !slices.ContainsFunc(s.Widths, func(w Width) bool { return w.Have != w.Want })
}

// ReadStatus asks all nodes of a lab.
func ReadStatus(ctx context.Context, s *State) (*Status, error) {
	st := &Status{Name: s.Name, Phase: s.Phase, Source: s.Source, Created: s.Created, Controller: s.Controller, Widths: []Width{}}
	nodes := slices.Clone(s.Nodes)
	if s.Controller != "" {
		c, _ := s.Node(controllerNode)
		c.Mgmt = s.controllerMgmt()
		nodes = append([]Node{c}, nodes...)
	}
	st.Nodes = make([]NodeStatus, len(nodes))
	var mu sync.Mutex
	type item struct {
		at   int
		node Node
	}
	items := make([]item, len(nodes))
	for i, n := range nodes {
		items[i] = item{i, n}
	}
	err := parallel(ctx, items, width(), func(ctx context.Context, it item) error {
		st.Nodes[it.at] = s.nodeStatus(ctx, it.node)
		if it.node.Router == nil || !netns.Exists(s.Namespace(it.node.Name)) {
			return nil
		}
		ws, err := s.widthsOf(it.node.Name)
		mu.Lock()
		st.Widths = append(st.Widths, ws...)
		mu.Unlock()
		return err
	})
	slices.SortFunc(st.Widths, func(a, b Width) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return st, err
}

func (s *State) nodeStatus(ctx context.Context, n Node) NodeStatus {
	ns := NodeStatus{Name: n.Name, Role: string(n.Role)}
	if n.Mgmt.IsValid() {
		ns.Mgmt = n.Mgmt.Addr().String()
	}
	var problems []string
	if !netns.Exists(s.Namespace(n.Name)) {
		problems = append(problems, "its namespace is gone")
	}
	for _, p := range s.Processes {
		if p.Node != n.Name {
			continue
		}
		if ns.Processes++; p.Alive() {
			ns.Alive++
		} else {
			ns.Dead = append(ns.Dead, p.Name)
			problems = append(problems, p.Name+" does not run: \"weft lab logs "+n.Name+"\"")
		}
	}
	if n.Router != nil {
		ns.Managed, ns.Sessions = n.Router.Managed, n.Router.Sessions
		if slices.Contains(n.Router.Daemons, "bgpd") && !slices.Contains(ns.Dead, "bgpd") && ns.Processes > 0 {
			list, err := sessions(ctx, s.NodeDir(n.Name))
			if err != nil {
				problems = append(problems, err.Error())
			}
			ns.Established = established(list)
			if !ns.Managed {
				ns.Sessions = len(list)
			}
		}
		if ns.Adjacencies = n.Router.Adjacencies; ns.Adjacencies > 0 && !slices.Contains(ns.Dead, "isisd") && ns.Processes > 0 {
			up, err := adjacencies(ctx, s.NodeDir(n.Name))
			if err != nil {
				problems = append(problems, err.Error())
			}
			ns.Up = up
		}
		if ns.Up < ns.Adjacencies {
			problems = append(problems, fmt.Sprintf("%d of %d IS-IS adjacencies are up", ns.Up, ns.Adjacencies))
		}
		if ns.Established < ns.Sessions {
			problems = append(problems, fmt.Sprintf("%d of %d BGP sessions are established", ns.Established, ns.Sessions))
		}
	}
	ns.Problem = strings.Join(problems, "; ")
	return ns
}

// Print writes the status as tables.
func (s *Status) Print(w io.Writer) error {
	fmt.Fprintf(w, "lab %s is %s, from %s\n", s.Name, s.Phase, s.Source)
	if s.Controller != "" {
		fmt.Fprintf(w, "controller at %s\n", s.Controller)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	routing := "BGP"
	if slices.ContainsFunc(s.Nodes, func(n NodeStatus) bool { return n.Adjacencies > 0 }) {
		routing = "IS-IS"
	}
	fmt.Fprintln(t, "NODE\tROLE\tMGMT\tPROCESSES\t"+routing+"\tPROBLEM")
	for _, n := range s.Nodes {
		bgp := "-"
		switch {
		case n.Adjacencies > 0:
			bgp = fmt.Sprintf("%d/%d", n.Up, n.Adjacencies)
		case n.Sessions > 0:
			bgp = fmt.Sprintf("%d/%d", n.Established, n.Sessions)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d/%d\t%s\t%s\n", n.Name, cmp.Or(n.Role, "-"), cmp.Or(n.Mgmt, "-"), n.Alive, n.Processes, bgp, n.Problem)
	}
	if err := t.Flush(); err != nil || len(s.Widths) == 0 {
		return err
	}
	fmt.Fprintln(w, "\nequal-cost paths in the kernel, of those in the graph:")
	return printMatrix(w, s.Widths)
}

// printMatrix writes widths as a matrix, from down and to across; of a fabric
// too wide for that, only what differs.
func printMatrix(w io.Writer, ws []Width) error {
	var names []string
	cell := map[[2]string]string{}
	wrong := 0
	for _, x := range ws {
		names = append(names, x.From, x.To)
		// Of IPv4 and IPv6, the one that is not as it should be.
		if at := [2]string{x.From, x.To}; cell[at] == "" || x.Have != x.Want {
			cell[at] = fmt.Sprintf("%d/%d", x.Have, x.Want)
		}
		if x.Have != x.Want {
			wrong++
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(names) > 16 {
		fmt.Fprintf(t, "%d pairs of leaves, %d not as in the graph\n", len(ws), wrong)
		for _, x := range ws {
			if x.Have != x.Want {
				fmt.Fprintf(t, "%s\t%s\t%d/%d\n", x.From, x.To, x.Have, x.Want)
			}
		}
		return t.Flush()
	}
	fmt.Fprintln(t, "FROM \\ TO\t"+strings.Join(names, "\t"))
	for _, from := range names {
		row := []string{from}
		for _, to := range names {
			row = append(row, cmp.Or(cell[[2]string{from, to}], "-"))
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

// Inspect writes what Plan made of a file.
func Inspect(w io.Writer, s *State, notes []string) error {
	fmt.Fprintf(w, "lab %s, underlay %s, management network %s\n\n", s.Name, s.Underlay, s.Mgmt)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tKIND\tROLE\tDECIDED BY\tASN\tLOOPBACK\tVTEP\tMGMT")
	for _, n := range s.Nodes {
		asn, loopback, vtep, mgmt := "-", "-", "-", "-"
		for _, f := range s.FabricNodes {
			if f.Metadata.Name != n.Name {
				continue
			}
			if f.Spec.ASN != 0 {
				asn = fmt.Sprint(f.Spec.ASN)
			}
			if f.Spec.Loopback.IsValid() {
				loopback = f.Spec.Loopback.String()
			}
			if f.Spec.VTEP.IsValid() {
				vtep = f.Spec.VTEP.String()
			}
		}
		if n.Mgmt.IsValid() {
			mgmt = n.Mgmt.Addr().String()
		}
		fmt.Fprintln(t, strings.Join([]string{n.Name, n.Kind, string(n.Role), n.RoleRule, asn, loopback, vtep, mgmt}, "\t"))
	}
	fmt.Fprintln(t, "\nLINK\tMTU\tADDRESSES")
	for _, l := range s.Links {
		fmt.Fprintf(t, "%s:%s - %s:%s\t%d\t%s\n", l.A.Node, l.A.Interface, l.B.Node, l.B.Interface, l.MTU, s.addressesOf(l))
	}
	errs := []error{t.Flush()}
	for _, n := range notes {
		_, err := fmt.Fprintln(w, "\nnote: "+n)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// addressesOf are the planned addresses of a link's ends.
func (s *State) addressesOf(l Link) string {
	for _, f := range s.FabricLinks {
		for i, e := range f.Spec.Endpoints {
			if e.Node == l.A.Node && e.Interface == l.A.Interface && e.Address.IsValid() {
				return e.Address.String() + " - " + f.Spec.Endpoints[1-i].Address.String()
			}
		}
	}
	return "-"
}
