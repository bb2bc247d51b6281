package frr

import (
	"maps"
	"slices"
	"strings"
)

// Reload is what one daemon has, is to have, and had of us before.
type Reload struct {
	Have string // the daemon's "show running-config"
	Want string // Config.Daemon
	Last string // what was wanted before: lines of it that are not wanted any more are ours to remove
	// Unshown are wanted lines that the daemon took before and does not show, for it
	// hides what is its default; see Unshown. They are not sent again unless what is
	// shown of the same setting is another.
	Unshown map[string]bool
}

// Change is a command in its context: the lines that open the context, from the
// outermost on, and the command.
type Change struct {
	Context []string
	Command string
}

// String is the change for people: "router bgp 65001 / address-family ipv4 unicast / network 10.0.0.1/32".
func (c Change) String() string {
	return strings.Join(append(slices.Clone(c.Context), c.Command), " / ")
}

// Changes are the commands that bring a daemon to what is wanted, in their order;
// none when it has it. Only what is ours is touched: what is wanted or was, all that
// is said about our neighbours, lists and route maps, and contexts that are wholly
// ours. What the daemon has besides stays.
//
// Things go before others take their place, and contexts are filled from the top:
// lists before the neighbours that use them. Lists and route maps that are not wanted
// any more go last.
func Changes(r Reload) []Change {
	d := &differ{unshown: r.Unshown}
	d.context(scope{have: parse(r.Have), want: parse(r.Want), last: parse(r.Last)})
	return slices.Concat(d.remove, d.add, d.late)
}

// Unshown are the wanted lines that a daemon does not show. Right after it took them
// they are those which it never shows.
func Unshown(have, want string) map[string]bool {
	out := map[string]bool{}
	var walk func(path []string, have, want *tree)
	walk = func(path []string, have, want *tree) {
		for _, w := range want.kids {
			h := have.find(w.line)
			switch {
			case opens(w.line):
				walk(append(slices.Clone(path), w.line), h, w)
			case h == nil:
				out[unshownKey(path, w.line)] = true
			}
		}
	}
	walk(nil, parse(have), parse(want))
	return out
}

// Commands are what to type at a daemon for the changes, from its configuration
// terminal on.
func Commands(cs []Change) []string {
	var out, at []string
	for _, c := range cs {
		same := 0
		for same < len(at) && same < len(c.Context) && at[same] == c.Context[same] {
			same++
		}
		for range at[same:] {
			out = append(out, "exit")
		}
		out = append(out, c.Context[same:]...)
		if c.Command != "" {
			out = append(out, c.Command)
		}
		at = c.Context
	}
	for range at {
		out = append(out, "exit")
	}
	return out
}

// differ collects the changes of all contexts.
type differ struct {
	unshown           map[string]bool
	remove, add, late []Change
}

// scope is one context of the three configurations. Each but the path may be
// missing.
type scope struct {
	path             []string
	have, want, last *tree
	// ours are the objects that are or were wanted, here or in a context around, and
	// forgotten those of them that are taken out as a whole.
	ours, forgotten map[string]bool
}

func (c scope) below(line string) scope {
	return scope{append(slices.Clone(c.path), line), c.have.find(line), c.want.find(line), c.last.find(line), c.ours, c.forgotten}
}

// context compares one context.
func (d *differ) context(c scope) {
	c.ours = maps.Clone(c.ours)
	if c.ours == nil {
		c.ours = map[string]bool{}
	}
	for _, t := range []*tree{c.want, c.last} {
		maps.Copy(c.ours, objects(t))
	}
	if c.have != nil {
		c.forgotten = d.forget(c)
		d.removals(c)
	}
	if c.want == nil {
		return
	}
	broken := brokenObjects(c, d.unshown)
	for _, w := range c.want.kids {
		switch h := c.have.find(w.line); {
		case opens(w.line):
			b := c.below(w.line)
			if h == nil && len(w.kids) == 0 && !strings.HasPrefix(w.line, "interface ") {
				d.add = append(d.add, Change{Context: b.path}) // it is made by being entered
			}
			d.context(b)
		case h != nil:
		case d.hides(c, w.line) && c.have.keyed(keyOf(w.line)) == nil && !broken[objectOf(w.line)]:
		default:
			d.add = append(d.add, Change{c.path, w.line})
		}
	}
}

