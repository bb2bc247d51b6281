package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/lab"
)

func newLabExport() *cobra.Command {
	var o lab.ExportOptions
	var dir string
	c := &cobra.Command{
		Use: "export FILE", Short: "Write a lab as files that containerlab deploys", Args: cobra.ExactArgs(1),
		Long: `Write a lab as files that containerlab deploys: a topology file, for each node its
start script, the controller as a node with the objects of the fabric, and the tenants
that the file's labels ask for. Each switch starts FRR with nothing, and Weft's agent,
which has the switch's state from a file beside it until the controller answers.

With --rendered there is no controller and no agent: each switch reads its whole
configuration of FRR from a file.`,
		Example: `  weft lab export lab.clab.yml --out dc
  sudo containerlab deploy -t dc/dc.clab.yml
  docker exec clab-dc-controller weft apply -f /weft/tenants.yaml`,
		RunE: func(c *cobra.Command, args []string) error {
			e, err := exportLab(c, args[0], dir, o)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%d files are in %s: containerlab deploy -t %s\n", len(e.Files), dir, filepath.Join(dir, e.Topology))
			return nil
		},
	}
	c.Flags().StringVar(&dir, "out", "", "folder to write; it is made")
	c.Flags().StringVar(&o.Image, "image", lab.DefaultImage, `image of the nodes that Weft starts; "make image" builds it`)
	c.Flags().BoolVar(&o.Rendered, "rendered", false, "FRR configurations of the switches as files, and no controller and no agents")
	_ = c.MarkFlagRequired("out") // fails only for a flag that is not there
	return c
}

func exportLab(c *cobra.Command, path, dir string, o lab.ExportOptions) (*lab.Export, error) {
	file, err := lab.LoadFile(path)
	if err != nil {
		return nil, err
	}
	e, err := lab.NewExport(file, o)
	if err != nil {
		return nil, err
	}
	for _, n := range e.Notes {
		fmt.Fprintln(c.ErrOrStderr(), "note: "+n)
	}
	return e, e.Write(dir)
}

// Runtimes of labs.
const (
	runtimeNetns        = "netns"
	runtimeContainerlab = "containerlab"
)

func addRuntime(c *cobra.Command, runtime *string) {
	c.Flags().StringVar(runtime, "runtime", runtimeNetns, "netns: network namespaces of this machine; containerlab: containers, by the program containerlab")
}

func checkRuntime(runtime string) error {
	if runtime != runtimeNetns && runtime != runtimeContainerlab {
		return usageError{fmt.Errorf("--runtime %q is not known: use %s or %s", runtime, runtimeNetns, runtimeContainerlab)}
	}
	return nil
}

// exportDir is where "lab up --runtime containerlab" writes its files: in the
// current folder, as containerlab does.
func exportDir(name string) string { return "weft-" + name }

func upByContainerlab(c *cobra.Command, path string) error {
	file, err := lab.LoadFile(path)
	if err != nil {
		return err
	}
	dir := exportDir(file.Name)
	e, err := exportLab(c, path, dir, lab.ExportOptions{})
	if err != nil {
		return err
	}
	ctx, cancel := interruptible(c)
	defer cancel()
	return lab.Containerlab(ctx, c.OutOrStdout(), c.ErrOrStderr(), "deploy", filepath.Join(dir, e.Topology))
}

func downByContainerlab(c *cobra.Command, arg string) error {
	name, err := lab.NameOf(arg)
	if err != nil {
		return err
	}
	path := filepath.Join(exportDir(name), name+".clab.yml")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not here: run this where \"weft lab up --runtime containerlab\" was run", path)
	}
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	return lab.Containerlab(ctx, c.OutOrStdout(), c.ErrOrStderr(), "destroy", path)
}

// newLabTag is for exported labs, where a server's start script calls it.
func newLabTag() *cobra.Command {
	return &cobra.Command{
		Use: "tag INTERFACE VLAN", Short: "Make an interface of this machine speak 802.1Q with one VLAN", Hidden: true, Args: cobra.ExactArgs(2),
		Long: `Make an interface of this machine speak 802.1Q: what leaves gets the tag, what
comes with it loses it, anything else is dropped. The start scripts of an
exported lab's servers call it.`,
		RunE: func(_ *cobra.Command, args []string) error {
			vlan, err := strconv.ParseUint(args[1], 10, 16)
			if err != nil || vlan < 1 || vlan > 4094 {
				return usageError{fmt.Errorf("%q is not a VLAN: use 1 to 4094", args[1])}
			}
			return lab.TagFrames(lab.Tag{Interface: args[0], VLAN: uint16(vlan)})
		},
	}
}
