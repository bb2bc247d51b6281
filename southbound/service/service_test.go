package service

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
)

var (
	mac    = intent.MAC{2, 0, 0, 0, 0, 9}
	ip     = netip.MustParseAddr
	prefix = netip.MustParsePrefix
)

// station is a port with an address of each family on a network that tells all
// that there is.
func station(routed bool) overlay.LocalPort {
	s := &overlay.Services{Lease: 3600, MTU: 1450, Domain: "blue.example", DNS: []netip.Addr{ip("192.168.0.53"), ip("fd00::53"), ip("192.168.0.54")},
		NTP: []netip.Addr{ip("192.168.0.123"), ip("fd00::123")}, Routes: []intent.DHCPRoute{{Prefix: prefix("10.9.0.0/17"), Via: ip("192.168.0.7")}, {Prefix: prefix("10.8.0.0/16"), Via: ip("172.16.0.7")}},
		Subnets: []overlay.ServedSubnet{{Prefix: prefix("192.168.0.0/24")}, {Prefix: prefix("fd00::/64")}}}
	if routed {
		s.Subnets[0].Gateway, s.Subnets[1].Gateway = ip("192.168.0.1"), ip("fd00::1")
	}
	return overlay.LocalPort{Port: intent.Ref{Kind: intent.KindPort, Tenant: "blue", Name: "vm1"}, MAC: mac, Services: s,
		Addresses: []netip.Addr{ip("192.168.0.9"), ip("fd00::9")}}
}

// sent is a frame of a station, made by the same code as answers are and then
// given the station's MAC as source.
func sent(src, dst string, sport, dport uint16, payload []byte) []byte {
	f := answer{dstMAC: broadcastMAC, src: ip(src), dst: ip(dst), sport: sport, dport: dport}.udp(payload)
	copy(f[6:], mac[:])
	return f
}

// received takes an answer apart again.
func received(t *testing.T, frame []byte) packet {
	t.Helper()
	p, err := readFrame(frame)
	require.NoError(t, err)
	require.Equal(t, intent.GatewayMAC, p.srcMAC)
	if p.src.Is4() {
		require.Zero(t, fold(add(0, frame[14:34])), "checksum of the IPv4 header")
	}
	l4 := frame[len(frame)-len(p.payload):]
	if p.proto == protoUDP {
		l4 = frame[len(frame)-len(p.payload)-8:]
	}
	sum := add(add(0, p.src.AsSlice()), p.dst.AsSlice()) + uint32(p.proto) + uint32(len(l4))
	require.Zero(t, fold(add(sum, l4)), "checksum over the pseudo-header")
	return p
}

func ask4(t *testing.T, l overlay.LocalPort, kind dhcpv4.MessageType, change func(*dhcpv4.DHCPv4)) (Answer, error) {
	t.Helper()
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(net.HardwareAddr(mac[:])), dhcpv4.WithMessageType(kind))
	require.NoError(t, err)
	if change != nil {
		change(m)
	}
	return Request(sent("0.0.0.0", "255.255.255.255", 68, 67, m.ToBytes()), l)
}

// shown writes an answer of DHCPv4 as one line per part.
func shown(t *testing.T, a Answer) string {
	if a.Frame == nil {
		return a.Did
	}
	p := received(t, a.Frame)
	m, err := dhcpv4.FromBytes(p.payload)
	require.NoError(t, err)
	require.Equal(t, dhcpv4.OpcodeBootReply, m.OpCode)
	out := fmt.Sprintf("%s>%s:%d %s your %s client %s server %s", p.src, p.dst, p.dport, m.MessageType(), m.YourIPAddr, m.ClientIPAddr, m.ServerIdentifier())
	if m.MessageType() == dhcpv4.MessageTypeNak {
		return out + " " + m.Message()
	}
	var routes []string
	for _, r := range m.ClasslessStaticRoute() {
		routes = append(routes, fmt.Sprintf("%s via %s", r.Dest, r.Router))
	}
	return fmt.Sprintf("%s\nmask %s router %v dns %v ntp %v domain %s mtu %d lease %s/%s/%s\nroutes %v", out, net.IP(m.SubnetMask()), m.Router(), m.DNS(), m.NTPServers(), m.DomainName(),
		binary.BigEndian.Uint16(m.Options.Get(dhcpv4.OptionInterfaceMTU)), m.IPAddressLeaseTime(0), m.IPAddressRenewalTime(0), m.IPAddressRebindingTime(0), strings.Join(routes, ", "))
}

