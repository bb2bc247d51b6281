package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Store keeps the objects; *store.Store is one.
type Store interface {
	Reader
	Credentials
	Tokens
	Put(ctx context.Context, o intent.Object, opt store.PutOptions) (store.PutResult, error)
	PutAll(ctx context.Context, objects []intent.Object, dryRun bool) []store.Written
	Delete(ctx context.Context, r intent.Ref, opt store.DeleteOptions) (store.DeleteResult, error)
	// Compact forgets history and gives its space back.
	Compact(ctx context.Context) error
	Past
}

// Past is the history of a Store, and the way back.
type Past interface {
	History(ctx context.Context, o store.HistoryOptions) (store.History, error)
	Rollback(ctx context.Context, rev int64, opt store.RollbackOptions) (store.Difference, error)
}

// Credentials bind nodes to the boxes that joined as them.
type Credentials interface {
	Credential(ctx context.Context, node string) (c store.Credential, ok bool, err error)
	Credentials(ctx context.Context) ([]store.Credential, error)
	// Enrol fails with a *store.TokenError, store.ErrNotFound or store.ErrNameTaken.
	Enrol(ctx context.Context, c store.Credential, token string) error
	Revoke(ctx context.Context, node string) (ok bool, err error)
}

// Tokens are the one-time join tokens.
type Tokens interface {
	CreateToken(ctx context.Context, node string, ttl time.Duration) (t store.Token, secret string, err error)
	// Token fails with a *store.TokenError when the token can't be used.
	Token(ctx context.Context, secret string) (store.Token, error)
	Tokens(ctx context.Context) ([]store.Token, error)
	DeleteToken(ctx context.Context, id string) (ok bool, err error)
}

// Reader is the reading half of a Store.
type Reader interface {
	Get(ctx context.Context, r intent.Ref) (intent.Object, error)
	List(ctx context.Context, k intent.Kind, opt store.ListOptions) (store.List, error)
	Watch(ctx context.Context, from int64) iter.Seq2[[]store.Event, error]
	Revision(ctx context.Context) (int64, error)
	Health(ctx context.Context) (store.Health, error)
}

// Status tells what the devices say; *engine.Engine is one.
type Status interface {
	// Status is nil for objects about which no device says anything.
	Status(o intent.Object) *intent.Status
	// Changed returns a channel that is closed when a status changes.
	Changed() <-chan struct{}
	// Events lists what happened, oldest first.
	Events() []southbound.Event
	// Ready is nil when the intent is loaded.
	Ready() error
	// Alarms lists what lasts, the oldest first.
	Alarms() []engine.Alarm
	// ClearAlarm ends an alarm that does not end by itself; its error is
	// engine.ErrNoAlarm or engine.ErrNotClear.
	ClearAlarm(id string) error
	// Routes lists a network's segment table.
	Routes(intent.VNI) []engine.Route
	// TakeSwitch takes an agent's report; its error is engine.ErrNoNode or an
	// *engine.TakenError.
	TakeSwitch(node string, r switchstate.Report) error
	// SwitchState waits for a state of another revision than since; its error is
	// engine.ErrNoNode, an *engine.TakenError or the context's.
	SwitchState(ctx context.Context, node, serial string, since uint64) (switchstate.State, error)
	Cabling() engine.Cabling
	Underlay
	Flows
	// Reporting lists the switches of which agents report now, by name.
	Reporting() []engine.Reporting
	// Switches are the switches of the intent, and their roles, by name.
	Switches() map[string]intent.Role
	// PortsAt lists the ports on a node, or bound or moving to it.
	PortsAt(node string) []intent.Ref
	SwitchPorts(node string) (ports []switchstate.Port, at time.Time, ok bool)
	// PortCounters asks a port's edge what it has counted; its error is
	// engine.ErrNowhere, engine.ErrUncounted or a *southbound.OpError.
	PortCounters(ctx context.Context, port intent.Ref) (node string, c southbound.PortCounters, err error)
	// Policy reads a port's policy and its counters from the port's device, and
	// Flows its flows in words. Their errors are *southbound.OpError.
	Policy(ctx context.Context, port intent.Ref) (engine.PortPolicy, error)
	Flows(ctx context.Context, port intent.Ref) (node string, flows []southbound.FlowLine, err error)
	// ACLCounters asks the devices what they have counted for a network ACL; ok is
	// false while the controller has not taken it.
	ACLCounters(ctx context.Context, acl intent.Ref) (c engine.ACLCounters, ok bool)
	// RouterCounters asks the edges of a router what they have counted of it, and
	// TenantCounters those of a tenant what its limits did; ok is false while the
	// controller has not taken the router, or the tenant has no limits.
	RouterCounters(ctx context.Context, router intent.Ref) (c engine.EdgeCounts[southbound.RouterCount], ok bool)
	TenantCounters(ctx context.Context, tenant string) (c engine.EdgeCounts[southbound.TenantCount], ok bool)
	// PlanSteering plans as if steering policies were others.
	PlanSteering(engine.SteeringQuestion) (engine.SteeringPlan, error)
	LoadStatus
	// Leaf is the driver of a leaf that an agent serves, nil when there is none.
	Leaf(node string) engine.Leaf
}

