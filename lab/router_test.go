package lab

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The file of a socket is there before its daemon listens: who asked then was
// refused.
func TestDaemonServesWhenItListens(t *testing.T) {
	dir, err := os.MkdirTemp("", "wf") // short: socket names have 108 bytes
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "isisd.vty")
	require.False(t, serves(path))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	require.FileExists(t, path)
	require.False(t, serves(path), "bound, but nobody listens")
	require.NoError(t, unix.Listen(fd, 1))
	require.True(t, serves(path))

	other := filepath.Join(dir, "db.sock")
	l, err := net.Listen("unix", other)
	require.NoError(t, err)
	defer l.Close()
	require.True(t, serves(other))
}
