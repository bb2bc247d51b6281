package evpn

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	api "github.com/osrg/gobgp/v3/api"
	gobgplog "github.com/osrg/gobgp/v3/pkg/log"
	"github.com/osrg/gobgp/v3/pkg/server"
)

var apiFamily = &api.Family{Afi: api.Family_AFI_L2VPN, Safi: api.Family_SAFI_EVPN}

// startGoBGP starts a server that listens on the address. A port of 0 is
// chosen; no address means no listening at all.
func startGoBGP(ctx context.Context, asn uint32, id netip.Addr, listen netip.AddrPort, log *slog.Logger) (*server.BgpServer, netip.AddrPort, error) {
	g := &api.Global{Asn: asn, RouterId: id.String(), ListenPort: -1}
	b := server.NewBgpServer(server.LoggerOption(&gobgpLogger{log}))
	go b.Serve() // GoBGP gives it no end; it idles once the server is stopped
	for try := 0; ; try++ {
		if listen.IsValid() {
			at := listen
			if at.Port() == 0 {
				l, err := net.Listen("tcp", at.String())
				if err != nil {
					return nil, at, fmt.Errorf("find a port for GoBGP: %w", err)
				}
				at = l.Addr().(*net.TCPAddr).AddrPort()
				l.Close()
			}
			g.ListenAddresses, g.ListenPort = []string{at.Addr().String()}, int32(at.Port())
			listen = netip.AddrPortFrom(at.Addr(), listen.Port())
		}
		err := b.StartBgp(ctx, &api.StartBgpRequest{Global: g})
		if err == nil {
			if listen.IsValid() {
				listen = netip.AddrPortFrom(listen.Addr(), uint16(g.ListenPort))
			}
			return b, listen, nil
		}
		if listen.Port() != 0 || !listen.IsValid() || try == 3 { // another program may take the port in between
			return nil, listen, fmt.Errorf("start GoBGP: %w", err)
		}
	}
}

// neighbor is a client of GoBGP's for reflection.
type neighbor struct {
	addr       netip.Addr
	local      netip.Addr // may be invalid
	port       uint16     // to dial; 0 to wait
	asn        uint32
	password   string
	maxRoutes  uint32
	hold       uint64 // seconds
	restarting bool
	deferral   uint32 // seconds
	gr         restart
}

func (n neighbor) peer(cluster netip.Addr) *api.Peer {
	p := &api.Peer{
		Conf:           &api.PeerConf{NeighborAddress: n.addr.String(), PeerAsn: n.asn, LocalAsn: n.asn, AuthPassword: n.password},
		Transport:      &api.Transport{PassiveMode: n.port == 0, RemotePort: uint32(n.port)},
		Timers:         &api.Timers{Config: &api.TimersConfig{HoldTime: n.hold, KeepaliveInterval: n.hold / 3, ConnectRetry: 2}},
		RouteReflector: &api.RouteReflector{RouteReflectorClient: true, RouteReflectorClusterId: cluster.String()},
		GracefulRestart: &api.GracefulRestart{Enabled: true, RestartTime: n.gr.restartSeconds(), LocalRestarting: n.restarting,
			DeferralTime: n.deferral, LonglivedEnabled: n.gr.StaleTime > 0},
		AfiSafis: []*api.AfiSafi{{
			Config:                   &api.AfiSafiConfig{Family: apiFamily, Enabled: true},
			MpGracefulRestart:        &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}},
			LongLivedGracefulRestart: &api.LongLivedGracefulRestart{Config: &api.LongLivedGracefulRestartConfig{Enabled: n.gr.StaleTime > 0, RestartTime: n.gr.staleSeconds()}},
			PrefixLimits:             &api.PrefixLimit{Family: apiFamily, MaxPrefixes: n.maxRoutes},
		}},
	}
	if n.local.IsValid() {
		p.Transport.LocalAddress = n.local.String()
	}
	return p
}

// gobgpLogger takes what GoBGP logs, as debugging: its warnings are about what
// the sessions tell in our own words.
type gobgpLogger struct{ log *slog.Logger }

func (l *gobgpLogger) at(level slog.Level, msg string, fields gobgplog.Fields) {
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	args := make([]any, 0, 2*len(fields))
	for k, v := range fields {
		args = append(args, k, v)
	}
	l.log.Log(context.Background(), level, "GoBGP: "+msg, args...)
}

func (l *gobgpLogger) Panic(msg string, f gobgplog.Fields) {
	l.at(slog.LevelError, msg, f)
	panic("GoBGP: " + msg)
}
func (l *gobgpLogger) Fatal(msg string, f gobgplog.Fields) { l.Panic(msg, f) }
func (l *gobgpLogger) Error(msg string, f gobgplog.Fields) { l.at(slog.LevelDebug, msg, f) }
func (l *gobgpLogger) Warn(msg string, f gobgplog.Fields)  { l.at(slog.LevelDebug, msg, f) }
func (l *gobgpLogger) Info(msg string, f gobgplog.Fields)  { l.at(slog.LevelDebug, msg, f) }
func (l *gobgpLogger) Debug(string, gobgplog.Fields)       {}
func (l *gobgpLogger) SetLevel(gobgplog.LogLevel)          {}
func (l *gobgpLogger) GetLevel() gobgplog.LogLevel         { return gobgplog.InfoLevel }
