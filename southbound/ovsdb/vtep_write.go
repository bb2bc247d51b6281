package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"

	"github.com/ovn-org/libovsdb/model"
	"github.com/ovn-org/libovsdb/ovsdb"

	"github.com/weft-sdn/weft/southbound/ovsdb/vtepdb"
)

// ErrConflict is a change that no longer fits the database: somebody else
// changed it meanwhile. Reading it again helps.
var ErrConflict = errors.New("the database changed meanwhile")

// VTEPChange is what has to be written. A logical switch is named by its UUID or,
// when it is made by the same change, by its name.
type VTEPChange struct {
	TunnelIP netip.Addr                 // to set, when valid
	Make     []VTEPLogical              // logical switches
	Adjust   map[string]VTEPLogical     // by UUID: key and replication mode
	Remove   []string                   // logical switches, with all MACs on them
	Bind     map[string]map[int]string  // port UUID -> VLAN -> logical switch
	Unbind   map[string]map[int]string  // the same, as they are
	Ucast    map[VTEPStation]VTEPRemote // to set; without UUID to insert
	DropU    []string                   // rows of Ucast_Macs_Remote
	Mcast    map[string]VTEPFlood       // to set, by logical switch
	DropM    []string                   // rows of Mcast_Macs_Remote

	// An ACL is named as a logical switch is.
	ACLs      map[string]VTEPACLChange  // by name
	DropACLs  []string                  // with their entries
	BindACL   map[string]map[int]string // port UUID -> VLAN -> ACL
	UnbindACL map[string]map[int]string // the same, as they are
}

// Empty reports whether nothing has to be written.
func (c VTEPChange) Empty() bool { return c.Rows() == 0 }

// Rows is the number of rows that are written.
func (c VTEPChange) Rows() int {
	n := len(c.Make) + len(c.Adjust) + len(c.Remove) + len(c.Bind) + len(c.Unbind) + len(c.Ucast) + len(c.DropU) + len(c.Mcast) + len(c.DropM) + len(c.DropACLs) + len(c.BindACL) + len(c.UnbindACL)
	for _, a := range c.ACLs {
		n += 1 + len(a.Add) + len(a.Drop)
	}
	if c.TunnelIP.IsValid() {
		n++
	}
	return n
}

// vtepWrite collects the operations of one change.
type vtepWrite struct {
	transaction
	plain   bool
	noACL   bool
	made    map[string]string     // logical switches of this change: name -> named UUID
	located map[netip.Addr]string // locators, and those of this change
}

