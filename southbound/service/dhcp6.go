package service

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/insomniacslk/dhcp/rfc1035label"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
)

// serverID is our DHCP unique identifier, DUID-LL of the gateway (RFC 8415
// section 11.4).
var serverID = &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: intent.GatewayMAC[:]}

// dhcp6 answers a message of a DHCPv6 client (RFC 8415 section 18.3).
func dhcp6(p packet, l overlay.LocalPort) (Answer, error) {
	if !l.Services.Has(false) {
		return Answer{}, fmt.Errorf("DHCPv6: the network has no IPv6 subnet")
	}
	m, err := dhcpv6.MessageFromBytes(p.payload)
	if err != nil {
		return Answer{}, fmt.Errorf("DHCPv6: %w", err)
	}
	r := reply6{m: m, l: l, own: addresses(l, false)}
	if err := r.check(); err != nil {
		return Answer{}, err
	}
	out := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: m.TransactionID}
	out.AddOption(dhcpv6.OptServerID(serverID))
	if id := m.Options.ClientID(); id != nil {
		out.AddOption(dhcpv6.OptClientID(id))
	}
	var declined, bound netip.Addr
	switch m.MessageType {
	case dhcpv6.MessageTypeSolicit:
		if m.GetOneOption(dhcpv6.OptionRapidCommit) != nil {
			out.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
		} else {
			out.MessageType = dhcpv6.MessageTypeAdvertise
		}
		r.give(out)
		r.tell(out)
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		r.give(out)
		r.tell(out)
		if len(r.own) > 0 {
			bound = r.own[0]
		}
	case dhcpv6.MessageTypeConfirm:
		asked := r.asked()
		if len(asked) == 0 {
			return Answer{}, fmt.Errorf("CONFIRM of no address")
		}
		status := iana.StatusSuccess
		if slices.ContainsFunc(asked, func(a netip.Addr) bool { return !slices.Contains(r.own, a) }) {
			status = iana.StatusNotOnLink
		}
		out.AddOption(&dhcpv6.OptStatusCode{StatusCode: status})
	case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		out.AddOption(&dhcpv6.OptStatusCode{StatusCode: iana.StatusSuccess})
		if asked := r.asked(); m.MessageType == dhcpv6.MessageTypeDecline && len(asked) > 0 {
			declined = asked[0]
		}
	case dhcpv6.MessageTypeInformationRequest:
		r.tell(out)
		out.AddOption(dhcpv6.OptInformationRefreshTime(max(l.Services.Lease.Duration(), leastRefresh)))
	default:
		return Answer{}, fmt.Errorf("DHCPv6 %s is no message of a client", m.MessageType)
	}
	to := answer{dstMAC: l.MAC, src: intent.GatewayMAC.LinkLocal(), dst: p.src, sport: PortServer6, dport: PortClient6}
	return Answer{Frame: to.udp(out.ToBytes()), Did: fmt.Sprintf("DHCPv6 %s: %s", m.MessageType, out.MessageType), Declined: declined, Bound: bound}, nil
}

// leastRefresh is IRT_MINIMUM (RFC 8415 section 7.6).
const leastRefresh = 600 * time.Second

// reply6 is an answer of DHCPv6 in the making.
type reply6 struct {
	m   *dhcpv6.Message
	l   overlay.LocalPort
	own []netip.Addr
}

// check discards what must not be answered (RFC 8415 section 16).
func (r reply6) check() error {
	to := r.m.Options.ServerID()
	mine := to != nil && serverID.Equal(to)
	switch r.m.MessageType {
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRebind:
		if to != nil {
			return fmt.Errorf("DHCPv6 %s names a server", r.m.MessageType)
		}
	case dhcpv6.MessageTypeInformationRequest:
		if to != nil && !mine {
			return fmt.Errorf("DHCPv6 %s is for another server", r.m.MessageType)
		}
		return nil // the client's identifier may be left out
	default:
		if !mine {
			return fmt.Errorf("DHCPv6 %s is for another server", r.m.MessageType)
		}
	}
	if r.m.Options.ClientID() == nil {
		return fmt.Errorf("DHCPv6 %s has no client identifier", r.m.MessageType)
	}
	return nil
}

// asked are the addresses that the client's identity associations name.
func (r reply6) asked() []netip.Addr {
	var out []netip.Addr
	for _, ia := range r.m.Options.IANA() {
		for _, a := range ia.Options.Addresses() {
			if ip, ok := netip.AddrFromSlice(a.IPv6Addr); ok {
				out = append(out, ip)
			}
		}
	}
	return out
}

// give puts the port's addresses into the client's first identity association.
// Foreign addresses in it get a lifetime of zero; other associations, those for
// temporary addresses and for prefixes get nothing (RFC 8415 section 18.3).
func (r reply6) give(out *dhcpv6.Message) {
	none := func(code iana.StatusCode) dhcpv6.Options {
		return dhcpv6.Options{&dhcpv6.OptStatusCode{StatusCode: code}}
	}
	left := r.own
	for _, ia := range r.m.Options.IANA() {
		to := &dhcpv6.OptIANA{IaId: ia.IaId}
		valid := r.l.Services.Lease.Duration()
		for _, a := range left {
			to.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice(), PreferredLifetime: valid, ValidLifetime: valid})
		}
		if len(left) == 0 {
			to.Options.Options = none(iana.StatusNoAddrsAvail)
		} else {
			// RFC 8415 section 21.4.
			lease := r.l.Services.Lease
			to.T1, to.T2 = (lease / 2).Duration(), (lease - lease/5).Duration()
		}
		for _, a := range ia.Options.Addresses() {
			if ip, ok := netip.AddrFromSlice(a.IPv6Addr); ok && !slices.Contains(left, ip) && r.m.MessageType != dhcpv6.MessageTypeSolicit {
				to.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: slices.Clone(a.IPv6Addr)})
			}
		}
		left = nil
		out.AddOption(to)
	}
	for _, ia := range r.m.Options.IATA() {
		out.AddOption(&dhcpv6.OptIATA{IaId: ia.IaId, Options: dhcpv6.IdentityOptions{Options: none(iana.StatusNoAddrsAvail)}})
	}
	for _, ia := range r.m.Options.IAPD() {
		out.AddOption(&dhcpv6.OptIAPD{IaId: ia.IaId, Options: dhcpv6.PDOptions{Options: none(iana.StatusNoPrefixAvail)}})
	}
}

// tell puts in what the network tells (RFC 3646, RFC 5908).
func (r reply6) tell(out *dhcpv6.Message) {
	s := r.l.Services
	if dns := family(s.DNS, false); len(dns) > 0 {
		out.AddOption(dhcpv6.OptDNS(dns...))
	}
	if s.Domain != "" {
		out.AddOption(dhcpv6.OptDomainSearchList(&rfc1035label.Labels{Labels: []string{s.Domain}}))
	}
	if ntp := family(s.NTP, false); len(ntp) > 0 {
		var o dhcpv6.OptNTPServer
		for _, a := range ntp {
			server := dhcpv6.NTPSuboptionSrvAddr(net.IP(a))
			o.Suboptions.Add(&server)
		}
		out.AddOption(&o)
	}
}
