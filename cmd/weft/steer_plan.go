package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/fabric/steering"
)

// steerPlan is what "weft steer plan" is told.
type steerPlan struct {
	fabric   fabricFlags
	matrix   string
	policies []string
	without  []string
	off      []string
	output   string
	settings steering.Settings
}

func newSteerPlan(a *app) *cobra.Command {
	s := steerPlan{}
	c := &cobra.Command{
		Use: "plan", Short: "Routes before and after, for each device, that policies would make", Args: cobra.NoArgs,
		Long: `Print the routes that policies would make on each leaf, beside those that ECMP has:
for each VTEP and rack that is steered, the next hops with their weights. Addresses are
those that weft lab plans for the topology file. Nothing is sent to a device.

Without --topology the controller tells, for its fabric as it is: what would change with
these policies instead of those of their names, or besides; without policies of --off;
with more down.

Policies that hand over to the optimiser need a traffic matrix.`,
		Example: `  weft steer plan --topology dc.clab.yml --policy steer.yaml
  weft steer plan --topology dc.clab.yml --policy steer.yaml -f matrix.csv --without spine2
  weft steer plan --policy steer.yaml
  weft steer plan --off pin-leaf1-leaf3`,
		RunE: func(c *cobra.Command, _ []string) error { return s.run(c.Context(), a, c.OutOrStdout()) },
	}
	s.fabric.add(c)
	f := c.Flags()
	f.StringVarP(&s.matrix, "filename", "f", "", "traffic matrix, for policies that hand over to the optimiser; - is the standard input")
	f.StringSliceVar(&s.policies, "policy", nil, "file with objects of kind SteeringPolicy; may be repeated")
	f.StringSliceVar(&s.off, "off", nil, "policy of the controller that is gone; may be repeated")
	f.StringSliceVar(&s.without, "without", nil, "interface (leaf1:eth1) or switch that is down; may be repeated")
	f.StringVarP(&s.output, "output", "o", "", "wide, for the addresses of next hops")
	f.IntVar(&s.settings.Table.Total, "table", 64, "largest sum of the weights of one group of next hops")
	f.Uint64Var(&s.settings.Seed, "seed", 0, "stands for the hash of the switches")
	return c
}

func (s *steerPlan) run(ctx context.Context, a *app, out io.Writer) error {
	if s.output != "" && s.output != "wide" {
		return usageError{fmt.Errorf("output %q is not known: use wide, or leave it out", s.output)}
	}
	if s.fabric.topology == "" && s.matrix == "" {
		return s.atController(ctx, a)
	}
	if len(s.policies) == 0 {
		return usageError{fmt.Errorf("say which policies with --policy FILE")}
	}
	if len(s.off) > 0 {
		return usageError{fmt.Errorf("--off is about policies of the controller: leave out --topology")}
	}
	if err := checkTable(s.settings.Table.Total); err != nil {
		return err
	}
	graph, n, err := s.fabric.load()
	if err != nil {
		return err
	}
	policies, err := readPolicies(s.policies)
	if err != nil {
		return err
	}
	rules, err := steering.Compile(n, policies, time.Now())
	if err != nil {
		return err
	}
	facts, err := fabric.Plan(graph, fabric.Params{Colours: fabric.DefaultColours})
	if err != nil {
		return fmt.Errorf("%s: %w", s.fabric.topology, err)
	}
	var traffic *steering.Traffic
	if s.matrix != "" {
		m, err := a.readMatrix(s.matrix, n)
		if err != nil {
			return err
		}
		t, err := steering.NewTraffic(n, m)
		if err != nil {
			return err
		}
		traffic = &t
	}
	var down steering.Failure
	for _, name := range s.without {
		if strings.Contains(name, ":") {
			down.Links = append(down.Links, name)
		} else {
			down.Nodes = append(down.Nodes, name)
		}
	}
	routes, err := rules.Plan(facts, traffic, down, s.settings)
	if err != nil {
		return err
	}
	return s.print(routes, out)
}

// atController has the controller plan.
func (s *steerPlan) atController(ctx context.Context, a *app) error {
	policies, err := readPolicies(s.policies)
	if err != nil {
		return err
	}
	cl, err := a.client()
	if err != nil {
		return err
	}
	q := client.SteeringQuestion{Off: s.off, Without: s.without}
	for _, p := range policies {
		q.Policies = append(q.Policies, client.SteeringDraft{Name: p.Name, Spec: p.Spec})
	}
	return a.planChange(ctx, cl, q, s.output)
}

func (s *steerPlan) print(routes []steering.Route, out io.Writer) error {
	if len(routes) == 0 {
		_, err := fmt.Fprintln(out, "no route is other than that of ECMP")
		return err
	}
	t := table{header: []string{"DEVICE", "PREFIX", "TO", "OF", "POLICY", "BEFORE", "AFTER"}}
	for _, r := range routes {
		of := whose(intent.SteeredRoute{Colour: r.Colour, Tenant: r.Scope.Tenant, Network: r.Scope.Network})
		t.add(r.Device, r.Prefix.String(), r.To, of, r.Policy, nextHops(steeredHops(r.Before), s.output == "wide"), nextHops(steeredHops(r.After), s.output == "wide"))
	}
	return t.print(out, true)
}

// steeredHops are next hops as the API has them.
func steeredHops(hops []steering.NextHop) []intent.SteeredHop {
	out := make([]intent.SteeredHop, len(hops))
	for i, h := range hops {
		out[i] = intent.SteeredHop{Switch: h.Switch, Interface: h.Interface, Address: h.Address, Weight: h.Weight}
	}
	return out
}

// nextHops is "spine1*3,spine2*1", without weights where all are equal.
func nextHops(hops []intent.SteeredHop, wide bool) string {
	equal := true
	for _, h := range hops {
		equal = equal && h.Weight == hops[0].Weight
	}
	var words []string
	for _, h := range hops {
		word := h.Switch
		if wide {
			word = h.Address.String() + "@" + word
		}
		if !equal {
			word += fmt.Sprintf("*%d", h.Weight)
		}
		words = append(words, word)
	}
	return strings.Join(words, ",")
}
