package linux

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// vrfLine is a line of bgpd's configuration of a VRF, in its address family; ""
// is outside of any.
type vrfLine struct{ family, text string }

// The address families of a VRF's configuration.
const (
	ipv4Unicast = "ipv4 unicast"
	ipv6Unicast = "ipv6 unicast"
	l2vpnEVPN   = "l2vpn evpn"
)

// vrfLines are bgpd's lines of a router's VRF, as bgpd prints them. What is
// connected, the subnets, is announced with the router's MAC and L3VNI as prefix
// routes (RFC 9136 section 4.4.1, interface-less), static routes with next hops
// as well; hosts are by their MAC/IP routes, which get the L3VNI as second label
// when a segment has a gateway (RFC 9135 section 5.1). A VRF has one path to each
// prefix: with several, as the controller's and the leaf's own for a host, zebra
// 8.4 forgets the router's MAC of a next hop that is in use.
func vrfLines(vtep leafstate.State, r leafstate.Router) []vrfLine {
	lines := []vrfLine{{"", fmt.Sprintf("bgp router-id %s", routerID(vtep))}}
	if r.Outside != nil {
		return append(lines, outsideLines(r)...)
	}
	for _, f := range []string{ipv4Unicast, ipv6Unicast} {
		lines = append(lines, vrfLine{f, "redistribute connected"}, vrfLine{f, "maximum-paths 1"}, vrfLine{f, "maximum-paths ibgp 1"})
	}
	for _, s := range r.Routes {
		f := ipv4Unicast
		if s.Prefix.Addr().Is6() {
			f = ipv6Unicast
		}
		if len(s.NextHops) > 0 {
			lines = append(lines, vrfLine{f, "network " + s.Prefix.String()})
		}
	}
	lines = append(lines, vrfLine{l2vpnEVPN, "advertise ipv4 unicast"}, vrfLine{l2vpnEVPN, "advertise ipv6 unicast"})
	for _, t := range r.Import {
		lines = append(lines, vrfLine{l2vpnEVPN, "route-target import " + t})
	}
	for _, t := range r.Export {
		lines = append(lines, vrfLine{l2vpnEVPN, "route-target export " + t})
	}
	return lines
}

// routerID of a VTEP: its address, or of one with IPv6 its last four octets.
func routerID(s leafstate.State) string {
	b := s.VTEP.AsSlice()
	b = b[max(0, len(b)-4):]
	return fmt.Sprintf("%d.%d.%d.%d", b[0], b[1], b[2], b[3])
}

// instances are bgpd's instances by their VRF; "" is the default one.
type instances map[string][]vrfLine

// readInstances reads bgpd's instances of an AS from its configuration. What is
// said of single L2VNIs is left out.
func readInstances(text string, asn uint32) instances {
	out := instances{}
	const none = "-"
	at, family, inVNI := none, "", false
	head := fmt.Sprintf("router bgp %d", asn)
	for _, raw := range strings.Split(text, "\n") {
		line := strings.TrimSpace(raw)
		name, isHead := strings.CutPrefix(line, head)
		switch {
		case isHead && (name == "" || strings.HasPrefix(name, " vrf ")):
			at, family = strings.TrimPrefix(name, " vrf "), ""
			out[at] = []vrfLine{}
		case at == none || line == "" || line == "!":
		case inVNI || strings.HasPrefix(line, "vni "):
			inVNI = line != "exit-vni" && line != "exit-address-family"
		case line == "exit-address-family":
			family = ""
		case line == "exit" || !strings.HasPrefix(raw, " "):
			at = none
		case strings.HasPrefix(line, "address-family "):
			family = strings.TrimPrefix(line, "address-family ")
		default:
			out[at] = append(out[at], vrfLine{family, line})
		}
	}
	return out
}

// vrfs are the instances of VRFs with our names, by L3VNI.
func (is instances) vrfs() map[intent.VNI][]vrfLine {
	out := map[intent.VNI][]vrfLine{}
	for name, lines := range is {
		if v, ok := vniOf(name, "vrf"); ok {
			out[v] = lines
		}
	}
	return out
}

// instanceHead begins bgpd's configuration of an instance.
func instanceHead(asn uint32, vrf string) string {
	head := fmt.Sprintf("router bgp %d", asn)
	if vrf != "" {
		head += " vrf " + vrf
	}
	return head
}

