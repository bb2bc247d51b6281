package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// entry is the value of the journal: when a transaction was written, and what it
// was when it was no plain write.
type entry struct {
	At   int64  `json:"at"` // milliseconds since 1970
	Note string `json:"note,omitempty"`
}

// journal is the key that every transaction on objects writes, so that its
// revision is that of the last one, and its history has the time of each.
func (k keyspace) journal() string { return k.join("journal") }

// stamp notes a transaction in the journal.
func (s *Store) stamp(note string) clientv3.Op {
	b, err := json.Marshal(entry{s.now().UnixMilli(), note})
	if err != nil { // a number and a text
		panic(err)
	}
	return clientv3.OpPut(s.keys.journal(), string(b))
}

// stamped adds the journal to what a transaction writes; to nothing, nothing.
func (s *Store) stamped(ops []clientv3.Op) []clientv3.Op {
	if len(ops) == 0 {
		return nil
	}
	return append(ops[:len(ops):len(ops)], s.stamp(""))
}

// deleting is a transaction that only deletes. A store over its quota takes it, but
// no entry of the journal: Compact, which is the way out of that, makes it up.
func (s *Store) deleting(ctx context.Context, cmps []clientv3.Cmp, ops []clientv3.Op) (*clientv3.TxnResponse, error) {
	r, err := s.client.Txn(ctx).If(cmps...).Then(s.stamped(ops)...).Commit()
	if errors.Is(err, rpctypes.ErrNoSpace) {
		r, err = s.client.Txn(ctx).If(cmps...).Then(ops...).Commit()
	}
	return r, err
}

// lastEntry reads the journal as it was at a revision, 0 for now; nil when there
// was none. It also tells the store's revision.
func (s *Store) lastEntry(ctx context.Context, rev int64) (*mvccpb.KeyValue, int64, error) {
	r, err := s.client.Get(ctx, s.keys.journal(), clientv3.WithRev(rev))
	if err != nil {
		return nil, 0, err
	}
	if len(r.Kvs) == 0 {
		return nil, r.Header.Revision, nil
	}
	return r.Kvs[0], r.Header.Revision, nil
}

// begin makes sure that there is a journal, which a store of an older version
// lacks, and reads it.
func (s *Store) begin(ctx context.Context) (*mvccpb.KeyValue, error) {
	kv, _, err := s.lastEntry(ctx, 0)
	if err != nil || kv != nil {
		return kv, err
	}
	key := s.keys.journal()
	if _, err = s.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).Then(s.stamp("")).Commit(); err != nil {
		return nil, wrong(err)
	}
	kv, _, err = s.lastEntry(ctx, 0)
	return kv, err
}

// read fills in what the journal says of a revision.
func (r *Revision) read(kv *mvccpb.KeyValue) {
	r.Revision = kv.ModRevision
	var e entry
	if json.Unmarshal(kv.Value, &e) == nil && e.At != 0 {
		r.At, r.Note = time.UnixMilli(e.At).UTC(), e.Note
	}
}

// replay gives the events of all keys from one revision to another, at which the
// journal was written, in order.
func (s *Store) replay(ctx context.Context, from, to int64, f func(*clientv3.Event)) error {
	if from > to {
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for r := range s.client.Watch(clientv3.WithRequireLeader(ctx), string(s.keys)+"/", clientv3.WithPrefix(), clientv3.WithRev(from)) {
		if err := r.Err(); err != nil {
			return err
		}
		for _, ev := range r.Events {
			if ev.Kv.ModRevision > to {
				return nil
			}
			f(ev)
		}
		if n := len(r.Events); n > 0 && r.Events[n-1].Kv.ModRevision >= to {
			return nil // a response has whole revisions
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fmt.Errorf("the watch from revision %d on ended", from)
}
