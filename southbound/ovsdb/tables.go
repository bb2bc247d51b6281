package ovsdb

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/weft-sdn/weft/southbound/ovsdb/vswitchdb"
)

// tables are the rows of a hypervisor's database by UUID, of each the columns of
// its model only. Rows are never written to: what changes is a new one.
type tables struct {
	root       map[string]*vswitchdb.OpenvSwitch
	bridge     map[string]*vswitchdb.Bridge
	port       map[string]*vswitchdb.Port
	iface      map[string]*ifaceRow
	controller map[string]*vswitchdb.Controller
}

// monitored are the columns to follow. Others change every few seconds.
func monitored() map[string]any {
	all := map[string]bool{"initial": true, "insert": true, "delete": true, "modify": true}
	of := func(m any) any { return map[string]any{"columns": columns(m), "select": all} }
	return map[string]any{
		vswitchdb.OpenvSwitchTable: of(&vswitchdb.OpenvSwitch{}), vswitchdb.BridgeTable: of(&vswitchdb.Bridge{}),
		vswitchdb.PortTable: of(&vswitchdb.Port{}), vswitchdb.InterfaceTable: of(&vswitchdb.Interface{}),
		vswitchdb.ControllerTable: of(&vswitchdb.Controller{}),
	}
}

// updates are <table-updates2> of ovsdb-server(7), "Monitor_cond".
type updates struct {
	Root       map[string]rowUpdate[rootColumns]       `json:"Open_vSwitch"`
	Bridge     map[string]rowUpdate[bridgeColumns]     `json:"Bridge"`
	Port       map[string]rowUpdate[portColumns]       `json:"Port"`
	Interface  map[string]rowUpdate[interfaceColumns]  `json:"Interface"`
	Controller map[string]rowUpdate[controllerColumns] `json:"Controller"`
}

// rowUpdate is a <row-update2>: one of its members is there. Initial and Insert
// have all columns that are not at their defaults, Modify the difference of those
// that changed; Delete is null.
type rowUpdate[C any] struct {
	Initial, Insert, Modify *C
	Delete                  json.RawMessage
}

type rootColumns struct {
	ExternalIDs mapping  `json:"external_ids"`
	OVSVersion  optional `json:"ovs_version"`
}

type bridgeColumns struct {
	Name         optional `json:"name"`
	DatapathType optional `json:"datapath_type"`
	FailMode     optional `json:"fail_mode"`
	Ports        set      `json:"ports"`
	Controller   set      `json:"controller"`
	Protocols    set      `json:"protocols"`
	ExternalIDs  mapping  `json:"external_ids"`
	OtherConfig  mapping  `json:"other_config"`
}

type portColumns struct {
	Name        optional `json:"name"`
	Interfaces  set      `json:"interfaces"`
	ExternalIDs mapping  `json:"external_ids"`
}

type interfaceColumns struct {
	Name          optional `json:"name"`
	Type          optional `json:"type"`
	Error         optional `json:"error"`
	AdminState    optional `json:"admin_state"`
	LinkState     optional `json:"link_state"`
	MACInUse      optional `json:"mac_in_use"`
	MTU           number   `json:"mtu"`
	Ofport        number   `json:"ofport"`
	OfportRequest number   `json:"ofport_request"`
	ExternalIDs   mapping  `json:"external_ids"`
	Options       mapping  `json:"options"`
	OtherConfig   mapping  `json:"other_config"`
}

type controllerColumns struct {
	Target         optional `json:"target"`
	ConnectionMode optional `json:"connection_mode"`
	ExternalIDs    mapping  `json:"external_ids"`
}

