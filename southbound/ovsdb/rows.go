package ovsdb

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/weft-sdn/weft/southbound/ovsdb/vswitchdb"
)

// ownerKey in external_ids marks our rows.
const (
	ownerKey   = "weft-owner"
	ownerValue = "weft"
)

// rows are the rows of the database that concern one bridge.
type rows struct {
	root       *vswitchdb.OpenvSwitch
	bridge     *vswitchdb.Bridge    // nil when there is none
	local      *vswitchdb.Interface // the bridge's own
	tunnel     *vswitchdb.Interface // on the bridge
	interfaces []*ifaceRow          // of the bridge; those two and tunnels of ours left out
	tunnels    map[string]tunnelRow // further tunnels of ours, by name
	listener   bool
	stale      []string // listeners of ours with another target
	wanted     []Tunnel // further tunnels that are asked for
	inherit    bool     // tunnels are to copy the inner DSCP
	told       bool     // wanted and inherit are known
	elsewhere  string   // whose the tunnel's name is, when it is not on the bridge
}

// tunnelRow is a tunnel port of ours.
type tunnelRow struct {
	iface *vswitchdb.Interface
	port  string // UUID
}

// rows are the rows that are in memory now.
func (w *wire) rows(cfg VSwitchConfig) (*rows, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tables.rows(cfg)
}

func (t *tables) rows(cfg VSwitchConfig) (*rows, error) {
	if len(t.root) == 0 {
		return nil, errors.New("the database has no Open_vSwitch row: run ovs-vsctl init")
	}
	r := &rows{tunnels: map[string]tunnelRow{}}
	for _, root := range t.root {
		r.root = root
	}
	for _, b := range t.bridge {
		if b.Name == cfg.Bridge {
			r.bridge = b
		}
	}
	if r.bridge != nil {
		r.takePorts(t, cfg)
		r.takeControllers(t, cfg)
	}
	if r.tunnel == nil {
		for _, i := range t.iface {
			if i.name == cfg.Tunnel {
				r.elsewhere = "another bridge"
			}
		}
	}
	return r, nil
}

func (r *rows) takePorts(t *tables, cfg VSwitchConfig) {
	r.interfaces = make([]*ifaceRow, 0, len(r.bridge.Ports))
	for _, u := range r.bridge.Ports {
		p := t.port[u]
		if p == nil {
			continue
		}
		for _, u := range p.Interfaces {
			switch i := t.iface[u]; {
			case i == nil:
			case i.name == cfg.Tunnel:
				r.tunnel = i.whole()
			case i.name == cfg.Bridge:
				r.local = i.whole()
			case i.ids.get(ownerKey) != "":
				r.tunnels[i.name] = tunnelRow{i.whole(), p.UUID}
			default:
				r.interfaces = append(r.interfaces, i)
			}
		}
	}
}

func (r *rows) takeControllers(t *tables, cfg VSwitchConfig) {
	for _, u := range r.bridge.Controller {
		k := t.controller[u]
		if k == nil {
			continue
		}
		if k.Target == cfg.OpenFlowListen {
			r.listener = true
		} else if k.ExternalIDs[ownerKey] != "" {
			r.stale = append(r.stale, u)
		}
	}
	slices.Sort(r.stale)
}

// unmade says what ovs-vswitchd has not done yet about rows that are right.
func (r *rows) unmade(cfg VSwitchConfig) error {
	if i := r.local; i != nil && value(i.Ofport) > 0 {
		return nil
	} else if i != nil && value(i.Error) != "" {
		return errors.New(value(i.Error))
	}
	return fmt.Errorf("ovs-vswitchd has not made bridge %s yet", cfg.Bridge)
}

// fill writes what the rows say into the state.
func (r *rows) fill(s *State, cfg VSwitchConfig) {
	s.SystemID, s.Hostname = r.root.ExternalIDs["system-id"], r.root.ExternalIDs["hostname"]
	s.OVSVersion = value(r.root.OVSVersion)
	s.BridgeUUID, s.TunnelOFPort, s.TunnelError = "", 0, ""
	if r.bridge != nil {
		s.BridgeUUID = r.bridge.UUID
	}
	if t := r.tunnel; t != nil {
		s.TunnelOFPort, s.TunnelError = uint32(max(0, value(t.Ofport))), value(t.Error)
	}
	s.Tunnels = make(map[string]TunnelState, len(r.tunnels))
	for name, t := range r.tunnels {
		s.Tunnels[name] = TunnelState{OFPort: uint32(max(0, value(t.iface.Ofport))), Error: value(t.iface.Error)}
	}
	for _, i := range r.interfaces {
		for _, w := range r.wanted {
			if w.Name == i.name {
				s.Tunnels[w.Name] = TunnelState{Error: "port " + w.Name + " is not Weft's (no external_ids:" + ownerKey + "): rename or remove it"}
			}
		}
	}
	s.Interfaces = make(map[string]Interface, len(r.interfaces))
	for _, i := range r.interfaces {
		s.Interfaces[i.name] = i.state()
	}
}

// value is what an optional column has, zero when it is empty.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// tunnelOptions makes one port serve all remotes and keys.
func tunnelOptions(cfg VSwitchConfig) map[string]string {
	return cfg.options(Tunnel{Type: "vxlan", Port: cfg.UDPPort})
}

// defaultPorts are the UDP ports that Open vSwitch takes when none is given.
var defaultPorts = map[string]uint16{"vxlan": 4789, "geneve": 6081}

// options are those of a tunnel port.
func (cfg VSwitchConfig) options(t Tunnel) map[string]string {
	o := map[string]string{"remote_ip": "flow", "key": "flow"}
	if t.AnyLocal {
		o["local_ip"] = "flow"
	} else if cfg.VTEP.IsValid() {
		o["local_ip"] = cfg.VTEP.String()
	}
	if t.Port != defaultPorts[t.Type] {
		o["dst_port"] = strconv.Itoa(int(t.Port))
	}
	return o
}

// tosKey is the option of a tunnel port that says what the outer header's
// differentiated services field is; left out, it is zero (ovs-vswitchd.conf.db(5)).
const tosKey = "tos"

// withTos are options with the inner field copied to the outer header, if that is
// asked for; while nobody has said so, as a row has it.
func (r *rows) withTos(o, has map[string]string) map[string]string {
	if r.told && r.inherit || !r.told && has[tosKey] == "inherit" {
		o[tosKey] = "inherit"
	}
	return o
}

// tosOnly reports whether options differ in what we ourselves change at times.
func tosOnly(has, want map[string]string) bool {
	a, b := maps.Clone(has), maps.Clone(want)
	delete(a, tosKey)
	delete(b, tosKey)
	return maps.Equal(a, b) && (has[tosKey] == "" || has[tosKey] == "inherit")
}

// isTunnel reports whether an interface is the tunnel that we would make.
func isTunnel(i *vswitchdb.Interface, want map[string]string) bool {
	return i.Type == "vxlan" && maps.Equal(i.Options, want)
}
