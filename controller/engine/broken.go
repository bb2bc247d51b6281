package engine

import (
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
	"github.com/weft-sdn/weft/southbound"
)

// AlarmBroken is raised for an object of the store that can't be read. Its
// devices keep what they had of it as long as this process lives.
const AlarmBroken = "BrokenObject"

func brokenKey(b *store.Broken) southbound.AlarmKey {
	return southbound.AlarmKey{Reason: AlarmBroken, Object: b.Name()}
}

// setBroken takes what is broken in a snapshot, and marks those objects as kept.
// The caller holds the lock.
func (e *Engine) setBroken(err *store.BrokenError, keep map[intent.Ref]bool) {
	now := map[string]*store.Broken{}
	if err != nil {
		for _, b := range err.Objects {
			now[b.Key] = b
			keep[b.Object] = true
		}
	}
	for key := range e.broken {
		if now[key] == nil {
			e.mends(key)
		}
	}
	for _, b := range now {
		e.breaks(b)
	}
}

// breaks notes that an object can't be read. The caller holds the lock.
func (e *Engine) breaks(b *store.Broken) {
	if have := e.broken[b.Key]; have != nil && have.Revision == b.Revision {
		return
	}
	if e.broken == nil {
		e.broken = map[string]*store.Broken{}
	}
	e.broken[b.Key] = b
	e.alarm("", brokenKey(b), b.Error())
}

// mends notes that a key is gone or can be read again. The caller holds the lock.
func (e *Engine) mends(key string) {
	if b := e.broken[key]; b != nil {
		delete(e.broken, key)
		e.alarm("", brokenKey(b), "")
	}
}

// mendsObject is mends of an object's key: few are broken at a time, and none
// as a rule. The caller holds the lock.
func (e *Engine) mendsObject(r intent.Ref) {
	for key, b := range e.broken {
		if b.Object == r {
			e.mends(key)
		}
	}
}
