//go:build lab

package netns

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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

// helperEnv names the namespace that a helper of TestIsolate makes.
const helperEnv = "WEFT_NETNS_HELPER"

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		if err := helper(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// helper makes a namespace of a name that is taken on the machine, says which it sees,
// and stays until its input ends.
func helper(name string) error {
	if err := Isolate(); err != nil {
		return err
	}
	before, err := List("")
	if err == nil {
		err = Create(name, nil)
	}
	if err != nil {
		return err
	}
	// Children see the same.
	list, err := exec.Command("ip", "netns", "list").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, list)
	}
	var st unix.Stat_t
	if err := unix.Stat(Path(name), &st); err != nil {
		return err
	}
	fmt.Println(len(before), strings.TrimSpace(string(list)), st.Ino)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// Names that are taken on the machine are free for who is isolated, and what it makes
// ends with it.
func TestIsolate(t *testing.T) {
	name := fmt.Sprintf("weft-netns-test-%d", os.Getpid())
	require.NoError(t, Create(name, nil))
	t.Cleanup(func() { _ = Delete(name) })
	inode := func() (ino uint64) {
		var st unix.Stat_t
		require.NoError(t, unix.Stat(Path(name), &st))
		return st.Ino
	}
	ours := inode()

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var before int
	var listed string
	var theirs uint64
	_, err = fmt.Fscan(out, &before, &listed, &theirs)
	require.NoError(t, err)
	require.Zero(t, before, "it sees none of the machine's")
	require.Equal(t, name, listed)
	require.NotEqual(t, ours, theirs)
	require.Equal(t, ours, inode(), "the machine's is as it was")
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
	require.True(t, Exists(name))
}
