package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"
)

// listenPprof opens the listener of the Go profiles; nil for no address. What
// they tell of the process is for its owner only, so it must be a loopback
// address.
func listenPprof(at string) (net.Listener, error) {
	if at == "" {
		return nil, nil
	}
	ap, err := netip.ParseAddrPort(at)
	if err != nil || !ap.Addr().IsLoopback() {
		return nil, usageError{fmt.Errorf("pprof %q: use a loopback address and a port, such as 127.0.0.1:6060", at)}
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("listen for profiles: %w", err)
	}
	return l, nil
}

// servePprof serves the profiles under /debug/pprof/ until the listener is
// closed.
func servePprof(l net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	_ = s.Serve(l) // ends when the listener is closed
}
