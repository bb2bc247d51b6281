package linux

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// Tables follows the kernel's forwarding and neighbour tables of the segments.
type Tables struct {
	mu      sync.Mutex
	entries map[leafstate.Entry]struct{}
	places  map[place]leafstate.Entry // of one MAC, or one address, in one table
	links   map[int]segmentLink       // by index
	add     map[leafstate.Entry]struct{}
	remove  map[leafstate.Entry]struct{}
	changed chan struct{}
}

// place is what has one entry at a time.
type place struct {
	kind leafstate.EntryKind
	vni  intent.VNI
	mac  intent.MAC
	ip   netip.Addr
}

// placeOf is false for entries that there may be many of.
func placeOf(e leafstate.Entry) (place, bool) {
	switch e.Kind {
	case leafstate.Flood:
		return place{}, false
	case leafstate.Neighbour:
		return place{kind: e.Kind, vni: e.VNI, ip: e.IP}, true
	}
	return place{kind: e.Kind, vni: e.VNI, mac: e.MAC}, true
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
	return &Tables{entries: map[leafstate.Entry]struct{}{}, places: map[place]leafstate.Entry{}, links: map[int]segmentLink{}, add: map[leafstate.Entry]struct{}{},
		remove: map[leafstate.Entry]struct{}{}, changed: make(chan struct{}, 1)}
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

// set notes that an entry is there, or not. One that takes another's place
// replaces it: the kernel tells of the new one only. The caller holds the lock.
func (t *Tables) set(e leafstate.Entry, there bool) {
	if _, is := t.entries[e]; is == there {
		return
	}
	if p, ok := placeOf(e); ok {
		if old, taken := t.places[p]; taken && there {
			t.set(old, false)
		}
		if there {
			t.places[p] = e
		} else {
			delete(t.places, p)
		}
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
	t.mu.Lock()
	defer t.mu.Unlock()
	t.links = links
	now := map[leafstate.Entry]struct{}{}
	for i := range all {
		if e, ok := t.entry(&all[i]); ok {
			now[e] = struct{}{}
		}
	}
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

// entry is what a neighbour message says about a segment. The caller holds the
// lock.
func (t *Tables) entry(n *netlink.Neigh) (e leafstate.Entry, ok bool) {
	l, ok := t.links[n.LinkIndex]
	if !ok || len(n.HardwareAddr) != 6 {
		return e, false
	}
	e = leafstate.Entry{VNI: l.vni}
	mac := intent.MAC(n.HardwareAddr)
	ip, hasIP := netip.AddrFromSlice(n.IP)
	ip = ip.Unmap()
	switch bridging := n.Family == unix.AF_BRIDGE; {
	case bridging && l.kind == tunnelLink && hasIP && mac.IsZero():
		e.Kind, e.VTEP = leafstate.Flood, ip
	case bridging && l.kind == tunnelLink && hasIP:
		e.Kind, e.MAC, e.VTEP = leafstate.Remote, mac, ip
	case bridging && l.kind == portLink && n.State&netlink.NUD_PERMANENT == 0 && n.MasterIndex != 0:
		e.Kind, e.MAC, e.Port = leafstate.Local, mac, l.name
	case !bridging && l.kind == bridgeLink && hasIP && n.Flags&netlink.NTF_EXT_LEARNED != 0 && n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0:
		e.Kind, e.MAC, e.IP = leafstate.Neighbour, mac, ip
	default:
		return e, false
	}
	return e, true
}

func (t *Tables) take(u netlink.NeighUpdate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := u.Neigh
	there := u.Type == unix.RTM_NEWNEIGH
	if there && n.State&netlink.NUD_FAILED != 0 {
		there = false
		n.State &^= netlink.NUD_FAILED
	}
	e, ok := t.entry(&n)
	if !ok {
		return
	}
	t.set(e, there)
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
	updates, done, broken := make(chan netlink.NeighUpdate, 1024), make(chan struct{}), make(chan struct{})
	defer close(done)
	var once sync.Once
	err := netlink.NeighSubscribeWithOptions(updates, done, netlink.NeighSubscribeOptions{
		ReceiveBufferSize: receiveBuffer, ReceiveBufferForceSize: true,
		ErrorCallback: func(error) { once.Do(func() { close(broken) }) },
	})
	if err != nil {
		return fmt.Errorf("follow forwarding tables: %w", err)
	}
	if err := t.Read(); err != nil { // after subscribing: nothing falls between
		return err
	}
	old := time.NewTimer(time.Hour)
	defer old.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-broken:
			return nil
		case <-old.C:
			return nil
		case u, ok := <-updates:
			if !ok {
				return nil
			}
			t.take(u)
		}
	}
}
