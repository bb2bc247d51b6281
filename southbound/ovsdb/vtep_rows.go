package ovsdb

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/ovsdb/vtepdb"
)

// Rows reads the rows for the switch of a name.
func (c *VTEPDB) Rows(name string) *VTEPRows {
	for {
		r := c.read(name)
		if !r.torn || c.Err() != nil {
			return &r.VTEPRows
		}
		// A transaction is being taken over table by table just now.
		select {
		case <-c.Done():
		case <-time.After(time.Millisecond):
		}
	}
}

// vtepReader reads the tables, which all refer to each other.
type vtepReader struct {
	VTEPRows
	torn     bool // a row refers to one that is not there
	ports    map[string]*vtepdb.PhysicalPort
	tunnels  map[string]*vtepdb.Tunnel
	sets     map[string]*vtepdb.PhysicalLocatorSet
	locators map[string]*vtepdb.PhysicalLocator
	at       map[string]netip.Addr // locators' addresses
}

func (c *VTEPDB) read(name string) *vtepReader {
	r := &vtepReader{at: map[string]netip.Addr{}}
	r.VTEPRows = VTEPRows{Schema: c.client.Schema().Version, Plain: c.plain, NoACLs: c.noACL, ACLs: map[string]VTEPACL{}, ACLsBound: map[string]bool{}, LooseEntries: map[string]VTEPEntry{}, Others: map[netip.Addr]string{}, Bound: map[string][]string{}, Logical: map[string]VTEPLogical{},
		Ucast: map[string]map[intent.MAC]VTEPRemote{}, Mcast: map[string]VTEPFlood{}, TwiceU: map[string]string{}, TwiceM: map[string]string{}, locators: map[netip.Addr]string{}}
	// Those that refer come before those that are referred to.
	switches := table[vtepdb.PhysicalSwitch](c.Conn, vtepdb.PhysicalSwitchTable)
	remote := table[vtepdb.UcastMacsRemote](c.Conn, vtepdb.UcastMacsRemoteTable)
	floods := table[vtepdb.McastMacsRemote](c.Conn, vtepdb.McastMacsRemoteTable)
	local := table[vtepdb.UcastMacsLocal](c.Conn, vtepdb.UcastMacsLocalTable)
	r.ports = c.physicalPorts()
	if !c.noACL {
		r.readACLs(c, table[vtepdb.ACL](c.Conn, vtepdb.ACLTable))
	}
	r.tunnels = table[vtepdb.Tunnel](c.Conn, vtepdb.TunnelTable)
	r.sets = table[vtepdb.PhysicalLocatorSet](c.Conn, vtepdb.PhysicalLocatorSetTable)
	r.locators = table[vtepdb.PhysicalLocator](c.Conn, vtepdb.PhysicalLocatorTable)
	r.readLogical(c)
	r.readLocators()
	for _, uuid := range slices.Sorted(maps.Keys(switches)) {
		r.readSwitch(uuid, switches[uuid], name)
	}
	for _, of := range r.Bound {
		slices.Sort(of)
	}
	r.readRemote(remote)
	r.readFloods(floods)
	for _, u := range local {
		r.readLocal(u)
	}
	return r
}

func (r *vtepReader) readLogical(c *VTEPDB) {
	if c.plain {
		for uuid, l := range table[plainLogicalSwitch](c.Conn, vtepdb.LogicalSwitchTable) {
			r.Logical[uuid] = VTEPLogical{Name: l.Name, Key: value(l.TunnelKey)}
		}
		return
	}
	for uuid, l := range table[vtepdb.LogicalSwitch](c.Conn, vtepdb.LogicalSwitchTable) {
		r.Logical[uuid] = VTEPLogical{l.Name, value(l.TunnelKey), value(l.ReplicationMode)}
	}
}

func (r *vtepReader) readLocators() {
	for uuid, l := range r.locators {
		a, _ := netip.ParseAddr(l.DstIP) // what is none is nobody's
		r.at[uuid] = a
		if a.IsValid() && l.TunnelKey == nil && l.EncapsulationType == vxlanLocator {
			r.VTEPRows.locators[a] = uuid
		}
	}
}

// address is a locator's address.
func (r *vtepReader) address(locator string) netip.Addr {
	a, ok := r.at[locator]
	r.torn = r.torn || !ok
	return a
}

// plainAddress is the address of a locator such as we make them.
func (r *vtepReader) plainAddress(locator string) netip.Addr {
	a := r.address(locator)
	if r.VTEPRows.locators[a] != locator {
		return netip.Addr{}
	}
	return a
}

