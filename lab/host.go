package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
)

// needs are the programs that a lab runs and the Debian packages they are in.
var needs = []struct{ program, pkg string }{
	{filepath.Join(frrDir, "zebra"), "frr"}, {filepath.Join(frrDir, "bgpd"), "frr"}, {"vtysh", "frr"},
	{"ovsdb-server", "openvswitch-switch"}, {"ovs-vswitchd", "openvswitch-switch"},
	{"ovs-vsctl", "openvswitch-switch"}, {"ovsdb-tool", "openvswitch-switch"}, {"ip", "iproute2"},
	{"vtep-ctl", "openvswitch-vtep"}, {vtepEmulator, "openvswitch-vtep"}, {python, "openvswitch-vtep"},
	{"nft", "nftables"},
}

// CheckHost tells what this machine lacks for the lab, and what to do.
func CheckHost(s *State) error {
	if os.Geteuid() != 0 {
		return errors.New("labs need root, for network namespaces: run it with sudo")
	}
	want := map[string]bool{}
	for _, n := range s.Nodes {
		want["frr"] = want["frr"] || n.Router != nil
		want["iproute2"] = want["iproute2"] || len(n.Exec) > 0
		want["openvswitch-switch"] = want["openvswitch-switch"] || n.VTEP != nil
		want["nftables"] = want["nftables"] || n.EVPN
		want["openvswitch-vtep"] = want["openvswitch-vtep"] || n.Role == intent.RoleVTEP
	}
	var missing, pkgs []string
	for _, n := range needs {
		if _, err := exec.LookPath(n.program); err != nil && want[n.pkg] {
			missing = append(missing, filepath.Base(n.program))
			if !slices.Contains(pkgs, n.pkg) {
				pkgs = append(pkgs, n.pkg)
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing here: %s: install with \"apt-get install -y %s\"", strings.Join(missing, ", "), strings.Join(pkgs, " "))
	}
	return nil
}

// neighbours is the least that the kernel's neighbour tables must hold. All
// namespaces share them, and 64 VMs that all talk fill the usual 1024.
const neighbours = 65536

// neighbourLimit is where the kernel has that limit; it is the host's.
func neighbourLimit(ip string) string {
	return "/proc/sys/net/" + ip + "/neigh/default/gc_thresh3"
}

// growNeighbours raises the limit of the neighbour tables. What it was stands
// in the state before, so that the last lab that needs it can put it back.
func (r *run) growNeighbours() error {
	s := r.state
	for _, ip := range []string{"ipv4", "ipv6"} {
		b, err := os.ReadFile(neighbourLimit(ip))
		if errors.Is(err, os.ErrNotExist) {
			continue // a container, whose host decides
		}
		if err != nil {
			return err
		}
		was := strings.TrimSpace(string(b))
		n, err := strconv.Atoi(was)
		if err != nil {
			continue
		}
		if n >= neighbours {
			if other := s.raisedByOthers(ip); other != "" {
				s.noteRaised(ip, other)
			}
			continue
		}
		s.noteRaised(ip, was)
		if err := s.save(); err != nil {
			return err
		}
		if err := os.WriteFile(neighbourLimit(ip), []byte(strconv.Itoa(neighbours)), 0o644); err != nil {
			return fmt.Errorf("raise the limit of the neighbour tables: %w", err)
		}
		r.progress.Note(fmt.Sprintf("net.%s.neigh.default.gc_thresh3 of this machine is %d, and %s again without this lab: all VMs together have many neighbours", ip, neighbours, was))
	}
	return s.save()
}

func (s *State) noteRaised(ip, was string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Raised == nil {
		s.Raised = map[string]string{}
	}
	s.Raised[ip] = was
}

// raisedByOthers is what a limit was before another lab raised it; empty when
// none did.
func (s *State) raisedByOthers(ip string) string {
	all, err := List()
	if err != nil {
		return ""
	}
	for _, o := range all {
		if o.Name != s.Name && o.Raised[ip] != "" {
			return o.Raised[ip]
		}
	}
	return ""
}

// shrinkNeighbours puts the limits back, unless another lab needs them or
// somebody else has set them since.
func (s *State) shrinkNeighbours() error {
	var errs []error
	for ip, was := range s.Raised {
		b, err := os.ReadFile(neighbourLimit(ip))
		if err != nil || strings.TrimSpace(string(b)) != strconv.Itoa(neighbours) || s.raisedByOthers(ip) != "" {
			continue
		}
		if err := os.WriteFile(neighbourLimit(ip), []byte(was), 0o644); err != nil {
			errs = append(errs, fmt.Errorf("put the limit of the neighbour tables back: %w", err))
		}
	}
	return errors.Join(errs...)
}
