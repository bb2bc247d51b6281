package ovsdb

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/weft-sdn/weft/southbound/ovsdb/vswitchdb"
)

// VSwitchConfig says which bridge to keep and how.
type VSwitchConfig struct {
	Name           string // of the device, for messages
	Endpoint       string // of its OVSDB server
	Bridge         string
	DatapathType   string     // of the bridge, if it has to be made
	VTEP           netip.Addr // local end of tunnels
	Tunnel         string     // name of the tunnel port
	UDPPort        uint16     // of VXLAN; 4789 when zero
	OpenFlowListen string     // ptcp:PORT:ADDRESS; nothing is set when empty
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

// State is what the device's database says. It is immutable.
type State struct {
	Connected    bool
	Err          error // why not connected, or what could not be written
	Since        time.Time
	SystemID     string
	OVSVersion   string
	BridgeUUID   string
	BridgeReady  bool // the rows are as they should be
	TunnelOFPort uint32
	TunnelError  string
	Interfaces   map[string]Interface // of the bridge, tunnel left out, by name
}

// Interface is an interface of the bridge.
type Interface struct {
	Name    string
	IfaceID string // external_ids:iface-id
	OFPort  int    // 0 while there is none, -1 when it could not be opened
	Error   string
	LinkUp  bool
	MAC     string
}

// VSwitch keeps the rows of one bridge and watches its interfaces.
type VSwitch struct {
	config  VSwitchConfig
	changed chan struct{}

	mu    sync.Mutex
	state State

	// made is set once the rows were right: what is wrong later was changed
	// by somebody.
	made bool
}

// NewVSwitch returns a session that is not connected yet.
func NewVSwitch(c VSwitchConfig) *VSwitch {
	if c.UDPPort == 0 {
		c.UDPPort = 4789
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &VSwitch{config: c, changed: make(chan struct{}, 1), state: State{Since: time.Now()}}
}

// State returns what is known now.
func (v *VSwitch) State() State {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state
}

// Changed receives after State changed.
func (v *VSwitch) Changed() <-chan struct{} { return v.changed }

// Waits between attempts.
const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 2 * time.Second
)

// Run connects, and connects again, until ctx ends; it returns ctx's error.
func (v *VSwitch) Run(ctx context.Context) error {
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		err := v.serve(ctx, func() { wait = retryFirst })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		v.publish(func(s *State) {
			if s.Connected || s.Err == nil {
				s.Since = time.Now()
			}
			s.Connected, s.Err = false, err
		})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// serve is one connection.
func (v *VSwitch) serve(ctx context.Context, good func()) error {
	m, err := vswitchdb.FullDatabaseModel()
	if err != nil {
		return err
	}
	c, err := Dial(ctx, v.config.Endpoint, m, &vswitchdb.OpenvSwitch{}, &vswitchdb.Bridge{}, &vswitchdb.Port{}, &vswitchdb.Interface{}, &vswitchdb.Controller{})
	if err != nil {
		return err
	}
	defer c.Close()
	good()
	lost := make(chan error, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() { lost <- c.Watch(ctx) })
	return v.follow(ctx, c, lost)
}

// follow takes every change of the database. What can't be written is tried
// again, slowly.
func (v *VSwitch) follow(ctx context.Context, c *Conn, lost <-chan error) error {
	retry := time.NewTimer(0)
	defer retry.Stop()
	wait := retryFirst
	for {
		select {
		case err := <-lost:
			return err
		case <-c.Changed():
		case <-retry.C:
		}
		err := v.look(ctx, c)
		if err == nil {
			wait = retryFirst
			continue
		}
		if errors.Is(err, context.Canceled) {
			return err
		}
		retry.Reset(wait)
		wait = min(2*wait, retryMost)
	}
}

// look reads the rows, mends ours and publishes the state.
func (v *VSwitch) look(ctx context.Context, c *Conn) error {
	r, err := readRows(c, v.config)
	if err != nil {
		v.publish(func(s *State) { s.Err = err })
		return err
	}
	change := plan(v.config, r)
	if len(change.repairs) > 0 || change.needed {
		ops, err := change.operations(c, r)
		if err == nil {
			err = c.Transact(ctx, ops)
		}
		if err != nil {
			v.publish(func(s *State) { r.fill(s, v.config); s.BridgeReady, s.Err = false, err })
			return err
		}
		if v.made && v.config.OnRepair != nil {
			for _, p := range change.repairs {
				p.Device = v.config.Name
				v.config.OnRepair(p)
			}
		}
	}
	ready := !change.needed
	v.made = v.made || ready
	v.publish(func(s *State) { r.fill(s, v.config); s.BridgeReady, s.Err = ready, nil })
	return nil
}

// publish changes the state and wakes the reader.
func (v *VSwitch) publish(f func(*State)) {
	v.mu.Lock()
	s := v.state
	f(&s)
	v.state = s
	v.mu.Unlock()
	select {
	case v.changed <- struct{}{}:
	default:
	}
}
