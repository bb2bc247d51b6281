//go:build lab

package evpn

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// inject is the other process: it sets each list of its standard input.
func inject(ctx context.Context, cfg InjectorConfig) error {
	i := NewInjector(cfg)
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			var routes []Injection
			if err := json.Unmarshal(lines.Bytes(), &routes); err != nil {
				panic(err)
			}
			if err := i.Set(routes); err != nil {
				panic(err)
			}
		}
	}()
	return i.Run(ctx)
}

// steered is a leaf with two spines that both lead to 10.254.0.3, and the controller's
// host.
type steered struct {
	*bench
	spines     [2]string
	controller *process
}

const steeredLeaf = `frr defaults datacenter
router bgp 65001
 bgp router-id 10.255.0.1
 no bgp default ipv4-unicast
 neighbor 10.1.0.0 remote-as 65100
 neighbor 10.1.0.2 remote-as 65100
 neighbor 10.1.0.0 timers connect 1
 neighbor 10.1.0.2 timers connect 1
 neighbor 10.0.0.2 remote-as 65001
 neighbor 10.0.0.2 passive
 address-family ipv4 unicast
  network 10.255.0.1/32
  neighbor 10.1.0.0 activate
  neighbor 10.1.0.2 activate
  neighbor 10.0.0.2 activate
  neighbor 10.0.0.2 route-map NOTHING out
  maximum-paths 64
  maximum-paths ibgp 64
 exit-address-family
route-map NOTHING deny 10
`

const steeredSpine = `frr defaults datacenter
router bgp 65100
 bgp router-id 10.255.1.%[1]d
 no bgp default ipv4-unicast
 neighbor 10.1.0.%[2]d remote-as 65001
 neighbor 10.1.0.%[2]d timers connect 1
 address-family ipv4 unicast
  network 10.254.0.3/32
  neighbor 10.1.0.%[2]d activate
 exit-address-family
`

func newSteered(t *testing.T) *steered {
	s := &steered{bench: newBench(t)}
	s.run("ip", "-n", s.leaf, "addr", "add", "10.255.0.1/32", "dev", "lo")
	for i := range s.spines {
		ns := fmt.Sprintf("wes%d-%d", i+1, os.Getpid())
		s.spines[i] = ns
		s.run("ip", "netns", "add", ns)
		t.Cleanup(func() { s.run("ip", "netns", "del", ns) })
		s.run("ip", "-n", ns, "link", "set", "lo", "up")
		s.run("ip", "link", "add", fmt.Sprintf("up%d", i+1), "netns", s.leaf, "type", "veth", "peer", "name", "down1", "netns", ns)
		s.run("ip", "-n", s.leaf, "addr", "add", fmt.Sprintf("10.1.0.%d/31", 2*i+1), "dev", fmt.Sprintf("up%d", i+1))
		s.run("ip", "-n", ns, "addr", "add", fmt.Sprintf("10.1.0.%d/31", 2*i), "dev", "down1")
		s.run("ip", "-n", s.leaf, "link", "set", fmt.Sprintf("up%d", i+1), "up")
		s.run("ip", "-n", ns, "link", "set", "down1", "up")
		s.run("ip", "-n", ns, "addr", "add", "10.254.0.3/32", "dev", "lo")
		s.router(ns, fmt.Sprintf("spine%d", i+1), fmt.Sprintf(steeredSpine, i+1, 2*i+1))
	}
	s.router(s.leaf, "leaf", steeredLeaf)
	s.until("ECMP", func() bool { return s.via("10.1.0.0*1,10.1.0.2*1") })
	s.controller = s.child(s.ctl, "controller", child{Injector: &InjectorConfig{Leaf: netip.MustParseAddrPort("10.0.0.1:179"),
		ASN: 65001, RouterID: netip.MustParseAddr("10.0.0.2")}})
	return s
}

// router starts zebra and bgpd in a namespace, without nexthop objects as in Weft's
// fabrics: with them zebra 8.4 uses a group again of which the kernel dropped a member
// when a link was down, and one next hop is missing.
func (s *steered) router(ns, name, conf string) {
	s.t.Helper()
	dir := s.dir + "/" + name
	require.NoError(s.t, os.Mkdir(dir, 0o755))
	require.NoError(s.t, os.WriteFile(dir+"/zebra.conf", []byte("hostname "+name+"\nno zebra nexthop kernel enable\n"), 0o644))
	require.NoError(s.t, os.WriteFile(dir+"/bgpd.conf", []byte(conf), 0o644))
	s.run("chown", "-R", "frr:frr", s.dir)
	s.run("chmod", "755", s.dir)
	s.start(ns, name+"-zebra", "", "/usr/lib/frr/zebra", "-f", dir+"/zebra.conf", "-i", dir+"/zebra.pid", "-z", dir+"/zserv.api",
		"--vty_socket", dir, "-A", "127.0.0.1", "-P", "0", "--log", "stdout")
	s.until("zebra", func() bool { _, err := os.Stat(dir + "/zserv.api"); return err == nil })
	s.start(ns, name+"-bgpd", "", "/usr/lib/frr/bgpd", "-f", dir+"/bgpd.conf", "-i", dir+"/bgpd.pid", "-z", dir+"/zserv.api",
		"--vty_socket", dir, "-A", "127.0.0.1", "-P", "0", "-p", "179", "--log", "stdout")
	s.until("bgpd", func() bool { return s.show(ns, name, "show bgp summary") != "" })
}

