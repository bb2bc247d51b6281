package main

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/fabric/steering"
)

// simulation is what "weft steer simulate" is told.
type simulation struct {
	fabric   fabricFlags
	matrix   string
	policies []string
	failures bool
	svg      string
	csv      bool
	links    int
	colours  int
	settings steering.Settings
	gap      float64
}

func newSteerSimulate(a *app) *cobra.Command {
	s := simulation{}
	c := &cobra.Command{
		Use: "simulate", Short: "Utilisation of each link under ECMP, under policies and with the best weights", Args: cobra.NoArgs,
		Long: `Lay a traffic matrix on a topology file and compute the utilisation of each link
between switches.

  ECMP     each leaf divides evenly; where the matrix says how many flows there are,
           each flow takes one way by its hash
  POLICY   as the policies of --policy say
  AUTO     with the weights by which the most utilised link is utilised least
  BOUND    what no weights can go below, as far as proven
  STEERED  cells of the matrix that AUTO takes off ECMP
  LOST     traffic that has no way
  DARK     traffic that policies send to a switch that has lost the way, until the
           controller withdraws it`,
		Example: `  weft steer simulate -f matrix.csv --topology dc.clab.yml
  weft steer simulate -f matrix.csv --topology dc.clab.yml --policy steer.yaml --failures --svg heat.svg
  weft steer simulate -f - --topology dc.clab.yml --csv < matrix.csv > links.csv`,
		RunE: func(c *cobra.Command, _ []string) error {
			s.settings.Gap = s.gap / 100
			return s.run(a, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	s.fabric.add(c)
	f := c.Flags()
	f.StringVarP(&s.matrix, "filename", "f", "", "traffic matrix: CSV with from, to, rate, and perhaps tenant and flows; - is the standard input")
	f.StringSliceVar(&s.policies, "policy", nil, "file with objects of kind SteeringPolicy; may be repeated")
	f.BoolVar(&s.failures, "failures", false, "also without each single link between switches, and without each spine and superspine")
	f.StringVar(&s.svg, "svg", "", "write a heat map to this file")
	f.BoolVar(&s.csv, "csv", false, "print each link of each case as CSV instead of tables")
	f.IntVar(&s.links, "links", 8, "how many links to list, the most utilised first")
	f.IntVar(&s.settings.Most, "most", 0, "cells of the matrix that AUTO may steer, the largest first; all when zero")
	f.IntVar(&s.colours, "colours", -1, "how many tenants can be told apart, each by an address of its own at each VTEP: those that policies name, then the largest; -1 for all")
	f.IntVar(&s.settings.Table.Total, "table", 64, "largest sum of the weights of one group of next hops")
	f.Float64Var(&s.gap, "gap", 1, "how far above the bound AUTO may stay, in percent of it")
	f.Uint64Var(&s.settings.Seed, "seed", 0, "stands for the hash of the switches: another one places flows otherwise")
	return c
}

func (s *simulation) check() error {
	switch {
	case !(s.gap >= 0.01 && s.gap <= 100):
		return usageError{fmt.Errorf("--gap %v is outside 0.01..100", s.gap)}
	case s.colours < -1:
		return usageError{fmt.Errorf("--colours %d is not a number of colours", s.colours)}
	case s.settings.Most < 0 || s.links < 0:
		return usageError{errors.New("--most and --links can't be negative")}
	}
	return checkTable(s.settings.Table.Total)
}

func (s *simulation) run(a *app, out, errs io.Writer) error {
	if err := s.check(); err != nil {
		return err
	}
	n, err := s.fabric.network()
	if err != nil {
		return err
	}
	m, err := a.readMatrix(s.matrix, n)
	if err != nil {
		return err
	}
	traffic, err := steering.NewTraffic(n, m)
	if err != nil {
		return err
	}
	var rules *steering.Rules
	if len(s.policies) > 0 {
		policies, err := readPolicies(s.policies)
		if err != nil {
			return err
		}
		if rules, err = steering.Compile(n, policies, time.Now()); err != nil {
			return err
		}
	}
	if s.colours >= 0 {
		if traffic, _, err = traffic.Coloured(s.colours, rules.Tenants()); err != nil {
			return err
		}
	}
	cases := []steering.Case{steering.AllUp}
	if s.failures {
		cases = append(cases, n.Failures()...)
	}
	var reports []steering.Report
	for _, c := range cases {
		r, err := steering.Simulate(traffic, rules, c, s.settings)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		reports = append(reports, r)
	}
	return s.print(n, reports, out, errs)
}

func (s *simulation) print(n *steering.Network, reports []steering.Report, out, errs io.Writer) error {
	if s.svg != "" {
		drawn := reports[:1]
		if len(reports) > 1 {
			drawn = append(slices.Clone(drawn), steering.Highest(fmt.Sprintf("highest of %d single failures", len(reports)-1), reports[1:]))
		}
		if err := os.WriteFile(s.svg, n.HeatMap("Utilisation of links", drawn...), 0o644); err != nil {
			return fmt.Errorf("write heat map: %w", err)
		}
	}
	if s.csv {
		return writeLinks(n, reports, out)
	}
	if err := s.cases(n, reports, out); err != nil {
		return err
	}
	if s.links > 0 {
		fmt.Fprintln(out)
		if err := s.busiest(n, reports[0], out); err != nil {
			return err
		}
	}
	return warn(n, reports[0], errs)
}

func percent(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }

// rate is how people read one: four digits and a unit; empty for none.
func rate(v float64) string {
	if v == 0 {
		return ""
	}
	for _, u := range []struct {
		by   float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= u.by {
			return strconv.FormatFloat(v/u.by, 'g', 4, 64) + u.name
		}
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// cases prints a line for each case, failures by how much they hurt under ECMP.
func (s *simulation) cases(n *steering.Network, reports []steering.Report, out io.Writer) error {
	policy := reports[0].Policy != nil
	t := table{header: []string{"CASE", "ECMP"}}
	if policy {
		t.header = append(t.header, "POLICY")
	}
	t.header = append(t.header, "AUTO", "BOUND", "STEERED", "LOST")
	if policy {
		t.header = append(t.header, "DARK")
	}
	worst := func(load []float64) float64 {
		v, _ := n.Worst(load)
		return v
	}
	sorted := slices.Clone(reports)
	slices.SortStableFunc(sorted[1:], func(a, b steering.Report) int { return cmp.Compare(worst(b.ECMP), worst(a.ECMP)) })
	for _, r := range sorted {
		row := []string{r.Case.Name, percent(worst(r.ECMP))}
		if policy {
			row = append(row, percent(worst(r.Policy)))
		}
		row = append(row, percent(worst(r.Auto)), percent(r.Bound), strconv.Itoa(r.Steered), rate(r.Lost))
		if policy {
			row = append(row, rate(r.Dark))
		}
		t.add(row...)
	}
	return t.print(out, true)
}

// busiest lists links by their highest utilisation in any column.
func (s *simulation) busiest(n *steering.Network, r steering.Report, out io.Writer) error {
	t := table{header: []string{"LINK", "CAPACITY", "ECMP"}}
	if r.Policy != nil {
		t.header = append(t.header, "POLICY")
	}
	t.header = append(t.header, "AUTO")
	var order []int
	most := func(l int) float64 {
		v := max(r.ECMP[l], r.Auto[l])
		if r.Policy != nil {
			v = max(v, r.Policy[l])
		}
		return v / n.Links[l].Capacity
	}
	for l := range n.Links {
		order = append(order, l)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(most(b), most(a)) })
	for _, l := range order[:min(s.links, len(order))] {
		c := n.Links[l].Capacity
		row := []string{n.Links[l].String(), demand.FormatRate(c), percent(r.ECMP[l] / c)}
		if r.Policy != nil {
			row = append(row, percent(r.Policy[l]/c))
		}
		t.add(append(row, percent(r.Auto[l]/c))...)
	}
	return t.print(out, true)
}

// warn tells which links policies would put more on than they have.
func warn(n *steering.Network, r steering.Report, errs io.Writer) error {
	for l, load := range r.Policy {
		if c := n.Links[l].Capacity; load > c && load > r.ECMP[l] {
			if _, err := fmt.Fprintf(errs, "Warning: with these policies %s would carry %s of its %s\n", n.Links[l], rate(load), demand.FormatRate(c)); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeLinks prints each link of each case; utilisations are parts of the capacity.
func writeLinks(n *steering.Network, reports []steering.Report, out io.Writer) error {
	w := csv.NewWriter(out)
	header := []string{"case", "from", "to", "capacity", "state", "ecmp", "policy", "auto"}
	if err := w.Write(header); err != nil {
		return err
	}
	for _, r := range reports {
		for l, k := range n.Links {
			part := func(load []float64) string {
				if load == nil {
					return ""
				}
				return strconv.FormatFloat(load[l]/k.Capacity, 'f', 6, 64)
			}
			state := "up"
			if r.Down[l] {
				state = "down"
			}
			row := []string{r.Case.Name, k.From.String(), k.To.String(), demand.FormatRate(k.Capacity), state, part(r.ECMP), part(r.Policy), part(r.Auto)}
			if err := w.Write(row); err != nil {
				return err
			}
		}
	}
	w.Flush()
	return w.Error()
}
