package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/southbound/agent"
	"github.com/weft-sdn/weft/southbound/linux"
)

func init() { commands = append(commands, newAgentCommand) }

func newAgentCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of a switch, on the switch",
		Long: `Run the agent of a switch, on the switch: a Linux switch with FRR. It reports the
ports and, by LLDP (IEEE 802.1AB), who is at their other ends. On an EVPN leaf it
keeps the bridges, VXLAN devices and filters of the networks that have ports here,
and the EVPN part of bgpd, and reports what the kernel has. The underlay's
configuration is left as it is. Stopping the agent stops no packet.`,
		Example: `  weft agent --node leaf1 --controller http://192.0.2.10:8470`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := a.config.BindPFlags(c.Flags()); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return a.agent(ctx)
		},
	}
	f := c.Flags()
	f.String("node", "", "name of the switch's Node object, by which its neighbours know it; the host's name by default")
	f.String("controller", "", "the controller's API, as a URL")
	f.String("frr-dir", "/var/run/frr", "directory of the command sockets of FRR's daemons")
	f.String("keeper", "", "address of the keeper with which bgpd is to peer, as 127.0.0.2; with the controllers themselves by default")
	f.String("log-level", "info", "debug, info, warn or error")
	return c
}

func (a *app) agent(ctx context.Context) error {
	var level slog.Level
	if s := a.config.GetString("log-level"); level.UnmarshalText([]byte(s)) != nil {
		return usageError{fmt.Errorf("log-level %q is not known: use debug, info, warn or error", s)}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	node := a.config.GetString("node")
	if node == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("give --node: %w", err)
		}
		node = name
	}
	at := a.config.GetString("controller")
	if at == "" {
		return usageError{errors.New("give --controller, the URL of the controller's API")}
	}
	if os.Geteuid() != 0 {
		return errors.New("the agent configures the kernel's network and needs root: run it with sudo")
	}
	cl, err := client.New(at)
	if err != nil {
		return err
	}
	config := linux.Config{FRRDir: a.config.GetString("frr-dir"), Logger: log}
	if k := a.config.GetString("keeper"); k != "" {
		if config.Keeper, err = netip.ParseAddr(k); err != nil {
			return usageError{fmt.Errorf("--keeper %q is no address", k)}
		}
	}
	sw := linux.New(config)
	agent := &agent.Agent{Node: node, Controller: cl, Switch: sw, Tables: linux.NewTables(), Wires: linux.NewWires(node, log), Counting: linux.NewCounting(), Logger: log}
	log.Info("serving", "node", node, "controller", at)
	if err := agent.Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
