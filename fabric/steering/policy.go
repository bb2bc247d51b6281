package steering

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weft-sdn/weft/fabric"
)

// Policy says which ways some traffic takes. Exactly one of Pin, Avoid, Weight and
// Auto is given.
type Policy struct {
	Name string
	Spec Spec
}

// Spec is what a policy asks for.
type Spec struct {
	Priority int   `yaml:"priority"` // the higher one wins
	Scope    Scope `yaml:"scope"`
	// Pin: by these spines only, evenly.
	Pin *Pin `yaml:"pin"`
	// Avoid: by no way that has one of these.
	Avoid *Avoid `yaml:"avoid"`
	// Weight: by these spines in these proportions.
	Weight map[string]int `yaml:"weight"`
	// Auto: as the optimiser says.
	Auto *Auto `yaml:"auto"`
	// Until is when the policy ends; zero means never.
	Until time.Time `yaml:"until"`
}

// Scope is the traffic that a policy is about; an empty field means any.
type Scope struct {
	From   string `yaml:"from"` // leaf
	To     string `yaml:"to"`   // leaf
	Tenant string `yaml:"tenant"`
}

// Pin names the next switches.
type Pin struct {
	Via []string `yaml:"via"`
}

// Avoid names interfaces (leaf1:eth2) and switches.
type Avoid struct {
	Links []string `yaml:"links"`
	Nodes []string `yaml:"nodes"`
}

// Auto names the objective.
type Auto struct {
	Objective string `yaml:"objective"`
}

// MinMaxUtilisation is the only objective: the most utilised link is to be utilised
// least.
const MinMaxUtilisation = "min-max-utilisation"

// MaxWeight is the largest weight of a policy.
const MaxWeight = 64

// document is a policy as a file has it.
type document struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec Spec `yaml:"spec"`
}

// ParsePolicies reads policies: YAML documents of kind SteeringPolicy. All that is
// wrong with them by themselves is in the error, joined.
func ParsePolicies(data []byte, source string) ([]Policy, error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	var out []Policy
	var errs []error
	for number := 1; ; number++ {
		var doc document
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: document %d: %s", source, number, strings.TrimPrefix(err.Error(), "yaml: ")))
			var typed *yaml.TypeError
			if errors.As(err, &typed) {
				continue
			}
			break
		}
		p := Policy{doc.Metadata.Name, doc.Spec}
		switch {
		case doc.Kind != "SteeringPolicy":
			errs = append(errs, fmt.Errorf("%s: document %d: kind: %q is not SteeringPolicy", source, number, doc.Kind))
			continue
		case doc.APIVersion != "" && doc.APIVersion != "weft/v1":
			errs = append(errs, fmt.Errorf("%s: document %d: apiVersion: %q is not known: use weft/v1", source, number, doc.APIVersion))
		case p.Name == "":
			errs = append(errs, fmt.Errorf("%s: document %d: metadata.name: is missing", source, number))
		case slices.ContainsFunc(out, func(o Policy) bool { return o.Name == p.Name }):
			errs = append(errs, fmt.Errorf("%s: policy %s is given twice", source, p.Name))
		}
		if err := p.check(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", source, err))
		}
		out = append(out, p)
	}
	return out, errors.Join(errs...)
}

// check tells what is wrong with a policy, whatever the fabric.
func (p Policy) check() error {
	var errs []error
	add := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("policy "+p.Name+": "+format, args...))
	}
	given := 0
	for _, g := range []bool{p.Spec.Pin != nil, p.Spec.Avoid != nil, p.Spec.Weight != nil, p.Spec.Auto != nil} {
		if g {
			given++
		}
	}
	if given != 1 {
		add("spec: exactly one of pin, avoid, weight and auto is expected, there are %d", given)
	}
	if s := p.Spec.Scope; s.From != "" && s.From == s.To {
		add("spec.scope: the traffic goes from %s to itself", s.From)
	}
	if p.Spec.Pin != nil && len(p.Spec.Pin.Via) == 0 {
		add("spec.pin.via: is empty: name at least one switch")
	}
	if a := p.Spec.Avoid; a != nil && len(a.Links)+len(a.Nodes) == 0 {
		add("spec.avoid: is empty: name links or nodes")
	}
	if p.Spec.Weight != nil && len(p.Spec.Weight) == 0 {
		add("spec.weight: is empty: name at least one switch with its weight")
	}
	for _, via := range slices.SortedFunc(maps.Keys(p.Spec.Weight), fabric.Natural) {
		if w := p.Spec.Weight[via]; w < 1 || w > MaxWeight {
			add("spec.weight.%s: %d is outside 1..%d", via, w, MaxWeight)
		}
	}
	if a := p.Spec.Auto; a != nil && a.Objective != "" && a.Objective != MinMaxUtilisation {
		add("spec.auto.objective: %q is not known: use %s", a.Objective, MinMaxUtilisation)
	}
	return errors.Join(errs...)
}

// decides reports whether the policy says where traffic goes, and not only where
// it does not go.
func (p Policy) decides() bool { return p.Spec.Avoid == nil }

// within reports whether all traffic of s is traffic of o.
func (s Scope) within(o Scope) bool {
	in := func(a, b string) bool { return b == "" || a == b }
	return in(s.From, o.From) && in(s.To, o.To) && in(s.Tenant, o.Tenant)
}

// overlaps reports whether there may be traffic of both.
func (s Scope) overlaps(o Scope) bool {
	meet := func(a, b string) bool { return a == "" || b == "" || a == b }
	return meet(s.From, o.From) && meet(s.To, o.To) && meet(s.Tenant, o.Tenant)
}

// String is the scope in words.
func (s Scope) String() string {
	var words []string
	for _, f := range []struct{ word, name string }{{"from", s.From}, {"to", s.To}, {"of tenant", s.Tenant}} {
		if f.name != "" {
			words = append(words, f.word+" "+f.name)
		}
	}
	if len(words) == 0 {
		return "all traffic"
	}
	return "traffic " + strings.Join(words, " ")
}

// rank orders policies by who is heard first: the higher priority, then the
// narrower scope, then the name.
func rank(a, b Policy) int {
	narrow := func(s Scope) int {
		n := 0
		for _, f := range []string{s.From, s.To, s.Tenant} {
			if f != "" {
				n++
			}
		}
		return n
	}
	return cmp.Or(cmp.Compare(b.Spec.Priority, a.Spec.Priority),
		cmp.Compare(narrow(b.Spec.Scope), narrow(a.Spec.Scope)), fabric.Natural(a.Name, b.Name))
}
