package store

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// pageSize is how many keys are read at once.
const pageSize = 1000

// pages reads all keys under a prefix at one revision, the present one when
// rev is 0, and returns that revision.
func (s *Store) pages(ctx context.Context, prefix string, rev int64, f func(*clientv3.GetResponse) error, opts ...clientv3.OpOption) (int64, error) {
	end := clientv3.GetPrefixRangeEnd(prefix)
	for key := prefix; ; {
		r, err := s.client.Get(ctx, key, append([]clientv3.OpOption{
			clientv3.WithRange(end), clientv3.WithLimit(pageSize), clientv3.WithRev(rev)}, opts...)...)
		if err != nil {
			return 0, err
		}
		if rev == 0 {
			rev = r.Header.Revision
		}
		if err := f(r); err != nil {
			return 0, err
		}
		if !r.More {
			return rev, nil
		}
		key = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
	}
}

// Get reads one object; NotFoundError when there is none.
func (s *Store) Get(ctx context.Context, r intent.Ref) (intent.Object, error) {
	resp, err := s.client.Get(ctx, s.keys.object(r))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", r, err)
	}
	if len(resp.Kvs) == 0 {
		return nil, &NotFoundError{r}
	}
	return s.decodeKV(resp.Kvs[0])
}

// Snapshot reads all objects at one revision, in the order in which they must
// be applied: what is named comes before what names it. Watch goes on from the
// revision after it. What can't be read is named by a BrokenError, with which
// the other objects come.
func (s *Store) Snapshot(ctx context.Context) ([]intent.Object, int64, error) {
	for {
		out, broken, rev, err := s.snapshot(ctx)
		if errors.Is(err, rpctypes.ErrCompacted) {
			continue // compacted between two pages: read again
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read snapshot: %w", err)
		}
		return out, rev, brokenError(broken)
	}
}

func (s *Store) snapshot(ctx context.Context) (out []intent.Object, broken []*Broken, rev int64, err error) {
	for _, k := range intent.Kinds() {
		rev, err = s.pages(ctx, s.keys.kind(k, ""), rev, func(r *clientv3.GetResponse) error {
			for _, kv := range r.Kvs {
				if o, b := s.readKV(kv); b == nil {
					out = append(out, o)
				} else {
					broken = append(broken, b)
				}
			}
			return nil
		})
		if err != nil {
			return nil, nil, 0, err
		}
	}
	strange, err := s.strangers(ctx, rev)
	return out, append(broken, strange...), rev, err
}

// ListOptions choose what List returns.
type ListOptions struct {
	Tenant   string // only of this tenant, for kinds that live in one
	Limit    int    // objects at most; 0 for all
	Continue string // List.Continue of the page before
}

// List is one page of objects of a kind, sorted by tenant and name.
type List struct {
	Objects  []intent.Object
	Revision int64 // at which all pages are read
	// Continue is the token of the next page, empty on the last one; Remaining
	// is how many objects follow.
	Continue  string
	Remaining int64
	Broken    []*Broken // on this page, what can't be read
}

type token struct {
	Revision int64  `json:"r"`
	Last     string `json:"k"`
}

// List reads the objects of a kind that can be read. All pages show one revision; ErrExpired
// tells that it is gone from the store, ErrToken that Continue is not of a
// list like this.
func (s *Store) List(ctx context.Context, k intent.Kind, o ListOptions) (List, error) {
	prefix := s.keys.kind(k, o.Tenant)
	key, rev := prefix, int64(0)
	if o.Continue != "" {
		var t token
		b, err := base64.RawURLEncoding.DecodeString(o.Continue)
		if err != nil || json.Unmarshal(b, &t) != nil || t.Revision <= 0 || !strings.HasPrefix(t.Last, prefix) {
			return List{}, fmt.Errorf("list %s: %w", k.Plural(), ErrToken)
		}
		key, rev = t.Last+"\x00", t.Revision
	}
	out := List{Objects: []intent.Object{}}
	for {
		limit := int64(pageSize)
		if left := o.Limit - len(out.Objects) - len(out.Broken); o.Limit > 0 && int64(left) < limit {
			limit = int64(left)
		}
		r, err := s.client.Get(ctx, key, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)), clientv3.WithLimit(limit), clientv3.WithRev(rev))
		switch {
		case errors.Is(err, rpctypes.ErrCompacted):
			return List{}, fmt.Errorf("list %s: %w", k.Plural(), ErrExpired)
		case errors.Is(err, rpctypes.ErrFutureRev):
			return List{}, fmt.Errorf("list %s: %w", k.Plural(), ErrToken)
		case err != nil:
			return List{}, fmt.Errorf("list %s: %w", k.Plural(), err)
		}
		if rev == 0 {
			rev = r.Header.Revision
		}
		for _, kv := range r.Kvs {
			if ob, b := s.readKV(kv); b == nil {
				out.Objects = append(out.Objects, ob)
			} else {
				out.Broken = append(out.Broken, b)
			}
		}
		out.Revision = rev
		if !r.More {
			return out, nil
		}
		last := string(r.Kvs[len(r.Kvs)-1].Key)
		if len(out.Objects)+len(out.Broken) == o.Limit {
			b, err := json.Marshal(token{rev, last})
			out.Continue, out.Remaining = base64.RawURLEncoding.EncodeToString(b), r.Count-int64(len(r.Kvs))
			return out, err
		}
		key = last + "\x00"
	}
}
