package ipam

import (
	"fmt"
	"sort"

	"github.com/weft-sdn/weft/controller/intent"
)

// Range is a pool of numbers, both ends included.
type Range[T ~uint32] struct{ First, Last T }

// VNIs are all VNIs, 1 to 16777215.
func VNIs() Range[intent.VNI] { return Range[intent.VNI]{1, intent.MaxVNI} }

// PrivateASNs are the 4-byte ASNs for private use (RFC 6996 section 5).
func PrivateASNs() Range[uint32] { return Range[uint32]{4200000000, 4294967294} }

// Contains reports whether v is in the pool.
func (r Range[T]) Contains(v T) bool { return r.First <= v && v <= r.Last }

// At returns the number with an index, counted from First.
func (r Range[T]) At(index uint64) (T, error) {
	if r.Last < r.First || index > uint64(r.Last-r.First) {
		return 0, fmt.Errorf("number %d of %d to %d: %w", index, r.First, r.Last, ErrExhausted)
	}
	return r.First + T(index), nil
}

// Next returns a number that is not taken: the first one from the hint on,
// around the end of the pool. A hint outside of the pool, such as zero, starts
// at First.
func (r Range[T]) Next(taken func(T) bool, hint T) (T, error) {
	if r.Last < r.First {
		return 0, fmt.Errorf("%d to %d: %w", r.First, r.Last, ErrExhausted)
	}
	if !r.Contains(hint) {
		hint = r.First
	}
	for v := hint; ; {
		if !taken(v) {
			return v, nil
		}
		if v == r.Last {
			v = r.First
		} else {
			v++
		}
		if v == hint {
			return 0, fmt.Errorf("%d to %d: %w", r.First, r.Last, ErrExhausted)
		}
	}
}

// FirstFree returns the lowest number that is not in taken, which must be
// sorted, without duplicates and inside the pool. It costs O(log n).
func (r Range[T]) FirstFree(taken []T) (T, error) {
	// taken[i] is First+i up to the first gap, and more behind it.
	i := sort.Search(len(taken), func(i int) bool { return uint64(taken[i]-r.First) > uint64(i) })
	return r.At(uint64(i))
}

// DefaultMAC is the first MAC address given to ports: locally administered,
// unicast, "WE" behind that.
var DefaultMAC = intent.MAC{0x02, 0x57, 0x45, 0, 0, 1}

// NextMAC returns a MAC address that is not taken and has the first three
// octets of base. It starts at the hint, or at base when the hint is of another
// pool, and counts through the last three octets, around their end and without
// the zero. Base must be a locally administered unicast address.
func NextMAC(base intent.MAC, taken func(intent.MAC) bool, hint intent.MAC) (intent.MAC, error) {
	if base.Multicast() || base[0]&2 == 0 {
		return intent.MAC{}, fmt.Errorf("MAC pool %s: the first octet must have bit 1 set and bit 0 clear, as 02 has", base)
	}
	if [3]byte(hint[:3]) != [3]byte(base[:3]) {
		hint = base
	}
	at := func(n uint32) intent.MAC {
		return intent.MAC{base[0], base[1], base[2], byte(n >> 16), byte(n >> 8), byte(n)}
	}
	start := uint32(hint[3])<<16 | uint32(hint[4])<<8 | uint32(hint[5])
	n, err := Range[uint32]{1, 1<<24 - 1}.Next(func(n uint32) bool { return taken(at(n)) }, start)
	if err != nil {
		return intent.MAC{}, fmt.Errorf("MAC pool %02x:%02x:%02x: %w", base[0], base[1], base[2], ErrExhausted)
	}
	return at(n), nil
}
