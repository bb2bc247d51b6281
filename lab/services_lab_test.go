//go:build lab

package lab

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/topology"
)

// dhcpScript writes what udhcpc got, and sets the routes to single hosts as a
// distribution's script does (option 121).
const dhcpScript = `#!/bin/sh
env | grep -E '^(ip|mask|router|dns|mtu|ntpsrv|domain|lease|serverid|staticroutes|interface)=' | sort > $0.$1.new
set -- $1 $staticroutes
what=$1; shift
while [ $# -ge 2 ]; do
  case $1 in */32) ip route replace $1 dev $interface ;; esac
  shift 2
done
mv $0.$what.new $0.$what
`

// dhcpClient is udhcpc in a VM.
type dhcpClient struct {
	*site
	cmd    *exec.Cmd
	script string

	mu  sync.Mutex
	out bytes.Buffer
}

func (c *dhcpClient) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(b)
}

// said is what the client has printed.
func (c *dhcpClient) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

// dhcp starts a client that asks for all that there is, and keeps its lease.
func (w *site) dhcp(vm string) *dhcpClient {
	w.Helper()
	c := &dhcpClient{site: w, script: filepath.Join(w.TempDir(), vm+".sh")}
	require.NoError(w, os.WriteFile(c.script, []byte(dhcpScript), 0o755))
	c.cmd = exec.Command("udhcpc", "-f", "-i", "eth1", "-s", c.script, "-O", "mtu", "-O", "ntpsrv", "-O", "staticroutes", "-t", "5", "-T", "1", "-A", "1")
	c.cmd.Stdout, c.cmd.Stderr = c, c
	require.NoError(w, netns.Do(w.Namespace(vm), c.cmd.Start), "install udhcpc")
	w.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	})
	return c
}

// lease waits for what the client's script wrote at an event.
func (c *dhcpClient) lease(event string) string {
	c.Helper()
	var b []byte
	c.eventually(patience, func() (err error) {
		if b, err = os.ReadFile(c.script + "." + event); err != nil {
			return fmt.Errorf("%w; it said %s", err, c.said())
		}
		return nil
	})
	return string(b)
}

// renew has the client renew its lease now, by unicast to the server.
func (c *dhcpClient) renew() {
	c.Helper()
	_ = os.Remove(c.script + ".renew")
	require.NoError(c, c.cmd.Process.Signal(syscall.SIGUSR1))
}

func (w *site) networkOf(of *intent.Port) *intent.Network {
	for _, o := range w.list(intent.KindNetwork) {
		if n := o.(*intent.Network); n.Ref() == of.NetworkRef() {
			return n
		}
	}
	require.Fail(w, "no network", of.Spec.Network)
	return nil
}

func subnetOf(n *intent.Network, v4 bool) netip.Prefix {
	for _, s := range n.Spec.Subnets {
		if s.Addr().Is4() == v4 {
			return s
		}
	}
	return netip.Prefix{}
}

// tell has the network of a VM tell its stations all that there is.
func (w *site) tell(vm string) *intent.Network {
	w.Helper()
	n := w.networkOf(w.portOf(vm))
	v4, v6 := subnetOf(n, true), subnetOf(n, false)
	at := func(p netip.Prefix, i byte) netip.Addr {
		b := p.Addr().AsSlice()
		b[len(b)-1] = i
		a, _ := netip.AddrFromSlice(b)
		return a
	}
	n.Spec.MTU = 1400
	n.Spec.DHCP = &intent.DHCP{DNS: []netip.Addr{at(v4, 53), at(v6, 0x53)}, NTP: []netip.Addr{at(v4, 123), at(v6, 0x23)}, Domain: "blue.example", Lease: 3600,
		Routes: []intent.DHCPRoute{{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Via: at(v4, 200)}}}
	w.put(n)
	w.ready(patience)
	return n
}

