package linux

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// Tables follows the kernel's forwarding and neighbour tables of the segments.
//
// A station behind a VTEP has two entries: the VXLAN device's says which VTEP,
// the bridge's that it is behind the VXLAN device. The bridge's decides, and a
// station that moves to a port leaves the other one behind. So Remote is what
// has both.
type Tables struct {
	mu      sync.Mutex
	views   views
	entries map[leafstate.Entry]struct{} // what follows from the views
	links   map[int]segmentLink          // by index
	add     map[leafstate.Entry]struct{}
	remove  map[leafstate.Entry]struct{}
	changed chan struct{}
	buffer  int // for messages, in bytes
	lost    int // times that there were too many
	// heard counts the messages of forwarding and neighbour tables, and subscriptions;
	// following says that there is one.
	heard     uint64
	following bool
}

// views are the kernel's tables, as it has them.
type views struct {
	bridge     map[station]segmentLink // where frames to a station go
	tunnel     map[station]netip.Addr  // to which VTEP, if into the tunnel
	neighbours map[address]intent.MAC
	flood      map[vtep]struct{}
	routes     map[vrfRoute][]netip.Addr // in VRFs, to VTEPs
}

func newViews() views {
	return views{map[station]segmentLink{}, map[station]netip.Addr{}, map[address]intent.MAC{}, map[vtep]struct{}{}, map[vrfRoute][]netip.Addr{}}
}

// station is a MAC in a segment, address an IP address, vtep where its frames to
// all go.
type (
	station struct {
		vni intent.VNI
		mac intent.MAC
	}
	address struct {
		vni intent.VNI
		ip  netip.Addr
	}
	vtep struct {
		vni intent.VNI
		ip  netip.Addr
	}
)

// entries are what follows for a station: one or none.
func (v views) entries(s station) []leafstate.Entry {
	at, ok := v.bridge[s]
	if !ok {
		return nil
	}
	e := leafstate.Entry{VNI: s.vni, MAC: s.mac}
	if at.kind == portLink {
		e.Kind, e.Port = leafstate.Local, at.name
		return []leafstate.Entry{e}
	}
	to, ok := v.tunnel[s]
	if !ok {
		return nil
	}
	e.Kind, e.VTEP = leafstate.Remote, to
	return []leafstate.Entry{e}
}

func (a address) entry(mac intent.MAC) leafstate.Entry {
	return leafstate.Entry{Kind: leafstate.Neighbour, VNI: a.vni, MAC: mac, IP: a.ip}
}

func (v vtep) entry() leafstate.Entry {
	return leafstate.Entry{Kind: leafstate.Flood, VNI: v.vni, VTEP: v.ip}
}

// all is all that follows.
func (v views) all() map[leafstate.Entry]struct{} {
	out := make(map[leafstate.Entry]struct{}, len(v.bridge)+len(v.neighbours)+len(v.flood))
	for s := range v.bridge {
		for _, e := range v.entries(s) {
			out[e] = struct{}{}
		}
	}
	for a, mac := range v.neighbours {
		out[a.entry(mac)] = struct{}{}
	}
	for f := range v.flood {
		out[f.entry()] = struct{}{}
	}
	for r, to := range v.routes {
		for _, e := range r.entries(to) {
			out[e] = struct{}{}
		}
	}
	return out
}

// segmentLink is an interface of a segment.
type segmentLink struct {
	vni  intent.VNI
	kind linkKind
	name string
}

type linkKind uint8

const (
	tunnelLink linkKind = iota
	bridgeLink
	portLink
)

// NewTables returns tables that follow nothing yet.
func NewTables() *Tables {
	return &Tables{views: newViews(), entries: map[leafstate.Entry]struct{}{}, links: map[int]segmentLink{}, add: map[leafstate.Entry]struct{}{},
		remove: map[leafstate.Entry]struct{}{}, changed: make(chan struct{}, 1), buffer: receiveBuffer}
}

// Changed receives after entries changed.
func (t *Tables) Changed() <-chan struct{} { return t.changed }

