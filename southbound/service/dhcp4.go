package service

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
)

// dhcp4 answers a message of a DHCPv4 client (RFC 2131 section 4.3).
func dhcp4(p packet, l overlay.LocalPort) (Answer, error) {
	m, err := dhcpv4.FromBytes(p.payload)
	if err != nil {
		return Answer{}, fmt.Errorf("DHCPv4: %w", err)
	}
	kind := m.MessageType()
	switch {
	case m.OpCode != dhcpv4.OpcodeBootRequest || m.HWType != iana.HWTypeEthernet || kind == dhcpv4.MessageTypeNone:
		return Answer{}, errForeign
	case string(m.ClientHWAddr) != string(l.MAC[:]):
		return Answer{}, fmt.Errorf("%s for %s instead of %s", words4(kind), m.ClientHWAddr, l.MAC)
	case addr4(m.GatewayIPAddr).IsValid():
		return Answer{}, fmt.Errorf("%s comes from a relay agent", words4(kind))
	}
	own := addresses(l, true)
	if len(own) == 0 {
		return Answer{}, fmt.Errorf("%s: the port has no IPv4 address", words4(kind))
	}
	r := reply4{m: m, l: l, kind: kind, address: own[0]}
	wanted := addr4(m.RequestedIPAddress())
	if c := addr4(m.ClientIPAddr); c.IsValid() {
		wanted = c
	}
	mine := slices.Contains(own, wanted)
	if mine {
		r.address = wanted
	}
	r.subnet, _ = l.Services.Subnet(r.address)
	r.server = ServerAddress
	if r.subnet.Gateway.IsValid() {
		r.server = r.subnet.Gateway
	}
	said := addr4(m.ServerIdentifier())
	switch kind {
	case dhcpv4.MessageTypeDiscover:
		return r.give(dhcpv4.MessageTypeOffer), nil
	case dhcpv4.MessageTypeRequest:
		switch {
		case said.IsValid() && said != r.server:
			return Answer{Did: fmt.Sprintf("DHCPREQUEST for the offer of %s", said)}, nil
		case mine:
			a := r.give(dhcpv4.MessageTypeAck)
			a.Bound = r.address
			return a, nil
		case !wanted.IsValid():
			return Answer{}, fmt.Errorf("DHCPREQUEST for no address")
		}
		return r.refuse(wanted), nil
	case dhcpv4.MessageTypeInform:
		return r.give(dhcpv4.MessageTypeAck), nil
	case dhcpv4.MessageTypeRelease:
		return Answer{Did: fmt.Sprintf("DHCPRELEASE %s: it stays the port's", wanted)}, nil
	case dhcpv4.MessageTypeDecline:
		return Answer{Did: fmt.Sprintf("DHCPDECLINE %s", wanted), Declined: wanted}, nil
	}
	return Answer{}, fmt.Errorf("%s is no message of a client", words4(kind))
}

// reply4 is an answer of DHCPv4 in the making.
type reply4 struct {
	m       *dhcpv4.DHCPv4
	l       overlay.LocalPort
	kind    dhcpv4.MessageType
	address netip.Addr
	subnet  overlay.ServedSubnet
	server  netip.Addr
}

// give offers or acknowledges the lease; to an inform, which has an address
// already, it acknowledges without one (RFC 2131 section 4.3.5).
func (r reply4) give(kind dhcpv4.MessageType) Answer {
	out := r.start(kind)
	if r.kind != dhcpv4.MessageTypeInform {
		lease := r.l.Services.Lease
		out.YourIPAddr = r.address.AsSlice()
		out.UpdateOption(dhcpv4.OptIPAddressLeaseTime(lease.Duration()))
		// RFC 2131 section 4.4.5.
		out.UpdateOption(dhcpv4.OptRenewTimeValue((lease / 2).Duration()))
		out.UpdateOption(dhcpv4.OptRebindingTimeValue((lease - lease/8).Duration()))
	}
	r.tell(out)
	r.fit(out)
	to := answer{dstMAC: r.l.MAC, src: r.server, dst: r.address, sport: PortServer4, dport: PortClient4}
	switch c := addr4(r.m.ClientIPAddr); {
	case c.IsValid():
		to.dst = c
	case r.m.IsBroadcast():
		to.dstMAC, to.dst = broadcastMAC, broadcast4
	}
	return Answer{Frame: to.udp(out.ToBytes()), Did: fmt.Sprintf("%s: %s %s", words4(r.kind), words4(kind), r.address)}
}

// refuse says that an address is not the port's, by broadcast (RFC 2131 section
// 4.1).
func (r reply4) refuse(wanted netip.Addr) Answer {
	out := r.start(dhcpv4.MessageTypeNak)
	out.UpdateOption(dhcpv4.OptMessage(fmt.Sprintf("%s is not this station's address", wanted)))
	to := answer{dstMAC: broadcastMAC, src: r.server, dst: broadcast4, sport: PortServer4, dport: PortClient4}
	return Answer{Frame: to.udp(out.ToBytes()), Did: fmt.Sprintf("%s %s: DHCPNAK", words4(r.kind), wanted)}
}

