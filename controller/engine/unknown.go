package engine

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/switchstate"
	"github.com/weft-sdn/weft/topology"
)

// Bounds of the switches that wait to be admitted. Anyone who reaches the API can
// announce a switch, so both their number and how many of them one address has are
// bounded; one that is silent is forgotten.
const (
	unknownMost     = 1024
	unknownFromMost = 64
	unknownAfter    = silentAfter
)

// ErrManyUnknown says that no more switches are taken that are no nodes.
var ErrManyUnknown = errors.New("too many switches wait to be admitted")

// Unknown is a switch that announces itself and is no node of the fabric.
type Unknown struct {
	switchstate.Announcement // without its token
	// Fingerprint is the hash of the secret with which it announces itself: two that
	// say the same serial number differ by it.
	Fingerprint string
	From        netip.Addr
	Why         string // it waits
	Since, Last time.Time
}

// unknowns are the switches that wait, by fingerprint.
type unknowns struct {
	mu  sync.Mutex
	all map[string]Unknown
	now func() time.Time
}

func newUnknowns() *unknowns { return &unknowns{all: map[string]Unknown{}, now: time.Now} }

// take notes one, and tells whether it is new.
func (us *unknowns) take(u Unknown) (isNew bool, err error) {
	us.mu.Lock()
	defer us.mu.Unlock()
	us.expire()
	have, known := us.all[u.Fingerprint]
	u.Last, u.Since = us.now(), have.Since
	if !known {
		u.Since = u.Last
		from := 0
		for _, o := range us.all {
			if o.From == u.From {
				from++
			}
		}
		switch {
		case len(us.all) >= unknownMost:
			return false, fmt.Errorf("%w: %d do; admit them, or end their agents", ErrManyUnknown, len(us.all))
		case from >= unknownFromMost:
			return false, fmt.Errorf("%w: %d from %s do", ErrManyUnknown, from, u.From)
		}
	}
	us.all[u.Fingerprint] = u
	return !known, nil
}

// expire forgets those that are silent. The caller holds the lock.
func (us *unknowns) expire() {
	for k, u := range us.all {
		if us.now().Sub(u.Last) > unknownAfter {
			delete(us.all, k)
		}
	}
}

func (us *unknowns) forget(fingerprint string) {
	us.mu.Lock()
	defer us.mu.Unlock()
	delete(us.all, fingerprint)
}

// reported forgets a box that waited under the name of a node as which it reports now.
func (us *unknowns) reported(node, serial string) {
	us.mu.Lock()
	defer us.mu.Unlock()
	for k, u := range us.all {
		if u.Node == node && u.Serial == serial {
			delete(us.all, k)
		}
	}
}

func (us *unknowns) list() []Unknown {
	us.mu.Lock()
	defer us.mu.Unlock()
	us.expire()
	out := make([]Unknown, 0, len(us.all))
	for _, u := range us.all {
		out = append(out, u)
	}
	slices.SortFunc(out, func(a, b Unknown) int {
		return cmp.Or(strings.Compare(a.Serial, b.Serial), strings.Compare(a.Fingerprint, b.Fingerprint))
	})
	return out
}

// identity is what the intent says of the box that a node is.
type identity struct {
	role   intent.Role
	serial string
	mac    intent.MAC
}

// place finds the node that a box is to be: the one that it was told, whose serial
// number or MAC address it has, or whose cables it has. The node is empty when there
// is none; why says how it was found, or what is in the way.
func (w *wiring) place(a switchstate.Announcement) (node, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	own, byMAC := w.own(a)
	switch {
	case a.Node != "":
		n, ok := w.nodes[a.Node]
		switch {
		case !ok:
			return "", "there is no node " + a.Node + ": create it, or admit the box as another one"
		case n.serial != "" && n.serial != a.Serial:
			return "", fmt.Sprintf("%s is to be the box with serial %s (spec.serial), and this one has %s", a.Node, n.serial, a.Serial)
		case own != "" && own != a.Node:
			return "", fmt.Sprintf("it was told to be %s, but its serial number or MAC address is that of %s", a.Node, own)
		}
		return a.Node, "it was told to be " + a.Node
	case own != "" && byMAC && w.nodes[own].serial != "" && w.nodes[own].serial != a.Serial:
		return "", fmt.Sprintf("it has the MAC address of %s (spec.mac), but the serial number %s instead of %s", own, a.Serial, w.nodes[own].serial)
	case own != "" && byMAC:
		return own, "it has the MAC address of " + own
	case own != "":
		return own, "it has the serial number of " + own
	}
	return w.placeByCables(a)
}

