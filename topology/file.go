package topology

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// File is a containerlab topology file.
type File struct {
	Name   string
	Prefix string
	Mgmt   Mgmt
	Graph  *Graph
	// Nodes has the settings of each node with what it inherits.
	Nodes map[string]NodeConfig

	source  string
	text    []byte
	ignored map[string][]string // what -> where
}

// Mgmt is the file's management network. Weft's lab has none; it is kept.
type Mgmt struct {
	Network    string
	Bridge     string
	IPv4Subnet string // a prefix, or "auto"
	IPv4Range  string
	IPv4GW     string
	IPv6Subnet string
	IPv6Range  string
	IPv6GW     string
	MTU        int
}

// NodeConfig is what a file says about a node.
type NodeConfig struct {
	Kind          string
	Type          string
	Image         string
	Group         string
	Labels        map[string]string
	Env           map[string]string
	Exec          []string // of defaults, kind, group and node, in that order
	Binds         []Bind
	Ports         []string
	MTU           int // of the node's links that have none
	StartupConfig string
	Line          int // in the file
}

// Bind is a file of the host that a node sees: source:target[:mode]. The source
// is empty for a volume without one.
type Bind struct {
	Source, Target, Mode string
}

// String writes the bind as files do.
func (b Bind) String() string {
	s := b.Target
	if b.Source != "" {
		s = b.Source + ":" + s
	}
	if b.Mode != "" {
		s += ":" + b.Mode
	}
	return s
}

// Source is the name of the file, as it was given to Parse.
func (f *File) Source() string { return f.source }

// Ignored lists what the file has and Weft's lab has no use for, one line for
// each field with the nodes that have it: "image: leaf1, leaf2".
func (f *File) Ignored() []string {
	const most = 8
	var out []string
	for _, field := range slices.Sorted(maps.Keys(f.ignored)) {
		where := f.ignored[field]
		switch n := len(where); {
		case n == 0:
			out = append(out, field)
		case n > most:
			out = append(out, fmt.Sprintf("%s: %s and %d more", field, strings.Join(where[:most], ", "), n-most))
		default:
			out = append(out, field+": "+strings.Join(where, ", "))
		}
	}
	return out
}

// Encode writes the file as it was read, byte by byte: with its comments and
// with what Weft has no use for. Changes to the fields of f are not in it.
func (f *File) Encode() ([]byte, error) {
	if f.text == nil {
		return nil, errors.New("encode: the file was not made by Parse or Generate")
	}
	return bytes.Clone(f.text), nil
}
