package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/weft-sdn/weft/lab"
)

// labFlags are common to the commands of a running lab.
type labFlags struct{ lab, output string }

func (f *labFlags) add(c *cobra.Command, output bool) {
	c.Flags().StringVar(&f.lab, "lab", "", "name of the lab; the only running one when left out")
	if output {
		f.addOutput(c)
	}
}

func (f *labFlags) addOutput(c *cobra.Command) {
	c.Flags().StringVarP(&f.output, "output", "o", "", "json, for programs")
}

// print writes JSON when asked to, else by the function.
func (f *labFlags) print(c *cobra.Command, v any, table func() error) error {
	switch f.output {
	case "":
		return table()
	case "json":
		e := json.NewEncoder(c.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	return fmt.Errorf("output %q is not known: use json, or leave it out", f.output)
}

// exitError ends the program with a status of its own.
type exitError struct {
	status int
	text   string // nothing more to say when empty
}

func (e exitError) Error() string { return e.text }

// ExitCode is the status to exit with.
func (e exitError) ExitCode() int { return e.status }

// errDiffers ends a check that found a difference: what differs was printed.
func errDiffers(what string) error { return exitError{1, what} }

// newLabCommand is "weft lab".
func newLabCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "lab",
		Short: "Emulate fabrics in network namespaces of this machine",
		Long: `Emulate fabrics in network namespaces of this machine: FRR for each switch,
Open vSwitch for each hypervisor, a namespace for each VM and server, and a
controller. Topologies are containerlab files.`,
		Example: `  weft lab generate --spines 2 --leaves 4 --hypervisors 4 --hosts 8 > lab.clab.yml
  sudo weft lab up lab.clab.yml
  sudo weft lab check
  sudo weft lab down lab.clab.yml`,
	}
	c.AddCommand(newLabGenerate(), newLabIntent(), newLabInspect(), newLabGraph(),
		newLabUp(), newLabDown(), newLabStatus(), newLabCheck(), newLabExec(), newLabLogs(),
		newLabCapture(), newLabKill(), newLabRestartController(), newLabExport(), newLabTag(), newLabJoin(), newLabChange(), newLabFailures(), newLabRollingRestart())
	return c
}

// interruptible ends with Ctrl-C.
func interruptible(c *cobra.Command) (context.Context, context.CancelFunc) {
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

func progressOf(c *cobra.Command) lab.Progress {
	w := c.ErrOrStderr()
	f, ok := w.(*os.File)
	return lab.PrintProgress(w, ok && term.IsTerminal(int(f.Fd())))
}

// planOf reads a file and plans its lab.
func planOf(path string, site int) (*lab.State, []string, error) {
	file, err := lab.LoadFile(path)
	if err != nil {
		return nil, nil, err
	}
	return lab.PlanSite(file, site)
}

func newLabInspect() *cobra.Command {
	var f labFlags
	c := &cobra.Command{
		Use: "inspect FILE", Short: "Show what a lab of a file would be: roles, plan and ignored fields", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, notes, err := planOf(args[0], 0)
			if err != nil {
				return err
			}
			v := struct {
				*lab.State
				Notes []string `json:"notes"`
			}{s, notes}
			return f.print(c, v, func() error { return lab.Inspect(c.OutOrStdout(), s, notes) })
		},
	}
	f.addOutput(c)
	return c
}

func newLabUp() *cobra.Command {
	var o lab.Options
	var without bool
	var site int
	var runtime string
	c := &cobra.Command{
		Use: "up FILE", Short: "Bring a lab up; does nothing when it is up already", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkRuntime(runtime); err != nil {
				return err
			}
			if runtime == runtimeContainerlab {
				if without {
					return usageError{errors.New("--no-controller goes with --runtime netns only: a lab of containerlab's has its controller as a node")}
				}
				return upByContainerlab(c, args[0])
			}
			s, notes, err := planOf(args[0], site)
			if err != nil {
				return err
			}
			if o.Weft, err = os.Executable(); err != nil {
				return err
			}
			if !without {
				s.UseController()
			}
			o.Progress = progressOf(c)
			began := time.Now()
			ctx, cancel := interruptible(c)
			defer cancel()
			err = lab.Up(ctx, s, o)
			if errors.Is(err, lab.ErrAlreadyUp) {
				fmt.Fprintf(c.OutOrStdout(), "lab %s is already up\n", s.Name)
				return nil
			}
			if err != nil {
				return err
			}
			for _, n := range notes {
				o.Progress.Note(n)
			}
			fmt.Fprintf(c.OutOrStdout(), "lab %s is up after %.1fs\n", s.Name, time.Since(began).Seconds())
			return nil
		},
	}
	c.Flags().BoolVar(&without, "no-controller", false, "only the underlay: no controller is started")
	c.Flags().IntVar(&site, "site", 0, "of a lab that is to be joined with others, 1 to 4: each needs one of its own")
	c.Flags().DurationVar(&o.Timeout, "timeout", 2*time.Minute, "give up after this time")
	addRuntime(c, &runtime)
	return c
}

