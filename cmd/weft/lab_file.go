package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/lab"
	"github.com/weft-sdn/weft/topology"
)

func newLabGenerate() *cobra.Command {
	p := topology.GenerateParams{}
	var tenants []string
	c := &cobra.Command{
		Use: "generate", Short: "Write a topology file of a Clos fabric with hypervisors and VMs", Args: cobra.NoArgs,
		Example: "  weft lab generate --spines 4 --leaves 8 --hypervisors 2 --hosts 4 > lab.clab.yml",
		RunE: func(c *cobra.Command, _ []string) error {
			p.Tenants = tenants
			if len(tenants) == 1 {
				if n, err := strconv.Atoi(tenants[0]); err == nil {
					if n < 1 || n > 1000 {
						return fmt.Errorf("--tenants %d is outside 1..1000", n)
					}
					p.Tenants = nil
					for i := range n {
						p.Tenants = append(p.Tenants, tenantName(i))
					}
				}
			}
			if err := lab.CheckName(p.Name); err != nil {
				return err
			}
			if _, err := fabric.ParseUnderlay(p.Underlay); err != nil {
				return usageError{fmt.Errorf("--underlay: %w", err)}
			}
			file, err := topology.Generate(p)
			if err != nil {
				return err
			}
			text, err := file.Encode()
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&p.Name, "name", "dc", "name of the lab")
	f.IntVar(&p.Superspines, "superspines", 0, "superspines in all; needed for several pods")
	f.IntVar(&p.Spines, "spines", 2, "spines in all")
	f.IntVar(&p.Leaves, "leaves", 3, "leaves in all; with 0 the spines have the hosts (a collapsed spine)")
	f.IntVar(&p.Pods, "pods", 1, "pods that spines and leaves are shared out to")
	f.IntVar(&p.Planes, "planes", 1, "parallel planes of superspines")
	f.IntVar(&p.ParallelLinks, "parallel", 1, "links of each leaf to each of its spines")
	f.StringVar(&p.Underlay, "underlay", "", "words for the label weft-underlay: bgp or isis, numbered or unnumbered, ipv6, bfd or no-bfd")
	f.IntVar(&p.HypervisorsPerLeaf, "hypervisors", 2, "hypervisors per leaf")
	f.IntVar(&p.HostsPerHypervisor, "hosts", 2, "VMs per hypervisor")
	f.IntVar(&p.ServersPerLeaf, "servers", 0, "bare-metal servers per leaf")
	f.IntVar(&p.VTEPsPerLeaf, "vteps", 0, "hardware VTEPs per leaf")
	f.IntVar(&p.ServersPerVTEP, "vtep-servers", 0, "bare-metal servers per hardware VTEP, the second half on tagged ports")
	f.StringSliceVar(&tenants, "tenants", []string{"2"}, "tenants that the VMs belong to, in turn: how many, or their names")
	return c
}

// tenantName names generated tenants by colours while there are any.
func tenantName(i int) string {
	colours := []string{"blue", "green", "red", "yellow", "orange", "purple", "white", "black"}
	if i < len(colours) {
		return colours[i]
	}
	return fmt.Sprintf("tenant%d", i+1)
}

func newLabIntent() *cobra.Command {
	return &cobra.Command{
		Use: "intent FILE", Short: "Write the tenants, networks and ports that a file's labels ask for", Args: cobra.ExactArgs(1),
		Example: "  weft lab intent lab.clab.yml > tenants.yaml",
		RunE: func(c *cobra.Command, args []string) error {
			file, err := lab.LoadFile(args[0])
			if err != nil {
				return err
			}
			objects, err := lab.Intent(file)
			if err != nil {
				return err
			}
			if len(objects) == 0 {
				return fmt.Errorf("%s: no node has the labels %s and %s, so there is no tenant", args[0], topology.LabelTenant, topology.LabelNetwork)
			}
			text, err := intent.EncodeYAML(objects...)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}
}
