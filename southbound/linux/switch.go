package linux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// alias marks the interfaces that were made here.
const alias = "weft"

// Config says what a Switch works with.
type Config struct {
	// FRRDir is where FRR's daemons have their command sockets.
	FRRDir string
	// Keeper is the address of the route reflector beside bgpd with which it
	// peers instead of the controllers; none when not valid.
	Keeper netip.Addr
	// Tables follow the same kernel: while they hear of nothing the forwarding tables are
	// not read. They are read each time when it is nil.
	Tables *Tables
	Logger *slog.Logger
}

// Switch is the switch that the process runs on, in the network namespace of
// the thread that calls; all calls must come from that namespace.
type Switch struct {
	config Config
	log    *slog.Logger

	mu      sync.Mutex // one Apply at a time
	filters string     // as applied
	rules   uint32     // generation of the kernel's rules with them; 0: not known
	last    leafstate.State
	left    view // that Apply left of last; nil when not all was in place
	fdb     fdbState
	settle  time.Duration // fdbSettle, but for tests

	softwareMu           sync.Mutex
	software, softwareOf string // and of which run of bgpd
}

// New returns the switch.
func New(c Config) *Switch { return &Switch{config: c, log: c.Logger, settle: fdbSettle} }

func bridgeName(v intent.VNI) string { return fmt.Sprintf("br%d", v) }
func vxlanName(v intent.VNI) string  { return fmt.Sprintf("vx%d", v) }

// Apply makes the switch what the state says. It goes on after an error with
// what does not depend on it, and returns all errors, and what is in place. What
// is wrong with a router is told with it, and is no error: the segments are
// served without.
func (s *Switch) Apply(ctx context.Context, want leafstate.State) (leafstate.InPlace, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A port is filtered before it joins and until it has left.
	if err := s.setFilters(ctx, filterText(allPorts(s.last, want), want)); err != nil {
		return leafstate.InPlace{}, err
	}
	lacked, down := s.configure(ctx, evpnOf(want, s.config.Keeper))
	if down != nil {
		down = fmt.Errorf("configure bgpd: %w", down)
	}
	k, err := readKernel()
	if err != nil {
		return leafstate.InPlace{}, errors.Join(down, err)
	}
	found := viewOf(k, want)
	errs := []error{down}
	rs := &routers{want.Routers, map[intent.VNI]error{}, map[intent.VNI]error{}}
	var in leafstate.InPlace
	told := want
	if down == nil {
		rs.bringVRFs(k.links)
		told = s.heldBack(ctx, want, rs)
		s.configureVRFs(ctx, told, rs, k.links)
		// While it is down what is there stays, what left the segment goes. More
		// is of use for local ports only, and a VXLAN device that comes before
		// bgpd's part may crash it.
		for _, seg := range want.Segments {
			ports, err := bringSegment(k.links, k.flags, want, seg)
			errs = append(errs, err)
			in.Ports = append(in.Ports, ports...)
		}
		errs = append(errs, rs.bring(k, want))
		s.mendNextHops(ctx, rs)
		in.Routers = rs.reports()
	}
	if s.last.Revision == 0 || hasOutside(s.last) || hasOutside(want) {
		errs = append(errs, bringMain(want.Routers), releaseOutside(k, want.Routers))
	}
	errs = append(errs, s.forgetVRFs(ctx, told, func() error { return removeLinks(k.links, keptLinks(want), want) }))
	errs = append(errs, s.setFilters(ctx, filterText(portsOf(want), want)))
	err = errors.Join(errs...)
	var unread error
	in.Repaired, unread = s.leave(want, found, lacked, err == nil)
	if down == nil {
		var entries []string
		entries, in.Again = s.mendFDB(ctx, want)
		in.Repaired = append(in.Repaired, entries...)
	}
	s.last = want
	return in, errors.Join(err, unread)
}

// leave notes what Apply leaves of a state, whole when all of it is in place. It
// returns what others had changed since the same state was left before: interfaces,
// by what was found, and commands that bgpd lacked.
func (s *Switch) leave(want leafstate.State, found view, lacked []string, whole bool) (repaired []string, err error) {
	same := s.left != nil && s.last.Revision == want.Revision
	if !whole {
		s.left = nil
		return nil, nil
	}
	if same && len(lacked) > 0 {
		repaired = []string{"bgpd: configured again: " + strings.Join(lacked, " / ")}
	}
	if same && s.left.equal(found) {
		return repaired, nil
	}
	k, err := readKernel()
	if err != nil {
		s.left = nil
		return repaired, err
	}
	now := viewOf(k, want)
	if same {
		repaired = append(repaired, repairs(s.left, found, now)...)
	}
	s.left = now
	return repaired, nil
}