const told = `mask 255.255.255.0 router [192.168.0.1] dns [192.168.0.53 192.168.0.54] ntp [192.168.0.123] domain blue.example mtu 1450 lease 1h0m0s/30m0s/52m30s
routes 10.9.0.0/17 via 192.168.0.7, 0.0.0.0/0 via 192.168.0.1`

func TestDHCPv4(t *testing.T) {
	wants := func(a string) func(*dhcpv4.DHCPv4) {
		return func(m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(a))) }
	}
	has := func(a string) func(*dhcpv4.DHCPv4) {
		return func(m *dhcpv4.DHCPv4) { m.ClientIPAddr = net.ParseIP(a).To4() }
	}
	selects := func(a, server string) func(*dhcpv4.DHCPv4) {
		return func(m *dhcpv4.DHCPv4) {
			wants(a)(m)
			m.UpdateOption(dhcpv4.OptServerIdentifier(net.ParseIP(server)))
		}
	}
	l := station(true)
	for _, c := range []struct {
		name   string
		kind   dhcpv4.MessageType
		change func(*dhcpv4.DHCPv4)
		want   string
	}{
		{"discover", dhcpv4.MessageTypeDiscover, nil, "192.168.0.1>192.168.0.9:68 OFFER your 192.168.0.9 client 0.0.0.0 server 192.168.0.1\n" + told},
		{"discover with another wish", dhcpv4.MessageTypeDiscover, wants("192.168.0.200"), "192.168.0.1>192.168.0.9:68 OFFER your 192.168.0.9 client 0.0.0.0 server 192.168.0.1\n" + told},
		{"discover by broadcast", dhcpv4.MessageTypeDiscover, func(m *dhcpv4.DHCPv4) { m.SetBroadcast() }, "192.168.0.1>255.255.255.255:68 OFFER your 192.168.0.9 client 0.0.0.0 server 192.168.0.1\n" + told},
		{"selecting", dhcpv4.MessageTypeRequest, selects("192.168.0.9", "192.168.0.1"), "192.168.0.1>192.168.0.9:68 ACK your 192.168.0.9 client 0.0.0.0 server 192.168.0.1\n" + told},
		{"selecting a foreign address", dhcpv4.MessageTypeRequest, selects("192.168.0.10", "192.168.0.1"), "192.168.0.1>255.255.255.255:68 NAK your 0.0.0.0 client 0.0.0.0 server 192.168.0.1 192.168.0.10 is not this station's address"},
		{"selecting another server", dhcpv4.MessageTypeRequest, selects("192.168.0.10", "192.168.0.2"), "DHCPREQUEST for the offer of 192.168.0.2"},
		{"init-reboot", dhcpv4.MessageTypeRequest, wants("192.168.0.9"), "192.168.0.1>192.168.0.9:68 ACK your 192.168.0.9 client 0.0.0.0 server 192.168.0.1\n" + told},
		{"init-reboot elsewhere", dhcpv4.MessageTypeRequest, wants("10.0.0.1"), "192.168.0.1>255.255.255.255:68 NAK your 0.0.0.0 client 0.0.0.0 server 192.168.0.1 10.0.0.1 is not this station's address"},
		{"renewing", dhcpv4.MessageTypeRequest, has("192.168.0.9"), "192.168.0.1>192.168.0.9:68 ACK your 192.168.0.9 client 192.168.0.9 server 192.168.0.1\n" + told},
		{"renewing a foreign address", dhcpv4.MessageTypeRequest, has("192.168.0.10"), "192.168.0.1>255.255.255.255:68 NAK your 0.0.0.0 client 0.0.0.0 server 192.168.0.1 192.168.0.10 is not this station's address"},
		{"inform", dhcpv4.MessageTypeInform, has("192.168.0.9"), "192.168.0.1>192.168.0.9:68 ACK your 0.0.0.0 client 192.168.0.9 server 192.168.0.1\n" + strings.Replace(told, "1h0m0s/30m0s/52m30s", "0s/0s/0s", 1)},
		{"release", dhcpv4.MessageTypeRelease, has("192.168.0.9"), "DHCPRELEASE 192.168.0.9: it stays the port's"},
		{"decline", dhcpv4.MessageTypeDecline, wants("192.168.0.9"), "DHCPDECLINE 192.168.0.9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := ask4(t, l, c.kind, c.change)
			require.NoError(t, err)
			require.Equal(t, c.want, shown(t, a))
			require.Equal(t, c.kind == dhcpv4.MessageTypeDecline, a.Declined.IsValid())
		})
	}
	t.Run("without a router", func(t *testing.T) {
		a, err := ask4(t, station(false), dhcpv4.MessageTypeDiscover, nil)
		require.NoError(t, err)
		require.Equal(t, "169.254.0.67>192.168.0.9:68 OFFER your 192.168.0.9 client 0.0.0.0 server 169.254.0.67\nmask 255.255.255.0 router [] dns [192.168.0.53 192.168.0.54] ntp [192.168.0.123] domain blue.example mtu 1450 lease 1h0m0s/30m0s/52m30s\nroutes 10.9.0.0/17 via 192.168.0.7, 169.254.0.67/32 via 0.0.0.0", shown(t, a))
	})
	t.Run("a second address", func(t *testing.T) {
		l := station(true)
		l.Addresses = append(l.Addresses, ip("192.168.0.11"))
		a, err := ask4(t, l, dhcpv4.MessageTypeRequest, has("192.168.0.11"))
		require.NoError(t, err)
		require.Contains(t, shown(t, a), "ACK your 192.168.0.11")
	})
}