// Write makes a change, all of it or nothing. Rows are those that it was made
// from. The error may be ErrConflict.
func (c *VTEPDB) Write(ctx context.Context, rows *VTEPRows, ch *VTEPChange) error {
	ops, err := c.operations(rows, ch)
	if err != nil {
		return err
	}
	err = c.Transact(ctx, ops)
	if errors.Is(err, ErrRefused) && (strings.Contains(err.Error(), "referential integrity violation") || strings.Contains(err.Error(), "constraint violation")) {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}

// operations makes the transaction of a change.
func (c *VTEPDB) operations(rows *VTEPRows, ch *VTEPChange) ([]ovsdb.Operation, error) {
	w := &vtepWrite{transaction: transaction{conn: c.Conn}, plain: c.plain, noACL: c.noACL, made: map[string]string{}, located: maps.Clone(rows.locators)}
	if ch.TunnelIP.IsValid() {
		s := &vtepdb.PhysicalSwitch{UUID: rows.Switch.UUID, TunnelIPs: []string{ch.TunnelIP.String()}}
		w.update(s, &s.TunnelIPs)
	}
	for i, l := range ch.Make {
		w.made[l.Name] = fmt.Sprintf("ls%d", i)
		w.create(w.row(w.made[l.Name], l))
	}
	for uuid, l := range ch.Adjust {
		w.adjust(uuid, l)
	}
	// A binding that is not as it was any more is not removed, and one that
	// came meanwhile not overwritten: so are maps mutated (RFC 7047 section 5.1).
	for port, of := range ch.Unbind {
		w.bindings(port, of, ovsdb.MutateOperationDelete)
	}
	for port, of := range ch.Bind {
		w.bindings(port, of, ovsdb.MutateOperationInsert)
	}
	w.acls(ch.ACLs)
	for port, of := range ch.UnbindACL {
		w.bindACLs(port, of, ovsdb.MutateOperationDelete)
	}
	for port, of := range ch.BindACL {
		w.bindACLs(port, of, ovsdb.MutateOperationInsert)
	}
	w.removeACLs(rows, ch.DropACLs)
	w.macs(ch)
	w.floods(ch)
	for _, uuid := range ch.Remove {
		w.remove(uuid)
	}
	return w.ops, w.err
}

// description is for those who look at the database.
const description = "made by Weft"

func (w *vtepWrite) row(id string, l VTEPLogical) model.Model {
	if w.plain {
		return &plainLogicalSwitch{UUID: id, Name: l.Name, TunnelKey: &l.Key, Description: description}
	}
	return &vtepdb.LogicalSwitch{UUID: id, Name: l.Name, TunnelKey: &l.Key, ReplicationMode: &l.Replication, Description: description}
}

func (w *vtepWrite) adjust(uuid string, l VTEPLogical) {
	switch row := w.row(uuid, l).(type) {
	case *plainLogicalSwitch:
		w.update(row, &row.TunnelKey)
	case *vtepdb.LogicalSwitch:
		w.update(row, &row.TunnelKey, &row.ReplicationMode)
	}
}

// remove deletes a logical switch. What a switch had learned on it goes with
// it: the database keeps no row that refers to one that is gone, and refuses.
func (w *vtepWrite) remove(uuid string) {
	on := []ovsdb.Condition{ovsdb.NewCondition("logical_switch", ovsdb.ConditionEqual, ovsdb.UUID{GoUUID: uuid})}
	for _, t := range []string{vtepdb.UcastMacsRemoteTable, vtepdb.McastMacsRemoteTable, vtepdb.UcastMacsLocalTable, "Mcast_Macs_Local"} {
		w.ops = append(w.ops, ovsdb.Operation{Op: ovsdb.OperationDelete, Table: t, Where: on})
	}
	w.ops = append(w.ops, ovsdb.Operation{Op: ovsdb.OperationDelete, Table: vtepdb.LogicalSwitchTable,
		Where: []ovsdb.Condition{ovsdb.NewCondition("_uuid", ovsdb.ConditionEqual, ovsdb.UUID{GoUUID: uuid})}})
}

func (w *vtepWrite) bindings(port string, of map[int]string, how ovsdb.Mutator) {
	to := make(map[int]string, len(of))
	for vlan, l := range of {
		to[vlan] = w.logical(l)
	}
	if w.noACL {
		row := &plainPhysicalPort{UUID: port}
		w.add(w.conn.client.Where(row).Mutate(row, model.Mutation{Field: &row.VLANBindings, Mutator: how, Value: to}))
		return
	}
	row := &vtepdb.PhysicalPort{UUID: port}
	w.add(w.conn.client.Where(row).Mutate(row, model.Mutation{Field: &row.VLANBindings, Mutator: how, Value: to}))
}

// logical is how a logical switch is named in operations.
func (w *vtepWrite) logical(nameOrUUID string) string {
	if id, ok := w.made[nameOrUUID]; ok {
		return id
	}
	return nameOrUUID
}

// locator is a VTEP's locator, made if need be.
func (w *vtepWrite) locator(vtep netip.Addr) string {
	if id, ok := w.located[vtep]; ok {
		return id
	}
	id := fmt.Sprintf("at%d", len(w.located))
	w.located[vtep] = id
	w.create(&vtepdb.PhysicalLocator{UUID: id, EncapsulationType: vxlanLocator, DstIP: vtep.String()})
	return id
}

func (w *vtepWrite) macs(ch *VTEPChange) {
	for _, uuid := range ch.DropU {
		w.add(w.conn.client.Where(&vtepdb.UcastMacsRemote{UUID: uuid}).Delete())
	}
	n := 0
	for k, u := range ch.Ucast {
		row := &vtepdb.UcastMacsRemote{UUID: u.UUID, MAC: k.MAC.String(), LogicalSwitch: w.logical(k.Logical), Locator: w.locator(u.VTEP), Ipaddr: u.IP}
		if u.UUID != "" {
			w.update(row, &row.Locator, &row.Ipaddr)
			continue
		}
		n++
		row.UUID = fmt.Sprintf("mac%d", n)
		w.create(row)
	}
}

func (w *vtepWrite) floods(ch *VTEPChange) {
	for _, uuid := range ch.DropM {
		w.add(w.conn.client.Where(&vtepdb.McastMacsRemote{UUID: uuid}).Delete())
	}
	n := 0
	for l, m := range ch.Mcast {
		n++
		set := fmt.Sprintf("set%d", n)
		locators := make([]string, len(m.VTEPs))
		for i, a := range m.VTEPs {
			locators[i] = w.locator(a)
		}
		// A locator set never changes (vtep(5)): each list is a new one, and
		// the server drops the one that nothing refers to any more.
		w.create(&vtepdb.PhysicalLocatorSet{UUID: set, Locators: locators})
		row := &vtepdb.McastMacsRemote{UUID: m.UUID, MAC: unknownDst, LogicalSwitch: w.logical(l), LocatorSet: set}
		if m.UUID != "" {
			w.update(row, &row.LocatorSet)
			continue
		}
		row.UUID = fmt.Sprintf("mcast%d", n)
		w.create(row)
	}
}
