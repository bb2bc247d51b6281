package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// rounds joins single writes that come at the same time into common transactions,
// each still with an answer of its own. The first one leads: it reads and writes for
// all that wait, and hands the lead to the first of those that came meanwhile. So
// nothing waits for others to come, and nobody leads for longer than one round. A
// write that loses a race, or whose object is at fault in a way that takes more to
// find out, is done again by its own caller, alone.
type rounds struct {
	mu      sync.Mutex
	leading bool
	queue   []*member
}

// roundMost bounds the writes of one round.
const roundMost = 256

// member is a single write.
type member struct {
	ctx    context.Context
	object intent.Object // to be put; nil for a deletion
	put    PutOptions
	ref    intent.Ref // to be deleted
	match  int64      // revision at which that must be; 0 for any

	lead chan struct{} // capacity 1: leads the next round
	done chan struct{} // closed when the outcome is there

	res PutResult
	rev int64 // of the deletion
	err error // errRaced: to be done alone
}

func newMember(ctx context.Context) *member {
	return &member{ctx: ctx, lead: make(chan struct{}, 1), done: make(chan struct{})}
}

// join waits for a member's turn and outcome. It fails when its context ends
// before; the write may be done all the same.
func (g *rounds) join(s *Store, m *member) error {
	g.mu.Lock()
	g.queue = append(g.queue, m)
	if !g.leading {
		g.leading = true
		m.lead <- struct{}{}
	}
	g.mu.Unlock()
	select {
	case <-m.lead:
		g.round(s)
	case <-m.done:
	case <-m.ctx.Done():
		if !g.leave(m) {
			return fmt.Errorf("write %s: %w", m.name(), context.Cause(m.ctx))
		}
		g.round(s) // was about to lead; the others must not wait
	}
	<-m.done
	return m.err
}

func (m *member) name() intent.Ref {
	if m.object != nil {
		return m.object.Ref()
	}
	return m.ref
}

// leave takes a member out of the queue; it reports whether it had the lead, which
// it keeps.
func (g *rounds) leave(m *member) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-m.lead:
		return true
	default:
	}
	if i := slices.Index(g.queue, m); i >= 0 {
		g.queue = slices.Delete(g.queue, i, i+1)
	}
	return false
}

// round does what waits, and hands the lead on.
func (g *rounds) round(s *Store) {
	g.mu.Lock()
	n := min(len(g.queue), roundMost)
	now := slices.Clone(g.queue[:n])
	g.queue = slices.Delete(g.queue, 0, n)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.leading = len(g.queue) > 0; g.leading {
			g.queue[0].lead <- struct{}{}
		}
	}()
	ctx, cancel := forAll(now)
	defer cancel()
	s.together(ctx, now)
	for _, m := range now {
		close(m.done)
	}
}

