package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func init() { commands = append(commands, newStoreCommand) }

func newStoreCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "store", Short: "Look after the controller's store", Example: "  weft store compact", Args: cobra.NoArgs}
	c.AddCommand(&cobra.Command{
		Use:   "compact",
		Short: "Forget the objects' history and give its space back",
		Long: `Forget the history of the objects, not the objects, and give its space back.
A store that was over its quota takes writes again, if there is room then. etcd
does not answer for as long as it takes; devices are not concerned.`,
		Example: `  weft store compact`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			if err := cl.CompactStore(c.Context()); err != nil {
				return err
			}
			fmt.Fprintln(a.out, "store compacted")
			return nil
		},
	})
	return c
}
