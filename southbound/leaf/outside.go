package leaf

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// external is the router by which the leaf is a border of an external network.
func external(b overlay.Border) leafstate.Router {
	n := b.Network
	o := &leafstate.Outside{Default: b.Border.VRF == intent.VRFDefault, Announce: b.Announce, Accept: slices.SortedFunc(slices.Values(n.Spec.Import), netip.Prefix.Compare), Others: b.Others}
	for _, p := range b.Border.Peers {
		o.Peers = append(o.Peers, leafstate.OutsidePeer{Address: p.Address, ASN: p.ASN, Interface: p.Interface, Local: p.Local, Password: p.Password, BFD: p.BFD})
	}
	slices.SortFunc(o.Peers, func(a, b leafstate.OutsidePeer) int { return a.Address.Compare(b.Address) })
	return leafstate.Router{Router: n.Ref(), VNI: n.Spec.VNI, MTU: intent.DefaultMTU, Import: n.Spec.RouteTargets.Import, Export: n.Spec.RouteTargets.Export, Outside: o}
}

// borders are the external networks that the leaf leads to.
func (d *Driver) borders() []overlay.Border {
	if d.config.Borders == nil {
		return nil
	}
	return d.config.Borders()
}

// Outside is an external network as the leaf said last; ok is false while it has
// not got it, or is silent.
func (d *Driver) Outside(v intent.VNI) (r leafstate.RouterReport, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.report.Routers, func(r leafstate.RouterReport) bool { return r.VNI == v })
	if i < 0 || d.heard.IsZero() || time.Since(d.heard) > silence {
		return r, false
	}
	return d.report.Routers[i], true
}

// lacksOutside says why the leaf does not lead to an external network, nil when it
// does. The caller holds the lock.
func (d *Driver) lacksOutside(n *intent.ExternalNetwork) *southbound.OpError {
	if d.spec.EVPN.Unmanaged {
		return nil
	}
	op := "lead to " + n.Ref().String()
	i := slices.IndexFunc(d.report.Routers, func(r leafstate.RouterReport) bool { return r.VNI == n.Spec.VNI })
	switch {
	case i < 0 || d.report.Applied != d.state.Revision:
		return d.fail(southbound.CodeNotReady, op, "wait a moment", errors.New("the leaf has no VRF for it yet"))
	case d.report.Routers[i].Capability:
		return d.fail(southbound.AlarmCapability, op, "run a kernel with VRF devices on "+d.name+", or give it vrf: default in spec.borders of the external network", errors.New(d.report.Routers[i].Error))
	case d.report.Routers[i].Error != "":
		return d.fail(southbound.CodeRefused, op, "look at the agent's log on "+d.name, errors.New(d.report.Routers[i].Error))
	}
	return nil
}

// OutsideError says why the leaf does not lead to an external network while it is
// well as a whole, nil when it does.
func (d *Driver) OutsideError(n *intent.ExternalNetwork) *southbound.OpError {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lacksOutside(n)
}

// peerPatience is how long a session with a router outside may take to come up
// before that is an alarm; one that was up is told of at once.
const peerPatience = 10 * time.Second

// peerKey is a session with a router outside.
type peerKey struct {
	vni  intent.VNI
	peer netip.Addr
}

// downPeers adds an alarm for each session with a router outside that is down. The
// caller holds the lock.
func (d *Driver) downPeers(borders []overlay.Border, now map[southbound.AlarmKey]string) {
	since := map[peerKey]time.Time{}
	for _, b := range borders {
		i := slices.IndexFunc(d.report.Routers, func(r leafstate.RouterReport) bool { return r.VNI == b.Network.Spec.VNI })
		if i < 0 {
			continue
		}
		for _, s := range d.report.Routers[i].Sessions {
			k := peerKey{b.Network.Spec.VNI, s.Peer}
			if s.State == established {
				since[k] = time.Time{} // a loss is told at once
				continue
			}
			at, known := d.peersDown[k]
			if !known {
				at = time.Now()
			}
			if since[k] = at; time.Since(at) >= peerPatience {
				now[southbound.AlarmKey{Reason: southbound.AlarmPeerDown, Object: fmt.Sprintf("%s peer %s", b.Network.Ref(), s.Peer)}] =
					fmt.Sprintf("the BGP session with AS %d is %s: check the link, AS and password of both sides", asnOf(b, s.Peer), cmp.Or(s.State, "down"))
			}
		}
	}
	d.peersDown = since
}

func asnOf(b overlay.Border, peer netip.Addr) uint32 {
	for _, p := range b.Border.Peers {
		if p.Address == peer {
			return p.ASN
		}
	}
	return 0
}
