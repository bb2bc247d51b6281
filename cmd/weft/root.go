package main

import (
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/viper"
)

// app is what every command shares: streams and configuration.
type app struct {
	in       io.Reader
	out, err io.Writer
	config   *viper.Viper
}

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
	return c
}
