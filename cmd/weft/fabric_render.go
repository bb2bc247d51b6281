package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/device"
	"github.com/weft-sdn/weft/lab"
	"github.com/weft-sdn/weft/southbound/frr"
)

func newFabricRender(a *app) *cobra.Command {
	var dir, underlay string
	c := &cobra.Command{
		Use: "render FILE", Short: "Write the configuration of each switch of a topology file", Args: cobra.ExactArgs(1),
		Long: `Write the configuration of each switch of a topology file, for switches that are
configured without Weft's agent: a folder each, with frr.conf and daemons for
/etc/frr, sysctl.conf for /etc/sysctl.d, and state.json, the same independent of
FRR. The same file gives the same text.`,
		Example: `  weft fabric render dc.clab.yml --out configs
  weft fabric render dc.clab.yml --out configs --underlay "isis unnumbered bfd"`,
		RunE: func(c *cobra.Command, args []string) error {
			if strings.TrimSpace(dir) == "" {
				return usageError{errors.New("--out: give the folder to write")}
			}
			facts, err := planUnderlay(args[0], underlay, c.Flags().Changed("underlay"))
			if err != nil {
				return err
			}
			n, err := renderFabric(facts, dir)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%d switches (%s) are in %s\n", n, facts.Params, dir)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "out", "", "folder to write; it is made")
	c.Flags().StringVar(&underlay, "underlay", "", "instead of the file's label weft-underlay: bgp or isis, numbered or unnumbered, ipv6, bfd or no-bfd")
	_ = c.MarkFlagRequired("out") // fails only for a flag that is not there
	return c
}

// planUnderlay plans the underlay of a file, with other words than the file's
// when they are given.
func planUnderlay(path, words string, given bool) (*fabric.Facts, error) {
	file, err := lab.LoadFile(path)
	if err != nil || !given {
		if err == nil {
			return lab.PlanFabric(file)
		}
		return nil, err
	}
	params, err := fabric.ParseUnderlay(words)
	if err != nil {
		return nil, usageError{fmt.Errorf("--underlay: %w", err)}
	}
	facts, err := fabric.Plan(file.Graph, params)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return facts, nil
}

// renderFabric writes a folder for each switch, and says how many there are.
func renderFabric(facts *fabric.Facts, dir string) (int, error) {
	switches := 0
	for _, n := range facts.Nodes {
		if !n.Role.Switch() {
			continue
		}
		switches++
		state, err := fabric.Device(facts, n.Name)
		if err != nil {
			return switches, err
		}
		if err := renderSwitch(state, filepath.Join(dir, n.Name)); err != nil {
			return switches, err
		}
	}
	if switches == 0 {
		return 0, errors.New("the topology has no switch")
	}
	return switches, nil
}

func renderSwitch(s device.State, dir string) error {
	conf, err := frr.Render(s)
	if err != nil {
		return err
	}
	var sysctls strings.Builder
	settings := frr.Sysctls(s)
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		if frr.Optional(k) { // sysctl.d(5): a failure is no matter
			sysctls.WriteByte('-')
		}
		fmt.Fprintf(&sysctls, "%s = %s\n", k, settings[k])
	}
	for name, text := range map[string]string{
		"frr.conf": conf.Text(), "daemons": conf.DaemonsFile(), "sysctl.conf": sysctls.String(), "state.json": string(s.Encode()) + "\n",
	} {
		if err := writeFile(filepath.Join(dir, name), text); err != nil {
			return fmt.Errorf("render %s: %w", s.Hostname, err)
		}
	}
	return nil
}

// writeFile writes a file into a folder that is made; one that says the same
// already is left as it is.
func writeFile(path, text string) error {
	old, err := os.ReadFile(path)
	if err == nil && string(old) == text {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
