package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/southbound/frr"
)

// routes are a kernel's: the interfaces of each one's next hops, sorted.
type routes map[netip.Prefix][]string

// open opens the streams, finds an interval that this machine bears, and notes the
// routes that every kernel has.
func (t *trial) open(ctx context.Context, rep *FailureReport) error {
	places, pairs, err := t.places(ctx, rep)
	if err != nil {
		return err
	}
	if len(pairs) == 0 {
		return errors.New("no two hosts must reach each other: give servers or VMs ports in a network, or probe the underlay")
	}
	if t.streams, err = probe.OpenStreams(places, pairs); err != nil {
		return err
	}
	if least := time.Duration(len(pairs)) * time.Second / time.Duration(t.opts.Rate); t.opts.Interval < least {
		t.opts.Interval = least.Round(time.Millisecond)
		rep.Notes = append(rep.Notes, fmt.Sprintf("%d streams: one datagram each every %s, for at most %d a second in all", len(pairs), t.opts.Interval, t.opts.Rate))
	}
	if err := t.prepare(ctx, rep); err != nil {
		t.streams.Close()
		return err
	}
	return nil
}

// prepare waits until the lab is whole, spreads the streams, and tries them while
// nothing fails.
func (t *trial) prepare(ctx context.Context, rep *FailureReport) error {
	whole, cancel := context.WithTimeout(ctx, t.opts.Patience)
	defer cancel()
	if err := t.whole(whole, true); err != nil {
		return err
	}
	var err error
	if t.routes, err = t.read(); err != nil {
		return err
	}
	// The first datagrams may be lost while hosts find each other's MAC.
	for try := 1; ; try++ {
		if err = t.streams.Spread(ctx, t.crossings()); err == nil || try == 5 || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return err
	}
	for ; ; t.opts.Interval *= 2 {
		t.record = t.streams.Start(t.opts.Interval, t.opts.Patience)
		err := t.settle(ctx, 0, t.every(), 2*t.opts.Calm)
		t.record.Stop()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil || t.opts.Interval > 100*time.Millisecond:
			return fmt.Errorf("while nothing fails: %w", err)
		}
		rep.Notes = append(rep.Notes, fmt.Sprintf("with a datagram every %s packets are lost while nothing fails, so they are half as many", t.opts.Interval))
	}
}

// places are the hosts, and the leaves' loopbacks when they are asked for; pairs are
// those that must reach each other.
func (t *trial) places(ctx context.Context, rep *FailureReport) (places []probe.Place, pairs [][2]int, err error) {
	s := t.state
	var groups []string
	add := func(node, group string, p probe.Place) {
		for i, g := range groups {
			if g == group && t.nodes[i] != node {
				pairs = append(pairs, [2]int{i, len(places)}, [2]int{len(places), i})
			}
		}
		places, groups, t.nodes = append(places, p), append(groups, group), append(t.nodes, node)
	}
	if s.Controller != "" {
		hosts, _, err := s.hosts(ctx)
		if err != nil {
			return nil, nil, err
		}
		for _, h := range hosts {
			i := slices.IndexFunc(h.Addresses, netip.Addr.Is4)
			if h.Tenant == "" || i < 0 {
				continue
			}
			node, _, _ := strings.Cut(h.Name, ":")
			add(node, h.Tenant+"/"+h.Network, probe.Place{Name: h.Name, Namespace: h.Namespace, Interface: h.Interface, Address: h.Addresses[i]})
		}
	}
	if t.opts.Underlay || len(pairs) == 0 {
		if !t.opts.Underlay {
			rep.Notes = append(rep.Notes, "no two hosts must reach each other by the controller's intent, so the leaves' loopbacks are probed")
		}
		for _, n := range s.Nodes {
			if n.Router != nil && n.Router.Managed && (n.Role == intent.RoleLeaf || n.Role == intent.RoleBorder) {
				add(n.Name, "", probe.Place{Name: n.Name, Namespace: s.Namespace(n.Name), Address: n.Router.Loopback})
			}
		}
	}
	return places, pairs, nil
}

// crossings are the interfaces between switches.
func (t *trial) crossings() []probe.Crossing {
	var list []probe.Crossing
	for _, n := range t.switches() {
		for _, i := range t.state.fabricInterfaces(n.Name) {
			list = append(list, probe.Crossing{Node: n.Name, Namespace: t.state.Namespace(n.Name), Interface: i})
		}
	}
	return list
}

// switches are those that Weft configures.
func (t *trial) switches() []Node {
	return slices.DeleteFunc(slices.Clone(t.state.Nodes), func(n Node) bool { return n.Router == nil || !n.Router.Managed })
}

// every lists all streams.
func (t *trial) every() []int {
	list := make([]int, len(t.streams.Streams))
	for i := range list {
		list[i] = i
	}
	return list
}