// own is the node whose serial number, or else whose MAC address, the intent says to
// be the box's.
func (w *wiring) own(a switchstate.Announcement) (node string, byMAC bool) {
	for name, n := range w.nodes {
		if n.serial != "" && n.serial == a.Serial {
			return name, false
		}
	}
	for name, n := range w.nodes {
		if !n.mac.IsZero() && (n.mac == a.MAC || slices.ContainsFunc(a.Ports, func(p switchstate.Port) bool { return p.MAC == n.mac })) {
			return name, true
		}
	}
	return "", false
}

func (w *wiring) placeByCables(a switchstate.Announcement) (node, why string) {
	links := make([]topology.Link, 0, len(w.links))
	for _, l := range w.links {
		links = append(links, l)
	}
	node, why = topology.Place(links, w.seen(w.now()), topology.Box{Name: heardAs(a), Ports: seenPorts(a.Ports)})
	switch n, ok := w.nodes[node]; {
	case node == "":
	case !ok || !n.role.Switch():
		return "", fmt.Sprintf("it is wired as %s is to be, which is no switch of the fabric", node)
	case n.serial != "":
		return "", fmt.Sprintf("it is wired as %s is to be, but that is the box with serial %s (spec.serial)", node, n.serial)
	case !n.mac.IsZero():
		return "", fmt.Sprintf("it is wired as %s is to be, but that is the box with MAC address %s (spec.mac)", node, n.mac)
	}
	return node, why
}

// heardAs is the name by which a box's neighbours hear it.
func heardAs(a switchstate.Announcement) string { return cmp.Or(a.Name, a.Node, a.Serial) }

// live tells whether an agent reports as a node now, and on the box of which serial.
func (w *wiring) live(node string) (serial string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.switches[node]
	if s == nil || w.now().Sub(s.at) > silentAfter {
		return "", false
	}
	return s.serial, true
}

// PlaceBox finds the node that a box which announces itself is to be. The node is
// empty when there is none; why is a sentence in either case.
func (e *Engine) PlaceBox(a switchstate.Announcement) (node, why string) { return e.wiring.place(a) }

// LiveBox tells whether an agent reports as a node now, and on the box of which
// serial number.
func (e *Engine) LiveBox(node string) (serial string, ok bool) { return e.wiring.live(node) }

// HoldBox notes a box that waits; ErrManyUnknown says that there are too many.
func (e *Engine) HoldBox(u Unknown) error {
	u.Token = ""
	isNew, err := e.unknowns.take(u)
	if isNew {
		e.events.add(southbound.Event{Severity: southbound.Warning, Device: u.Serial, Object: "the switch", Reason: "Unknown",
			Message: "a switch with serial " + u.Serial + " announces itself from " + u.From.String() + " and waits: " + u.Why})
	}
	return err
}

// AdmitBox forgets a box that waited: it is a node now.
func (e *Engine) AdmitBox(fingerprint, serial, node, why string) {
	e.unknowns.forget(fingerprint)
	e.events.add(southbound.Event{Severity: southbound.Normal, Device: node, Object: "Node " + node, Reason: "Joined",
		Message: "the switch with serial " + serial + " is " + node + " now: " + why})
}

// UnknownBoxes lists the boxes that wait, by serial number.
func (e *Engine) UnknownBoxes() []Unknown { return e.unknowns.list() }
