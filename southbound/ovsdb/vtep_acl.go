package ovsdb

import (
	"fmt"
	"maps"
	"slices"

	"github.com/ovn-org/libovsdb/model"
	"github.com/ovn-org/libovsdb/ovsdb"

	"github.com/weft-sdn/weft/southbound/ovsdb/vtepdb"
)

// VTEPACL is a row of ACL with its entries.
type VTEPACL struct {
	Name    string
	Entries map[string]VTEPEntry // by UUID
	Faults  []string             // its own and those of its entries
}

// VTEPEntry is a row of ACL_entry, but for what we leave to the switch. Strings
// that are empty, and numbers that are not set, match all.
type VTEPEntry struct {
	Sequence               int
	Egress                 bool // leaving the logical switch, else towards it
	Permit                 bool
	Source, SourceMask     string
	Dest, DestMask         string
	Protocol               VTEPNumber
	SourcePorts, DestPorts VTEPPorts
	ICMPType, ICMPCode     VTEPNumber
}

// VTEPNumber is a number that may be left out.
type VTEPNumber struct {
	Set   bool
	Value int
}

// VTEPPorts is a range of ports; zero for all.
type VTEPPorts struct{ Min, Max int }

// VTEPACLChange is what has to be written of an ACL.
type VTEPACLChange struct {
	UUID string   // empty to make it
	Keep []string // entries that it has, or that no ACL has
	Add  []VTEPEntry
	Drop []string // entries
}

// plainPhysicalPort is a row of Physical_Port in a schema that has no ACLs.
type plainPhysicalPort struct {
	UUID            string         `ovsdb:"_uuid"`
	Name            string         `ovsdb:"name"`
	PortFaultStatus []string       `ovsdb:"port_fault_status"`
	VLANBindings    map[int]string `ovsdb:"vlan_bindings"`
}

// physicalPorts are the rows of Physical_Port.
func (c *VTEPDB) physicalPorts() map[string]*vtepdb.PhysicalPort {
	if !c.noACL {
		return table[vtepdb.PhysicalPort](c.Conn, vtepdb.PhysicalPortTable)
	}
	out := map[string]*vtepdb.PhysicalPort{}
	for uuid, p := range table[plainPhysicalPort](c.Conn, vtepdb.PhysicalPortTable) {
		out[uuid] = &vtepdb.PhysicalPort{UUID: p.UUID, Name: p.Name, PortFaultStatus: p.PortFaultStatus, VLANBindings: p.VLANBindings}
	}
	return out
}

// readACLs reads all ACLs and, after them, their entries.
func (r *vtepReader) readACLs(c *VTEPDB, acls map[string]*vtepdb.ACL) {
	entries := table[vtepdb.ACLentry](c.Conn, vtepdb.ACLentryTable)
	for u, e := range entries {
		r.LooseEntries[u] = readEntry(e)
	}
	for uuid, a := range acls {
		out := VTEPACL{Name: a.ACLName, Entries: make(map[string]VTEPEntry, len(a.ACLEntries)), Faults: slices.Clone(a.ACLFaultStatus)}
		for _, u := range a.ACLEntries {
			e := entries[u]
			if e == nil {
				r.torn = true
				continue
			}
			out.Entries[u] = readEntry(e)
			delete(r.LooseEntries, u)
			for _, f := range e.AcleFaultStatus {
				out.Faults = append(out.Faults, fmt.Sprintf("entry %d: %s", e.Sequence, f))
			}
		}
		slices.Sort(out.Faults)
		r.ACLs[uuid] = out
	}
}

func readEntry(e *vtepdb.ACLentry) VTEPEntry {
	number := func(p *int) VTEPNumber { return VTEPNumber{p != nil, value(p)} }
	return VTEPEntry{Sequence: e.Sequence, Egress: e.Direction == vtepdb.ACLentryDirectionEgress, Permit: e.Action == vtepdb.ACLentryActionPermit,
		Source: value(e.SourceIP), SourceMask: value(e.SourceMask), Dest: value(e.DestIP), DestMask: value(e.DestMask), Protocol: number(e.Protocol),
		SourcePorts: VTEPPorts{value(e.SourcePortMin), value(e.SourcePortMax)}, DestPorts: VTEPPorts{value(e.DestPortMin), value(e.DestPortMax)},
		ICMPType: number(e.ICMPType), ICMPCode: number(e.ICMPCode)}
}

func writeEntry(id string, e VTEPEntry) *vtepdb.ACLentry {
	text := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	number := func(n VTEPNumber) *int {
		if !n.Set {
			return nil
		}
		return &n.Value
	}
	row := &vtepdb.ACLentry{UUID: id, Sequence: e.Sequence, Direction: vtepdb.ACLentryDirectionIngress, Action: vtepdb.ACLentryActionDeny,
		SourceIP: text(e.Source), SourceMask: text(e.SourceMask), DestIP: text(e.Dest), DestMask: text(e.DestMask),
		Protocol: number(e.Protocol), ICMPType: number(e.ICMPType), ICMPCode: number(e.ICMPCode)}
	if e.Egress {
		row.Direction = vtepdb.ACLentryDirectionEgress
	}
	if e.Permit {
		row.Action = vtepdb.ACLentryActionPermit
	}
	if p := e.SourcePorts; p != (VTEPPorts{}) {
		row.SourcePortMin, row.SourcePortMax = &p.Min, &p.Max
	}
	if p := e.DestPorts; p != (VTEPPorts{}) {
		row.DestPortMin, row.DestPortMax = &p.Min, &p.Max
	}
	return row
}

// acls makes and changes ACLs. Entries come and go with what refers to them.
func (w *vtepWrite) acls(of map[string]VTEPACLChange) {
	for i, name := range slices.Sorted(maps.Keys(of)) {
		ch := of[name]
		refs := slices.Clone(ch.Keep)
		for j, e := range ch.Add {
			id := fmt.Sprintf("acl%dentry%d", i, j)
			w.create(writeEntry(id, e))
			refs = append(refs, id)
		}
		row := &vtepdb.ACL{UUID: ch.UUID, ACLName: name, ACLEntries: refs}
		if ch.UUID != "" {
			w.update(row, &row.ACLEntries)
		} else {
			row.UUID = fmt.Sprintf("acl%d", i)
			w.made[aclKey+name] = row.UUID
			w.create(row)
		}
		w.dropEntries(ch.Drop)
	}
}

// aclKey keeps the names of ACLs that are made apart from those of logical
// switches.
const aclKey = "acl "

func (w *vtepWrite) dropEntries(uuids []string) {
	for _, uuid := range uuids {
		w.add(w.conn.client.Where(&vtepdb.ACLentry{UUID: uuid}).Delete())
	}
}

// removeACLs deletes ACLs with their entries.
func (w *vtepWrite) removeACLs(rows *VTEPRows, uuids []string) {
	for _, uuid := range uuids {
		w.add(w.conn.client.Where(&vtepdb.ACL{UUID: uuid}).Delete())
		w.dropEntries(slices.Sorted(maps.Keys(rows.ACLs[uuid].Entries)))
	}
}

// bindACLs is bindings of ACLs.
func (w *vtepWrite) bindACLs(port string, of map[int]string, how ovsdb.Mutator) {
	to := make(map[int]string, len(of))
	for vlan, a := range of {
		if id, ok := w.made[aclKey+a]; ok {
			a = id
		}
		to[vlan] = a
	}
	row := &vtepdb.PhysicalPort{UUID: port}
	w.add(w.conn.client.Where(row).Mutate(row, model.Mutation{Field: &row.ACLBindings, Mutator: how, Value: to}))
}
