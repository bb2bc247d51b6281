package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
)

// policyFlags are what all commands that make a policy are told.
type policyFlags struct {
	name, until string
	spec        intent.SteeringPolicySpec
	both        bool
	dryRun      bool
	wait        bool
	timeout     time.Duration
}

// add adds the flags; those of the scope only when the policy has one.
func (p *policyFlags) add(c *cobra.Command, scoped bool) {
	f := c.Flags()
	f.StringVar(&p.name, "name", "", "name of the policy; made of what it says by default")
	f.StringVar(&p.until, "until", "", "when it ends: a time such as 2026-12-24T18:00:00Z, or from now, 90m")
	f.BoolVar(&p.dryRun, "dry-run", false, "tell which routes would change, and change nothing")
	f.BoolVar(&p.wait, "wait", false, "wait until the leaves have it")
	f.DurationVar(&p.timeout, "timeout", 30*time.Second, "how long --wait waits")
	if !scoped {
		return
	}
	f.StringVar(&p.spec.Scope.From, "from", "", "leaf at which the traffic begins; any by default")
	f.StringVar(&p.spec.Scope.To, "to", "", "leaf at which it ends; any by default")
	f.StringVarP(&p.spec.Scope.Tenant, "tenant", "t", "", "only this tenant's traffic")
	f.StringVar(&p.spec.Scope.Network, "network", "", "only that of this network of the tenant")
	f.BoolVar(&p.both, "both", false, "the way back too")
	f.IntVar(&p.spec.Priority, "priority", 0, "the higher one is heard first")
}

// object is the policy, with a name made of words when none is given.
func (p *policyFlags) object(words ...string) (*intent.SteeringPolicy, error) {
	if p.both {
		p.spec.Scope.Direction = intent.SteerBoth
	}
	if p.until != "" {
		at, err := untilTime(p.until, time.Now())
		if err != nil {
			return nil, usageError{err}
		}
		p.spec.Until = at
	}
	s := p.spec.Scope
	name := p.name
	if name == "" {
		name = policyName(append(words, s.Tenant, s.Network, s.From, s.To)...)
	}
	return &intent.SteeringPolicy{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindSteeringPolicy}, Metadata: intent.Metadata{Name: name}, Spec: p.spec}, nil
}

// untilTime is a time, or a duration from now.
func untilTime(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(d).UTC().Truncate(time.Second), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("--until %q is no time such as 2026-12-24T18:00:00Z and no duration such as 90m", s)
	}
	return t.UTC(), nil
}

// policyName makes a name of words: pin-leaf1-leaf3.
func policyName(words ...string) string {
	words = slices.DeleteFunc(slices.Clone(words), func(s string) bool { return s == "" })
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_' {
			return r
		}
		return '-'
	}, strings.ToLower(strings.Join(words, "-")))
	return strings.Trim(name[:min(len(name), 63)], "-._")
}

// send writes the policy, or tells what it would change.
func (a *app) send(c *cobra.Command, p *policyFlags, o *intent.SteeringPolicy) error {
	if err := o.Validate(); err != nil {
		return usageError{err}
	}
	cl, err := a.client()
	if err != nil {
		return err
	}
	if p.dryRun {
		// The controller checks it as if it were to be written.
		if _, err := cl.Put(c.Context(), o, client.PutOptions{DryRun: true}); err != nil {
			return err
		}
		return a.planChange(c.Context(), cl, client.SteeringQuestion{Policies: []client.SteeringDraft{{Name: o.Metadata.Name, Spec: o.Spec}}}, "")
	}
	res, err := cl.Put(c.Context(), o, client.PutOptions{})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s %s\n", shortRef(o.Ref()), res.Action)
	for _, w := range res.Warnings {
		fmt.Fprintf(a.err, "Warning: %s\n", w)
	}
	if p.wait {
		_, err = cl.Await(c.Context(), o.Ref(), res.Object.Meta().Revision, p.timeout)
	}
	return err
}

