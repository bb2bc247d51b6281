package api

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
)

// ServerTLS is TLS 1.2 or later with a certificate and its key, both PEM files, which
// are read again when one of them changed: a certificate is renewed without a restart.
// Files that don't fit each other, as between two renames, leave the old certificate, and
// the log says so. A nil log is none.
func ServerTLS(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	p := newPair(certFile, keyFile, log)
	if err := p.files.look(p.load); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.get}, nil
}

// pair is a certificate and its key.
type pair struct {
	mu    sync.Mutex
	files reread
	cert  *tls.Certificate
}

func newPair(certFile, keyFile string, log *slog.Logger) *pair {
	return &pair{files: newReread("TLS certificate", log, certFile, keyFile)}
}

// get is the certificate that is in force.
func (p *pair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.files.look(p.load) // the old one goes on, and the log tells why
	return p.cert, nil
}

// load reads the files.
func (p *pair) load() error {
	cert, err := tls.LoadX509KeyPair(p.files.paths[0], p.files.paths[1])
	if err != nil {
		return fmt.Errorf("TLS certificate: %s and %s: %w", p.files.paths[0], p.files.paths[1], err)
	}
	p.cert = &cert
	return nil
}
