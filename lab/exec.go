package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/weft-sdn/weft/lab/netns"
)

// Exec runs a command in a node's namespace on our own terminal and returns
// its exit status. FRR's and Open vSwitch's tools find the node's daemons.
func Exec(s *State, node string, args []string) (status int, err error) {
	n, err := s.Node(node)
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(args[0], toolArgs(s, n, args)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	dir := s.NodeDir(node)
	cmd.Env = append(os.Environ(), "WEFT_NODE="+node, "WEFT_LAB="+s.Name)
	if n.VTEP != nil {
		cmd.Env = append(cmd.Env, ovsEnv(dir)...)
	}
	cmd.Env = append(cmd.Env, n.Env...)
	if cmd.Err != nil {
		return 127, fmt.Errorf("%s: %w", node, cmd.Err)
	}
	if err := netns.Do(s.Namespace(node), cmd.Start); err != nil {
		return 126, fmt.Errorf("%s: run %s: %w", node, args[0], err)
	}
	// Ctrl-C on the terminal is the command's to answer, not ours.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGQUIT)
	err = cmd.Wait()
	signal.Stop(interrupts)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if code := exit.ExitCode(); code >= 0 {
			return code, nil
		}
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok {
			return 128 + int(ws.Signal()), nil
		}
	}
	if err != nil {
		return 1, fmt.Errorf("%s: run %s: %w", node, args[0], err)
	}
	return 0, nil
}

// toolArgs points vtysh, ovs-vsctl and vtep-ctl at the node's daemons.
func toolArgs(s *State, n Node, args []string) []string {
	rest := slices.Clone(args[1:])
	switch filepath.Base(args[0]) {
	case "vtysh":
		if n.Router != nil {
			return append([]string{"--vty_socket", s.NodeDir(n.Name), "--config_dir", s.NodeDir(n.Name)}, rest...)
		}
	case "ovs-vsctl", "vtep-ctl":
		if n.VTEP != nil {
			return append([]string{"--db=unix:" + filepath.Join(s.NodeDir(n.Name), "db.sock")}, rest...)
		}
	}
	return rest
}

// Kill ends all processes of a node: at once, or by asking.
func Kill(s *State, node string, atOnce bool) error {
	if _, err := s.Node(node); err != nil {
		return err
	}
	var ps []Process
	for _, p := range s.Processes {
		if p.Node == node {
			ps = append(ps, p)
		}
	}
	if len(ps) == 0 {
		return fmt.Errorf("%s runs no process of the lab's", node)
	}
	grace := 10 * time.Second
	if atOnce {
		grace = 0
	}
	return stop(ps, grace)
}

// Logs are the log files of a node.
func (s *State) Logs(node string) ([]string, error) {
	if _, err := s.Node(node); err != nil {
		return nil, err
	}
	var logs []string
	for _, p := range s.Processes {
		if p.Node == node && !slices.Contains(logs, p.Log) {
			logs = append(logs, p.Log)
		}
	}
	if l := filepath.Join(s.NodeDir(node), "exec.log"); fileExists(l) {
		logs = append(logs, l)
	}
	if len(logs) == 0 {
		return nil, fmt.Errorf("%s has no log: it runs no process of the lab's", node)
	}
	return logs, nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// PrintLogs writes the logs of a node, each under its name when there are
// several, and with follow goes on until the context ends.
func PrintLogs(ctx context.Context, w io.Writer, s *State, node string, follow bool) error {
	logs, err := s.Logs(node)
	if err != nil {
		return err
	}
	read := make([]int64, len(logs))
	last := -1
	for {
		for i, path := range logs {
			f, err := os.Open(path)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			_, _ = f.Seek(read[i], io.SeekStart)
			b, err := io.ReadAll(f)
			f.Close()
			if err != nil {
				return err
			}
			if read[i] += int64(len(b)); len(b) == 0 {
				continue
			}
			if len(logs) > 1 && last != i {
				fmt.Fprintf(w, "==> %s <==\n", filepath.Base(path))
			}
			last = i
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}
