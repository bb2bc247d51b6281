package linux

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// evpnConfig is the EVPN part of bgpd's configuration.
type evpnConfig struct {
	asn     uint32
	restart bool // graceful, see commands
	all     bool // VNIs are announced
	lenient bool // bgpd does not look for duplicates, see commands
	peers   []leafstate.Peer
	lacking map[netip.Addr]bool        // of peers: some of their lines are not there
	targets map[intent.VNI][2][]string // import and export, where they are given
}

// evpnOf is the part that a state asks for. bgpd keeps it while a leaf has no
// segment. A keeper takes the place of the controllers.
func evpnOf(s leafstate.State, keeper netip.Addr) evpnConfig {
	if keeper.IsValid() && len(s.Peers) > 0 {
		s.Peers = []leafstate.Peer{{Address: keeper}}
	}
	c := evpnConfig{asn: s.ASN, restart: true, all: true, lenient: true, peers: s.Peers, targets: map[intent.VNI][2][]string{}}
	for _, seg := range s.Segments {
		if len(seg.Import)+len(seg.Export) > 0 {
			c.targets[seg.VNI] = [2][]string{seg.Import, seg.Export}
		}
	}
	return c
}

// peerLines are a peer's lines; its description says that it is ours.
func peerLines(p leafstate.Peer, asn uint32) []string {
	lines := []string{
		fmt.Sprintf("neighbor %s remote-as %d", p.Address, asn),
		fmt.Sprintf("neighbor %s description weft", p.Address),
		fmt.Sprintf("neighbor %s passive", p.Address),
		fmt.Sprintf("neighbor %s timers 3 9", p.Address),
		fmt.Sprintf("neighbor %s advertisement-interval 0", p.Address),
	}
	if p.Password != "" {
		lines = append(lines, fmt.Sprintf("neighbor %s password %s", p.Address, p.Password))
	}
	return lines
}

func activateLine(p leafstate.Peer) string { return fmt.Sprintf("neighbor %s activate", p.Address) }

// commands are what brings bgpd from one configuration to another; none when
// they are the same. Sessions that stay are not touched: lines that are given
// once more reset nothing.
func commands(old, now evpnConfig) []string {
	var general, evpn []string
	for _, p := range old.peers {
		if !slices.Contains(now.peers, p) {
			general = append(general, fmt.Sprintf("no neighbor %s", p.Address))
		}
	}
	if now.restart && !old.restart {
		// So that the leaf's own routes outlive a restart of its bgpd (RFC
		// 4724).
		general = append(general, "bgp graceful-restart")
	}
	for _, p := range now.peers {
		if !slices.Contains(old.peers, p) || old.lacking[p.Address] {
			general = append(general, peerLines(p, now.asn)...)
			evpn = append(evpn, activateLine(p))
		}
	}
	if now.all && !old.all {
		evpn = append(evpn, "advertise-all-vni")
	}
	if now.lenient && !old.lenient {
		// The controller looks for duplicate MACs (RFC 7432 section 15.1): it
		// knows which moves were asked for.
		evpn = append(evpn, "no dup-addr-detection")
	}
	evpn = append(evpn, targetCommands(old, now)...)
	if len(evpn) > 0 {
		general = append(append(general, "address-family l2vpn evpn"), append(evpn, "exit-address-family")...)
	}
	return general
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

// configure brings bgpd's EVPN part in line with what it says it has: an
// earlier run of the agent may have configured it, it may have been started
// again since, or somebody else may have changed it. It returns the commands that
// were needed.
func (s *Switch) configure(ctx context.Context, want evpnConfig) ([]string, error) {
	text, err := VTY(ctx, s.config.FRRDir, "bgpd", "show running-config")
	if err != nil || want.asn == 0 {
		return nil, err
	}
	change := commands(readEVPN(string(text), want.asn), want)
	if len(change) == 0 {
		return nil, nil
	}
	all := append([]string{"configure terminal", fmt.Sprintf("router bgp %d", want.asn)}, change...)
	_, err = VTY(ctx, s.config.FRRDir, "bgpd", append(all, "end")...)
	return change, err
}

// daemonStart is when a daemon started: its command socket is made anew at each start.
func daemonStart(dir, daemon string) (time.Time, error) {
	st, err := os.Stat(filepath.Join(dir, daemon+".vty"))
	if err != nil {
		return time.Time{}, err
	}
	return st.ModTime(), nil
}

// daemonRun names the run of a daemon.
func daemonRun(dir, daemon string) (string, error) {
	at, err := daemonStart(dir, daemon)
	if err != nil {
		return "", err
	}
	return at.String(), nil
}

func bgpdRun(dir string) (string, error) { return daemonRun(dir, "bgpd") }

// Ready reports whether bgpd can be given an EVPN part: an instance is there, which
// the underlay's part of the agent makes. When bgpd can't be asked Apply says so.
func (s *Switch) Ready(ctx context.Context) bool {
	text, err := VTY(ctx, s.config.FRRDir, "bgpd", "show running-config")
	return err != nil || strings.Contains(string(text), "\nrouter bgp ")
}

// readEVPN reads our part from a configuration of bgpd.
func readEVPN(text string, asn uint32) evpnConfig {
	var have []string
	for _, line := range strings.Split(text, "\n") {
		have = append(have, strings.TrimSpace(line))
	}
	c := evpnConfig{
		asn: asn, restart: slices.Contains(have, "bgp graceful-restart"), all: slices.Contains(have, "advertise-all-vni"),
		lenient: slices.Contains(have, "no dup-addr-detection"), lacking: map[netip.Addr]bool{}, targets: readTargets(have),
	}
	for _, line := range have {
		name, ours := strings.CutSuffix(line, " description weft")
		addr, err := netip.ParseAddr(strings.TrimPrefix(name, "neighbor "))
		if !ours || err != nil {
			continue
		}
		p := leafstate.Peer{Address: addr}
		for _, l := range have {
			if word, ok := strings.CutPrefix(l, fmt.Sprintf("neighbor %s password ", addr)); ok {
				p.Password = word
			}
		}
		c.peers = append(c.peers, p)
		for _, l := range append(peerLines(p, asn), activateLine(p)) {
			if !slices.Contains(have, l) {
				c.lacking[addr] = true
			}
		}
	}
	return c
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
