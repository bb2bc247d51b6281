package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
)

// sse is one server-sent event; only an id when event is empty.
type sse struct{ event, id, data string }

// events opens a watch and sends what it gets.
func (b *bench) events(ctx context.Context, path string, headers ...string) <-chan sse {
	b.t.Helper()
	r, err := http.NewRequestWithContext(ctx, "GET", b.url+path, nil)
	require.NoError(b.t, err)
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		r.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(b.t, err)
	require.Equal(b.t, "text/event-stream", resp.Header.Get("Content-Type"))
	out := make(chan sse, 1000)
	go func() {
		defer close(out)
		defer resp.Body.Close()
		var e sse
		for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
			k, v, _ := strings.Cut(sc.Text(), ": ")
			switch {
			case k == "event":
				e.event = v
			case k == "id":
				e.id = v
			case k == "data":
				e.data = v
			case sc.Text() == "":
				out <- e
				e = sse{}
			}
		}
	}()
	return out
}

// next is the next event that has data.
func next(t *testing.T, ch <-chan sse) sse {
	t.Helper()
	for {
		select {
		case e, ok := <-ch:
			require.True(t, ok, "the stream ended")
			if e.event != "" {
				return e
			}
		case <-time.After(time.Minute):
			require.Fail(t, "no event came")
		}
	}
}

func TestWatchSendsChangesAndResumes(t *testing.T) {
	b := newBench(t)
	b.ok("PUT", "/v1/tenants/zero", `{}`)
	rev, err := b.store.Revision(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ch := b.events(ctx, fmt.Sprintf("/v1/tenants?watch=true&revision=%d", rev))
	b.ok("PUT", "/v1/tenants/one", `{}`)
	b.ok("PUT", "/v1/nodes/n", `{"spec":{"role":"leaf"}}`)
	b.ok("DELETE", "/v1/tenants/one", "")
	put, del := next(t, ch), next(t, ch)
	cancel()
	require.Equal(t, "put", put.event)
	require.Equal(t, "delete", del.event)
	var w client.WatchEvent
	require.NoError(t, json.Unmarshal([]byte(put.data), &w))
	require.Equal(t, put.id, fmt.Sprint(w.Revision))
	require.Equal(t, intent.Ref{Kind: intent.KindTenant, Name: "one"}, w.Ref)
	require.NotContains(t, put.data, "status")
	w = client.WatchEvent{}
	require.NoError(t, json.Unmarshal([]byte(del.data), &w))
	require.Nil(t, w.Object)

	again := b.events(t.Context(), "/v1/tenants?watch=true&revision=1", "Last-Event-ID: "+put.id)
	require.Equal(t, del, next(t, again), "goes on after the id, whatever the address says")
}

func TestWatchSelectsTenant(t *testing.T) {
	b := newBench(t)
	b.blue()
	b.ok("PUT", "/v1/tenants/red", `{}`)
	query := b.events(t.Context(), "/v1/networks?watch=true&tenant=blue")
	path := b.events(t.Context(), "/v1/tenants/blue/networks?watch=true")
	b.ok("PUT", "/v1/tenants/red/networks/db", `{"spec":{}}`)
	b.ok("PUT", "/v1/tenants/blue/networks/db", `{"spec":{}}`)
	require.Contains(t, next(t, query).data, `"tenant":"blue"`)
	require.Contains(t, next(t, path).data, `"tenant":"blue"`)
}

func TestWatchHeartbeatTellsProgress(t *testing.T) {
	b := newBench(t)
	ch := b.events(t.Context(), "/v1/ports?watch=true")
	id := func() string {
		for {
			select {
			case e := <-ch:
				if e.id != "" {
					return e.id
				}
			case <-time.After(time.Minute):
				require.Fail(t, "no heartbeat with an id came")
			}
		}
	}
	first := id()
	b.ok("PUT", "/v1/tenants/blue", `{}`)
	require.NotEqual(t, first, id(), "others' changes move the id, so that it does not grow old")
}

// TestWatchOfOneRevision: only the last of a revision's events has the id, so
// that a connection lost between them misses nothing.
func TestWatchOfOneRevision(t *testing.T) {
	b := newBench(t)
	b.blue()
	for _, n := range []string{"a", "b", "c"} {
		b.ok("PUT", "/v1/tenants/blue/ports/"+n, `{"spec":{"network":"web"}}`)
	}
	ch := b.events(t.Context(), "/v1/ports?watch=true")
	b.ok("DELETE", "/v1/tenants/blue?cascade=true", "")
	one, two, three := next(t, ch), next(t, ch), next(t, ch)
	require.Empty(t, one.id)
	require.Empty(t, two.id)
	require.NotEmpty(t, three.id)
}

func TestWatchFromUnknownRevisionExpires(t *testing.T) {
	b := newBench(t)
	e := next(t, b.events(t.Context(), "/v1/tenants?watch=true&revision=999999999"))
	require.Equal(t, "error", e.event)
	var p client.Problem
	require.NoError(t, json.Unmarshal([]byte(e.data), &p))
	require.Equal(t, http.StatusGone, p.Status)
	require.Equal(t, client.TypeExpired, p.Type)
}

// TestWatchAnewMissesNothing starts a new store watch after each event, as
// for a client that takes long.
func TestWatchAnewMissesNothing(t *testing.T) {
	b := newBench(t)
	b.server.patience = 0
	ch := b.events(t.Context(), "/v1/tenants?watch=true")
	for i := range 30 {
		b.ok("PUT", fmt.Sprintf("/v1/tenants/t%02d", i), `{}`)
	}
	for i := range 30 {
		require.Contains(t, next(t, ch).data, fmt.Sprintf(`"name":"t%02d"`, i))
	}
}

// logged passes on the messages of a log.
type logged struct {
	slog.Handler
	to chan string
}

func (l logged) Enabled(context.Context, slog.Level) bool { return true }
func (l logged) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "watch ended" {
		l.to <- r.Message
	}
	return nil
}

func TestWatchCutsDeafClient(t *testing.T) {
	ended := make(chan string, 1)
	b := newBenchAlone(t, func(c *Config) {
		c.WriteTimeout = 100 * time.Millisecond
		c.Logger = slog.New(logged{slog.DiscardHandler, ended})
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(4096))
	_, err = fmt.Fprintf(conn, "GET /v1/tenants?watch=true&revision=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	long := strings.Repeat("x", 900<<10)
	for i := range 60 {
		_, err := b.store.Put(t.Context(), &intent.Tenant{Metadata: intent.Metadata{Name: "blue"},
			Spec: intent.TenantSpec{Description: fmt.Sprint(i, long)}}, store.PutOptions{})
		require.NoError(t, err)
		select {
		case <-ended:
			return
		default:
		}
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		require.Fail(t, "a client that reads nothing was not cut off")
	}
}
