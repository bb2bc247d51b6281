// Package netns makes, enters and removes named network namespaces, in the
// place where ip-netns(8) looks for them: /run/netns.
//
// A namespace belongs to a thread, so everything that is done in one is done
// on a locked thread, by Do; sockets that were opened there stay there and are
// used from any goroutine afterwards. A program started inside Do runs in the
// namespace.
package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Dir is where named namespaces are kept.
const Dir = "/run/netns"

// Path is the file of a named namespace.
func Path(name string) string { return filepath.Join(Dir, name) }

// Exists reports whether the namespace is there.
func Exists(name string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(Path(name), &fs) == nil && fs.Type == unix.NSFS_MAGIC
}

// List names the namespaces with a prefix, live or left half made.
func List(prefix string) ([]string, error) {
	entries, err := os.ReadDir(Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

var prepared sync.Mutex

// prepare makes Dir a shared mount, as ip-netns(8) does: without it, a later
// "ip netns add" would cover our mounts and keep the namespaces alive.
func prepare() error {
	prepared.Lock()
	defer prepared.Unlock()
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		return err
	}
	err := unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	if err := unix.Mount(Dir, Dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "")
}

// Create makes a namespace and calls setup inside it, if given.
func Create(name string, setup func() error) error {
	if err := prepare(); err != nil {
		return fmt.Errorf("prepare %s: %w", Dir, err)
	}
	f, err := os.OpenFile(Path(name), os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	f.Close()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		self := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		if err := unix.Mount(self, Path(name), "none", unix.MS_BIND, ""); err != nil {
			return err
		}
		if setup != nil {
			return setup()
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("create namespace %s: %w", name, errors.Join(err, Delete(name)))
	}
	return nil
}

// Delete removes a namespace; one that is not there is no error. Interfaces
// in it go with it once no process uses it.
func Delete(name string) error {
	err := unix.Unmount(Path(name), unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete namespace %s: %w", name, err)
	}
	if err := os.Remove(Path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete namespace %s: %w", name, err)
	}
	return nil
}

// Do calls f in the namespace.
func Do(name string, f func() error) error {
	ns, err := os.Open(Path(name))
	if err != nil {
		return fmt.Errorf("enter namespace %s: %w", name, err)
	}
	defer ns.Close()
	return onThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter namespace %s: %w", name, err)
		}
		return f()
	})
}

// onThread runs f on a thread of its own and puts the thread back into the
// namespace it came from; if that fails the thread ends.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		err = f()
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// Processes returns the processes that live in each of the namespaces.
func Processes(names []string) (map[string][]int, error) {
	byInode := make(map[uint64]string, len(names))
	for _, n := range names {
		var st unix.Stat_t
		if Exists(n) && unix.Stat(Path(n), &st) == nil {
			byInode[st.Ino] = n
		}
	}
	if len(byInode) == 0 {
		return nil, nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	found := map[string][]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(filepath.Join("/proc", e.Name(), "ns/net"), &st) != nil {
			continue
		}
		if n, ok := byInode[st.Ino]; ok {
			found[n] = append(found[n], pid)
		}
	}
	return found, nil
}