func newLabDown() *cobra.Command {
	var runtime string
	c := &cobra.Command{
		Use: "down FILE|NAME", Short: "Take a lab down and leave nothing of it", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkRuntime(runtime); err != nil {
				return err
			}
			if runtime == runtimeContainerlab {
				return downByContainerlab(c, args[0])
			}
			name, err := lab.NameOf(args[0])
			if err != nil {
				return err
			}
			err = lab.Down(name, progressOf(c))
			if errors.Is(err, lab.ErrNoLab) {
				fmt.Fprintf(c.OutOrStdout(), "lab %s is not up\n", name)
				return nil
			}
			return err
		},
	}
	addRuntime(c, &runtime)
	return c
}

func newLabStatus() *cobra.Command {
	var f labFlags
	c := &cobra.Command{
		Use: "status [NAME]", Short: "Show a lab's nodes, BGP sessions and equal-cost paths", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.lab = args[0]
			}
			s, err := lab.Find(f.lab)
			if err != nil {
				return err
			}
			st, err := lab.ReadStatus(c.Context(), s)
			if err != nil {
				return err
			}
			if err := f.print(c, st, func() error { return st.Print(c.OutOrStdout()) }); err != nil {
				return err
			}
			if !st.OK() {
				return errDiffers("lab " + s.Name + " is not as it should be")
			}
			return nil
		},
	}
	f.add(c, true)
	return c
}

func newLabExec() *cobra.Command {
	var f labFlags
	c := &cobra.Command{
		Use: "exec NODE -- COMMAND...", Short: "Run a command in a node", Args: cobra.MinimumNArgs(2),
		Example: `  weft lab exec vm1 -- ping -c 1 10.0.0.2
  weft lab exec leaf1 -- vtysh -c "show ip route"`,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := lab.Find(f.lab)
			if err != nil {
				return err
			}
			command := args[1:]
			if command[0] == "--" {
				command = command[1:]
			}
			if len(command) == 0 {
				return errors.New("no command is given: weft lab exec NODE -- COMMAND")
			}
			status, err := lab.Exec(s, args[0], command)
			if err != nil {
				return exitError{status, err.Error()}
			}
			if status != 0 {
				return exitError{status: status}
			}
			return nil
		},
	}
	c.Flags().SetInterspersed(false)
	f.add(c, false)
	return c
}

func newLabLogs() *cobra.Command {
	var f labFlags
	var follow bool
	c := &cobra.Command{
		Use: "logs NODE", Short: "Show the logs of a node, or of the controller", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := lab.Find(f.lab)
			if err != nil {
				return err
			}
			ctx, cancel := interruptible(c)
			defer cancel()
			return lab.PrintLogs(ctx, c.OutOrStdout(), s, args[0], follow)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until Ctrl-C")
	f.add(c, false)
	return c
}

func newLabCapture() *cobra.Command {
	var f labFlags
	var path string
	c := &cobra.Command{
		Use: "capture NODE INTERFACE", Short: "Write an interface's packets as pcap until Ctrl-C", Args: cobra.ExactArgs(2),
		Example: `  weft lab capture hv1 eth1 -w hv1.pcap
  weft lab capture leaf1 eth1 | tshark -r -`,
		RunE: func(c *cobra.Command, args []string) error {
			s, err := lab.Find(f.lab)
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			if file, ok := out.(*os.File); ok && path == "" && term.IsTerminal(int(file.Fd())) {
				return errors.New("packets are no text for a terminal: give a file with -w, or pipe them on")
			}
			if path != "" && path != "-" {
				file, err := os.Create(path)
				if err != nil {
					return err
				}
				defer file.Close()
				out = file
			}
			ctx, cancel := interruptible(c)
			defer cancel()
			n, err := lab.Capture(ctx, out, s, args[0], args[1])
			if err == nil {
				fmt.Fprintf(c.ErrOrStderr(), "%d packets\n", n)
			}
			return err
		},
	}
	c.Flags().StringVarP(&path, "write", "w", "", "file to write; standard output when left out")
	f.add(c, false)
	return c
}

func newLabKill() *cobra.Command {
	var f labFlags
	c := &cobra.Command{
		Use: "kill NODE", Short: "Kill a node's processes, as a crash would; its links stay", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := lab.Find(f.lab)
			if err != nil {
				return err
			}
			return lab.Kill(s, args[0], true)
		},
	}
	f.add(c, false)
	return c
}

func newLabRestartController() *cobra.Command {
	var f labFlags
	var kill bool
	c := &cobra.Command{
		Use: "restart-controller", Short: "End the controller and start it again with the same data", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := lab.Find(f.lab)
			if err != nil {
				return err
			}
			weft, err := os.Executable()
			if err != nil {
				return err
			}
			ctx, cancel := interruptible(c)
			defer cancel()
			return lab.RestartController(ctx, s, weft, kill)
		},
	}
	c.Flags().BoolVar(&kill, "kill", false, "kill it instead of asking it to end")
	f.add(c, false)
	return c
}
