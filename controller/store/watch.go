package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// Event is one object's change at a revision.
type Event struct {
	Ref      intent.Ref
	Object   intent.Object // nil when it was deleted
	Broken   *Broken       // it was written, and can't be read; Object is nil
	Mended   string        // key of no known kind that was removed; Ref is zero
	Revision int64
}

// Watch yields the changes from a revision on, that revision included (0: from
// now on), until ctx ends: one batch for each revision, in order, none twice and none left
// out. Lost connections are resumed without notice. After an error it ends;
// ErrCompacted asks for a new snapshot.
func (s *Store) Watch(ctx context.Context, from int64) iter.Seq2[[]Event, error] {
	return func(yield func([]Event, error) bool) {
		w := watch{s: s, next: from, yield: yield}
		now, err := s.Revision(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			yield(nil, fmt.Errorf("watch: %w", err))
			return
		case from > now+1: // of another store, such as one before a restore
			yield(nil, &CompactedError{After: from - 1, Current: now})
			return
		case from <= 0:
			w.next = now + 1
		}
		for w.run(ctx) {
			if s.client.Ctx().Err() != nil {
				yield(nil, errors.New("watch: store is closed"))
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
}

type watch struct {
	s     *Store
	next  int64
	yield func([]Event, error) bool
}

// run watches until ctx ends or the stream does; it tells whether to go on.
func (w *watch) run(ctx context.Context) bool {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// Without a leader a member would stay silent; better that the stream ends
	// and another member is asked.
	ch := w.s.client.Watch(clientv3.WithRequireLeader(ctx), w.s.keys.objects(), clientv3.WithPrefix(), clientv3.WithRev(w.next))
	for r := range ch {
		err := r.Err()
		switch {
		case ctx.Err() != nil:
			return false
		case errors.Is(err, rpctypes.ErrCompacted):
			now, rerr := w.s.Revision(ctx)
			if rerr != nil {
				now = r.Header.Revision
			}
			w.yield(nil, &CompactedError{After: w.next - 1, Current: now})
			return false
		case err != nil:
			return true
		}
		if !w.take(r.Events) {
			return false
		}
	}
	return ctx.Err() == nil
}

// take yields the events of one response, which has whole revisions only.
func (w *watch) take(events []*clientv3.Event) bool {
	var batch []Event
	for i, ev := range events {
		e := w.s.event(ev)
		batch = append(batch, e)
		if i+1 < len(events) && events[i+1].Kv.ModRevision == e.Revision {
			continue
		}
		w.next = e.Revision + 1
		if !w.yield(batch, nil) {
			return false
		}
		batch = nil
	}
	return true
}

func (s *Store) event(ev *clientv3.Event) Event {
	e := Event{Revision: ev.Kv.ModRevision}
	if ev.Type == mvccpb.PUT {
		if e.Object, e.Broken = s.readKV(ev.Kv); e.Broken == nil {
			e.Ref = e.Object.Ref()
		} else {
			e.Ref = e.Broken.Object
		}
		return e
	}
	var err error
	if e.Ref, err = s.keys.ref(string(ev.Kv.Key)); err != nil {
		e.Mended = string(ev.Kv.Key)
	}
	return e
}

// Backup writes a snapshot of the whole etcd, as etcdutl restores it.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	r, err := s.client.Snapshot(ctx)
	if err == nil {
		_, err = io.Copy(w, r)
		err = errors.Join(err, r.Close())
	}
	if err != nil {
		return fmt.Errorf("back up store: %w", err)
	}
	return nil
}
