package store

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// pageSize is how many keys are read at once.
const pageSize = 2000

// scan reads the keys under a prefix by pages, at one revision.
//
// etcd counts through the whole range of a request, whatever the limit. To read
// n keys by pages of the whole rest would cost n²: an hour of a core for some
// millions. So a page's range ends where the first depth bytes of its keys
// change, and depth follows what was found, so that a range is some pages long.
type scan struct {
	client *clientv3.Client
	prefix string
	end    string // of the prefix
	key    string // the next to read
	rev    int64  // of the first page, unless it is given
	depth  int    // bytes that the keys of a range share; 0 before the first page
	done   bool
}

func (s *Store) scan(prefix string, rev int64) *scan {
	return &scan{client: s.client, prefix: prefix, end: clientv3.GetPrefixRangeEnd(prefix), key: prefix, rev: rev}
}

// next reads one page of limit keys at most; it may be empty before the end. The
// count of the first page is that of all keys.
func (c *scan) next(ctx context.Context, limit int64, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	end := c.end
	if c.depth > len(c.prefix) {
		end = min(end, clientv3.GetPrefixRangeEnd(c.key[:min(c.depth, len(c.key))]))
	}
	r, err := c.client.Get(ctx, c.key, append([]clientv3.OpOption{
		clientv3.WithRange(end), clientv3.WithLimit(limit), clientv3.WithRev(c.rev)}, opts...)...)
	if err != nil {
		return nil, err
	}
	if c.rev == 0 {
		c.rev = r.Header.Revision
	}
	switch {
	case r.More:
		last := string(r.Kvs[len(r.Kvs)-1].Key)
		if c.key = last + "\x00"; r.Count > 8*limit {
			c.depth = min(max(c.depth+1, common(string(r.Kvs[0].Key), last)), len(last))
		}
	case end == c.end:
		c.done = true
	default:
		if c.key = end; r.Count < limit {
			c.depth = max(min(c.depth, len(end))-1, len(c.prefix))
		}
	}
	return r, nil
}

// common is how many bytes two keys begin with alike.
func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// pages reads all keys under a prefix at one revision, the present one when
// rev is 0, and returns that revision.
func (s *Store) pages(ctx context.Context, prefix string, rev int64, f func(*clientv3.GetResponse) error, opts ...clientv3.OpOption) (int64, error) {
	c := s.scan(prefix, rev)
	for !c.done {
		r, err := c.next(ctx, pageSize, opts...)
		if err != nil {
			return 0, err
		}
		if err := f(r); err != nil {
			return 0, err
		}
	}
	return c.rev, nil
}
