package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
)

// tableOf shows objects of one kind. Wide tables have more columns.
func tableOf(k intent.Kind, objects []intent.Object, wide bool) table {
	var t table
	switch k {
	case intent.KindTenant:
		t.header = []string{"NAME", "DESCRIPTION", "STATUS", "AGE"}
		if wide {
			t.header = append(t.header, "QOS", "PORTS", "REASON")
		}
	case intent.KindNode:
		t.header = []string{"NAME", "ROLE", "ASN", "LOOPBACK", "VTEP", "STATUS"}
		if wide {
			t.header = append(t.header, "SOFTWARE", "STATE", "OVSDB", "FLOWS", "REASON")
		}
	case intent.KindLink:
		t.header = []string{"NAME", "A", "A-ADDRESS", "B", "B-ADDRESS", "MTU"}
	case intent.KindNetwork:
		t.header = []string{"TENANT", "NAME", "VNI", "SUBNETS", "PORTS", "STATUS", "AGE"}
		if wide {
			t.header = append(t.header, "MTU", "VTEPS", "ACLS", "REASON")
		}
	case intent.KindNetworkACL:
		t.header = []string{"TENANT", "NAME", "RULES", "PORTS", "STATUS", "AGE"}
		if wide {
			t.header = append(t.header, "DESCRIPTION", "REASON")
		}
	case intent.KindFabric:
		t.header = []string{"NAME", "UNDERLAY", "SWITCHES", "STATUS", "AGE"}
		if wide {
			t.header = append(t.header, "REASON")
		}
	case intent.KindExternalNetwork:
		t.header = []string{"NAME", "VNI", "POOLS", "BORDERS", "STATUS", "AGE"}
		if wide {
			t.header = append(t.header, "PEERS", "IMPORT", "REASON")
		}
	case intent.KindFloatingIP:
		t.header = []string{"TENANT", "NAME", "ADDRESS", "FIXED", "PORT", "EXTERNAL", "STATUS", "AGE"}
		if wide {
			t.header = append(t.header, "NODE", "REASON")
		}
	case intent.KindSecurityGroup:
		t.header = []string{"TENANT", "NAME", "ID", "RULES", "PORTS", "STATUS", "AGE"}
		if wide {
			t.header = append(t.header, "DESCRIPTION", "REASON")
		}
	case intent.KindRouter:
		t.header = []string{"TENANT", "NAME", "VNI", "NETWORKS", "ROUTES", "STATUS", "AGE"}
		if wide {
			t.header = append(t.header, "EXTERNAL", "IMPORTS", "GATEWAYS", "PORTS", "REASON")
		}
	case intent.KindSteeringPolicy:
		t.header = steeringColumns(wide)
	case intent.KindInterconnect:
		t.header = []string{"NAME", "ASN", "PEERS", "LINES", "NETWORKS", "SENT", "RECEIVED", "STATUS", "AGE"}
		if wide {
			t.header = append(t.header, "IN-USE", "REASON")
		}
	case intent.KindPort:
		t.header = []string{"TENANT", "NAME", "NETWORK", "ADDRESSES", "NODE", "STATUS", "AGE"}
		if wide {
			t.header = append(t.header, "MAC", "VTEP", "INTERFACE", "GROUPS", "QOS", "REVISION", "APPLIED", "REASON")
		}
	}
	for _, o := range objects {
		t.add(row(o, wide)...)
	}
	return t
}

