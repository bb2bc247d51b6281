package service

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
)

// ICMPv6 types and options of router discovery (RFC 4861 section 4, RFC 8106).
const (
	routerSolicitation  = 133
	routerAdvertisement = 134

	optionSourceLinkLayer = 1
	optionPrefix          = 3
	optionMTU             = 5
	optionRDNSS           = 25
	optionDNSSL           = 31
)

// Flags of advertisements and of prefixes.
const (
	flagManaged    = 0x80
	flagOther      = 0x40
	flagOnLink     = 0x80
	flagAutonomous = 0x40
)

// Lifetimes in seconds.
const (
	routerLifetime = 65535   // the longest (RFC 8319)
	dnsLifetime    = 65535   // as long as the router's
	validLifetime  = 2592000 // RFC 4861 section 6.2.1
	preferredTime  = 604800
)

var allNodes = answer{dstMAC: intent.MAC{0x33, 0x33, 0, 0, 0, 1}, src: intent.GatewayMAC.LinkLocal(), dst: netip.IPv6LinkLocalAllNodes()}

// Advertisement is the router advertisement to all stations behind a port, nil
// when its network has no IPv6 subnet or tells nothing.
func Advertisement(l overlay.LocalPort) []byte {
	if l.Services == nil || !l.Services.Has(false) {
		return nil
	}
	return allNodes.icmp6(advertisement(l))
}

// Retracted is a port as its station is told last: there is no router any more
// (RFC 4861 section 6.2.5).
func Retracted(l overlay.LocalPort) overlay.LocalPort {
	s := *l.Services
	s.Subnets = slices.Clone(s.Subnets)
	for i := range s.Subnets {
		s.Subnets[i].Gateway = netip.Addr{}
	}
	l.Services = &s
	return l
}

// solicited answers a router solicitation (RFC 4861 section 6.1.1).
func solicited(p packet, l overlay.LocalPort) (Answer, error) {
	m := p.payload
	if len(m) < 8 || m[0] != routerSolicitation || m[1] != 0 || p.hops != 255 {
		return Answer{}, errForeign
	}
	if !l.Services.Has(false) {
		return Answer{}, fmt.Errorf("router solicitation: the network has no IPv6 subnet")
	}
	to := allNodes
	if !p.src.IsUnspecified() {
		to.dstMAC, to.dst = l.MAC, p.src
	}
	return Answer{Frame: to.icmp6(advertisement(l)), Did: "router solicitation: router advertisement"}, nil
}

// advertisement is the ICMPv6 message for a port, without its checksum.
func advertisement(l overlay.LocalPort) []byte {
	s, flags, lifetime := l.Services, byte(0), uint16(0)
	for _, a := range addresses(l, false) {
		if n, _ := s.Subnet(a); !eui64(n.Prefix, a, l.MAC) {
			flags |= flagManaged
		}
	}
	if len(family(s.DNS, false))+len(family(s.NTP, false)) > 0 || s.Domain != "" {
		flags |= flagOther
	}
	for _, n := range s.Subnets {
		if n.Gateway.Is6() {
			lifetime = routerLifetime
		}
	}
	m := []byte{routerAdvertisement, 0, 0, 0, 64, flags}
	m = binary.BigEndian.AppendUint16(m, lifetime)
	m = append(m, 0, 0, 0, 0, 0, 0, 0, 0)
	m = append(append(m, optionSourceLinkLayer, 1), intent.GatewayMAC[:]...)
	m = binary.BigEndian.AppendUint32(append(m, optionMTU, 1, 0, 0), uint32(s.MTU))
	for _, n := range s.Subnets {
		if n.Prefix.Addr().Is6() {
			m = appendPrefix(m, n.Prefix, l)
		}
	}
	return appendDNS(m, s)
}

// appendPrefix appends a prefix information option.
func appendPrefix(m []byte, p netip.Prefix, l overlay.LocalPort) []byte {
	flags := byte(flagOnLink)
	for _, a := range l.Addresses {
		if eui64(p, a, l.MAC) {
			flags |= flagAutonomous
		}
	}
	m = append(m, optionPrefix, 4, byte(p.Bits()), flags)
	m = binary.BigEndian.AppendUint32(m, validLifetime)
	m = binary.BigEndian.AppendUint32(m, preferredTime)
	return append(append(m, 0, 0, 0, 0), p.Masked().Addr().AsSlice()...)
}

// appendDNS appends the DNS servers and the search list.
func appendDNS(m []byte, s *overlay.Services) []byte {
	if dns := family(s.DNS, false); len(dns) > 0 {
		m = append(m, optionRDNSS, byte(1+2*len(dns)), 0, 0)
		m = binary.BigEndian.AppendUint32(m, dnsLifetime)
		for _, a := range dns {
			m = append(m, a...)
		}
	}
	if s.Domain == "" {
		return m
	}
	var name []byte
	for label := range strings.SplitSeq(strings.Trim(s.Domain, "."), ".") {
		if len(label) == 0 || len(label) > 63 {
			return m // no name that DNS could carry
		}
		name = append(append(name, byte(len(label))), label...)
	}
	name = append(name, 0)
	for len(name)%8 != 0 {
		name = append(name, 0)
	}
	m = append(m, optionDNSSL, byte(1+len(name)/8), 0, 0)
	m = binary.BigEndian.AppendUint32(m, dnsLifetime)
	return append(m, name...)
}
