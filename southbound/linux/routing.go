package linux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/southbound/frr"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Times of the underlay.
const (
	// lookEvery is how often daemons and kernel are read when nothing happens.
	lookEvery = 2 * time.Second
	// lookAfter is how long changes of routes and interfaces are gathered.
	lookAfter = 200 * time.Millisecond
	// lookAgain is when a difference is looked at once more.
	lookAgain = 300 * time.Millisecond
)

// Routing follows what the routing daemons and the kernel know of the underlay,
// and mends the kernel where it has not what the daemons say (see mend.go). All
// calls must come from threads of one network namespace.
type Routing struct {
	frrDir string
	log    *slog.Logger

	mu    sync.Mutex
	now   switchstate.Routing
	hash  string
	woken chan struct{}

	// Of Run alone:
	since  map[string]time.Time // of established sessions, by peer
	doubts map[netip.Prefix]doubt
	mends  []switchstate.Mend
	told   string // errors, as logged last
}

// NewRouting returns the underlay of a switch whose FRR has its command sockets in a
// folder. It knows nothing until it runs.
func NewRouting(frrDir string, log *slog.Logger) *Routing {
	return &Routing{frrDir: frrDir, log: log, woken: make(chan struct{}, 1), doubts: map[netip.Prefix]doubt{}, since: map[string]time.Time{}}
}

// Changed gets a value when something of the report changed.
func (u *Routing) Changed() <-chan struct{} { return u.woken }

// Routing is what was read last, and its hash, which is empty before the first time.
// The caller must not change it.
func (u *Routing) Routing() (switchstate.Routing, string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.now, u.hash
}

// Run reads and mends until ctx ends, or the kernel's messages do.
func (u *Routing) Run(ctx context.Context) error {
	routes, links, stop := make(chan netlink.RouteUpdate, 256), make(chan netlink.LinkUpdate, 64), make(chan struct{})
	defer close(stop)
	if err := netlink.RouteSubscribe(routes, stop); err != nil {
		return fmt.Errorf("follow routes: %w", err)
	}
	defer drain(routes)
	if err := netlink.LinkSubscribe(links, stop); err != nil {
		return fmt.Errorf("follow interfaces: %w", err)
	}
	defer drain(links)
	for {
		wait := lookEvery
		if u.look(ctx) {
			wait = lookAgain
		}
		timer := time.NewTimer(wait)
		for due := false; !due; {
			open := true
			select {
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			case r, ok := <-routes:
				if open = ok; r.Table == unix.RT_TABLE_MAIN {
					wait = min(wait, lookAfter)
				}
			case _, open = <-links:
				wait = min(wait, lookAfter)
			case <-timer.C:
				due = true
			}
			if !open {
				timer.Stop()
				return errors.New("follow routes and interfaces: the kernel's messages ended")
			}
			if !due && wait == lookAfter {
				timer.Reset(wait)
				wait = 0 // what comes while it runs is gathered
			}
		}
	}
}

// drain lets the sender of messages end, which it does when it could send its last.
func drain[T any](messages <-chan T) {
	go func() {
		for range messages { // until the library closes it
		}
	}()
}

// look reads all, mends what is doubtful for long enough, and makes the report. It
// reports whether something is to be looked at again soon.
func (u *Routing) look(ctx context.Context) (again bool) {
	var r switchstate.Routing
	k, err := u.readKernelRouting()
	if err != nil {
		r.Errors = append(r.Errors, err.Error())
	} else {
		rib, err := u.readRIB(ctx)
		if err != nil {
			r.Errors = append(r.Errors, err.Error())
		}
		mended, doubtful, err := u.mend(k, rib, time.Now())
		if err != nil {
			r.Errors = append(r.Errors, err.Error())
		}
		again = doubtful
		if mended {
			if k, err = u.readKernelRouting(); err != nil {
				r.Errors = append(r.Errors, err.Error())
			}
		}
		r.Errors = append(r.Errors, u.readSessions(ctx, k, &r)...)
		r.Learned, r.LeftOut = bound(learned(rib, k.up), r.LeftOut)
		r.Programmed, r.LeftOut = bound(programmed(k.fib), r.LeftOut)
	}
	if ctx.Err() != nil {
		return false // what could not be read is no fault
	}
	r.Mended = slices.Clone(u.mends)
	u.tell(r)
	return again
}

// tell makes a report the present one.
func (u *Routing) tell(r switchstate.Routing) {
	if now := strings.Join(r.Errors, "; "); now != u.told {
		if u.told = now; now != "" {
			u.log.Warn("the underlay can't be read or mended; trying again", "err", now)
		}
	}
	hash := r.Hash()
	u.mu.Lock()
	defer u.mu.Unlock()
	if hash == u.hash {
		return
	}
	u.now, u.hash = r, hash
	select {
	case u.woken <- struct{}{}:
	default:
	}
}