func newSteerPin(a *app) *cobra.Command {
	p := &policyFlags{}
	var via []string
	c := &cobra.Command{
		Use: "pin --via SWITCH", Short: "Send traffic by some spines only", Args: cobra.NoArgs,
		Long: `Send traffic by some next switches only, evenly. When all of them are down plain ECMP
serves, until one is back.`,
		Example: `  weft steer pin --from leaf1 --to leaf3 --via spine2
  weft steer pin --from leaf1 --via spine1,spine2 --until 2h`,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(via) == 0 {
				return usageError{errors.New("say by which switches with --via, as --via spine2")}
			}
			p.spec.Pin = &intent.SteeringPin{Via: via}
			o, err := p.object("pin")
			if err != nil {
				return err
			}
			return a.send(c, p, o)
		},
	}
	p.add(c, true)
	c.Flags().StringSliceVar(&via, "via", nil, "next switches, as the leaf sees them")
	return c
}

func newSteerAvoid(a *app) *cobra.Command {
	p := &policyFlags{}
	avoid := &intent.SteeringAvoid{}
	c := &cobra.Command{
		Use: "avoid --link INTERFACE | --node SWITCH", Short: "Keep traffic off links and switches", Args: cobra.NoArgs,
		Example: `  weft steer avoid --link leaf1:eth2
  weft steer avoid --node spine2 --from leaf1 --until 2026-12-24T18:00:00Z`,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(avoid.Links)+len(avoid.Nodes) == 0 {
				return usageError{errors.New("say what to avoid with --link or --node, as --link leaf1:eth2")}
			}
			p.spec.Avoid = avoid
			o, err := p.object(append(append([]string{"avoid"}, avoid.Links...), avoid.Nodes...)...)
			if err != nil {
				return err
			}
			return a.send(c, p, o)
		},
	}
	p.add(c, true)
	c.Flags().StringSliceVar(&avoid.Links, "link", nil, "interface at either end of a link (leaf1:eth2); may be repeated")
	c.Flags().StringSliceVar(&avoid.Nodes, "node", nil, "switch; may be repeated")
	return c
}

func newSteerWeight(a *app) *cobra.Command {
	p := &policyFlags{}
	var via []string
	c := &cobra.Command{
		Use: "weight --via SWITCH=N,...", Short: "Divide traffic over spines in proportions", Args: cobra.NoArgs,
		Example: `  weft steer weight --to leaf3 --via spine1=3,spine2=1`,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if len(via) == 0 {
				return usageError{errors.New("say in which proportions with --via, as --via spine1=3,spine2=1")}
			}
			if p.spec.Weight, err = parseWeights(via); err != nil {
				return usageError{err}
			}
			o, err := p.object("weight")
			if err != nil {
				return err
			}
			return a.send(c, p, o)
		},
	}
	p.add(c, true)
	c.Flags().StringSliceVar(&via, "via", nil, "next switches with their weights, each 1 to 64: spine1=3,spine2=1")
	return c
}

// parseWeights reads spine1=3,spine2=1.
func parseWeights(words []string) (map[string]int, error) {
	out := map[string]int{}
	for _, word := range words {
		name, number, ok := strings.Cut(word, "=")
		w, err := strconv.Atoi(number)
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("--via: %s is given twice", name)
		}
		if !ok || err != nil || name == "" {
			return nil, fmt.Errorf("--via: %q is no switch with a weight, such as spine1=3", word)
		}
		out[name] = w
	}
	return out, nil
}

func newSteerAuto(a *app) *cobra.Command {
	p := &policyFlags{}
	auto, colours := &intent.SteeringAuto{}, 0
	c := &cobra.Command{
		Use: "auto", Short: "Let the controller divide traffic by what it measures", Args: cobra.NoArgs,
		Long: `Let the controller divide traffic by what it measures, so that the most utilised link
is utilised least. With --most only so many pairs of leaf and VTEP are steered, those
with the most traffic: elephants; the mice stay on ECMP.

Where a tenant's elephant shares its way with others' mice, the tenant is given a colour,
when the fabric has one that is free: then the elephant has a route of its own. --colours
says for how many tenants at most; 0 is for none.`,
		Example: `  weft steer auto --objective min-max-utilisation
  weft steer auto --most 20
  weft steer auto --from leaf1`,
		RunE: func(c *cobra.Command, _ []string) error {
			p.spec.Auto = auto
			if c.Flags().Changed("colours") {
				auto.Colours = &colours
			}
			o, err := p.object("auto")
			if err != nil {
				return err
			}
			return a.send(c, p, o)
		},
	}
	p.add(c, true)
	c.Flags().IntVar(&auto.Most, "most", 0, "how many pairs of leaf and VTEP are steered at most, those with the most traffic; all when zero")
	c.Flags().IntVar(&colours, "colours", 0, "how many tenants are given a colour at most, to part their elephants from others' mice; as many as there are when left out")
	c.Flags().StringVar(&auto.Objective, "objective", intent.MinMaxUtilisation, "what is to be least: "+intent.MinMaxUtilisation)
	return c
}

