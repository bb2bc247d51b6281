package evpn

import "hash/maphash"

// lookup returns the set of a wire form, nil when it is not in the table.
func (r *rib) lookup(wire []byte) *attributes {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.set(wire)
}

func (r *rib) set(wire []byte) *attributes {
	if i := r.sets.find(setHash(wire), func(i uint32) bool { return r.byID[i].wire == string(wire) }); i != none {
		return r.byID[i]
	}
	return nil
}

func setHash(wire []byte) uint32 { return uint32(maphash.Bytes(seed, wire)) }

// intern puts a set into the table, or returns the one that is there.
func (r *rib) intern(a *attributes) *attributes {
	if a.refs > 0 {
		return a
	}
	if there := r.set([]byte(a.wire)); there != nil {
		return there
	}
	if k := len(r.idle); k > 0 {
		a.id, r.idle = r.idle[k-1], r.idle[:k-1]
	} else {
		a.id = uint32(len(r.byID))
		r.byID = append(r.byID, nil)
	}
	r.byID[a.id] = a
	r.sets.insert(setHash([]byte(a.wire)), a.id)
	return a
}

// release takes a set out of the table when no path has it.
func (r *rib) release(a *attributes) {
	if a.refs == 0 {
		r.sets.remove(setHash([]byte(a.wire)), a.id)
		r.byID[a.id] = nil
		r.idle = append(r.idle, a.id)
	}
}