// apply takes updates in.
func (t *tables) apply(u *updates) error {
	return firstOf(
		applyRows(&t.root, u.Root, func(r *vswitchdb.OpenvSwitch, uuid string, c *rootColumns) {
			r.UUID = uuid
			c.ExternalIDs.patch(&r.ExternalIDs)
			c.OVSVersion.patch(&r.OVSVersion)
		}),
		applyRows(&t.bridge, u.Bridge, patchBridge),
		applyRows(&t.port, u.Port, func(r *vswitchdb.Port, uuid string, c *portColumns) {
			r.UUID = uuid
			c.Name.fill(&r.Name)
			c.Interfaces.patch(&r.Interfaces)
			c.ExternalIDs.patch(&r.ExternalIDs)
		}),
		applyRows(&t.iface, u.Interface, patchInterface),
		applyRows(&t.controller, u.Controller, func(r *vswitchdb.Controller, uuid string, c *controllerColumns) {
			r.UUID = uuid
			c.Target.fill(&r.Target)
			c.ConnectionMode.patch(&r.ConnectionMode)
			c.ExternalIDs.patch(&r.ExternalIDs)
		}))
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func patchBridge(r *vswitchdb.Bridge, uuid string, c *bridgeColumns) {
	r.UUID = uuid
	c.Name.fill(&r.Name)
	c.DatapathType.fill(&r.DatapathType)
	c.FailMode.patch(&r.FailMode)
	c.Ports.patch(&r.Ports)
	c.Controller.patch(&r.Controller)
	c.Protocols.patch(&r.Protocols)
	c.ExternalIDs.patch(&r.ExternalIDs)
	c.OtherConfig.patch(&r.OtherConfig)
}

// applyRows takes the updates of one table in.
func applyRows[R, C any](have *map[string]*R, u map[string]rowUpdate[C], patch func(*R, string, *C)) error {
	if *have == nil {
		*have = make(map[string]*R, len(u))
	}
	for uuid, up := range u {
		row := new(R)
		switch old := (*have)[uuid]; {
		case up.Initial != nil:
			patch(row, uuid, up.Initial)
		case up.Insert != nil:
			patch(row, uuid, up.Insert)
		case up.Modify == nil && up.Delete != nil:
			delete(*have, uuid)
			continue
		case up.Modify == nil:
			return fmt.Errorf("%w: it did nothing known to row %s", errMalformed, uuid)
		case old == nil:
			return fmt.Errorf("%w: it changed a row %s that it never told of", errMalformed, uuid)
		default:
			*row = *old
			patch(row, uuid, up.Modify)
		}
		(*have)[uuid] = row
	}
	return nil
}

// patch takes a new value of a column that may be empty.
func (o *optional) patch(at **string) {
	switch {
	case !o.there:
	case !o.set:
		*at = nil
	default:
		*at = shared(o.v)
	}
}

// fill takes a new value of a column that is never empty.
func (o *optional) fill(at *string) {
	switch p, ok := common[o.v]; {
	case !o.there:
	case ok:
		*at = *p
	default:
		*at = o.v
	}
}

// common are values that most rows have: they are in memory once.
var common = func() map[string]*string {
	m := map[string]*string{}
	for _, v := range []string{"", "up", "down", "internal", "system", "netdev", "dummy", "vxlan", "tap", "dpdkvhostuserclient", ownerKey, ownerValue, "iface-id", "attached-mac", "iface-status", "vm-id",
		vswitchdb.BridgeFailModeSecure, vswitchdb.ControllerConnectionModeOutOfBand} {
		m[v] = &v
	}
	return m
}()

func shared(v string) *string {
	if p, ok := common[v]; ok {
		return p
	}
	return &v
}

// patch takes a set's difference: what only one of both has changes sides. Of a
// new row, all is new.
func (s *set) patch(at *[]string) {
	if !s.there {
		return
	}
	if len(*at) == 0 {
		*at = s.v
		return
	}
	toggle := make(map[string]struct{}, len(s.v))
	for _, v := range s.v {
		toggle[v] = struct{}{}
	}
	now := make([]string, 0, len(*at)+len(s.v))
	for _, v := range *at {
		if _, out := toggle[v]; out {
			delete(toggle, v)
			continue
		}
		now = append(now, v)
	}
	for _, v := range s.v {
		if _, in := toggle[v]; in {
			now = append(now, v)
		}
	}
	*at = slices.Clip(now)
}

// patch takes a map's difference: a pair that both have goes, any other is how
// it is now.
func (m *mapping) patch(at *map[string]string) {
	if !m.there || len(m.kv) == 0 {
		return
	}
	now := make(map[string]string, len(*at)+len(m.kv))
	maps.Copy(now, *at)
	for _, p := range m.kv {
		if v, ok := now[p[0]]; ok && v == p[1] {
			delete(now, p[0])
		} else {
			now[p[0]] = p[1]
		}
	}
	if len(now) == 0 {
		now = nil
	}
	*at = now
}