// start makes an answer without configuration (RFC 2131 table 3).
func (r reply4) start(kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	zero := net.IPv4zero.To4()
	out := &dhcpv4.DHCPv4{OpCode: dhcpv4.OpcodeBootReply, HWType: iana.HWTypeEthernet, TransactionID: r.m.TransactionID, Flags: r.m.Flags,
		ClientIPAddr: zero, YourIPAddr: zero, ServerIPAddr: zero, GatewayIPAddr: zero, ClientHWAddr: r.m.ClientHWAddr, Options: dhcpv4.Options{}}
	if kind == dhcpv4.MessageTypeAck {
		out.ClientIPAddr = r.m.ClientIPAddr
	}
	out.UpdateOption(dhcpv4.OptMessageType(kind))
	out.UpdateOption(dhcpv4.OptServerIdentifier(r.server.AsSlice()))
	// RFC 6842 section 3.
	if id := r.m.GetOneOption(dhcpv4.OptionClientIdentifier); id != nil {
		out.UpdateOption(dhcpv4.OptClientIdentifier(id))
	}
	return out
}

// tell puts in what the network tells (RFC 2132).
func (r reply4) tell(out *dhcpv4.DHCPv4) {
	s := r.l.Services
	out.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(r.subnet.Prefix.Bits(), 32)))
	out.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, binary.BigEndian.AppendUint16(nil, uint16(s.MTU))))
	if g := r.subnet.Gateway; g.IsValid() {
		out.UpdateOption(dhcpv4.OptRouter(g.AsSlice()))
	}
	if dns := family(s.DNS, true); len(dns) > 0 {
		out.UpdateOption(dhcpv4.OptDNS(dns...))
	}
	if ntp := family(s.NTP, true); len(ntp) > 0 {
		out.UpdateOption(dhcpv4.OptNTPServers(ntp...))
	}
	if s.Domain != "" {
		out.UpdateOption(dhcpv4.OptDomainName(s.Domain))
	}
	if routes := r.routes(); len(routes) > 0 {
		out.UpdateOption(dhcpv4.OptClasslessStaticRoute(routes...))
	}
}

// routes are the classless static routes of the station (RFC 3442), none when
// there are no others than the default: those of the intent whose next hop is in
// the station's subnet, the one to the server where that is in no subnet, and the
// default route, since clients that take these ignore the router option.
func (r reply4) routes() []*dhcpv4.Route {
	var out []*dhcpv4.Route
	route := func(p netip.Prefix, via netip.Addr) {
		out = append(out, &dhcpv4.Route{Dest: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}, Router: via.AsSlice()})
	}
	for _, t := range r.l.Services.Routes {
		if r.subnet.Prefix.Contains(t.Via) {
			route(t.Prefix, t.Via)
		}
	}
	if r.server == ServerAddress {
		route(netip.PrefixFrom(ServerAddress, 32), netip.IPv4Unspecified()) // on the link
	}
	hasDefault := slices.ContainsFunc(r.l.Services.Routes, func(t intent.DHCPRoute) bool { return t.Prefix.Bits() == 0 })
	if g := r.subnet.Gateway; g.IsValid() && len(out) > 0 && !hasDefault {
		route(netip.PrefixFrom(netip.IPv4Unspecified(), 0), g)
	}
	return out
}

// leastMessage is the longest message that every client takes (RFC 2132 section
// 9.10), headers included.
const leastMessage = 576

// fit leaves out what the client's longest message has no room for: the domain,
// which alone can be long, then the NTP servers.
func (r reply4) fit(out *dhcpv4.DHCPv4) {
	room := leastMessage
	if n, err := r.m.MaxMessageSize(); err == nil {
		room = max(room, int(n))
	}
	for _, o := range []dhcpv4.OptionCode{dhcpv4.OptionDomainName, dhcpv4.OptionNTPServers} {
		if 20+8+len(out.ToBytes()) > room {
			delete(out.Options, o.Code())
		}
	}
}

var (
	broadcastMAC = intent.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	broadcast4   = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// addr4 is an address of a message; invalid when it is none or 0.0.0.0.
func addr4(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip.To4())
	if !a.IsValid() || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// family picks the addresses of one family.
func family(list []netip.Addr, v4 bool) []net.IP {
	var out []net.IP
	for _, a := range list {
		if a.Is4() == v4 {
			out = append(out, a.AsSlice())
		}
	}
	return out
}

// words4 is the name that RFC 2131 gives a message.
func words4(t dhcpv4.MessageType) string { return "DHCP" + t.String() }
