package ovsdb

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

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

func (c change) needed() bool {
	return len(c.parts)+len(c.add)+len(c.drop)+len(c.fix) > 0 || c.options
}

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
		case row.iface.Type != t.Type || !maps.Equal(row.iface.Options, r.withTos(c.cfg.options(t), row.iface.Options)):
			if c.fix == nil {
				c.fix = map[string]Tunnel{}
			}
			c.fix[row.iface.UUID] = t
			if row.iface.Type == t.Type && tosOnly(row.iface.Options, c.cfg.options(t)) {
				continue
			}
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
		if i.name == name {
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
		if !isTunnel(t, tunnelOptions(c.cfg)) {
			return fmt.Errorf("port %s is not Weft's (no external_ids:%s) and has type %q, options %v: rename or remove it", c.cfg.Tunnel, ownerKey, t.Type, t.Options)
		}
	default:
		if want := r.withTos(tunnelOptions(c.cfg), t.Options); !isTunnel(t, want) {
			c.options = true
			if t.Type == "vxlan" && tosOnly(t.Options, want) {
				break
			}
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

// writes collects the operations of a transaction.
type writes []ovsdb.Operation

func (w *writes) insert(table, name string, row ovsdb.Row) {
	*w = append(*w, ovsdb.Operation{Op: ovsdb.OperationInsert, Table: table, UUIDName: name, Row: row})
}

func row(uuid string) []ovsdb.Condition {
	return []ovsdb.Condition{ovsdb.NewCondition("_uuid", ovsdb.ConditionEqual, ovsdb.UUID{GoUUID: uuid})}
}

func (w *writes) update(table, uuid string, columns ovsdb.Row) {
	*w = append(*w, ovsdb.Operation{Op: ovsdb.OperationUpdate, Table: table, Where: row(uuid), Row: columns})
}

// mutate adds to or takes from a set; with no values it does nothing.
func (w *writes) mutate(table, uuid, column string, how ovsdb.Mutator, values ovsdb.OvsSet) {
	if len(values.GoSet) > 0 {
		*w = append(*w, ovsdb.Operation{Op: ovsdb.OperationMutate, Table: table, Where: row(uuid),
			Mutations: []ovsdb.Mutation{{Column: column, Mutator: how, Value: values}}})
	}
}

// texts is a set of strings.
func texts(list []string) (s ovsdb.OvsSet) {
	for _, v := range list {
		s.GoSet = append(s.GoSet, v)
	}
	return s
}

// references is a set of UUIDs, or names of new rows.
func references(list []string) (s ovsdb.OvsSet) {
	for _, v := range list {
		s.GoSet = append(s.GoSet, ovsdb.UUID{GoUUID: v})
	}
	return s
}

// pairs is a map of strings.
func pairs(m map[string]string) ovsdb.OvsMap {
	out := ovsdb.OvsMap{GoMap: make(map[any]any, len(m))}
	for k, v := range m {
		out.GoMap[k] = v
	}
	return out
}

// port makes a port with one interface. Its name in the transaction is returned.
func (w *writes) port(id, name string, iface ovsdb.Row) string {
	iface["name"] = name
	port := ovsdb.Row{"name": name, "interfaces": references([]string{id + "if"})}
	if ids, ok := iface["external_ids"]; ok {
		port["external_ids"] = ids
	}
	w.insert(vswitchdb.InterfaceTable, id+"if", iface)
	w.insert(vswitchdb.PortTable, id+"port", port)
	return id + "port"
}

// operations makes the transaction.
func (c change) operations(r *rows) []ovsdb.Operation {
	var w writes
	var ports, controllers []string // names of new rows
	if c.tunnel {
		ports = append(ports, w.port("tunnel", c.cfg.Tunnel, ovsdb.Row{"type": "vxlan", "options": pairs(r.withTos(tunnelOptions(c.cfg), nil)),
			"ofport_request": TunnelPort, "external_ids": pairs(owned())}))
	}
	for i, t := range c.add {
		ports = append(ports, w.port(fmt.Sprintf("more%d", i), t.Name, ovsdb.Row{"type": t.Type, "options": pairs(r.withTos(c.cfg.options(t), nil)), "external_ids": pairs(owned())}))
	}
	for uuid, t := range c.fix {
		w.update(vswitchdb.InterfaceTable, uuid, ovsdb.Row{"type": t.Type, "options": pairs(r.withTos(c.cfg.options(t), nil))})
	}
	if c.listener {
		w.insert(vswitchdb.ControllerTable, "listener", ovsdb.Row{"target": c.cfg.OpenFlowListen,
			"connection_mode": vswitchdb.ControllerConnectionModeOutOfBand, "external_ids": pairs(owned())})
		controllers = append(controllers, "listener")
	}
	if c.bridge {
		c.makeBridge(&w, r.root.UUID, ports, controllers)
		return w
	}
	bridge := func(column string, how ovsdb.Mutator, values ovsdb.OvsSet) {
		w.mutate(vswitchdb.BridgeTable, r.bridge.UUID, column, how, values)
	}
	bridge("ports", ovsdb.MutateOperationInsert, references(ports))
	bridge("ports", ovsdb.MutateOperationDelete, references(c.drop))
	bridge("controller", ovsdb.MutateOperationInsert, references(controllers))
	bridge("controller", ovsdb.MutateOperationDelete, references(c.stale))
	bridge("protocols", ovsdb.MutateOperationInsert, texts(c.protocols))
	if c.failMode {
		w.update(vswitchdb.BridgeTable, r.bridge.UUID, ovsdb.Row{"fail_mode": vswitchdb.BridgeFailModeSecure})
	}
	if c.options {
		w.update(vswitchdb.InterfaceTable, r.tunnel.UUID, ovsdb.Row{"type": "vxlan", "options": pairs(r.withTos(tunnelOptions(c.cfg), r.tunnel.Options))})
	}
	if c.request {
		w.update(vswitchdb.InterfaceTable, r.tunnel.UUID, ovsdb.Row{"ofport_request": TunnelPort})
	}
	return w
}

// retryKey in other_config of the tunnel port counts how often ovs-vswitchd
// was asked to open it again; writing it is the asking. A change of
// external_ids would not wake it.
const retryKey = "weft-retries"

func retryOperations(r *rows) []ovsdb.Operation {
	var w writes
	n, _ := strconv.Atoi(r.tunnel.OtherConfig[retryKey]) // from zero when there is none
	other := pairs(r.tunnel.OtherConfig)
	other.GoMap[retryKey] = strconv.Itoa(n + 1)
	w.update(vswitchdb.InterfaceTable, r.tunnel.UUID, ovsdb.Row{"other_config": other})
	return w
}

func (c change) makeBridge(w *writes, root string, ports, controllers []string) {
	own := w.port("bridge", c.cfg.Bridge, ovsdb.Row{"type": "internal"})
	w.insert(vswitchdb.BridgeTable, "bridge", ovsdb.Row{"name": c.cfg.Bridge, "ports": references(append(ports, own)), "controller": references(controllers),
		"datapath_type": c.cfg.DatapathType, "fail_mode": vswitchdb.BridgeFailModeSecure, "protocols": texts(lacking(nil)),
		"other_config": pairs(map[string]string{"disable-in-band": "true"}), "external_ids": pairs(owned())})
	w.mutate(vswitchdb.OpenvSwitchTable, root, "bridges", ovsdb.MutateOperationInsert, references([]string{"bridge"}))
}
