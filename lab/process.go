package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/weft-sdn/weft/lab/netns"
	"golang.org/x/sys/unix"
)

// Process is a program that a lab runs. The start time tells it from a later
// process that was given the same number.
type Process struct {
	Node  string   `json:"node"`
	Name  string   `json:"name"` // bgpd
	PID   int      `json:"pid"`
	Start uint64   `json:"start"` // clock ticks since boot, from /proc/PID/stat
	Log   string   `json:"log"`
	Args  []string `json:"args"`
}

// startTime reads when a process started, in ticks since boot, and whether it
// has ended with all its threads and only waits to be reaped.
func startTime(pid int) (ticks uint64, zombie bool, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false, err
	}
	return parseStat(b)
}

// parseStat reads /proc/PID/stat. The command, in brackets, may itself hold
// brackets and spaces.
func parseStat(b []byte) (ticks uint64, zombie bool, err error) {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0, false, errors.New("no command in stat")
	}
	f := bytes.Fields(b[i+1:])
	if len(f) < 20 {
		return 0, false, errors.New("short stat")
	}
	if ticks, err = strconv.ParseUint(string(f[19]), 10, 64); err != nil {
		return 0, false, err
	}
	// The first thread may be gone while others still hold sockets and files. It counts
	// as a thread until the process is reaped.
	threads, err := strconv.Atoi(string(f[17]))
	return ticks, (f[0][0] == 'Z' || f[0][0] == 'X') && threads <= 1, err
}

// Alive reports whether the process that was started still runs.
func (p Process) Alive() bool {
	ticks, zombie, err := startTime(p.PID)
	return err == nil && !zombie && ticks == p.Start && p.PID > 1
}

// signal sends a signal, but never to another process that took the number:
// the pidfd is opened before the start time is compared, so that it can't
// come to mean another process in between.
func (p Process) signal(s syscall.Signal) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return nil // gone
	}
	defer unix.Close(fd)
	if !p.Alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, s, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal %s of %s (process %d): %w", p.Name, p.Node, p.PID, err)
	}
	return nil
}

// stop ends processes: SIGTERM to all, then SIGKILL to those that are left
// after the grace time.
func stop(ps []Process, grace time.Duration) error {
	var errs []error
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if s == syscall.SIGTERM && grace <= 0 {
			continue
		}
		for _, p := range ps {
			if err := p.signal(s); err != nil {
				errs = append(errs, err)
			}
		}
		wait := grace
		if s == syscall.SIGKILL {
			wait = 30 * time.Second
		}
		deadline := time.Now().Add(wait)
		left := ps[:0:0]
		for _, p := range ps {
			if !ended(p, time.Until(deadline)) {
				left = append(left, p)
			}
		}
		if ps = left; len(ps) == 0 {
			return errors.Join(errs...)
		}
	}
	for _, p := range ps {
		errs = append(errs, fmt.Errorf("%s of %s (process %d) does not end", p.Name, p.Node, p.PID))
	}
	return errors.Join(errs...)
}

// ended waits for a process to end, by polling its pidfd.
func ended(p Process, wait time.Duration) bool {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	for deadline := time.Now().Add(wait); p.Alive(); {
		left := time.Until(deadline)
		if left < 0 {
			return false
		}
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
	return true
}

// program is what to start.
type program struct {
	node, name string
	args       []string
	env        []string // in addition to ours
	log        string   // standard output and error are appended here
	nice       int      // scheduling priority, as for nice(1)
	realtime   bool     // before all that is not, by turns
}

// start runs a program in the node's namespace, in a session of its own so
// that Ctrl-C does not reach it. ended is closed when it ends while we live.
func start(namespace string, p program) (Process, <-chan struct{}, error) {
	fail := func(err error) (Process, <-chan struct{}, error) {
		return Process{}, nil, fmt.Errorf("start %s of %s: %w", p.name, p.node, err)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fail(err)
	}
	defer log.Close()
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := netns.Do(namespace, cmd.Start); err != nil {
		return fail(err)
	}
	if p.nice != 0 {
		// Threads that it starts later inherit it. A refusal costs speed only.
		_ = unix.Setpriority(unix.PRIO_PROCESS, cmd.Process.Pid, p.nice)
	}
	if p.realtime {
		// The same: a refusal costs punctuality only.
		_ = unix.SchedSetAttr(cmd.Process.Pid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}, 0)
	}
	done := make(chan struct{})
	ticks, _, err := startTime(cmd.Process.Pid)
	go func() {
		_ = cmd.Wait() // reaps; how it ended stands in its log
		close(done)
	}()
	if err != nil {
		return fail(err)
	}
	return Process{Node: p.node, Name: p.name, PID: cmd.Process.Pid, Start: ticks, Log: p.log, Args: p.args}, done, nil
}

// until waits for a condition, asking every few milliseconds. It ends early
// when the process it is about ends.
func until(ctx context.Context, every time.Duration, gone <-chan struct{}, cond func() (bool, error)) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		ok, err := cond()
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-gone:
			return errEnded
		case <-t.C:
		}
	}
}

var errEnded = errors.New("the process ended")

// logTail is the last lines of a log, for errors.
func logTail(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil || len(bytes.TrimSpace(b)) == 0 {
		return ""
	}
	rows := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	if len(rows) > lines {
		rows = rows[len(rows)-lines:]
	}
	return "\n  " + path + ":\n    " + string(bytes.Join(rows, []byte("\n    ")))
}
