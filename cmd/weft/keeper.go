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

	"github.com/weft-sdn/weft/southbound/evpn"
)

func init() { commands = append(commands, newKeeperCommand) }

// keeperPort is where controllers dial a keeper: bgpd has 179.
const keeperPort = 1179

func newKeeperCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "keeper",
		Short: "Keep EVPN routes on a leaf while the controller is away",
		Long: `Keep EVPN routes on a leaf while the controller is away. It is a BGP route
reflector beside the leaf's bgpd, for FRR before 10.6, which knows no graceful
restart (RFC 4724) for EVPN and withdraws everything when the controller's
session ends. The controller peers with the keeper (spec.evpn.port of the node),
and the agent, given --keeper, has bgpd peer with it. It does little and should
run for long: when it ends, bgpd withdraws all.`,
		Example: `  weft keeper --asn 4200000001 --controllers 192.0.2.10 --listen 192.0.2.31:1179 --bgpd 10.64.0.1:179`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := a.config.BindPFlags(c.Flags()); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return a.keeper(ctx)
		},
	}
	f := c.Flags()
	f.Uint32("asn", 0, "the leaf's AS")
	f.StringSlice("controllers", nil, "addresses from which controllers dial")
	f.String("listen", "", fmt.Sprintf("ADDRESS:PORT where controllers dial; port %d by custom", keeperPort))
	f.String("bgpd", "", "ADDRESS:PORT of the leaf's bgpd, at an address of an interface, not of 127/8")
	f.String("from", "127.0.0.2", "address as which bgpd knows the keeper")
	f.String("bgp-router-id", "", "BGP identifier, an IPv4 address that nobody else has; the listening one by default")
	f.String("password", "", "TCP-MD5 password of the controllers; better set WEFT_PASSWORD or the configuration file")
	f.String("log-level", "info", "debug, info, warn or error")
	return c
}

func (a *app) keeper(ctx context.Context) error {
	var level slog.Level
	if s := a.config.GetString("log-level"); level.UnmarshalText([]byte(s)) != nil {
		return usageError{fmt.Errorf("log-level %q is not known: use debug, info, warn or error", s)}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	cfg := evpn.KeeperConfig{ASN: a.config.GetUint32("asn"), Password: a.config.GetString("password"), StaleTime: staleTime, Logger: log}
	if cfg.ASN == 0 {
		return usageError{errors.New("give --asn, the leaf's AS")}
	}
	for name, into := range map[string]*netip.AddrPort{"listen": &cfg.Listen, "bgpd": &cfg.BGPD} {
		at, err := netip.ParseAddrPort(a.config.GetString(name))
		if err != nil {
			return usageError{fmt.Errorf("--%s %q is no ADDRESS:PORT", name, a.config.GetString(name))}
		}
		*into = at
	}
	id := a.config.GetString("bgp-router-id")
	if id == "" {
		id = cfg.Listen.Addr().String()
	}
	for name, in := range map[string]struct {
		value string
		into  *netip.Addr
	}{"from": {a.config.GetString("from"), &cfg.From}, "bgp-router-id": {id, &cfg.RouterID}} {
		at, err := netip.ParseAddr(in.value)
		if err != nil || !at.Is4() {
			return usageError{fmt.Errorf("--%s %q is no IPv4 address", name, in.value)}
		}
		*in.into = at
	}
	for _, s := range a.list("controllers") {
		at, err := netip.ParseAddr(s)
		if err != nil {
			return usageError{fmt.Errorf("--controllers %q is no address", s)}
		}
		cfg.Controllers = append(cfg.Controllers, at)
	}
	if len(cfg.Controllers) == 0 {
		return usageError{errors.New("give --controllers, the addresses from which controllers dial")}
	}
	log.Info("keeping routes", "listen", cfg.Listen.String(), "bgpd", cfg.BGPD.String())
	if err := evpn.NewKeeper(cfg).Run(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}
