package ovsdb

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ovn-org/libovsdb/model"
	"github.com/ovn-org/libovsdb/ovsdb"
	"github.com/weft-sdn/weft/southbound/ovsdb/vswitchdb"
)

// TunnelPort is the OpenFlow port number that is asked for the tunnel port, so
// that it is the same on every edge.
const TunnelPort = 65000

// change is what has to be written.
type change struct {
	cfg   VSwitchConfig
	parts []part
	// What to write.
	bridge, tunnel, listener   bool // to make
	failMode, options, request bool // to set
	protocols, stale           []string
	// Further tunnels: to make, to set right, and ports to remove, by UUID.
	add  []Tunnel
	fix  map[string]Tunnel // by UUID of the interface
	drop []string
}

// part is one difference.
type part struct {
	Repair
	ours bool // a row with our mark differed; it was not just missing
}

func (c change) needed() bool { return len(c.parts)+len(c.add)+len(c.drop) > 0 }

// repairs reports whether something of what must always be there differs.
func (c change) repairs() bool { return len(c.parts) > 0 }

func (c *change) differs(ours bool, object, found, did string) {
	c.parts = append(c.parts, part{Repair: Repair{Object: object, Found: found, Did: did}, ours: ours})
}

// plan compares the rows with what they should be. The error says what stands
// in the way and is not ours to change; the rest of the change holds anyway.
func plan(cfg VSwitchConfig, r *rows) (change, error) {
	c := change{cfg: cfg}
	bridge := "bridge " + cfg.Bridge
	if b := r.bridge; b == nil {
		c.bridge = true
		c.differs(false, bridge, "was missing", "made again")
	} else {
		ours := b.ExternalIDs[ownerKey] != ""
		if m := value(b.FailMode); m != vswitchdb.BridgeFailModeSecure {
			c.failMode = true
			c.differs(ours, bridge, fmt.Sprintf("had fail_mode %q", m), "set back")
		}
		if c.protocols = lacking(b.Protocols); len(c.protocols) > 0 {
			c.differs(ours, bridge, fmt.Sprintf("had protocols [%s]", strings.Join(b.Protocols, " ")), "added "+strings.Join(c.protocols, " "))
		}
	}
	err := c.planTunnel(r)
	if r.told {
		c.planTunnels(r)
	}
	if cfg.OpenFlowListen != "" && !r.listener {
		c.listener = true
		c.differs(false, bridge, "did not listen on "+cfg.OpenFlowListen, "set back")
	}
	if c.stale = r.stale; len(c.stale) > 0 {
		c.differs(true, bridge, "listened for Weft elsewhere too", "removed that")
	}
	return c, err
}

// planTunnels compares the further tunnels with those that are asked for.
// Making and removing them is no repair.
func (c *change) planTunnels(r *rows) {
	wanted := map[string]bool{}
	for _, t := range r.wanted {
		wanted[t.Name] = true
		row, ok := r.tunnels[t.Name]
		switch {
		case !ok && r.named(t.Name):
			// somebody else's: the state says so
		case !ok:
			c.add = append(c.add, t)
		case row.iface.Type != t.Type || !maps.Equal(row.iface.Options, c.cfg.options(t)):
			if c.fix == nil {
				c.fix = map[string]Tunnel{}
			}
			c.fix[row.iface.UUID] = t
			c.differs(true, "port "+t.Name, fmt.Sprintf("had type %s and options %v", row.iface.Type, row.iface.Options), "set back")
		}
	}
	for name, row := range r.tunnels {
		if !wanted[name] {
			c.drop = append(c.drop, row.port)
		}
	}
	slices.Sort(c.drop)
}

// named reports whether somebody else's interface has a name.
func (r *rows) named(name string) bool {
	for _, i := range r.interfaces {
		if i.Name == name {
			return true
		}
	}
	return false
}

func (c *change) planTunnel(r *rows) error {
	object := "port " + c.cfg.Tunnel
	switch t := r.tunnel; {
	case t == nil && r.elsewhere != "":
		return fmt.Errorf("port %s is on %s: remove it there", c.cfg.Tunnel, r.elsewhere)
	case t == nil:
		c.tunnel = true
		c.differs(false, object, "was missing", "made again")
	case t.ExternalIDs[ownerKey] == "":
		if !isTunnel(t, c.cfg) {
			return fmt.Errorf("port %s is not Weft's (no external_ids:%s) and has type %q, options %v: rename or remove it", c.cfg.Tunnel, ownerKey, t.Type, t.Options)
		}
	default:
		if !isTunnel(t, c.cfg) {
			c.options = true
			c.differs(true, object, fmt.Sprintf("had type %s and options %v", t.Type, t.Options), "set back")
		}
		if value(t.OfportRequest) != TunnelPort {
			c.request = true
			c.differs(true, object, fmt.Sprintf("had ofport_request %d", value(t.OfportRequest)), "set back")
		}
	}
	return nil
}

// lacking lists what must be added to a bridge's protocols. None named means
// the switch's default, which differs between versions: then all are named.
func lacking(have []string) []string {
	switch {
	case len(have) == 0:
		return []string{vswitchdb.BridgeProtocolsOpenflow10, vswitchdb.BridgeProtocolsOpenflow11, vswitchdb.BridgeProtocolsOpenflow12,
			vswitchdb.BridgeProtocolsOpenflow13, vswitchdb.BridgeProtocolsOpenflow14, vswitchdb.BridgeProtocolsOpenflow15}
	case !slices.Contains(have, vswitchdb.BridgeProtocolsOpenflow15):
		return []string{vswitchdb.BridgeProtocolsOpenflow15}
	}
	return nil
}

