package frr

import "strings"

// tree is a configuration as FRR shows it: lines, and below each line that opens a
// context the lines of that context. The root has no line.
type tree struct {
	line string
	kids []*tree
}

// parse reads a configuration, of FRR's or ours: what stands further in belongs to
// the line above that stands less far in. Lines that only close a context, comments
// and what a running daemon can't be told are left out.
func parse(text string) *tree {
	type open struct {
		depth int
		node  *tree
	}
	root := &tree{}
	stack := []open{{-1, root}}
	for _, raw := range strings.Split(text, "\n") {
		line := strings.TrimSpace(raw)
		if silent(line) {
			continue
		}
		depth := len(raw) - len(strings.TrimLeft(raw, " "))
		for stack[len(stack)-1].depth >= depth {
			stack = stack[:len(stack)-1]
		}
		at := stack[len(stack)-1].node.child(line)
		stack = append(stack, open{depth, at})
	}
	return root
}

// silent reports whether a line configures nothing.
func silent(line string) bool {
	switch line {
	case "", "end", "exit", "exit-address-family", "exit-vrf", "exit-vni":
		return true
	}
	for _, p := range []string{"!", "Building configuration", "Current configuration", "frr version ", "frr defaults "} {
		if strings.HasPrefix(line, p) {
			return true
		}
	}
	return false
}

// child is the node of a line below t, which is made when it is not there: a context
// that is opened twice is one.
func (t *tree) child(line string) *tree {
	if c := t.find(line); c != nil {
		return c
	}
	c := &tree{line: line}
	t.kids = append(t.kids, c)
	return c
}

func (t *tree) find(line string) *tree {
	if t == nil {
		return nil
	}
	for _, c := range t.kids {
		if c.line == line {
			return c
		}
	}
	return nil
}

// keyed finds the line of a key.
func (t *tree) keyed(key string) *tree {
	if t == nil {
		return nil
	}
	for _, c := range t.kids {
		if keyOf(c.line) == key {
			return c
		}
	}
	return nil
}

// keyWords says how many words name the setting that a line gives: a line of the same
// key takes its place. An asterisk is any word. The first that fits counts; of other
// lines the whole is the key.
var keyWords = []struct {
	start []string
	words int
	last  bool // the last word is a part of the key: "in" or "out"
}{
	{words("hostname"), 1, false},
	{words("description"), 1, false},
	{words("coalesce-time"), 1, false},
	{words("bgp router-id"), 2, false},
	{words("bgp route-map delay-timer"), 3, false},
	{words("bgp graceful-restart restart-time"), 3, false},
	{words("bgp graceful-restart select-defer-time"), 3, false},
	{words("maximum-paths ibgp"), 2, false},
	{words("maximum-paths"), 1, false},
	{words("ip prefix-list * seq"), 5, false},
	{words("ipv6 prefix-list * seq"), 5, false},
	{words("ip protocol"), 3, false},
	{words("ipv6 protocol"), 3, false},
	{words("neighbor * interface"), 3, false},
	{words("neighbor * timers connect"), 4, false},
	{words("neighbor * bfd profile"), 4, false},
	{words("neighbor * peer-group *"), 3, false},
	{words("neighbor * prefix-list"), 3, true},
	{words("neighbor * route-map"), 3, true},
	{words("neighbor * filter-list"), 3, true},
	{words("neighbor * peer-group"), 3, false},
	{words("neighbor * remote-as"), 3, false},
	{words("neighbor * description"), 3, false},
	{words("neighbor * timers"), 3, false},
	{words("neighbor * advertisement-interval"), 3, false},
	{words("neighbor * weight"), 3, false},
	{words("neighbor * maximum-prefix"), 3, false},
	{words("network *"), 2, false},
	{words("zebra work-queue"), 2, false},
	{words("set src"), 2, false},
	{words("set local-preference"), 2, false},
	{words("set metric"), 2, false},
	{words("set weight"), 2, false},
	{words("match ip address"), 3, false},
	{words("match ipv6 address"), 3, false},
	{words("redistribute ipv4 static"), 3, false},
	{words("is-type"), 1, false},
	{words("metric-style"), 1, false},
	{words("lsp-timers"), 1, false},
	{words("spf-delay-ietf"), 1, false},
	{words("isis circuit-type"), 2, false},
	{words("isis hello-interval"), 2, false},
	{words("isis hello-multiplier"), 2, false},
	{words("isis network"), 2, false},
	{words("isis metric"), 2, false},
	{words("isis bfd profile"), 3, false},
	{words("detect-multiplier"), 1, false},
	{words("transmit-interval"), 1, false},
	{words("receive-interval"), 1, false},
}

func words(s string) []string { return strings.Fields(s) }

// keyOf names the setting of a line. A line and its "no" give the same one.
func keyOf(line string) string {
	f := strings.Fields(strings.TrimPrefix(line, "no "))
	for _, k := range keyWords {
		if !starts(f, k.start) || len(f) < k.words {
			continue
		}
		key := strings.Join(f[:k.words], " ")
		if k.last {
			key += " " + f[len(f)-1]
		}
		return key
	}
	return strings.Join(f, " ")
}

func starts(f, with []string) bool {
	if len(f) < len(with) {
		return false
	}
	for i, w := range with {
		if w != "*" && w != f[i] {
			return false
		}
	}
	return true
}

// objectOf names the thing that a line is about, where things of a context have
// several owners: a neighbour, a list, a route map, a BFD profile, the BGP instance
// of the default VRF. It is empty for other lines.
func objectOf(line string) string {
	f := strings.Fields(strings.TrimPrefix(line, "no "))
	first := func(n int) string { return strings.Join(f[:n], " ") }
	switch {
	case len(f) >= 2 && f[0] == "neighbor":
		return first(2)
	case len(f) >= 3 && (f[0] == "ip" || f[0] == "ipv6") && f[1] == "prefix-list":
		return first(3)
	case len(f) >= 2 && (f[0] == "route-map" || f[0] == "profile"):
		return first(2)
	case len(f) == 3 && f[0] == "router" && f[1] == "bgp":
		return first(2)
	}
	return ""
}

// opens reports whether a line opens a context.
func opens(line string) bool {
	switch first, _, _ := strings.Cut(line, " "); first {
	case "interface", "router", "route-map", "bfd", "profile", "address-family", "vrf":
		return true
	}
	return false
}

// whole reports whether all lines of a context are its owner's. In others, such as the
// BGP instance, some things are the overlay's or somebody else's.
func whole(line string) bool {
	f := strings.Fields(line)
	switch f[0] {
	case "interface", "route-map", "profile":
		return true
	}
	return len(f) >= 2 && f[0] == "router" && f[1] == "isis"
}

// byItself are lines of a whole context that a daemon writes by itself: bgpd has
// zebra send router advertisements to unnumbered neighbours.
func byItself(line string) bool {
	return strings.HasPrefix(strings.TrimPrefix(line, "no "), "ipv6 nd ")
}

// partly reports whether a context has several owners, so that it never goes as a
// whole.
func partly(line string) bool {
	return line == "bfd" || strings.HasPrefix(line, "interface ") || strings.HasPrefix(line, "address-family ")
}

// policy reports whether a line is of a list or a route map, which others name.
func policy(line string) bool {
	return strings.HasPrefix(line, "route-map ") || strings.HasPrefix(line, "ip prefix-list ") || strings.HasPrefix(line, "ipv6 prefix-list ")
}

// inFamily reports whether a context is an address family of a BGP instance.
func inFamily(path []string) bool {
	return len(path) > 0 && strings.HasPrefix(path[len(path)-1], "address-family ")
}
