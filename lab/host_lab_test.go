//go:build lab

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/weft-sdn/weft/lab/netns"
)

// Routes are read while interfaces come and go: the kernel says then that its list may
// not be whole.
func TestRoutesAreReadWhileInterfacesChange(t *testing.T) {
	name := fmt.Sprintf("weft-dump-%d", os.Getpid())
	require.NoError(t, makeNamespace(name, nil))
	t.Cleanup(func() { require.NoError(t, netns.Delete(name)) })
	add := func(a, b string) error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: a}, PeerName: b})
	}
	require.NoError(t, netns.Do(name, func() (err error) {
		for i := range 20 {
			err = errors.Join(err, add(fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)))
		}
		return err
	}))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- netns.Do(name, func() error {
			for ctx.Err() == nil {
				if err := add("more", "less"); err != nil {
					return err
				}
				l, err := netlink.LinkByName("more")
				if err == nil {
					err = netlink.LinkDel(l)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}()
	err := netns.Do(name, func() error {
		for range 500 {
			if _, err := readRoutes(); err != nil {
				return err
			}
		}
		return nil
	})
	stop()
	require.NoError(t, <-done)
	require.NoError(t, err)
}

// The limit of the neighbour tables is the machine's: the last lab that needs
// it raised puts it back.
func TestNeighbourLimitIsPutBack(t *testing.T) {
	labDir(t)
	limit := func() string {
		b, err := os.ReadFile(neighbourLimit("ipv4"))
		require.NoError(t, err)
		return strings.TrimSpace(string(b))
	}
	was := limit()
	t.Cleanup(func() { require.NoError(t, os.WriteFile(neighbourLimit("ipv4"), []byte(was), 0o644)) })
	require.NoError(t, os.WriteFile(neighbourLimit("ipv4"), []byte("1024"), 0o644))
	var labs []*State
	for _, name := range []string{"big1", "big2"} {
		dir, unlock, err := lock(name)
		require.NoError(t, err)
		unlock()
		s := &State{Name: name, dir: dir}
		require.NoError(t, s.save())
		require.NoError(t, (&run{state: s, progress: silent{}}).growNeighbours())
		require.Equal(t, "65536", limit())
		labs = append(labs, s)
	}
	require.NoError(t, Down(labs[0].Name, nil))
	require.Equal(t, "65536", limit(), "the other lab needs it")
	require.NoError(t, Down(labs[1].Name, nil))
	require.Equal(t, "1024", limit())
}
