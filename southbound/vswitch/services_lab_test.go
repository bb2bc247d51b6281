//go:build lab

package vswitch

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// newServedBed is a bed whose network web tells its stations things; ports a and
// b of it are here and note what they get.
func newServedBed(t *testing.T, ports ...*intent.Port) *bed {
	b := newBed(t)
	b.change(func(m *overlay.Model) {
		n := network("web", 100)
		n.Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24"), netip.MustParsePrefix("fd00::/64")}
		n.Spec.DHCP = &intent.DHCP{DNS: []netip.Addr{netip.MustParseAddr("192.168.0.53")}, Domain: "blue.example"}
		m.Put(n)
		for _, p := range ports {
			m.Put(p)
		}
	})
	b.hv2()
	b.Eventually("synced", b.synced)
	for _, id := range []string{"a", "b"} {
		b.OVS.Vsctl("--no-wait", "add-port", "br-int", "tap"+id, "--", "set", "interface", "tap"+id, "type=dummy", "external_ids:iface-id="+id, "options:tx_pcap="+b.Dir+"/"+id+".pcap")
		b.Eventually(id+" is programmed", func() bool { _, ok := b.Programmed(port(id, "web", 1).Ref()); return ok })
	}
	b.oracle()
	return b
}

// send has a port's station send the same frame n times.
func (b *bed) send(id string, n int, frame []byte) {
	b.t.Helper()
	b.sendEach(id, slices.Repeat([][]byte{frame}, n))
}

// sendEach has a port's station send frames. A port that is not read from has room for
// 100, and loses the others: the next come when those are in.
func (b *bed) sendEach(id string, frames [][]byte) {
	b.t.Helper()
	before := b.came(id)
	for some := range slices.Chunk(frames, 50) {
		args := []string{"-t", b.Dir + "/vs.ctl", "netdev-dummy/receive", "tap" + id}
		for _, f := range some {
			args = append(args, hex.EncodeToString(f))
		}
		b.OVS.Run("ovs-appctl", args...)
		before += uint64(len(some))
		if in := func() bool { return b.came(id) == before }; !in() {
			b.Eventually("the switch has taken in what "+id+" sent", in)
		}
	}
}

// came is how many frames of a port's station the switch has taken in.
func (b *bed) came(id string) uint64 {
	c, err := b.dial(b.t.Context())
	require.NoError(b.t, err)
	defer c.Close()
	for r, l := range b.feed.Local() {
		if r.Name == id {
			s, err := c.PortStats(b.t.Context(), l.OFPort)
			require.NoError(b.t, err)
			return s.RxPackets
		}
	}
	b.t.Fatalf("%s has no port", id)
	return 0
}

// got are the frames that a port's station received.
func (b *bed) got(id string) [][]byte {
	raw, err := os.ReadFile(b.Dir + "/" + id + ".pcap")
	require.NoError(b.t, err)
	var out [][]byte
	for raw = raw[min(24, len(raw)):]; len(raw) >= 16; {
		n := int(binary.LittleEndian.Uint32(raw[8:]))
		if len(raw) < 16+n {
			break
		}
		out, raw = append(out, raw[16:16+n]), raw[16+n:]
	}
	return out
}

// count counts the frames that a station received in which some bytes are.
func (b *bed) count(id string, part string) int {
	n := 0
	for _, f := range b.got(id) {
		if strings.Contains(string(f), part) {
			n++
		}
	}
	return n
}

// udp4 is a UDP frame of station i.
func udp4(i byte, src, dst string, sport, dport uint16, payload []byte) []byte {
	u := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, sport), dport)
	u = append(binary.BigEndian.AppendUint16(u, uint16(8+len(payload))), 0, 0)
	u = append(u, payload...)
	ip := append([]byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0}, append(netip.MustParseAddr(src).AsSlice(), netip.MustParseAddr(dst).AsSlice()...)...)
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(u)))
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return frame(broadcast, intent.MAC{2, 0, 0, 0, 0, i}, etherIPv4, append(ip, u...))
}

func discover(t *testing.T, i byte) []byte {
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, i}), dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover))
	require.NoError(t, err)
	return udp4(i, "0.0.0.0", "255.255.255.255", 68, 67, m.ToBytes())
}

// Offers in a station's capture have the magic cookie.
const dhcpMagic = "\x63\x82\x53\x63"

