package topology

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// reader walks a YAML document and collects what is wrong with it.
type reader struct {
	source string
	faults Faults
	steps  int // entries read so far
	most   int // that may be read: aliases can make a small file very large
}

func newReader(source string, size int) *reader {
	return &reader{source: source, most: 10_000 + 4*size}
}

// step counts entries that are read. It is false when there are too many.
func (r *reader) step(line, n int) bool {
	before := r.steps
	r.steps += n
	if r.steps > r.most && before <= r.most {
		r.fault(line, "the file grows too large by its aliases")
	}
	return r.steps <= r.most
}

// entry is one key of a mapping with its value.
type entry struct {
	name       string
	key, value *yaml.Node
}

func (r *reader) fault(line int, format string, args ...any) {
	r.faults = append(r.faults, Fault{r.source, line, fmt.Sprintf(format, args...)})
}

// resolve follows aliases; an alias of an alias can't be written in YAML.
func resolve(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	n = resolve(n)
	return n == nil || n.Kind == 0 || n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

// shape is how people call a node of the document.
func shape(n *yaml.Node) string {
	switch resolve(n).Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	if isNull(n) {
		return "empty"
	}
	return strconv.Quote(resolve(n).Value)
}

// mapping reads the entries of a mapping, with those of merge keys (<<) after
// its own. Nothing, or null, has no entries.
func (r *reader) mapping(n *yaml.Node, what string) []entry {
	if isNull(n) {
		return nil
	}
	var out []entry
	r.entries(resolve(n), what, map[string]int{}, &out, 0)
	return out
}

func (r *reader) entries(n *yaml.Node, what string, seen map[string]int, out *[]entry, depth int) {
	if n.Kind != yaml.MappingNode {
		r.fault(n.Line, "%s: a mapping is expected, this is %s", what, shape(n))
		return
	}
	var merged []*yaml.Node
	own := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !r.step(n.Line, 1) {
			return
		}
		k, v := resolve(n.Content[i]), n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			r.fault(k.Line, "%s: a name is expected before the colon, this is %s", what, shape(k))
			continue
		}
		if k.Tag == "!!merge" {
			if m := resolve(v); m.Kind == yaml.SequenceNode {
				merged = append(merged, m.Content...)
			} else {
				merged = append(merged, m)
			}
			continue
		}
		if own[k.Value] {
			r.fault(k.Line, "%s: %s is given twice, first in line %d", what, k.Value, seen[k.Value])
			continue
		}
		own[k.Value] = true
		if _, ok := seen[k.Value]; !ok {
			seen[k.Value] = k.Line
			*out = append(*out, entry{k.Value, k, v})
		}
	}
	for _, m := range merged {
		if depth > 16 {
			r.fault(n.Line, "%s: a merge key leads back to itself", what)
			return
		}
		if m = resolve(m); !isNull(m) {
			r.entries(m, what, seen, out, depth+1)
		}
	}
}

// text reads a scalar; numbers and truth values are taken as they are written.
func (r *reader) text(n *yaml.Node, what string) string {
	if isNull(n) {
		return ""
	}
	v := resolve(n)
	if v.Kind != yaml.ScalarNode {
		r.fault(n.Line, "%s: a word is expected, this is %s", what, shape(n))
		return ""
	}
	return strings.TrimSpace(v.Value)
}

// number reads a whole number in a range.
func (r *reader) number(n *yaml.Node, what string, low, high int) int {
	s := r.text(n, what)
	if s == "" {
		return 0
	}
	v, err := strconv.Atoi(s)
	if err != nil || v < low || v > high {
		r.fault(n.Line, "%s: %q is not a number from %d to %d", what, s, low, high)
		return 0
	}
	return v
}

// texts reads a list of scalars.
func (r *reader) texts(n *yaml.Node, what string) []string {
	var out []string
	for _, c := range r.list(n, what) {
		if s := r.text(c, what); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func (r *reader) list(n *yaml.Node, what string) []*yaml.Node {
	if isNull(n) {
		return nil
	}
	v := resolve(n)
	if v.Kind != yaml.SequenceNode {
		r.fault(n.Line, "%s: a list is expected, this is %s", what, shape(n))
		return nil
	}
	if !r.step(n.Line, len(v.Content)) {
		return nil
	}
	return v.Content
}

// words reads a mapping of scalars.
func (r *reader) words(n *yaml.Node, what string) map[string]string {
	var out map[string]string
	for _, e := range r.mapping(n, what) {
		if out == nil {
			out = map[string]string{}
		}
		out[e.name] = r.text(e.value, what+"."+e.name)
	}
	return out
}
