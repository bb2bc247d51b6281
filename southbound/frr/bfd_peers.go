package frr

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// BFDPeer is a BFD session as bfdd tells it (RFC 5880).
type BFDPeer struct {
	Peer      string `json:"peer"`
	Interface string `json:"interface"`
	Status    string `json:"status"` // up, down, init or shutdown
}

// Up reports whether both ends hear each other.
func (p BFDPeer) Up() bool { return p.Status == "up" }

// ParseBFDPeers reads what "show bfd peers json" prints, in its order.
func ParseBFDPeers(b []byte) ([]BFDPeer, error) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || b[0] == '%' {
		return nil, nil
	}
	var list []BFDPeer
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("read BFD peers: %w", err)
	}
	return list, nil
}
