package ovsdb

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// VSwitchConfig says which bridge to keep and how.
type VSwitchConfig struct {
	Name           string // of the device, for messages
	Endpoint       string // of its OVSDB server: tcp:ADDRESS:PORT or unix:/PATH
	Bridge         string
	DatapathType   string     // of the bridge, if it has to be made
	VTEP           netip.Addr // local end of tunnels
	Tunnel         string     // name of the tunnel port
	UDPPort        uint16     // of VXLAN; 4789 when zero
	OpenFlowListen string     // ptcp:PORT:ADDRESS or punix:/PATH; nothing is set when empty
	Logger         *slog.Logger
	// OnRepair is told what another program had changed. It must not block.
	OnRepair func(Repair)
}

// Repair is a row of ours that was found other than we left it.
type Repair struct {
	Device string
	Object string // "bridge br-int", "port weft-vxlan"
	Found  string
	Did    string
}

// State is what the device's database says. It is immutable. While there is no
// connection it has what was last read.
type State struct {
	Generation   uint64 // grows with every change of the state
	Connected    bool
	Err          error     // why not connected, or why the rows are not as they should be
	Since        time.Time // Connected is what it is
	SystemID     string
	Hostname     string
	OVSVersion   string
	BridgeUUID   string
	BridgeReady  bool   // the rows are as they should be and the switch has made the bridge
	TunnelOFPort uint32 // 0 while there is none
	TunnelError  string
	// Tunnels are the further tunnel ports that were asked for, by name.
	Tunnels map[string]TunnelState
	// Interfaces of the bridge by name, without the tunnel and the bridge's own.
	Interfaces map[string]Interface
}

// Tunnel is a tunnel port whose flows choose remote and key.
type Tunnel struct {
	Name string
	Type string // vxlan, geneve or gre
	Port uint16 // UDP destination port; 0 for gre
	// AnyLocal has it take in what is sent to any address of the host that no other
	// tunnel port has as its local end.
	AnyLocal bool
}

// TunnelState is a tunnel port as the switch has it.
type TunnelState struct {
	OFPort uint32 // 0 while there is none
	Error  string
}

// Interface is an interface of the bridge.
type Interface struct {
	Name        string
	IfaceID     string // external_ids:iface-id; several interfaces may have the same
	AttachedMAC string // external_ids:attached-mac
	OFPort      int    // 0 while there is none, -1 when it could not be opened
	Error       string
	LinkUp      bool
	AdminUp     bool
	MAC         string // in use
	MTU         int
}

// equal reports whether two states say the same.
func (s State) equal(t State) bool {
	same := s.Err == nil && t.Err == nil || s.Err != nil && t.Err != nil && s.Err.Error() == t.Err.Error()
	return same && s.Connected == t.Connected && s.SystemID == t.SystemID && s.Hostname == t.Hostname &&
		s.OVSVersion == t.OVSVersion && s.BridgeUUID == t.BridgeUUID && s.BridgeReady == t.BridgeReady &&
		s.TunnelOFPort == t.TunnelOFPort && s.TunnelError == t.TunnelError && maps.Equal(s.Tunnels, t.Tunnels) && maps.Equal(s.Interfaces, t.Interfaces)
}

// VSwitch keeps the rows of one bridge and watches its interfaces.
type VSwitch struct {
	config  VSwitchConfig
	changed chan struct{} // capacity 1

	mu      sync.Mutex
	state   State
	tunnels []Tunnel
	inherit bool          // tunnels copy the inner DSCP
	told    bool          // tunnels is what was asked for
	asked   chan struct{} // capacity 1: tunnels changed

	// made is set once the rows were right: what is missing later was removed
	// by somebody.
	made bool
	pace pace
	// tried is when ovs-vswitchd was last asked to open the tunnel port again.
	tried time.Time
}

// NewVSwitch returns a session that is not connected yet.
func NewVSwitch(c VSwitchConfig) *VSwitch {
	if c.UDPPort == 0 {
		c.UDPPort = 4789
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &VSwitch{config: c, changed: make(chan struct{}, 1), asked: make(chan struct{}, 1), state: State{Since: time.Now()}}
}

// State returns what is known now.
func (v *VSwitch) State() State {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state
}

// SetTunnels says which tunnel ports the bridge is to have beside the first: all
// of them. Those of ours that are not named are removed; before the first call
// none is touched. With inherit, all of them, the first too, copy the inner
// packet's differentiated services field to the outer header.
func (v *VSwitch) SetTunnels(all []Tunnel, inherit bool) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Tunnel) int { return strings.Compare(a.Name, b.Name) })
	v.mu.Lock()
	same := v.told && slices.Equal(all, v.tunnels) && v.inherit == inherit
	v.tunnels, v.inherit, v.told = all, inherit, true
	v.mu.Unlock()
	if same {
		return
	}
	select {
	case v.asked <- struct{}{}:
	default:
	}
}

// wanted are the tunnels that were asked for and whether they inherit; told is
// false before the first time.
func (v *VSwitch) wanted() (all []Tunnel, inherit, told bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tunnels, v.inherit, v.told
}

// Changed receives after State changed.
func (v *VSwitch) Changed() <-chan struct{} { return v.changed }

// Waits between connections.
const (
	retryFirst = 50 * time.Millisecond
	retryMost  = time.Second
)

// tunnelRetry is between two attempts to open the tunnel port.
const tunnelRetry = 5 * time.Second

