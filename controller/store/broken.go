package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// Broken is a key of the store that can't be read as an object. It stays as it
// is until somebody writes the object again or deletes it.
type Broken struct {
	Object   intent.Ref // zero when the key is of no kind that is known
	Key      string
	Revision int64
	Err      error
}

// Name is the object in words, or the key when it is no object's.
func (b *Broken) Name() string {
	if b.Object.Kind == "" {
		return "key " + b.Key
	}
	return b.Object.String()
}

// Error says what is wrong and what to do.
func (b *Broken) Error() string {
	if b.Object.Kind == "" {
		return fmt.Sprintf("%s of the store is no object's: a newer version of Weft may have written it; run that version, or remove the key with etcdctl", b.Name())
	}
	return fmt.Sprintf("stored %s is damaged: %v; write it again, or delete it", b.Name(), b.Err)
}

// Is reports whether target is ErrBroken.
func (b *Broken) Is(target error) bool { return target == ErrBroken }

// Unwrap is why it can't be read.
func (b *Broken) Unwrap() error { return b.Err }

// BrokenError comes together with all the objects that can be read.
type BrokenError struct{ Objects []*Broken }

// Error names the first few.
func (e *BrokenError) Error() string {
	var s []string
	for _, b := range e.Objects[:min(shown, len(e.Objects))] {
		s = append(s, b.Error())
	}
	if n := len(e.Objects) - len(s); n > 0 {
		s = append(s, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(s, "; ")
}

// Is reports whether target is ErrBroken.
func (e *BrokenError) Is(target error) bool { return target == ErrBroken }

// brokenError is nil when there are none.
func brokenError(found []*Broken) error {
	if len(found) == 0 {
		return nil
	}
	return &BrokenError{found}
}

// strangers lists the keys among the objects' that are of no known kind, at a
// revision.
func (s *Store) strangers(ctx context.Context, rev int64) ([]*Broken, error) {
	var out []*Broken
	at := s.keys.objects()
	gap := func(from, to string) error {
		if from >= to {
			return nil
		}
		r, err := s.client.Get(ctx, from, clientv3.WithRange(to), clientv3.WithRev(rev), clientv3.WithKeysOnly(), clientv3.WithLimit(pageSize))
		if err != nil {
			return err
		}
		for _, kv := range r.Kvs {
			out = append(out, &Broken{Key: string(kv.Key), Revision: kv.ModRevision, Err: errors.New("not an object's key")})
		}
		return nil
	}
	for _, prefix := range s.keys.kindPrefixes() {
		if err := gap(at, prefix); err != nil {
			return nil, err
		}
		at = clientv3.GetPrefixRangeEnd(prefix)
	}
	return out, gap(at, clientv3.GetPrefixRangeEnd(s.keys.objects()))
}

// leftovers are the claims of an object that can't be read.
func (s *Store) leftovers(ctx context.Context, r intent.Ref, rev int64) (map[string]bool, error) {
	out := map[string]bool{}
	_, err := s.pages(ctx, s.keys.dir("claim"), rev, func(resp *clientv3.GetResponse) error {
		for _, kv := range resp.Kvs {
			if decodeRef(kv.Value) == r {
				out[string(kv.Key)] = true
			}
		}
		return nil
	})
	return out, err
}

// readKV decodes a key's value, or tells why it can't be.
func (s *Store) readKV(kv *mvccpb.KeyValue) (intent.Object, *Broken) {
	r, err := s.keys.ref(string(kv.Key))
	if err == nil {
		var o intent.Object
		if o, err = decode(r, kv.Value, kv.ModRevision); err == nil {
			err = whole(o)
		}
		if err == nil {
			return o, nil
		}
	}
	return nil, &Broken{Object: r, Key: string(kv.Key), Revision: kv.ModRevision, Err: err}
}

func (s *Store) decodeKV(kv *mvccpb.KeyValue) (intent.Object, error) {
	o, b := s.readKV(kv)
	if b != nil {
		return nil, b
	}
	return o, nil
}
