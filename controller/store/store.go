package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// Config says where the objects are kept. The zero value of each field but
// Endpoints and Dir is a default; one of these two is needed.
type Config struct {
	// Endpoints of an etcd cluster, such as https://10.0.0.1:2379. When empty,
	// etcd runs in this process with its data under Dir.
	Endpoints []string
	TLS       *tls.Config // to the cluster
	Username  string
	Password  string
	// Dir holds the data of the etcd in this process.
	Dir string
	// Quota limits the size of that data in bytes; 4 GiB by default.
	Quota int64
	// Prefix starts every key; /weft by default.
	Prefix string
	// FirstVNI and LastVNI limit the VNIs that are allocated, not those that
	// may be asked for; 10000 and intent.MaxVNI by default.
	FirstVNI, LastVNI intent.VNI
	// Logger takes etcd's warnings; by default they are dropped.
	Logger *slog.Logger
}

// Operations of one transaction: a cluster's default limit is 128; the etcd in
// this process may have more, still few enough that nobody waits for long.
const (
	defaultOps  = 120
	embeddedOps = 500
	// A rollback in the etcd of this process is one transaction as long as it can be.
	rollbackOps   = 20_000
	rollbackBytes = 9 << 20
)

// DefaultFirstVNI is the first VNI allocated when Config names none.
const DefaultFirstVNI intent.VNI = 10000

func (c *Config) complete() error {
	if len(c.Endpoints) == 0 && c.Dir == "" {
		return errors.New("neither etcd endpoints nor a data directory is given")
	}
	if c.Prefix == "" {
		c.Prefix = "/weft"
	}
	c.Prefix = strings.TrimRight(c.Prefix, "/")
	if c.FirstVNI == 0 {
		c.FirstVNI = DefaultFirstVNI
	}
	if c.LastVNI == 0 {
		c.LastVNI = intent.MaxVNI
	}
	if c.FirstVNI > c.LastVNI || c.LastVNI > intent.MaxVNI {
		return fmt.Errorf("VNI range %d..%d is empty or beyond %d", c.FirstVNI, c.LastVNI, intent.MaxVNI)
	}
	if c.Quota == 0 {
		c.Quota = 4 << 30
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Store reads and writes objects. It is safe for concurrent use.
type Store struct {
	cfg    Config
	keys   keyspace
	client *clientv3.Client
	server *server // nil with endpoints

	closing atomic.Bool // see zapLogger

	now    func() time.Time
	maxOps int // of one transaction

	bulkOps, bulkBytes int // of one transaction of a rollback

	singles rounds

	vnis    pool[intent.VNI]
	groups  pool[uint32] // numbers of security groups
	hostsMu sync.Mutex
	hosts   map[hostsKey]*pool[netip.Addr]
}

// Open connects to the cluster, or starts etcd in this process, and returns
// when it answers.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{cfg: cfg, keys: keyspace(cfg.Prefix), now: time.Now, hosts: map[hostsKey]*pool[netip.Addr]{}}
	endpoints := cfg.Endpoints
	s.maxOps, s.bulkOps, s.bulkBytes = defaultOps, defaultOps, maxBytes
	if len(endpoints) == 0 {
		s.maxOps, s.bulkOps, s.bulkBytes = embeddedOps, rollbackOps, rollbackBytes
		srv, err := startServer(ctx, cfg, &s.closing)
		if err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
		s.server = srv
		endpoints = []string{srv.endpoint}
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints:            endpoints,
		TLS:                  cfg.TLS,
		Username:             cfg.Username,
		Password:             cfg.Password,
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
		MaxCallSendMsgSize:   max(s.bulkBytes*2, 4<<20),
		Logger:               zapLogger(cfg.Logger, &s.closing),
	})
	if err == nil {
		s.client = c
		ping, cancel := context.WithTimeout(ctx, 15*time.Second)
		defer cancel()
		_, err = s.Revision(ping)
	}
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("open store: etcd at %s does not answer: %w", strings.Join(endpoints, ", "), err)
	}
	return s, nil
}

// Close ends the connection and the etcd in this process.
func (s *Store) Close() error {
	s.closing.Store(true)
	var err error
	if s.client != nil {
		err = s.client.Close()
	}
	if s.server != nil {
		err = errors.Join(err, s.server.close())
	}
	return err
}

// Revision is the store's current revision. It asks etcd, so it also tells
// whether the store can be read. It asks for one key that is not there: any
// range would be counted through.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	r, err := s.client.Get(ctx, string(s.keys)+"/", clientv3.WithKeysOnly())
	if err != nil {
		return 0, fmt.Errorf("read revision: %w", err)
	}
	return r.Header.Revision, nil
}
