package topology

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// RoleController is the value of the label weft-role for the node that runs the
// controller in a lab of containerlab's. It is no role of the fabric: Parse
// leaves the node out of the graph, and a lab of Weft's own has a controller
// anyway.
const RoleController = "controller"

// Deployment is a topology file as containerlab is to deploy it: all settings at
// the nodes, nothing left to inherit. Encode writes it.
type Deployment struct {
	Name    string
	Prefix  string
	Comment string // text above the file, without '#'
	Kind    string // of all nodes
	Image   string // of nodes that have none
	Mgmt    Mgmt
	Nodes   []DeployedNode
	Links   []Link
}

// DeployedNode is a node of a Deployment.
type DeployedNode struct {
	Name string
	// NodeConfig without Kind, Type, MTU, StartupConfig and Line.
	NodeConfig
	Command  string     // that the container runs; the image's when empty
	MgmtIPv4 netip.Addr // in the management network; any when not set
	// NoMgmt says that the node has no management interface, and so no
	// default route to the host.
	NoMgmt bool
}

// deployedMgmt, deployedNode and deployedLink are the fields as containerlab
// names them, in the order in which people read them.
type deployedMgmt struct {
	Network    string `yaml:"network,omitempty"`
	Bridge     string `yaml:"bridge,omitempty"`
	IPv4Subnet string `yaml:"ipv4-subnet,omitempty"`
	IPv4Range  string `yaml:"ipv4-range,omitempty"`
	IPv4GW     string `yaml:"ipv4-gw,omitempty"`
	IPv6Subnet string `yaml:"ipv6-subnet,omitempty"`
	IPv6Range  string `yaml:"ipv6-range,omitempty"`
	IPv6GW     string `yaml:"ipv6-gw,omitempty"`
	MTU        int    `yaml:"mtu,omitempty"`
}

type deployedNode struct {
	Kind        string            `yaml:"kind,omitempty"`
	Group       string            `yaml:"group,omitempty"`
	Image       string            `yaml:"image,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	NetworkMode string            `yaml:"network-mode,omitempty"`
	MgmtIPv4    string            `yaml:"mgmt-ipv4,omitempty"`
	Env         map[string]string `yaml:"env,omitempty"`
	Ports       []string          `yaml:"ports,omitempty"`
	Binds       []string          `yaml:"binds,omitempty"`
	Cmd         string            `yaml:"cmd,omitempty"`
	Exec        []string          `yaml:"exec,omitempty"`
}

type deployedLink struct {
	Endpoints []string `yaml:"endpoints,flow"`
	MTU       int      `yaml:"mtu,omitempty"`
}

// Encode writes the file. Parse reads the same nodes, groups, labels and links
// from it. A link's MAC addresses have no place in containerlab's short form of
// links and are an error.
func (d Deployment) Encode() ([]byte, error) {
	groups, labels := d.groups()
	nodes := &yaml.Node{Kind: yaml.MappingNode}
	for _, n := range d.Nodes {
		if err := add(nodes, n.Name, n.encode(labels[n.Group])); err != nil {
			return nil, err
		}
	}
	links := []deployedLink{}
	for _, l := range d.Links {
		if l.A.MAC != "" || l.B.MAC != "" {
			return nil, fmt.Errorf("encode link %s: a deployment gives no MAC addresses to links: set them by exec", l)
		}
		links = append(links, deployedLink{[]string{l.A.String(), l.B.String()}, l.MTU})
	}
	topology := &yaml.Node{Kind: yaml.MappingNode}
	file := &yaml.Node{Kind: yaml.MappingNode, HeadComment: comment(d.Comment)}
	err := errors.Join(
		add(topology, "defaults", deployedNode{Kind: d.Kind, Image: d.Image}),
		addUnless(len(groups) == 0, topology, "groups", groups),
		add(topology, "nodes", nodes),
		addUnless(len(links) == 0, topology, "links", links),
		add(file, "name", d.Name),
		addUnless(d.Prefix == "", file, "prefix", d.Prefix),
		addUnless(d.Mgmt == Mgmt{}, file, "mgmt", deployedMgmt(d.Mgmt)),
		add(file, "topology", topology),
	)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(file), e.Close()); err != nil {
		return nil, fmt.Errorf("encode topology %s: %w", d.Name, err)
	}
	return b.Bytes(), nil
}

// add puts a key with its value at the end of a mapping.
func add(to *yaml.Node, key string, value any) error {
	k, v := new(yaml.Node), new(yaml.Node)
	if n, ok := value.(*yaml.Node); ok {
		v = n
	} else if err := v.Encode(value); err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	k.SetString(key)
	to.Content = append(to.Content, k, v)
	return nil
}

func addUnless(empty bool, to *yaml.Node, key string, value any) error {
	if empty {
		return nil
	}
	return add(to, key, value)
}

// comment makes a text a comment of YAML.
func comment(text string) string {
	if text == "" {
		return ""
	}
	return "# " + strings.ReplaceAll(text, "\n", "\n# ")
}

// hostLabels are about one host's port, even when all hosts of a group have the
// same.
var hostLabels = []string{LabelTenant, LabelNetwork, LabelAddresses, LabelMAC, LabelVLAN}

// groups gathers the labels that all nodes of a group have in common: they are
// written once, at the group.
func (d Deployment) groups() (map[string]deployedNode, map[string]map[string]string) {
	labels := map[string]map[string]string{}
	for _, n := range d.Nodes {
		if n.Group == "" {
			continue
		}
		common, seen := labels[n.Group]
		if !seen {
			common = merge(map[string]string{}, n.Labels)
			for _, l := range hostLabels {
				delete(common, l)
			}
		} else {
			common = merge(map[string]string{}, common)
			for k, v := range common {
				if have, ok := n.Labels[k]; !ok || have != v {
					delete(common, k)
				}
			}
		}
		labels[n.Group] = common
	}
	groups := map[string]deployedNode{}
	for g, common := range labels {
		groups[g] = deployedNode{Labels: common}
	}
	return groups, labels
}

func (n DeployedNode) encode(inherited map[string]string) deployedNode {
	out := deployedNode{
		Group: n.Group, Image: n.Image, Env: n.Env, Ports: n.Ports, Cmd: n.Command,
		// One line may be in a node's exec twice, and is run twice.
		Exec: slices.Clone(n.Exec), Labels: map[string]string{},
	}
	for k, v := range n.Labels {
		if _, ok := inherited[k]; !ok {
			out.Labels[k] = v
		}
	}
	for _, b := range n.Binds {
		out.Binds = append(out.Binds, b.String())
	}
	if n.MgmtIPv4.IsValid() {
		out.MgmtIPv4 = n.MgmtIPv4.String()
	}
	if n.NoMgmt {
		out.NetworkMode = "none"
	}
	return out
}
