//go:build lab

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/topology"
)

// How long an answer is waited for that must not come, and one to a session's begin.
const (
	refusedAfter = 400 * time.Millisecond
	allowedAfter = 30 * time.Second
)

// group makes a group of a tenant from rules in words: "ingress tcp 80 from app",
// "egress any to 10.0.0.0/8".
func (w *site) group(tenant, name string, rules ...string) *intent.SecurityGroup {
	w.Helper()
	g := &intent.SecurityGroup{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindSecurityGroup},
		Metadata: intent.Metadata{Tenant: tenant, Name: name}}
	for _, text := range rules {
		words := strings.Fields(text)
		r := intent.SecurityRule{Direction: intent.Direction(words[0])}
		for i := 1; i < len(words); i++ {
			switch word := words[i]; {
			case word == "from" || word == "to":
				i++
				if p, err := netip.ParsePrefix(words[i]); err == nil {
					r.CIDR = p
				} else {
					r.Group = words[i]
				}
			case word == "type":
				i++
				n, err := strconv.ParseUint(words[i], 10, 8)
				require.NoError(w, err)
				t := uint8(n)
				r.ICMPType = &t
			case word[0] >= '0' && word[0] <= '9':
				require.NoError(w, r.Ports.UnmarshalText([]byte(word)))
			case word != "any":
				r.Protocol = intent.Protocol(word)
			}
		}
		g.Spec.Rules = append(g.Spec.Rules, r)
	}
	return g
}

// join puts a VM's port into groups, and waits until that is so everywhere.
func (w *site) join(vm string, groups ...string) {
	w.Helper()
	p := w.portOf(vm)
	p.Spec.SecurityGroups = groups
	w.put(p)
}

