package frr

import (
	"net/netip"
	"strconv"

	"github.com/weft-sdn/weft/fabric/device"
)

func itoa(n int) string { return strconv.Itoa(n) }

// bgp has the BGP instance.
func bgp(s device.State) string {
	b := s.BGP
	if b == nil {
		return ""
	}
	var l lines
	l.WriteString(injection(b))
	l.add("bgp route-map delay-timer 0")
	l.add("router bgp %d", b.ASN)
	l.add(" bgp router-id %s", b.RouterID)
	l.add(" no bgp ebgp-requires-policy")
	l.add(" no bgp default ipv4-unicast")
	l.add(" bgp bestpath as-path multipath-relax")
	l.add(" coalesce-time 20")
	gracefulRestart(&l, b)
	if s.Drained && len(b.Groups) > 0 {
		l.add(" bgp graceful-shutdown")
	}
	for _, g := range b.Groups {
		peerGroup(&l, g)
	}
	for _, n := range b.Neighbors {
		neighbor(&l, n)
	}
	for _, a := range b.Injectors {
		injector(&l, a, b.ASN)
	}
	addressFamily(&l, b, "ip", "ipv4")
	addressFamily(&l, b, "ipv6", "ipv6")
	l.add("exit")
	return l.String()
}

// Seconds of graceful restart. Neighbours keep the routes of a bgpd that is away as long
// as zebra, which is started anew, keeps the kernel's (its option -K); bgpd waits less
// for what its neighbours have to say (RFC 4724 section 4.1).
const (
	restartTime = 20
	deferTime   = 5
)

// gracefulRestart has neighbours keep a switch's routes while its bgpd is away, for the
// kernel goes on to forward (RFC 4724). A session that ends by a NOTIFICATION, a hold
// timer or BFD is that of a dead neighbour, as without it: not so by RFC 8538, which is
// left out.
func gracefulRestart(l *lines, b *device.BGP) {
	if len(b.Groups) == 0 {
		return
	}
	l.add(" bgp graceful-restart restart-time %d", restartTime)
	l.add(" bgp graceful-restart select-defer-time %d", deferTime)
	l.add(" no bgp graceful-restart notification")
	l.add(" bgp graceful-restart")
	l.add(" bgp graceful-restart preserve-fw-state")
}

func peerGroup(l *lines, g device.PeerGroup) {
	l.add(" neighbor %s peer-group", g.Name)
	l.add(" neighbor %s advertisement-interval 0", g.Name)
	l.add(" neighbor %s timers %d %d", g.Name, g.Keepalive, g.Hold)
	l.add(" neighbor %s timers connect 1", g.Name)
	if g.DelayOpen > 0 {
		l.add(" neighbor %s timers delayopen %d", g.Name, g.DelayOpen)
	}
	if g.BFD != nil {
		l.add(" neighbor %s bfd", g.Name)
		l.add(" neighbor %s bfd profile %s", g.Name, g.Name)
	}
}

// peer is how FRR names a neighbour.
func peer(n device.Neighbor) string {
	if n.Interface != "" {
		return n.Interface
	}
	return n.Address.String()
}

// neighbor writes lines as FRR shows them. A neighbour by address exists from its AS
// on only, one by interface from that word on.
func neighbor(l *lines, n device.Neighbor) {
	switch {
	case n.LinkLocal:
		l.add(" neighbor %s interface v6only peer-group %s", n.Interface, n.Group)
		l.add(" neighbor %s remote-as %d", n.Interface, n.RemoteASN)
	case n.Interface != "":
		l.add(" neighbor %s interface peer-group %s", n.Interface, n.Group)
		l.add(" neighbor %s remote-as %d", n.Interface, n.RemoteASN)
	default:
		l.add(" neighbor %s remote-as %d", n.Address, n.RemoteASN)
		l.add(" neighbor %s peer-group %s", n.Address, n.Group)
	}
	if n.Passive {
		l.add(" neighbor %s passive", peer(n))
	}
	if n.Description != "" {
		l.add(" neighbor %s description %s", peer(n), n.Description)
	}
}

// addressFamily writes a unicast family when there is something to announce in
// it.
func addressFamily(l *lines, b *device.BGP, ip, name string) {
	var own []netip.Prefix
	for _, p := range b.Networks {
		if family(p.Addr()) == ip {
			own = append(own, p)
		}
	}
	if len(own) == 0 {
		return
	}
	l.add(" !")
	l.add(" address-family %s unicast", name)
	for _, p := range own {
		l.add("  network %s", p)
	}
	for _, g := range b.Groups {
		if g.Family != "" && string(g.Family) != name {
			continue
		}
		l.add("  neighbor %s activate", g.Name)
		if g.In != "" {
			l.add("  neighbor %s prefix-list %s in", g.Name, g.In)
		}
		if g.Out != "" {
			l.add("  neighbor %s prefix-list %s out", g.Name, g.Out)
		}
		if g.Policy != "" {
			l.add("  neighbor %s route-map %s in", g.Name, g.Policy)
		}
	}
	if ip == "ip" {
		injectors(l, b)
	}
	if b.MaximumPaths > 0 {
		l.add("  maximum-paths %d", b.MaximumPaths)
		if ip == "ip" && len(b.Injectors) > 0 {
			l.add("  maximum-paths ibgp %d", b.MaximumPaths)
		}
	}
	l.add(" exit-address-family")
}
