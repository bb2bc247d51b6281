package ovsdb

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/ovn-org/libovsdb/model"
	"github.com/ovn-org/libovsdb/ovsdb"
	"github.com/weft-sdn/weft/southbound/ovsdb/vswitchdb"
)

// ownerKey marks our rows.
const (
	ownerKey   = "weft-owner"
	ownerValue = "weft"
)

// TunnelPort is the OpenFlow port number that is asked for the tunnel port, so
// that it is the same on every edge.
const TunnelPort = 65000

// rows are the rows of the database that concern one bridge.
type rows struct {
	root       vswitchdb.OpenvSwitch
	bridge     *vswitchdb.Bridge
	ports      map[string]vswitchdb.Port // of the bridge, by name
	interfaces map[string]vswitchdb.Interface
	tunnel     *vswitchdb.Interface
	elsewhere  bool // the tunnel's name is taken on another bridge
	listens    bool
}

func readRows(c *Conn, cfg VSwitchConfig) (*rows, error) {
	roots, e1 := list[vswitchdb.OpenvSwitch](c)
	bridges, e2 := list[vswitchdb.Bridge](c)
	ports, e3 := list[vswitchdb.Port](c)
	ifaces, e4 := list[vswitchdb.Interface](c)
	controllers, e5 := list[vswitchdb.Controller](c)
	if err := errors.Join(e1, e2, e3, e4, e5); err != nil {
		return nil, err
	}
	if len(roots) == 0 {
		return nil, errors.New("the database has no Open_vSwitch row: run ovs-vsctl init")
	}
	r := &rows{root: roots[0], ports: map[string]vswitchdb.Port{}, interfaces: map[string]vswitchdb.Interface{}}
	for i, b := range bridges {
		if b.Name == cfg.Bridge {
			r.bridge = &bridges[i]
		}
	}
	byUUID := make(map[string]vswitchdb.Interface, len(ifaces))
	for _, i := range ifaces {
		byUUID[i.UUID] = i
	}
	ours := map[string]bool{}
	if r.bridge != nil {
		for _, u := range r.bridge.Ports {
			ours[u] = true
		}
		for _, k := range controllers {
			r.listens = r.listens || k.Target == cfg.OpenFlowListen && slices.Contains(r.bridge.Controller, k.UUID)
		}
	}
	for _, p := range ports {
		if !ours[p.UUID] {
			r.elsewhere = r.elsewhere || p.Name == cfg.Tunnel
			continue
		}
		r.ports[p.Name] = p
		for _, u := range p.Interfaces {
			if i, ok := byUUID[u]; ok {
				r.interfaces[i.Name] = i
			}
		}
	}
	if i, ok := r.interfaces[cfg.Tunnel]; ok {
		r.tunnel = &i
	}
	return r, nil
}

// fill writes what the rows say into the state.
func (r *rows) fill(s *State, cfg VSwitchConfig) {
	if !s.Connected {
		s.Connected, s.Since = true, time.Now()
	}
	s.SystemID = r.root.ExternalIDs["system-id"]
	if r.root.OVSVersion != nil {
		s.OVSVersion = *r.root.OVSVersion
	}
	s.BridgeUUID, s.TunnelOFPort, s.TunnelError = "", 0, ""
	if r.bridge != nil {
		s.BridgeUUID = r.bridge.UUID
	}
	if t := r.tunnel; t != nil {
		if t.Ofport != nil && *t.Ofport > 0 {
			s.TunnelOFPort = uint32(*t.Ofport)
		}
		if t.Error != nil {
			s.TunnelError = *t.Error
		}
	}
	s.Interfaces = make(map[string]Interface, len(r.interfaces))
	for name, i := range r.interfaces {
		if name == cfg.Tunnel || name == cfg.Bridge {
			continue
		}
		out := Interface{Name: name, IfaceID: i.ExternalIDs["iface-id"]}
		if i.Ofport != nil {
			out.OFPort = *i.Ofport
		}
		if i.Error != nil {
			out.Error = *i.Error
		}
		if i.LinkState != nil {
			out.LinkUp = *i.LinkState == vswitchdb.InterfaceLinkStateUp
		}
		if i.MACInUse != nil {
			out.MAC = *i.MACInUse
		}
		s.Interfaces[name] = out
	}
}

// tunnelOptions makes one port serve all remotes and keys.
func tunnelOptions(cfg VSwitchConfig) map[string]string {
	o := map[string]string{"remote_ip": "flow", "key": "flow", "local_ip": cfg.VTEP.String()}
	if cfg.UDPPort != 4789 {
		o["dst_port"] = strconv.Itoa(int(cfg.UDPPort))
	}
	return o
}

// change is what has to be written.
type change struct {
	cfg     VSwitchConfig
	needed  bool
	repairs []Repair // what was not as we had left it

	makeBridge, makeTunnel, makeListener bool
	fixBridge, fixTunnel                 bool
}

