package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/topology"
)

func newFabricDiscover(a *app) *cobra.Command {
	var output, name string
	c := &cobra.Command{
		Use: "discover", Short: "Write down a fabric as its switches report it", Args: cobra.NoArgs,
		Long: `Write down a fabric as its switches report it, whether the intent has them or not: the
switches, with roles by their names and by the graph, and the cables that both ends
hear by LLDP (IEEE 802.1AB). What only one end says is told on standard error and left
out.

  table  the switches and their cables, for people
  yaml   Node and Link objects of what the intent does not have, with the ASNs and
         addresses that the switches have now: look at them, then apply them
  clab   the whole graph as a containerlab topology file`,
		Example: `  weft fabric discover
  weft fabric discover -o yaml > fabric.yaml
  weft fabric discover -o clab --name dc1 > dc1.clab.yml`,
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"table", "yaml", "clab"}, output) {
				return usageError{fmt.Errorf("discover can't be printed as %s: use table, yaml or clab", output)}
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			got, err := cl.Discover(c.Context())
			if err != nil {
				return err
			}
			if len(got.Switches) == 0 {
				return errors.New("no switch reports to this controller: run `weft agent` on the switches")
			}
			d := topology.Discover(found(got))
			for _, s := range d.Doubts {
				fmt.Fprintln(a.err, "Note:", s)
			}
			return a.printDiscovered(output, name, d, got)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "table", "table, yaml or clab")
	c.Flags().StringVar(&name, "name", "discovered", "name of the topology in the containerlab file")
	return c
}

// found is what switches report, as the discovery takes it.
func found(got client.Discovery) []topology.Found {
	var out []topology.Found
	for _, s := range got.Switches {
		f := topology.Found{Name: heardAs(s), Role: s.Role, Nameless: heardAs(s) == s.Serial && s.Node == "", Management: s.Management}
		for _, p := range s.Ports {
			seen := topology.Seen{Interface: p.Name, Up: p.Up, MTU: p.MTU, Speed: p.Speed}
			for _, n := range p.Neighbours {
				seen.Heard = append(seen.Heard, topology.End{Node: n.Device, Interface: n.Port})
			}
			f.Ports = append(f.Ports, seen)
		}
		out = append(out, f)
	}
	return out
}

// heardAs is the name by which a switch's neighbours hear it.
func heardAs(s client.Discovered) string { return cmp.Or(s.Name, s.Node, s.Serial) }

// running is how the discovered switches are set up, by the graph's names.
func running(d topology.Discovered, got client.Discovery) map[string]fabric.Running {
	out := map[string]fabric.Running{}
	for _, s := range got.Switches {
		name, ok := d.Names[heardAs(s)]
		if !ok {
			continue
		}
		r := fabric.Running{Serial: s.Serial, ASN: s.ASN, Management: s.Management}
		if id, err := netip.ParseAddr(s.RouterID); err == nil {
			r.RouterID = id
		}
		for _, at := range s.Addresses {
			r.Addresses = append(r.Addresses, fabric.RunningAddress(at))
		}
		out[name] = r
	}
	return out
}

func (a *app) printDiscovered(output, name string, d topology.Discovered, got client.Discovery) error {
	switch output {
	case "yaml":
		objects := fabric.Adopt(d, running(d, got))
		if len(objects) == 0 {
			fmt.Fprintln(a.err, "The intent has all switches that report.")
		}
		b, err := intent.EncodeYAML(objects...)
		if err == nil {
			_, err = a.out.Write(b)
		}
		return err
	case "clab":
		file := topology.Deployment{Name: name, Kind: "linux", Comment: "Discovered by LLDP.", Links: d.Graph.Links}
		for _, n := range d.Graph.Nodes {
			file.Nodes = append(file.Nodes, topology.DeployedNode{Name: n.Name, NodeConfig: topology.NodeConfig{Labels: map[string]string{topology.LabelRole: string(n.Role)}}})
		}
		b, err := file.Encode()
		if err == nil {
			_, err = a.out.Write(b)
		}
		return err
	}
	t := table{header: []string{"SWITCH", "ROLE", "BY", "SERIAL", "CABLES"}}
	how := running(d, got)
	for _, n := range d.Graph.Nodes {
		var cables []string
		for _, l := range d.Graph.LinksOf(n.Name) {
			cables = append(cables, l.A.Interface+" "+l.B.String())
		}
		t.add(n.Name, string(n.Role), n.RoleRule, how[n.Name].Serial, strings.Join(cables, ", "))
	}
	return t.print(a.out, true)
}
