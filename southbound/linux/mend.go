package linux

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/southbound/frr"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// What FRR says is not always what the kernel does, and nobody tells FRR. Two such
// faults were measured: after a flap of a link an ECMP group of kernel nexthop objects
// keeps a single leg while bgpd and zebra show all, and a VXLAN device with tos 0
// sends all flows to a VTEP over one of several legs. Both, and what a person does to a
// route of FRR's, are found here by comparing, and mended.
//
// A route is mended by writing it into the kernel as zebra does: of the same protocol,
// metric and source, with its next hops in the message itself. zebra takes no note of
// a route of its own protocols that someone writes (it can't tell it from its own), so
// it neither flaps nor announces anything, and its next change of the route replaces
// what was written here: the kernel knows a route by prefix, metric and TOS.

// doubtTime is how long the kernel must differ from zebra until it is mended: zebra
// says that a route is installed a little before or after the kernel has it.
const doubtTime = 500 * time.Millisecond

// zebraMetric is that of zebra's routes in the kernel.
const zebraMetric = 20

// doubt is a route that the kernel has otherwise than zebra.
type doubt struct {
	about string    // what differs
	due   time.Time // to be mended
	tries int
}

// thin is a route to be written anew.
type thin struct {
	want    frr.Route
	have    fibRoute
	missing []string // interfaces
	extra   []string
}

func (t thin) about() string {
	return t.want.Protocol + " -" + strings.Join(t.missing, ",") + " +" + strings.Join(t.extra, ",")
}

// differences are the routes of routing protocols that zebra believes to be in the
// kernel, and that the kernel has with other next hops. A route of someone else's that
// is preferred is none: that is theirs to take away.
func differences(rib []frr.Route, k kernelRouting) []thin {
	var out []thin
	for _, r := range rib {
		if !isProtocol(r.Protocol) || !r.Selected || !r.Installed || len(r.NextHops) == 0 {
			continue
		}
		if slices.ContainsFunc(r.NextHops, func(h frr.NextHop) bool { return !k.up[h.Interface] }) {
			continue // a tunnel, or zebra is about to notice
		}
		have, ok := k.fib[r.Prefix]
		if ok && !isRouting(have.protocol) {
			continue
		}
		if !ok { // from zebra's route map, which is the same for all of a protocol
			have.src = sourceOf(k.fib, r)
		}
		t := thin{want: r, have: have}
		for _, h := range r.NextHops {
			if !slices.ContainsFunc(have.legs, func(l fibLeg) bool { return l.is(h) }) {
				t.missing = append(t.missing, h.Interface)
			}
		}
		for _, l := range have.legs {
			if !slices.ContainsFunc(r.NextHops, l.is) {
				t.extra = append(t.extra, l.name)
			}
		}
		if len(t.missing)+len(t.extra) > 0 {
			slices.Sort(t.missing)
			slices.Sort(t.extra)
			out = append(out, t)
		}
	}
	return out
}

// sourceOf is the source address that zebra gives to routes like this one.
func sourceOf(fib map[netip.Prefix]fibRoute, like frr.Route) netip.Addr {
	for p, r := range fib {
		if isRouting(r.protocol) && p.Addr().Is4() == like.Prefix.Addr().Is4() && protocolName(r.protocol) == like.Protocol {
			return r.src
		}
	}
	return netip.Addr{}
}

// is reports whether a leg is what zebra makes of a next hop.
func (l fibLeg) is(h frr.NextHop) bool {
	return l.name == h.Interface && l.via == viaIn(l.via.Is4(), h.Via)
}

// mapped stands in IPv4 routes for a neighbour that is known by its IPv6 link-local
// address; FRR writes its MAC into the neighbour table.
var mapped = netip.AddrFrom4([4]byte{169, 254, 0, 1})

// viaIn is how zebra writes a next hop into a route.
func viaIn(ipv4 bool, via netip.Addr) netip.Addr {
	if ipv4 && via.Is6() {
		return mapped
	}
	return via
}

// mend writes what is doubtful for long enough, and reports whether anything was
// written, and whether something is still doubtful.
func (u *Routing) mend(k kernelRouting, rib []frr.Route, now time.Time) (mended, doubtful bool, err error) {
	var errs []error
	was := u.doubts
	u.doubts = map[netip.Prefix]doubt{}
	done := map[string][]thin{}
	for _, t := range differences(rib, k) {
		d, known := was[t.want.Prefix]
		if !known || d.about != t.about() {
			d = doubt{about: t.about(), due: now.Add(doubtTime)}
		}
		if !now.Before(d.due) {
			d.tries++
			d.due = now.Add(doubtTime << min(d.tries, 6))
			if err := t.write(); err != nil {
				errs = append(errs, err)
			} else {
				done[t.about()] = append(done[t.about()], t)
			}
		}
		u.doubts[t.want.Prefix] = d
		doubtful = true
	}
	for _, list := range done {
		u.noteRoutes(list, now)
	}
	devices, err := u.mendDevices(k, now)
	errs = append(errs, err)
	spread, err := u.mendSpreading(now)
	errs = append(errs, err)
	return len(done) > 0 || devices || spread, doubtful, errors.Join(errs...)
}