// neighbourOf is the neighbour that a line is about, "" when it is about none.
func neighbourOf(line string) string {
	if f := strings.Fields(line); len(f) > 2 && f[0] == "neighbor" {
		return f[1]
	}
	return ""
}

// undo is the line that takes another one back.
func undo(line string) string {
	if yes, isNo := strings.CutPrefix(line, "no "); isNo {
		return yes
	}
	if strings.HasPrefix(line, "advertise ") {
		line, _, _ = strings.Cut(line, " route-map ") // bgpd takes no name here
	}
	return "no " + line
}

// instanceCommands bring an instance from lines that it has to those that are
// wanted; none when they are the same. Outside of address families only the
// router's identifier and neighbours are looked at: defaults differ between
// versions and profiles of FRR. A neighbour that is not wanted as it is goes with
// all its lines.
func instanceCommands(head string, has, want []vrfLine, there bool) []string {
	byFamily, gone := map[string][]string{}, map[string]bool{}
	for _, l := range has {
		if n := neighbourOf(l.text); n != "" && strings.Contains(l.text, " remote-as ") && !slices.Contains(want, l) {
			gone[n] = true
			byFamily[""] = append(byFamily[""], "no neighbor "+n)
		}
	}
	stays := func(l vrfLine) bool { return slices.Contains(has, l) && !gone[neighbourOf(l.text)] }
	for _, l := range has {
		n := neighbourOf(l.text)
		if !slices.Contains(want, l) && !gone[n] && (l.family != "" || n != "" || strings.HasPrefix(l.text, "bgp router-id ")) {
			byFamily[l.family] = append(byFamily[l.family], undo(l.text))
		}
	}
	for _, l := range want {
		if !stays(l) {
			byFamily[l.family] = append(byFamily[l.family], l.text)
		}
	}
	if there && len(byFamily) == 0 {
		return nil
	}
	cs := append([]string{head}, byFamily[""]...)
	for _, f := range []string{ipv4Unicast, ipv6Unicast, l2vpnEVPN} {
		if len(byFamily[f]) > 0 {
			cs = append(append(append(cs, "address-family "+f), byFamily[f]...), "exit-address-family")
		}
	}
	return append(cs, "exit")
}

// l3VNIs are the L3VNIs that zebra's configuration has.
type l3VNIs struct {
	vrfs  map[intent.VNI]bool // VRFs with our names, and whether they have theirs
	plain intent.VNI          // that of the default VRF; zero: none
}

func readL3VNIs(text string) l3VNIs {
	out := l3VNIs{vrfs: map[intent.VNI]bool{}}
	var v intent.VNI
	for _, raw := range strings.Split(text, "\n") {
		line := strings.TrimSpace(raw)
		name, isVRF := strings.CutPrefix(line, "vrf ")
		switch {
		case isVRF && !strings.HasPrefix(raw, " "):
			if v, isVRF = vniOf(name, "vrf"); isVRF {
				out.vrfs[v] = false
			}
		case line == "exit-vrf":
			v = 0
		case v != 0 && strings.HasPrefix(line, fmt.Sprintf("vni %d", v)):
			out.vrfs[v] = true
		case strings.HasPrefix(raw, "vni "):
			_, _ = fmt.Sscanf(raw, "vni %d", &out.plain)
		}
	}
	return out
}

// hasL3VNI reports whether a router has its L3VNI.
func (l l3VNIs) has(r leafstate.Router) bool {
	if inDefault(r) {
		return l.plain == r.VNI
	}
	return l.vrfs[r.VNI]
}

// bindVNI are zebra's lines that bind an L3VNI to its VRF.
func bindVNI(r leafstate.Router) []string {
	line := fmt.Sprintf("vni %d", r.VNI)
	if inDefault(r) {
		return []string{line}
	}
	return []string{"vrf " + vrfName(r.VNI), line, "exit-vrf"}
}

