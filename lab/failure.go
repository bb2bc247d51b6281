package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/topology"
)

// Failure is something that may break in a running lab.
type Failure struct {
	Kind FailureKind
	What string // "leaf1:eth1 - spine1:eth1", "bgpd of spine1"
	Node string // of which the processes or all links fail; empty for a link
	// What of the graph can't be used meanwhile. Links are those that fail besides
	// those of the nodes.
	Links []topology.Link
	Nodes []string

	into []End // the interfaces by which comes in what fails
	fail func(context.Context) error
	mend func(context.Context) error
	// during looks at the network when it has settled without what failed; nil when
	// there is nothing to see but the streams.
	during func(context.Context) error
}

// FailureKind is a way in which things fail.
type FailureKind string

// The kinds of failures.
const (
	// LinkDown sets an interface at one end down; the other loses its carrier.
	LinkDown FailureKind = "link down"
	// OneWayLoss drops all that comes in at one end of a link; both keep their
	// carrier.
	OneWayLoss FailureKind = "one-way loss"
	// NodeCut takes all links of a node down; its processes go on.
	NodeCut FailureKind = "node cut"
	// NodeCrash takes a switch's links down and kills all its processes.
	NodeCrash FailureKind = "node crash"
	// DaemonCrash kills one of a switch's daemons. It is started again when the
	// network has settled without it.
	DaemonCrash FailureKind = "daemon crash"
)

// FailureKinds are all kinds, in the order in which they are tried.
func FailureKinds() []FailureKind {
	return []FailureKind{LinkDown, OneWayLoss, NodeCut, NodeCrash, DaemonCrash}
}

// Failures lists what of some kinds may fail in the lab: every link, every node, every
// daemon of FRR's. Hosts have no other crash than that of their links.
func (s *State) Failures(weft string, kinds ...FailureKind) []Failure {
	var list []Failure
	nodes := slices.Clone(s.Nodes)
	slices.SortStableFunc(nodes, func(a, b Node) int { return fabric.Natural(a.Name, b.Name) })
	for _, k := range FailureKinds() {
		if !slices.Contains(kinds, k) {
			continue
		}
		switch k {
		case LinkDown:
			for _, l := range s.Links {
				list = append(list, s.linkDown(l, l.B))
			}
		case OneWayLoss:
			for _, l := range s.Links {
				list = append(list, s.oneWayLoss(l, l.A), s.oneWayLoss(l, l.B))
			}
		case NodeCut:
			for _, n := range nodes {
				list = append(list, s.nodeCut(n))
			}
		case NodeCrash:
			for _, n := range nodes {
				if n.Router != nil {
					list = append(list, s.nodeCrash(n, weft))
				}
			}
		case DaemonCrash:
			for _, n := range nodes {
				if n.Router != nil {
					for _, d := range n.Router.Daemons {
						list = append(list, s.daemonCrash(n, d))
					}
				}
			}
		}
	}
	return list
}

func (l Link) topology() topology.Link {
	end := func(e End) topology.End { return topology.End{Node: e.Node, Interface: e.Interface} }
	return topology.Link{A: end(l.A), B: end(l.B), MTU: l.MTU}
}

// linkDown takes a link down at one of its ends.
func (s *State) linkDown(l Link, at End) Failure {
	return Failure{
		Kind: LinkDown, What: fmt.Sprintf("%s, at %s", l.topology(), at.Node), Links: []topology.Link{l.topology()}, into: []End{l.A, l.B},
		fail: func(context.Context) error { return s.setLink(at, false) },
		mend: func(context.Context) error { return s.setLink(at, true) },
	}
}

// setLink sets an interface of a node up or down.
func (s *State) setLink(at End, up bool) error {
	err := netns.Do(s.Namespace(at.Node), func() error {
		if up {
			return setUp(at.Interface)
		}
		link, err := netlink.LinkByName(at.Interface)
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(link)
	})
	if err != nil {
		return fmt.Errorf("set %s of %s up or down: %w", at.Interface, at.Node, err)
	}
	return nil
}

// lossTable is the nftables table that drops packets, in the family netdev.
const lossTable = "weft-failure"

// linksDown takes several links down at once, each at its first end.
func (s *State) linksDown(what string, links ...Link) Failure {
	f := Failure{Kind: LinkDown, What: what}
	for _, l := range links {
		f.Links, f.into = append(f.Links, l.topology()), append(f.into, l.A, l.B)
	}
	set := func(up bool) (err error) {
		for _, l := range links {
			err = errors.Join(err, s.setLink(l.A, up))
		}
		return err
	}
	f.fail = func(context.Context) error { return set(false) }
	f.mend = func(context.Context) error { return set(true) }
	return f
}

