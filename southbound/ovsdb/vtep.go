package ovsdb

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovn-org/libovsdb/model"
	"github.com/ovn-org/libovsdb/ovsdb"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/ovsdb/vtepdb"
)

// VTEPDB is one connection to a hardware_vtep database (vtep(5)).
type VTEPDB struct{ *Conn }

// unknownDst is the MAC under which the switch looks for where to send frames
// to all and to unknown stations.
const unknownDst = "unknown-dst"

// vxlanLocator is the only encapsulation that the schema knows.
var vxlanLocator = vtepdb.PhysicalLocatorEncapsulationTypeVxlanOverIpv4

// DialVTEP connects and reads the database.
func DialVTEP(ctx context.Context, endpoint string) (*VTEPDB, error) {
	c, err := Dial(ctx, endpoint, "hardware_vtep", map[string]model.Model{
		vtepdb.PhysicalSwitchTable: &vtepdb.PhysicalSwitch{}, vtepdb.PhysicalPortTable: &vtepdb.PhysicalPort{}, vtepdb.TunnelTable: &vtepdb.Tunnel{},
		vtepdb.LogicalSwitchTable: &vtepdb.LogicalSwitch{}, vtepdb.UcastMacsLocalTable: &vtepdb.UcastMacsLocal{},
		vtepdb.UcastMacsRemoteTable: &vtepdb.UcastMacsRemote{}, vtepdb.McastMacsRemoteTable: &vtepdb.McastMacsRemote{},
		vtepdb.PhysicalLocatorSetTable: &vtepdb.PhysicalLocatorSet{}, vtepdb.PhysicalLocatorTable: &vtepdb.PhysicalLocator{},
	})
	if err != nil {
		return nil, err
	}
	return &VTEPDB{c}, nil
}

// VTEPRows are the rows of the database as one switch's driver needs them. Rows
// are named by UUID.
type VTEPRows struct {
	Switch   *VTEPSwitch            // nil when there is none of that name
	Others   map[netip.Addr]bool    // tunnel addresses of the other switches of the database
	Bound    map[string]bool        // logical switches that a port of any other switch is bound to
	Logical  map[string]VTEPLogical // by UUID
	Ucast    map[VTEPStation]VTEPUcast
	Mcast    map[string]VTEPMcast // unknown-dst, by logical switch
	Strange  []string             // more rows for a station that has one: UUIDs in Ucast_Macs_Remote
	Extra    []string             // the same in Mcast_Macs_Remote
	Local    []VTEPLocal
	Tunnels  []VTEPTunnel
	locators map[netip.Addr]string // by address
}

// VTEPSwitch is a Physical_Switch.
type VTEPSwitch struct {
	UUID      string
	TunnelIPs []string
	Faults    []string
	Ports     map[string]VTEPPort // by name
}

// VTEPPort is a Physical_Port.
type VTEPPort struct {
	UUID     string
	Bindings map[int]string // VLAN, 0 for untagged -> logical switch
	Faults   []string
}

// VTEPLogical is a Logical_Switch.
type VTEPLogical struct {
	Name        string
	Key         int // tunnel key; 0 for none
	Replication string
}

// VTEPStation is a MAC on a logical switch.
type VTEPStation struct {
	Logical string // UUID
	MAC     intent.MAC
}

// VTEPUcast is a row of Ucast_Macs_Remote.
type VTEPUcast struct {
	UUID string
	VTEP netip.Addr
	IP   string // as it is there
}

// VTEPMcast is a row of Mcast_Macs_Remote.
type VTEPMcast struct {
	UUID  string
	VTEPs []netip.Addr // sorted
}

// VTEPLocal is a station that a switch learned.
type VTEPLocal struct {
	VTEPStation
	IP   netip.Addr // invalid when not known
	VTEP netip.Addr // of the switch
}

// VTEPTunnel is a tunnel whose other end is watched by BFD.
type VTEPTunnel struct {
	Remote  netip.Addr
	Enabled bool
	Down    bool
	Words   string // the switch's, about why
}

