package frr

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// BFDPeer is a BFD session as bfdd tells it (RFC 5880).
type BFDPeer struct {
	Peer       string
	Interface  string // where it is bound to one
	Status     string // up, down, init or shutdown
	Receive    int    // ms
	Transmit   int    // ms
	Multiplier int
	// Diagnostic and RemoteDiagnostic are why each end took the session down
	// last; "ok" when it never did.
	Diagnostic, RemoteDiagnostic string
}

// Up reports whether both ends hear each other.
func (p BFDPeer) Up() bool { return p.Status == "up" }

// ParseBFDPeers reads what "show bfd peers json" prints: the sessions of the
// default VRF, by interface and peer.
func ParseBFDPeers(b []byte) ([]BFDPeer, error) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || b[0] == '%' {
		return nil, nil
	}
	var all []struct {
		Peer             string `json:"peer"`
		Interface        string `json:"interface"`
		VRF              string `json:"vrf"`
		Status           string `json:"status"`
		Receive          int    `json:"receive-interval"`
		Transmit         int    `json:"transmit-interval"`
		Multiplier       int    `json:"detect-multiplier"`
		Diagnostic       string `json:"diagnostic"`
		RemoteDiagnostic string `json:"remote-diagnostic"`
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("read BFD peers: %w", err)
	}
	var list []BFDPeer
	for _, p := range all {
		if p.VRF == "" || p.VRF == "default" {
			list = append(list, BFDPeer{p.Peer, p.Interface, p.Status, p.Receive, p.Transmit, p.Multiplier, p.Diagnostic, p.RemoteDiagnostic})
		}
	}
	slices.SortFunc(list, func(a, b BFDPeer) int {
		return cmp.Or(strings.Compare(a.Interface, b.Interface), strings.Compare(a.Peer, b.Peer))
	})
	return list, nil
}
