package linux

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// inDefault reports whether a router is in the device's default VRF.
func inDefault(r leafstate.Router) bool { return r.Outside != nil && r.Outside.Default }

// outsideMark is the description of a neighbour outside.
func outsideMark(v intent.VNI) string { return fmt.Sprintf("weft-%d", v) }

// outsideLines are bgpd's lines of an external VRF, as bgpd prints them. Peers
// outside are told the networks that are marked as ours and no other route, by a
// route map on each of them in both families; what they tell, and nothing else,
// becomes prefix routes in the fabric.
func outsideLines(r leafstate.Router) []vrfLine {
	lines := []vrfLine{{"", "no bgp default ipv4-unicast"}, {"", "bgp bestpath as-path multipath-relax"}}
	for _, f := range []string{ipv4Unicast, ipv6Unicast} {
		lines = append(lines, vrfLine{f, "maximum-paths 64"}, vrfLine{f, "maximum-paths ibgp 1"})
	}
	lines = append(lines, peersLines(r)...)
	for _, t := range r.Import {
		lines = append(lines, vrfLine{l2vpnEVPN, "route-target import " + t})
	}
	for _, t := range r.Export {
		lines = append(lines, vrfLine{l2vpnEVPN, "route-target export " + t})
	}
	return lines
}

// peersLines are those of them that an instance has whichever its VRF.
func peersLines(r leafstate.Router) (lines []vrfLine) {
	name := func(what string) string { return policyName(r.VNI, what) }
	for _, p := range r.Outside.Peers {
		n := "neighbor " + p.Address.String()
		lines = append(lines, vrfLine{"", fmt.Sprintf("%s remote-as %d", n, p.ASN)}, vrfLine{"", n + " description " + outsideMark(r.VNI)},
			// A restart of either side is seen as loss: the other border goes on.
			vrfLine{"", n + " graceful-restart-disable"},
			vrfLine{"", n + " timers 3 9"}, vrfLine{"", n + " timers connect 2"}, vrfLine{"", n + " advertisement-interval 0"})
		if p.BFD {
			lines = append(lines, vrfLine{"", n + " bfd"}, vrfLine{"", n + " bfd profile " + bfdProfile})
		}
		if p.Password != "" {
			lines = append(lines, vrfLine{"", n + " password " + p.Password})
		}
		family := ipv4Unicast
		if p.Address.Is6() {
			family = ipv6Unicast
		}
		for _, f := range []string{ipv4Unicast, ipv6Unicast} {
			lines = append(lines, vrfLine{f, n + " route-map " + name("in") + " in"}, vrfLine{f, n + " route-map " + name("out") + " out"})
		}
		lines = append(lines, vrfLine{family, n + " activate"})
	}
	for _, p := range r.Outside.Announce {
		f := ipv4Unicast
		if p.Addr().Is6() {
			f = ipv6Unicast
		}
		lines = append(lines, vrfLine{f, fmt.Sprintf("network %s route-map %s", p, name("own"))})
	}
	return append(lines, vrfLine{l2vpnEVPN, "advertise ipv4 unicast route-map " + name("evpn")}, vrfLine{l2vpnEVPN, "advertise ipv6 unicast route-map " + name("evpn")})
}

// defaultLines are those that bgpd's default instance has for the external VRFs of
// a state: all of the one that is there, and the stand-ins of each.
func defaultLines(want leafstate.State, all []leafstate.Router, reflectors []netip.Addr) (lines []vrfLine) {
	for _, r := range all {
		if inDefault(r) {
			lines = append(lines, peersLines(r)...)
			for _, t := range r.Import {
				lines = append(lines, vrfLine{l2vpnEVPN, "route-target import " + t})
			}
			for _, t := range r.Export {
				lines = append(lines, vrfLine{l2vpnEVPN, "route-target export " + t})
			}
			for _, a := range reflectors {
				lines = append(lines, vrfLine{l2vpnEVPN, fmt.Sprintf("neighbor %s route-map %s in", a, policyName(r.VNI, "fabric"))})
			}
		}
	}
	for _, a := range standIns(all) {
		f := ipv4Unicast
		if a.Is6() {
			f = ipv6Unicast
		}
		lines = append(lines, vrfLine{f, fmt.Sprintf("network %s route-map %s", netip.PrefixFrom(a, a.BitLen()), standInMap)})
	}
	return lines
}

// ownDefault picks of the default instance's lines those that are ours.
func ownDefault(lines []vrfLine) (own []vrfLine) {
	outside := map[string]bool{}
	vrf := false // it is an external one
	for _, l := range lines {
		var v intent.VNI
		f := strings.Fields(l.text)
		if len(f) == 4 && f[0] == "neighbor" && f[2] == "description" {
			if _, err := fmt.Sscanf(f[3], "weft-%d", &v); err == nil && f[3] == outsideMark(v) {
				outside[f[1]] = true
			}
		}
		vrf = vrf || l.family == l2vpnEVPN && f[0] == "advertise" && ourPolicy.MatchString(f[len(f)-1])
	}
	for _, l := range lines {
		f := strings.Fields(l.text)
		i := slices.Index(f, "route-map")
		ours := i > 0 && i+1 < len(f) && (f[i+1] == standInMap || ourPolicy.MatchString(f[i+1]))
		if outside[neighbourOf(l.text)] || ours || vrf && l.family == l2vpnEVPN && f[0] == "route-target" {
			own = append(own, l)
		}
	}
	return own
}

