package linux

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// What bgpd has outside of its instances is ours when its name begins with the
// name of an external VRF's policies, weft-VNI-, or is that of the stand-ins.
//
//	out      what peers outside are told: prefixes of ours, exactly
//	in       what is taken from them: what is accepted, and never one of ours
//	own      prefixes of ours and, with the default VRF, of the underlay; as a route
//	         map it marks the networks that are announced outside
//	evpn     what becomes prefix routes in the fabric: what was taken
//	fabric   with the default VRF: what came from the fabric goes to no other AS
func policyName(v intent.VNI, what string) string { return fmt.Sprintf("weft-%d-%s", v, what) }

// standInMap is the route map by which the VTEPs of other borders are announced.
const standInMap = "weft-standin"

// ourPolicy matches the names of what is ours, with the L3VNI.
var ourPolicy = regexp.MustCompile(`^weft-(\d+)-(out|in|evpn|own|fabric|accept|learned)$`)

// policies are lists and route maps as bgpd prints them: an entry of a list without
// its number, with that when it was read; or a route map's head with its lines.
type policies map[string][]string

// wantedPolicies are those of an external VRF. Nothing is taken inside the prefixes
// of the underlay, when it is in the same VRF.
func wantedPolicies(asn uint32, r leafstate.Router, underlay []netip.Prefix) policies {
	name := func(what string) string { return policyName(r.VNI, what) }
	out := policies{}
	for _, p := range r.Outside.Announce {
		ip, _ := familyOf(p)
		out[fmt.Sprintf("%s prefix-list %s permit %s", ip, name("out"), p)] = nil
		out[fmt.Sprintf("%s prefix-list %s permit %s", ip, name("own"), orLonger(p))] = nil
	}
	for _, p := range underlay {
		ip, _ := familyOf(p)
		out[fmt.Sprintf("%s prefix-list %s permit %s", ip, name("own"), orLonger(p))] = nil
	}
	for _, p := range r.Outside.Accept {
		ip, _ := familyOf(p)
		out[fmt.Sprintf("%s prefix-list %s permit %s", ip, name("accept"), orLonger(p))] = nil
	}
	if len(r.Outside.Accept) == 0 {
		for _, ip := range []string{"ip", "ipv6"} {
			out[fmt.Sprintf("%s prefix-list %s permit any", ip, name("accept"))] = nil
		}
	}
	mark := fmt.Sprintf("%d:%d:1", asn, r.VNI)
	out[fmt.Sprintf("bgp large-community-list standard %s permit %s", name("learned"), mark)] = nil
	taken := []string{"set community no-export additive", "set large-community " + mark + " additive"}
	if r.Outside.Default {
		// A path of the underlay wins.
		taken = append(taken, "set local-preference 50")
	}
	for i, ip := range []string{"ip", "ipv6"} {
		match := func(list string) string { return fmt.Sprintf("match %s address prefix-list %s", ip, name(list)) }
		out[fmt.Sprintf("route-map %s permit %d", name("out"), 10+i)] = []string{match("out")}
		out[fmt.Sprintf("route-map %s deny %d", name("in"), 5+i)] = []string{match("own")}
		out[fmt.Sprintf("route-map %s permit %d", name("in"), 10+i)] = append([]string{match("accept")}, taken...)
	}
	out[fmt.Sprintf("route-map %s permit 10", name("evpn"))] = []string{"match large-community " + name("learned"), "set large-comm-list " + name("learned") + " delete"}
	out[fmt.Sprintf("route-map %s permit 10", name("own"))] = nil
	if r.Outside.Default {
		out[fmt.Sprintf("route-map %s permit 10", name("fabric"))] = []string{"set community no-export additive"}
	}
	return out
}

// standInPolicies are those of all external VRFs together: the VTEPs of other
// borders are announced with the longest path, and not while there is another one.
func standInPolicies(asn uint32) policies {
	return policies{"route-map " + standInMap + " permit 10": {fmt.Sprintf("set as-path prepend %[1]d %[1]d %[1]d", asn), "set local-preference 1", "set weight 0"}}
}

