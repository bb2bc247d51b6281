package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	has := func(content string, perm fs.FileMode) {
		t.Helper()
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, content, string(b))
		info, err := os.Lstat(path)
		require.NoError(t, err)
		require.Equal(t, perm, info.Mode())
		names, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, names, 1, "nothing else is left")
	}
	require.NoError(t, Replace(path, []byte("one"), 0o644))
	has("one", 0o644)
	require.NoError(t, os.Chmod(path, 0o640))
	require.NoError(t, Replace(path, []byte("two"), 0o600))
	has("two", 0o640)
	require.NoError(t, Replace(path, nil, 0o600))
	has("", 0o640)
}

// The file of another user stays that user's when root replaces it. Who is not root has
// files of its own only.
func TestReplaceKeepsTheOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte("one"), 0o600))
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = 12345, 12346
	}
	require.NoError(t, os.Chown(path, uid, gid))
	require.NoError(t, Replace(path, []byte("two"), 0o600))
	info, err := os.Stat(path)
	require.NoError(t, err)
	st := info.Sys().(*syscall.Stat_t)
	require.Equal(t, []int{uid, gid}, []int{int(st.Uid), int(st.Gid)})
	require.Equal(t, fs.FileMode(0o600), info.Mode())
}

// What can't be replaced stays as it was, and nothing is left beside it.
func TestReplaceFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "folder")
	require.NoError(t, os.MkdirAll(filepath.Join(path, "full"), 0o700))
	require.Error(t, Replace(path, []byte("x"), 0o600))
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 1)
	require.ErrorIs(t, Replace(filepath.Join(dir, "none", "f"), []byte("x"), 0o600), fs.ErrNotExist)
}

func TestReplaceFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(real, []byte("one"), 0o600))
	require.NoError(t, os.Symlink("real", link))
	require.NoError(t, Replace(link, []byte("two"), 0o600))
	b, err := os.ReadFile(real)
	require.NoError(t, err)
	require.Equal(t, "two", string(b))
	to, err := os.Readlink(link)
	require.NoError(t, err)
	require.Equal(t, "real", to)
}