// Run connects, and connects again, until ctx ends; it returns ctx's error.
func (v *VSwitch) Run(ctx context.Context) error {
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		err := v.serve(ctx, func() { wait = retryFirst })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		v.publish(func(s *State) { s.Connected, s.BridgeReady, s.Err = false, false, err })
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
}

// serve is one connection. It returns why the connection ended.
func (v *VSwitch) serve(ctx context.Context, connected func()) error {
	c, err := dialWire(ctx, v.config.Endpoint)
	if err != nil {
		return err
	}
	defer c.Close()
	connected()
	for {
		began := time.Now()
		again, err := v.look(ctx, c)
		if err != nil {
			return err
		}
		// At most half of a core for one device, however fast it changes.
		if err := sleep(ctx, c, time.Since(began)); err != nil {
			return err
		}
		var retry <-chan time.Time
		if again > 0 {
			retry = time.After(again)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.Done():
			return c.Err()
		case <-c.Changed():
		case <-v.asked:
		case <-retry:
		}
	}
}

func sleep(ctx context.Context, c *wire, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.Done():
		return c.Err()
	case <-time.After(d):
		return nil
	}
}

// look reads the rows, mends ours and publishes the state. It returns when to
// look again even if nothing changes (zero: need not), or why the connection
// ended.
func (v *VSwitch) look(ctx context.Context, c *wire) (again time.Duration, err error) {
	r, bad := c.rows(v.config)
	if c.Err() != nil {
		return 0, c.Err()
	}
	if bad != nil {
		v.publish(func(s *State) { s.Connected, s.BridgeReady, s.Err = true, false, bad })
		return 0, nil
	}
	r.wanted, r.inherit, r.told = v.wanted()
	ch, bad := plan(v.config, r)
	if ch.needed() && (!ch.repairs() || v.pace.wait(time.Now()) == 0) {
		v.pace.wrote(time.Now())
		err := v.write(ctx, c, ch, r)
		if err == nil {
			return v.look(ctx, c) // what we wrote is in memory by now
		}
		if !errors.Is(err, ErrRefused) {
			return 0, err
		}
		bad = errors.Join(bad, err)
	}
	if ch.needed() {
		again = max(v.pace.wait(time.Now()), retryFirst)
	} else if bad == nil {
		v.made, bad = true, r.unmade(v.config)
		if again, err = v.retryTunnel(ctx, c, r); err != nil {
			return 0, err
		}
	}
	v.publish(func(s *State) {
		s.Connected, s.BridgeReady, s.Err = true, bad == nil && !ch.repairs(), bad
		r.fill(s, v.config)
	})
	return again, nil
}

// retryTunnel has ovs-vswitchd try again to open a tunnel port that it could
// not open: it tries only when the database changes, and when what stood in
// the way is gone, may have tried too early. It returns when to look again,
// zero when nothing is wrong.
func (v *VSwitch) retryTunnel(ctx context.Context, c *wire, r *rows) (time.Duration, error) {
	if r.tunnel == nil || r.tunnel.ExternalIDs[ownerKey] == "" || value(r.tunnel.Error) == "" {
		v.tried = time.Time{}
		return 0, nil
	}
	now := time.Now()
	if v.tried.IsZero() {
		v.tried = now
	}
	if left := v.tried.Add(tunnelRetry).Sub(now); left > 0 {
		return left, nil
	}
	v.tried = now
	if err := c.Transact(ctx, retryOperations(r)); err != nil && !errors.Is(err, ErrRefused) {
		return 0, err
	}
	return tunnelRetry, nil
}

// write makes a change and tells what it mended.
func (v *VSwitch) write(ctx context.Context, c *wire, ch change, r *rows) error {
	if err := c.Transact(ctx, ch.operations(r)); err != nil {
		return err
	}
	for _, p := range ch.parts {
		// What is only missing was never there, unless it was once.
		if v.config.OnRepair != nil && (v.made || p.ours) {
			p.Device = v.config.Name
			v.config.OnRepair(p.Repair)
		}
	}
	return nil
}

// publish changes the state; if it says something else then, it wakes the
// reader.
func (v *VSwitch) publish(f func(*State)) {
	v.mu.Lock()
	s := v.state
	f(&s)
	if s.Generation > 0 && s.equal(v.state) {
		v.mu.Unlock()
		return
	}
	turned := s.Connected != v.state.Connected || s.Generation == 0
	if turned {
		s.Since = time.Now()
	}
	s.Generation++
	v.state = s
	v.mu.Unlock()
	if turned && s.Connected {
		v.config.Logger.Info("OVSDB connected", "device", v.config.Name, "endpoint", v.config.Endpoint, "version", s.OVSVersion)
	} else if turned {
		v.config.Logger.Info("OVSDB not connected", "device", v.config.Name, "endpoint", v.config.Endpoint, "err", s.Err)
	}
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

// pace spaces writes: one goes at once, those that follow closely wait longer
// and longer.
type pace struct {
	next time.Time
	step time.Duration
}

// Waits between writes.
const (
	paceFirst = 10 * time.Millisecond
	paceMost  = 5 * time.Second
	paceCalm  = 15 * time.Second // without writes: the next goes at once
)

func (p *pace) wait(now time.Time) time.Duration { return max(0, p.next.Sub(now)) }

func (p *pace) wrote(now time.Time) {
	if p.step == 0 || now.Sub(p.next) > paceCalm {
		p.step = paceFirst
	} else {
		p.step = min(2*p.step, paceMost)
	}
	p.next = now.Add(p.step)
}