// A request is answered by this switch to its port alone; a flood of them is cut
// at the switch, told once, and takes nothing from other stations.
func TestRequestsAreAnsweredAndFloodsCut(t *testing.T) {
	b := newServedBed(t)
	b.send("a", 1, discover(t, 1))
	b.Eventually("an offer", func() bool { return b.count("a", dhcpMagic) == 1 })
	for _, f := range b.got("a") {
		if strings.Contains(string(f), dhcpMagic) {
			m, err := dhcpv4.FromBytes(f[42:])
			require.NoError(t, err)
			require.Equal(t, dhcpv4.MessageTypeOffer, m.MessageType())
			require.Equal(t, "192.168.0.1", m.YourIPAddr.String())
			require.Equal(t, "blue.example", m.DomainName())
		}
	}
	began := time.Now()
	const flood = 2000
	b.send("a", flood, discover(t, 1))
	b.send("b", 1, discover(t, 2))
	b.Eventually("b's offer in spite of the flood", func() bool { return b.count("b", dhcpMagic) == 1 })
	b.Eventually("the flood is told", func() bool { return b.alarm(southbound.AlarmRequestFlood, "Port t/a") != "" })
	answered := 0
	b.Eventually("what the meter let through is answered", func() bool {
		answered = b.count("a", dhcpMagic) - 1
		return answered >= serviceBurst-1
	})
	most := serviceBurst + int(time.Since(began).Seconds()*serviceRate) + 1
	require.LessOrEqual(t, answered, most)
	require.Equal(t, 1, b.raised(southbound.AlarmRequestFlood))
	require.Equal(t, 1, b.count("b", dhcpMagic), "b gets only its own")
	t.Logf("%d of %d answered: %s", answered, flood, b.alarm(southbound.AlarmRequestFlood, "Port t/a"))
}

// Whoever plays DHCP server or router is heard by nobody, is counted by kind, and
// told.
func TestRogueServersAreCutAndTold(t *testing.T) {
	b := newServedBed(t)
	before := len(b.got("b"))
	ll := intent.MAC{2, 0, 0, 0, 0, 1}.LinkLocal()
	ra := rawICMP6(1, ll, netip.IPv6LinkLocalAllNodes(), []byte{icmp6RouterAdvertisement, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0})
	kinds := map[string][]byte{
		"DHCPv4 from a server's port": udp4(1, "192.168.0.1", "255.255.255.255", 67, 6868, []byte("rogue")),
		"DHCPv4 to a client":          udp4(1, "192.168.0.1", "255.255.255.255", 6767, 68, []byte("rogue")),
		"DHCPv6 from a server's port": udp6(1, ll, 547, 5460, []byte("rogue")),
		"DHCPv6 to a client":          udp6(1, ll, 5470, 546, []byte("rogue")),
		"router advertisements":       ra,
	}
	for _, f := range kinds {
		b.send("a", 7, f)
	}
	for what := range kinds {
		b.Eventually(what, func() bool { return b.alarm(southbound.AlarmRogueServer, "Port t/a: "+what) != "" })
		// The alarm says what was counted when it was raised, which may be in between.
		require.Regexp(t, `: [1-7] packets dropped`, b.alarm(southbound.AlarmRogueServer, "Port t/a: "+what), what)
	}
	b.Eventually("each is counted by its kind", func() bool {
		c, err := b.Counters(t.Context(), port("a", "web", 1).Ref())
		require.NoError(t, err)
		counted := map[string]uint64{}
		for _, d := range c.Dropped {
			if what, ok := strings.CutPrefix(d.Why, "sent "); ok && d.Packets > 0 {
				counted[what] = d.Packets
			}
		}
		for what := range kinds {
			if counted[what] != 7 {
				return false
			}
		}
		return len(counted) == len(kinds)
	})
	b.send("a", 1, udp4(1, "192.168.0.1", "255.255.255.255", 5000, 5001, []byte("innocent")))
	b.Eventually("what is no server's passes", func() bool { return b.count("b", "innocent") == 1 })
	require.Zero(t, b.count("b", "rogue"))
	require.Len(t, b.got("b"), before+1)
	require.Equal(t, 5, b.raised(southbound.AlarmRogueServer))
}

