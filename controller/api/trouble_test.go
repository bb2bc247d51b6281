package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
)

// TestStoreIsFull: writes answer 507 with what to do, reads go on, the health
// checks say what is wrong, and compacting mends it.
func TestStoreIsFull(t *testing.T) {
	st, err := store.Open(t.Context(), store.Config{Dir: t.TempDir(), Quota: 1 << 20})
	require.NoError(t, err)
	defer st.Close()
	b := newBench(t, func(c *Config) { c.Store = st })
	c := b.client()
	b.ok("PUT", "/v1/tenants/keep", `{}`)
	h, err := c.Health(t.Context())
	require.NoError(t, err)
	require.Empty(t, h.Problems)
	r := reply{status: 200}
	for i := 0; r.status < 300; i++ {
		require.Less(t, i, 1000)
		r = b.do("PUT", "/v1/tenants/big", fmt.Sprintf(`{"spec":{"description":"%d%s"}}`, i, strings.Repeat("x", 20_000)))
	}
	require.Equal(t, http.StatusInsufficientStorage, r.status, r.body)
	require.Contains(t, r.body, client.TypeFull)
	require.Contains(t, r.body, "run `weft store compact`")
	r = b.do("POST", "/v1/apply", `{"items":[{"kind":"Tenant","metadata":{"name":"a"}},{"kind":"Tenant","metadata":{"name":"b"}}]}`)
	require.Equal(t, http.StatusInsufficientStorage, r.status, r.body)
	b.ok("GET", "/v1/tenants/keep", "")
	b.ok("GET", "/v1/tenants", "")
	b.ok("GET", "/readyz", "")
	h, err = c.Health(t.Context())
	require.NoError(t, err)
	require.Len(t, h.Problems, 1)
	require.Contains(t, h.Problems[0], "the store is over its quota")
	b.ok("DELETE", "/v1/tenants/big", "")
	require.NoError(t, c.CompactStore(t.Context()))
	b.ok("PUT", "/v1/tenants/small", `{}`)
	h, err = c.Health(t.Context())
	require.NoError(t, err)
	require.Empty(t, h.Problems)
}

// refusing is a store that can be read only.
type refusing struct{ *store.Store }

func (refusing) Put(context.Context, intent.Object, store.PutOptions) (store.PutResult, error) {
	return store.PutResult{}, fmt.Errorf("write: %w", store.ErrReadOnly)
}

func TestStoreIsReadOnly(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Store = refusing{c.Store.(*store.Store)} })
	r := b.do("PUT", "/v1/tenants/blue", `{}`)
	require.Equal(t, http.StatusServiceUnavailable, r.status, r.body)
	require.Contains(t, r.body, "the store takes no writes")
	b.ok("GET", "/v1/tenants", "")
}

func TestHealthSaysWhatIsWrong(t *testing.T) {
	b := newBench(t, func(c *Config) { c.StoreTimeout = 200 * time.Millisecond })
	b.devices.ready = errors.New("intent is not loaded yet")
	for i := range 12 {
		b.devices.alarms = append(b.devices.alarms, engine.Alarm{Reason: engine.AlarmBroken, Message: fmt.Sprintf("stored Port t/p%d is damaged", i)})
	}
	require.NoError(t, b.store.Close())
	var h client.Health
	require.NoError(t, json.Unmarshal([]byte(b.ok("GET", "/healthz", "").body), &h))
	require.Equal(t, "alive", h.Status)
	require.Len(t, h.Problems, 13)
	require.Contains(t, h.Problems[0], "the store does not answer")
	require.Equal(t, "intent is not loaded yet", h.Problems[1])
	require.Equal(t, "stored Port t/p0 is damaged", h.Problems[2])
	require.Equal(t, "2 more objects of the store can't be read: see the alarms", h.Problems[12])
}

// counting notes how many lists are read at once.
type counting struct {
	*store.Store
	now, most atomic.Int64
}

func (c *counting) List(ctx context.Context, k intent.Kind, o store.ListOptions) (store.List, error) {
	n := c.now.Add(1)
	defer c.now.Add(-1)
	for {
		most := c.most.Load()
		if n <= most || c.most.CompareAndSwap(most, n) {
			break
		}
	}
	return c.Store.List(ctx, k, o)
}

// TestListingInALoopStarvesNobody: clients that read everything over and over
// get whole lists of one revision each, few at a time, and writes go on.
func TestListingInALoopStarvesNobody(t *testing.T) {
	var count *counting
	b := newBench(t, func(c *Config) {
		count = &counting{Store: c.Store.(*store.Store)}
		c.Store = count
	})
	const objects = 300
	for i := range objects {
		_, err := b.store.Put(t.Context(), &intent.Tenant{Metadata: intent.Metadata{Name: fmt.Sprintf("t%03d", i)}}, store.PutOptions{})
		require.NoError(t, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var (
		wg    sync.WaitGroup
		lists atomic.Int64
	)
	for range 2 * maxReading {
		wg.Go(func() {
			for ctx.Err() == nil {
				got, err := b.client().List(ctx, intent.KindTenant, client.ListOptions{Limit: 50})
				if ctx.Err() != nil {
					return
				}
				if err != nil || len(got) < objects {
					t.Errorf("a list has %d objects: %v", len(got), err)
					return
				}
				lists.Add(1)
			}
		})
	}
	for i := range 50 {
		b.ok("PUT", fmt.Sprintf("/v1/tenants/z%02d", i), `{}`)
	}
	require.Eventually(t, func() bool { return lists.Load() >= 20 || t.Failed() }, time.Minute, 10*time.Millisecond)
	stop()
	wg.Wait()
	require.LessOrEqual(t, count.most.Load(), int64(maxReading))
}

func TestTooManyListsAreTurnedAway(t *testing.T) {
	b := newBench(t, func(c *Config) { c.StoreTimeout = 50 * time.Millisecond })
	for range maxPages {
		b.server.pages <- struct{}{}
	}
	r := b.do("GET", "/v1/tenants", "")
	require.Equal(t, http.StatusServiceUnavailable, r.status)
	require.Contains(t, r.body, "too many clients list objects")
	<-b.server.pages
	require.NotContains(t, b.do("GET", "/v1/tenants", "").body, "too many clients")
}
