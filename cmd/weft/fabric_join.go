package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func newFabricUnknown(a *app) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "unknown", Short: "List the switches that announce themselves and are no nodes", Args: cobra.NoArgs,
		Long: `List the switches whose agents announce themselves and for which the intent has no
place, with what each waits for. One that is silent for 10 s is not listed any more.`,
		Example: `  weft fabric unknown
  weft fabric unknown -o json`,
		RunE: func(c *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return usageError{fmt.Errorf("unknown can't be printed as %s: use json", output)}
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			got, err := cl.Unknown(c.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(a.out, got)
			}
			if len(got) == 0 {
				fmt.Fprintln(a.err, "No switch waits.")
				return nil
			}
			t := table{header: []string{"SERIAL", "MAC", "FROM", "AGE", "FINGERPRINT", "WAITS BECAUSE"}}
			for _, u := range got {
				t.add(u.Serial, u.MAC.String(), u.From.String(), age(&u.Since), fmt.Sprintf("%.12s", u.Fingerprint), u.Why)
			}
			return t.print(a.out, true)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "json")
	return c
}

func newFabricAdmit(a *app) *cobra.Command {
	var req client.Admit
	var role string
	c := &cobra.Command{
		Use: "admit SERIAL --as NODE", Short: "Make a switch that announces itself a node", Args: cobra.ExactArgs(1),
		Long: `Make a switch that announces itself a node. The node's spec.serial names the box from
then on. With --role the node is created when it is not there. A node that another
box is needs --replace: that box is refused from then on.`,
		Example: `  weft fabric admit FOX2219A1B2 --as leaf7
  weft fabric admit FOX2219A1B2 --as leaf7 --role leaf
  weft fabric admit FOX2219A1B2 --as leaf3 --replace`,
		RunE: func(c *cobra.Command, args []string) error {
			if req.Node == "" {
				return usageError{fmt.Errorf("say which node it is to be: weft fabric admit %s --as NODE", args[0])}
			}
			req.Role = intent.Role(role)
			cl, err := a.client()
			if err != nil {
				return err
			}
			got, err := cl.Admit(c.Context(), args[0], req)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s is %s.\n", args[0], got.Node)
			return nil
		},
	}
	c.Flags().StringVar(&req.Node, "as", "", "node that it is to be")
	c.Flags().StringVar(&role, "role", "", "create the node, with this role: superspine, spine, leaf or border")
	c.Flags().StringVar(&req.Fingerprint, "fingerprint", "", "which one, when several say the same serial number")
	c.Flags().BoolVar(&req.Replace, "replace", false, "take the node from the box that is it now")
	return c
}

func newFabricRevoke(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "revoke NODE", Short: "Take its credential from a node", Args: cobra.ExactArgs(1),
		Long: `Take its credential from a node: the box that joined as it is refused from then on and
announces itself anew. Another box can join as the node. No packet stops.`,
		Example: `  weft fabric revoke leaf7`,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			if err := cl.Revoke(c.Context(), args[0]); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "The credential of %s is revoked.\n", args[0])
			return nil
		},
	}
}

func newFabricToken(a *app) *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "One-time tokens by which switches join",
		Example: `  weft fabric token create --node leaf7 --ttl 30m
  weft fabric token list`}
	c.AddCommand(newTokenCreate(a), newTokenList(a), newTokenDelete(a))
	return c
}

func newTokenCreate(a *app) *cobra.Command {
	var ttl time.Duration
	var node string
	c := &cobra.Command{
		Use: "create", Short: "Make a token by which one switch can join, once", Args: cobra.NoArgs,
		Long: `Make a token by which one switch can join, once. It is printed here and nowhere else:
the controller keeps a hash. Put it into the file that --token-file of the switch's
agent names.`,
		Example: `  weft fabric token create > token
  weft fabric token create --node leaf7 --ttl 30m`,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			t, err := cl.CreateToken(c.Context(), client.NewToken{TTL: ttl.String(), Node: node})
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, t.Secret)
			return nil
		},
	}
	c.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it can be used")
	c.Flags().StringVar(&node, "node", "", "node as which the switch joins; found by its serial number, MAC address or cables by default")
	return c
}

func newTokenList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the join tokens", Args: cobra.NoArgs,
		Long:    "List the join tokens. Those that expired or were used are kept for a week.",
		Example: `  weft fabric token list`,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			got, err := cl.JoinTokens(c.Context())
			if err != nil {
				return err
			}
			t := table{header: []string{"ID", "NODE", "AGE", "STATE"}}
			for _, k := range got {
				state := "until " + k.Expires.Local().Format(time.DateTime)
				switch {
				case !k.Used.IsZero():
					state = "used by " + k.UsedBy + " as " + k.UsedAs
				case time.Now().After(k.Expires):
					state = "expired"
				}
				t.add(k.ID, k.Node, age(&k.Created), state)
			}
			return t.print(a.out, true)
		},
	}
}

func newTokenDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "delete ID", Short: "Delete a join token", Args: cobra.ExactArgs(1),
		Example: `  weft fabric token delete k7m2p9qd`,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			if err := cl.DeleteToken(c.Context(), args[0]); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "Token %s is deleted.\n", args[0])
			return nil
		},
	}
}
