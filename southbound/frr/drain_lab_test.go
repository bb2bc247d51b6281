//go:build lab

package frr_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/device"
	"github.com/weft-sdn/weft/southbound/frr"
)

// A drained spine is left by all traffic, without a packet lost or a session that
// flaps, and taken again when it is drained no more: by BGP, with its own addresses
// on links and without, and by IS-IS.
func TestFabricDrains(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root for network namespaces")
	}
	g := clos(2, 2, "hypervisor1:eth1 leaf1:eth3", "hypervisor2:eth1 leaf2:eth3")
	for name, p := range map[string]fabric.Params{
		"numbered": {BFD: true}, "unnumbered": {Unnumbered: true, Loopbacks6: prefix("fd00:ff::/64")}, "IS-IS": {Protocol: fabric.ISIS},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, plan(t, g, p))
			r.start()
			r.wait("all sessions are established", r.sessionsUp)
			both := func(want int) {
				t.Helper()
				for _, way := range [][2]string{{"leaf1", "leaf2"}, {"leaf2", "leaf1"}} {
					to := r.node(way[1])
					for _, a := range []netip.Addr{to.Loopback, to.Rack.Addr(), to.Loopback6} {
						if a.IsValid() {
							r.wait(fmt.Sprintf("%s has %d next hops to %s", way[0], want, a), func() error { return r.nextHops(way[0], a, want) })
						}
					}
				}
			}
			both(2)
			for _, spine := range []string{"spine1", "spine2"} {
				lost := r.stream("hypervisor1", r.node("hypervisor2").VTEP)
				r.drain(spine, true)
				both(1)
				r.wait(spine+" forwards nothing any more", r.still(spine))
				r.drain(spine, false)
				both(2)
				if n, sent := lost(); n != 0 || sent < 100 {
					t.Errorf("%s was drained and undrained: %d of %d packets are lost", spine, n, sent)
				} else {
					t.Logf("%s was drained and undrained: none of %d packets is lost", spine, sent)
				}
			}
			if err := r.sessionsUp(); err != nil {
				t.Error(err)
			}
		})
	}
}

// drain changes a switch's FRR as an agent does: only by the lines that differ.
func (r *rig) drain(node string, yes bool) {
	r.t.Helper()
	args := []string{"--vty_socket", filepath.Join(r.dir, node), "-c", "configure terminal"}
	texts := map[bool]string{}
	for _, drained := range []bool{false, true} {
		s, err := fabric.Device(r.facts, node)
		if err != nil {
			r.t.Fatal(err)
		}
		s.Drained = drained
		texts[drained] = rendered(r.t, s)
	}
	before, after := strings.Split(texts[!yes], "\n"), strings.Split(texts[yes], "\n")
	context := ""
	send := func(line string) { args = append(args, "-c", context, "-c", line) }
	for _, l := range before {
		if !strings.HasPrefix(l, " ") {
			context = l
		}
		if !slices.Contains(after, l) {
			send("no" + l)
		}
	}
	for _, l := range after {
		if !strings.HasPrefix(l, " ") {
			context = l
		}
		if !slices.Contains(before, l) {
			send(l)
		}
	}
	if len(args) != 8 {
		r.t.Fatalf("not one line differs: %q", args)
	}
	r.run("vtysh", args...)
}

func rendered(t *testing.T, s device.State) string {
	t.Helper()
	c, err := frr.Render(s)
	if err != nil {
		t.Fatal(err)
	}
	return c.Text()
}

// stream sends a packet a millisecond until its result is asked for, and a hundred more
// are answered: what was not answered of those before is lost, not on its way.
func (r *rig) stream(from string, to netip.Addr) func() (lost, sent int) {
	r.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", r.ns(from), "ping", "-i", "0.001", "-W", "2", to.String())
	var out answers
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { cmd.Process.Kill() })
	return func() (int, int) {
		last, _ := out.seen()
		r.wait("packets are answered at the end", func() error {
			if now, _ := out.seen(); now < last+100 {
				return fmt.Errorf("packet %d was the last that was answered, %d before", now, last)
			}
			return nil
		})
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		last, n := out.seen()
		return last - n, last
	}
}

// answers are what ping prints.
type answers struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (a *answers) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.text = append(a.text, b...)
	return len(b), nil
}

// seen is the number of the last packet that was answered, and how many were.
func (a *answers) seen() (last, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := map[int]bool{}
	for _, m := range answered.FindAllSubmatch(a.text, -1) {
		seq, err := strconv.Atoi(string(m[1]))
		if err == nil {
			all[seq], last = true, max(last, seq)
		}
	}
	return last, len(all)
}

var answered = regexp.MustCompile(`icmp_seq=(\d+) ttl=`)

// still reports whether a switch has forwarded nothing since it was asked before.
func (r *rig) still(node string) func() error {
	last := -1
	return func() error {
		out, err := exec.Command("ip", "netns", "exec", r.ns(node), "cat", "/proc/net/snmp").Output()
		if err != nil {
			return err
		}
		now, err := forwarded(string(out))
		if err != nil {
			return err
		}
		was := last
		if last = now; was != now {
			return fmt.Errorf("%d packets forwarded, %d before", now, was)
		}
		return nil
	}
}

// forwarded reads ForwDatagrams (RFC 4293 ipIfStatsOutForwDatagrams) of /proc/net/snmp.
func forwarded(snmp string) (int, error) {
	var names []string
	for l := range strings.Lines(snmp) {
		f := strings.Fields(l)
		if len(f) == 0 || f[0] != "Ip:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		if i := slices.Index(names, "ForwDatagrams"); i > 0 && i < len(f) {
			return strconv.Atoi(f[i])
		}
	}
	return 0, errors.New("/proc/net/snmp has no ForwDatagrams")
}
