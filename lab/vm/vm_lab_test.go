//go:build lab

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// build returns the program.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "vm")
	out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	return bin
}

// status is the exit status of a command that ran.
func status(t *testing.T, err error) int {
	t.Helper()
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	require.NoError(t, err)
	return 0
}

func TestOutputAndExitStatusAreTheCommands(t *testing.T) {
	t.Setenv("WEFT_VM_WORD", "it's \"set\" $HOME")
	cmd := exec.Command(build(t), "sh", "-c", `echo "$WEFT_VM_WORD"; pwd; echo error >&2; uname -r; seq 20000; exit 7`)
	out, err := cmd.CombinedOutput()
	require.Equal(t, 7, status(t, err), string(out))
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	wd, err := os.Getwd()
	require.NoError(t, err)
	for len(lines) > 0 && strings.HasPrefix(lines[0], "vm: fetching") {
		lines = lines[1:]
	}
	require.Len(t, lines, 4+20000)
	require.Equal(t, []string{`it's "set" $HOME`, wd, "error"}, lines[:3])
	require.Contains(t, lines[3], "-amd64")
	require.Equal(t, "20000", lines[len(lines)-1])
}

func TestTimeEnds(t *testing.T) {
	began := time.Now()
	out, err := exec.Command(build(t), "-timeout", "2s", "sleep", "1000").CombinedOutput()
	require.Equal(t, exitTimeout, status(t, err), string(out))
	require.Contains(t, string(out), "did not end within 2s")
	require.Less(t, time.Since(began), 5*time.Minute)
}

func TestCrashOfTheKernelIsTold(t *testing.T) {
	out, err := exec.Command(build(t), "sh", "-c", "echo c >/proc/sysrq-trigger").CombinedOutput()
	require.Equal(t, exitBroken, status(t, err), string(out))
	require.Contains(t, string(out), "sysrq triggered crash")
}

func TestKilledLeavesNoGuest(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			cmd := exec.Command(build(t), "sh", "-c", "echo started; sleep 1000")
			var said bytes.Buffer
			cmd.Stderr = &said
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			buf := make([]byte, len("started"))
			_, err = out.Read(buf)
			require.NoError(t, err, said.String())
			qemu := child(t, cmd.Process.Pid)
			require.NoError(t, cmd.Process.Signal(sig))
			require.Error(t, cmd.Wait())
			require.Eventually(t, func() bool { return errors.Is(syscall.Kill(qemu, 0), syscall.ESRCH) }, time.Minute, 10*time.Millisecond)
			if sig == syscall.SIGTERM {
				left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "weft-vm-*"))
				require.NoError(t, err)
				require.Empty(t, left)
			}
		})
	}
}

// child is the only child of a process.
func child(t *testing.T, pid int) int {
	t.Helper()
	lists, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	require.NoError(t, err)
	var all []string
	for _, l := range lists {
		b, err := os.ReadFile(l)
		require.NoError(t, err)
		all = append(all, strings.Fields(string(b))...)
	}
	require.Len(t, all, 1)
	n, err := strconv.Atoi(all[0])
	require.NoError(t, err)
	return n
}
