package store

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// lockedBuffer is a buffer that several goroutines write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A store that starts, works and ends as it should says nothing of etcd's.
func TestNoErrorIsToldOfAnOrderlyLife(t *testing.T) {
	var out lockedBuffer
	s, err := Open(t.Context(), Config{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&out, nil))})
	require.NoError(t, err)
	_, err = s.Revision(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NotContains(t, out.String(), "level=ERROR")
}
