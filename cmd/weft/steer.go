package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/fabric/steering"
	"github.com/weft-sdn/weft/lab"
	"github.com/weft-sdn/weft/topology"
)

func init() { commands = append(commands, newSteerCommand) }

func newSteerCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "steer",
		Short: "Decide which spine carries what",
		Long: `Decide which spine carries what. Policies are objects of the controller, which gives
leaves routes of their own: pin, avoid, weight and auto make them, list, show, explain
and off look at them and take them back, and plan tells what would change.

simulate and matrix need no controller: a traffic matrix is laid on a topology file,
and each link's utilisation is computed under ECMP, under policies, and with the best
weights that hardware can hold.`,
		Example: `  weft steer pin --from leaf1 --to leaf3 --via spine2
  weft steer avoid --link leaf1:eth2 --until 2h
  weft steer weight --to leaf3 --via spine1=3,spine2=1
  weft steer explain leaf1 leaf3
  weft steer matrix --topology dc.clab.yml --total 800G --heavy 10 > matrix.csv
  weft steer simulate -f matrix.csv --topology dc.clab.yml --failures --svg heat.svg`,
	}
	c.AddCommand(newSteerPin(a), newSteerAvoid(a), newSteerWeight(a), newSteerAuto(a), newSteerFreeze(a))
	c.AddCommand(newSteerList(a), newSteerShow(a), newSteerOff(a), newSteerSuspend(a, true), newSteerSuspend(a, false), newSteerExplain(a))
	c.AddCommand(newSteerSimulate(a), newSteerPlan(a), newSteerMatrix(a), newSteerChosen(a))
	return c
}

// fabricFlags are the fabric that is steered.
type fabricFlags struct {
	topology   string
	capacity   string
	capacities map[string]string
}

func (f *fabricFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.topology, "topology", "", "topology file, as of weft lab")
	c.Flags().StringVar(&f.capacity, "capacity", "100G", "bit/s of a link between switches, each way")
	c.Flags().StringToStringVar(&f.capacities, "link-capacity", nil, "of other links: INTERFACE=RATE (leaf1:eth1=40G), or SWITCH=RATE for all its links; may be repeated")
}

// network reads the topology file.
func (f *fabricFlags) network() (*steering.Network, error) {
	_, n, err := f.load()
	return n, err
}

// load reads the topology file, and gives its graph too.
func (f *fabricFlags) load() (*topology.Graph, *steering.Network, error) {
	if f.topology == "" {
		return nil, nil, usageError{errors.New("say which fabric with --topology FILE")}
	}
	var c steering.Capacities
	var err error
	if c.Default, err = demand.ParseRate(f.capacity); err != nil {
		return nil, nil, usageError{fmt.Errorf("--capacity: %w", err)}
	}
	c.Of = map[string]float64{}
	for _, of := range slices.Sorted(maps.Keys(f.capacities)) {
		if c.Of[of], err = demand.ParseRate(f.capacities[of]); err != nil {
			return nil, nil, usageError{fmt.Errorf("--link-capacity %s: %w", of, err)}
		}
	}
	file, err := lab.LoadFile(f.topology)
	if err != nil {
		return nil, nil, err
	}
	n, err := steering.NewNetwork(file.Graph, c)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.topology, err)
	}
	if len(n.Links) == 0 {
		return nil, nil, fmt.Errorf("%s: there is no link between switches", f.topology)
	}
	return file.Graph, n, nil
}

func newSteerMatrix(a *app) *cobra.Command {
	var f fabricFlags
	g := demand.Gravity{}
	var total string
	var heavy float64
	var measured bool
	var window time.Duration
	c := &cobra.Command{
		Use: "matrix", Short: "Print the traffic matrix as measured, or make one up for a topology file", Args: cobra.NoArgs,
		Long: `Make up a traffic matrix between the leaves of a topology file, for trials: the
traffic between two leaves is proportional to the product of their masses, and some
pairs are elephants of one flow each. The same flags make the same matrix.

With --measured it is what the leaves of the running fabric have counted within a
window that ends now: what VTEPs sent each other through the fabric, by tenant.`,
		Example: `  weft steer matrix --topology dc.clab.yml --total 800G --spread 0.4 --heavy 10 --times 8 > matrix.csv
  weft steer matrix --measured --window 5m > matrix.csv`,
		RunE: func(c *cobra.Command, _ []string) error {
			if measured {
				return a.measuredMatrix(c, window)
			}
			n, err := f.network()
			if err != nil {
				return err
			}
			if g.Total, err = demand.ParseRate(total); err != nil {
				return usageError{fmt.Errorf("--total: %w", err)}
			}
			g.Nodes, g.Heavy = n.Leaves(), heavy/100
			m, err := g.Matrix()
			if err != nil {
				return usageError{err}
			}
			_, err = c.OutOrStdout().Write(m.CSV())
			return err
		},
	}
	f.add(c)
	c.Flags().BoolVar(&measured, "measured", false, "what the running fabric carries, instead of one that is made up")
	c.Flags().DurationVar(&window, "window", 10*time.Second, "with --measured: time that ends now, from 1s to 5m")
	c.Flags().StringVar(&total, "total", "100G", "bit/s in all")
	c.Flags().Float64Var(&g.Spread, "spread", 0.4, "how unequal the leaves are: standard deviation of the logarithm of their mass")
	c.Flags().Float64Var(&heavy, "heavy", 10, "percentage of the pairs that are elephants")
	c.Flags().Float64Var(&g.Times, "times", 8, "how much larger those are")
	c.Flags().Uint64Var(&g.Seed, "seed", 1, "another one makes another matrix")
	return c
}

// readMatrix reads a matrix from a file, or from the standard input for "-".
func (a *app) readMatrix(path string, n *steering.Network) (demand.Matrix, error) {
	if path == "" {
		return demand.Matrix{}, usageError{errors.New("say which traffic with -f FILE or -f -")}
	}
	name := path
	var data []byte
	var err error
	if path == "-" {
		name = "standard input"
		data, err = io.ReadAll(a.in)
	} else {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return demand.Matrix{}, fmt.Errorf("read matrix: %w", err)
	}
	return demand.Parse(data, name, n.End)
}

// readPolicies reads policies from files.
func readPolicies(paths []string) ([]steering.Policy, error) {
	var out []steering.Policy
	from := map[string]string{}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			return nil, fmt.Errorf("read policies: %w", err)
		}
		policies, err := steering.ParsePolicies(data, p)
		if err != nil {
			return nil, err
		}
		for _, policy := range policies {
			if other, ok := from[policy.Name]; ok {
				return nil, fmt.Errorf("policy %s is given twice: in %s and %s", policy.Name, other, p)
			}
			from[policy.Name] = p
		}
		out = append(out, policies...)
	}
	if len(paths) > 0 && len(out) == 0 {
		return nil, fmt.Errorf("%s: there is no policy in it", strings.Join(paths, ", "))
	}
	return out, nil
}

func checkTable(total int) error {
	if total < 1 || total > 4096 {
		return usageError{fmt.Errorf("--table %d is outside 1..4096", total)}
	}
	return nil
}