func row(o intent.Object, wide bool) []string {
	switch o := o.(type) {
	case *intent.Tenant:
		s := status(o.Status)
		r := []string{o.Metadata.Name, o.Spec.Description, string(s.Phase), age(o.Metadata.Created)}
		if wide {
			var q *intent.QoS
			if o.Spec.QoS != nil {
				q = &intent.QoS{Out: o.Spec.QoS.Out, In: o.Spec.QoS.In}
			}
			r = append(r, limits(q), readyOf(s.Ports), why(s))
		}
		return r
	case *intent.Node:
		return nodeRow(o, wide)
	case *intent.Link:
		r := []string{o.Metadata.Name}
		for _, e := range o.Spec.Endpoints {
			r = append(r, e.Node+":"+e.Interface, prefix(e.Address))
		}
		return append(r, number(o.Spec.MTU))
	case *intent.Network:
		s := status(o.Status)
		r := []string{o.Metadata.Tenant, o.Metadata.Name, fmt.Sprint(o.Spec.VNI), joined(o.Spec.Subnets), readyOf(s.Ports), string(s.Phase), age(o.Metadata.Created)}
		if wide {
			r = append(r, number(o.Spec.MTU), strings.Join(s.VTEPs, ","), aclsOf(o), why(s))
		}
		return r
	case *intent.NetworkACL:
		s := status(o.Status)
		r := []string{o.Metadata.Tenant, o.Metadata.Name, fmt.Sprint(len(o.Spec.Rules)), readyOf(s.Ports), string(s.Phase), age(o.Metadata.Created)}
		if wide {
			r = append(r, o.Spec.Description, why(s))
		}
		return r
	case *intent.SecurityGroup:
		s := status(o.Status)
		r := []string{o.Metadata.Tenant, o.Metadata.Name, fmt.Sprint(o.Spec.ID), fmt.Sprint(len(o.Spec.Rules)), readyOf(s.Ports), string(s.Phase), age(o.Metadata.Created)}
		if wide {
			r = append(r, o.Spec.Description, why(s))
		}
		return r
	case *intent.Fabric:
		return fabricRow(o, wide)
	case *intent.ExternalNetwork:
		return externalRow(o, wide)
	case *intent.FloatingIP:
		s := status(o.Status)
		r := []string{o.Metadata.Tenant, o.Metadata.Name, address(o.Spec.Address), address(o.Spec.Fixed), o.Spec.Port, o.Spec.External, string(s.Phase), age(o.Metadata.Created)}
		if wide {
			r = append(r, s.Node, why(s))
		}
		return r
	case *intent.Router:
		return routerRow(o, wide)
	case *intent.Interconnect:
		return interconnectRow(o, wide)
	case *intent.SteeringPolicy:
		return steeringRow(o, wide)
	case *intent.Port:
		s := status(o.Status)
		at := s.Node
		if at == "" {
			at = o.Spec.Binding.Node
		}
		r := []string{o.Metadata.Tenant, o.Metadata.Name, o.Spec.Network, joined(o.Spec.Addresses), at, string(s.Phase), age(o.Metadata.Created)}
		if wide {
			r = append(r, o.Spec.MAC.String(), s.VTEP, s.Interface, strings.Join(o.Spec.SecurityGroups, ","), limits(o.Spec.QoS), fmt.Sprint(o.Metadata.Revision), fmt.Sprint(s.Applied), why(s))
		}
		return r
	}
	return nil
}

func routerRow(o *intent.Router, wide bool) []string {
	s := status(o.Status)
	networks := make([]string, len(o.Spec.Networks))
	for i, n := range o.Spec.Networks {
		networks[i] = n.Network
	}
	r := []string{o.Metadata.Tenant, o.Metadata.Name, fmt.Sprint(o.Spec.VNI), strings.Join(networks, ","), fmt.Sprint(len(o.Spec.Routes)), string(s.Phase), age(o.Metadata.Created)}
	if wide {
		imports := make([]string, len(o.Spec.Imports))
		for i, imp := range o.Spec.Imports {
			imports[i] = imp.RouteTarget
		}
		r = append(r, outside(o.Spec.External), strings.Join(imports, ","), strings.Join(s.Gateways, ","), readyOf(s.Ports), why(s))
	}
	return r
}

