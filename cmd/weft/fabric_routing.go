package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

func newFabricRouting(a *app) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "routing SWITCH", Short: "Show the sessions of a switch, its ECMP groups, and what its agent mended", Args: cobra.ExactArgs(1),
		Long: `Show what a switch's agent reports of its routing: BGP and BFD sessions, IS-IS
adjacencies, the next hops that the routing protocols have and those that the
kernel has, and what the agent found otherwise and put right.`,
		Example: `  weft fabric routing leaf1`,
		RunE: func(c *cobra.Command, args []string) error {
			if output != "" && output != "json" {
				return usageError{fmt.Errorf("routing can't be printed as %s: use json", output)}
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			r, err := cl.Routing(c.Context(), args[0])
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(a.out, r)
			}
			return a.printRouting(r)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "json")
	return c
}

func (a *app) printRouting(r client.NodeRouting) error {
	sessions := table{header: []string{"PROTOCOL", "PEER", "BY", "STATE", "AGE", "MORE"}}
	for _, s := range r.BGP {
		since := ""
		if !s.Since.IsZero() {
			since = age(&s.Since)
		}
		sessions.add("BGP", s.Peer, s.Interface, s.State, since, fmt.Sprintf("AS %d, %d prefixes", s.ASN, s.Prefixes))
	}
	for _, s := range r.ISIS {
		sessions.add("IS-IS", s.Neighbour, s.Interface, s.State, "", "")
	}
	for _, s := range r.BFD {
		more := fmt.Sprintf("%d x %d ms", s.Multiplier, s.Receive)
		if s.Diagnostic != "" {
			more += ", last down: " + s.Diagnostic
		}
		sessions.add("BFD", s.Peer, s.Interface, s.State, "", more)
	}
	if err := sessions.print(a.out, true); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	groups := table{header: []string{"TABLE", "PROTOCOL", "NEXT HOPS", "PREFIXES"}}
	add := func(name string, list []switchstate.Group) {
		for _, g := range list {
			groups.add(name, g.Protocol, nextHopWords(g.NextHops), prefixWords(g.Prefixes))
		}
	}
	add("learned", r.Learned)
	add("programmed", r.Programmed)
	if err := groups.print(a.out, true); err != nil {
		return err
	}
	if r.LeftOut > 0 {
		fmt.Fprintf(a.err, "Not shown, since the report is bounded: %d prefixes and sessions.\n", r.LeftOut)
	}
	for i, m := range r.Mended {
		if i == 0 {
			fmt.Fprintln(a.out)
		}
		fmt.Fprintf(a.out, "mended %s ago: %s\n", age(&m.At), m.Message)
	}
	for _, e := range r.Errors {
		fmt.Fprintf(a.err, "The agent says: %s\n", e)
	}
	return nil
}

func nextHopWords(hops []switchstate.NextHop) string {
	var out []string
	for _, h := range hops {
		s := h.Interface
		if h.Weight > 1 {
			s += fmt.Sprintf("*%d", h.Weight)
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// prefixesShown is how many prefixes of a group are listed.
const prefixesShown = 4

func prefixWords(list []netip.Prefix) string {
	var out []string
	for _, p := range list[:min(len(list), prefixesShown)] {
		out = append(out, p.String())
	}
	if more := len(list) - prefixesShown; more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, " ")
}
