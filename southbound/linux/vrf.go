package linux

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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

// readVRFs reads the VRFs with our names from bgpd's configuration, by L3VNI.
func readVRFs(text string, asn uint32) map[intent.VNI][]vrfLine {
	out := map[intent.VNI][]vrfLine{}
	var v intent.VNI
	family := ""
	for _, raw := range strings.Split(text, "\n") {
		line := strings.TrimSpace(raw)
		name, isVRF := strings.CutPrefix(line, fmt.Sprintf("router bgp %d vrf ", asn))
		switch {
		case isVRF:
			if v, isVRF = vniOf(name, "vrf"); isVRF {
				out[v] = []vrfLine{}
			}
			family = ""
		case v == 0 || line == "" || line == "!":
		case line == "exit-address-family":
			family = ""
		case line == "exit" || !strings.HasPrefix(raw, " "):
			v = 0
		case strings.HasPrefix(line, "address-family "):
			family = strings.TrimPrefix(line, "address-family ")
		default:
			out[v] = append(out[v], vrfLine{family, line})
		}
	}
	return out
}

// vrfCommands bring bgpd's configuration of a VRF from what it has to what is
// wanted; none when they are the same. Outside of address families only the router's
// identifier is looked at: defaults differ between versions and profiles of FRR.
func vrfCommands(asn uint32, v intent.VNI, has, want []vrfLine, there bool) []string {
	byFamily := map[string][]string{}
	for _, l := range has {
		if !slices.Contains(want, l) && (l.family != "" || strings.HasPrefix(l.text, "bgp router-id ")) {
			undo, isNo := strings.CutPrefix(l.text, "no ")
			if !isNo {
				undo = "no " + l.text
			}
			byFamily[l.family] = append(byFamily[l.family], undo)
		}
	}
	for _, l := range want {
		if !slices.Contains(has, l) {
			byFamily[l.family] = append(byFamily[l.family], l.text)
		}
	}
	if there && len(byFamily) == 0 {
		return nil
	}
	cs := append([]string{fmt.Sprintf("router bgp %d vrf %s", asn, vrfName(v))}, byFamily[""]...)
	for _, f := range []string{ipv4Unicast, ipv6Unicast, l2vpnEVPN} {
		if len(byFamily[f]) > 0 {
			cs = append(append(append(cs, "address-family "+f), byFamily[f]...), "exit-address-family")
		}
	}
	return append(cs, "exit")
}

// readL3VNIs reads from zebra's configuration which VRFs with our names have
// their L3VNI.
func readL3VNIs(text string) map[intent.VNI]bool {
	out := map[intent.VNI]bool{}
	var v intent.VNI
	for _, raw := range strings.Split(text, "\n") {
		line := strings.TrimSpace(raw)
		name, isVRF := strings.CutPrefix(line, "vrf ")
		switch {
		case isVRF && !strings.HasPrefix(raw, " "):
			if v, isVRF = vniOf(name, "vrf"); isVRF {
				out[v] = false
			}
		case line == "exit-vrf":
			v = 0
		case v != 0 && strings.HasPrefix(line, fmt.Sprintf("vni %d", v)):
			out[v] = true
		}
	}
	return out
}

// configureVRFs brings FRR's part of the routers in line, those that are to go
// excepted. What FRR refuses of one is its own trouble.
func (s *Switch) configureVRFs(ctx context.Context, want leafstate.State, rs *routers) {
	all := rs.usable()
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
	l3, has := readL3VNIs(string(zebra)), readVRFs(string(bgpd), want.ASN)
	for _, r := range all {
		lines, there := has[r.VNI]
		if cs := vrfCommands(want.ASN, r.VNI, lines, vrfLines(want, r), there); len(cs) > 0 {
			rs.fail(r.VNI, s.tell(ctx, "bgpd", cs...))
		}
		if !l3[r.VNI] {
			rs.fail(r.VNI, s.tell(ctx, "zebra", "vrf "+vrfName(r.VNI), fmt.Sprintf("vni %d", r.VNI), "exit-vrf"))
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
		keep[r.VNI] = true
	}
	zebra, zerr := VTY(ctx, s.config.FRRDir, "zebra", "show running-config")
	bgpd, berr := VTY(ctx, s.config.FRRDir, "bgpd", "show running-config")
	var errs []error
	l3, has := readL3VNIs(string(zebra)), readVRFs(string(bgpd), want.ASN)
	if zerr != nil || berr != nil || want.ASN == 0 {
		l3, has = nil, nil // it is said already that FRR does not answer
	}
	for v, set := range l3 {
		if set && !keep[v] {
			errs = append(errs, s.tell(ctx, "zebra", "vrf "+vrfName(v), fmt.Sprintf("no vni %d", v), "exit-vrf"))
		}
	}
	for v := range has {
		if !keep[v] {
			errs = append(errs, s.insist(ctx, "bgpd", fmt.Sprintf("no router bgp %d vrf %s", want.ASN, vrfName(v))))
		}
	}
	errs = append(errs, removeDevices())
	for v := range l3 {
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
