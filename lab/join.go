package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
)

// JoinPort is the interface of a border leaf, and of a controller, that leads to
// the other lab.
const JoinPort = "dci"

// The addresses between two joined labs: of the first link between border leaves,
// which others follow, and of the link between the controllers.
var (
	joinBorders     = netip.MustParsePrefix("192.0.2.0/31")
	joinControllers = netip.MustParsePrefix("198.51.100.0/31")
)

// joinsMost is how many links may join two labs.
const joinsMost = 64

// Joined tells how two labs were joined.
type Joined struct {
	Controllers [2]netip.Addr // where each one's controller is reached by the other's
	ASNs        [2]uint32     // of the controllers
	// What JoinLines leaves to an Interconnect on each one's controller.
	Lines    [2][]intent.Line
	Prefixes [2][]netip.Prefix
}

// Join joins the underlays of two running labs of different sites by links, each
// between a leaf of both: eBGP on it tells both where the other's VTEPs are, and
// nothing else. One more link joins the controllers. What tenants have crosses
// only by an Interconnect.
func Join(ctx context.Context, labs [2]*State, leaves ...[2]string) (*Joined, error) {
	j, err := join(labs, leaves)
	if err != nil {
		return nil, err
	}
	for _, s := range labs {
		if err := s.letIn(ctx); err != nil {
			return nil, err
		}
	}
	between := joinBorders
	for _, ends := range leaves {
		if err := joinLeaves(ctx, labs, ends, between); err != nil {
			return nil, err
		}
		between = next(between)
	}
	return j, nil
}

// join checks what is to be joined and joins the controllers.
func join(labs [2]*State, leaves [][2]string) (*Joined, error) {
	if len(leaves) == 0 || len(leaves) > joinsMost {
		return nil, fmt.Errorf("labs %s and %s can be joined by 1 to %d links, not %d", labs[0].Name, labs[1].Name, joinsMost, len(leaves))
	}
	for _, s := range labs {
		if s.Site == 0 {
			return nil, fmt.Errorf("lab %s has no site, so its addresses may be those of another lab: bring it up with --site 1 to %d", s.Name, Sites)
		}
	}
	if labs[0].Site == labs[1].Site {
		return nil, fmt.Errorf("labs %s and %s are both of site %d, so their addresses are the same: give one of them another with --site", labs[0].Name, labs[1].Name, labs[0].Site)
	}
	for _, ends := range leaves {
		for i, s := range labs {
			n, err := s.Node(ends[i])
			if err != nil {
				return nil, err
			}
			if n.Router == nil || !n.Router.Managed {
				return nil, fmt.Errorf("%s of lab %s is no switch that Weft configures", n.Name, s.Name)
			}
		}
	}
	if err := joinLink(labs, [2]End{{Node: controllerNode, Interface: JoinPort}, {Node: controllerNode, Interface: JoinPort}}, 1500); err != nil {
		return nil, err
	}
	j := &Joined{Controllers: pair(joinControllers)}
	for i, s := range labs {
		j.ASNs[i] = s.controllerASN()
		if err := s.address(controllerNode, JoinPort, netip.PrefixFrom(pair(joinControllers)[i], joinControllers.Bits())); err != nil {
			return nil, err
		}
	}
	return j, nil
}

// next is the prefix after one.
func next(p netip.Prefix) netip.Prefix { return netip.PrefixFrom(pair(p)[1].Next(), p.Bits()) }

// joinLeaves joins two leaves by a link with addresses of a prefix, and eBGP.
func joinLeaves(ctx context.Context, labs [2]*State, leaves [2]string, between netip.Prefix) error {
	if err := joinLink(labs, [2]End{{Node: leaves[0], Interface: JoinPort}, {Node: leaves[1], Interface: JoinPort}}, labs[0].mtuOf(leaves[0])); err != nil {
		return err
	}
	for i, s := range labs {
		if err := s.address(leaves[i], JoinPort, netip.PrefixFrom(pair(between)[i], between.Bits())); err != nil {
			return err
		}
		err := s.vtysh(ctx, leaves[i], borderConfig(s, leaves[i], labs[1-i], leaves[1-i], pair(between)[1-i])...)
		if err != nil {
			return err
		}
	}
	return nil
}

func pair(p netip.Prefix) [2]netip.Addr { return [2]netip.Addr{p.Addr(), p.Addr().Next()} }

