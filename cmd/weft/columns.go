package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
)

// tableOf shows objects of one kind. Wide tables have more columns.
func tableOf(k intent.Kind, objects []intent.Object, wide bool) table {
	var t table
	switch k {
	case intent.KindTenant:
		t.header = []string{"NAME", "DESCRIPTION", "AGE"}
	case intent.KindNode:
		t.header = []string{"NAME", "ROLE", "ASN", "LOOPBACK", "VTEP", "STATUS"}
		if wide {
			t.header = append(t.header, "SOFTWARE", "OVSDB", "FLOWS", "REASON")
		}
	case intent.KindLink:
		t.header = []string{"NAME", "A", "A-ADDRESS", "B", "B-ADDRESS", "MTU"}
	case intent.KindNetwork:
		t.header = []string{"TENANT", "NAME", "VNI", "SUBNETS", "PORTS", "STATUS", "AGE"}
		if wide {
			t.header = append(t.header, "MTU", "VTEPS", "REASON")
		}
	case intent.KindPort:
		t.header = []string{"TENANT", "NAME", "NETWORK", "ADDRESSES", "NODE", "STATUS", "AGE"}
		if wide {
			t.header = append(t.header, "MAC", "VTEP", "INTERFACE", "REVISION", "APPLIED", "REASON")
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
		return []string{o.Metadata.Name, o.Spec.Description, age(o.Metadata.Created)}
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
		ports := ""
		if s.Ports != nil {
			ports = fmt.Sprintf("%d/%d", s.Ports.Ready, s.Ports.Total)
		}
		r := []string{o.Metadata.Tenant, o.Metadata.Name, fmt.Sprint(o.Spec.VNI), joined(o.Spec.Subnets), ports, string(s.Phase), age(o.Metadata.Created)}
		if wide {
			r = append(r, number(o.Spec.MTU), strings.Join(s.VTEPs, ","), why(s))
		}
		return r
	case *intent.Port:
		s := status(o.Status)
		at := s.Node
		if at == "" {
			at = o.Spec.Binding.Node
		}
		r := []string{o.Metadata.Tenant, o.Metadata.Name, o.Spec.Network, joined(o.Spec.Addresses), at, string(s.Phase), age(o.Metadata.Created)}
		if wide {
			r = append(r, o.Spec.MAC.String(), s.VTEP, s.Interface, fmt.Sprint(o.Metadata.Revision), fmt.Sprint(s.Applied), why(s))
		}
		return r
	}
	return nil
}

func nodeRow(o *intent.Node, wide bool) []string {
	s := status(o.Status)
	r := []string{o.Metadata.Name, string(o.Spec.Role), number(int(o.Spec.ASN)), address(o.Spec.Loopback), address(o.Spec.VTEP), string(s.Phase)}
	if wide {
		ovsdb, flows := "", ""
		if o.Spec.VSwitch != nil {
			ovsdb, flows = o.Spec.VSwitch.OVSDB, fmt.Sprint(s.Flows)
		}
		r = append(r, s.Software, ovsdb, flows, why(s))
	}
	return r
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
