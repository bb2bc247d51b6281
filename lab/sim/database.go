package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// bridgeName is the integration bridge of every edge.
const bridgeName = "br-int"

// row is a row's columns as JSON values.
type row map[string]any

// database is the database of one edge. The interfaces that Plug adds are kept
// apart, since there are many.
type database struct {
	edge    *Edge
	rows    map[string]map[string]row // by table and UUID
	bridge  string                    // UUID of the bridge
	made    uint32                    // UUIDs given
	plugged []plugged                 // by port number, from 1
	free    []int                     // given numbers that are free again, the lowest last
	byID    map[string]int
	clients map[*dbConn]struct{}
}

// plugged is a simulated interface of a VM; the zero value is a free number.
type plugged struct {
	id     string // name and iface-id
	serial uint32
}

// updates are changes of rows, by table and UUID, as update2 tells them
// (ovsdb-server(7) section 4.1.14).
type updates struct {
	kind map[string]map[string]change
	vms  []vmUpdate
}

type change struct {
	kind string // initial, insert, modify or delete
	row  row
}

// vmUpdate is what happened to a simulated interface.
type vmUpdate struct {
	kind string
	port int
	plugged
}

func (u *updates) add(table, uuid, kind string, r row) {
	if u.kind == nil {
		u.kind = map[string]map[string]change{}
	}
	if u.kind[table] == nil {
		u.kind[table] = map[string]change{}
	}
	if was, ok := u.kind[table][uuid]; ok && was.kind == "insert" && kind == "modify" {
		return // the row that was inserted is the same map
	}
	u.kind[table][uuid] = change{kind, r}
}

func uuid(edge int, kind, n uint32) string {
	return fmt.Sprintf("%08x-0000-4000-8%03x-%012x", edge, kind, n)
}

func ref(uuid string) any { return []any{"uuid", uuid} }

func set(elements ...any) any {
	if len(elements) == 1 {
		return elements[0]
	}
	if elements == nil {
		elements = []any{}
	}
	return []any{"set", elements}
}

func pairs(kv ...string) any {
	m := []any{}
	for i := 0; i < len(kv); i += 2 {
		m = append(m, []any{kv[i], kv[i+1]})
	}
	return []any{"map", m}
}

// init makes what an installer leaves: the root row, and the bridge with its
// own port.
func (d *database) init(e *Edge) {
	d.edge = e
	d.bridge = d.newUUID()
	root, port, iface := d.newUUID(), d.newUUID(), d.newUUID()
	d.rows = map[string]map[string]row{
		"Open_vSwitch": {root: {"bridges": ref(d.bridge), "ovs_version": "3.1.0", "external_ids": pairs("hostname", "sim"+strconv.Itoa(e.index), "system-id", "sim"+strconv.Itoa(e.index))}},
		"Bridge":       {d.bridge: {"name": bridgeName, "datapath_type": "dummy", "fail_mode": "secure", "ports": ref(port)}},
		"Port":         {port: {"name": bridgeName, "interfaces": ref(iface)}},
		"Interface":    {iface: {"name": bridgeName, "type": "internal", "ofport": 65534, "link_state": "up", "admin_state": "up"}},
		"Controller":   {},
	}
}

func (d *database) newUUID() string {
	d.made++
	return uuid(d.edge.index, 0, d.made)
}

// everything is all rows as an initial update. The caller holds the lock.
func (d *database) everything() updates {
	var u updates
	for table, rows := range d.rows {
		for id, r := range rows {
			u.add(table, id, "initial", r)
		}
	}
	b := row{}
	for k, v := range d.rows["Bridge"][d.bridge] {
		b[k] = v
	}
	ports := elements(b["ports"])
	for i, p := range d.plugged {
		if p.id != "" {
			u.vms = append(u.vms, vmUpdate{"initial", i + 1, p})
			ports = append(ports, ref(d.edge.vmUUID(vmPort, p)))
		}
	}
	b["ports"] = set(ports...)
	u.kind["Bridge"][d.bridge] = change{"initial", b}
	return u
}

// Kinds of rows of a simulated interface.
const (
	vmPort  = 1
	vmIface = 2
)

func (e *Edge) vmUUID(kind uint32, p plugged) string { return uuid(e.index, kind, p.serial) }

// Plug adds interfaces, of which the name and the external_ids:iface-id are
// the same. One that is there stays.
func (e *Edge) Plug(ids ...string) {
	e.dbMu.Lock()
	defer e.dbMu.Unlock()
	var added, opened updates
	var ports []any
	d := &e.db
	for _, id := range ids {
		if _, ok := d.byID[id]; ok {
			continue
		}
		d.made++
		p := plugged{id, d.made}
		n := len(d.plugged)
		if last := len(d.free) - 1; last >= 0 {
			n, d.free = d.free[last], d.free[:last]
			d.plugged[n] = p
		} else {
			d.plugged = append(d.plugged, p)
		}
		if d.byID == nil {
			d.byID = map[string]int{}
		}
		d.byID[id] = n
		added.vms = append(added.vms, vmUpdate{"insert", n + 1, p})
		opened.vms = append(opened.vms, vmUpdate{"modify", n + 1, p})
		ports = append(ports, ref(e.vmUUID(vmPort, p)))
	}
	if len(ports) == 0 || len(d.clients) == 0 {
		return
	}
	added.add("Bridge", d.bridge, "modify", row{"ports": set(ports...)})
	e.tell(added)
	e.tell(opened)
}