// Rows reads the rows for the switch of a name.
func (c *VTEPDB) Rows(name string) *VTEPRows {
	r := &VTEPRows{Others: map[netip.Addr]bool{}, Bound: map[string]bool{}, Logical: map[string]VTEPLogical{}, Ucast: map[VTEPStation]VTEPUcast{},
		Mcast: map[string]VTEPMcast{}, locators: map[netip.Addr]string{}}
	at := map[string]netip.Addr{} // by locator
	for uuid, l := range table[vtepdb.PhysicalLocator](c.Conn, vtepdb.PhysicalLocatorTable) {
		a, err := netip.ParseAddr(l.DstIP)
		if err != nil || l.EncapsulationType != vxlanLocator {
			continue
		}
		at[uuid] = a
		if l.TunnelKey == nil {
			r.locators[a] = uuid
		}
	}
	r.readSwitches(c.Conn, name, at)
	for uuid, l := range table[vtepdb.LogicalSwitch](c.Conn, vtepdb.LogicalSwitchTable) {
		r.Logical[uuid] = VTEPLogical{l.Name, value(l.TunnelKey), value(l.ReplicationMode)}
	}
	r.readMACs(c.Conn, at)
	return r
}

func (r *VTEPRows) readSwitches(c *Conn, name string, at map[string]netip.Addr) {
	ports := table[vtepdb.PhysicalPort](c, vtepdb.PhysicalPortTable)
	tunnels := table[vtepdb.Tunnel](c, vtepdb.TunnelTable)
	for uuid, s := range table[vtepdb.PhysicalSwitch](c, vtepdb.PhysicalSwitchTable) {
		if s.Name != name {
			for _, ip := range s.TunnelIPs {
				if a, err := netip.ParseAddr(ip); err == nil {
					r.Others[a] = true
				}
			}
			for _, p := range s.Ports {
				if p := ports[p]; p != nil {
					for _, l := range p.VLANBindings {
						r.Bound[l] = true
					}
				}
			}
			continue
		}
		r.Switch = &VTEPSwitch{UUID: uuid, TunnelIPs: s.TunnelIPs, Faults: s.SwitchFaultStatus, Ports: map[string]VTEPPort{}}
		for _, u := range s.Ports {
			if p := ports[u]; p != nil {
				r.Switch.Ports[p.Name] = VTEPPort{u, p.VLANBindings, p.PortFaultStatus}
			}
		}
		for _, u := range s.Tunnels {
			if t := tunnels[u]; t != nil {
				r.Tunnels = append(r.Tunnels, VTEPTunnel{Remote: at[t.Remote], Enabled: t.BFDParams["enable"] == "true" || t.BFDStatus["enabled"] == "true",
					Down: t.BFDStatus["state"] != "up" && t.BFDStatus["state"] != "init", Words: words(t.BFDStatus)})
			}
		}
	}
}

// words are a BFD status for people.
func words(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, " ")
}

func (r *VTEPRows) readMACs(c *Conn, at map[string]netip.Addr) {
	for uuid, u := range table[vtepdb.UcastMacsRemote](c, vtepdb.UcastMacsRemoteTable) {
		mac, err := intent.ParseMAC(strings.ToLower(u.MAC))
		if err != nil {
			continue // nothing that we could have written
		}
		k := VTEPStation{u.LogicalSwitch, mac}
		if _, twice := r.Ucast[k]; twice {
			r.Strange = append(r.Strange, uuid)
			continue
		}
		r.Ucast[k] = VTEPUcast{uuid, at[u.Locator], u.Ipaddr}
	}
	sets := table[vtepdb.PhysicalLocatorSet](c, vtepdb.PhysicalLocatorSetTable)
	for uuid, m := range table[vtepdb.McastMacsRemote](c, vtepdb.McastMacsRemoteTable) {
		if m.MAC != unknownDst {
			continue
		}
		if _, twice := r.Mcast[m.LogicalSwitch]; twice {
			r.Extra = append(r.Extra, uuid)
			continue
		}
		row := VTEPMcast{UUID: uuid}
		if s := sets[m.LocatorSet]; s != nil {
			for _, l := range s.Locators {
				row.VTEPs = append(row.VTEPs, at[l])
			}
		}
		slices.SortFunc(row.VTEPs, netip.Addr.Compare)
		r.Mcast[m.LogicalSwitch] = row
	}
	for _, u := range table[vtepdb.UcastMacsLocal](c, vtepdb.UcastMacsLocalTable) {
		mac, err := intent.ParseMAC(strings.ToLower(u.MAC))
		if err != nil {
			continue
		}
		ip, _ := netip.ParseAddr(u.Ipaddr) // often empty
		r.Local = append(r.Local, VTEPLocal{VTEPStation{u.LogicalSwitch, mac}, ip, at[u.Locator]})
	}
}

