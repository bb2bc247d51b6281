package store

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

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

// decoded is a page whose values were read.
type decoded struct {
	objects []intent.Object
	broken  []*Broken
}

// snapshot reads page by page; what was read is decoded meanwhile, on as many
// cores as there are.
func (s *Store) snapshot(ctx context.Context) (out []intent.Object, broken []*Broken, rev int64, err error) {
	var (
		pages []*decoded
		wg    sync.WaitGroup
		busy  = make(chan struct{}, runtime.GOMAXPROCS(0))
	)
	for _, k := range intent.Kinds() {
		rev, err = s.pages(ctx, s.keys.kind(k, ""), rev, func(r *clientv3.GetResponse) error {
			p := &decoded{}
			pages = append(pages, p)
			busy <- struct{}{}
			wg.Go(func() {
				p.decode(s, r.Kvs)
				<-busy
			})
			return nil
		})
		if err != nil {
			break
		}
	}
	wg.Wait()
	if err != nil {
		return nil, nil, 0, err
	}
	n := 0
	for _, p := range pages {
		n += len(p.objects)
	}
	out = make([]intent.Object, 0, n)
	for _, p := range pages {
		out, broken = append(out, p.objects...), append(broken, p.broken...)
	}
	strange, err := s.strangers(ctx, rev)
	return out, append(broken, strange...), rev, err
}

func (p *decoded) decode(s *Store, kvs []*mvccpb.KeyValue) {
	p.objects = make([]intent.Object, 0, len(kvs))
	for _, kv := range kvs {
		if o, b := s.readKV(kv); b == nil {
			p.objects = append(p.objects, o)
		} else {
			p.broken = append(p.broken, b)
		}
	}
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

// token says where a list goes on: after which key, at which revision, how many
// objects follow, and how long the scan's ranges were.
type token struct {
	Revision  int64  `json:"r"`
	Last      string `json:"k"`
	Remaining int64  `json:"n"`
	Depth     int    `json:"d"`
}

// resume makes the scan that a token stands for.
func (s *Store) resume(prefix, text string) (*scan, int64, bool) {
	var t token
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(b, &t) != nil || t.Revision <= 0 || t.Remaining <= 0 || !strings.HasPrefix(t.Last, prefix) {
		return nil, 0, false
	}
	c := s.scan(prefix, t.Revision)
	c.key, c.depth = t.Last+"\x00", min(max(t.Depth, 0), len(t.Last))
	return c, t.Remaining, true
}

// List reads the objects of a kind that can be read. All pages show one
// revision; ErrExpired tells that it is gone from the store, ErrToken that
// Continue is not of a list like this.
func (s *Store) List(ctx context.Context, k intent.Kind, o ListOptions) (List, error) {
	prefix := s.keys.kind(k, o.Tenant)
	c, remaining := s.scan(prefix, 0), int64(-1)
	if o.Continue != "" {
		var ok bool
		if c, remaining, ok = s.resume(prefix, o.Continue); !ok {
			return List{}, fmt.Errorf("list %s: %w", k.Plural(), ErrToken)
		}
	}
	out, last := List{Objects: []intent.Object{}}, ""
	for have := 0; !c.done && remaining != 0 && (o.Limit == 0 || have < o.Limit); have = len(out.Objects) + len(out.Broken) {
		limit := int64(pageSize)
		if left := int64(o.Limit - have); o.Limit > 0 && left < limit {
			limit = left
		}
		r, err := c.next(ctx, limit)
		switch {
		case errors.Is(err, rpctypes.ErrCompacted):
			return List{}, fmt.Errorf("list %s: %w", k.Plural(), ErrExpired)
		case errors.Is(err, rpctypes.ErrFutureRev):
			return List{}, fmt.Errorf("list %s: %w", k.Plural(), ErrToken)
		case err != nil:
			return List{}, fmt.Errorf("list %s: %w", k.Plural(), err)
		}
		if remaining < 0 {
			remaining = r.Count
		}
		for _, kv := range r.Kvs {
			if ob, b := s.readKV(kv); b == nil {
				out.Objects = append(out.Objects, ob)
			} else {
				out.Broken = append(out.Broken, b)
			}
			last = string(kv.Key)
		}
		remaining -= int64(len(r.Kvs))
	}
	out.Revision = c.rev
	if remaining <= 0 {
		return out, nil
	}
	b, err := json.Marshal(token{c.rev, last, remaining, c.depth})
	out.Continue, out.Remaining = base64.RawURLEncoding.EncodeToString(b), remaining
	return out, err
}