// Unplug removes interfaces.
func (e *Edge) Unplug(ids ...string) {
	e.dbMu.Lock()
	defer e.dbMu.Unlock()
	var u updates
	var ports []any
	d := &e.db
	for _, id := range ids {
		n, ok := d.byID[id]
		if !ok {
			continue
		}
		p := d.plugged[n]
		delete(d.byID, id)
		d.plugged[n] = plugged{}
		at, _ := slices.BinarySearchFunc(d.free, n, func(a, b int) int { return b - a })
		d.free = slices.Insert(d.free, at, n)
		u.vms = append(u.vms, vmUpdate{"delete", n + 1, p})
		ports = append(ports, ref(e.vmUUID(vmPort, p)))
	}
	if len(ports) > 0 && len(d.clients) > 0 {
		u.add("Bridge", d.bridge, "modify", row{"ports": set(ports...)})
		e.tell(u)
	}
}

// Plugged is how many interfaces Plug has added.
func (e *Edge) Plugged() int {
	e.dbMu.Lock()
	defer e.dbMu.Unlock()
	return len(e.db.byID)
}

// render writes updates as the client asked for them.
func (d *dbConn) render(u updates) []byte {
	b := []byte{'{'}
	comma := func() {
		if c := b[len(b)-1]; c != '{' {
			b = append(b, ',')
		}
	}
	for table, columns := range d.monitor {
		vms := u.vms
		if table != "Port" && table != "Interface" {
			vms = nil
		}
		if len(u.kind[table])+len(vms) == 0 {
			continue
		}
		comma()
		b = append(strconv.AppendQuote(b, table), ":{"...)
		for id, c := range u.kind[table] {
			comma()
			b = append(strconv.AppendQuote(b, id), ':')
			b = c.appendTo(b, columns)
		}
		for _, v := range vms {
			if table == "Port" && v.kind == "modify" {
				continue
			}
			comma()
			b = d.appendVM(b, table, v, columns)
		}
		b = append(b, '}')
	}
	return append(b, '}')
}

func (c change) appendTo(b []byte, columns map[string]bool) []byte {
	out := map[string]any{}
	for k, v := range c.row {
		if columns[k] {
			out[k] = v
		}
	}
	var body any = out
	if c.kind == "delete" {
		body = nil
	}
	text, err := json.Marshal(map[string]any{c.kind: body})
	if err != nil {
		panic(fmt.Sprintf("row %v: %v", c.row, err)) // never: it came from JSON
	}
	return append(b, text...)
}

// appendVM writes what happened to a row of a simulated interface.
func (d *dbConn) appendVM(b []byte, table string, v vmUpdate, columns map[string]bool) []byte {
	kind := uint32(vmPort)
	if table == "Interface" {
		kind = vmIface
	}
	b = append(strconv.AppendQuote(b, d.vmUUID(kind, v.plugged)), `:{"`...)
	b = append(b, v.kind...)
	if v.kind == "delete" {
		return append(b, `":null}`...)
	}
	b = append(b, `":{`...)
	column := func(name, value string) {
		if columns[name] {
			if b[len(b)-1] != '{' {
				b = append(b, ',')
			}
			b = append(append(strconv.AppendQuote(b, name), ':'), value...)
		}
	}
	id := strconv.Quote(v.id)
	switch {
	case table == "Port":
		column("name", id)
		column("interfaces", `["uuid","`+d.vmUUID(vmIface, v.plugged)+`"]`)
	default:
		if v.kind != "modify" {
			column("name", id)
			column("external_ids", `["map",[["iface-id",`+id+`]]]`)
		}
		if v.kind != "insert" { // what ovs-vswitchd writes
			column("ofport", strconv.Itoa(v.port))
			column("link_state", `"up"`)
			column("admin_state", `"up"`)
			column("mac_in_use", fmt.Sprintf(`"0e:00:%02x:%02x:%02x:%02x"`, byte(d.index>>8), byte(d.index), byte(v.port>>8), byte(v.port)))
			column("mtu", "1500")
		}
	}
	return append(b, `}}`...)
}

// elements lists the elements of a set; a single value is a set of one.
func elements(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		if len(v) == 2 && v[0] == "set" {
			e, _ := v[1].([]any)
			return slices.Clone(e)
		}
	}
	return []any{v}
}

// same compares two values by what they are in JSON.
func same(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

func contains(set []any, v any) bool {
	return slices.ContainsFunc(set, func(e any) bool { return same(e, v) })
}
