//go:build lab

package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamespace(t *testing.T) {
	name := fmt.Sprintf("weft-netns-test-%d", os.Getpid())
	made := errors.New("setup ran")
	require.ErrorIs(t, Create(name, func() error { return made }), made)
	require.False(t, Exists(name), "one whose setup failed is gone")

	require.NoError(t, Create(name, nil))
	t.Cleanup(func() { _ = Delete(name) })
	require.True(t, Exists(name))
	require.ErrorIs(t, Create(name, nil), os.ErrExist)
	list, err := List(name)
	require.NoError(t, err)
	require.Equal(t, []string{name}, list)

	sleep := exec.Command("sleep", "60")
	require.NoError(t, Do(name, func() error {
		links, err := net.Interfaces()
		if err != nil {
			return err
		}
		for _, l := range links {
			if l.Flags&net.FlagUp != 0 {
				return fmt.Errorf("%s is up in a new namespace", l.Name)
			}
		}
		return sleep.Start()
	}))
	found, err := Processes([]string{name, "weft-not-there"})
	require.NoError(t, err)
	require.Equal(t, map[string][]int{name: {sleep.Process.Pid}}, found)
	require.NoError(t, sleep.Process.Kill())
	_ = sleep.Wait()

	require.NoError(t, Delete(name))
	require.NoError(t, Delete(name), "again is no error")
	require.False(t, Exists(name))
	require.ErrorIs(t, Do(name, func() error { return nil }), os.ErrNotExist)
}
