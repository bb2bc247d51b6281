package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// server is etcd in this process: one member, no peer listener, clients by a
// Unix socket.
type server struct {
	etcd     *embed.Etcd
	lock     *os.File
	endpoint string
	scratch  string // directory of the socket, when it is not the data's
}

// maxSocketPath leaves room for the NUL in sockaddr_un.sun_path.
const maxSocketPath = 107

func startServer(ctx context.Context, cfg Config, closing *atomic.Bool) (_ *server, err error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &server{}
	defer func() {
		if err != nil {
			_ = s.close()
		}
	}()
	if s.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	sockDir := dir
	if len(filepath.Join(dir, "etcd.sock")) > maxSocketPath {
		if s.scratch, err = os.MkdirTemp("", "weft-"); err != nil {
			return nil, err
		}
		sockDir = s.scratch
	}
	sock := filepath.Join(sockDir, "etcd.sock")
	if err := os.Remove(sock); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	s.endpoint = "unix://" + sock
	if s.etcd, err = embed.StartEtcd(etcdConfig(cfg, dir, sock, closing)); err != nil {
		return nil, fmt.Errorf("start etcd in %s: %w", dir, err)
	}
	select {
	case <-s.etcd.Server.ReadyNotify():
		return s, nil
	case err := <-s.etcd.Err():
		return nil, fmt.Errorf("start etcd in %s: %w", dir, err)
	case <-ctx.Done():
		return nil, fmt.Errorf("start etcd in %s: %w", dir, context.Cause(ctx))
	case <-time.After(time.Minute):
		return nil, fmt.Errorf("start etcd in %s: not ready after a minute", dir)
	}
}

func etcdConfig(cfg Config, dir, sock string, closing *atomic.Bool) *embed.Config {
	c := embed.NewConfig()
	c.Name = "weft"
	c.Dir = filepath.Join(dir, "etcd")
	c.ListenPeerUrls = nil // a member alone has no peers
	c.ListenClientUrls = []url.URL{{Scheme: "unix", Path: sock}}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.EnableGRPCGateway = false
	c.QuotaBackendBytes = cfg.Quota
	c.MaxTxnOps, c.MaxRequestBytes = rollbackOps+1, 10<<20 // what etcd recommends at most
	// The log in memory is for followers, and a member alone has none: an import's
	// entries are up to 1 MiB each.
	c.SnapshotCatchUpEntries = 100
	// A lone member elects itself; short ticks only shorten the start.
	c.TickMs, c.ElectionMs = 20, 200
	// By revisions rather than by time: bounded space whatever the load, and
	// a watcher may be this many changes behind, and a rollback go this far back.
	c.AutoCompactionMode = embed.CompactorModeRevision
	c.AutoCompactionRetention = "100000"
	c.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration // else all are told
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(cfg.Logger, closing))
	return c
}

func (s *server) close() error {
	if s.etcd != nil {
		s.etcd.Close()
	}
	var err error
	if s.scratch != "" {
		err = os.RemoveAll(s.scratch)
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close()) // gives the lock up, as does a kill
	}
	return err
}

// lockDir takes the directory for this process for as long as the file is
// open.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		b, _ := os.ReadFile(f.Name())
		_ = f.Close()
		return nil, &LockedError{Dir: dir, PID: strings.TrimSpace(string(b))}
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}