// write replaces a route in the kernel.
func (t thin) write() error {
	ipv4 := t.want.Prefix.Addr().Is4()
	r := &netlink.Route{Dst: &net.IPNet{IP: t.want.Prefix.Addr().AsSlice(), Mask: net.CIDRMask(t.want.Prefix.Bits(), t.want.Prefix.Addr().BitLen())},
		Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, Protocol: unix.RTPROT_BGP, Priority: zebraMetric}
	if t.want.Protocol == "isis" {
		r.Protocol = unix.RTPROT_ISIS
	}
	if len(t.have.legs) > 0 {
		r.Protocol, r.Priority = netlink.RouteProtocol(t.have.protocol), t.have.metric
	}
	if t.have.src.IsValid() {
		r.Src = t.have.src.AsSlice()
	}
	for _, h := range t.want.NextHops {
		via := viaIn(ipv4, h.Via)
		hop := &netlink.NexthopInfo{LinkIndex: h.Index, Hops: h.Weight - 1, Gw: via.AsSlice()}
		if h.Onlink || via == mapped {
			hop.Flags = unix.RTNH_F_ONLINK
		}
		r.MultiPath = append(r.MultiPath, hop)
	}
	if len(r.MultiPath) == 1 {
		hop := r.MultiPath[0]
		r.LinkIndex, r.Gw, r.Flags, r.MultiPath = hop.LinkIndex, hop.Gw, hop.Flags, nil
	}
	if err := netlink.RouteReplace(r); err != nil {
		return fmt.Errorf("write the route %s as zebra has it: %w", t.want.Prefix, err)
	}
	return nil
}

// noteRoutes tells of routes that had the same fault.
func (u *Routing) noteRoutes(list []thin, now time.Time) {
	t := list[0]
	var what []string
	if len(t.missing) > 0 {
		what = append(what, "without the next hop by "+strings.Join(t.missing, " and ")+", which zebra has")
	}
	if len(t.extra) > 0 {
		what = append(what, "with a next hop by "+strings.Join(t.extra, " and ")+", which zebra has not")
	}
	routes := "the route to " + t.want.Prefix.String() + " (" + t.want.Protocol + ")"
	if len(list) > 1 {
		routes = fmt.Sprintf("%d routes, to %s and others (%s),", len(list), t.want.Prefix, t.want.Protocol)
	}
	u.note(switchstate.Mend{At: now, Object: cmp.Or(strings.Join(append(t.missing, t.extra...), " "), t.want.Prefix.String()),
		Message: "the kernel had " + routes + " " + strings.Join(what, " and ") + ": written anew"})
}

// note keeps what was mended for the report.
func (u *Routing) note(m switchstate.Mend) {
	m.At = m.At.UTC().Truncate(time.Millisecond)
	u.log.Warn("mended: "+m.Message, "object", m.Object)
	if u.mends = append(u.mends, m); len(u.mends) > switchstate.MendsMost {
		u.mends = slices.Clone(u.mends[1:])
	}
}

// mendDevices gives VXLAN devices of ours their TOS back.
func (u *Routing) mendDevices(k kernelRouting, now time.Time) (mended bool, err error) {
	var errs []error
	for _, l := range k.links {
		v, ok := l.(*netlink.Vxlan)
		if !ok || !ours(l) || v.TOS == vxlanTOS {
			continue
		}
		if err := setTOS(l); err != nil {
			errs = append(errs, err)
			continue
		}
		mended = true
		u.note(switchstate.Mend{At: now, Object: v.Name, Message: fmt.Sprintf("%s had tos %d instead of %d, with 0 of which all flows to a VTEP leave by one port: set again", v.Name, v.TOS, vxlanTOS)})
	}
	return mended, errors.Join(errs...)
}

// setTOS sets the TOS of a VXLAN device and leaves all else of it as it is, which the
// library can't.
func setTOS(l netlink.Link) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(l.Attrs().Index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("vxlan"))
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.IFLA_VXLAN_TOS, nl.Uint8Attr(vxlanTOS))
	req.AddData(info)
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("set tos of %s to %d: %w", l.Attrs().Name, vxlanTOS, err)
	}
	return nil
}

// spreading are the settings by which the kernel chooses a leg by ports too. Without,
// all flows between two VTEPs leave by one.
var spreading = []string{"/proc/sys/net/ipv4/fib_multipath_hash_policy", "/proc/sys/net/ipv6/fib_multipath_hash_policy"}

func (u *Routing) mendSpreading(now time.Time) (mended bool, err error) {
	var errs []error
	for _, path := range spreading {
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // a kernel without IPv6
		}
		was := strings.TrimSpace(string(b))
		if err == nil && was != "1" {
			err = os.WriteFile(path, []byte("1"), 0o644)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("let the kernel choose next hops by flow: %w", err))
			continue
		}
		if was != "1" {
			mended = true
			name := strings.ReplaceAll(strings.TrimPrefix(path, "/proc/sys/"), "/", ".")
			u.note(switchstate.Mend{At: now, Object: name, Message: fmt.Sprintf("%s was %s instead of 1, by which all flows between two VTEPs leave by one port: set again", name, was)})
		}
	}
	return mended, errors.Join(errs...)
}