func newSteerFreeze(a *app) *cobra.Command {
	p := &policyFlags{}
	c := &cobra.Command{
		Use: "freeze", Short: "Stop: nothing is steered otherwise than it is now", Args: cobra.NoArgs,
		Long: `Hard stop for the whole fabric: leaves keep the routes that they were given, no policy
that is new or other is heard, and the optimiser does nothing. What leads nowhere is
still withdrawn. It lasts until "weft steer off freeze". A controller that starts again
while it is frozen steers nothing.`,
		RunE: func(c *cobra.Command, _ []string) error {
			p.spec.Freeze = true
			o, err := p.object("freeze")
			if err != nil {
				return err
			}
			return a.send(c, p, o)
		},
	}
	p.add(c, false)
	return c
}

// steeringColumns are those of "weft get steeringpolicies".
func steeringColumns(wide bool) []string {
	h := []string{"NAME", "PRIORITY", "TRAFFIC", "WHAT", "ROUTES", "STATUS", "AGE"}
	if wide {
		h = append(h, "UNTIL", "REASON")
	}
	return h
}

func steeringRow(o *intent.SteeringPolicy, wide bool) []string {
	s := status(o.Status)
	what := actionOf(o.Spec)
	for _, g := range s.Given {
		what += fmt.Sprintf(" (%s: colour %d)", g.Tenant, g.Colour)
	}
	r := []string{o.Metadata.Name, fmt.Sprint(o.Spec.Priority), trafficOf(o.Spec.Scope), what, fmt.Sprint(len(s.Steered)), string(s.Phase), age(o.Metadata.Created)}
	if wide {
		until := ""
		if !o.Spec.Until.IsZero() {
			until = o.Spec.Until.Format(time.RFC3339)
		}
		r = append(r, until, why(s))
	}
	return r
}

// trafficOf is a scope in short: leaf1→leaf3 of blue/web.
func trafficOf(s intent.SteeringScope) string {
	arrow := "→"
	if s.Direction == intent.SteerBoth {
		arrow = "↔"
	}
	out := "all"
	if s.From != "" || s.To != "" {
		any := func(name string) string {
			if name == "" {
				return "any"
			}
			return name
		}
		out = any(s.From) + arrow + any(s.To)
	}
	if s.Tenant != "" {
		out += " of " + s.Tenant
		if s.Network != "" {
			out += "/" + s.Network
		}
	}
	return out
}

// actionOf is what a policy does, in short.
func actionOf(s intent.SteeringPolicySpec) string {
	words := []string{s.Action()}
	switch {
	case s.Pin != nil:
		words = append(words, strings.Join(s.Pin.Via, ","))
	case s.Avoid != nil:
		words = append(words, strings.Join(slices.Concat(s.Avoid.Links, s.Avoid.Nodes), ","))
	case s.Weight != nil:
		var each []string
		for _, name := range slices.SortedFunc(maps.Keys(s.Weight), fabric.Natural) {
			each = append(each, fmt.Sprintf("%s=%d", name, s.Weight[name]))
		}
		words = append(words, strings.Join(each, ","))
	case s.Auto != nil:
		if s.Auto.Most > 0 {
			words = append(words, fmt.Sprintf("most=%d", s.Auto.Most))
		}
		if c := s.Auto.Colours; c != nil {
			words = append(words, fmt.Sprintf("colours=%d", *c))
		}
	}
	if s.Suspended {
		words = append(words, "(suspended)")
	}
	return strings.Join(words, " ")
}