// groupReady waits until all edges know who is in a group of blue.
func (w *site) groupReady(name string) {
	w.Helper()
	w.eventually(patience, func() error {
		if s := w.cliGet(intent.Ref{Kind: intent.KindSecurityGroup, Tenant: "blue", Name: name}); s.Phase != intent.PhaseReady {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

// address is a VM's, of IP version 4 or 6.
func (w *site) address(vm string, version int) netip.Addr {
	w.Helper()
	for _, a := range w.portOf(vm).Spec.Addresses {
		if a.Is4() == (version == 4) {
			return a
		}
	}
	require.Fail(w, "no address", "%s, IPv%d", vm, version)
	return netip.Addr{}
}

// serve answers in a VM until the test ends: what comes to the TCP and UDP ports,
// in both IP versions, goes back.
func (w *site) serve(vm string, ports ...uint16) {
	w.Helper()
	require.NoError(w, netns.Do(w.Namespace(vm), func() error {
		for _, port := range ports {
			l, err := net.ListenTCP("tcp", &net.TCPAddr{Port: int(port)})
			if err != nil {
				return err
			}
			w.Cleanup(func() { l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
				}
			}()
			for _, a := range []netip.Addr{w.address(vm, 4), w.address(vm, 6)} { // the answer must have the address that was asked
				u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
				if err != nil {
					return err
				}
				w.Cleanup(func() { u.Close() })
				go func() {
					buf := make([]byte, 1<<16)
					for {
						n, from, err := u.ReadFromUDPAddrPort(buf)
						if errors.Is(err, net.ErrClosed) {
							return
						}
						if err == nil {
							_, _ = u.WriteToUDPAddrPort(buf[:n], from)
						}
					}
				}()
			}
		}
		return nil
	}))
}

// dial connects from a VM by TCP.
func (w *site) dial(from string, to netip.Addr, port uint16, within time.Duration) (c net.Conn, err error) {
	err = netns.Do(w.Namespace(from), func() error {
		c, err = net.DialTimeout("tcp", netip.AddrPortFrom(to, port).String(), within)
		return err
	})
	return c, err
}

// reach tries once: tcp and udp want what they send back, ping is ping.
func (w *site) reach(from string, to netip.Addr, proto string, port uint16, within time.Duration) error {
	switch proto {
	case "tcp":
		c, err := w.dial(from, to, port, within)
		if err != nil {
			return err
		}
		defer c.Close()
		return echoes(c, 10, within)
	case "udp", "udp-fragments":
		var c net.Conn
		err := netns.Do(w.Namespace(from), func() (err error) {
			c, err = net.Dial("udp", netip.AddrPortFrom(to, port).String())
			return err
		})
		if err != nil {
			return err
		}
		defer c.Close()
		size := 10
		if proto == "udp-fragments" {
			size = 4000
		}
		return echoes(c, size, within)
	}
	args := []string{"netns", "exec", w.Namespace(from), "ping", "-n", "-c", "1", "-W", fmt.Sprintf("%.1f", within.Seconds())}
	if proto == "ping-fragments" {
		args = append(args, "-s", "4000")
	}
	out, err := exec.Command("ip", append(args, to.String())...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func echoes(c net.Conn, size int, within time.Duration) error {
	_ = c.SetDeadline(time.Now().Add(within))
	if _, err := c.Write(make([]byte, size)); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, size))
	return err
}

// attempt is one that must come through or must not.
type attempt struct {
	from, to string
	proto    string
	port     uint16
	allowed  bool
}

// attempts tries all in both IP versions. What must come through is tried until it
// does, what must not is tried once.
func (w *site) attempts(all []attempt) {
	w.Helper()
	for _, a := range all {
		for _, v := range []int{4, 6} {
			to := w.address(a.to, v)
			if a.allowed {
				w.eventually(patience, func() error { return w.reach(a.from, to, a.proto, a.port, time.Second) })
			} else if err := w.reach(a.from, to, a.proto, a.port, refusedAfter); err == nil {
				require.Fail(w, "came through", "%+v by IPv%d", a, v)
			}
		}
	}
}

// chat is a TCP session in which something is said and answered all the time.
type chat struct {
	net.Conn
	last atomic.Int64 // when the last answer came
	said atomic.Int64
}

const chatEvery = 10 * time.Millisecond

func (w *site) chat(from string, to netip.Addr, port uint16) *chat {
	w.Helper()
	c, err := w.dial(from, to, port, allowedAfter)
	require.NoError(w, err)
	ctx, stop := context.WithCancel(w.Context())
	w.Cleanup(func() { stop(); c.Close() })
	s := &chat{Conn: c}
	go func() {
		buf := make([]byte, 1)
		for ctx.Err() == nil {
			if _, err := c.Write(buf); err != nil {
				return
			}
			if _, err := io.ReadFull(c, buf); err != nil {
				return
			}
			s.last.Store(time.Now().UnixNano())
			s.said.Add(1)
			time.Sleep(chatEvery)
		}
	}()
	return s
}

// quiet is for how long nothing was answered.
func (s *chat) quiet() time.Duration { return time.Since(time.Unix(0, s.last.Load())) }

// lives wants answers. Where there were none for some time, TCP sends again only after as
// much.
func (s *chat) lives(w *site, what string) {
	w.Helper()
	before := s.said.Load()
	w.eventually(patience, func() error {
		if s.said.Load() < before+5 {
			return fmt.Errorf("%s: nothing was answered for %s", what, s.quiet())
		}
		return nil
	})
}

// ends wants that nothing is answered any more, and says since when.
func (s *chat) ends(w *site, since time.Time) {
	w.Helper()
	w.eventually(patience, func() error {
		if s.quiet() < 700*time.Millisecond {
			return errors.New("the session goes on")
		}
		return nil
	})
	died := time.Unix(0, s.last.Load()).Sub(since)
	w.Logf("the last answer came %s after the rule went", died.Round(time.Millisecond))
}

// Security groups with real sockets. Of blue, vm1 and vm3 on hv1 are in web; vm2 on
// hv1 and vm4 on hv2 are in app; vm5 and vm6 on hv2 are in no group. Green has the
// same addresses.
func TestTenantsSecurity(t *testing.T) {
	w := newTenants(t, topology.GenerateParams{Name: "security", Spines: 1, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 6})
	for _, vm := range []string{"blue-vm1", "blue-vm3", "blue-vm2", "blue-vm5", "green-vm1"} {
		w.serve(vm, 80, 81, 8080, 5000, 5005, 5011)
	}
	rules := []string{"ingress tcp 80 from app", "ingress udp 5000-5010 from app", "ingress icmp type 8 from app", "ingress icmpv6 from app",
		"ingress tcp 8080 from " + netip.PrefixFrom(w.address("blue-vm5", 4), 32).String(), "ingress tcp 8080 from " + netip.PrefixFrom(w.address("blue-vm5", 6), 128).String()}
	app, web := w.group("blue", "app"), w.group("blue", "web", rules...)
	w.put(app, web)
	for vm, g := range map[string]string{"blue-vm1": "web", "blue-vm3": "web", "blue-vm2": "app", "blue-vm4": "app"} {
		w.join(vm, g)
	}
	// The other tenant has groups of the same names, and nobody in its app.
	w.put(w.group("green", "app"), w.group("green", "web", rules[:4]...))
	w.join("green-vm1", "web")
	w.ready(patience)

	t.Run("what is allowed and what is not", func(t *testing.T) {
		w := w.in(t)
		var all []attempt
		for _, from := range []string{"blue-vm2", "blue-vm4"} {
			for _, to := range []string{"blue-vm1", "blue-vm3"} {
				all = append(all,
					attempt{from, to, "tcp", 80, true}, attempt{from, to, "tcp", 81, false}, attempt{from, to, "tcp", 8080, false},
					attempt{from, to, "udp", 5000, true}, attempt{from, to, "udp", 5005, true}, attempt{from, to, "udp", 5011, false},
					attempt{from, to, "udp-fragments", 5005, true}, attempt{from, to, "udp-fragments", 5011, false},
					attempt{from, to, "ping", 0, true}, attempt{from, to, "ping-fragments", 0, true})
			}
		}
		all = append(all,
			attempt{"blue-vm5", "blue-vm1", "tcp", 80, false}, attempt{"blue-vm5", "blue-vm1", "ping", 0, false}, attempt{"blue-vm5", "blue-vm1", "udp", 5000, false},
			attempt{"blue-vm5", "blue-vm1", "tcp", 8080, true}, attempt{"blue-vm6", "blue-vm1", "tcp", 8080, false},
			attempt{"blue-vm1", "blue-vm3", "tcp", 80, false}, attempt{"blue-vm3", "blue-vm1", "ping", 0, false}, // web does not allow itself
			attempt{"blue-vm1", "blue-vm2", "tcp", 80, false}, attempt{"blue-vm1", "blue-vm2", "ping", 0, false}, // app allows nothing in
			attempt{"blue-vm1", "blue-vm5", "tcp", 80, true}, attempt{"blue-vm1", "blue-vm5", "udp", 5011, true}, attempt{"blue-vm1", "blue-vm5", "ping", 0, true},
			attempt{"green-vm4", "green-vm1", "tcp", 80, false}, attempt{"green-vm2", "green-vm1", "ping", 0, false}) // equal addresses, another tenant's members
		w.attempts(all)
	})

	t.Run("what the policy counted", func(t *testing.T) {
		w := w.in(t)
		p, err := w.client.Policy(w.Context(), w.portOf("blue-vm1").Ref())
		require.NoError(t, err)
		require.Equal(t, "hv1", p.Node)
		require.Equal(t, 2, p.Ports, "vm1 and vm3 together")
		require.Len(t, p.Rules, len(rules))
		for _, r := range p.Rules {
			require.NotZero(t, r.Packets, r.Rule)
			require.Greater(t, r.Bytes, r.Packets*40, r.Rule)
		}
		require.Equal(t, "deny", p.Ingress.Action)
		require.NotZero(t, p.Ingress.Packets)
		require.Equal(t, "allow", p.Egress.Action)
		require.NotZero(t, p.Egress.Packets)
		text := w.cli("describe", "port", "blue-vm1", "-t", "blue")
		require.Regexp(t, `web\[0\] +ingress tcp 80 from group app +[1-9]`, text)
		require.Regexp(t, `- +ingress anything else: deny +[1-9]`, text)
		t.Log(text[strings.Index(text, "Policy:"):strings.Index(text, "Events:")])
		text = w.cli("get", "flows", "-t", "blue", "--port", "blue-vm1")
		require.Contains(t, text, "IPv4 tcp port 80 with a member of group app may pass by rule 0 of group web: ingress tcp 80 from group app")
		require.NotContains(t, text, "actions=", "each flow is a sentence")
	})

	t.Run("a member that comes, on another hypervisor", func(t *testing.T) {
		w := w.in(t)
		w.join("blue-vm6", "app")
		w.groupReady("app")
		w.attempts([]attempt{{"blue-vm6", "blue-vm1", "tcp", 80, true}, {"blue-vm6", "blue-vm3", "udp", 5000, true}})
		w.join("blue-vm6")
		w.ready(patience)
		w.groupReady("app") // who its members are, other edges have to know
		w.attempts([]attempt{{"blue-vm6", "blue-vm1", "tcp", 80, false}, {"blue-vm6", "blue-vm3", "udp", 5000, false}})
	})

	t.Run("established sessions follow their rule", func(t *testing.T) {
		w := w.in(t)
		for _, v := range []int{4, 6} {
			s := w.chat("blue-vm4", w.address("blue-vm1", v), 80)
			s.lives(w, "at first")
			before := s.said.Load()
			unrelated := w.group("blue", "web", append(rules[:len(rules):len(rules)], "ingress tcp 443 from app")...)
			w.put(unrelated)
			w.ready(patience)
			s.lives(w, "after an unrelated rule came")
			w.put(web)
			w.ready(patience)
			s.lives(w, "after it went")
			w.Logf("IPv%d: %d answers meanwhile", v, s.said.Load()-before)
			since := time.Now()
			w.put(w.group("blue", "web", rules[1:]...))
			s.ends(w, since)
			w.put(web)
			w.ready(patience)
			s.lives(w, "when the rule is back, the session goes on")
			// A member that leaves the group has no rule any more, either.
			since = time.Now()
			w.join("blue-vm4")
			s.ends(w, since)
			w.join("blue-vm4", "app")
			s.Close()
		}
	})

	t.Run("egress rules limit", func(t *testing.T) {
		w := w.in(t)
		w.attempts([]attempt{{"blue-vm2", "blue-vm5", "tcp", 81, true}})
		w.put(w.group("blue", "app", "egress tcp 80 to web"))
		w.ready(patience)
		w.attempts([]attempt{{"blue-vm2", "blue-vm1", "tcp", 80, true}, {"blue-vm2", "blue-vm1", "udp", 5000, false}, {"blue-vm2", "blue-vm5", "tcp", 81, false}, {"blue-vm2", "blue-vm5", "tcp", 80, false}, {"blue-vm4", "blue-vm3", "tcp", 80, true}})
		w.put(app)
		w.ready(patience)
		w.attempts([]attempt{{"blue-vm2", "blue-vm5", "tcp", 81, true}})
	})

	t.Run("who takes a member's address is no member", func(t *testing.T) {
		w := w.in(t)
		stolen := w.address("blue-vm4", 4)
		require.NoError(t, netns.Do(w.Namespace("blue-vm5"), func() error {
			return addAddress(Address{"eth1", netip.PrefixFrom(stolen, 32)})
		}))
		out, err := exec.Command("ip", "netns", "exec", w.Namespace("blue-vm5"), "ping", "-n", "-c", "1", "-W", "0.4", "-I", stolen.String(), w.address("blue-vm1", 4).String()).CombinedOutput()
		require.Error(t, err, "%s", out)
		require.NoError(t, exec.Command("ip", "-n", w.Namespace("blue-vm5"), "addr", "del", stolen.String()+"/32", "dev", "eth1").Run())
	})

	t.Run("without a controller", func(t *testing.T) {
		w := w.in(t)
		s := w.chat("blue-vm4", w.address("blue-vm1", 4), 80)
		s.lives(w, "at first")
		time.Sleep(time.Second) // ages are told in seconds
		before := w.allFlows()
		for _, flows := range before {
			ours(flows) // those that let a new port's sessions in end by themselves
		}
		require.NoError(t, Kill(w.State, controllerNode, true))
		s.lives(w, "while no controller runs")
		w.attempts([]attempt{{"blue-vm2", "blue-vm1", "tcp", 80, true}, {"blue-vm5", "blue-vm1", "tcp", 80, false}})
		w.startController()
		w.ready(patience)
		s.lives(w, "with a new controller")
		w.requireOlder(before, w.allFlows())
	})
}

// A VM that moves under a policy keeps the sessions that it has: those that others
// opened to it, and those that it opened itself, although it only listens.
func TestTenantsSecurityMove(t *testing.T) {
	w := newTenants(t, topology.GenerateParams{Name: "secmove", Spines: 1, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 4})
	w.put(w.group("blue", "app"), w.group("blue", "web", "ingress tcp 80 from app"))
	w.join("blue-vm1", "web")
	w.join("blue-vm4", "app")
	w.ready(patience)
	m := w.mobile("blue-vm1")
	m.socket("hv2")
	w.serve("blue-vm1", 80, 81)
	w.serve("blue-vm2", 80)
	to := w.address("blue-vm1", 4)
	asked := w.chat("blue-vm4", to, 80)
	asked.lives(w, "at first")

	// vm2 pours into a session that vm1 opened; vm1 says nothing.
	l := listen(w, "blue-vm2", 9000)
	c, err := w.dial("blue-vm1", w.address("blue-vm2", 4), 9000, allowedAfter)
	require.NoError(t, err)
	defer c.Close()
	server, err := l.Accept()
	require.NoError(t, err)
	defer server.Close()
	var heard atomic.Int64
	go func() {
		buf := make([]byte, 100)
		for {
			if _, err := io.ReadFull(c, buf); err != nil {
				return
			}
			heard.Add(1)
		}
	}()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		for ctx.Err() == nil {
			if _, err := server.Write(make([]byte, 100)); err != nil {
				return
			}
			time.Sleep(chatEvery)
		}
	}()
	for round, node := range []string{"hv2", "hv1", "hv2"} {
		was := m.at
		m.claim(node)
		w.prepared(w.portOf("blue-vm1").Ref(), node+":"+m.iface(node))
		before := heard.Load()
		m.move(node)
		began := time.Now()
		m.left(was)
		w.eventually(patience, func() error {
			if heard.Load() < before+100 {
				return errors.New("what vm2 pours does not come")
			}
			return nil
		})
		asked.lives(w, "after the move to "+node)
		t.Logf("move %d to %s: both sessions go on within %s", round+1, node, time.Since(began).Round(time.Millisecond))
		w.attempts([]attempt{{"blue-vm4", "blue-vm1", "tcp", 80, true}, {"blue-vm4", "blue-vm1", "tcp", 81, false}, {"blue-vm2", "blue-vm1", "tcp", 80, false}})
	}
}

func listen(w *site, vm string, port int) (l net.Listener) {
	w.Helper()
	require.NoError(w, netns.Do(w.Namespace(vm), func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		return err
	}))
	w.Cleanup(func() { l.Close() })
	return l
}
