package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
)

// defaultPatience is how long a client may keep the writes of one store watch
// waiting, in all. What changes meanwhile is kept in memory; then the store is
// watched anew from where the client is, so that etcd keeps it instead.
const defaultPatience = 5 * time.Second

// stream is one client's watch.
type stream struct {
	s      *Server
	kind   intent.Kind
	tenant string
	after  int64 // the client has everything up to it; 0: wants from now on

	r       *http.Request
	w       http.ResponseWriter
	rc      *http.ResponseController
	sent    int64         // the id that the client has
	blocked time.Duration // in writes to the client since the store is watched
}

var errSlow = errors.New("client is slow")

// run sends events until the client or the server goes.
func (st *stream) run(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-st.s.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	if st.after == 0 {
		rctx, done := context.WithTimeout(ctx, st.s.cfg.StoreTimeout)
		now, err := st.s.cfg.Store.Revision(rctx)
		done()
		if err != nil {
			writeProblem(w, r, st.s.problem(ctx, err))
			return
		}
		st.after = now
	}
	st.r, st.w, st.rc = r, w, http.NewResponseController(w)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	err := st.follow(ctx)
	// A failed write ends ctx too, so ctx does not tell who went first.
	if err != nil && !errors.Is(err, context.Canceled) {
		st.s.log.Debug("watch ended", "kind", st.kind, "cause", err)
	}
}

// follow sends what changes, with heartbeats between, at which the user is still to be
// one.
func (st *stream) follow(ctx context.Context) error {
	if err := st.beat(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		st.blocked = 0
		if err := st.allowed(ctx); err != nil {
			return err
		}
		err := st.once(ctx)
		if !errors.Is(err, errSlow) {
			return err
		}
	}
	return ctx.Err()
}

// once sends the changes of one store watch. The watch is read by a goroutine
// that hands over one batch at a time.
func (st *stream) once(ctx context.Context) error {
	type item struct {
		batch []store.Event
		err   error
	}
	wctx, stop := context.WithCancel(ctx)
	items, ended := make(chan item), make(chan struct{})
	go func() {
		defer close(ended)
		defer close(items)
		for batch, err := range st.s.cfg.Store.Watch(wctx, st.after+1) {
			select {
			case items <- item{batch, err}:
			case <-wctx.Done():
				return
			}
		}
	}()
	defer func() { stop(); <-ended }()
	beat := time.NewTicker(st.s.cfg.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case it, ok := <-items:
			switch {
			case !ok:
				return ctx.Err()
			case it.err != nil:
				return st.sendError(ctx, it.err)
			}
			if err := st.sendBatch(it.batch); err != nil {
				return err
			}
		case <-beat.C:
			if err := st.allowed(ctx); err != nil {
				return err
			}
			if err := st.beat(); err != nil {
				return err
			}
		}
		if st.blocked > st.s.patience {
			return errSlow
		}
	}
}

// allowed ends the watch of a user who was taken out of the file, or whose token has
// ended since the watch began.
func (st *stream) allowed(ctx context.Context) error {
	if _, p := st.s.user(st.r, st.r.Pattern); p != nil {
		return st.sendError(ctx, p)
	}
	return nil
}

// sendBatch sends the changes of one revision; the last one carries the id.
func (st *stream) sendBatch(batch []store.Event) error {
	var mine []store.Event
	for _, e := range batch {
		st.after = max(st.after, e.Revision)
		if e.Broken != nil || e.Mended != "" {
			continue // an alarm tells of it
		}
		if e.Ref.Kind == st.kind && (st.tenant == "" || e.Ref.Tenant == st.tenant) {
			mine = append(mine, e)
		}
	}
	for i, e := range mine {
		d := client.WatchEvent{Type: "delete", Ref: e.Ref, Revision: e.Revision}
		if e.Object != nil {
			b, err := json.Marshal(e.Object)
			if err != nil {
				return err
			}
			d.Type, d.Object = "put", b
		}
		id := ""
		if i == len(mine)-1 {
			id, st.sent = "id: "+strconv.FormatInt(e.Revision, 10)+"\n", e.Revision
		}
		b, err := json.Marshal(d)
		if err != nil {
			return err
		}
		if err := st.write(fmt.Sprintf("event: %s\n%sdata: %s\n\n", d.Type, id, b)); err != nil {
			return err
		}
	}
	if len(mine) == 0 {
		return nil
	}
	return st.flush()
}

// beat sends a comment and, when it is news, how far the client has come: an
// id without data changes only the client's last event ID.
func (st *stream) beat() error {
	s := ": heartbeat\n\n"
	if st.after > st.sent {
		st.sent = st.after
		s = fmt.Sprintf(": heartbeat\nid: %d\n\n", st.after)
	}
	if err := st.write(s); err != nil {
		return err
	}
	return st.flush()
}

// sendError tells why the watch ends.
func (st *stream) sendError(ctx context.Context, err error) error {
	p := st.s.problem(ctx, err)
	p.Instance = instance(ctx)
	b, _ := json.Marshal(p)
	if werr := st.write(fmt.Sprintf("event: error\ndata: %s\n\n", b)); werr != nil {
		return werr
	}
	return errors.Join(err, st.flush())
}

func (st *stream) write(s string) error {
	start := time.Now()
	_ = st.rc.SetWriteDeadline(start.Add(st.s.cfg.WriteTimeout))
	_, err := st.w.Write([]byte(s))
	st.blocked += time.Since(start)
	return err
}

func (st *stream) flush() error {
	start := time.Now()
	err := st.rc.Flush()
	st.blocked += time.Since(start)
	return err
}
