package topology

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// settings is what one level says: defaults, a kind, a group or a node.
type settings struct {
	NodeConfig
	ignored []string // its fields that Weft has no use for
}

// uselessFields are the fields of containerlab that have no meaning in Weft's
// lab: nodes are namespaces of the host, and Weft writes the configuration of
// switches itself.
var uselessFields = []string{
	"aliases", "auto-remove", "cap-add", "certificate", "cmd", "components", "config", "cpu", "cpu-set",
	"credentials", "devices", "dns", "enforce-startup-config", "entrypoint", "env-files", "extras",
	"healthcheck", "image-pull-policy", "kernel", "license", "memory", "mgmt-ipv4", "mgmt-ipv6", "mgmt_ipv4",
	"mgmt_ipv6", "network-mode", "position", "privileged", "publish", "restart-policy", "runtime", "sandbox",
	"SANs", "shm-size", "stages", "startup-delay", "suppress-startup-config", "sysctls", "ulimits", "user", "wait-for",
}

// usefulFields are the fields that NodeConfig has; a true one has no meaning in
// Weft's lab all the same.
var usefulFields = map[string]bool{
	"kind": false, "group": false, "labels": false, "exec": false, "mtu": false,
	"type": true, "image": true, "env": true, "ports": true, "binds": true, "startup-config": true,
}

func (p *parser) settings(n *yaml.Node, what string) settings {
	var s settings
	for _, e := range p.mapping(n, what) {
		field := what + ": " + e.name
		switch e.name {
		case "kind":
			s.Kind = p.text(e.value, field)
		case "group":
			s.Group = p.text(e.value, field)
		case "type":
			s.Type = p.text(e.value, field)
		case "image":
			s.Image = p.text(e.value, field)
		case "startup-config":
			s.StartupConfig = p.text(e.value, field)
		case "labels":
			s.Labels = p.words(e.value, field)
		case "env":
			s.Env = p.words(e.value, field)
		case "exec":
			s.Exec = p.texts(e.value, field)
		case "ports":
			s.Ports = p.texts(e.value, field)
		case "binds":
			s.Binds = p.binds(e.value, field)
		case "mtu":
			s.MTU = p.number(e.value, field, minMTU, maxMTU)
		default:
			if !slices.Contains(uselessFields, e.name) {
				p.unknown(e, what, append(slices.Sorted(maps.Keys(usefulFields)), uselessFields...))
				continue
			}
		}
		if useless, ok := usefulFields[e.name]; useless || !ok {
			s.ignored = append(s.ignored, e.name)
		}
	}
	return s
}

func (p *parser) binds(n *yaml.Node, what string) []Bind {
	var out []Bind
	for _, c := range p.list(n, what) {
		s := p.text(c, what)
		parts := strings.Split(s, ":")
		switch {
		case s == "":
		case len(parts) == 1:
			out = append(out, Bind{Target: s})
		case len(parts) <= 3 && parts[0] != "" && parts[1] != "":
			b := Bind{Source: parts[0], Target: parts[1]}
			if len(parts) == 3 {
				b.Mode = parts[2]
			}
			out = append(out, b)
		default:
			p.fault(c.Line, "%s: %q is not a bind like source:target or source:target:ro", what, s)
		}
	}
	return out
}

// node reads a node and gives it what it inherits.
func (p *parser) node(e entry) {
	what := "node " + e.name
	if !goodName(e.name) {
		p.fault(e.key.Line, "node %q: the name is not one that a host can have: use 1 to 63 letters, digits, '-', '.' or '_', with a letter or digit at both ends", e.name)
		return
	}
	before := len(p.faults)
	own := p.settings(e.value, what)
	// As in containerlab: the kind may come from the group, and the group from
	// the kind, but the node's own word is heard first.
	own.Kind = first(own.Kind, p.groups[own.Group].Kind, p.groups[p.defaults.Group].Kind, p.defaults.Kind)
	own.Group = first(own.Group, p.kinds[own.Kind].Group, p.defaults.Group)
	if own.Kind == "" && len(p.faults) == before {
		p.fault(e.key.Line, "%s has no kind: give it one, or give one to its group or to the defaults", what)
	}
	if _, ok := p.groups[own.Group]; own.Group != "" && !ok && len(p.groups) > 0 {
		if s := nearest(own.Group, slices.Sorted(maps.Keys(p.groups))); s != "" {
			p.fault(e.key.Line, "%s: group: there is no group %q: is %s meant?", what, own.Group, s)
		}
	}
	c := NodeConfig{Kind: own.Kind, Group: own.Group, Line: e.key.Line}
	for _, s := range []settings{p.defaults, p.kinds[own.Kind], p.groups[own.Group], own} {
		c.inherit(s.NodeConfig)
		for _, field := range s.ignored {
			p.ignore(field, e.name)
		}
	}
	p.file.Nodes[e.name] = c
}

// inherit lays a more specific level over what is there.
func (c *NodeConfig) inherit(s NodeConfig) {
	c.Type = first(s.Type, c.Type)
	c.Image = first(s.Image, c.Image)
	c.StartupConfig = first(s.StartupConfig, c.StartupConfig)
	if s.MTU != 0 {
		c.MTU = s.MTU
	}
	if len(s.Ports) > 0 {
		c.Ports = s.Ports
	}
	c.Labels = merge(c.Labels, s.Labels)
	c.Env = merge(c.Env, s.Env)
	c.Exec = append(slices.Clip(c.Exec), s.Exec...)
	for _, b := range s.Binds {
		i := slices.IndexFunc(c.Binds, func(o Bind) bool { return o.Target == b.Target })
		if i < 0 {
			c.Binds = append(slices.Clip(c.Binds), b)
			continue
		}
		c.Binds = slices.Clone(c.Binds)
		c.Binds[i] = b
	}
}

func merge(a, b map[string]string) map[string]string {
	if len(b) == 0 {
		return a
	}
	out := maps.Clone(b)
	for k, v := range a {
		if _, ok := out[k]; !ok {
			out[k] = v
		}
	}
	return out
}

func first(words ...string) string {
	for _, s := range words {
		if s != "" {
			return s
		}
	}
	return ""
}
