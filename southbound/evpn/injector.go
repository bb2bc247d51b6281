package evpn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// InjectorConfig of an Injector.
type InjectorConfig struct {
	Leaf     netip.AddrPort // its bgpd
	From     netip.Addr     // how bgpd knows us; may be invalid
	ASN      uint32         // the leaf's
	RouterID netip.Addr
	Password string // for TCP-MD5; may be empty
	Logger   *slog.Logger
}

// Injector announces routes to one leaf that are for it alone: by internal BGP, with
// a local preference above that of the routes that the leaf has from its spines, and
// with no-export (RFC 1997). A route with several next hops is several paths (RFC
// 7911), weighted by link bandwidth communities (draft-ietf-idr-link-bandwidth).
// bgpd uses those whose next hop it can reach; with the session all go, and the leaf is
// back on what it had.
//
// bgpd then needs
//
//	router bgp 65001
//	 neighbor 10.0.0.2 remote-as 65001
//	 neighbor 10.0.0.2 passive
//	 address-family ipv4 unicast
//	  neighbor 10.0.0.2 activate
//	  neighbor 10.0.0.2 route-map NOTHING out
//	  maximum-paths ibgp 64
//
// and zebra "no zebra nexthop kernel enable" (see package frr): with nexthop objects
// zebra 8.4 uses a group again that lost a member while its link was down, and a leaf
// that is let go has one next hop of its ECMP.
type Injector struct {
	cfg  InjectorConfig
	wake chan struct{} // one place: something was set

	mu   sync.Mutex
	want map[netip.Prefix]Injection
	up   bool
}

// Injection is a route.
type Injection struct {
	Prefix netip.Prefix
	Hops   []InjectedHop // with different addresses
}

// InjectedHop is one of a route's next hops.
type InjectedHop struct {
	Address netip.Addr
	Weight  int // by the others'; at least 1
}

const (
	injectedPreference = 200
	noExport           = 0xffffff01 // RFC 1997
	mostHops           = 64
	// injectorHold is for how many seconds a leaf keeps the routes of a controller
	// that says nothing.
	injectorHold = 9
	// perWeight is the bandwidth that a weight of one stands for, in octets per
	// second: only ratios count.
	perWeight = 1e6
)

// NewInjector returns an injector that has nothing to announce yet.
func NewInjector(cfg InjectorConfig) *Injector {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Injector{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Set says which routes the leaf is to have. It does not block; the last one counts.
func (i *Injector) Set(routes []Injection) error {
	want := map[netip.Prefix]Injection{}
	for _, r := range routes {
		if err := r.check(); err != nil {
			return err
		}
		if _, ok := want[r.Prefix]; ok {
			return fmt.Errorf("route %s is given twice", r.Prefix)
		}
		want[r.Prefix] = r
	}
	i.mu.Lock()
	i.want = want
	i.mu.Unlock()
	select {
	case i.wake <- struct{}{}:
	default:
	}
	return nil
}

func (r Injection) check() error {
	if !r.Prefix.IsValid() || !r.Prefix.Addr().Is4() || r.Prefix != r.Prefix.Masked() {
		return fmt.Errorf("route %s: it is not an IPv4 prefix", r.Prefix)
	}
	if len(r.Hops) == 0 || len(r.Hops) > mostHops {
		return fmt.Errorf("route %s: %d next hops are outside 1..%d", r.Prefix, len(r.Hops), mostHops)
	}
	for k, h := range r.Hops {
		if !h.Address.Is4() || h.Weight < 1 {
			return fmt.Errorf("route %s: next hop %s with weight %d can't be", r.Prefix, h.Address, h.Weight)
		}
		if slices.ContainsFunc(r.Hops[:k], func(o InjectedHop) bool { return o.Address == h.Address }) {
			return fmt.Errorf("route %s: next hop %s is there twice", r.Prefix, h.Address)
		}
	}
	return nil
}

// Established reports whether the session is up.
func (i *Injector) Established() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.up
}

// Run holds the session and announces until ctx ends.
func (i *Injector) Run(ctx context.Context) error {
	if !i.cfg.Leaf.IsValid() || i.cfg.ASN == 0 || !i.cfg.RouterID.Is4() {
		return errors.New("an injector needs a leaf, its AS and a router ID")
	}
	b, _, err := startGoBGP(ctx, i.cfg.ASN, i.cfg.RouterID, netip.AddrPort{}, i.cfg.Logger)
	if err != nil {
		return err
	}
	defer b.Stop()
	err = b.WatchEvent(ctx, &api.WatchEventRequest{Peer: &api.WatchEventRequest_Peer{}}, func(e *api.WatchEventResponse) {
		if p := e.GetPeer(); p != nil && p.Peer != nil && p.Peer.State != nil {
			i.mu.Lock()
			i.up = p.Peer.State.SessionState == api.PeerState_ESTABLISHED
			i.mu.Unlock()
		}
	})
	if err != nil {
		return fmt.Errorf("watch GoBGP: %w", err)
	}
	if err := b.AddPeer(ctx, &api.AddPeerRequest{Peer: i.peer()}); err != nil {
		return fmt.Errorf("configure GoBGP: %w", err)
	}
	has := &toLeaf{server: b, routes: map[netip.Prefix]*announcedRoute{}}
	for {
		i.mu.Lock()
		want := i.want
		i.mu.Unlock()
		if err := has.become(ctx, want); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-i.wake:
		}
	}
}