// hides reports whether a wanted line is there although the daemon does not show it.
func (d *differ) hides(c scope, line string) bool {
	return c.have != nil && d.unshown[unshownKey(c.path, line)]
}

func unshownKey(path []string, line string) string {
	return strings.Join(append(slices.Clone(path), line), "\n")
}

// brokenObjects are those of which a wanted line is missing that is shown as a rule:
// what is not shown of them may be missing too.
func brokenObjects(c scope, unshown map[string]bool) map[string]bool {
	out := map[string]bool{}
	for _, w := range c.want.kids {
		if o := objectOf(w.line); o != "" && c.have.find(w.line) == nil && !unshown[unshownKey(c.path, w.line)] {
			out[o] = true
		}
	}
	return out
}

// forget takes neighbours that are ours and not wanted out of a BGP instance, each by
// one command; it returns them, and those of the instance around.
func (d *differ) forget(c scope) map[string]bool {
	gone := map[string]bool{}
	for o := range c.forgotten {
		gone[o] = true
	}
	wanted := objects(c.want)
	for _, h := range c.have.kids {
		o := objectOf(h.line)
		if gone[o] || wanted[o] || !c.ours[o] || !strings.HasPrefix(o, "neighbor ") || inFamily(c.path) {
			continue
		}
		gone[o] = true
		command := "no " + o
		for _, l := range c.have.kids {
			switch rest, _ := strings.CutPrefix(l.line, o+" "); {
			case rest == "peer-group":
				command = "no " + o + " peer-group"
			case strings.HasPrefix(rest, "interface"):
				command = "no " + o + " interface"
			}
		}
		d.remove = append(d.remove, Change{c.path, command})
	}
	return gone
}

// removals takes lines out of a context.
func (d *differ) removals(c scope) {
	all := c.want != nil && len(c.path) > 0 && whole(c.path[len(c.path)-1])
	for _, h := range slices.Backward(c.have.kids) {
		o := objectOf(h.line)
		switch {
		case c.want.find(h.line) != nil || c.forgotten[o]:
			continue
		case partly(h.line): // others may have a part of it
			if c.last.find(h.line) != nil {
				d.context(c.below(h.line))
			}
			continue
		case !opens(h.line) && c.want.keyed(keyOf(h.line)) != nil:
			continue // another line takes its place
		case c.last.find(h.line) == nil && !c.ours[o] && (!all || byItself(h.line)):
			continue
		}
		change := Change{c.path, undo(h.line)}
		if len(c.path) == 0 && policy(h.line) {
			d.late = append(d.late, change)
		} else {
			d.remove = append(d.remove, change)
		}
	}
}

// objects are the things that a context says something about.
func objects(t *tree) map[string]bool {
	out := map[string]bool{}
	if t != nil {
		for _, k := range t.kids {
			if o := objectOf(k.line); o != "" {
				out[o] = true
			}
		}
	}
	return out
}

// undo takes a line back.
func undo(line string) string {
	if yes, isNo := strings.CutPrefix(line, "no "); isNo {
		return yes
	}
	if key := keyOf(line); strings.HasSuffix(key, "description") {
		return "no " + key
	}
	return "no " + line
}

// Judges reports whether changes are of lists or route maps. bgpd holds routes that it
// has against them, and sends what they now let pass, when it is asked to only: with
// "bgp route-map delay-timer 0" route maps have no effect on them, and lists that
// neighbours name never have. Sessions go on; peers tell again what they told, by route
// refresh (RFC 2918).
func Judges(changes []Change) bool {
	return slices.ContainsFunc(changes, func(c Change) bool {
		return policy(strings.TrimPrefix(append(slices.Clone(c.Context), c.Command)[0], "no "))
	})
}