func (r *vtepReader) readSwitch(uuid string, s *vtepdb.PhysicalSwitch, name string) {
	if s.Name != name {
		for _, ip := range s.TunnelIPs {
			if a, err := netip.ParseAddr(ip); err == nil {
				r.Others[a] = s.Name
			}
		}
	} else {
		r.Switch = &VTEPSwitch{UUID: uuid, Description: s.Description, TunnelIPs: s.TunnelIPs, Faults: s.SwitchFaultStatus, Ports: map[string]VTEPPort{}}
	}
	for _, u := range s.Ports {
		p := r.ports[u]
		if p == nil {
			r.torn = true
			continue
		}
		for _, l := range p.VLANBindings {
			if _, ok := r.Logical[l]; !ok {
				r.torn = true
			}
			if s.Name != name && !slices.Contains(r.Bound[l], s.Name) {
				r.Bound[l] = append(r.Bound[l], s.Name)
			}
		}
		for _, a := range p.ACLBindings {
			if _, ok := r.ACLs[a]; !ok {
				r.torn = true
			}
			r.ACLsBound[a] = r.ACLsBound[a] || s.Name != name
		}
		if s.Name == name {
			r.Switch.Ports[p.Name] = VTEPPort{u, p.VLANBindings, p.ACLBindings, p.PortFaultStatus}
		}
	}
	if s.Name != name {
		return
	}
	for _, u := range s.Tunnels {
		t := r.tunnels[u]
		if t == nil {
			r.torn = true
			continue
		}
		state := t.BFDStatus["state"]
		r.Tunnels = append(r.Tunnels, VTEPTunnel{Remote: r.address(t.Remote),
			Enabled: t.BFDParams["enable"] == "true",
			Down:    state == "down" || state == "admin_down" || state == "up" && t.BFDStatus["forwarding"] == "false",
			Words:   words(t.BFDStatus)})
	}
	slices.SortFunc(r.Tunnels, func(a, b VTEPTunnel) int { return a.Remote.Compare(b.Remote) })
}

// words are a BFD status for people.
func words(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, " ")
}

func (r *vtepReader) readRemote(rows map[string]*vtepdb.UcastMacsRemote) {
	for uuid, u := range rows {
		mac, err := intent.ParseMAC(u.MAC)
		if err != nil {
			continue // nothing that we could have written
		}
		of := r.Ucast[u.LogicalSwitch]
		if of == nil {
			of = map[intent.MAC]VTEPRemote{}
			r.Ucast[u.LogicalSwitch] = of
		}
		row := VTEPRemote{uuid, r.plainAddress(u.Locator), u.Ipaddr}
		if have, twice := of[mac]; twice {
			// Of two, every driver of the database keeps the same one.
			if have.UUID < uuid {
				have, row = row, have
			}
			r.TwiceU[have.UUID] = u.LogicalSwitch
		}
		of[mac] = row
	}
}

func (r *vtepReader) readFloods(rows map[string]*vtepdb.McastMacsRemote) {
	for uuid, m := range rows {
		if m.MAC != unknownDst {
			continue
		}
		row := VTEPFlood{UUID: uuid}
		if s := r.sets[m.LocatorSet]; s != nil {
			for _, l := range s.Locators {
				row.VTEPs = append(row.VTEPs, r.plainAddress(l))
			}
		} else {
			r.torn = true
		}
		slices.SortFunc(row.VTEPs, netip.Addr.Compare)
		if have, twice := r.Mcast[m.LogicalSwitch]; twice {
			if have.UUID < uuid {
				have, row = row, have
			}
			r.TwiceM[have.UUID] = m.LogicalSwitch
		}
		r.Mcast[m.LogicalSwitch] = row
	}
}

func (r *vtepReader) readLocal(u *vtepdb.UcastMacsLocal) {
	at := r.address(u.Locator)
	bad := func(words string) {
		r.Malformed = append(r.Malformed, VTEPMalformed{u.LogicalSwitch, u.MAC, at, words})
	}
	mac, err := intent.ParseMAC(u.MAC)
	if err == nil && (mac.IsZero() || mac.Multicast()) {
		err = fmt.Errorf("%q is no station's MAC address", u.MAC)
	}
	if err != nil {
		bad(err.Error())
		return
	}
	l := VTEPLocal{VTEPStation: VTEPStation{u.LogicalSwitch, mac}, VTEP: at}
	if u.Ipaddr != "" {
		if l.IP, err = netip.ParseAddr(u.Ipaddr); err != nil || l.IP.IsUnspecified() || l.IP.IsMulticast() || l.IP.Zone() != "" {
			l.IP = netip.Addr{}
			bad(fmt.Sprintf("ipaddr %q is no station's address", u.Ipaddr))
		}
	}
	r.Local = append(r.Local, l)
}
