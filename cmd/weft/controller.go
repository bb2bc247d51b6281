package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/vswitch"
)

func init() { commands = append(commands, newControllerCommand) }

// controllerOptions are the flags of "weft controller".
type controllerOptions struct {
	dir, logLevel string
	endpoints     []string
	listen        []string
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
  weft controller --listen 127.0.0.1:8470 --listen unix:/run/weft/api.sock`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := a.config.BindPFlags(c.Flags()); err != nil {
				return err
			}
			o.dir, o.logLevel = a.config.GetString("data-dir"), a.config.GetString("log-level")
			o.endpoints, o.listen = a.list("etcd-endpoints"), a.list("listen")
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return o.run(ctx)
		},
	}
	f := c.Flags()
	f.String("data-dir", "weft-data", "directory of the etcd that runs in this process")
	f.StringSlice("etcd-endpoints", nil, "an etcd cluster to use instead, as URLs")
	f.StringSlice("listen", []string{defaultListen}, "where to serve the API: ADDRESS:PORT or unix:PATH; may be repeated")
	f.String("log-level", "info", "debug, info, warn or error")
	return c
}

// defaultListen is where the API is served; loopback only.
const defaultListen = "127.0.0.1:8470"

func (o controllerOptions) run(ctx context.Context) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return usageError{fmt.Errorf("log-level %q is not known: use debug, info, warn or error", o.logLevel)}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	listeners, err := listenAll(o.listen)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	config := store.Config{Endpoints: o.endpoints, Logger: log}
	if len(o.endpoints) == 0 {
		config.Dir = o.dir
	}
	st, err := store.Open(ctx, config)
	if err != nil {
		return err
	}
	defer st.Close()
	eng := engine.New(engine.Config{Source: st, Logger: log, NewDriver: func(n *intent.Node, f southbound.Feed) southbound.Driver {
		return vswitch.New(n, f, log)
	}})
	server := api.New(api.Config{Store: st, Status: eng, Logger: log, Version: version(), Commit: commit()})
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
	log.Info("serving", "listen", strings.Join(o.listen, " "))
	return server.Serve(ctx, listeners...)
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
			return nil, fmt.Errorf("listen on %s: %w", a, err)
		}
		out = append(out, l)
	}
	return out, nil
}
