package linux

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// evpnConfig is the EVPN part of bgpd's configuration.
type evpnConfig struct {
	asn     uint32
	peers   []leafstate.Peer
	targets map[intent.VNI][2][]string // import and export, where they are given
}

// evpnOf is the part that a state asks for. bgpd keeps it while a leaf has no
// segment. A keeper takes the place of the controllers.
func evpnOf(s leafstate.State, keeper netip.Addr) evpnConfig {
	if keeper.IsValid() && len(s.Peers) > 0 {
		s.Peers = []leafstate.Peer{{Address: keeper}}
	}
	c := evpnConfig{asn: s.ASN, peers: s.Peers, targets: map[intent.VNI][2][]string{}}
	for _, seg := range s.Segments {
		if len(seg.Import)+len(seg.Export) > 0 {
			c.targets[seg.VNI] = [2][]string{seg.Import, seg.Export}
		}
	}
	return c
}

// commands are what brings bgpd from one configuration to another. Sessions
// that stay are not touched.
func commands(old, now evpnConfig) []string {
	var cs []string
	add := func(format string, args ...any) { cs = append(cs, fmt.Sprintf(format, args...)) }
	for _, p := range old.peers {
		if !slices.Contains(now.peers, p) {
			add("no neighbor %s", p.Address)
		}
	}
	if old.asn == 0 {
		// So that the leaf's own routes outlive a restart of its bgpd (RFC
		// 4724).
		add("bgp graceful-restart")
	}
	for _, p := range now.peers {
		if slices.Contains(old.peers, p) {
			continue
		}
		add("neighbor %s remote-as %d", p.Address, now.asn)
		add("neighbor %s description weft", p.Address)
		add("neighbor %s passive", p.Address)
		add("neighbor %s timers 3 9", p.Address)
		add("neighbor %s advertisement-interval 0", p.Address)
		if p.Password != "" {
			add("neighbor %s password %s", p.Address, p.Password)
		}
	}
	add("address-family l2vpn evpn")
	for _, p := range now.peers {
		if !slices.Contains(old.peers, p) {
			add("neighbor %s activate", p.Address)
		}
	}
	if old.asn == 0 {
		add("advertise-all-vni")
		// The controller looks for duplicate MACs (RFC 7432 section 15.1): it
		// knows which moves were asked for.
		add("no dup-addr-detection")
	}
	cs = append(cs, targetCommands(old, now)...)
	add("exit-address-family")
	return cs
}

// targetCommands change the route targets of single VNIs.
func targetCommands(old, now evpnConfig) []string {
	var cs []string
	var vnis []intent.VNI
	for v := range old.targets {
		vnis = append(vnis, v)
	}
	for v := range now.targets {
		vnis = append(vnis, v)
	}
	slices.Sort(vnis)
	for _, v := range slices.Compact(vnis) {
		was, is := old.targets[v], now.targets[v]
		if slices.Equal(was[0], is[0]) && slices.Equal(was[1], is[1]) {
			continue
		}
		cs = append(cs, fmt.Sprintf("vni %d", v))
		for i, way := range []string{"import", "export"} {
			for _, t := range was[i] {
				if !slices.Contains(is[i], t) {
					cs = append(cs, fmt.Sprintf("no route-target %s %s", way, t))
				}
			}
			for _, t := range is[i] {
				if !slices.Contains(was[i], t) {
					cs = append(cs, fmt.Sprintf("route-target %s %s", way, t))
				}
			}
		}
		cs = append(cs, "exit-vni")
	}
	return cs
}

func (c evpnConfig) equal(o evpnConfig) bool {
	return c.asn == o.asn && slices.Equal(c.peers, o.peers) && len(targetCommands(c, o)) == 0
}

// configure brings bgpd's EVPN part in line. A bgpd that was started again
// since has lost it and gets all of it.
func (s *Switch) configure(ctx context.Context, want evpnConfig) error {
	run, err := bgpdRun(s.config.FRRDir)
	if err != nil {
		return err
	}
	if run != s.frrID {
		s.evpn, s.frrID = evpnConfig{}, run
		if err := s.cleanBGP(ctx, want); err != nil {
			return err
		}
	}
	if want.equal(s.evpn) || want.asn == 0 {
		return nil
	}
	all := append([]string{"configure terminal", fmt.Sprintf("router bgp %d", want.asn)}, commands(s.evpn, want)...)
	if _, err := VTY(ctx, s.config.FRRDir, "bgpd", append(all, "end")...); err != nil {
		s.frrID = "" // some of it may be in place: find out next time
		return err
	}
	s.evpn = want
	return nil
}

// bgpdRun names the run of bgpd: its socket is made anew at each start.
func bgpdRun(dir string) (string, error) {
	st, err := os.Stat(filepath.Join(dir, "bgpd.vty"))
	if err != nil {
		return "", err
	}
	return st.ModTime().String(), nil
}

// cleanBGP finds out what an earlier run of the agent configured. What is as it
// is to be is taken over, so that its sessions stay; else it is removed.
func (s *Switch) cleanBGP(ctx context.Context, want evpnConfig) error {
	text, err := VTY(ctx, s.config.FRRDir, "bgpd", "show running-config")
	if err != nil {
		return err
	}
	var found evpnConfig
	var have []string
	for _, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		have = append(have, line)
		if peer, ok := strings.CutSuffix(line, " description weft"); ok {
			found.peers = append(found.peers, leafstate.Peer{})
			p := &found.peers[len(found.peers)-1]
			_ = p.Address.UnmarshalText([]byte(strings.TrimPrefix(peer, "neighbor "))) // FRR wrote it
		}
	}
	for i := range found.peers {
		for _, p := range want.peers {
			if p.Address == found.peers[i].Address && (p.Password == "" || slices.Contains(have, fmt.Sprintf("neighbor %s password %s", p.Address, p.Password))) {
				found.peers[i] = p
			}
		}
	}
	if len(found.peers) > 0 && slices.Contains(have, "advertise-all-vni") {
		found.asn = want.asn
	}
	found.targets = readTargets(have)
	s.evpn = found
	return nil
}

// readTargets reads the route targets of single VNIs from a configuration.
func readTargets(lines []string) map[intent.VNI][2][]string {
	out := map[intent.VNI][2][]string{}
	var v intent.VNI
	for _, line := range lines {
		var t string
		switch {
		case line == "exit-vni" || line == "exit-address-family":
			v = 0
		case strings.HasPrefix(line, "vni "):
			_, _ = fmt.Sscanf(line, "vni %d", &v)
		case v == 0:
		default:
			for i, way := range []string{"import", "export"} {
				if _, err := fmt.Sscanf(line, "route-target "+way+" %s", &t); err == nil {
					pair := out[v]
					pair[i] = append(pair[i], t)
					out[v] = pair
				}
			}
		}
	}
	return out
}

// Software is FRR's name and version as bgpd tells it, once for each of its
// runs.
func (s *Switch) Software(ctx context.Context) string {
	run, err := bgpdRun(s.config.FRRDir)
	if err != nil {
		return ""
	}
	s.softwareMu.Lock()
	defer s.softwareMu.Unlock()
	if s.softwareOf != run {
		if s.software = s.askSoftware(ctx); s.software != "" {
			s.softwareOf = run
		}
	}
	return s.software
}

func (s *Switch) askSoftware(ctx context.Context) string {
	b, err := VTY(ctx, s.config.FRRDir, "bgpd", "show version")
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	name, _, _ := strings.Cut(strings.TrimSpace(line), " (")
	return name
}