// Real clients get exactly the leases of the intent, whatever they ask for; renew
// by unicast; keep what they have while there is no controller; and a controller
// that starts touches nothing and answers again.
func TestTenantsServicesLeases(t *testing.T) {
	w := newTenants(t, topology.GenerateParams{Name: "dhcp", Spines: 1, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 2})
	const vm = "blue-vm1"
	n, p := w.tell(vm), w.portOf(vm)
	address, v4 := p.Spec.Addresses[0], subnetOf(n, true)
	base := v4.Addr().As4()
	host := func(i byte) string { return netip.AddrFrom4([4]byte{base[0], base[1], base[2], i}).String() }
	c := w.dhcp(vm)
	want := strings.Join([]string{
		"dns=" + host(53), "domain=blue.example", "interface=eth1", "ip=" + address.String(), "lease=3600", fmt.Sprintf("mask=%d", v4.Bits()), "mtu=1400",
		"ntpsrv=" + host(123), "serverid=169.254.0.67", fmt.Sprintf("staticroutes=198.51.100.0/24 %s 169.254.0.67/32 0.0.0.0", host(200)), ""}, "\n")
	require.Equal(t, want, c.lease("bound"))
	require.NotContains(t, c.lease("bound"), "router=", "there is none")
	c.renew()
	require.Equal(t, want, c.lease("renew"), "by unicast to the link-local address of the service")
	require.Contains(t, c.said(), "sending renew to server 169.254.0.67")

	// The station with a foreign wish gets its own.
	out, err := output(t, w.State, vm, "udhcpc", "-f", "-q", "-n", "-t", "10", "-i", "eth1", "-s", "/bin/true", "-r", host(77))
	require.NoError(t, err, out)
	require.Contains(t, out, "lease of "+address.String()+" obtained")

	before := w.allFlows()
	require.NoError(t, Kill(w.State, controllerNode, true))
	c.renew()
	w.eventually(patience, func() error {
		if strings.Count(c.said(), "sending renew") < 2 {
			return fmt.Errorf("it said %s", c.said())
		}
		return nil
	})
	require.NoError(t, c.cmd.Process.Signal(syscall.Signal(0)), "the client goes on")
	require.NotContains(t, c.said(), "lease lost")
	require.Contains(t, runIn(t, w.State, vm, "ip", "-4", "addr", "show", "dev", "eth1"), address.String(), "and keeps its lease")
	w.startController()
	w.ready(patience)
	w.requireOlder(before, w.allFlows())
	// Asked again while it waits for an answer, udhcpc asks everybody, or begins
	// anew.
	answers := strings.Count(c.said(), "lease of ")
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGUSR1))
	w.eventually(patience, func() error {
		if strings.Count(c.said(), "lease of "+address.String()+" obtained from 169.254.0.67, lease time 3600") <= answers {
			return fmt.Errorf("it said %s", c.said())
		}
		return nil
	})

	// With a router its address is the server's, and the default route is told.
	r := &intent.Router{Metadata: intent.Metadata{Tenant: p.Metadata.Tenant, Name: "r"}, Spec: intent.RouterSpec{Networks: []intent.RouterNetwork{{Network: n.Metadata.Name, Gateways: []netip.Addr{netip.MustParseAddr(host(254))}}}}}
	w.put(r)
	w.ready(patience)
	w.eventually(patience, func() error {
		out, err := output(t, w.State, vm, "udhcpc", "-f", "-q", "-n", "-i", "eth1", "-s", c.script, "-O", "staticroutes")
		if got := c.lease("bound"); err != nil || !strings.Contains(got, "router="+host(254)+"\nserverid="+host(254)+"\n") || !strings.Contains(got, "0.0.0.0/0 "+host(254)) {
			return fmt.Errorf("%s: %v: %s", got, err, out)
		}
		return nil
	})
}