// orLonger is a prefix and all inside it, as bgpd prints it.
func orLonger(p netip.Prefix) string {
	switch _, most := familyOf(p); p.Bits() {
	case 0:
		return "any"
	case most:
		return p.String()
	default:
		return fmt.Sprintf("%s le %d", p, most)
	}
}

// familyOf is how FRR names a prefix's family, and its longest length.
func familyOf(p netip.Prefix) (string, int) {
	if p.Addr().Is4() {
		return "ip", 32
	}
	return "ipv6", 128
}

// readPolicies reads those with our names, by L3VNI; with 0 those of the stand-ins.
func readPolicies(text string) map[intent.VNI]policies {
	out := map[intent.VNI]policies{}
	var in func(line string) // takes the lines of a route map
	for _, raw := range strings.Split(text, "\n") {
		f := strings.Fields(raw)
		switch {
		case len(f) == 0 || f[0] == "!":
		case strings.HasPrefix(raw, " "):
			if in != nil {
				in(strings.Join(f, " "))
			}
		default:
			in = nil
			v, ours := policyOf(f)
			if !ours {
				continue
			}
			if out[v] == nil {
				out[v] = policies{}
			}
			var seq []string
			if i := slices.Index(f, "seq"); i > 0 && f[0] != "route-map" && len(f) > i+1 {
				seq = []string{f[i+1]}
				f = slices.Delete(f, i, i+2)
			}
			head := strings.Join(f, " ")
			out[v][head] = seq
			if f[0] == "route-map" {
				in = func(line string) {
					if line != "exit" {
						out[v][head] = append(out[v][head], line)
					}
				}
			}
		}
	}
	return out
}

// policyOf reports whether a line is the head of what is ours, and of which L3VNI.
func policyOf(f []string) (v intent.VNI, ours bool) {
	at := map[string]int{"ip": 2, "ipv6": 2, "route-map": 1, "bgp": 3}[f[0]]
	if at == 0 || len(f) <= at || f[0] == "bgp" && f[1] != "large-community-list" || strings.HasPrefix(f[0], "ip") && f[1] != "prefix-list" {
		return 0, false
	}
	if f[at] == standInMap {
		return 0, true
	}
	m := ourPolicy.FindStringSubmatch(f[at])
	if m == nil {
		return 0, false
	}
	_, err := fmt.Sscanf(m[1], "%d", &v)
	return v, err == nil
}

// policyCommands bring policies in line: lists before the route maps that name them,
// and what is not wanted at the end. A route map of which anything is wrong is made
// anew as a whole; meanwhile nothing passes. bgpd 8.4 aborts when a part of a route
// map is removed of which the whole was removed before.
//
// bgpd keeps what refers to a route map that was removed pointing at it until its delay
// timer is over, and frees it when one of the same name is made before that. Without a
// timer, references are brought in line at once, but routes are not judged again; a timer
// that is taken away while it runs counts as over. So maps go without one, are made
// with one, and with its end all is judged.
func policyCommands(has, want policies) (cs []string) {
	broken := map[string]bool{} // route maps
	for head, lines := range has {
		if name, ok := routeMapOf(head); ok {
			wanted, there := want[head]
			if !there || !slices.Equal(slices.Sorted(slices.Values(lines)), slices.Sorted(slices.Values(wanted))) {
				broken[name] = true
			}
		}
	}
	var lists, routeMaps, remove []string
	for head, lines := range want {
		name, isMap := routeMapOf(head)
		_, there := has[head]
		switch {
		case there && !broken[name]:
		case isMap:
			routeMaps = append(routeMaps, head+"\x00"+strings.Join(lines, "\x00"))
		default:
			lists = append(lists, head)
		}
	}
	for head, seq := range has {
		if _, ok := want[head]; ok || strings.HasPrefix(head, "route-map ") {
			continue
		}
		remove = append(remove, removal(head, seq))
	}
	if len(lists)+len(routeMaps)+len(remove)+len(broken) == 0 {
		return nil
	}
	slices.Sort(lists)
	slices.Sort(routeMaps)
	slices.Sort(remove)
	cs = []string{delayTimer + " 0"}
	for _, name := range slices.Sorted(maps.Keys(broken)) {
		cs = append(cs, "no route-map "+name)
	}
	cs = append(append(cs, delayTimer+" 1"), lists...)
	for _, m := range routeMaps {
		for line := range strings.SplitSeq(m, "\x00") {
			if line != "" {
				cs = append(cs, line)
			}
		}
		cs = append(cs, "exit")
	}
	return append(append(cs, remove...), delayTimer+" 0")
}

