package evpn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	api "github.com/osrg/gobgp/v3/api"
)

// KeeperConfig of a Keeper.
type KeeperConfig struct {
	ASN uint32 // the leaf's
	// RouterID is the keeper's BGP identifier and cluster ID, of its own on
	// each leaf: neither bgpd's nor another keeper's, nor the controller's,
	// nor 127.64.0.1.
	RouterID    netip.Addr
	Listen      netip.AddrPort // where controllers dial
	Controllers []netip.Addr
	Password    string         // of the controllers, for TCP-MD5; may be empty
	BGPD        netip.AddrPort // the leaf's bgpd, at an address of an interface: FRR refuses sessions at 127.0.0.1
	From        netip.Addr     // how bgpd knows the keeper, as 127.0.0.2
	// RestartTime and StaleTime are those of Config: here they say how long
	// the controllers keep the leaf's routes.
	RestartTime, StaleTime time.Duration
	Logger                 *slog.Logger
}

// Keeper is a route reflector that runs beside a leaf's bgpd, which knows no
// graceful restart for EVPN, and keeps the controllers' routes in it while the
// controllers are away. It is as little as can be, for it must not be restarted
// often: when it ends, bgpd withdraws all.
type Keeper struct{ cfg KeeperConfig }

// NewKeeper returns a keeper.
func NewKeeper(cfg KeeperConfig) *Keeper {
	if cfg.RestartTime == 0 {
		cfg.RestartTime = 120 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Keeper{cfg}
}

// Run works until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	if len(k.cfg.Controllers) == 0 || !k.cfg.Listen.IsValid() || !k.cfg.BGPD.IsValid() || k.cfg.BGPD.Addr() == k.cfg.From {
		return errors.New("a keeper needs controllers, an address to listen on, and a bgpd at an address other than its own")
	}
	b, _, err := startGoBGP(ctx, k.cfg.ASN, k.cfg.RouterID, k.cfg.Listen, k.cfg.Logger)
	if err != nil {
		return err
	}
	defer b.Stop()
	gr := restart{k.cfg.RestartTime, k.cfg.StaleTime}
	clients := []neighbor{{addr: k.cfg.BGPD.Addr(), port: k.cfg.BGPD.Port(), local: k.cfg.From, asn: k.cfg.ASN, gr: gr}}
	for _, c := range k.cfg.Controllers {
		clients = append(clients, neighbor{addr: c, local: k.cfg.Listen.Addr(), asn: k.cfg.ASN, password: k.cfg.Password, gr: gr})
	}
	for _, c := range clients {
		if err := b.AddPeer(ctx, &api.AddPeerRequest{Peer: c.peer(k.cfg.RouterID)}); err != nil {
			return fmt.Errorf("configure GoBGP: %w", err)
		}
	}
	<-ctx.Done()
	return ctx.Err()
}
