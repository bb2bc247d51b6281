package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// app is what every command shares: streams and configuration.
type app struct {
	in       io.Reader
	out, err io.Writer
	config   *viper.Viper
	flags    *pflag.FlagSet // the root's
}

// given reports whether a flag of the root is on the command line.
func (a *app) given(flag string) bool { return a.flags.Changed(flag) }

func newApp(in io.Reader, out, errs io.Writer) *app {
	return &app{in: in, out: out, err: errs, config: viper.New()}
}

// commands are the constructors of all verbs; each file adds its own.
var commands []func(*app) *cobra.Command

// usageError is a wrong command line: exit status 2.
type usageError struct{ error }

// ExitCode is the exit status for a wrong command line.
func (usageError) ExitCode() int { return 2 }

func newRootCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "weft",
		Short: "Controller for spine-leaf fabrics with VXLAN overlays",
		Long: `Weft runs a spine-leaf fabric and the tenants' networks on it.

Try it on one machine, as root:
  weft lab generate --spines 2 --leaves 3 --hypervisors 2 --hosts 2 > dc.clab.yml
  weft lab up dc.clab.yml
  weft lab intent dc.clab.yml | weft apply -f -
  weft get ports -A
  weft lab check
  weft lab down dc.clab.yml`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	c.SetIn(a.in)
	c.SetOut(a.out)
	c.SetErr(a.err)
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	a.addFlags(c)
	for _, f := range commands {
		c.AddCommand(f(a))
	}
	c.AddCommand(newLabCommand())
	strict(c)
	return c
}

// meant names the subcommands that are much like a word that is none.
func meant(c *cobra.Command, word string) string {
	c.SuggestionsMinimumDistance = 2
	like := c.SuggestionsFor(word)
	if len(like) == 0 {
		return ""
	}
	return ": is it " + strings.Join(like, " or ") + "?"
}

// strict makes wrong arguments usage errors, all the way down, and lets a
// command that only has subcommands refuse others.
func strict(c *cobra.Command) {
	for _, sub := range c.Commands() {
		strict(sub)
		if check := sub.Args; check != nil {
			sub.Args = func(c *cobra.Command, args []string) error {
				if err := check(c, args); err != nil {
					return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
				}
				return nil
			}
		}
		if sub.HasSubCommands() && sub.RunE == nil && sub.Run == nil {
			sub.RunE = func(c *cobra.Command, args []string) error {
				if len(args) > 0 {
					return usageError{fmt.Errorf("%s has no subcommand %q%s; see %s --help", c.CommandPath(), args[0], meant(c, args[0]), c.CommandPath())}
				}
				return c.Help()
			}
		}
	}
}