// oneWayLoss drops all packets that come in at one end of a link, ARP and IPv6
// neighbour discovery among them.
func (s *State) oneWayLoss(l Link, at End) Failure {
	nft := func(ctx context.Context, text string) error {
		cmd := exec.CommandContext(ctx, "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(text)
		var out []byte
		err := netns.Do(s.Namespace(at.Node), func() (err error) {
			out, err = cmd.CombinedOutput()
			return err
		})
		if err != nil {
			return fmt.Errorf("drop what comes in on %s of %s: %w: %s", at.Interface, at.Node, err, strings.TrimSpace(string(out)))
		}
		return nil
	}
	from := l.A
	if at == l.A {
		from = l.B
	}
	return Failure{
		Kind: OneWayLoss, What: fmt.Sprintf("%s:%s to %s:%s", from.Node, from.Interface, at.Node, at.Interface), Links: []topology.Link{l.topology()}, into: []End{at},
		fail: func(ctx context.Context) error {
			return nft(ctx, fmt.Sprintf("table netdev %s {\n chain lost { type filter hook ingress device \"%s\" priority -500; policy drop; }\n}\n", lossTable, at.Interface))
		},
		mend: func(ctx context.Context) error { return nft(ctx, "delete table netdev "+lossTable+"\n") },
	}
}

// endsOf are a node's own ends of its links.
func (s *State) endsOf(node string) (ends []End) {
	for _, l := range s.Links {
		for _, e := range []End{l.A, l.B} {
			if e.Node == node {
				ends = append(ends, e)
			}
		}
	}
	return ends
}

// setLinks sets all of a node's links up or down, at the node's ends. They go down by
// one message, as they do when the power fails.
func (s *State) setLinks(node string, up bool) error {
	var errs []error
	if up {
		for _, e := range s.endsOf(node) {
			errs = append(errs, s.setLink(e, true))
		}
		return errors.Join(errs...)
	}
	err := netns.Do(s.Namespace(node), func() error {
		group := func(n int) {
			for _, e := range s.endsOf(node) {
				link, err := netlink.LinkByName(e.Interface)
				if err == nil {
					err = netlink.LinkSetGroup(link, n)
				}
				errs = append(errs, err)
			}
		}
		group(cutGroup)
		errs = append(errs, groupDown(cutGroup))
		group(0)
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("set all links of %s down: %w", node, err)
	}
	return nil
}

// cutGroup is the group of links that go down together.
const cutGroup = 7633

// groupDown sets all links of a group down, in the namespace of the thread.
func groupDown(group uint32) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Change = unix.IFF_UP
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func (s *State) nodeCut(n Node) Failure {
	return Failure{
		Kind: NodeCut, What: n.Name, Node: n.Name, Nodes: []string{n.Name}, into: s.endsOf(n.Name),
		fail: func(context.Context) error { return s.setLinks(n.Name, false) },
		mend: func(context.Context) error { return s.setLinks(n.Name, true) },
	}
}

// nodeCrash takes a switch's links down and kills its processes, whose last words reach
// nobody, as when the power fails; mended, it starts as it did when the lab came up.
func (s *State) nodeCrash(n Node, weft string) Failure {
	return Failure{
		Kind: NodeCrash, What: n.Name, Node: n.Name, Nodes: []string{n.Name}, into: s.endsOf(n.Name),
		fail: func(context.Context) error { return errors.Join(s.setLinks(n.Name, false), Kill(s, n.Name, true)) },
		mend: func(ctx context.Context) error {
			if err := s.setLinks(n.Name, true); err != nil {
				return err
			}
			// Left by the zebra that was killed: those after it would not wait.
			_ = os.Remove(filepath.Join(s.NodeDir(n.Name), "zserv.api"))
			r := &run{state: s, opts: Options{Weft: weft}, progress: silent{}}
			if err := r.startRouter(ctx, n); err != nil {
				return err
			}
			return r.startAgent(ctx, n)
		},
	}
}

// daemonCrash kills a daemon, and starts it again as watchfrr does: with zebra all of
// them, for bgpd tells a new zebra nothing of the routes that it has (FRR 8.4).
func (s *State) daemonCrash(n Node, daemon string) Failure {
	f := Failure{Kind: DaemonCrash, What: daemon + " of " + n.Name, Node: n.Name, into: s.endsOf(n.Name)}
	if daemon == "bgpd" && n.Router.Sessions > 0 || daemon == "isisd" {
		f.Nodes = []string{n.Name} // nobody routes over it
	}
	f.fail = func(context.Context) error {
		p, err := s.processOf(n.Name, daemon)
		if err != nil {
			return err
		}
		return stop([]Process{p}, 0)
	}
	f.mend = func(ctx context.Context) error {
		r := &run{state: s, progress: silent{}}
		if daemon == "zebra" {
			if err := stop(s.daemonsOf(n), 0); err != nil {
				return err
			}
			_ = os.Remove(filepath.Join(s.NodeDir(n.Name), "zserv.api"))
			return r.startRouter(ctx, n)
		}
		if err := r.startFRR(ctx, n, daemon); err != nil {
			return err
		}
		if n.Router.Managed && daemon != lateDaemon || r.byAgent(n) {
			return nil // it read its own file, or its agent configures it
		}
		return r.configure(ctx, n)
	}
	return f
}

// daemonsOf are the running daemons of a switch's FRR.
func (s *State) daemonsOf(n Node) (ps []Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.Processes {
		if p.Node == n.Name && slices.Contains(n.Router.Daemons, p.Name) {
			ps = append(ps, p)
		}
	}
	return ps
}

// processOf is a running process of a node.
func (s *State) processOf(node, name string) (Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.Processes {
		if p.Node == node && p.Name == name {
			return p, nil
		}
	}
	return Process{}, fmt.Errorf("%s runs no %s", node, name)
}

// graph is the lab's graph, as it is in its state.
func (s *State) graph() *topology.Graph {
	g := &topology.Graph{Name: s.Name}
	for _, n := range s.Nodes {
		g.Nodes = append(g.Nodes, topology.Node{Name: n.Name, Kind: n.Kind, Role: n.Role})
	}
	slices.SortFunc(g.Nodes, func(a, b topology.Node) int { return strings.Compare(a.Name, b.Name) })
	for _, l := range s.Links {
		g.Links = append(g.Links, l.topology())
	}
	return g
}
