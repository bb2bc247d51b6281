package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// isolatedEnv is set in a process that has Dir for itself, and in its children, which
// share it.
const isolatedEnv = "WEFT_NETNS_ISOLATED"

// Isolate gives the process an empty Dir of its own (mount_namespaces(7)): what it and
// its children make there has names that collide with nobody's, nobody else sees it,
// and the namespaces end with the last of these processes. The machine's network
// namespace stays theirs.
//
// The program is started anew for that, in the same process: call it first in main or
// TestMain. In the new run, and in children that call it, it returns nil at once.
func Isolate() error {
	if os.Getenv(isolatedEnv) != "" {
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("isolate namespaces: it needs root: run it with sudo")
	}
	runtime.LockOSThread() // the thread's namespace becomes that of the program that starts
	if err := isolate(); err != nil {
		return fmt.Errorf("isolate namespaces: %w", err)
	}
	self, err := os.Executable()
	if err == nil {
		err = unix.Exec(self, os.Args, append(os.Environ(), isolatedEnv+"=1"))
	}
	return fmt.Errorf("isolate namespaces: start %s anew: %w", self, err)
}

// isolate gives the thread a mount namespace, in which an empty folder is on Dir.
func isolate() error {
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	// What is mounted from now on, the machine does not see.
	if err := unix.Mount("", "/", "none", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.Mount("netns", Dir, "tmpfs", 0, "mode=755")
}
