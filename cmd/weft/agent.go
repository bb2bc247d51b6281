package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/agent"
	"github.com/weft-sdn/weft/southbound/linux"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

func init() { commands = append(commands, newAgentCommand) }

// agentOptions are the flags of "weft agent".
type agentOptions struct {
	node, serial, token string
	controller, ca      string
	stateDir            string // empty when nothing is kept
	switchConfig        linux.Config
	log                 *slog.Logger
}

func newAgentCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of a switch, on the switch",
		Long: `Run the agent of a switch, on the switch: a Linux switch with FRR. It reports the
ports and, by LLDP (IEEE 802.1AB), who is at their other ends.

Where the controller has a Fabric, the agent puts the switch's part of the underlay in
place: addresses and MTU of the fabric's ports, settings of the kernel, and FRR, of
which it changes only what differs. It keeps the last good state in the state
directory, and starts from it when the controller is away. Every two seconds it looks
whether all is as it was left, mends what somebody changed, and tells. Without a Fabric
the underlay is left as it is.

On an EVPN leaf it keeps the bridges, VXLAN devices and filters of the networks that
have ports here, and the EVPN part of bgpd, and reports what the kernel has. Stopping
the agent stops no packet.

Without --node the switch announces itself until the controller says which node it
is: by its join token, its serial number, its MAC address or its cables, or because
someone admits it ("weft fabric admit"). It keeps the name, and the credential that
goes with it, in the state directory.`,
		Example: `  weft agent --node leaf1 --controller http://192.0.2.10:8470
  weft agent --controller http://192.0.2.10:8470 --state-dir /var/lib/weft-agent --token-file /etc/weft/token`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := a.config.BindPFlags(c.Flags()); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			o, err := a.agentOptions()
			if err != nil {
				return err
			}
			return o.run(ctx)
		},
	}
	f := c.Flags()
	f.String("node", "", "name of the switch's Node object, by which its neighbours know it; without it, and without --state-dir, the host's name")
	f.String("controller", "", "the controller's API, as a URL")
	f.String("state-dir", "", "directory in which the agent keeps the switch's name, its credential and its last good state")
	f.String("token-file", "", "file with a one-time join token; it is read again for each attempt")
	f.String("serial", "", "serial number of the box; the firmware's by default")
	f.String("frr-dir", "/var/run/frr", "directory of the command sockets of FRR's daemons")
	f.String("keeper", "", "address of the keeper with which bgpd is to peer, as 127.0.0.2; with the controllers themselves by default")
	f.String("log-level", "info", "debug, info, warn or error")
	return c
}

// agentOptions reads the flags.
func (a *app) agentOptions() (o agentOptions, err error) {
	var level slog.Level
	if s := a.config.GetString("log-level"); level.UnmarshalText([]byte(s)) != nil {
		return o, usageError{fmt.Errorf("log-level %q is not known: use debug, info, warn or error", s)}
	}
	o = agentOptions{node: a.config.GetString("node"), serial: a.config.GetString("serial"), token: a.config.GetString("token-file"),
		controller: a.config.GetString("controller"), ca: a.config.GetString("ca-file"), stateDir: a.config.GetString("state-dir"),
		log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))}
	o.switchConfig = linux.Config{FRRDir: a.config.GetString("frr-dir"), Logger: o.log}
	if o.controller == "" {
		return o, usageError{errors.New("give --controller, the URL of the controller's API")}
	}
	if o.token != "" && o.stateDir == "" {
		return o, usageError{errors.New("give --state-dir with --token-file: what the token gives is kept there")}
	}
	if o.node == "" && o.stateDir == "" {
		if o.node, err = os.Hostname(); err != nil {
			return o, fmt.Errorf("give --node: %w", err)
		}
	}
	if o.serial != "" && intent.CheckSerial(o.serial) != nil {
		return o, usageError{fmt.Errorf("--serial %w", intent.CheckSerial(o.serial))}
	}
	if k := a.config.GetString("keeper"); k != "" {
		if o.switchConfig.Keeper, err = netip.ParseAddr(k); err != nil {
			return o, usageError{fmt.Errorf("--keeper %q is no address", k)}
		}
	}
	return o, nil
}

// run serves the switch, under the name that it has or gets, until ctx ends.
func (o agentOptions) run(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("the agent configures the kernel's network and needs root: run it with sudo")
	}
	cl, err := client.New(o.controller)
	if err != nil {
		return err
	}
	if o.ca != "" {
		if cl, err = cl.WithCA(o.ca); err != nil {
			return err
		}
	}
	if o.serial = cmp.Or(o.serial, linux.Serial()); o.serial == "" {
		return errors.New("the box has no serial number and no Ethernet port: give --serial")
	}
	id := agent.NewIdentity()
	if o.stateDir != "" {
		if id, err = agent.ReadIdentity(o.stateDir); err != nil {
			return err
		}
	}
	var disk *agent.Disk
	if o.stateDir != "" {
		disk = &agent.Disk{Dir: o.stateDir}
	}
	cl = cl.WithCredential(id.Secret)
	tables := linux.NewTables()
	o.switchConfig.Tables = tables
	sw := linux.New(o.switchConfig)
	node := cmp.Or(o.node, id.Node)
	if node == "" {
		if node, err = o.joining(cl, linux.NewWires(o.serial, o.log), o.serial).Run(ctx); err != nil {
			return ended(err)
		}
	}
	for {
		if o.node == "" && id.Node != node {
			id.Node = node
			if err := id.Keep(o.stateDir); err != nil {
				o.log.Warn("the switch joins again at the next start", "err", err)
			}
		}
		o.log.Info("serving", "node", node, "controller", o.controller)
		wires := linux.NewWires(node, o.log)
		err := (&agent.Agent{Node: node, Serial: o.serial, Controller: cl, Switch: sw, Tables: tables, Wires: wires, Counting: linux.NewCounting(),
			Joining: o.joining(cl, wires, node), Routing: newRouting(node, cl, o.switchConfig),
			Asked: &agent.Asked{Node: node, Asker: cl, Answers: linux.Flows{}, Logger: o.log}, Logger: o.log, Underlay: linux.NewUnderlay(o.switchConfig.FRRDir, o.log), Disk: disk}).Run(ctx)
		var moved *agent.MovedError
		if !errors.As(err, &moved) {
			return ended(err)
		}
		o.log.Warn("the switch has got another name", "node", moved.Node, "was", node)
		node = moved.Node
	}
}

// ended is nil for an agent that was told to end.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// joining announces the switch, which says a name by LLDP.
func (o agentOptions) joining(cl *client.Client, wires *linux.Wires, name string) *agent.Joining {
	return &agent.Joining{Registrar: cl, Wires: wires, Logger: o.log,
		Describe: func(ctx context.Context) switchstate.Announcement {
			a := linux.Describe(ctx, o.switchConfig.FRRDir, o.controller)
			a.Serial, a.Node, a.Name = o.serial, o.node, name
			if o.token != "" {
				b, err := os.ReadFile(o.token)
				if err != nil {
					o.log.Debug("no join token is used", "err", err)
				}
				a.Token = strings.TrimSpace(string(b))
			}
			return a
		}}
}

// newRouting reports a switch's routing.
func newRouting(node string, cl *client.Client, c linux.Config) *agent.Routing {
	return &agent.Routing{Node: node, Controller: cl, Routes: linux.NewRouting(c.FRRDir, c.Logger), Logger: c.Logger}
}
