package vswitch

import (
	"errors"
	"fmt"
	"maps"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

// standardTunnel is the encapsulation of TunnelName, which every bridge has.
var standardTunnel = intent.Encapsulation{}.Full()

// tunnelFor is the tunnel port of an encapsulation.
func tunnelFor(e intent.Encapsulation) ovsdb.Tunnel {
	switch e = e.Full(); e.Type {
	case intent.NVGRE:
		return ovsdb.Tunnel{Name: "weft-nvgre", Type: "gre"}
	case intent.Geneve:
		if e.UDPPort == (intent.Encapsulation{Type: intent.Geneve}).Full().UDPPort {
			return ovsdb.Tunnel{Name: "weft-geneve", Type: "geneve", Port: e.UDPPort}
		}
		return ovsdb.Tunnel{Name: fmt.Sprintf("weft-gnv-%d", e.UDPPort), Type: "geneve", Port: e.UDPPort}
	}
	return ovsdb.Tunnel{Name: fmt.Sprintf("%s-%d", TunnelName, e.UDPPort), Type: "vxlan", Port: e.UDPPort}
}

// tunnelPath is how a VNI's frames leave the bridge.
type tunnelPath struct {
	encap  intent.Encapsulation
	tunnel uint32
}

// local are the ports that can be served: those whose network's tunnel port is
// open. It asks for the tunnel ports that are needed, and tells the pipeline of
// them.
func (s *connection) local() map[intent.Ref]overlay.LocalPort {
	s.localRev, _ = s.feed.Behind(nil)
	all := s.feed.Local()
	need, marks := encapsOf(all), false
	for _, l := range all {
		marks = marks || l.QoS != nil && l.QoS.Mark
	}
	var tunnels []ovsdb.Tunnel
	for e := range need {
		tunnels = append(tunnels, tunnelFor(e))
	}
	if len(s.colours) > 0 {
		tunnels = append(tunnels, colourTunnel)
	}
	s.ovs.SetTunnels(tunnels, marks)
	s.tellColours(s.ovs.State())
	s.pipe.colours, s.pipe.own, s.pipe.taking = s.feed.Colouring(), s.colours, s.colourPort(s.ovs.State())
	s.pipe.tunnels = openTunnels(s.ovs.State(), s.at.TunnelOFPort, need)
	s.pipe.encaps = map[intent.VNI]intent.Encapsulation{}
	closed := map[intent.Ref]string{}
	open := all // which is shared
	for r, l := range all {
		e := l.Encap.Full()
		if s.pipe.tunnels[e] == 0 {
			closed[r] = tunnelWords(s.ovs.State(), e)
			if len(closed) == 1 {
				open = maps.Clone(all)
			}
			delete(open, r)
			continue
		}
		s.pipe.encaps[l.VNI] = e
	}
	for _, vrf := range routingOf(all).vrfs { // frames may be bridged into networks without ports here
		for _, n := range vrf.Subnets {
			if n.VNI != 0 { // that of a pool is none
				s.pipe.encaps[n.VNI] = n.Encap.Full()
			}
		}
	}
	s.pipe.guard, s.pipe.nat = guardOf(all), natOf(all)
	s.pipe.acls, s.pipe.tenants = aclsOf(open), tenantsOf(open)
	s.Driver.mu.Lock()
	s.closed, s.short = closed, s.pipe.guard.short(all)
	s.Driver.mu.Unlock()
	return open
}

// openTunnels are the port numbers of the tunnel ports that are open.
func openTunnels(state ovsdb.State, standard uint32, need map[intent.Encapsulation]bool) map[intent.Encapsulation]uint32 {
	out := map[intent.Encapsulation]uint32{standardTunnel: standard}
	for e := range need {
		if t := state.Tunnels[tunnelFor(e).Name]; t.Error == "" && t.OFPort != 0 {
			out[e] = t.OFPort
		}
	}
	return out
}

// tunnelWords says why a tunnel port is not open.
func tunnelWords(state ovsdb.State, e intent.Encapsulation) string {
	t := tunnelFor(e)
	if why := state.Tunnels[t.Name].Error; why != "" {
		return fmt.Sprintf("tunnel port %s for %s: %s", t.Name, e, why)
	}
	return fmt.Sprintf("tunnel port %s for %s has no OpenFlow port number yet", t.Name, e)
}

// path is the way of a VNI.
func (p pipeline) path(v intent.VNI) tunnelPath { return tunnelPath{p.encaps[v].Full(), p.tunnel(v)} }

// paths are the ways of the VNIs that the pipeline knows now.
func (p pipeline) paths() map[intent.VNI]tunnelPath {
	out := make(map[intent.VNI]tunnelPath, len(p.encaps))
	for v, e := range p.encaps {
		out[v] = tunnelPath{e, p.tunnels[e]}
	}
	return out
}

// tunnelsChanged reports whether other tunnel ports are open than the pipeline
// knows of, or needed ones are not yet.
func (s *connection) tunnelsChanged(state ovsdb.State) bool {
	need := encapsOf(s.feed.Local())
	return !maps.Equal(openTunnels(state, s.at.TunnelOFPort, need), s.pipe.tunnels) || s.colourPort(state) != s.pipe.taking
}

// PortError says why a single port is not served, or nil.
func (d *Driver) PortError(r intent.Ref) *southbound.OpError {
	d.mu.Lock()
	why, short := d.closed[r], d.short[r]
	d.mu.Unlock()
	if short != "" {
		return d.fail(southbound.CodeRefused, "tell the groups of its policy apart", "name fewer groups in the rules of the ports on "+d.name+", or move the port", errors.New(short))
	}
	if why == "" {
		return nil
	}
	return d.fail(southbound.CodeNotReady, "open the network's tunnel port", "look at ovs-vswitchd's log on "+d.name, errors.New(why))
}

// encapsOf are the encapsulations that local ports need beside the standard one.
func encapsOf(local map[intent.Ref]overlay.LocalPort) map[intent.Encapsulation]bool {
	need := map[intent.Encapsulation]bool{}
	for _, l := range local {
		if e := l.Encap.Full(); e != standardTunnel {
			need[e] = true
		}
	}
	for _, vrf := range routingOf(local).vrfs {
		for _, n := range vrf.Subnets {
			if e := n.Encap.Full(); e != standardTunnel {
				need[e] = true
			}
		}
	}
	return need
}
