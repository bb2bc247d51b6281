package frr

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/fabric/device"
)

// Config is the configuration of one switch, in sections.
type Config struct {
	sections []section
}

// section is a part of the text and the daemons that read it.
type section struct {
	daemons []string // none: all
	text    string
}

// Render writes a switch's configuration. It refuses names that would make FRR
// read something else than what is meant.
func Render(s device.State) (Config, error) {
	if err := check(s); err != nil {
		return Config{}, fmt.Errorf("FRR configuration of %s: %w", s.Hostname, err)
	}
	var c Config
	add := func(text string, daemons ...string) {
		if text != "" {
			c.sections = append(c.sections, section{daemons, text})
		}
	}
	add(defaults(s))
	add(kernel(s), "zebra")
	add(interfaces(s), "zebra")
	add(sources(s), "zebra")
	add(statics(s), "staticd")
	if s.BGP != nil {
		add(filters(s.BGP.Filters), "bgpd")
		add(policies(s.BGP), "bgpd")
	}
	if s.ISIS != nil {
		add(filters(s.ISIS.Filters), "isisd")
	}
	add(bfd(s), "bfdd")
	add(isis(s), "isisd")
	add(bgp(s), "bgpd")
	return c, nil
}

// Text is the whole as one file, an integrated frr.conf, for "vtysh -b".
func (c Config) Text() string { return c.text(func(section) bool { return true }) }

// Daemon is the part that one daemon reads, for its option -f.
func (c Config) Daemon(name string) string {
	return c.text(func(s section) bool { return len(s.daemons) == 0 || slices.Contains(s.daemons, name) })
}

// Daemons are the daemons that the switch needs, in the order to start them.
func (c Config) Daemons() []string {
	ds := []string{"zebra"}
	for _, d := range []string{"staticd", "bfdd", "isisd", "bgpd"} {
		if slices.ContainsFunc(c.sections, func(s section) bool { return slices.Contains(s.daemons, d) }) {
			ds = append(ds, d)
		}
	}
	return ds
}

// DaemonsFile is FRR's file "daemons": which of them its start script runs. zebra
// and staticd always are.
func (c Config) DaemonsFile() string {
	var l lines
	for _, d := range c.Daemons() {
		if d != "zebra" && d != "staticd" {
			l.add("%s=yes", d)
		}
	}
	l.add("vtysh_enable=yes")
	l.add(`zebra_options="  -A 127.0.0.1 -s 8388608 -K 20"`)
	for _, d := range c.Daemons()[1:] {
		l.add(`%s_options="  -A 127.0.0.1"`, d)
		if d == "bfdd" {
			// On a busy CPU it would miss its own timers, and tell of links that
			// are well.
			l.add(`bfdd_wrap="/usr/bin/chrt --rr 1"`)
		}
	}
	return l.String()
}

func (c Config) text(in func(section) bool) string {
	var b strings.Builder
	for _, s := range c.sections {
		if in(s) {
			b.WriteString(s.text)
			b.WriteString("!\n")
		}
	}
	return b.String()
}

// lines collects lines of text.
type lines struct{ strings.Builder }

func (l *lines) add(format string, args ...any) {
	fmt.Fprintf(l, format, args...)
	l.WriteByte('\n')
}

// family is how FRR's commands name the version of an address.
func family(a netip.Addr) string {
	if a.Is4() {
		return "ip"
	}
	return "ipv6"
}

// check finds words that FRR's command line would split or end.
func check(s device.State) error {
	words := map[string]string{"hostname": s.Hostname}
	for _, i := range s.Interfaces {
		words["interface "+i.Name] = i.Name
		if strings.ContainsAny(i.Description, "\r\n") {
			return fmt.Errorf("description of interface %s has a line break", i.Name)
		}
	}
	if s.BGP != nil {
		for _, g := range s.BGP.Groups {
			words["peer group "+g.Name] = g.Name
		}
		for _, f := range s.BGP.Filters {
			words["filter "+f.Name] = f.Name
		}
		for _, p := range s.BGP.Policies {
			words["policy "+p.Name] = p.Name
		}
		for _, n := range s.BGP.Neighbors {
			if !n.Address.IsValid() && n.Interface == "" {
				return fmt.Errorf("neighbour %q has neither address nor interface", n.Description)
			}
			if slices.ContainsFunc(s.BGP.Groups, func(g device.PeerGroup) bool { return g.Name == n.Interface }) {
				return fmt.Errorf("interface %s has the name of a peer group: FRR can't tell them apart", n.Interface)
			}
			if strings.ContainsAny(n.Description, "\r\n") {
				return fmt.Errorf("description of neighbour %s has a line break", peer(n))
			}
		}
	}
	if s.ISIS != nil {
		words["IS-IS instance "+s.ISIS.Name] = s.ISIS.Name
		words["NET "+s.ISIS.NET] = s.ISIS.NET
		for _, i := range s.ISIS.Interfaces {
			words["IS-IS interface "+i.Name] = i.Name
		}
		for _, f := range s.ISIS.Filters {
			words["filter "+f.Name] = f.Name
		}
	}
	for what, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\r\n!#?|") {
			return fmt.Errorf("%s: %q is not a name for FRR", what, w)
		}
	}
	return nil
}