// What is longer than the client's longest message is left out, the rest stays.
func TestDHCPv4MessagesFit(t *testing.T) {
	l := station(true)
	s := *l.Services
	s.Domain = strings.Repeat("a-long-label-of-a-name.", 10) + "example"
	s.DNS, s.NTP = slices.Repeat([]netip.Addr{ip("192.168.0.53")}, 8), slices.Repeat([]netip.Addr{ip("192.168.0.123")}, 8)
	s.Routes = slices.Repeat(s.Routes[:1], 8)
	l.Services = &s
	for _, c := range []struct {
		most   uint16
		domain string
	}{{0, ""}, {1500, s.Domain}} {
		a, err := ask4(t, l, dhcpv4.MessageTypeDiscover, func(m *dhcpv4.DHCPv4) {
			if c.most > 0 {
				m.UpdateOption(dhcpv4.OptMaxMessageSize(c.most))
			}
		})
		require.NoError(t, err)
		require.LessOrEqual(t, len(a.Frame)-14, int(max(c.most, leastMessage)))
		m, err := dhcpv4.FromBytes(received(t, a.Frame).payload)
		require.NoError(t, err)
		require.Equal(t, c.domain, m.DomainName())
		require.Len(t, m.NTPServers(), 8)
		require.Len(t, m.ClasslessStaticRoute(), 9)
	}
}

func TestNotAnswered(t *testing.T) {
	l, plain := station(true), station(true)
	plain.Addresses = []netip.Addr{ip("fd00::9")}
	nothing := station(true)
	nothing.Services = nil
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(net.HardwareAddr(mac[:])), dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover))
	require.NoError(t, err)
	change := func(c func(*dhcpv4.DHCPv4)) []byte {
		n, err := dhcpv4.FromBytes(m.ToBytes())
		require.NoError(t, err)
		c(n)
		return sent("0.0.0.0", "255.255.255.255", 68, 67, n.ToBytes())
	}
	good := sent("0.0.0.0", "255.255.255.255", 68, 67, m.ToBytes())
	otherMAC := slices.Clone(good)
	otherMAC[11]++
	fragment := slices.Clone(good)
	fragment[20] = 0x20
	for _, c := range []struct {
		what  string
		port  overlay.LocalPort
		frame []byte
		why   string
	}{
		{"no services", nothing, good, "Port blue/vm1: its network tells stations nothing"},
		{"no IPv4 address", plain, good, "DHCPDISCOVER: the port has no IPv4 address"},
		{"another source MAC", l, otherMAC, "from 02:00:00:00:00:0a instead of 02:00:00:00:00:09"},
		{"another station's hardware address", l, change(func(m *dhcpv4.DHCPv4) { m.ClientHWAddr = net.HardwareAddr{2, 0, 0, 0, 0, 10} }), "DHCPDISCOVER for 02:00:00:00:00:0a instead of 02:00:00:00:00:09"},
		{"a relay agent", l, change(func(m *dhcpv4.DHCPv4) { m.GatewayIPAddr = net.IP{192, 168, 0, 9} }), "DHCPDISCOVER comes from a relay agent"},
		{"a server", l, change(func(m *dhcpv4.DHCPv4) { m.OpCode = dhcpv4.OpcodeBootReply }), "the frame is no request"},
		{"a message of servers", l, change(func(m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeOffer)) }), "DHCPOFFER is no message of a client"},
		{"BOOTP", l, change(func(m *dhcpv4.DHCPv4) { m.Options = dhcpv4.Options{} }), "the frame is no request"},
		{"a fragment", l, fragment, "the frame is no request"},
		{"half a frame", l, good[:200], "the frame is cut short"},
		{"ARP", l, append(slices.Clone(good[:12]), 8, 6), "the frame is no request"},
		{"another port", l, sent("192.168.0.9", "192.168.0.1", 68, 53, m.ToBytes()), "the frame is no request"},
	} {
		a, err := Request(c.frame, c.port)
		require.EqualError(t, err, c.why, c.what)
		require.Nil(t, a.Frame)
	}
}

