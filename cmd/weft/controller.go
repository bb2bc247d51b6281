package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
	"github.com/weft-sdn/weft/fabric/steering"
	"github.com/weft-sdn/weft/overlay"
	routes "github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/evpn"
	"github.com/weft-sdn/weft/southbound/leaf"
	"github.com/weft-sdn/weft/southbound/vswitch"
	"github.com/weft-sdn/weft/southbound/vtep"
)

func init() { commands = append(commands, newControllerCommand) }

// controllerOptions are the flags of "weft controller".
type controllerOptions struct {
	dir, logLevel string
	pprof         string
	endpoints     []string
	listen        []string
	requireTokens bool
	users         string // file; may be empty
	cert, key     string // files; both or none
	asn           uint32
	bgpAddress    netip.Addr // from which leaves are dialled; may be invalid
	routerID      netip.Addr
	bgpListen     netip.AddrPort // where other fabrics dial; may be invalid
}

func newControllerCommand(a *app) *cobra.Command {
	var o controllerOptions
	c := &cobra.Command{
		Use:   "controller",
		Short: "Run the controller",
		Long: `Run the controller: it keeps intent in etcd, programs the devices and serves
the REST API. Stopping it stops no packet.

etcd runs inside this process, with its data in the data directory, unless
--etcd-endpoints names a cluster.`,
		Example: `  weft controller --data-dir /var/lib/weft
  weft controller --etcd-endpoints http://10.0.0.1:2379,http://10.0.0.2:2379
  weft controller --listen 127.0.0.1:8470 --listen unix:/run/weft/api.sock
  weft controller --listen 192.0.2.10:8470 --tls-cert /etc/weft/tls.crt --tls-key /etc/weft/tls.key --users /etc/weft/users.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := a.config.BindPFlags(c.Flags()); err != nil {
				return err
			}
			o.dir, o.logLevel = a.config.GetString("data-dir"), a.config.GetString("log-level")
			o.pprof = a.config.GetString("pprof")
			o.requireTokens = a.config.GetBool("require-tokens")
			o.users, o.cert, o.key = a.config.GetString("users"), a.config.GetString("tls-cert"), a.config.GetString("tls-key")
			o.endpoints, o.listen = a.list("etcd-endpoints"), a.list("listen")
			if err := o.bgp(a.config.GetUint32("asn"), a.config.GetString("bgp-address"), a.config.GetString("bgp-router-id")); err != nil {
				return err
			}
			if err := o.listenBGP(a.config.GetString("bgp-listen")); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return o.run(ctx)
		},
	}
	f := c.Flags()
	f.String("data-dir", "weft-data", "directory of the etcd that runs in this process")
	f.StringSlice("etcd-endpoints", nil, "an etcd cluster to use instead, as URLs")
	f.StringSlice("listen", []string{defaultListen}, "where to serve the API: ADDRESS:PORT or unix:PATH; may be repeated")
	f.Bool("require-tokens", false, "refuse agents of switches that have not joined with a join token or been admitted")
	f.String("users", "", "file of those who may use the API over TCP, see \"weft user\"; anyone may by default. Implies --require-tokens")
	f.String("tls-cert", "", "PEM file with the certificate by which TCP listeners speak TLS; read again when it changes")
	f.String("tls-key", "", "PEM file with its key")
	f.Uint32("asn", defaultASN, "AS of which the route targets and distinguishers of BGP EVPN are made")
	f.String("bgp-address", "", "address from which EVPN leaves are dialled; the one that the route to them has by default")
	f.String("bgp-listen", "", "ADDRESS:PORT where controllers of other fabrics dial, for interconnects with passive peers; nowhere by default")
	f.String("bgp-router-id", "", "BGP identifier, an IPv4 address that no leaf has; made from the host's name by default")
	f.String("log-level", "info", "debug, info, warn or error")
	f.String("pprof", "", "serve Go profiles on this loopback ADDRESS:PORT, under /debug/pprof/")
	return c
}

// defaultListen is where the API is served; loopback only.
const defaultListen = "127.0.0.1:8470"

// defaultASN is the first AS for private use (RFC 6996).
const defaultASN = 64512

// bgp reads the flags of the speaker.
func (o *controllerOptions) bgp(asn uint32, address, id string) error {
	o.asn = asn
	if asn == 0 {
		return usageError{errors.New("asn 0 is reserved (RFC 7607): use a private one such as 64512")}
	}
	for _, f := range []struct {
		name, value string
		into        *netip.Addr
		v4          bool
	}{{"bgp-address", address, &o.bgpAddress, false}, {"bgp-router-id", id, &o.routerID, true}} {
		if f.value == "" {
			continue
		}
		a, err := netip.ParseAddr(f.value)
		if err != nil || f.v4 && !a.Is4() || a.IsUnspecified() {
			return usageError{fmt.Errorf("%s %q is no address that can be used", f.name, f.value)}
		}
		*f.into = a
	}
	if !o.routerID.IsValid() {
		o.routerID = hostRouterID()
	}
	return nil
}

// listenBGP reads the flag of the listener.
func (o *controllerOptions) listenBGP(at string) error {
	if at == "" {
		return nil
	}
	a, err := netip.ParseAddrPort(at)
	if err != nil || a.Port() == 0 {
		return usageError{fmt.Errorf("bgp-listen %q is no address and port like 192.0.2.1:179", at)}
	}
	o.bgpListen = a
	return nil
}

// hostRouterID makes a BGP identifier from the host's name: the same each time,
// as graceful restart needs it, and hardly another's.
func hostRouterID() netip.Addr {
	name, _ := os.Hostname() // without a name all hosts have the same one, and two controllers need --bgp-router-id
	h := fnv.New32a()
	_, _ = h.Write([]byte("weft " + name))
	b := binary.BigEndian.AppendUint32(nil, h.Sum32())
	return netip.AddrFrom4([4]byte{240 | b[0]&7, b[1], b[2], b[3] | 1}) // no host has one of 240/5
}

// bgpSpeaker is a speaker as the engine uses it.
type bgpSpeaker struct{ *evpn.Speaker }

// SetPeers implements engine.Speaker.
func (s bgpSpeaker) SetPeers(peers []engine.BGPPeer) error {
	out := make([]evpn.Peer, len(peers))
	for i, p := range peers {
		out[i] = evpn.Peer{Name: p.Name, Address: p.Address, ASN: p.ASN, Password: p.Password, MaxRoutes: p.MaxRoutes, LocalAddress: p.Source, VTEP: p.VTEP,
			LocalASN: p.LocalASN, HoldTime: p.HoldTime, Passive: p.Passive}
	}
	return s.Speaker.SetPeers(out)
}

// injector is an injector as the engine uses it.
type injector struct{ *evpn.Injector }

// Set implements engine.Injector.
func (i injector) Set(routes []steering.Route) error {
	out := make([]evpn.Injection, len(routes))
	for k, r := range routes {
		out[k].Prefix = r.Prefix
		for _, h := range r.After {
			if slices.ContainsFunc(out[k].Hops, func(o evpn.InjectedHop) bool { return o.Address == h.Address }) {
				continue // a loopback, by parallel links
			}
			out[k].Hops = append(out[k].Hops, evpn.InjectedHop{Address: h.Address, Weight: h.Weight})
		}
	}
	return i.Injector.Set(out)
}

// newEngine wires the engine, the speaker and the drivers.
func (o controllerOptions) newEngine(st *store.Store, listener *evpn.Listener, log *slog.Logger) (*engine.Engine, *evpn.Speaker) {
	var eng *engine.Engine
	config := evpn.Config{
		ASN: o.asn, RouterID: o.routerID, StaleTime: staleTime, Hold: true, Logger: log,
		OnRoutes: func(peer string, changes []evpn.Change) {
			out := make([]overlay.RouteChange, len(changes))
			for i, c := range changes {
				out[i] = overlay.RouteChange{Route: c.Route, Withdrawn: c.Withdrawn}
			}
			eng.TakeRoutes(peer, out)
		},
		OnPeer:  func(peer string) { eng.PeerChanged(peer) },
		OnAlarm: func(peer string, key southbound.AlarmKey, message string) { eng.PeerAlarm(peer, key, message) },
	}
	leaves, fabrics := config, config
	leaves.Admit = func(peer string, r *routes.Route) bool { return eng.Admit(peer, r) }
	speaker := evpn.New(leaves)
	fabrics.Fabric, fabrics.Listener = true, listener
	newFabric := func(_ string, asn uint32) engine.Fabric {
		own := fabrics
		if asn != o.asn {
			own.Prepend = o.asn
		}
		return bgpSpeaker{evpn.New(own)}
	}
	newInjector := func(n *intent.Node) engine.Injector {
		i := n.Spec.Injection
		return injector{evpn.NewInjector(evpn.InjectorConfig{Leaf: i.At(), From: o.bgpAddress, ASN: n.Spec.ASN, RouterID: o.routerID, Password: i.Password, Logger: log})}
	}
	gates := vswitch.NewGates()
	eng = engine.New(engine.Config{Source: st, Logger: log, Speaker: bgpSpeaker{speaker}, NewFabric: newFabric, NewInjector: newInjector, ASN: o.asn, BGPSource: o.bgpAddress, Moved: st.Moved, GivenColours: st,
		NewDriver: func(n *intent.Node, f southbound.Feed) southbound.Driver {
			switch {
			case n.Spec.HardwareVTEP != nil:
				return vtep.New(n, f, log)
			case n.Spec.EVPN != nil:
				return leaf.New(n, f, leaf.Config{Logger: log, Source: o.bgpAddress, Network: func(v intent.VNI) *intent.Network { return eng.Network(v) },
					Router:  func(v intent.VNI) *intent.Router { return eng.Router(v) },
					Borders: func() []overlay.Border { return eng.Borders(n.Metadata.Name) },
					Leaf:    func(vtep netip.Addr) bool { return eng.IsEVPN(vtep) },
					Session: func() (intent.BGPSession, bool) { return speaker.Peer(n.Metadata.Name) }})
			}
			return vswitch.New(n, f, gates, log)
		}})
	return eng, speaker
}

// staleTime is how long leaves that can (RFC 9494) keep our routes as the last
// resort when the controller is away for longer.
const staleTime = 24 * time.Hour

func (o controllerOptions) run(ctx context.Context) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return usageError{fmt.Errorf("log-level %q is not known: use debug, info, warn or error", o.logLevel)}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	served, err := o.access(log)
	if err != nil {
		return err
	}
	listeners, err := listenAll(o.listen)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	profiles, err := listenPprof(o.pprof)
	if err != nil {
		return err
	}
	if profiles != nil {
		var serving sync.WaitGroup
		defer serving.Wait()
		defer profiles.Close()
		serving.Go(func() { servePprof(profiles) })
	}
	config := store.Config{Endpoints: o.endpoints, Logger: log}
	if len(o.endpoints) == 0 {
		config.Dir = o.dir
	}
	st, err := store.Open(ctx, config)
	if err != nil {
		return err
	}
	defer st.Close()
	var listener *evpn.Listener
	if o.bgpListen.IsValid() {
		if listener, err = evpn.Listen(o.bgpListen); err != nil {
			return err
		}
	}
	eng, speaker := o.newEngine(st, listener, log)
	served.Store, served.Status, served.Boxes, served.Logger, served.Version, served.Commit = st, eng, eng, log, version(), commit()
	server := api.New(served)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		defer cancel()
		if err := eng.Run(ctx); !errors.Is(err, context.Canceled) {
			log.Error("the engine ended", "err", err)
		}
	})
	wg.Go(func() {
		defer cancel()
		if err := speaker.Run(ctx); err != nil && ctx.Err() == nil {
			log.Error("the BGP speaker ended", "err", err)
		}
	})
	if listener != nil {
		wg.Go(func() { _ = listener.Run(ctx) }) // it ends with ctx only
	}
	log.Info("serving", "listen", strings.Join(o.listen, " "))
	return server.Serve(ctx, listeners...)
}

// access says who may use the API, and how: by the flags.
func (o controllerOptions) access(log *slog.Logger) (c api.Config, err error) {
	c.RequireTokens = o.requireTokens
	if (o.cert == "") != (o.key == "") {
		return c, usageError{errors.New("give --tls-cert and --tls-key together")}
	}
	if o.cert != "" {
		if c.TLS, err = api.ServerTLS(o.cert, o.key, log); err != nil {
			return c, err
		}
	}
	if o.users != "" {
		if c.Users, err = api.OpenUsers(o.users, log); err != nil {
			return c, err
		}
	}
	for _, at := range o.listen {
		if !reachable(at) {
			continue
		}
		if o.users == "" {
			log.Warn("anyone who reaches the API may change everything: give --users", "listen", at)
		}
		if o.cert == "" {
			log.Warn("the API speaks HTTP, and tokens go over the wire as they are: give --tls-cert and --tls-key", "listen", at)
		}
	}
	return c, nil
}

// reachable reports whether a listener is for other hosts too.
func reachable(at string) bool {
	if strings.HasPrefix(at, "unix:") {
		return false
	}
	host, _, err := net.SplitHostPort(strings.TrimPrefix(at, "tcp:"))
	if err != nil {
		return false // it can't be listened on
	}
	a, err := netip.ParseAddr(host)
	return host != "localhost" && (err != nil || !a.IsLoopback())
}

// listenAll opens all listeners or none.
func listenAll(at []string) ([]net.Listener, error) {
	var out []net.Listener
	for _, a := range at {
		var l net.Listener
		var err error
		if path, ok := strings.CutPrefix(a, "unix:"); ok {
			l, err = api.ListenUnix(path)
		} else {
			l, err = net.Listen("tcp", strings.TrimPrefix(a, "tcp:"))
		}
		if err != nil {
			for _, o := range out {
				o.Close()
			}
			var wrong *net.AddrError
			if errors.As(err, &wrong) {
				return nil, usageError{fmt.Errorf("--listen %q is neither ADDRESS:PORT, such as %s, nor unix:PATH: %w", a, defaultListen, err)}
			}
			return nil, fmt.Errorf("listen on %s: %w", a, err)
		}
		out = append(out, l)
	}
	return out, nil
}