// configureDefault brings our lines of bgpd's default instance in line.
func (s *Switch) configureDefault(ctx context.Context, want leafstate.State, has []vrfLine, all []leafstate.Router) error {
	var reflectors []netip.Addr
	for _, p := range evpnOf(want, s.config.Keeper).peers {
		reflectors = append(reflectors, p.Address)
	}
	if cs := instanceCommands(instanceHead(want.ASN, ""), ownDefault(has), defaultLines(want, all, reflectors), true); len(cs) > 0 {
		return s.tell(ctx, "bgpd", cs...)
	}
	return nil
}

// errNotReflected is why a border does not speak with routers outside yet.
var errNotReflected = errors.New("there is no BGP session with the controller or keeper yet: what came from outside would not find its way")

// reflectedTime is how long the session with a reflector must have been there: its
// routes have come then.
const reflectedTime = time.Second

// heldBack is a state as FRR is told of it. A border that has just started, and with
// it bgpd, speaks with routers outside once it has the fabric's routes; until then
// the other borders have all that comes.
func (s *Switch) heldBack(ctx context.Context, want leafstate.State, rs *routers) leafstate.State {
	held := leafstate.State{}
	for i, r := range want.Routers {
		if r.Outside == nil || len(r.Outside.Peers) == 0 || rs.errs[r.VNI] != nil {
			continue
		}
		ready, err := s.speaksOutside(ctx, want, r)
		if err == nil && ready {
			continue
		}
		if err == nil {
			err = errNotReflected
		}
		rs.late[r.VNI] = err
		if held.Routers == nil {
			held = want
			held.Routers = slices.Clone(want.Routers)
		}
		o := *r.Outside
		o.Peers = nil
		held.Routers[i].Outside = &o
	}
	if held.Routers == nil {
		return want
	}
	return held
}

// speaksOutside reports whether bgpd speaks with routers outside already, or may.
func (s *Switch) speaksOutside(ctx context.Context, want leafstate.State, r leafstate.Router) (bool, error) {
	text, err := VTY(ctx, s.config.FRRDir, "bgpd", "show running-config")
	if err != nil {
		return false, err
	}
	if strings.Contains(string(text), " description "+outsideMark(r.VNI)+"\n") {
		return true, nil
	}
	up, err := s.reflected(ctx, want, 0)
	return up >= reflectedTime, err
}

// reflected asks bgpd for how long it has had a session with a reflector, of which it has
// at least so many routes; zero when it has none.
func (s *Switch) reflected(ctx context.Context, want leafstate.State, routes int) (up time.Duration, err error) {
	text, err := VTY(ctx, s.config.FRRDir, "bgpd", "show bgp l2vpn evpn summary json")
	if err != nil {
		return 0, err
	}
	var all struct {
		Peers map[string]struct {
			State string `json:"state"`
			Up    int64  `json:"peerUptimeMsec"`
			Taken int    `json:"pfxRcd"`
		} `json:"peers"`
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return 0, fmt.Errorf("read BGP sessions: %w", err)
	}
	for _, p := range evpnOf(want, s.config.Keeper).peers {
		if is := all.Peers[p.Address.String()]; is.State == established && is.Taken >= routes {
			up = max(up, time.Duration(is.Up)*time.Millisecond)
		}
	}
	return up, nil
}

// readSessions reads "show bgp [vrf VRF] summary json".
func readSessions(text []byte, peers []leafstate.OutsidePeer) ([]leafstate.OutsideSession, error) {
	type peer struct {
		State     string `json:"state"`
		Taken     int    `json:"pfxRcd"`
		Announced int    `json:"pfxSnt"`
		Since     int64  `json:"peerUptimeEstablishedEpoch"`
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("read BGP sessions: %w", err)
	}
	out := make([]leafstate.OutsideSession, len(peers))
	for i, p := range peers {
		out[i] = leafstate.OutsideSession{Peer: p.Address, State: "Idle"}
		family := "ipv4Unicast"
		if p.Address.Is6() {
			family = "ipv6Unicast"
		}
		var is struct {
			Peers map[netip.Addr]peer `json:"peers"`
		}
		if all[family] == nil {
			continue
		}
		if err := json.Unmarshal(all[family], &is); err != nil {
			return nil, fmt.Errorf("read BGP sessions: %w", err)
		}
		if got, ok := is.Peers[p.Address]; ok {
			out[i].State = got.State
			if got.State == established {
				out[i].Taken, out[i].Announced, out[i].Since = got.Taken, got.Announced, time.Unix(got.Since, 0).UTC()
			}
		}
	}
	return out, nil
}

// established is the state of a BGP session that works (RFC 4271 section 8.2.2).
const established = "Established"

// Sessions reads the sessions with routers outside, by L3VNI, of the state that was
// applied last.
func (s *Switch) Sessions(ctx context.Context) (map[intent.VNI][]leafstate.OutsideSession, error) {
	s.mu.Lock()
	routers := s.last.Routers
	s.mu.Unlock()
	var out map[intent.VNI][]leafstate.OutsideSession
	for _, r := range routers {
		if r.Outside == nil || len(r.Outside.Peers) == 0 {
			continue
		}
		show := "show bgp summary json"
		if !inDefault(r) {
			show = "show bgp vrf " + vrfName(r.VNI) + " summary json"
		}
		text, err := VTY(ctx, s.config.FRRDir, "bgpd", show)
		if err != nil {
			return nil, err
		}
		list, err := readSessions(text, r.Outside.Peers)
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = map[intent.VNI][]leafstate.OutsideSession{}
		}
		out[r.VNI] = list
	}
	return out, nil
}
