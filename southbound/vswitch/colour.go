package vswitch

import (
	"fmt"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/openflow"
	"github.com/weft-sdn/weft/southbound/ovsdb"
)

// ColourTunnelName is the tunnel port of a bridge whose node has colours. It takes in
// what is sent to any address of the host but the VTEP's own, which has the port
// TunnelName; nothing is sent by it.
const ColourTunnelName = "weft-colours"

// colourTunnel is that port. Open vSwitch hands a packet to a tunnel port with the
// packet's destination as local_ip first.
var colourTunnel = ovsdb.Tunnel{Name: ColourTunnelName, Type: "vxlan", Port: 4789, AnyLocal: true}

// priorityColour is above whatever takes in packets by tunnel port.
const priorityColour = 300

// takeIn has what is sent to the colours of this edge go on as if it had been sent to
// the VTEP's own address: no flow but these knows the port that it came in by.
func (p pipeline) takeIn(port uint32) []openflow.Flow {
	if port == 0 {
		return nil
	}
	var fs []openflow.Flow
	for _, a := range p.own {
		fs = append(fs, flow(tableClassify, priorityColour, cookieMark, openflow.NewMatch(openflow.InPort(port), openflow.TunDst(a)),
			openflow.NewInstructions(openflow.Apply(openflow.FromPort(p.tunnels[standardTunnel]), openflow.Resubmit(tableClassify)))))
	}
	return fs
}

// colourPort is the number of the port for colours; 0 while there is none.
func (s *connection) colourPort(state ovsdb.State) uint32 {
	if t := state.Tunnels[ColourTunnelName]; len(s.colours) > 0 && t.Error == "" {
		return t.OFPort
	}
	return 0
}

// tellColours raises an alarm while what is sent to the colours of this edge can't be
// taken in, and ends it.
func (s *connection) tellColours(state ovsdb.State) {
	said := ""
	if t := state.Tunnels[ColourTunnelName]; len(s.colours) > 0 && t.Error != "" {
		said = fmt.Sprintf("tunnel port %s can't be opened (%s): what is sent to colours of %s is lost; look at ovs-vswitchd's log on %s, or take spec.colours from the node", ColourTunnelName, t.Error, s.vtep, s.name)
	}
	if said != s.deaf {
		s.deaf = said
		s.feed.Alarm(southbound.AlarmKey{Reason: southbound.AlarmCapability, Object: "port " + ColourTunnelName}, said)
	}
}

// withRecoloured adds to the segments that have newer rows those of which rows lead to
// other addresses of their VTEPs now.
func (s *connection) withRecoloured(newer []intent.VNI) []intent.VNI {
	if s.done.colours == s.pipe.colours {
		return newer
	}
	for v := range s.done.cursors {
		if s.recolours(v, s.pipe.colours) && !slices.Contains(newer, v) {
			newer = append(newer, v)
		}
	}
	return newer
}

// recolours reports whether rows of a segment may lead to other addresses than the
// device has them lead to.
func (s *connection) recolours(v intent.VNI, now *overlay.Colouring) bool {
	was := s.done.colours
	if was == now {
		return false
	}
	if was.Of(v) != now.Of(v) {
		return true
	}
	vrf := s.done.vrfs[v]
	return vrf != nil && slices.ContainsFunc(vrf.Subnets, func(n overlay.Subnet) bool { return was.Of(n.VNI) != now.Of(n.VNI) })
}

// recoloured are the flows of a row that the device has, where they differ by colour.
func (s *connection) recoloured(v intent.VNI, r evpn.Row) []openflow.Flow {
	if s.done.colours == s.pipe.colours || r.Deleted || r.Type != evpn.MACIP || r.VTEP == s.vtep {
		return nil
	}
	flows := s.pipe.row
	as := v // the VNI with which frames are sent
	if s.done.vrfs[v] != nil {
		if flows = s.pipe.routed; r.RouterMAC.IsZero() {
			as = r.VNI
		}
	} else if r.IP.IsValid() {
		return nil
	}
	if s.done.colours.At(as, r.VTEP) == s.pipe.colours.At(as, r.VTEP) {
		return nil
	}
	return flows(v, r)
}

// recolourVias changes the flows of a VRF's learned prefixes that differ by colour, but
// for those that are brought already.
func (s *connection) recolourVias(c *changes, v intent.VNI, but map[destination][]via) {
	if s.done.colours.Of(v) == s.pipe.colours.Of(v) {
		return
	}
	before := s.pipe
	before.colours = s.done.colours
	for _, d := range sortedDestinations(s.done.prefixes.at) {
		if _, brought := but[d]; d.vrf == v && !brought {
			c.replace(before.toPrefixVia(d, s.done.prefixes.at[d]), s.pipe.toPrefixVia(d, s.done.prefixes.at[d]))
		}
	}
}
