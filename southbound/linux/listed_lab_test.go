//go:build lab

package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/weft-sdn/weft/lab/netns"
)

// Interfaces and addresses are read while others come and go: the kernel says then that
// its list may not be whole.
func TestInterfacesAreReadWhileTheyChange(t *testing.T) {
	name := fmt.Sprintf("weft-listed-%d", os.Getpid())
	require.NoError(t, netns.Create(name, nil))
	t.Cleanup(func() { require.NoError(t, netns.Delete(name)) })
	address, err := netlink.ParseAddr("192.0.2.1/24")
	require.NoError(t, err)
	add := func(a, b string) error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: a}, PeerName: b})
	}
	require.NoError(t, netns.Do(name, func() (err error) {
		for i := range 20 {
			err = errors.Join(err, add(fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)))
		}
		return err
	}))
	change := func() error {
		if err := add("more", "less"); err != nil {
			return err
		}
		l, err := netlink.LinkByName("more")
		if err == nil {
			err = errors.Join(netlink.AddrAdd(l, address), netlink.LinkDel(l))
		}
		return err
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- netns.Do(name, func() (err error) {
			for ctx.Err() == nil && err == nil {
				err = change()
			}
			return err
		})
	}()
	err = netns.Do(name, func() error {
		for range 500 {
			if _, err := readLinks(); err != nil {
				return err
			}
			if _, err := readAddresses(); err != nil {
				return err
			}
			if FirstMAC().IsZero() {
				return errors.New("no port has a MAC address")
			}
		}
		return nil
	})
	stop()
	require.NoError(t, <-done)
	require.NoError(t, err)
}
