package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// exitBroken is the exit status when the command can't be run, as timeout(1) has it.
const exitBroken = 125

func main() {
	least := flag.Duration("least", 0, "print no line of tests that pass sooner than this")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: %s [flags] go test -json [flags] PACKAGE...\n", filepath.Base(os.Args[0]))
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	r := newReport(os.Stdout, *least, time.Now)
	status, err := run(ctx, r, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
	}
	os.Exit(status)
}

// run runs the command and reports what it prints; the status is what to exit with.
func run(ctx context.Context, r *report, command []string) (status int, err error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	// The tests are to take down what they made.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return exitBroken, err
	}
	read := r.read(out, time.NewTicker(longest).C)
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		status = exit.ExitCode()
	case err != nil:
		return exitBroken, errors.Join(read, err)
	case read != nil:
		return exitBroken, read
	}
	return max(status, r.end()), nil
}

// longest is how long report is silent while a test runs.
const longest = 30 * time.Second