func ask6(t *testing.T, l overlay.LocalPort, kind dhcpv6.MessageType, mods ...dhcpv6.Modifier) (*dhcpv6.Message, Answer, error) {
	t.Helper()
	m, err := dhcpv6.NewMessage(append([]dhcpv6.Modifier{dhcpv6.WithClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: mac[:]})}, mods...)...)
	require.NoError(t, err)
	m.MessageType = kind
	a, err := Request(sent("fe80::ff:fe00:9", "ff02::1:2", 546, 547, m.ToBytes()), l)
	if err != nil || a.Frame == nil {
		return nil, a, err
	}
	p := received(t, a.Frame)
	require.Equal(t, "fe80::ff:fe00:9", p.dst.String())
	require.Equal(t, intent.GatewayMAC.LinkLocal(), p.src)
	require.EqualValues(t, PortClient6, p.dport)
	out, err := dhcpv6.MessageFromBytes(p.payload)
	require.NoError(t, err)
	require.Equal(t, m.TransactionID, out.TransactionID)
	require.True(t, serverID.Equal(out.Options.ServerID()))
	require.Equal(t, m.Options.ClientID(), out.Options.ClientID())
	return out, a, nil
}

// leases writes the addresses that a message gives.
func leases(m *dhcpv6.Message) string {
	var out []string
	for _, ia := range m.Options.IANA() {
		if s := ia.Options.Status(); s != nil {
			out = append(out, fmt.Sprintf("%x %s", ia.IaId, s.StatusCode))
		}
		for _, a := range ia.Options.Addresses() {
			out = append(out, fmt.Sprintf("%x %s for %s of %s/%s", ia.IaId, a.IPv6Addr, a.ValidLifetime, ia.T1, ia.T2))
		}
	}
	return strings.Join(out, ", ")
}

