package frr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
)

// EVPNVNI is what zebra has of an L2VNI.
type EVPNVNI struct {
	// VXLAN is the index of the VXLAN device by which zebra knows the VNI; zero when
	// zebra has no such VNI.
	VXLAN int
	// VTEPs are those of which zebra has heard. Not to each go frames to all: a VTEP
	// may have announced stations and no IMET route (RFC 7432 section 11), which FRR 8.4
	// does not say here.
	VTEPs []netip.Addr
}

// EVPNPlace is where zebra has a station or an address: behind a VTEP, or elsewhere.
type EVPNPlace struct {
	// VTEP is not valid for what is not remote, and for what zebra may not have told the
	// kernel: one that is inactive or that two places have.
	VTEP netip.Addr
	MAC  intent.MAC // of an address
}

// object reads an answer that is an object; nothing, and what is no JSON but a word of
// zebra's, is one without content.
func object(b []byte, into any, what string) error {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || b[0] == '%' {
		return nil
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("read zebra's %s: %w", what, err)
	}
	return nil
}

// ParseEVPNVNI reads what "show evpn vni VNI json" prints.
func ParseEVPNVNI(b []byte) (EVPNVNI, error) {
	var v struct {
		Index int             `json:"ifindex"`
		VTEPs json.RawMessage `json:"numRemoteVteps"` // FRR's name for the list
	}
	if err := object(b, &v, "VNI"); err != nil {
		return EVPNVNI{}, err
	}
	out := EVPNVNI{VXLAN: v.Index}
	if len(v.VTEPs) > 0 && v.VTEPs[0] == '[' { // of an L3VNI it is a number
		if err := json.Unmarshal(v.VTEPs, &out.VTEPs); err != nil {
			return EVPNVNI{}, fmt.Errorf("read zebra's VTEPs: %w", err)
		}
	}
	return out, nil
}

// evpnEntry is what zebra prints of a station or an address.
type evpnEntry struct {
	Type      string `json:"type"`
	State     string `json:"state"`
	MAC       string `json:"mac"`
	VTEP      string `json:"remoteVtep"`
	Duplicate bool   `json:"isDuplicate"`
}

func (e evpnEntry) place() (p EVPNPlace, err error) {
	if e.MAC != "" {
		if p.MAC, err = intent.ParseMAC(e.MAC); err != nil {
			return p, err
		}
	}
	if e.Type == "remote" && !e.Duplicate && (e.State == "" || e.State == "active") {
		if p.VTEP, err = netip.ParseAddr(e.VTEP); err != nil {
			return EVPNPlace{MAC: p.MAC}, nil // behind an Ethernet segment
		}
	}
	return p, nil
}

// ParseEVPNMACs reads what "show evpn mac vni VNI json" prints, and what it prints of one
// station, with "mac MAC".
func ParseEVPNMACs(b []byte) (map[intent.MAC]EVPNPlace, error) {
	var top map[string]json.RawMessage
	if err := object(b, &top, "stations"); err != nil {
		return nil, err
	}
	if all, ok := top["macs"]; ok {
		if top = nil; json.Unmarshal(all, &top) != nil {
			return nil, fmt.Errorf("read zebra's stations: macs is no object")
		}
	}
	out := make(map[intent.MAC]EVPNPlace, len(top))
	for name, raw := range top {
		mac, err := intent.ParseMAC(name)
		if err != nil {
			continue // a count
		}
		var e evpnEntry
		if err = json.Unmarshal(raw, &e); err == nil && e.Type != "auto" { // that is known of a neighbour alone
			out[mac], err = e.place()
		}
		if err != nil {
			return nil, fmt.Errorf("read zebra's station %s: %w", mac, err)
		}
	}
	return out, nil
}

// ParseEVPNNeighbours reads what "show evpn arp-cache vni VNI json" prints, and what it
// prints of one address, with "ip ADDRESS".
func ParseEVPNNeighbours(b []byte) (map[netip.Addr]EVPNPlace, error) {
	var top map[string]json.RawMessage
	if err := object(b, &top, "neighbours"); err != nil {
		return nil, err
	}
	if raw, ok := top["ip"]; ok {
		var name string
		if json.Unmarshal(raw, &name) != nil {
			return nil, fmt.Errorf("read zebra's neighbours: ip is no string")
		}
		top = map[string]json.RawMessage{name: bytes.TrimSpace(b)}
	}
	out := make(map[netip.Addr]EVPNPlace, len(top))
	for name, raw := range top {
		ip, err := netip.ParseAddr(name)
		if err != nil {
			continue // a count
		}
		var e evpnEntry
		if err = json.Unmarshal(raw, &e); err == nil {
			out[ip.Unmap()], err = e.place()
		}
		if err != nil {
			return nil, fmt.Errorf("read zebra's neighbour %s: %w", ip, err)
		}
	}
	return out, nil
}
