package frr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Established is the state of a BGP session that is up (RFC 4271 section 8.2.2).
const Established = "Established"

// Session is a BGP session as bgpd tells it.
type Session struct {
	Peer      string // the neighbour's address, or the own interface when unnumbered
	RemoteASN uint32
	// State is the worst of the session's address families: Idle, Connect,
	// Active, OpenSent, OpenConfirm or Established; with a remark by FRR in
	// brackets, "Idle (Admin)".
	State       string
	Uptime      time.Duration // zero unless Established
	Since       time.Time     // of being Established, to the second; zero otherwise
	Received    int           // prefixes accepted, of all families
	Families    []string      // as FRR writes them: ipv4Unicast
	Description string
}

// Up reports whether the session is established in all its address families.
func (s Session) Up() bool { return s.State == Established }

type peerSummary struct {
	RemoteAs       uint32 `json:"remoteAs"`
	State          string `json:"state"`
	PeerUptimeMsec int64  `json:"peerUptimeMsec"`
	Epoch          int64  `json:"peerUptimeEstablishedEpoch"`
	PfxRcd         int    `json:"pfxRcd"`
	Desc           string `json:"desc"`
}

// ParseSummary reads what "show bgp summary json" prints: the sessions of the
// default VRF, by peer. A bgpd without a BGP instance or without neighbours has
// none.
func ParseSummary(b []byte) ([]Session, error) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || b[0] == '%' {
		return nil, nil
	}
	var families map[string]json.RawMessage
	if err := json.Unmarshal(b, &families); err != nil {
		return nil, fmt.Errorf("read BGP summary: %w", err)
	}
	sessions := map[string]*Session{}
	for name, raw := range families {
		if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '{' {
			continue // a remark, not an address family
		}
		var f struct {
			Peers map[string]peerSummary `json:"peers"`
		}
		if err := json.Unmarshal(raw, &f); err != nil {
			return nil, fmt.Errorf("read BGP summary of %s: %w", name, err)
		}
		for peer, p := range f.Peers {
			s := sessions[peer]
			if s == nil {
				s = &Session{Peer: peer, State: Established}
				sessions[peer] = s
			}
			s.merge(name, p)
		}
	}
	list := make([]Session, 0, len(sessions))
	for _, s := range sessions {
		slices.Sort(s.Families)
		if !s.Up() {
			s.Uptime, s.Since = 0, time.Time{}
		}
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b Session) int { return strings.Compare(a.Peer, b.Peer) })
	return list, nil
}

// merge adds what one address family says.
func (s *Session) merge(family string, p peerSummary) {
	s.Families = append(s.Families, family)
	s.RemoteASN = p.RemoteAs
	s.Received += p.PfxRcd
	if p.Desc != "" {
		s.Description = p.Desc
	}
	if p.State != Established && (s.Up() || p.State < s.State) {
		s.State = p.State
	}
	s.Uptime = max(s.Uptime, time.Duration(p.PeerUptimeMsec)*time.Millisecond)
	if p.Epoch > 0 {
		s.Since = time.Unix(p.Epoch, 0).UTC()
	}
}
