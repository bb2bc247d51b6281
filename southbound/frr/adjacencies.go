package frr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Adjacency is an IS-IS adjacency as isisd tells it.
type Adjacency struct {
	Interface string
	Neighbor  string // hostname (RFC 5301), or system ID before it is known
	State     string // Up, Initializing or Down
}

// Up reports whether both ends hear each other.
func (a Adjacency) Up() bool { return a.State == "Up" }

// ParseAdjacencies reads what "show isis neighbor json" prints: the adjacencies
// of all instances, by interface.
func ParseAdjacencies(b []byte) ([]Adjacency, error) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || b[0] == '%' {
		return nil, nil
	}
	var answer struct {
		Areas []struct {
			Circuits []struct {
				Adj       string `json:"adj"`
				Interface string `json:"interface"`
				State     string `json:"state"`
			} `json:"circuits"`
		} `json:"areas"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return nil, fmt.Errorf("read IS-IS neighbours: %w", err)
	}
	var list []Adjacency
	for _, a := range answer.Areas {
		for _, c := range a.Circuits {
			if c.Interface != "" { // circuits without a neighbour have only a number
				list = append(list, Adjacency{c.Interface, c.Adj, c.State})
			}
		}
	}
	slices.SortFunc(list, func(a, b Adjacency) int { return strings.Compare(a.Interface, b.Interface) })
	return list, nil
}
