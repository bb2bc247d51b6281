package linux

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// listedMost is how often a list of the kernel's is read that changes while it is.
const listedMost = 100

// Listed reads a list of the kernel's again when it changed meanwhile, and may not be
// whole: the kernel says so of interfaces, addresses and routes (NLM_F_DUMP_INTR). One that
// does not come to rest is an error, as any other of read is.
func Listed[T any](read func() ([]T, error)) (list []T, err error) {
	for range listedMost {
		if list, err = read(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return list, err
}

// allLinks are all interfaces.
func allLinks() ([]netlink.Link, error) { return Listed(netlink.LinkList) }
