package main

import "github.com/spf13/cobra"

func init() { commands = append(commands, newFabricCommand) }

func newFabricCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "fabric", Short: "Plan the underlay"}
	c.AddCommand(newFabricRender(a))
	return c
}