// VTEPChange is what has to be written. A logical switch is named by its UUID or,
// when it is made by the same change, by its name.
type VTEPChange struct {
	TunnelIP netip.Addr                // to set, when valid
	Make     []VTEPLogical             // logical switches
	Adjust   map[string]VTEPLogical    // by UUID
	Remove   []string                  // logical switches
	Bind     map[string]map[int]string // port UUID -> VLAN -> logical switch
	Unbind   map[string]map[int]string // the same, as they are
	Ucast    map[VTEPStation]VTEPUcast // to set; without UUID to insert
	DropU    []string
	Mcast    map[string]VTEPMcast // to set, by logical switch
	DropM    []string
}

// Empty reports whether nothing has to be written.
func (c *VTEPChange) Empty() bool { return c.Rows() == 0 }

// Rows is the number of rows that are written.
func (c *VTEPChange) Rows() int {
	n := len(c.Make) + len(c.Adjust) + len(c.Remove) + len(c.Bind) + len(c.Unbind) + len(c.Ucast) + len(c.DropU) + len(c.Mcast) + len(c.DropM)
	if c.TunnelIP.IsValid() {
		n++
	}
	return n
}

// vtepWrite collects the operations of one change.
type vtepWrite struct {
	transaction
	rows    *VTEPRows
	made    map[string]string     // logical switches of this change: name -> named UUID
	located map[netip.Addr]string // locators, and those of this change
}

// Write makes a change, all of it or nothing.
func (c *VTEPDB) Write(ctx context.Context, rows *VTEPRows, ch *VTEPChange) error {
	w := &vtepWrite{transaction: transaction{conn: c.Conn}, rows: rows, made: map[string]string{}, located: maps.Clone(rows.locators)}
	if ch.TunnelIP.IsValid() {
		s := &vtepdb.PhysicalSwitch{UUID: rows.Switch.UUID, TunnelIPs: []string{ch.TunnelIP.String()}}
		w.update(s, &s.TunnelIPs)
	}
	for i, l := range ch.Make {
		id := fmt.Sprintf("ls%d", i)
		w.made[l.Name] = id
		w.create(&vtepdb.LogicalSwitch{UUID: id, Name: l.Name, TunnelKey: &l.Key, ReplicationMode: &l.Replication, Description: "made by Weft"})
	}
	for uuid, l := range ch.Adjust {
		row := &vtepdb.LogicalSwitch{UUID: uuid, TunnelKey: &l.Key, ReplicationMode: &l.Replication}
		w.update(row, &row.TunnelKey, &row.ReplicationMode)
	}
	for port, of := range ch.Unbind {
		w.bindings(port, of, ovsdb.MutateOperationDelete)
	}
	for port, of := range ch.Bind {
		w.bindings(port, of, ovsdb.MutateOperationInsert)
	}
	w.macs(ch)
	for _, uuid := range ch.Remove {
		w.add(c.client.Where(&vtepdb.LogicalSwitch{UUID: uuid}).Delete())
	}
	if w.err != nil {
		return w.err
	}
	return c.Transact(ctx, w.ops)
}

func (w *vtepWrite) bindings(port string, of map[int]string, how ovsdb.Mutator) {
	to := make(map[int]string, len(of))
	for vlan, l := range of {
		to[vlan] = w.logical(l)
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
	for _, uuid := range ch.DropM {
		w.add(w.conn.client.Where(&vtepdb.McastMacsRemote{UUID: uuid}).Delete())
	}
	for l, m := range ch.Mcast {
		n++
		set := fmt.Sprintf("set%d", n)
		locators := make([]string, len(m.VTEPs))
		for i, a := range m.VTEPs {
			locators[i] = w.locator(a)
		}
		// A locator set never changes (vtep(5)): each list is a new one.
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
