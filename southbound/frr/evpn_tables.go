package frr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
)

// ParseRemoteMACs reads what "show evpn mac vni VNI json" prints: the VTEPs behind which
// zebra has stations, by MAC address as it writes them. A VNI that zebra does not have
// has none.
func ParseRemoteMACs(b []byte) (map[string]netip.Addr, error) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || b[0] == '%' {
		return nil, nil
	}
	var vni struct {
		MACs map[string]struct {
			Type string     `json:"type"`
			VTEP netip.Addr `json:"remoteVtep"`
		} `json:"macs"`
	}
	if err := json.Unmarshal(b, &vni); err != nil {
		return nil, fmt.Errorf("read zebra's stations: %w", err)
	}
	out := map[string]netip.Addr{}
	for mac, m := range vni.MACs {
		if m.Type == "remote" && m.VTEP.IsValid() {
			out[mac] = m.VTEP
		}
	}
	return out, nil
}

// ParseFloodVTEPs reads what "show evpn vni VNI json" prints: the VTEPs to which zebra has
// broadcast sent.
func ParseFloodVTEPs(b []byte) ([]netip.Addr, error) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || b[0] == '%' {
		return nil, nil
	}
	var vni struct {
		VTEPs json.RawMessage `json:"numRemoteVteps"` // FRR's name for the list
	}
	if err := json.Unmarshal(b, &vni); err != nil {
		return nil, fmt.Errorf("read zebra's VTEPs: %w", err)
	}
	if len(vni.VTEPs) == 0 || vni.VTEPs[0] != '[' { // a number where there are none
		return nil, nil
	}
	var out []netip.Addr
	if err := json.Unmarshal(vni.VTEPs, &out); err != nil {
		return nil, fmt.Errorf("read zebra's VTEPs: %w", err)
	}
	return out, nil
}
