package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

func TestNew(t *testing.T) {
	for _, good := range []string{"http://127.0.0.1:8080", "https://weft.example:443/", "unix:/run/weft/api.sock", "unix:///run/weft/api.sock"} {
		_, err := New(good)
		require.NoError(t, err, good)
	}
	for _, bad := range []string{"", "127.0.0.1:8080", "localhost", "ftp://x", "unix:", "http://", "http://h?x=1"} {
		_, err := New(bad)
		require.ErrorContains(t, err, "endpoint", bad)
	}
}

func TestRefusedConnectionIsOneSentence(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	url := srv.URL
	srv.Close()
	c, err := New(url)
	require.NoError(t, err)
	_, err = c.Version(t.Context())
	var ce *ConnectError
	require.ErrorAs(t, err, &ce)
	require.EqualError(t, err, "no controller answers at "+url+": connection refused; start one with `weft controller`, or name the right endpoint")

	path := filepath.Join(t.TempDir(), "none.sock")
	c, err = New("unix:" + path)
	require.NoError(t, err)
	require.ErrorContains(t, c.Ready(t.Context()), "no controller answers at unix:"+path+": no such file or directory;")
}

func TestCancelledIsCancelled(t *testing.T) {
	c, err := New("http://127.0.0.1:1")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.Ready(ctx), context.Canceled)
}

func TestOtherServerIsRecognized(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	c, err := New(srv.URL)
	require.NoError(t, err)
	_, err = c.Get(t.Context(), intent.Ref{Kind: intent.KindTenant, Name: "blue"})
	var p *Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusNotFound, p.Status)
	require.ErrorContains(t, err, "is it a Weft controller?")
}

func TestPath(t *testing.T) {
	require.Equal(t, "/v1/tenants/blue/ports/a", Path(intent.Ref{Kind: intent.KindPort, Tenant: "blue", Name: "a"}))
	require.Equal(t, "/v1/nodes/a%2Fb", Path(intent.Ref{Kind: intent.KindNode, Name: "a/b"}))
}

// TestWatchReconnects: the server drops each connection after one revision.
func TestWatchReconnects(t *testing.T) {
	var calls atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := calls.Add(1)
		if n == 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		require.Equal(t, "true", r.URL.Query().Get("watch"))
		var after int
		_, _ = fmt.Sscan(r.URL.Query().Get("revision"), &after)
		w.Header().Set("Content-Type", "text/event-stream")
		if after >= 9 {
			fmt.Fprintf(w, "event: error\ndata: {\"type\":%q,\"title\":\"gone\",\"status\":410}\n\n", TypeExpired)
			return
		}
		fmt.Fprintf(w, ": heartbeat\nid: %d\n\n", after+1)
		fmt.Fprintf(w, "event: delete\nid: %d\ndata: {\"type\":\"delete\",\"ref\":{\"kind\":\"Tenant\",\"name\":\"t\"},\"revision\":%d}\n\n", after+2, after+2)
	}))
	defer srv.Close()
	c, err := New(srv.URL)
	require.NoError(t, err)
	var got []int64
	for ch, err := range c.Watch(t.Context(), intent.KindTenant, WatchOptions{Revision: 5}) {
		var p *Problem
		if errors.As(err, &p) {
			require.Equal(t, TypeExpired, p.Type)
			break
		}
		require.NoError(t, err)
		got = append(got, ch.Revision)
	}
	require.Equal(t, []int64{7, 9}, got)
	require.Equal(t, int64(4), calls.Load())
}

func TestWatchEndsAtOnceWhenNobodyAnswers(t *testing.T) {
	c, err := New("unix:" + filepath.Join(t.TempDir(), "none.sock"))
	require.NoError(t, err)
	for _, err := range c.Watch(t.Context(), intent.KindTenant, WatchOptions{}) {
		require.ErrorContains(t, err, "no controller answers")
	}
}
