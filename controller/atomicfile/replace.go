// Package atomicfile replaces files as a whole: what reads one sees the old content or
// the new one, and a crash leaves either of them on the disk.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Replace writes a file as a whole or not at all, and returns when it is on the disk. A
// file that is there keeps its owner, its group and its permissions, so that whoever may
// read it still may, whoever writes it; a new one is of who runs the program, with the
// permissions perm. A symbolic link stays, and what it leads to is replaced.
func Replace(path string, content []byte, perm fs.FileMode) error {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to
	}
	old, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone after the rename
	_, err = f.Write(content)
	if err == nil {
		err = like(f, old, perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// like gives a file the owner, group and permissions of an old one, or without an old
// one the permissions perm.
func like(f *os.File, old fs.FileInfo, perm fs.FileMode) error {
	if old == nil {
		return f.Chmod(perm)
	}
	now, err := f.Stat()
	if err != nil {
		return err
	}
	was, ok := old.Sys().(*syscall.Stat_t)
	is, known := now.Sys().(*syscall.Stat_t)
	if ok && known && (was.Uid != is.Uid || was.Gid != is.Gid) {
		if err := f.Chown(int(was.Uid), int(was.Gid)); err != nil {
			return fmt.Errorf("%s is of user %d and group %d, and who replaces it may not leave it so: run this as that user or root: %w", old.Name(), was.Uid, was.Gid, err)
		}
	}
	return f.Chmod(old.Mode().Perm())
}