func owned() map[string]string { return map[string]string{ownerKey: ownerValue} }

// transaction collects operations.
type transaction struct {
	conn *Conn
	ops  []ovsdb.Operation
	err  error
}

func (t *transaction) add(ops []ovsdb.Operation, err error) {
	t.ops, t.err = append(t.ops, ops...), errors.Join(t.err, err)
}

func (t *transaction) create(rows ...model.Model) { t.add(t.conn.client.Create(rows...)) }

// mutate adds to or takes from a set; with no values it does nothing.
func (t *transaction) mutate(row model.Model, set any, how ovsdb.Mutator, values ...string) {
	if len(values) > 0 {
		t.add(t.conn.client.Where(row).Mutate(row, model.Mutation{Field: set, Mutator: how, Value: values}))
	}
}

func (t *transaction) update(row model.Model, fields ...any) {
	t.add(t.conn.client.Where(row).Update(row, fields...))
}

// operations makes the transaction.
func (c change) operations(conn *Conn, r *rows) ([]ovsdb.Operation, error) {
	t := &transaction{conn: conn}
	var ports, controllers []string // names of new rows
	if c.tunnel {
		want := TunnelPort
		t.create(&vswitchdb.Interface{UUID: "tunnelif", Name: c.cfg.Tunnel, Type: "vxlan", Options: tunnelOptions(c.cfg), OfportRequest: &want, ExternalIDs: owned()},
			&vswitchdb.Port{UUID: "tunnelport", Name: c.cfg.Tunnel, Interfaces: []string{"tunnelif"}, ExternalIDs: owned()})
		ports = append(ports, "tunnelport")
	}
	for i, w := range c.add {
		iface, port := fmt.Sprintf("if%d", i), fmt.Sprintf("port%d", i)
		t.create(&vswitchdb.Interface{UUID: iface, Name: w.Name, Type: w.Type, Options: c.cfg.options(w), ExternalIDs: owned()},
			&vswitchdb.Port{UUID: port, Name: w.Name, Interfaces: []string{iface}, ExternalIDs: owned()})
		ports = append(ports, port)
	}
	for uuid, w := range c.fix {
		i := vswitchdb.Interface{UUID: uuid, Type: w.Type, Options: c.cfg.options(w)}
		t.update(&i, &i.Type, &i.Options)
	}
	if c.listener {
		band := vswitchdb.ControllerConnectionModeOutOfBand
		t.create(&vswitchdb.Controller{UUID: "listener", Target: c.cfg.OpenFlowListen, ConnectionMode: &band, ExternalIDs: owned()})
		controllers = append(controllers, "listener")
	}
	if c.bridge {
		c.makeBridge(t, *r.root, ports, controllers)
		return t.ops, t.err
	}
	b := *r.bridge
	t.mutate(&b, &b.Ports, ovsdb.MutateOperationInsert, ports...)
	t.mutate(&b, &b.Ports, ovsdb.MutateOperationDelete, c.drop...)
	t.mutate(&b, &b.Controller, ovsdb.MutateOperationInsert, controllers...)
	t.mutate(&b, &b.Controller, ovsdb.MutateOperationDelete, c.stale...)
	t.mutate(&b, &b.Protocols, ovsdb.MutateOperationInsert, c.protocols...)
	if c.failMode {
		secure := vswitchdb.BridgeFailModeSecure
		b.FailMode = &secure
		t.update(&b, &b.FailMode)
	}
	if c.options {
		i := *r.tunnel
		i.Type, i.Options = "vxlan", tunnelOptions(c.cfg)
		t.update(&i, &i.Type, &i.Options)
	}
	if c.request {
		i, want := *r.tunnel, TunnelPort
		i.OfportRequest = &want
		t.update(&i, &i.OfportRequest)
	}
	return t.ops, t.err
}

// retryKey in other_config of the tunnel port counts how often ovs-vswitchd
// was asked to open it again; writing it is the asking. A change of
// external_ids would not wake it.
const retryKey = "weft-retries"

func retryOperations(conn *Conn, r *rows) ([]ovsdb.Operation, error) {
	t := &transaction{conn: conn}
	i := *r.tunnel
	n, _ := strconv.Atoi(i.OtherConfig[retryKey]) // from zero when there is none
	i.OtherConfig = maps.Clone(i.OtherConfig)
	if i.OtherConfig == nil {
		i.OtherConfig = map[string]string{}
	}
	i.OtherConfig[retryKey] = strconv.Itoa(n + 1)
	t.update(&i, &i.OtherConfig)
	return t.ops, t.err
}

func (c change) makeBridge(t *transaction, root vswitchdb.OpenvSwitch, ports, controllers []string) {
	secure := vswitchdb.BridgeFailModeSecure
	t.create(&vswitchdb.Interface{UUID: "bridgeif", Name: c.cfg.Bridge, Type: "internal"},
		&vswitchdb.Port{UUID: "bridgeport", Name: c.cfg.Bridge, Interfaces: []string{"bridgeif"}},
		&vswitchdb.Bridge{UUID: "bridge", Name: c.cfg.Bridge, Ports: append(ports, "bridgeport"), Controller: controllers,
			DatapathType: c.cfg.DatapathType, FailMode: &secure, Protocols: lacking(nil),
			OtherConfig: map[string]string{"disable-in-band": "true"}, ExternalIDs: owned()})
	t.mutate(&root, &root.Bridges, ovsdb.MutateOperationInsert, "bridge")
}
