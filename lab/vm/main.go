package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Exit statuses of our own, as timeout(1) has them.
const (
	exitTimeout = 124
	exitBroken  = 125
)

func main() {
	timeout := flag.Duration("timeout", 10*time.Minute, "how long the guest may run")
	memory := flag.Int("memory", 2048, "of the guest, in MiB")
	clean := flag.Bool("clean", false, "remove what is kept, and run nothing")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: %s [flags] COMMAND [ARGUMENT...]\n", filepath.Base(os.Args[0]))
		flag.PrintDefaults()
	}
	flag.Parse()
	cache, err := cacheDir()
	if err == nil && *clean {
		err = os.RemoveAll(cache)
	}
	if err == nil && !*clean && flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err != nil || *clean {
		exit(0, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	defer stop()
	img, err := prepare(ctx, cache)
	if err != nil {
		exit(0, err)
	}
	limited, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	status, err := img.run(limited, guest{command: flag.Args(), memory: *memory})
	switch {
	case ctx.Err() != nil:
		err = errors.New("interrupted")
	case limited.Err() != nil:
		fmt.Fprintf(os.Stderr, "vm: the command did not end within %v\n", *timeout)
		exit(exitTimeout, nil)
	}
	exit(status, err)
}

func exit(status int, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		status = exitBroken
	}
	os.Exit(status)
}

// cacheDir is where kernels are kept.
func cacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w", err)
	}
	return filepath.Join(dir, "weft-vm"), nil
}