// plan compares the rows with what they should be.
func plan(cfg VSwitchConfig, r *rows) change {
	c := change{cfg: cfg}
	bridge, tunnel := "bridge "+cfg.Bridge, "port "+cfg.Tunnel
	note := func(object, found, did string) {
		c.needed = true
		c.repairs = append(c.repairs, Repair{Object: object, Found: found, Did: did})
	}
	switch b := r.bridge; {
	case b == nil:
		c.makeBridge = true
		note(bridge, "was missing", "made again")
	case b.FailMode == nil || *b.FailMode != vswitchdb.BridgeFailModeSecure || !speaks(b):
		c.fixBridge = true
		note(bridge, "had another fail_mode or lacked OpenFlow15", "set back")
	}
	switch t := r.tunnel; {
	case t == nil:
		c.makeTunnel = true
		note(tunnel, "was missing", "made again")
	case t.Type != "vxlan" || !maps.Equal(t.Options, tunnelOptions(cfg)):
		c.fixTunnel = true
		note(tunnel, fmt.Sprintf("had type %s and options %v", t.Type, t.Options), "set back")
	}
	if cfg.OpenFlowListen != "" && !r.listens {
		c.makeListener = true
		note(bridge, "did not listen on "+cfg.OpenFlowListen, "set back")
	}
	return c
}

// speaks reports whether OpenFlow 1.5 is allowed by name. Without names the
// switch's default holds, which differs between versions.
func speaks(b *vswitchdb.Bridge) bool {
	return slices.Contains(b.Protocols, vswitchdb.BridgeProtocolsOpenflow15)
}

func owned() map[string]string { return map[string]string{ownerKey: ownerValue} }

// operations makes the transaction.
func (c change) operations(conn *Conn, r *rows) ([]ovsdb.Operation, error) {
	if c.makeTunnel && r.elsewhere {
		return nil, fmt.Errorf("port %s is on another bridge: remove it there", c.cfg.Tunnel)
	}
	var ops []ovsdb.Operation
	var errs []error
	add := func(o []ovsdb.Operation, err error) { ops, errs = append(ops, o...), append(errs, err) }
	var newPorts, newControllers []string
	if c.makeTunnel {
		want := TunnelPort
		add(conn.client.Create(
			&vswitchdb.Interface{UUID: "tunnelif", Name: c.cfg.Tunnel, Type: "vxlan", Options: tunnelOptions(c.cfg), OfportRequest: &want, ExternalIDs: owned()},
			&vswitchdb.Port{UUID: "tunnelport", Name: c.cfg.Tunnel, Interfaces: []string{"tunnelif"}, ExternalIDs: owned()}))
		newPorts = append(newPorts, "tunnelport")
	}
	if c.makeListener {
		band := vswitchdb.ControllerConnectionModeOutOfBand
		add(conn.client.Create(&vswitchdb.Controller{UUID: "listener", Target: c.cfg.OpenFlowListen, ConnectionMode: &band, ExternalIDs: owned()}))
		newControllers = append(newControllers, "listener")
	}
	if c.makeBridge {
		add(c.bridge(conn, newPorts, newControllers))
		root := r.root
		add(conn.client.Where(&root).Mutate(&root, model.Mutation{Field: &root.Bridges, Mutator: ovsdb.MutateOperationInsert, Value: []string{"bridge"}}))
		return ops, errors.Join(errs...)
	}
	b := *r.bridge
	if len(newPorts) > 0 {
		add(conn.client.Where(&b).Mutate(&b, model.Mutation{Field: &b.Ports, Mutator: ovsdb.MutateOperationInsert, Value: newPorts}))
	}
	if len(newControllers) > 0 {
		add(conn.client.Where(&b).Mutate(&b, model.Mutation{Field: &b.Controller, Mutator: ovsdb.MutateOperationInsert, Value: newControllers}))
	}
	if c.fixBridge {
		secure := vswitchdb.BridgeFailModeSecure
		b.FailMode = &secure
		if !speaks(&b) {
			b.Protocols = append(slices.Clone(b.Protocols), vswitchdb.BridgeProtocolsOpenflow15)
			if len(b.Protocols) == 1 {
				b.Protocols = protocols()
			}
		}
		add(conn.client.Where(&b).Update(&b, &b.FailMode, &b.Protocols))
	}
	if c.fixTunnel {
		t := *r.tunnel
		t.Type, t.Options = "vxlan", tunnelOptions(c.cfg)
		add(conn.client.Where(&t).Update(&t, &t.Type, &t.Options))
	}
	return ops, errors.Join(errs...)
}

// protocols are those of a bridge that named none: 1.5, and those that the
// switch's own tools use.
func protocols() []string {
	return []string{vswitchdb.BridgeProtocolsOpenflow10, vswitchdb.BridgeProtocolsOpenflow13, vswitchdb.BridgeProtocolsOpenflow14, vswitchdb.BridgeProtocolsOpenflow15}
}

func (c change) bridge(conn *Conn, ports, controllers []string) ([]ovsdb.Operation, error) {
	secure := vswitchdb.BridgeFailModeSecure
	return conn.client.Create(
		&vswitchdb.Interface{UUID: "bridgeif", Name: c.cfg.Bridge, Type: "internal"},
		&vswitchdb.Port{UUID: "bridgeport", Name: c.cfg.Bridge, Interfaces: []string{"bridgeif"}},
		&vswitchdb.Bridge{UUID: "bridge", Name: c.cfg.Bridge, Ports: append(ports, "bridgeport"), Controller: controllers,
			DatapathType: c.cfg.DatapathType, FailMode: &secure, Protocols: protocols(), ExternalIDs: owned()})
}