func TestDHCPv6(t *testing.T) {
	l := station(true)
	server := dhcpv6.WithServerID(serverID)
	other := dhcpv6.WithServerID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: mac[:]})
	ia := func(id byte, addresses ...string) dhcpv6.Modifier {
		var as []dhcpv6.OptIAAddress
		for _, a := range addresses {
			as = append(as, dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP(a)})
		}
		return func(d dhcpv6.DHCPv6) {
			o := &dhcpv6.OptIANA{IaId: [4]byte{0, 0, 0, id}}
			for i := range as {
				o.Options.Add(&as[i])
			}
			d.AddOption(o)
		}
	}
	none := station(true)
	none.Addresses = none.Addresses[:1]
	for _, c := range []struct {
		name string
		port overlay.LocalPort
		kind dhcpv6.MessageType
		mods []dhcpv6.Modifier
		want dhcpv6.MessageType
		gets string
	}{
		{"solicit", l, dhcpv6.MessageTypeSolicit, []dhcpv6.Modifier{ia(1)}, dhcpv6.MessageTypeAdvertise, "00000001 fd00::9 for 1h0m0s of 30m0s/48m0s"},
		{"rapid commit", l, dhcpv6.MessageTypeSolicit, []dhcpv6.Modifier{ia(1), dhcpv6.WithRapidCommit}, dhcpv6.MessageTypeReply, "00000001 fd00::9 for 1h0m0s of 30m0s/48m0s"},
		{"two associations", l, dhcpv6.MessageTypeSolicit, []dhcpv6.Modifier{ia(1), ia(2)}, dhcpv6.MessageTypeAdvertise, "00000001 fd00::9 for 1h0m0s of 30m0s/48m0s, 00000002 NoAddrsAvail"},
		{"no address", none, dhcpv6.MessageTypeSolicit, []dhcpv6.Modifier{ia(1)}, dhcpv6.MessageTypeAdvertise, "00000001 NoAddrsAvail"},
		{"request", l, dhcpv6.MessageTypeRequest, []dhcpv6.Modifier{server, ia(1, "fd00::9")}, dhcpv6.MessageTypeReply, "00000001 fd00::9 for 1h0m0s of 30m0s/48m0s"},
		{"request of a foreign address", l, dhcpv6.MessageTypeRequest, []dhcpv6.Modifier{server, ia(1, "fd00::10")}, dhcpv6.MessageTypeReply, "00000001 fd00::9 for 1h0m0s of 30m0s/48m0s, 00000001 fd00::10 for 0s of 30m0s/48m0s"},
		{"renew", l, dhcpv6.MessageTypeRenew, []dhcpv6.Modifier{server, ia(1, "fd00::9")}, dhcpv6.MessageTypeReply, "00000001 fd00::9 for 1h0m0s of 30m0s/48m0s"},
		{"rebind", l, dhcpv6.MessageTypeRebind, []dhcpv6.Modifier{ia(1, "fd00::9")}, dhcpv6.MessageTypeReply, "00000001 fd00::9 for 1h0m0s of 30m0s/48m0s"},
		{"information request", l, dhcpv6.MessageTypeInformationRequest, nil, dhcpv6.MessageTypeReply, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _, err := ask6(t, c.port, c.kind, c.mods...)
			require.NoError(t, err)
			require.Equal(t, c.want, m.MessageType)
			require.Equal(t, c.gets, leases(m))
			require.Equal(t, "[fd00::53]", fmt.Sprint(m.Options.DNS()))
			require.Equal(t, []string{"blue.example"}, m.Options.DomainSearchList().Labels)
			require.Equal(t, "[fd00::123]", fmt.Sprint(m.Options.NTPServers()))
			if c.kind == dhcpv6.MessageTypeInformationRequest {
				require.Equal(t, time.Hour, m.Options.InformationRefreshTime(0))
			}
		})
	}
	for address, status := range map[string]iana.StatusCode{"fd00::9": iana.StatusSuccess, "fd00::8": iana.StatusNotOnLink} {
		m, _, err := ask6(t, l, dhcpv6.MessageTypeConfirm, ia(1, address))
		require.NoError(t, err)
		require.Equal(t, status, m.Options.Status().StatusCode)
	}
	m, a, err := ask6(t, l, dhcpv6.MessageTypeDecline, server, ia(1, "fd00::9"))
	require.NoError(t, err)
	require.Equal(t, iana.StatusSuccess, m.Options.Status().StatusCode)
	require.Equal(t, ip("fd00::9"), a.Declined)
	for _, c := range []struct {
		what string
		kind dhcpv6.MessageType
		mods []dhcpv6.Modifier
		why  string
	}{
		{"a request of another server", dhcpv6.MessageTypeRequest, []dhcpv6.Modifier{other, ia(1)}, "DHCPv6 REQUEST is for another server"},
		{"a request of none", dhcpv6.MessageTypeRequest, []dhcpv6.Modifier{ia(1)}, "DHCPv6 REQUEST is for another server"},
		{"a solicit to a server", dhcpv6.MessageTypeSolicit, []dhcpv6.Modifier{server, ia(1)}, "DHCPv6 SOLICIT names a server"},
		{"a confirm of nothing", dhcpv6.MessageTypeConfirm, []dhcpv6.Modifier{ia(1)}, "CONFIRM of no address"},
		{"a server's", dhcpv6.MessageTypeAdvertise, []dhcpv6.Modifier{server}, "DHCPv6 ADVERTISE is no message of a client"},
	} {
		_, _, err := ask6(t, l, c.kind, c.mods...)
		require.EqualError(t, err, c.why, c.what)
	}
}

func solicit(src string) []byte {
	a := answer{dstMAC: intent.MAC{0x33, 0x33, 0, 0, 0, 2}, src: ip(src), dst: ip("ff02::2")}
	f := a.icmp6([]byte{routerSolicitation, 0, 0, 0, 0, 0, 0, 0})
	copy(f[6:], mac[:])
	return f
}

