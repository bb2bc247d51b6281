// Package ipam chooses numbers and addresses: prefixes and addresses out of
// prefix pools, VNIs, ASNs, MAC addresses and host addresses of subnets.
//
// It is pure: a pool is a value, what is taken is told by the caller, and what
// is chosen is returned; nothing is remembered here. So the caller decides what
// makes a choice final: the store claims it in the transaction that writes the
// object.
//
// Two ways to choose:
//
//   - by index (SubPrefix, Addr): the same index always gives the same value,
//     for plans that must not change when they grow;
//   - the next free one (Range.Next, NextMAC, NextPrefix, NextHost): asks a
//     predicate which values are taken, from a hint on and around the end of
//     the pool. The cost is one call for each taken value between the hint and
//     the value found, so a caller with a dense pool keeps the last value it
//     was given as the hint. Range.FirstFree needs no hint: it halves a sorted
//     list of what is taken.
//
// The result is always free and in the pool; ErrExhausted is returned only when
// nothing in the pool is free. A predicate that is true for ever makes a search
// of a /64 endless: a real set of taken addresses is finite and doesn't.
//
// RFCs: 1122 section 3.2.1.3 (IPv4 network and broadcast address), 4291 section
// 2.6.1 (subnet-router anycast), 6996 (private ASNs), 7042 section 2.1 (locally
// administered MAC addresses), 7348 (VNI).
package ipam

import "errors"

// ErrExhausted says that a pool has no free value left.
var ErrExhausted = errors.New("exhausted")
