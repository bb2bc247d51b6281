package overlay

import "iter"

// few is a set that mostly has one member: that needs no map. The zero value is
// empty.
type few[T comparable] struct {
	one  T
	has  bool
	more map[T]struct{} // without one
}

func (f few[T]) empty() bool { return !f.has }

func (f few[T]) contains(v T) bool {
	_, ok := f.more[v]
	return ok || f.has && f.one == v
}

// with is the set with v; the old one must not be used any more.
func (f few[T]) with(v T) few[T] {
	switch {
	case f.contains(v):
	case !f.has:
		f.one, f.has = v, true
	case f.more == nil:
		f.more = map[T]struct{}{v: {}}
	default:
		f.more[v] = struct{}{}
	}
	return f
}

// without is the set without v; the old one must not be used any more.
func (f few[T]) without(v T) few[T] {
	if !f.has || f.one != v {
		delete(f.more, v)
	} else {
		f.has = false
		for next := range f.more {
			f.one, f.has = next, true
			delete(f.more, next)
			break
		}
		if !f.has {
			return few[T]{}
		}
	}
	if len(f.more) == 0 {
		f.more = nil
	}
	return f
}

// all yields the members, in no order.
func (f few[T]) all() iter.Seq[T] {
	return func(yield func(T) bool) {
		if !f.has || !yield(f.one) {
			return
		}
		for v := range f.more {
			if !yield(v) {
				return
			}
		}
	}
}