// forAll is a context that ends when those of all members have.
func forAll(now []*member) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(now[0].ctx))
	var left atomic.Int64
	left.Store(int64(len(now)))
	stops := make([]func() bool, len(now))
	for i, m := range now {
		stops[i] = context.AfterFunc(m.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

// together writes and deletes for all members.
func (s *Store) together(ctx context.Context, now []*member) {
	var puts, dels []*member
	for _, m := range now {
		if m.object != nil {
			puts = append(puts, m)
		} else {
			dels = append(dels, m)
		}
	}
	if len(puts) > 0 {
		objects := make([]intent.Object, len(puts))
		for i, m := range puts {
			objects[i] = m.object
		}
		b := &bulk{s: s, ctx: ctx, objects: objects, out: make([]Written, len(puts)),
			opt:   func(i int) PutOptions { return puts[i].put },
			retry: func(int) (PutResult, error) { return PutResult{}, errRaced }}
		b.run()
		for i, m := range puts {
			m.res, m.err = b.out[i].PutResult, b.out[i].Err
		}
	}
	for len(dels) > 0 {
		n := min(len(dels), s.maxOps)
		s.deleteEach(ctx, dels[:n])
		dels = dels[n:]
	}
}

// departure is an object that is to go.
type departure struct {
	*member
	unit unit
}

// deleteEach deletes objects that nothing but a route or floating IP can name.
func (s *Store) deleteEach(ctx context.Context, dels []*member) {
	refs := make([]intent.Ref, len(dels))
	for i, m := range dels {
		refs[i] = m.ref
	}
	have, _, err := s.lookup(ctx, refs)
	var todo []departure
	var t txn
	for _, m := range dels {
		f := have[m.ref]
		switch {
		case err != nil:
			m.err = err
		case f.broken != nil:
			m.err = errRaced
		case f.object == nil:
			m.err = &NotFoundError{m.ref}
		case m.match != 0 && m.match != f.object.Meta().Revision:
			m.err = &RevisionError{Object: m.ref, Want: m.match, Have: f.object.Meta().Revision}
		default:
			r := departure{m, unit{{plan: s.removing(f.object)}}}
			if len(todo) > 0 && !t.fits(r.unit, s.maxOps) {
				s.remove(ctx, todo)
				todo, t = nil, txn{}
			}
			t.add(r.unit)
			todo = append(todo, r)
		}
	}
	s.remove(ctx, todo)
}

// removing is the plan by which an object goes that nothing names: of a port, it
// compares that no route and no floating IP does.
func (s *Store) removing(o intent.Object) *plan {
	key := s.keys.object(o.Ref())
	p := &plan{own: []clientv3.Cmp{unchanged(key, o)}, puts: []clientv3.Op{clientv3.OpDelete(key)}}
	if o.Ref().Kind == intent.KindPort {
		for _, prefix := range []string{s.keys.hopsOf(o.Ref()), s.keys.floatsOf(o.Ref())} {
			p.own = append(p.own, clientv3.Compare(clientv3.CreateRevision(prefix), "=", 0).WithPrefix())
		}
	}
	for _, c := range s.keys.claims(o) {
		p.puts = append(p.puts, clientv3.OpDelete(c.key))
	}
	return p
}

// remove deletes by one transaction; when that does not succeed each half is tried.
func (s *Store) remove(ctx context.Context, todo []departure) {
	if len(todo) == 0 {
		return
	}
	var t txn
	for _, r := range todo {
		t.add(r.unit)
	}
	r, err := s.deleting(ctx, t.cmps, t.puts)
	switch {
	case err == nil && r.Succeeded:
		for _, m := range todo {
			m.rev = r.Header.Revision
		}
	case len(todo) == 1 && err == nil:
		todo[0].err = errRaced
	case tooLarge(err), err == nil:
		s.remove(ctx, todo[:len(todo)/2])
		s.remove(ctx, todo[len(todo)/2:])
	default:
		for _, m := range todo {
			m.err = fmt.Errorf("delete %s: %w", m.ref, wrong(err))
		}
	}
}

// unnamed reports whether no object but a route or floating IP can name one of
// the kind.
func unnamed(k intent.Kind) bool {
	return k == intent.KindPort || k == intent.KindLink || k == intent.KindFloatingIP
}

// putTogether is Put, with others at the same time; ok is false when it has to be
// done alone.
func (s *Store) putTogether(ctx context.Context, o intent.Object, opt PutOptions) (res PutResult, ok bool, err error) {
	m := newMember(ctx)
	m.object, m.put = o, opt
	if err = s.singles.join(s, m); errors.Is(err, errRaced) {
		return PutResult{}, false, nil
	}
	return m.res, true, err
}

// deleteTogether is Delete of an object that nothing can name.
func (s *Store) deleteTogether(ctx context.Context, r intent.Ref, match int64) (res DeleteResult, ok bool, err error) {
	m := newMember(ctx)
	m.ref, m.match = r, match
	if err = s.singles.join(s, m); errors.Is(err, errRaced) {
		return DeleteResult{}, false, nil
	}
	if err != nil {
		return DeleteResult{}, true, err
	}
	return DeleteResult{Deleted: []intent.Ref{r}, Revision: m.rev}, true, nil
}