// outside is a router's way outside in short: internet, snat.
func outside(x *intent.RouterExternal) string {
	if x == nil {
		return ""
	}
	out := []string{x.Network}
	if x.SNAT {
		out = append(out, "snat")
	}
	for _, p := range x.Advertise {
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}

func externalRow(o *intent.ExternalNetwork, wide bool) []string {
	s := status(o.Status)
	borders := make([]string, len(o.Spec.Borders))
	var peers []string
	for i, b := range o.Spec.Borders {
		borders[i] = b.Node
		for _, p := range b.Peers {
			peers = append(peers, fmt.Sprintf("%s@%s AS%d", p.Address, b.Node, p.ASN))
		}
	}
	r := []string{o.Metadata.Name, fmt.Sprint(o.Spec.VNI), joined(o.Spec.Pools), strings.Join(borders, ","), string(s.Phase), age(o.Metadata.Created)}
	if wide {
		r = append(r, strings.Join(peers, ", "), joined(o.Spec.Import), why(s))
	}
	return r
}

func interconnectRow(o *intent.Interconnect, wide bool) []string {
	s := status(o.Status)
	up, sent, received := 0, 0, 0
	for _, p := range s.Peers {
		if p.State == "Established" {
			up++
		}
	}
	for _, n := range s.Stretched {
		sent, received = sent+n.Sent, received+n.Received
	}
	lines, used := "", []string{}
	if n := len(o.Spec.Lines); n > 0 {
		lineUp := 0
		for _, l := range s.Lines {
			if l.State == intent.LineUp {
				lineUp++
			}
			if l.InUse {
				used = append(used, l.Name)
			}
		}
		lines = fmt.Sprintf("%d/%d", lineUp, n)
	}
	r := []string{o.Metadata.Name, fmt.Sprint(o.Spec.ASN), fmt.Sprintf("%d/%d", up, len(o.Spec.Peers)), lines, fmt.Sprint(len(o.Spec.Networks)), fmt.Sprint(sent), fmt.Sprint(received), string(s.Phase), age(o.Metadata.Created)}
	if wide {
		r = append(r, strings.Join(used, ", "), why(s))
	}
	return r
}

// fabricRow has how the underlay routes and how many switches have confirmed their
// present state.
func fabricRow(o *intent.Fabric, wide bool) []string {
	s := status(o.Status)
	r := []string{o.Metadata.Name, fabric.ParamsFor(o.Spec).String(), readyOf(s.Switches), string(s.Phase), age(o.Metadata.Created)}
	if wide {
		r = append(r, why(s))
	}
	return r
}

// aclsOf are a network's ACLs in short: edge, db@10.2.0.0/24.
func aclsOf(n *intent.Network) string {
	out := make([]string, len(n.Spec.ACLs))
	for i, a := range n.Spec.ACLs {
		if out[i] = a.ACL; a.Subnet.IsValid() {
			out[i] += "@" + a.Subnet.String()
		}
	}
	return strings.Join(out, ",")
}

// readyOf is READY/TOTAL.
func readyOf(c *intent.Counts) string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%d/%d", c.Ready, c.Total)
}

// limits is a port's quality of service in short: out 10M, in 1G, dscp 46.
func limits(q *intent.QoS) string {
	if q == nil {
		return ""
	}
	var out []string
	for _, l := range []struct {
		way  string
		rate intent.BitRate
	}{{"out", q.Out.Rate}, {"in", q.In.Rate}} {
		if l.rate != "" {
			out = append(out, l.way+" "+string(l.rate))
		}
	}
	if q.DSCP != nil {
		out = append(out, fmt.Sprintf("dscp %d", *q.DSCP))
	}
	return strings.Join(out, ", ")
}

func nodeRow(o *intent.Node, wide bool) []string {
	s := status(o.Status)
	r := []string{o.Metadata.Name, string(o.Spec.Role), number(int(o.Spec.ASN)), address(o.Spec.Loopback), address(o.Spec.VTEP), string(s.Phase)}
	if wide {
		ovsdb, flows := "", ""
		if o.Spec.VSwitch != nil {
			ovsdb, flows = o.Spec.VSwitch.OVSDB, fmt.Sprint(s.Flows)
		}
		r = append(r, s.Software, inPlace(s.Underlay), ovsdb, flows, why(s))
	}
	return r
}

// inPlace is the beginning of the hash of the state that a switch has in place, and of
// the one that it is to have when that is another.
func inPlace(u *intent.UnderlayStatus) string {
	short := func(hash string) string { return cmp.Or(hash[:min(8, len(hash))], "none") }
	switch {
	case u == nil:
		return ""
	case u.Applied == u.Wanted:
		return short(u.Applied)
	}
	return short(u.Applied) + ", wanted " + short(u.Wanted)
}

func status(s *intent.Status) intent.Status {
	if s == nil {
		return intent.Status{}
	}
	return *s
}

// why joins the reasons for not being ready.
func why(s intent.Status) string {
	var out []string
	for _, r := range s.Reasons {
		m := r.Message
		if r.Device != "" && !strings.HasPrefix(m, r.Device) {
			m = r.Device + ": " + m
		}
		out = append(out, m)
	}
	return strings.Join(out, "; ")
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func prefix(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}
