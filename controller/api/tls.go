package api

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// ServerTLS is TLS 1.2 or later with a certificate and its key, both PEM files, which
// are read again when one of them changed: a certificate is renewed without a restart.
// Files that don't fit each other, as between two renames, leave the old certificate.
func ServerTLS(certFile, keyFile string) (*tls.Config, error) {
	p := &pair{files: [2]string{certFile, keyFile}}
	if err := p.load(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.get}, nil
}

// pair is a certificate and its key.
type pair struct {
	files [2]string

	mu     sync.Mutex
	cert   *tls.Certificate
	marks  [2]fileMark
	looked time.Time
}

// certEvery is how often at most the files are looked at.
const certEvery = time.Second

func (p *pair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.looked) >= certEvery {
		_ = p.load() // the old one goes on
	}
	return p.cert, nil
}

// load reads the files if they changed. The caller holds the lock, or is the only one.
func (p *pair) load() error {
	p.looked = time.Now()
	var marks [2]fileMark
	var errs []error
	for i, f := range p.files {
		info, err := os.Stat(f)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		marks[i] = fileMark{info.Size(), info.ModTime()}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("TLS certificate: %w", err)
	}
	if p.cert != nil && marks == p.marks {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(p.files[0], p.files[1])
	if err != nil {
		return fmt.Errorf("TLS certificate: %s and %s: %w", p.files[0], p.files[1], err)
	}
	p.cert, p.marks = &cert, marks
	return nil
}
