package steering

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
)

// Policy is an intent.SteeringPolicy's name and spec. A freeze decides about no
// traffic: rules know none.
type Policy struct {
	Name string
	Spec intent.SteeringPolicySpec
	// Created orders policies: the earlier ones are given their colours first.
	Created time.Time
}

// ParsePolicies reads policies: YAML documents of kind SteeringPolicy. All that is
// wrong with them by themselves is in the error, joined.
func ParsePolicies(data []byte, source string) ([]Policy, error) {
	objects, err := intent.Decode(data, source)
	errs := []error{err}
	var out []Policy
	for _, o := range objects {
		p, ok := o.(*intent.SteeringPolicy)
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %s is not a SteeringPolicy", source, o.Ref()))
			continue
		}
		if slices.ContainsFunc(out, func(o Policy) bool { return o.Name == p.Metadata.Name }) {
			errs = append(errs, fmt.Errorf("%s: policy %s is given twice", source, p.Metadata.Name))
		}
		if err := p.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", source, err))
		}
		out = append(out, PolicyOf(p))
	}
	return out, errors.Join(errs...)
}

// PolicyOf is the policy of an object.
func PolicyOf(o *intent.SteeringPolicy) Policy {
	p := Policy{Name: o.Metadata.Name, Spec: o.Spec}
	if c := o.Metadata.Created; c != nil {
		p.Created = *c
	}
	return p
}

// decides reports whether the policy says where traffic goes, and not only where
// it does not go.
func (p Policy) decides() bool { return p.Spec.Avoid == nil }

// Scope is a policy's.
type Scope = intent.SteeringScope

// within reports whether all traffic of s is traffic of o.
func within(s, o Scope) bool {
	in := func(a, b string) bool { return b == "" || a == b }
	return in(s.From, o.From) && in(s.To, o.To) && in(s.Tenant, o.Tenant) && in(s.Network, o.Network)
}

// overlap reports whether there may be traffic of both.
func overlap(s, o Scope) bool {
	meet := func(a, b string) bool { return a == "" || b == "" || a == b }
	return meet(s.From, o.From) && meet(s.To, o.To) && meet(s.Tenant, o.Tenant) && meet(s.Network, o.Network)
}

// describe is a scope in words.
func describe(s Scope) string {
	var words []string
	for _, f := range []struct{ word, name string }{{"from", s.From}, {"to", s.To}, {"of tenant", s.Tenant}, {"of network", s.Network}} {
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
		for _, f := range []string{s.From, s.To, s.Tenant, s.Network} {
			if f != "" {
				n++
			}
		}
		return n
	}
	return cmp.Or(cmp.Compare(b.Spec.Priority, a.Spec.Priority),
		cmp.Compare(narrow(b.Spec.Scope), narrow(a.Spec.Scope)), fabric.Natural(a.Name, b.Name))
}