func (s *steered) show(ns, name, command string) string {
	return output(ns, "vtysh", "--vty_socket", s.dir+"/"+name, "-c", command)
}

// hops is the leaf's route in the kernel: next hops by address with their weights.
func (s *steered) hops() string {
	var routes []struct {
		Gateway  string `json:"gateway"`
		NextHops []struct {
			Gateway string   `json:"gateway"`
			Weight  int      `json:"weight"`
			Flags   []string `json:"flags"`
		} `json:"nexthops"`
	}
	if err := json.Unmarshal([]byte(output(s.leaf, "ip", "-j", "route", "show", "10.254.0.3")), &routes); err != nil || len(routes) != 1 {
		return fmt.Sprint(err, len(routes))
	}
	if routes[0].Gateway != "" {
		return routes[0].Gateway
	}
	var out []string
	for _, h := range routes[0].NextHops {
		out = append(out, fmt.Sprintf("%s*%d", h.Gateway, h.Weight))
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func (s *steered) via(want string) bool { return s.hops() == want }

// set tells the controller what to inject: a weight for each spine, 0 for none.
func (s *steered) set(one, two int) {
	s.t.Helper()
	r := Injection{Prefix: netip.MustParsePrefix("10.254.0.3/32")}
	for i, w := range []int{one, two} {
		if w > 0 {
			r.Hops = append(r.Hops, InjectedHop{netip.AddrFrom4([4]byte{10, 1, 0, byte(2 * i)}), w})
		}
	}
	list := []Injection{}
	if len(r.Hops) > 0 {
		list = append(list, r)
	}
	line, err := json.Marshal(list)
	require.NoError(s.t, err)
	_, err = s.controller.in.Write(append(line, '\n'))
	require.NoError(s.t, err)
}

// What is injected is in the kernel of an FRR leaf, as one next hop or with weights;
// what dies falls back by itself and comes back; without the controller it is ECMP.
func TestInjectionAtFRR(t *testing.T) {
	s := newSteered(t)
	wait := func(want string) {
		t.Helper()
		began := time.Now()
		if !assert.Eventually(t, func() bool { return s.via(want) }, time.Minute, 10*time.Millisecond, want) {
			t.Fatalf("the kernel has %s:\n%s\n%s", s.hops(),
				s.show(s.leaf, "leaf", "show ip route 10.254.0.3/32"), s.show(s.leaf, "leaf", "show bgp ipv4 unicast 10.254.0.3/32"))
		}
		t.Logf("%s after %d ms", want, time.Since(began).Milliseconds())
	}
	s.set(0, 1)
	wait("10.1.0.2")
	s.set(3, 1)
	wait("10.1.0.0*75,10.1.0.2*25")
	s.set(1, 3)
	wait("10.1.0.0*25,10.1.0.2*75")
	// No spine learns it.
	for i, ns := range s.spines {
		name := fmt.Sprintf("spine%d", i+1)
		s.until(name+" knows the leaf", func() bool {
			return strings.Contains(s.show(ns, name, "show bgp ipv4 unicast 10.255.0.1/32"), "(10.255.0.1)")
		})
		require.NotContains(t, s.show(ns, name, "show bgp ipv4 unicast 10.254.0.3/32"), "(10.255.0.1)")
		require.NotContains(t, s.show(s.leaf, "leaf", fmt.Sprintf("show bgp ipv4 unicast neighbors 10.1.0.%d advertised-routes", 2*i)), "10.254.0.3")
	}
	require.Contains(t, s.show(s.leaf, "leaf", "show bgp ipv4 unicast 10.254.0.3/32"), "no-export")

	s.set(0, 0)
	wait("10.1.0.0*1,10.1.0.2*1")
	s.set(0, 1)
	wait("10.1.0.2")
	s.set(0, 0)
	wait("10.1.0.0*1,10.1.0.2*1")
	s.set(0, 1)
	wait("10.1.0.2")
	s.run("ip", "-n", s.leaf, "link", "set", "up2", "down")
	wait("10.1.0.0")
	s.run("ip", "-n", s.leaf, "link", "set", "up2", "up")
	wait("10.1.0.2")

	s.set(0, 0)
	wait("10.1.0.0*1,10.1.0.2*1")
	s.set(0, 1)
	wait("10.1.0.2")
	s.set(1, 1)
	wait("10.1.0.0*50,10.1.0.2*50")
	s.set(0, 0)
	wait("10.1.0.0*1,10.1.0.2*1")
	s.set(1, 0)
	wait("10.1.0.0")
	s.controller.kill()
	wait("10.1.0.0*1,10.1.0.2*1")
}