func (i *Injector) peer() *api.Peer {
	p := &api.Peer{
		Conf:      &api.PeerConf{NeighborAddress: i.cfg.Leaf.Addr().String(), PeerAsn: i.cfg.ASN, LocalAsn: i.cfg.ASN, AuthPassword: i.cfg.Password},
		Transport: &api.Transport{RemotePort: uint32(i.cfg.Leaf.Port())},
		Timers:    &api.Timers{Config: &api.TimersConfig{HoldTime: injectorHold, KeepaliveInterval: injectorHold / 3, ConnectRetry: 2}},
		AfiSafis: []*api.AfiSafi{{
			Config:   &api.AfiSafiConfig{Family: &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}, Enabled: true},
			AddPaths: &api.AddPaths{Config: &api.AddPathsConfig{SendMax: mostHops}},
		}},
	}
	if i.cfg.From.IsValid() {
		p.Transport.LocalAddress = i.cfg.From.String()
	}
	return p
}

// toLeaf is what the leaf was told.
type toLeaf struct {
	server *server.BgpServer
	routes map[netip.Prefix]*announcedRoute
}

// announcedRoute has the path identifier and weight of each next hop. Identifiers are
// never 0, and one is not used again while the route lasts.
type announcedRoute struct {
	hops map[netip.Addr]announcedHop
	last uint32
}

type announcedHop struct {
	id     uint32
	weight int
}

// become announces what is new or other, then withdraws what is no longer wanted: make
// before break.
func (a *toLeaf) become(ctx context.Context, want map[netip.Prefix]Injection) error {
	for _, prefix := range slices.SortedFunc(maps.Keys(want), netip.Prefix.Compare) {
		r := a.routes[prefix]
		if r == nil {
			r = &announcedRoute{hops: map[netip.Addr]announcedHop{}}
			a.routes[prefix] = r
		}
		for _, h := range want[prefix].Hops {
			old, ok := r.hops[h.Address]
			if ok && old.weight == h.Weight {
				continue
			}
			if !ok {
				r.last++
				old.id = r.last
			}
			old.weight = h.Weight
			path, err := injectedPath(prefix, h.Address, old)
			if err != nil {
				return err
			}
			if _, err := a.server.AddPath(ctx, &api.AddPathRequest{TableType: api.TableType_GLOBAL, Path: path}); err != nil {
				return fmt.Errorf("announce %s by %s: %w", prefix, h.Address, err)
			}
			r.hops[h.Address] = old
		}
	}
	for _, prefix := range slices.SortedFunc(maps.Keys(a.routes), netip.Prefix.Compare) {
		r := a.routes[prefix]
		for _, hop := range slices.SortedFunc(maps.Keys(r.hops), netip.Addr.Compare) {
			if slices.ContainsFunc(want[prefix].Hops, func(h InjectedHop) bool { return h.Address == hop }) {
				continue
			}
			path, err := injectedPath(prefix, hop, r.hops[hop])
			if err != nil {
				return err
			}
			if err := a.server.DeletePath(ctx, &api.DeletePathRequest{TableType: api.TableType_GLOBAL, Path: path}); err != nil {
				return fmt.Errorf("withdraw %s by %s: %w", prefix, hop, err)
			}
			delete(r.hops, hop)
		}
		if len(r.hops) == 0 {
			delete(a.routes, prefix)
		}
	}
	return nil
}

// injectedPath is one path of a route, as GoBGP takes it.
func injectedPath(prefix netip.Prefix, hop netip.Addr, h announcedHop) (*api.Path, error) {
	var attributes []*anypb.Any
	nlri, err := anypb.New(&api.IPAddressPrefix{Prefix: prefix.Addr().String(), PrefixLen: uint32(prefix.Bits())})
	if err != nil {
		return nil, err
	}
	bandwidth, err := anypb.New(&api.LinkBandwidthExtended{Bandwidth: float32(h.weight) * perWeight})
	if err != nil {
		return nil, err
	}
	for _, m := range []proto.Message{
		&api.OriginAttribute{Origin: 0},
		&api.NextHopAttribute{NextHop: hop.String()},
		&api.LocalPrefAttribute{LocalPref: injectedPreference},
		&api.CommunitiesAttribute{Communities: []uint32{noExport}},
		&api.ExtendedCommunitiesAttribute{Communities: []*anypb.Any{bandwidth}},
	} {
		v, err := anypb.New(m)
		if err != nil {
			return nil, err
		}
		attributes = append(attributes, v)
	}
	return &api.Path{
		Family:     &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST},
		Nlri:       nlri,
		Pattrs:     attributes,
		Identifier: h.id,
	}, nil
}