func rawICMP6(i byte, src, dst netip.Addr, m []byte) []byte {
	pseudo := append(append(src.AsSlice(), dst.AsSlice()...), 0, 0, 0, byte(len(m)), 0, 0, 0, protoICMP6)
	binary.BigEndian.PutUint16(m[2:], checksum(append(pseudo, m...)))
	ip := append([]byte{0x60, 0, 0, 0, 0, byte(len(m)), protoICMP6, 255}, append(src.AsSlice(), dst.AsSlice()...)...)
	return frame(intent.MAC{0x33, 0x33, 0, 0, 0, 1}, intent.MAC{2, 0, 0, 0, 0, i}, etherIPv6, append(ip, m...))
}

func udp6(i byte, src netip.Addr, sport, dport uint16, payload []byte) []byte {
	u := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, sport), dport)
	u = append(binary.BigEndian.AppendUint16(u, uint16(8+len(payload))), 0, 0)
	u = append(u, payload...)
	ip := append([]byte{0x60, 0, 0, 0, 0, byte(len(u)), protoUDP, 64}, append(src.AsSlice(), netip.IPv6LinkLocalAllNodes().AsSlice()...)...)
	return frame(intent.MAC{0x33, 0x33, 0, 0, 0, 1}, intent.MAC{2, 0, 0, 0, 0, i}, etherIPv6, append(ip, u...))
}

// limitedPort is port a or b with limits.
func limitedPort(name string, i byte, q intent.QoS) *intent.Port {
	p := port(name, "web", i)
	p.Spec.QoS = &q
	return p
}

// unicast is a frame from station 1 to station 2.
func unicast(payload int) []byte {
	f := udp4(1, "192.168.0.1", "192.168.0.2", 5000, 5001, make([]byte, payload))
	copy(f, []byte{2, 0, 0, 0, 0, 2})
	return f
}

// Limits hold by count, in both directions; what is dropped is counted; marks are
// set; a change of a rate and a controller's restart touch no flow.
func TestLimitsHold(t *testing.T) {
	ef := uint8(46)
	b := newServedBed(t, limitedPort("a", 1, intent.QoS{Out: intent.RateLimit{Rate: "800k", Burst: "80k"}, DSCP: &ef}))
	const size, sent = 1000, 400
	f := unicast(size - 42)
	passes := func(what string, rate, burst float64) {
		t.Helper()
		before := len(b.got("b"))
		began := time.Now()
		b.send("a", sent, f)
		require.NoError(t, b.barrier())
		b.Eventually(what+": the burst has passed", func() bool { return float64(len(b.got("b"))-before) >= burst/(8*size)-1 })
		passed := float64(len(b.got("b")) - before)
		took := time.Since(began).Seconds()
		// A bucket may let a packet begin with its last token.
		require.LessOrEqual(t, passed, (burst+rate*took)/(8*size)+2, what)
		t.Logf("%s: %.0f of %d frames of %d octets in %.2f s", what, passed, sent, size, took)
	}
	passes("out", 800e3, 80e3)
	got := b.got("b")
	require.Equal(t, byte(ef)<<2, got[len(got)-1][15]&0xfc)

	flows := b.Ofctl("dump-flows", b.Bridge("br-int"))
	b.change(func(m *overlay.Model) {
		m.Put(limitedPort("a", 1, intent.QoS{Out: intent.RateLimit{Rate: "80k", Burst: "160k"}, DSCP: &ef}))
	})
	b.Eventually("the meter has another rate", func() bool { return strings.Contains(b.meters(), "rate=80 burst_size=160") })
	require.True(t, older(b.Ofctl("dump-flows", b.Bridge("br-int")), flows), "no flow was made again")
	passes("out at another rate", 80e3, 160e3)

	b.change(func(m *overlay.Model) {
		m.Put(port("a", "web", 1))
		m.Put(limitedPort("b", 2, intent.QoS{In: intent.RateLimit{Rate: "80k", Burst: "160k"}}))
	})
	b.oracle()
	b.Eventually("the old meter is gone", func() bool {
		return !strings.Contains(b.meters(), "rate=80 burst_size=160\n") || strings.Count(b.meters(), "kbps") == 1
	})
	b.Revalidated()
	passes("in", 80e3, 160e3)
	got = b.got("b")
	require.Zero(t, got[len(got)-1][15])

	b.stop()
	flows, counted := b.Ofctl("dump-flows", b.Bridge("br-int")), b.meterDrops(openflow.Meter{ID: meterID(2, meterIn)})
	require.NotZero(t, counted)
	b.start()
	b.Eventually("synced", b.synced)
	require.True(t, older(b.Ofctl("dump-flows", b.Bridge("br-int")), flows), "no flow was made again")
	require.Equal(t, counted, b.meterDrops(openflow.Meter{ID: meterID(2, meterIn)}), "nor a meter")
	require.Empty(t, b.said("FlowsRepaired"))
}