// Router advertisements and DHCPv6 say what the intent says.
func TestTenantsServicesIPv6(t *testing.T) {
	w := newTenants(t, topology.GenerateParams{Name: "ra", Spines: 1, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 2})
	const vm = "blue-vm1"
	n, p := w.tell(vm), w.portOf(vm)
	v6 := subnetOf(n, false)
	out := runIn(t, w.State, vm, "rdisc6", "-1", "-r", "30", "eth1")
	for _, want := range []string{
		"Stateful address conf.    :          Yes", "Stateful other conf.      :          Yes", "Router lifetime           :            0 (0x00000000) seconds",
		"Prefix                   : " + v6.String(), "On-link                 :          Yes", "Autonomous address conf.:           No",
		"MTU                      :         1400 bytes", "Recursive DNS server     : ", "DNS search list          : blue.example",
		"from " + intent.GatewayMAC.LinkLocal().String(),
	} {
		require.Contains(t, out, want, "%s", out)
	}
	script := filepath.Join(t.TempDir(), "hook.sh")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\nenv >> $0.out\n"), 0o755))
	conf := filepath.Join(t.TempDir(), "dhcpcd.conf")
	require.NoError(t, os.WriteFile(conf, []byte("duid ll\noption dhcp6_name_servers, dhcp6_domain_search\nnoipv6rs\ninterface eth1\nia_na 1\n"), 0o644))
	said, _ := output(t, w.State, vm, "timeout", "60", "dhcpcd", "-6", "-1", "-B", "-T", "-f", conf, "-c", script, "eth1")
	got, err := os.ReadFile(script + ".out")
	require.NoError(t, err, said)
	require.Contains(t, string(got), "dhcp6_ia_na1_ia_addr1="+p.Spec.Addresses[1].String(), "%s", said)
	require.Contains(t, string(got), "dhcp6_domain_search=blue.example")

	// When a router takes the network, stations are told without asking.
	r := &intent.Router{Metadata: intent.Metadata{Tenant: p.Metadata.Tenant, Name: "r"}, Spec: intent.RouterSpec{Networks: []intent.RouterNetwork{{Network: n.Metadata.Name}}}}
	heard := make(chan string, 1)
	go func() {
		out, _ := output(t, w.State, vm, "timeout", "15", "tcpdump", "-l", "-n", "-v", "-c", "1", "-i", "eth1", "icmp6 and ip6[40] = 134")
		heard <- out
	}()
	time.Sleep(time.Second) // until tcpdump listens
	w.put(r)
	require.Contains(t, <-heard, "router lifetime 65535s")
}

// A station that plays server is heard by no other and told of; one that floods
// is cut, and others are served meanwhile.
func TestTenantsServicesRogues(t *testing.T) {
	w := newTenants(t, topology.GenerateParams{Name: "rogues", Spines: 1, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 2})
	w.tell("blue-vm1")
	stop := w.capture("blue-vm2", "eth1")
	require.NoError(t, netns.Do(w.Namespace("blue-vm1"), func() error {
		s, err := net.ListenPacket("udp4", ":67")
		if err != nil {
			return err
		}
		defer s.Close()
		at := w.portOf("blue-vm2").Spec.Addresses[0]
		for range 10 {
			if _, err := s.WriteTo([]byte("rogue"), &net.UDPAddr{IP: at.AsSlice(), Port: 68}); err != nil {
				return err
			}
		}
		return nil
	}))
	a := w.raised("hv1", "RogueServer", "blue-vm1: DHCPv4 ") // from a server's port, to a client's
	require.Regexp(t, `[1-9]\d* packets dropped`, a.Message) // so far: the switch tells of more than one some time later
	dropped := regexp.MustCompile(`n_packets=10, [^\n]*udp[^\n]*(tp_src=67|tp_dst=68) actions=drop`)
	w.eventually(patience, func() error {
		if flows := w.ofctl("hv1", "dump-flows"); !dropped.MatchString(flows) {
			return fmt.Errorf("no flow dropped all 10: %s", flows)
		}
		return nil
	})
	flood := exec.Command("sh", "-c", "for i in $(seq 100); do udhcpc -f -q -n -t 5 -T 0 -i eth1 -s /bin/true; done")
	require.NoError(t, netns.Do(w.Namespace("blue-vm1"), flood.Start))
	defer func() { _ = flood.Process.Kill(); _ = flood.Wait() }()
	w.raised("hv1", "RequestFlood", "blue-vm1")
	require.NoError(t, netns.Do(w.Namespace("blue-vm2"), func() error {
		out, err := exec.Command("udhcpc", "-f", "-q", "-n", "-t", "10", "-i", "eth1", "-s", "/bin/true").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}), "another station is served")
	out, err := exec.Command("tshark", "-r", stop(), "-Y", "udp.srcport == 67 && data").Output()
	require.NoError(t, err)
	require.Empty(t, strings.TrimSpace(string(out)), "the rogue's are heard by nobody")
	for _, a := range w.alarms() {
		require.EqualValues(t, 1, a.Count, "%s %s is told once", a.Reason, a.Object)
	}
}

