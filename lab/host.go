package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// needs are the programs that a lab runs and the Debian packages they are in.
var needs = []struct{ program, pkg string }{
	{filepath.Join(frrDir, "zebra"), "frr"}, {filepath.Join(frrDir, "bgpd"), "frr"}, {"vtysh", "frr"},
	{"ovsdb-server", "openvswitch-switch"}, {"ovs-vswitchd", "openvswitch-switch"},
	{"ovs-vsctl", "openvswitch-switch"}, {"ovsdb-tool", "openvswitch-switch"}, {"ip", "iproute2"},
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
	}
	var missing, pkgs []string
	for _, n := range needs {
		if _, err := exec.LookPath(n.program); err != nil && want[n.pkg] {
			missing = append(missing, filepath.Base(n.program))
			if !strings.Contains(strings.Join(pkgs, " "), n.pkg) {
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

// growNeighbours raises the limit of the neighbour tables; it is the host's,
// and stays.
func (r *run) growNeighbours() error {
	for _, ip := range []string{"ipv4", "ipv6"} {
		path := "/proc/sys/net/" + ip + "/neigh/default/gc_thresh3"
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // a container, whose host decides
		}
		if err != nil {
			return err
		}
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err != nil || n >= neighbours {
			continue
		}
		if err := os.WriteFile(path, []byte(strconv.Itoa(neighbours)), 0o644); err != nil {
			return fmt.Errorf("raise the limit of the neighbour tables: %w", err)
		}
		r.progress.Note(fmt.Sprintf("net.%s.neigh.default.gc_thresh3 of this machine was %s and is now %d, or all VMs together would have too many neighbours", ip, strings.TrimSpace(string(b)), neighbours))
	}
	return nil
}