// meters lists the meters of the switch, one a line.
func (b *bed) meters() string {
	c, err := b.dial(b.t.Context())
	require.NoError(b.t, err)
	defer c.Close()
	ms, err := c.DumpMeters(b.t.Context())
	require.NoError(b.t, err)
	out := ""
	for _, m := range ms {
		out += m.String() + "\n"
	}
	return out
}

func (b *bed) meterDrops(which openflow.Meter) uint64 {
	c, err := b.dial(b.t.Context())
	require.NoError(b.t, err)
	defer c.Close()
	ms, err := c.MeterStats(b.t.Context(), openflow.MeterAll)
	require.NoError(b.t, err)
	for _, m := range ms {
		if m.ID == which.ID {
			return m.DroppedPackets
		}
	}
	b.t.Fatalf("there is no %s", which)
	return 0
}

func (b *bed) barrier() error {
	c, err := b.dial(b.t.Context())
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Barrier(b.t.Context())
}

// A meter that another program deletes takes its flows with it; both come back,
// and so does one that was changed. Meters below our numbers are left alone.
func TestMetersAreMended(t *testing.T) {
	b := newServedBed(t, limitedPort("a", 1, intent.QoS{Out: intent.RateLimit{Rate: "800k"}}))
	at := b.Bridge("br-int")
	b.Ofctl("add-meter", at, "meter=7,kbps,bands=type=drop,rate=5")
	b.Ofctl("add-meter", at, fmt.Sprintf("meter=%d,kbps,bands=type=drop,rate=5", meterID(99, meterOut)))
	want := b.meters()
	for _, c := range []struct{ what, told string }{
		{"del-meter", "was missing; put back"},
		{"mod-meter", "was changed; put back as"},
	} {
		b.forget()
		id := fmt.Sprintf("meter=%d", meterID(1, meterOut))
		if c.what == "mod-meter" {
			b.Ofctl(c.what, at, id+",kbps,burst,stats,bands=type=drop,rate=9,burst_size=9")
			b.Ofctl("del-flows", at, "table=12") // the switch tells of flows, not of meters
		} else {
			b.Ofctl(c.what, at, id)
		}
		b.Eventually("told", func() bool { return strings.Contains(b.said("FlowsRepaired"), c.told) })
		b.oracle()
		has := b.meters()
		require.Contains(t, has, "meter=7 ")
		require.Contains(t, has, "rate=800 burst_size=80")
		require.NotContains(t, has, fmt.Sprintf("meter=%d ", meterID(99, meterOut)), "it had a number of ours")
	}
	require.NotEqual(t, want, b.meters())
	b.stop()
	require.NoError(t, b.Withdraw(t.Context()))
	require.Equal(t, "meter=7 kbps burst stats bands=type=drop rate=5 burst_size=5\n", b.meters())
}

// tenantPort is a port of a tenant on a network of its own.
func tenantPort(tenant, network, name string, i byte) *intent.Port {
	p := port(name, network, i)
	p.Metadata.Tenant = tenant
	return p
}

// limit gives tenant t limits, or none.
func limit(q *intent.TenantQoS) *intent.Tenant {
	return &intent.Tenant{Metadata: intent.Metadata{Name: "t"}, Spec: intent.TenantSpec{QoS: q}}
}

