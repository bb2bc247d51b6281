package evpn

// badMost bounds the malformed routes that are remembered of a leaf.
const badMost = 1024

// bad are a leaf's malformed routes of this session: those that it has neither
// announced well nor withdrawn since.
type bad struct {
	routes map[string]struct{} // by key
	unread map[string]struct{} // NLRI as they came
	more   bool                // and some that can't be told or are too many
}

func (b *bad) none() bool { return len(b.routes)+len(b.unread) == 0 && !b.more }

// take takes in an UPDATE. It returns how many routes were malformed in it, and
// whether the last that was so is well now.
func (b *bad) take(u *update) (lost int, mended bool) {
	was := !b.none()
	if !was && u.lost == 0 {
		return 0, false // as almost all
	}
	lost = u.lost
	for _, list := range [][]byte{u.unreach, u.reach} {
		each(list, func(n nlri) { delete(b.routes, string(n.key(nil))) })
	}
	for _, n := range u.unreadUn {
		if _, ok := b.unread[n]; ok {
			delete(b.unread, n)
			lost--
		} else {
			b.more = true
		}
	}
	if b.routes == nil {
		b.routes, b.unread = map[string]struct{}{}, map[string]struct{}{}
	}
	each(u.gone, func(n nlri) {
		if b.room() {
			b.routes[string(n.key(nil))] = struct{}{}
		}
	})
	for _, n := range u.unread {
		if b.room() {
			b.unread[n] = struct{}{}
		}
	}
	return lost, was && b.none()
}

// room reports whether one more can be remembered, and notes if not.
func (b *bad) room() bool {
	b.more = b.more || len(b.routes)+len(b.unread) >= badMost
	return !b.more
}