// joinLink makes a link between nodes of two labs.
func joinLink(labs [2]*State, ends [2]End, mtu int) error {
	fail := func(err error) error {
		return fmt.Errorf("join %s of lab %s with %s of lab %s: %w", ends[0].Node, labs[0].Name, ends[1].Node, labs[1].Name, err)
	}
	other, err := os.Open(netns.Path(labs[1].Namespace(ends[1].Node)))
	if err != nil {
		return fail(err)
	}
	defer other.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = ends[0].Interface, mtu
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: ends[1].Interface, PeerMTU: uint32(mtu), PeerNamespace: netlink.NsFd(other.Fd())}
	if err := netns.Do(labs[0].Namespace(ends[0].Node), func() error { return netlink.LinkAdd(veth) }); err != nil {
		return fail(err)
	}
	for i, e := range ends {
		if err := netns.Do(labs[i].Namespace(e.Node), func() error { return setUp(e.Interface) }); err != nil {
			return fail(err)
		}
	}
	return nil
}

// address gives an interface of a node an address.
func (s *State) address(node, iface string, p netip.Prefix) error {
	if err := netns.Do(s.Namespace(node), func() error { return addAddress(Address{iface, p}) }); err != nil {
		return fmt.Errorf("address of %s:%s: %w", node, iface, err)
	}
	return nil
}

// mtuOf is the largest MTU of a node's links.
func (s *State) mtuOf(node string) (mtu int) {
	for _, l := range s.Links {
		if l.A.Node == node || l.B.Node == node {
			mtu = max(mtu, l.MTU)
		}
	}
	return mtu
}

// letIn has all switches of a lab take the VTEP prefixes of other sites.
func (s *State) letIn(ctx context.Context) error {
	if s.Controller != "" && s.Fabric != nil {
		return s.accept(ctx)
	}
	for _, n := range s.Nodes {
		if n.Router == nil || !n.Router.Managed {
			continue
		}
		err := s.vtysh(ctx, n.Name, "ip prefix-list underlay seq 1001 permit 10.64.0.0/10 ge 24 le 24", "ip prefix-list underlay seq 1002 permit 10.254.0.0/16 ge 32")
		if err != nil {
			return err
		}
	}
	return nil
}

// accept has the controller let them in, on all switches.
func (s *State) accept(ctx context.Context) error {
	c, err := client.New(s.Controller)
	if err != nil {
		return err
	}
	o, err := c.Get(ctx, s.Fabric.Ref())
	if err != nil {
		return fmt.Errorf("lab %s: %w", s.Name, err)
	}
	f, ok := o.(*intent.Fabric)
	if !ok {
		return fmt.Errorf("lab %s: the controller has no fabric", s.Name)
	}
	f.Spec.Accept = []intent.FabricPrefix{
		{Prefix: netip.MustParsePrefix("10.64.0.0/10"), MinLength: 24}, {Prefix: netip.MustParsePrefix("10.254.0.0/16"), MinLength: 32},
	}
	if _, err := c.Put(ctx, f, client.PutOptions{Wait: true}); err != nil {
		return fmt.Errorf("lab %s: let in the other lab's prefixes: %w", s.Name, err)
	}
	return nil
}

// borderConfig is what a border leaf is told of the other lab's.
func borderConfig(s *State, leaf string, other *State, otherLeaf string, at netip.Addr) []string {
	n := "neighbor " + at.String()
	return []string{
		"ip prefix-list dci seq 5 permit 10.64.0.0/10 ge 24 le 24", "ip prefix-list dci seq 10 permit 10.254.0.0/16 ge 32",
		fmt.Sprintf("router bgp %d", s.specOf(leaf).ASN),
		fmt.Sprintf("%s remote-as %d", n, other.specOf(otherLeaf).ASN), fmt.Sprintf("%s description %s of %s", n, otherLeaf, other.Name),
		n + " timers 1 3", n + " timers connect 1", n + " advertisement-interval 0",
		"address-family ipv4 unicast", n + " activate", n + " prefix-list dci in", n + " prefix-list dci out", "exit-address-family",
	}
}

// vtysh configures a switch of the lab.
func (s *State) vtysh(ctx context.Context, node string, lines ...string) error {
	args := []string{"--vty_socket", s.NodeDir(node), "-c", "configure terminal"}
	for _, l := range lines {
		args = append(args, "-c", l)
	}
	out, err := exec.CommandContext(ctx, "vtysh", args...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "%") {
		return fmt.Errorf("configure %s: %w: %s", node, orRefused(err), strings.TrimSpace(string(out)))
	}
	return nil
}

func orRefused(err error) error {
	if err == nil {
		return fmt.Errorf("FRR refused it")
	}
	return err
}