// Two ports of a tenant share its limit, another tenant's are not concerned; a
// controller that starts touches neither flows nor meters, and what another program
// deletes comes back.
func TestTenantsShareALimit(t *testing.T) {
	b := newServedBed(t, port("a", "web", 1), port("b", "web", 2))
	b.change(func(m *overlay.Model) {
		n := network("lan", 200)
		n.Metadata.Tenant = "u"
		m.Put(n)
		m.Put(tenantPort("u", "lan", "x", 3))
		m.Put(tenantPort("u", "lan", "y", 4))
		m.Put(port("e", "web", 5))
		m.Put(limit(&intent.TenantQoS{Out: intent.RateLimit{Rate: "64k", Burst: "800k"}}))
	})
	for _, id := range []string{"x", "y", "e"} {
		b.OVS.Vsctl("--no-wait", "add-port", "br-int", "tap"+id, "--", "set", "interface", "tap"+id, "type=dummy", "external_ids:iface-id="+id, "options:tx_pcap="+b.Dir+"/"+id+".pcap")
	}
	for _, p := range []*intent.Port{tenantPort("u", "lan", "x", 3), tenantPort("u", "lan", "y", 4), port("e", "web", 5)} {
		b.Eventually(p.Metadata.Name+" is programmed", func() bool { _, ok := b.Programmed(p.Ref()); return ok })
	}
	b.oracle()
	b.Eventually("a meter for the tenant", func() bool { return strings.Count(b.meters(), "rate=64 burst_size=800") == 1 })
	const size, sent = 1000, 100 // of two ports 200 frames of 8 kbit: the bucket has room for 100
	from := func(i, to byte) []byte {
		f := udp4(i, fmt.Sprintf("192.168.0.%d", i), fmt.Sprintf("192.168.0.%d", to), 5000, 5001, make([]byte, size-42))
		copy(f, []byte{2, 0, 0, 0, 0, to})
		return f
	}
	got := func(id string) (n int) {
		for _, f := range b.got(id) {
			if len(f) == size {
				n++
			}
		}
		return n
	}
	began := time.Now()
	b.send("a", sent, from(1, 5))
	b.send("b", sent, from(2, 5))
	b.send("x", 2*sent, from(3, 4))
	b.Eventually("all of the other tenant's", func() bool { return got("y") >= 2*sent })
	id := openflow.Meter{ID: meterID(tenantsOf(b.feed.Local()).numbers["t"], meterOut)}
	b.Eventually("each of this one's has passed or is counted", func() bool { return uint64(got("e"))+b.meterDrops(id) == 2*sent })
	passed, took := float64(got("e")), time.Since(began).Seconds()
	require.LessOrEqual(t, passed, (800e3+64e3*took)/(8*size)+2)
	t.Logf("%.0f of %d frames of one tenant's two ports in %.2f s, %d of %d of the other's", passed, 2*sent, took, got("y"), 2*sent)

	b.stop()
	flows, counted := b.Ofctl("dump-flows", b.Bridge("br-int")), b.meterDrops(id)
	require.GreaterOrEqual(t, passed, 800e3/(8*size)-1)
	b.start()
	b.Eventually("synced", b.synced)
	require.True(t, older(b.Ofctl("dump-flows", b.Bridge("br-int")), flows), "no flow was made again")
	require.Equal(t, counted, b.meterDrops(id), "nor a meter")

	has := b.meters()
	b.Ofctl("del-meter", b.Bridge("br-int"), fmt.Sprintf("meter=%d", id.ID))
	b.Eventually("told", func() bool { return strings.Contains(b.said("FlowsRepaired"), "was missing; put back") })
	b.oracle()
	require.Equal(t, has, b.meters())

	// A port comes that gets the very number whose meters are the tenant's.
	n := tenantsOf(b.feed.Local()).numbers["t"]
	b.change(func(m *overlay.Model) { m.Put(port("f", "web", 6)) })
	b.OVS.Vsctl("--no-wait", "add-port", "br-int", "tapf", "--", "set", "interface", "tapf", "type=dummy", "external_ids:iface-id=f", fmt.Sprintf("ofport_request=%d", n))
	b.Eventually("the tenant has another number", func() bool { return tenantsOf(b.feed.Local()).numbers["t"] == n+1 })
	b.oracle()
	b.Eventually("its meter, too", func() bool {
		has := b.meters()
		return strings.Contains(has, fmt.Sprintf("meter=%d ", meterID(n+1, meterOut))) && !strings.Contains(has, fmt.Sprintf("meter=%d ", meterID(n, meterOut)))
	})

	b.change(func(m *overlay.Model) { m.Put(limit(nil)) })
	b.oracle()
	b.Eventually("no meter of a limit", func() bool { return !strings.Contains(b.meters(), "kbps") })
	b.Revalidated()
	before := got("e")
	b.send("a", sent, from(1, 5))
	b.send("b", sent, from(2, 5))
	b.Eventually("all of it", func() bool { return got("e") == before+2*sent })
}