// What a port sends is marked, also on the tunnel around it, and limited by count.
func TestTenantsServicesQoS(t *testing.T) {
	w := newTenants(t, topology.GenerateParams{Name: "qos", Spines: 1, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 2})
	from, to := w.portOf("blue-vm1"), w.portOf("blue-vm2") // on the two hypervisors
	ef := uint8(46)
	from.Spec.QoS = &intent.QoS{Out: intent.RateLimit{Rate: "800k", Burst: "80k"}, DSCP: &ef}
	w.put(from)
	w.ready(patience)
	stop := w.capture("spine1", "eth1")
	const sent, size = 500, 1000 // octets with the Ethernet header
	began := time.Now()
	require.NoError(t, netns.Do(w.Namespace("blue-vm1"), func() error {
		s, err := net.ListenPacket("udp4", ":0") // nobody listens there, which is told by ICMP
		if err != nil {
			return err
		}
		defer s.Close()
		pace := time.NewTicker(4 * time.Millisecond) // slow enough for the switch's socket, which has room for some 90, also where the switch has to wait
		defer pace.Stop()
		for range sent {
			<-pace.C
			if _, err := s.WriteTo(make([]byte, size-42), &net.UDPAddr{IP: to.Spec.Addresses[0].AsSlice(), Port: 5001}); err != nil {
				return err
			}
		}
		return nil
	}))
	w.eventually(patience, func() error { return ping(t, w.State, "blue-vm1", to.Spec.Addresses[0].String()) })
	path := stop()
	out, err := exec.Command("tshark", "-r", path, "-Y", fmt.Sprintf("vxlan && udp.dstport == 5001 && !icmp && ip.src == %s", from.Spec.Addresses[0]), "-T", "fields", "-e", "frame.time_epoch", "-e", "ip.dsfield.dscp").Output()
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	stamp, _, _ := strings.Cut(lines[len(lines)-1], "\t")
	last, err := strconv.ParseFloat(stamp, 64)
	require.NoError(t, err, "%s", out)
	took := last - float64(began.UnixNano())/1e9 // the switch may pass the last ones when all have been sent for long
	most := (80e3+800e3*took)/(8*size) + 3
	require.LessOrEqual(t, float64(len(lines)), most)
	require.GreaterOrEqual(t, len(lines), 9)
	for _, l := range lines {
		require.Regexp(t, `\t46,46$`, l, "outer and inner")
	}
	t.Logf("%d of %d packets passed in %.2f s", len(lines), sent, took)

	// The switch has counted all of it, and goes on counting when the controller
	// is another.
	var before client.PortCounters
	w.eventually(patience, func() (err error) { // Open vSwitch tells its counters some time later
		if before, err = w.client.PortCounters(t.Context(), from.Ref()); err != nil {
			return err
		}
		if before.Sent.Packets < uint64(sent) || before.Dropped[0].Packets < uint64(sent-len(lines)) {
			return fmt.Errorf("it counted %+v", before)
		}
		return nil
	})
	require.Equal(t, "hv1", before.Node)
	require.Equal(t, "sent faster than the port's limit", before.Dropped[0].Why)
	flows := w.allFlows()
	require.NoError(t, Kill(w.State, controllerNode, true))
	w.startController()
	w.ready(patience)
	w.requireOlder(flows, w.allFlows())
	after, err := w.client.PortCounters(t.Context(), from.Ref())
	require.NoError(t, err)
	require.GreaterOrEqual(t, after.Sent.Packets, before.Sent.Packets)
	require.GreaterOrEqual(t, after.Dropped[0].Packets, before.Dropped[0].Packets)
	require.Regexp(t, `(?s)Counters:   of hv1\n  sent      \d+ packets, \d+ bytes\n  received  \d+ packets, \d+ bytes\n  dropped   \d+ packets, \d+ bytes: sent faster than the port's limit`,
		w.cli("describe", "port", from.Metadata.Name, "-t", from.Metadata.Tenant))
}
