package ipam

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
)

// SubPrefix is the prefix of the given length with an index in the pool:
// SubPrefix(10.0.0.0/16, 24, 3) is 10.0.3.0/24.
func SubPrefix(pool netip.Prefix, length int, index uint64) (netip.Prefix, error) {
	if !pool.IsValid() || length < pool.Bits() || length > pool.Addr().BitLen() {
		return netip.Prefix{}, fmt.Errorf("a /%d can't be carved from %s", length, pool)
	}
	if n := length - pool.Bits(); n < 64 && index >= 1<<n {
		return netip.Prefix{}, fmt.Errorf("/%d number %d of %s: %w", length, index, pool, ErrExhausted)
	}
	a := add(pool.Masked().Addr(), index, pool.Addr().BitLen()-length)
	return netip.PrefixFrom(a, length), nil
}

// Addr is the address with an index in the pool, counted from its first one.
func Addr(pool netip.Prefix, index uint64) (netip.Addr, error) {
	p, err := SubPrefix(pool, pool.Addr().BitLen(), index)
	return p.Addr(), err
}

// add adds n<<shift to an address.
func add(a netip.Addr, n uint64, shift int) netip.Addr {
	b := a.As16()
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	nHi, nLo := uint64(0), n<<shift
	switch {
	case shift >= 64:
		nHi, nLo = n<<(shift-64), 0
	case shift > 0:
		nHi = n >> (64 - shift)
	}
	lo, carry := bits.Add64(lo, nLo, 0)
	hi, _ = bits.Add64(hi, nHi, carry)
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	if a.Is4() {
		return netip.AddrFrom16(b).Unmap()
	}
	return netip.AddrFrom16(b)
}

// NextPrefix returns a prefix of the given length in the pool that is not
// taken, and its index: the first one from the hint, an index, on, around the
// end of the pool.
func NextPrefix(pool netip.Prefix, length int, taken func(netip.Prefix) bool, hint uint64) (netip.Prefix, uint64, error) {
	if _, err := SubPrefix(pool, length, hint); err != nil {
		hint = 0
	}
	for i := hint; ; {
		p, err := SubPrefix(pool, length, i)
		switch {
		case err != nil && i == 0: // not a pool, or a length that it can't have
			return netip.Prefix{}, 0, err
		case err == nil && !taken(p):
			return p, i, nil
		case err != nil: // beyond the end
			i = 0
		default:
			i++
		}
		if i == hint {
			return netip.Prefix{}, 0, fmt.Errorf("/%d in %s: %w", length, pool, ErrExhausted)
		}
	}
}

// Hosts is a subnet out of which hosts get addresses.
type Hosts struct {
	Subnet netip.Prefix
	// Reserved addresses are never given.
	Reserved []netip.Addr
	// Hint is where to start, such as the address given last.
	Hint netip.Addr
}

// NextHost returns an address of the subnet for a host: the lowest one that is
// neither taken nor reserved.
//
// It never gives the network address and the broadcast address of IPv4, nor the
// subnet-router anycast address of IPv6, nor, by convention, the first host
// address (.1 or ::1): that one is for the anycast gateway. So an IPv4 /30 has
// one address to give, a /31 none.
func NextHost(subnet netip.Prefix, taken func(netip.Addr) bool, reserved ...netip.Addr) (netip.Addr, error) {
	return Hosts{Subnet: subnet, Reserved: reserved}.Next(taken)
}

// Next is NextHost that starts at the hint and goes around the end of the
// subnet.
func (h Hosts) Next(taken func(netip.Addr) bool) (netip.Addr, error) {
	first, last, ok := hostRange(h.Subnet)
	if ok {
		a, free := around(first, last, h.Hint, func(a netip.Addr) bool { return slices.Contains(h.Reserved, a) || taken(a) })
		if free {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("hosts of %s: %w", h.Subnet, ErrExhausted)
}

// NextAddr returns an address of a pool that is routed as a whole, with no link
// and no gateway: from the hint on and around the end. It leaves out the first
// address and, of IPv4, the last, which some stations take for those of a
// network; a pool of one or two addresses has these to give.
func NextAddr(pool netip.Prefix, taken func(netip.Addr) bool, hint netip.Addr) (netip.Addr, error) {
	if !pool.IsValid() {
		return netip.Addr{}, errors.New("the zero prefix has no addresses")
	}
	first, last := pool.Masked().Addr(), Last(pool)
	if pool.Addr().BitLen()-pool.Bits() > 1 {
		first = first.Next()
		if last.Is4() {
			last = last.Prev()
		}
	}
	if a, free := around(first, last, hint, taken); free {
		return a, nil
	}
	return netip.Addr{}, fmt.Errorf("addresses of %s: %w", pool, ErrExhausted)
}

// around looks for an address that is not taken, from the hint to the last and
// from the first to the hint.
func around(first, last, hint netip.Addr, taken func(netip.Addr) bool) (netip.Addr, bool) {
	if !hint.IsValid() || hint.Less(first) || last.Less(hint) || hint.Is4() != first.Is4() {
		hint = first
	}
	for a := hint; ; {
		if !taken(a) {
			return a, true
		}
		if a == last {
			a = first
		} else {
			a = a.Next()
		}
		if a == hint {
			return netip.Addr{}, false
		}
	}
}

// Gateway is the first host address of a subnet: .1 or ::1.
func Gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// hostRange is the first and last address that NextHost may give.
func hostRange(subnet netip.Prefix) (first, last netip.Addr, ok bool) {
	if !subnet.IsValid() {
		return
	}
	free := subnet.Addr().BitLen() - subnet.Bits()
	if free == 0 || subnet.Addr().Is4() && free == 1 {
		return
	}
	first = Gateway(subnet).Next()
	last = Last(subnet)
	if last.Is4() {
		last = last.Prev()
	}
	return first, last, first.IsValid() && subnet.Contains(first) && first.Compare(last) <= 0
}

// Last is the last address of a prefix; for IPv4, its broadcast address.
func Last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As16()
	n := p.Addr().BitLen() - p.Bits()
	for i := 15; n > 0; i, n = i-1, n-8 {
		b[i] |= byte(1<<min(n, 8) - 1)
	}
	if p.Addr().Is4() {
		return netip.AddrFrom16(b).Unmap()
	}
	return netip.AddrFrom16(b)
}