// hasOutside reports whether a state has external networks.
func hasOutside(s leafstate.State) bool {
	return slices.ContainsFunc(s.Routers, func(r leafstate.Router) bool { return r.Outside != nil })
}

// keptLinks names the interfaces that a state asks for.
func keptLinks(want leafstate.State) map[string]bool {
	keep := map[string]bool{}
	for _, seg := range want.Segments {
		keep[bridgeName(seg.VNI)], keep[vxlanName(seg.VNI)] = true, true
	}
	for _, r := range want.Routers {
		keep[bridgeName(r.VNI)], keep[vxlanName(r.VNI)], keep[vrfName(r.VNI)] = true, true, !inDefault(r)
	}
	return keep
}

// kernel is what was read of the switch's kernel.
type kernel struct {
	links     *links
	flags     map[int]portFlags
	addresses map[int][]netip.Prefix
}

func readKernel() (k kernel, err error) {
	if k.links, err = readLinks(); err != nil {
		return k, err
	}
	if k.flags, err = readFlags(); err != nil {
		return k, err
	}
	k.addresses, err = readAddresses()
	return k, err
}

// links are the interfaces of the switch.
type links struct {
	byName  map[string]netlink.Link
	byIndex map[int]netlink.Link
}

func readLinks() (*links, error) {
	list, err := allLinks()
	if err != nil {
		return nil, fmt.Errorf("read interfaces: %w", err)
	}
	ls := &links{map[string]netlink.Link{}, map[int]netlink.Link{}}
	for _, l := range list {
		ls.add(l)
	}
	return ls, nil
}

func (ls *links) add(l netlink.Link) {
	ls.byName[l.Attrs().Name], ls.byIndex[l.Attrs().Index] = l, l
}

// ours reports whether an interface was made here.
func ours(l netlink.Link) bool { return l.Attrs().Alias == alias }

// master is the name of the bridge that an interface is a port of.
func (ls *links) master(l netlink.Link) string {
	if m := ls.byIndex[l.Attrs().MasterIndex]; m != nil {
		return m.Attrs().Name
	}
	return ""
}

// removeLinks releases interfaces from bridges and VRFs of ours that they don't belong to, be
// it that their new one could not be made, and removes interfaces of ours that
// are not wanted any more.
func removeLinks(have *links, keep map[string]bool, want leafstate.State) error {
	wanted := map[string]string{} // interface to bridge or VRF
	for _, seg := range want.Segments {
		for _, p := range seg.Ports {
			wanted[p.Interface] = bridgeName(seg.VNI)
		}
	}
	for _, r := range want.Routers {
		if r.Outside != nil && !r.Outside.Default {
			for name := range outsideAddresses(r) {
				wanted[name] = vrfName(r.VNI)
			}
		}
	}
	var errs []error
	for name, l := range have.byName {
		m := have.byIndex[l.Attrs().MasterIndex]
		if !ours(l) && m != nil && ours(m) && wanted[name] != m.Attrs().Name {
			if err := netlink.LinkSetNoMaster(l); err != nil {
				errs = append(errs, fmt.Errorf("release %s from %s: %w", name, m.Attrs().Name, err))
			}
		}
	}
	for _, kind := range []string{"vxlan", "bridge", "vrf"} {
		for name, l := range have.byName {
			if ours(l) && !keep[name] && l.Type() == kind {
				errs = append(errs, removeLink(l))
			}
		}
	}
	if !slices.ContainsFunc(want.Routers, func(r leafstate.Router) bool { return !inDefault(r) }) {
		errs = append(errs, bringRules(false))
	}
	return errors.Join(errs...)
}

func removeLink(l netlink.Link) error {
	if err := netlink.LinkDel(l); err != nil {
		return fmt.Errorf("remove %s: %w", l.Attrs().Name, err)
	}
	return nil
}

// Interfaces lists what could carry a port: Ethernet interfaces that were not
// made here and have no address of their own.
func (s *Switch) Interfaces() ([]leafstate.Interface, error) {
	have, err := readLinks()
	if err != nil {
		return nil, err
	}
	var out []leafstate.Interface
	for name, l := range have.byName {
		if ours(l) || l.Attrs().EncapType != "ether" || l.Type() == "bridge" || l.Type() == "vrf" || name == "lo" {
			continue
		}
		i := leafstate.Interface{Name: name, Up: l.Attrs().OperState == netlink.OperUp}
		if m := have.master(l); m != "" && !ours(have.byName[m]) {
			i.Error = "it is a port of bridge " + m + ", which is not Weft's"
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b leafstate.Interface) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