func TestRouterAdvertisement(t *testing.T) {
	byMAC := station(true)
	byMAC.Addresses[1] = ip("fd00::ff:fe00:9")
	quiet := station(true)
	s := *quiet.Services
	s.DNS, s.NTP, s.Domain = nil, nil, ""
	quiet.Services = &s
	quiet.Addresses[1] = byMAC.Addresses[1]
	for _, c := range []struct {
		name     string
		port     overlay.LocalPort
		flags    byte
		prefix   byte
		lifetime uint16
	}{
		{"an address of its own", station(true), flagManaged | flagOther, flagOnLink, 65535},
		{"the address made of the MAC", byMAC, flagOther, flagOnLink | flagAutonomous, 65535},
		{"without a router", station(false), flagManaged | flagOther, flagOnLink, 0},
		{"nothing to tell", quiet, 0, flagOnLink | flagAutonomous, 65535},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := Request(solicit("fe80::ff:fe00:9"), c.port)
			require.NoError(t, err)
			p := received(t, a.Frame)
			require.Equal(t, "fe80::ff:fe00:9", p.dst.String())
			require.Equal(t, intent.GatewayMAC.LinkLocal(), p.src)
			require.EqualValues(t, 255, p.hops)
			m := p.payload
			require.EqualValues(t, routerAdvertisement, m[0])
			require.Equal(t, c.flags, m[5])
			require.Equal(t, c.lifetime, binary.BigEndian.Uint16(m[6:]))
			options := map[byte][]byte{}
			for b := m[16:]; len(b) > 0; b = b[int(b[1])*8:] {
				options[b[0]] = b[:int(b[1])*8]
			}
			require.Equal(t, append([]byte{1, 1}, intent.GatewayMAC[:]...), options[optionSourceLinkLayer])
			require.EqualValues(t, 1450, binary.BigEndian.Uint32(options[optionMTU][4:]))
			require.Equal(t, []byte{64, c.prefix}, options[optionPrefix][2:4])
			require.Equal(t, ip("fd00::").AsSlice(), options[optionPrefix][16:])
			if c.port.Services.Domain == "" {
				require.NotContains(t, options, byte(optionRDNSS))
				require.NotContains(t, options, byte(optionDNSSL))
				return
			}
			require.Equal(t, ip("fd00::53").AsSlice(), options[optionRDNSS][8:])
			require.Equal(t, "\x04blue\x07example\x00\x00\x00", string(options[optionDNSSL][8:]))
		})
	}
	a, err := Request(solicit("::"), byMAC)
	require.NoError(t, err)
	require.Equal(t, Advertisement(byMAC), a.Frame, "who has no address yet is told with all nodes")
	bad := solicit("fe80::ff:fe00:9")
	bad[21] = 64 // hop limit: it came through a router
	_, err = Request(bad, byMAC)
	require.Error(t, err)
	v4 := station(true)
	s4 := *v4.Services
	s4.Subnets = s4.Subnets[:1]
	v4.Services = &s4
	require.Nil(t, Advertisement(v4))
	_, err = Request(solicit("fe80::ff:fe00:9"), v4)
	require.Error(t, err)
}

// No frame of a station may make the decoders panic, and what is answered is a
// whole frame to that station.
func FuzzRequest(f *testing.F) {
	m, _ := dhcpv4.New(dhcpv4.WithHwAddr(net.HardwareAddr(mac[:])), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IP{192, 168, 0, 9})))
	f.Add(sent("0.0.0.0", "255.255.255.255", 68, 67, m.ToBytes()))
	m6, _ := dhcpv6.NewSolicit(net.HardwareAddr(mac[:]), dhcpv6.WithRapidCommit)
	f.Add(sent("fe80::ff:fe00:9", "ff02::1:2", 546, 547, m6.ToBytes()))
	f.Add(solicit("::"))
	l := station(true)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 12 {
			copy(b[6:], mac[:])
		}
		a, err := Request(b, l)
		if err != nil || a.Frame == nil {
			return
		}
		received(t, a.Frame)
	})
}

func BenchmarkRequest(b *testing.B) {
	m, _ := dhcpv4.New(dhcpv4.WithHwAddr(net.HardwareAddr(mac[:])), dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover))
	frame, l := sent("0.0.0.0", "255.255.255.255", 68, 67, m.ToBytes()), station(true)
	b.ReportAllocs()
	for range b.N {
		if _, err := Request(frame, l); err != nil {
			b.Fatal(err)
		}
	}
}
