package store

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// Action is what happened to an object.
type Action string

// The actions.
const (
	Created Action = "created"
	Changed Action = "changed"
	Deleted Action = "deleted"
)

// Touch is one object in a revision.
type Touch struct {
	Ref    intent.Ref // zero for a key that is no object's
	Key    string
	Action Action
}

// Revision is one transaction of the store.
type Revision struct {
	Revision int64
	At       time.Time // zero when it is not known
	Note     string    // what it was, when it was no plain write
	Objects  []Touch   // in the order of their keys
}

// HistoryOptions choose what History returns.
type HistoryOptions struct {
	Limit  int   // revisions at most; 20 when 0
	Before int64 // only older ones; 0 for the newest
}

// History are revisions, the newest first.
type History struct {
	Revisions []Revision
	// Oldest is the oldest revision that can be gone back to: what was before it
	// is compacted.
	Oldest int64
}

const defaultHistory = 20

// History lists the last revisions and what each changed, as far back as etcd
// keeps them: the etcd in this process keeps the last 100,000, a cluster what
// its own settings say.
func (s *Store) History(ctx context.Context, o HistoryOptions) (History, error) {
	if o.Limit <= 0 {
		o.Limit = defaultHistory
	}
	for {
		h, err := s.history(ctx, o)
		if errors.Is(err, rpctypes.ErrCompacted) {
			continue // compacted meanwhile: there is less of it now
		}
		if err != nil {
			return History{}, fmt.Errorf("read history: %w", err)
		}
		return h, nil
	}
}

func (s *Store) history(ctx context.Context, o HistoryOptions) (h History, err error) {
	kv, now, err := s.lastEntry(ctx, 0)
	if err != nil {
		return h, err
	}
	if h.Oldest, err = s.oldest(ctx, now); err != nil {
		return h, err
	}
	if o.Before > 0 && kv != nil && kv.ModRevision >= o.Before {
		if kv, err = s.entryBefore(ctx, o.Before, h.Oldest); err != nil {
			return h, err
		}
	}
	at := map[int64]int{}
	for kv != nil && len(h.Revisions) < o.Limit {
		var r Revision
		r.read(kv)
		if r.Revision <= h.Oldest {
			break // of what it changed only a part is left
		}
		at[r.Revision] = len(h.Revisions)
		h.Revisions = append(h.Revisions, r)
		if kv, err = s.entryBefore(ctx, r.Revision, h.Oldest); err != nil {
			return h, err
		}
	}
	if len(h.Revisions) == 0 {
		return h, nil
	}
	first, last := h.Revisions[len(h.Revisions)-1].Revision, h.Revisions[0].Revision
	err = s.replay(ctx, first, last, func(ev *clientv3.Event) {
		if i, ok := at[ev.Kv.ModRevision]; ok && strings.HasPrefix(string(ev.Kv.Key), s.keys.objects()) {
			h.Revisions[i].Objects = append(h.Revisions[i].Objects, s.touch(ev))
		}
	})
	return h, err
}

// entryBefore is the journal's entry before a revision; nil when there is none
// any more.
func (s *Store) entryBefore(ctx context.Context, rev, oldest int64) (*mvccpb.KeyValue, error) {
	if rev-1 < oldest {
		return nil, nil
	}
	kv, _, err := s.lastEntry(ctx, rev-1)
	return kv, err
}

func (s *Store) touch(ev *clientv3.Event) Touch {
	t := Touch{Key: string(ev.Kv.Key), Action: Changed}
	t.Ref, _ = s.keys.ref(t.Key)
	switch {
	case ev.Type == mvccpb.DELETE:
		t.Action = Deleted
	case ev.IsCreate():
		t.Action = Created
	}
	return t
}

// oldest is the oldest revision that can still be read: etcd does not tell it,
// but refuses to read what is older.
func (s *Store) oldest(ctx context.Context, now int64) (int64, error) {
	var failed error
	n := sort.Search(int(now-1), func(i int) bool {
		if failed != nil {
			return true
		}
		_, _, err := s.lastEntry(ctx, int64(i)+1)
		if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
			failed = err
		}
		return err == nil
	})
	return int64(n) + 1, failed
}