// configureVRFs brings FRR's part of the routers in line, those that are to go
// excepted. What FRR refuses of one is its own trouble.
func (s *Switch) configureVRFs(ctx context.Context, want leafstate.State, rs *routers, have *links) {
	all := slices.DeleteFunc(slices.Clone(want.Routers), func(r leafstate.Router) bool { return rs.errs[r.VNI] != nil })
	if len(all) == 0 {
		return
	}
	zebra, zerr := VTY(ctx, s.config.FRRDir, "zebra", "show running-config")
	bgpd, berr := VTY(ctx, s.config.FRRDir, "bgpd", "show running-config")
	if err := errors.Join(zerr, berr); err != nil {
		for _, r := range all {
			rs.fail(r.VNI, err)
		}
		return
	}
	l3, has := readL3VNIs(string(zebra)), readInstances(string(bgpd), want.ASN)
	for _, r := range all {
		if r.Outside != nil {
			rs.fail(r.VNI, s.configurePolicies(ctx, string(bgpd), want.ASN, r, have))
		}
		if !inDefault(r) {
			lines, there := has[vrfName(r.VNI)]
			if cs := instanceCommands(instanceHead(want.ASN, vrfName(r.VNI)), lines, vrfLines(want, r), there); len(cs) > 0 {
				rs.fail(r.VNI, s.tell(ctx, "bgpd", cs...))
			}
		}
		if !l3.has(r) {
			rs.fail(r.VNI, s.tell(ctx, "zebra", bindVNI(r)...))
		}
	}
	if err := s.configureDefault(ctx, want, has[""], all); err != nil {
		for _, r := range all {
			if r.Outside != nil {
				rs.fail(r.VNI, err)
			}
		}
	}
}

// tell has a daemon take lines of configuration.
func (s *Switch) tell(ctx context.Context, daemon string, lines ...string) error {
	_, err := VTY(ctx, s.config.FRRDir, daemon, append(append([]string{"configure terminal"}, lines...), "end")...)
	return err
}

// forgetTime bounds how long bgpd may take to hear from zebra that a VRF has no
// L3VNI any more.
const forgetTime = 3 * time.Second

// forgetVRFs takes out of FRR the routers that are not wanted. Of a VRF that has an
// L3VNI, bgpd keeps the instance; and zebra a VRF while its device is there, so
// that the devices go in between.
func (s *Switch) forgetVRFs(ctx context.Context, want leafstate.State, removeDevices func() error) error {
	keep := map[intent.VNI]bool{}
	for _, r := range want.Routers {
		keep[r.VNI] = !inDefault(r)
	}
	zebra, zerr := VTY(ctx, s.config.FRRDir, "zebra", "show running-config")
	bgpd, berr := VTY(ctx, s.config.FRRDir, "bgpd", "show running-config")
	var errs []error
	l3, has := readL3VNIs(string(zebra)), readInstances(string(bgpd), want.ASN)
	if zerr != nil || berr != nil || want.ASN == 0 {
		l3, has, bgpd = l3VNIs{}, nil, nil // it is said already that FRR does not answer
	}
	if l3.plain != 0 && !slices.ContainsFunc(want.Routers, func(r leafstate.Router) bool { return inDefault(r) && r.VNI == l3.plain }) {
		if l, err := netlink.LinkByName(vxlanName(l3.plain)); err == nil && ours(l) {
			errs = append(errs, s.tell(ctx, "zebra", fmt.Sprintf("no vni %d", l3.plain)))
		}
	}
	if has[""] != nil {
		errs = append(errs, s.configureDefault(ctx, want, has[""], want.Routers))
	}
	for v, set := range l3.vrfs {
		if set && !keep[v] {
			errs = append(errs, s.tell(ctx, "zebra", "vrf "+vrfName(v), fmt.Sprintf("no vni %d", v), "exit-vrf"))
		}
	}
	for v := range has.vrfs() {
		if !keep[v] {
			errs = append(errs, s.insist(ctx, "bgpd", fmt.Sprintf("no router bgp %d vrf %s", want.ASN, vrfName(v))))
		}
	}
	errs = append(errs, s.forgetPolicies(ctx, string(bgpd), want))
	errs = append(errs, removeDevices())
	for v := range l3.vrfs {
		if !keep[v] {
			errs = append(errs, s.insist(ctx, "zebra", "no vrf "+vrfName(v)))
		}
	}
	return errors.Join(errs...)
}

// insist tells a daemon to forget something until it does.
func (s *Switch) insist(ctx context.Context, daemon, line string) error {
	for end := time.Now().Add(forgetTime); ; {
		err := s.tell(ctx, daemon, line)
		if err == nil || time.Now().After(end) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}
