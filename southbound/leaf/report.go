package leaf

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// tables are the leaf's forwarding and neighbour tables as its kernel has them.
type tables struct {
	remote     map[intent.VNI]map[intent.MAC]netip.Addr
	flood      map[intent.VNI]map[netip.Addr]struct{}
	neighbours map[intent.VNI]map[netip.Addr]intent.MAC
	local      map[string]int // MACs learned on each interface
	routes     map[intent.VNI]map[netip.Prefix]map[netip.Addr]struct{}
}

func newTables() tables {
	return tables{remote: map[intent.VNI]map[intent.MAC]netip.Addr{}, flood: map[intent.VNI]map[netip.Addr]struct{}{},
		neighbours: map[intent.VNI]map[netip.Addr]intent.MAC{}, local: map[string]int{},
		routes: map[intent.VNI]map[netip.Prefix]map[netip.Addr]struct{}{}}
}

func in[K, I comparable, T any](m map[K]map[I]T, k K) map[I]T {
	if m[k] == nil {
		m[k] = map[I]T{}
	}
	return m[k]
}

func (t tables) add(e leafstate.Entry) {
	switch e.Kind {
	case leafstate.Remote:
		in(t.remote, e.VNI)[e.MAC] = e.VTEP
	case leafstate.Flood:
		in(t.flood, e.VNI)[e.VTEP] = struct{}{}
	case leafstate.Neighbour:
		in(t.neighbours, e.VNI)[e.IP] = e.MAC
	case leafstate.Route:
		in(in(t.routes, e.VNI), prefixOf(e))[e.VTEP] = struct{}{}
	case leafstate.Local:
		t.local[e.Port]++
	}
}

// remove takes an entry out, unless another is there for the same key by now.
func (t tables) remove(e leafstate.Entry) {
	switch e.Kind {
	case leafstate.Remote:
		if t.remote[e.VNI][e.MAC] == e.VTEP {
			delete(t.remote[e.VNI], e.MAC)
		}
	case leafstate.Flood:
		delete(t.flood[e.VNI], e.VTEP)
	case leafstate.Neighbour:
		if t.neighbours[e.VNI][e.IP] == e.MAC {
			delete(t.neighbours[e.VNI], e.IP)
		}
	case leafstate.Route:
		to := t.routes[e.VNI][prefixOf(e)]
		if delete(to, e.VTEP); len(to) == 0 {
			delete(t.routes[e.VNI], prefixOf(e))
		}
	case leafstate.Local:
		if t.local[e.Port]--; t.local[e.Port] <= 0 {
			delete(t.local, e.Port)
		}
	}
}

// Want waits until the state that the leaf is to have is another than that of a
// revision, or ctx ends, and returns it.
func (d *Driver) Want(ctx context.Context, since uint64) (leafstate.State, error) {
	for {
		d.mu.Lock()
		s, changed, known := d.state, d.changed, !d.heard.IsZero() && d.state.VTEP.IsValid()
		d.mu.Unlock()
		if known && s.Revision != since {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return leafstate.State{}, ctx.Err()
		case <-changed:
		}
	}
}

// Take takes the agent's report. It returns false when a full one is needed.
func (d *Driver) Take(r leafstate.Report) bool {
	d.mu.Lock()
	if d.heard.IsZero() && !r.Full {
		d.mu.Unlock()
		return false
	}
	if r.Full {
		d.tables = newTables()
	}
	for _, e := range r.Remove {
		d.tables.remove(e)
	}
	for _, e := range r.Add {
		d.tables.add(e)
	}
	r.Add, r.Remove = nil, nil
	d.heard, d.report = time.Now(), r
	d.status.Software = r.Software
	ifaces := make([]overlay.Interface, 0, len(r.Interfaces))
	for _, i := range r.Interfaces {
		o := overlay.Interface{Name: i.Name, Error: i.Error, Active: d.tables.local[i.Name] > 0}
		if i.Error == "" {
			o.OFPort = 1 // it can carry a port
		}
		ifaces = append(ifaces, o)
	}
	tell := !d.leaving && !(d.told && slices.Equal(ifaces, d.observed))
	d.observed, d.told = ifaces, true
	d.mu.Unlock()
	if tell {
		d.feed.Observe(ifaces)
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
	return true
}

// judge says what is confirmed: the ports that the kernel has in their
// segments, and for each segment the revision up to which its tables agree with
// the rows. lacks names one thing that is missing.
func (d *Driver) judge(local map[intent.Ref]overlay.LocalPort) (ports map[intent.Ref]overlay.LocalPort, cursors map[intent.VNI]evpn.Revision, lacks string) {
	ports, cursors = map[intent.Ref]overlay.LocalPort{}, map[intent.VNI]evpn.Revision{}
	d.mu.Lock()
	confirmed, was := d.applied(), d.cursors
	d.mu.Unlock()
	agrees := map[intent.VNI]func(intent.VNI, []evpn.Row) bool{}
	for r, l := range local {
		agrees[l.VNI] = d.agrees
		if l.Routing != nil && d.routes(l) {
			agrees[l.Routing.VRF.VNI] = d.agreesRouted
		}
		switch {
		case !d.spec.EVPN.Unmanaged && !confirmed[leafstate.PortReport{Interface: l.Interface, VNI: l.VNI}]:
			lacks = l.Interface
		case d.routes(l):
			ports[r] = l
		}
	}
	for _, b := range d.borders() {
		if v := b.Network.Spec.VNI; d.OutsideError(b.Network) == nil {
			agrees[v] = d.agreesRouted
		} else {
			lacks = b.Network.Ref().String()
		}
	}
	for v, agrees := range agrees {
		since := was[v]
		rows, rev := d.feed.Rows(v, since)
		ok := d.spec.EVPN.Unmanaged || agrees(v, rows)
		switch {
		case ok:
			cursors[v] = rev
		case since > 0:
			cursors[v], lacks = since, "routes"
		default:
			lacks = "routes"
		}
	}
	return ports, cursors, lacks
}

// applied are the ports in place, when the state in place is the present one.
func (d *Driver) applied() map[leafstate.PortReport]bool {
	out := map[leafstate.PortReport]bool{}
	if d.report.Applied == d.state.Revision {
		for _, p := range d.report.Ports {
			out[p] = true
		}
	}
	return out
}

// agrees reports whether the kernel's tables have what the rows say: VTEPs, at
// whichever of their addresses.
func (d *Driver) agrees(v intent.VNI, rows []evpn.Row) bool {
	colours := d.feed.Colouring()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range rows {
		here := r.VTEP == d.spec.VTEP
		switch {
		case r.Type == evpn.IMET:
			if _, has := d.tables.flood[v][r.IP]; r.IP != d.spec.VTEP && has == r.Deleted {
				return false
			}
		case r.Type != evpn.MACIP:
		case !r.IP.IsValid():
			at, has := d.tables.remote[v][r.MAC]
			if r.Deleted || here {
				if has {
					return false
				}
			} else if colours.VTEP(at) != r.VTEP {
				return false
			}
		case !r.Deleted && !here:
			if d.tables.neighbours[v][r.IP] != r.MAC {
				return false
			}
		}
	}
	return true
}