// short is enough to see that nothing is lost once routes are known to be right.
func (t *trial) short() time.Duration { return t.opts.Calm / 2 }

// settle waits until, since tick began, none of the streams lost anything and no kernel
// changed a route for some time.
func (t *trial) settle(ctx context.Context, began int, streams []int, calm time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, t.opts.Patience)
	defer cancel()
	last, err := t.read()
	if err != nil {
		return err
	}
	changed := time.Now()
	window := int(calm / t.opts.Interval)
	late := int(lateness/t.opts.Interval) + 1
	var lost []int
	err = until(ctx, 50*time.Millisecond, nil, func() (bool, error) {
		now, err := t.read()
		if err != nil {
			return false, err
		}
		if !same(now, last) {
			last, changed = now, time.Now()
		}
		to := t.record.Tick() - late
		if to-window < began || time.Since(changed) < calm {
			return false, nil
		}
		lost = slices.DeleteFunc(slices.Clone(streams), func(i int) bool { return t.record.Loss(i, to-window, to).Lost == 0 })
		return len(lost) == 0, nil
	})
	if errors.Is(err, context.DeadlineExceeded) && len(lost) > 0 {
		st := t.streams.Streams[lost[0]]
		return fmt.Errorf("after %s, %d streams still lose packets, %s to %s first", t.opts.Patience, len(lost), t.streams.Places[st.From].Name, t.streams.Places[st.To].Name)
	}
	if err != nil {
		return fmt.Errorf("routes or streams are not steady: %w", err)
	}
	return nil
}

// lateness is how long a datagram may be on its way before it counts as lost.
const lateness = 60 * time.Millisecond

// heal waits until every kernel has the routes again that it had, and every switch its
// sessions.
func (t *trial) heal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.opts.Patience)
	defer cancel()
	var why string
	err := until(ctx, 50*time.Millisecond, nil, func() (bool, error) {
		now, err := t.read()
		if err != nil {
			return false, err
		}
		why = differs(t.routes, now)
		return why == "", nil
	})
	if err != nil {
		return fmt.Errorf("not healed: %w: %s", err, why)
	}
	return t.whole(ctx, false)
}

// whole waits until every switch has its sessions and its paths, and BFD on each
// session when that is asked for: it takes a second longer (RFC 5880 section 6.8.3).
func (t *trial) whole(ctx context.Context, detection bool) error {
	for _, n := range t.switches() {
		var why string
		err := until(ctx, 20*time.Millisecond, nil, func() (bool, error) {
			var err error
			if why, err = t.state.missing(ctx, n); err != nil {
				return false, err
			}
			if why == "" && detection {
				why = t.state.undetected(ctx, n)
			}
			return why == "", nil
		})
		if err != nil {
			return fmt.Errorf("%s is not whole: %w: %s", n.Name, err, why)
		}
	}
	return nil
}

// undetected says which of a switch's sessions BFD does not watch, if it has BFD.
func (s *State) undetected(ctx context.Context, n Node) string {
	if !strings.Contains(n.Router.Sections["bfdd"], "profile ") {
		return ""
	}
	b, err := vty(ctx, s.NodeDir(n.Name), "bfdd", "show bfd peers json")
	if err != nil {
		return err.Error()
	}
	peers, err := frr.ParseBFDPeers(b)
	if err != nil {
		return err.Error()
	}
	up := 0
	for _, p := range peers {
		if p.Up() {
			up++
		}
	}
	if want := max(n.Router.Sessions, n.Router.Adjacencies); up < want {
		return fmt.Sprintf("%d of %d BFD sessions are up", up, want)
	}
	return ""
}

// read reads the routes of all switches.
func (t *trial) read() (map[string]routes, error) {
	all := map[string]routes{}
	for _, n := range t.switches() {
		err := netns.Do(t.state.Namespace(n.Name), func() (err error) {
			all[n.Name], err = readRoutes()
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	return all, nil
}

func same(a, b map[string]routes) bool { return differs(a, b) == "" && differs(b, a) == "" }

// differs tells a route that is not as it was.
func differs(was, now map[string]routes) string {
	for _, node := range slices.Sorted(maps.Keys(was)) {
		for p, legs := range was[node] {
			if have := now[node][p]; !slices.Equal(have, legs) {
				return fmt.Sprintf("the kernel of %s has %v to %s, and had %v", node, have, p, legs)
			}
		}
	}
	return ""
}

// received is how many packets came in by an interface so far.
func (s *State) received(e End) (n uint64, err error) {
	err = netns.Do(s.Namespace(e.Node), func() error {
		l, err := netlink.LinkByName(e.Interface)
		if err == nil && l.Attrs().Statistics != nil {
			n = l.Attrs().Statistics.RxPackets
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read the counters of %s of %s: %w", e.Interface, e.Node, err)
	}
	return n, nil
}