// delayTimer is how long bgpd waits after a change of a route map, or of a list that it
// names, before it judges routes anew, in seconds.
const delayTimer = "bgp route-map delay-timer"

// tellPolicies has bgpd take commands that bring policies in line. The delay timer is
// then what it was.
func (s *Switch) tellPolicies(ctx context.Context, running string, cs []string) error {
	if len(cs) == 0 {
		return nil
	}
	was := "no " + delayTimer
	for line := range strings.Lines(running) {
		if strings.HasPrefix(line, delayTimer+" ") {
			was = strings.TrimSpace(line)
		}
	}
	return errors.Join(s.tell(ctx, "bgpd", cs...), s.tell(ctx, "bgpd", was))
}

// routeMapOf is the name of the route map that a head is of.
func routeMapOf(head string) (name string, ok bool) {
	f := strings.Fields(head)
	if f[0] != "route-map" {
		return "", false
	}
	return f[1], true
}

// removal is the command that removes an entry of a list, by its number.
func removal(head string, seq []string) string {
	if len(seq) == 0 {
		return "no " + head
	}
	at := strings.LastIndex(head, " permit ")
	return fmt.Sprintf("no %s seq %s%s", head[:at], seq[0], head[at:])
}

// configurePolicies brings the policies of an external VRF in line.
func (s *Switch) configurePolicies(ctx context.Context, running string, asn uint32, r leafstate.Router, have *links) error {
	var underlay []netip.Prefix
	if inDefault(r) {
		var err error
		if underlay, err = readUnderlay(have, r); err != nil {
			return err
		}
	}
	has, want := readPolicies(running), wantedPolicies(asn, r, underlay)
	cs := policyCommands(has[r.VNI], want)
	if len(r.Outside.Others) > 0 {
		cs = append(cs, policyCommands(has[0], standInPolicies(asn))...)
	}
	err := s.tellPolicies(ctx, running, cs)
	if slices.ContainsFunc(r.Outside.Peers, func(p leafstate.OutsidePeer) bool { return p.BFD }) {
		err = errors.Join(err, s.configureBFD(ctx))
	}
	return err
}

// bfdProfile is the profile of bfdd that sessions with peers outside use: they are
// given up when three packets, one each 300 ms, did not come (RFC 5880 section 6.8.4).
const bfdProfile = "weft"

func (s *Switch) configureBFD(ctx context.Context) error {
	text, err := VTY(ctx, s.config.FRRDir, "bfdd", "show running-config")
	if err != nil {
		return fmt.Errorf("BFD is asked for, and bfdd does not run: start it: %w", err)
	}
	if strings.Contains(string(text), "profile "+bfdProfile+"\n") {
		return nil
	}
	return s.tell(ctx, "bfdd", "bfd", "profile "+bfdProfile, "detect-multiplier 3", "transmit-interval 300", "receive-interval 300", "exit", "exit")
}

// forgetPolicies removes what no external VRF of the state has.
func (s *Switch) forgetPolicies(ctx context.Context, running string, want leafstate.State) error {
	keep := map[intent.VNI]bool{}
	for _, r := range want.Routers {
		if r.Outside != nil {
			keep[r.VNI] = true
			keep[0] = keep[0] || len(r.Outside.Others) > 0
		}
	}
	var errs []error
	for v, has := range readPolicies(running) {
		if !keep[v] {
			errs = append(errs, s.tellPolicies(ctx, running, policyCommands(has, nil)))
		}
	}
	return errors.Join(errs...)
}
