package evpn

// index finds entries by the hash of their route: open addressing with linear
// probing. A slot holds the hash and, from one, the entry's number, so that
// only entries of the same hash are looked at.
type index struct {
	slots []uint64
	n     int
}

func (x *index) mask() uint32 { return uint32(len(x.slots) - 1) }

// find returns the first entry of the hash that is the one, or none.
func (x *index) find(hash uint32, is func(entry uint32) bool) uint32 {
	if x.n == 0 {
		return none
	}
	for i := hash & x.mask(); x.slots[i] != 0; i = (i + 1) & x.mask() {
		if s := x.slots[i]; uint32(s>>32) == hash && is(uint32(s)-1) {
			return uint32(s) - 1
		}
	}
	return none
}

func (x *index) insert(hash, entry uint32) {
	if 4*(x.n+1) > 3*len(x.slots) {
		old := x.slots
		x.slots = make([]uint64, max(64, 2*len(old)))
		for _, s := range old {
			if s != 0 {
				x.put(s)
			}
		}
	}
	x.put(uint64(hash)<<32 | uint64(entry+1))
	x.n++
}

func (x *index) put(slot uint64) {
	i := uint32(slot>>32) & x.mask()
	for x.slots[i] != 0 {
		i = (i + 1) & x.mask()
	}
	x.slots[i] = slot
}

// remove takes an entry out, which must be there, and moves up what follows it.
func (x *index) remove(hash, entry uint32) {
	gap := hash & x.mask()
	for uint32(x.slots[gap])-1 != entry || x.slots[gap] == 0 {
		gap = (gap + 1) & x.mask()
	}
	for i := (gap + 1) & x.mask(); x.slots[i] != 0; i = (i + 1) & x.mask() {
		// What is at i may go to the gap unless its home is between the two.
		home := uint32(x.slots[i]>>32) & x.mask()
		if (i-home)&x.mask() >= (i-gap)&x.mask() {
			x.slots[gap] = x.slots[i]
			gap = i
		}
	}
	x.slots[gap] = 0
	x.n--
}