// kernelRouting is what was read of the kernel.
type kernelRouting struct {
	links []netlink.Link
	ports map[int]string  // by index
	up    map[string]bool // ports with a carrier
	fib   map[netip.Prefix]fibRoute
}

func (u *Routing) readKernelRouting() (k kernelRouting, err error) {
	if k.links, err = allLinks(); err != nil {
		return k, fmt.Errorf("read interfaces: %w", err)
	}
	k.ports, k.up = portsByIndex(k.links), map[string]bool{}
	for _, l := range k.links {
		if _, is := k.ports[l.Attrs().Index]; is && carrier(l) {
			k.up[l.Attrs().Name] = true
		}
	}
	k.fib, err = readFIB(k.ports)
	return k, err
}

// toward is the port that leads to a neighbour; empty when the address is no
// neighbour's.
func (k kernelRouting) toward(a netip.Addr) string {
	best, bits := "", -1
	for p, r := range k.fib {
		if p.Contains(a) && p.Bits() > bits && len(r.legs) == 1 && !r.legs[0].via.IsValid() {
			best, bits = r.legs[0].name, p.Bits()
		}
	}
	return best
}

// readRIB asks zebra for its routes.
func (u *Routing) readRIB(ctx context.Context) ([]frr.Route, error) {
	var out []frr.Route
	for _, command := range []string{"show ip route json", "show ipv6 route json"} {
		text, err := VTY(ctx, u.frrDir, "zebra", command)
		if err != nil {
			return nil, err
		}
		list, err := frr.ParseRIB(text)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// readSessions asks the daemons that run for their sessions.
func (u *Routing) readSessions(ctx context.Context, k kernelRouting, r *switchstate.Routing) (errs []string) {
	ask := func(daemon, command string, take func([]byte) error) {
		text, err := VTY(ctx, u.frrDir, daemon, command)
		if err == nil {
			err = take(text)
		}
		if err != nil && !absent(err) {
			errs = append(errs, err.Error())
		}
	}
	ask("bgpd", "show bgp summary json", func(text []byte) error {
		list, err := frr.ParseSummary(text)
		for _, s := range list {
			r.BGP = append(r.BGP, k.session(s))
		}
		u.steady(r.BGP)
		return err
	})
	ask("bfdd", "show bfd peers json", func(text []byte) error {
		list, err := frr.ParseBFDPeers(text)
		for _, p := range list {
			s := switchstate.BFDSession{Peer: p.Peer, Interface: p.Interface, State: p.Status, Receive: p.Receive, Transmit: p.Transmit, Multiplier: p.Multiplier}
			s.Diagnostic, s.RemoteDiagnostic = diagnostic(p.Diagnostic), diagnostic(p.RemoteDiagnostic)
			r.BFD = append(r.BFD, s)
		}
		return err
	})
	ask("isisd", "show isis neighbor json", func(text []byte) error {
		list, err := frr.ParseAdjacencies(text)
		for _, a := range list {
			r.ISIS = append(r.ISIS, switchstate.Adjacency{Interface: a.Interface, Neighbour: a.Neighbor, State: a.State})
		}
		return err
	})
	r.BGP, r.LeftOut = first(r.BGP, r.LeftOut)
	r.BFD, r.LeftOut = first(r.BFD, r.LeftOut)
	r.ISIS, r.LeftOut = first(r.ISIS, r.LeftOut)
	return errs
}

// clockSlack is by how much bgpd's word for since when a session is up may differ from
// one time to the next: it counts whole seconds back from now.
const clockSlack = time.Second

// steady tells the same time of a session for as long as it is up.
func (u *Routing) steady(list []switchstate.BGPSession) {
	now := map[string]time.Time{}
	for i, s := range list {
		if was, ok := u.since[s.Peer]; ok && s.Since.Sub(was).Abs() <= clockSlack {
			list[i].Since = was
		}
		if !s.Since.IsZero() {
			now[s.Peer] = list[i].Since
		}
	}
	u.since = now
}

// absent reports whether a daemon does not run, which is no fault of reading it.
func absent(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

func diagnostic(s string) string {
	if s == "ok" {
		return ""
	}
	return s
}

// first keeps as many sessions as a report has, and counts those left out.
func first[T any](list []T, left int) ([]T, int) {
	n := min(len(list), switchstate.SessionsMost)
	return list[:n:n], left + len(list) - n
}

func (k kernelRouting) session(s frr.Session) switchstate.BGPSession {
	out := switchstate.BGPSession{Peer: s.Peer, ASN: s.RemoteASN, State: s.State, Since: s.Since, Prefixes: s.Received, Description: s.Description}
	if a, err := netip.ParseAddr(s.Peer); err == nil {
		out.Interface = k.toward(a)
	} else {
		out.Interface = s.Peer
	}
	return out
}
