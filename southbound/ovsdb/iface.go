package ovsdb

import (
	"maps"
	"slices"

	"github.com/weft-sdn/weft/southbound/ovsdb/vswitchdb"
)

// ifaceRow is a row of the Interface table as it is kept: there is one for each
// endpoint of the network, so that it takes what it has and no more. A Go map for
// its one external id would be larger than all the rest.
type ifaceRow struct {
	uuid, name, kind   string
	ids                attributes
	err, mac           *string
	admin, link        *string
	mtu, ofport        integer
	ofportRequest      integer
	options, otherConf map[string]string // of tunnels; mostly nil
}

// attributes are a map of few entries, sorted by key. It is not changed.
type attributes [][2]string

// get is the value of a key, empty when there is none.
func (a attributes) get(key string) string {
	for i := range a {
		if a[i][0] == key {
			return a[i][1]
		}
	}
	return ""
}

// patch takes a map's difference, as mapping.patch does.
func (a attributes) patch(m *mapping) attributes {
	if !m.there || len(m.kv) == 0 {
		return a
	}
	now := make(map[string]string, len(a)+len(m.kv))
	for _, p := range a {
		now[p[0]] = p[1]
	}
	m.patch(&now)
	out := make(attributes, 0, len(now))
	for _, k := range slices.Sorted(maps.Keys(now)) {
		key := k
		if p, ok := common[k]; ok {
			key = *p
		}
		out = append(out, [2]string{key, now[k]})
	}
	return slices.Clip(out)
}

// integer is an integer that may be missing.
type integer struct {
	v   int32
	set bool
}

func (n *number) put(at *integer) {
	if n.there {
		*at = integer{int32(n.v), n.set}
	}
}

func (i integer) pointer() *int {
	if !i.set {
		return nil
	}
	v := int(i.v)
	return &v
}

func patchInterface(r *ifaceRow, uuid string, c *interfaceColumns) {
	r.uuid = uuid
	c.Name.fill(&r.name)
	c.Type.fill(&r.kind)
	c.Error.patch(&r.err)
	c.AdminState.patch(&r.admin)
	c.LinkState.patch(&r.link)
	c.MACInUse.patch(&r.mac)
	c.MTU.put(&r.mtu)
	c.Ofport.put(&r.ofport)
	c.OfportRequest.put(&r.ofportRequest)
	r.ids = r.ids.patch(&c.ExternalIDs)
	c.Options.patch(&r.options)
	c.OtherConfig.patch(&r.otherConf)
}

// whole is the row with all its columns.
func (r *ifaceRow) whole() *vswitchdb.Interface {
	i := &vswitchdb.Interface{UUID: r.uuid, Name: r.name, Type: r.kind, Error: r.err, AdminState: r.admin, LinkState: r.link, MACInUse: r.mac,
		MTU: r.mtu.pointer(), Ofport: r.ofport.pointer(), OfportRequest: r.ofportRequest.pointer(), Options: r.options, OtherConfig: r.otherConf}
	for _, p := range r.ids {
		if i.ExternalIDs == nil {
			i.ExternalIDs = make(map[string]string, len(r.ids))
		}
		i.ExternalIDs[p[0]] = p[1]
	}
	return i
}

// state is what the row says of an interface of a VM.
func (r *ifaceRow) state() Interface {
	return Interface{
		Name: r.name, IfaceID: r.ids.get("iface-id"), AttachedMAC: r.ids.get("attached-mac"),
		OFPort: int(r.ofport.v), Error: value(r.err), MAC: value(r.mac), MTU: int(r.mtu.v),
		LinkUp:  value(r.link) == vswitchdb.InterfaceLinkStateUp,
		AdminUp: value(r.admin) == vswitchdb.InterfaceAdminStateUp,
	}
}