// All lists every entry and forgets what changed.
func (t *Tables) All() []leafstate.Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.add)
	clear(t.remove)
	return list(t.entries)
}

// Changes lists what changed since the last call.
func (t *Tables) Changes() (add, remove []leafstate.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	add, remove = list(t.add), list(t.remove)
	clear(t.add)
	clear(t.remove)
	return add, remove
}

func list(m map[leafstate.Entry]struct{}) []leafstate.Entry {
	out := make([]leafstate.Entry, 0, len(m))
	for e := range m {
		out = append(out, e)
	}
	return out
}

// set notes that an entry is there, or not. The caller holds the lock.
func (t *Tables) set(e leafstate.Entry, there bool) {
	if _, is := t.entries[e]; is == there {
		return
	}
	to, from := t.add, t.remove
	if there {
		t.entries[e] = struct{}{}
	} else {
		delete(t.entries, e)
		to, from = from, to
	}
	if _, undone := from[e]; undone {
		delete(from, e)
	} else {
		to[e] = struct{}{}
	}
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// Read reads all tables anew, after interfaces were made or when messages were
// lost.
func (t *Tables) Read() error {
	// No message is taken meanwhile: one that is newer than what is read here
	// must not be undone by it.
	t.mu.Lock()
	defer t.mu.Unlock()
	have, err := readLinks()
	if err != nil {
		return err
	}
	links := map[int]segmentLink{}
	for name, l := range have.byName {
		if m := have.byIndex[l.Attrs().MasterIndex]; m != nil && ours(m) {
			if v, ok := vniOf(m.Attrs().Name, "br"); ok {
				kind := portLink
				if ours(l) {
					kind = tunnelLink
				}
				links[l.Attrs().Index] = segmentLink{v, kind, name}
			}
		}
		if v, ok := vniOf(name, "br"); ok && ours(l) {
			links[l.Attrs().Index] = segmentLink{v, bridgeLink, name}
		}
	}
	var all []netlink.Neigh
	for _, family := range []int{unix.AF_BRIDGE, unix.AF_INET, unix.AF_INET6} {
		part, err := netlink.NeighList(0, family)
		if err != nil {
			return fmt.Errorf("read forwarding tables: %w", err)
		}
		all = append(all, part...)
	}
	t.links, t.views = links, newViews()
	for i := range all {
		t.see(&all[i], true)
	}
	if err := t.readRoutes(have); err != nil {
		return err
	}
	now := t.views.all()
	for e := range t.entries {
		if _, ok := now[e]; !ok {
			t.set(e, false)
		}
	}
	for e := range now {
		t.set(e, true)
	}
	return nil
}

func vniOf(name, prefix string) (v intent.VNI, ok bool) {
	if _, err := fmt.Sscanf(name, prefix+"%d", &v); err != nil {
		return 0, false
	}
	return v, name == fmt.Sprintf("%s%d", prefix, v)
}

// see puts what a neighbour message says into the views and returns the entries
// that followed from them before and follow now. The caller holds the lock.
func (t *Tables) see(n *netlink.Neigh, there bool) (before, after []leafstate.Entry) {
	l, ok := t.links[n.LinkIndex]
	if !ok {
		return nil, nil
	}
	ip, hasIP := netip.AddrFromSlice(n.IP)
	ip = ip.Unmap()
	if n.Family != unix.AF_BRIDGE {
		if l.kind == bridgeLink && hasIP {
			return t.views.seeNeighbour(n, address{l.vni, ip}, there)
		}
		return nil, nil
	}
	if len(n.HardwareAddr) != 6 {
		return nil, nil
	}
	s := station{l.vni, intent.MAC(n.HardwareAddr)}
	if l.kind == tunnelLink && hasIP && s.mac.IsZero() {
		return t.views.seeFlood(vtep{l.vni, ip}, there)
	}
	before = t.views.entries(s)
	switch {
	case l.kind == tunnelLink && hasIP:
		if there {
			t.views.tunnel[s] = ip
		} else if t.views.tunnel[s] == ip {
			delete(t.views.tunnel, s)
		}
	case n.MasterIndex == 0 || n.State&netlink.NUD_PERMANENT != 0: // an interface's own
	case there:
		t.views.bridge[s] = l
	case t.views.bridge[s] == l:
		delete(t.views.bridge, s)
	}
	return before, t.views.entries(s)
}

// seeNeighbour takes what FRR wrote only. A neighbour without a MAC is gone: the
// kernel's farewell has none.
func (v views) seeNeighbour(n *netlink.Neigh, a address, there bool) (before, after []leafstate.Entry) {
	if mac, ok := v.neighbours[a]; ok {
		before = []leafstate.Entry{a.entry(mac)}
	}
	if there && n.Flags&netlink.NTF_EXT_LEARNED != 0 && n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 && len(n.HardwareAddr) == 6 {
		v.neighbours[a] = intent.MAC(n.HardwareAddr)
		return before, []leafstate.Entry{a.entry(v.neighbours[a])}
	}
	delete(v.neighbours, a)
	return before, nil
}

func (v views) seeFlood(f vtep, there bool) (before, after []leafstate.Entry) {
	if !there {
		delete(v.flood, f)
		return []leafstate.Entry{f.entry()}, nil
	}
	v.flood[f] = struct{}{}
	return nil, []leafstate.Entry{f.entry()}
}

// quiet reports whether the kernel told of no change since a count of messages, and what
// the count is now.
func (t *Tables) quiet(since uint64) (quiet bool, now uint64) {
	if t == nil {
		return false, 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.following && t.heard == since, t.heard
}

// follows notes that messages come, or don't any more.
func (t *Tables) follows(yes bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.following = yes
	t.heard++
}

// take takes a message.
func (t *Tables) take(u netlink.NeighUpdate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard++
	t.turn(t.see(&u.Neigh, u.Type == unix.RTM_NEWNEIGH))
}

// turn notes that some entries became others. The caller holds the lock.
func (t *Tables) turn(before, after []leafstate.Entry) {
	for _, e := range before {
		if !slices.Contains(after, e) {
			t.set(e, false)
		}
	}
	for _, e := range after {
		t.set(e, true)
	}
}

// receiveBuffer holds the messages of a burst of routes, in bytes.
const receiveBuffer = 32 << 20

// Follow follows the kernel's messages until ctx ends; it returns ctx's error,
// or why it can't follow. It reads everything anew when messages were lost, and
// once an hour.
func (t *Tables) Follow(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := t.follow(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// follow follows one subscription until it breaks or is an hour old.
func (t *Tables) follow(ctx context.Context) error {
	updates, routes, done, broken := make(chan netlink.NeighUpdate, 1024), make(chan netlink.RouteUpdate, 1024), make(chan struct{}), make(chan error, 1)
	failed := func(err error) {
		select {
		case broken <- err:
		default:
		}
	}
	err := netlink.NeighSubscribeWithOptions(updates, done, netlink.NeighSubscribeOptions{ReceiveBufferSize: t.buffer, ReceiveBufferForceSize: true, ErrorCallback: failed})
	if err != nil {
		close(done)
		return fmt.Errorf("follow forwarding tables: %w", err)
	}
	err = netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{ReceiveBufferSize: t.buffer, ReceiveBufferForceSize: true, ErrorCallback: failed})
	if err != nil {
		close(routes)
	}
	defer func() {
		close(done)
		for range updates { // the reader may be at handing one over; it ends then
		}
		for range routes {
		}
	}()
	if err != nil {
		return fmt.Errorf("follow the routes of VRFs: %w", err)
	}
	if err := t.Read(); err != nil { // after subscribing: nothing falls between
		return err
	}
	t.follows(true)
	defer t.follows(false)
	old := time.NewTimer(time.Hour)
	defer old.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-broken:
			if errors.Is(err, unix.ENOBUFS) {
				t.mu.Lock()
				t.lost++
				t.mu.Unlock()
			}
			return nil
		case <-old.C:
			return nil
		case u, ok := <-updates:
			if !ok {
				return nil
			}
			t.take(u)
		case u, ok := <-routes:
			if !ok {
				return nil
			}
			t.takeRoute(u)
		}
	}
}