// Config says what a Server works with. Store, Status and Boxes are required.
type Config struct {
	Store   Store
	Status  Status
	Boxes   Boxes
	Logger  *slog.Logger
	Version string // of the program
	Commit  string
	// RequireTokens refuses agents on switches that have not joined by a token or
	// been admitted.
	RequireTokens bool
	// Users are those who may use the API over TCP; nil lets anyone. With users,
	// RequireTokens is set.
	Users *Users
	// TLS, when set, is how listeners that are no Unix sockets speak.
	TLS *tls.Config

	// StoreTimeout bounds what one request waits for the store; 10 s by default.
	StoreTimeout time.Duration
	// Heartbeat is how often a silent watch sends a comment; 15 s by default.
	Heartbeat time.Duration
	// WriteTimeout is how long a client may leave an answer or an event of a
	// watch unread; 30 s by default.
	WriteTimeout time.Duration
}

func (c *Config) complete() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Users != nil {
		c.RequireTokens = true
	}
	if c.StoreTimeout == 0 {
		c.StoreTimeout = 10 * time.Second
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 15 * time.Second
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = 30 * time.Second
	}
}

// Server answers requests. Make it with New.
type Server struct {
	cfg     Config
	log     *slog.Logger
	api     huma.API
	readers map[intent.Kind]reader
	mux     *http.ServeMux
	handler http.Handler

	agentOps map[string]bool // patterns of what agents use
	readOps  map[string]bool // of what changes nothing although it is no GET

	credentials credentials   // of agents, as read
	patience    time.Duration // with slow clients of a watch
	pages       chan struct{} // one entry for each page that is in memory
	reading     chan struct{} // one entry for each page that is being read
	closing     chan struct{} // closed when watches and waits must end
	closeOnce   sync.Once
}

// New returns a server that does not listen yet.
func New(cfg Config) *Server {
	cfg.complete()
	s := &Server{cfg: cfg, log: cfg.Logger, mux: http.NewServeMux(), patience: defaultPatience, closing: make(chan struct{}),
		readers: map[intent.Kind]reader{}, pages: make(chan struct{}, maxPages), reading: make(chan struct{}, maxReading)}
	s.api = humago.New(s.mux, s.describe())
	s.registerKinds()
	s.registerMeta()
	s.registerOperation()
	s.registerPolicy()
	s.registerSteering()
	s.registerACL()
	s.registerApply()
	s.registerStore()
	s.registerHistory()
	s.registerFabricPlan()
	s.registerAgent()
	s.registerJoin()
	s.registerTokens()
	s.registerDiscovery()
	s.registerLoad()
	s.registerMetrics()
	s.registerDocs()
	s.agentOps, s.readOps = s.patterns(forAgents), s.patterns(onlyReading)
	s.handler = s.wrap(s.mux)
	return s
}

// Handler answers the requests of all paths.
func (s *Server) Handler() http.Handler { return s.handler }

// graceTime is how long requests may take to end after Serve's context did.
const graceTime = 10 * time.Second

// Serve answers on the listeners until ctx ends; then it ends watches and
// waits, lets other requests finish and returns nil. It closes the listeners.
// A Server serves once.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	if len(listeners) == 0 {
		return errors.New("serve API: no listener is given")
	}
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		if s.cfg.TLS != nil && l.Addr().Network() != "unix" {
			l = tls.NewListener(l, s.cfg.TLS)
		}
		s.log.Info("API is served", "address", l.Addr().String())
		go func() { failed <- srv.Serve(l) }()
	}
	var err error
	running := len(listeners)
	select {
	case <-ctx.Done():
	case err = <-failed:
		running--
		err = fmt.Errorf("serve API: %w", err)
	}
	s.closeOnce.Do(func() { close(s.closing) })
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceTime)
	defer cancel()
	if serr := srv.Shutdown(grace); serr != nil {
		_ = srv.Close()
		err = errors.Join(err, fmt.Errorf("serve API: requests were cut off: %w", serr))
	}
	for range running {
		<-failed
	}
	return err
}

// ListenUnix listens on a Unix socket that the owner and the group may use. It
// replaces a socket that nobody listens on any more.
func ListenUnix(path string) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("listen on %s: there is a file that is no socket: remove it, or use another path", path)
	default:
		c, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("listen on %s: another process listens there: stop it, or use another path", path)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("listen on %s: %w", path, err)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen on %s: remove the stale socket: %w", path, err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil
}
