package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// containerlab is the program; it is no part of Weft.
const containerlab = "containerlab"

// Containerlab runs containerlab on an exported topology file: "deploy" or
// "destroy". What it prints goes to the two writers.
func Containerlab(ctx context.Context, out, errs io.Writer, verb, topology string) error {
	args := []string{verb, "--topo", topology}
	switch verb {
	case "deploy":
	case "destroy":
		args = append(args, "--cleanup")
	default:
		return fmt.Errorf("containerlab %s: Weft knows only deploy and destroy", verb)
	}
	program, err := exec.LookPath(containerlab)
	if err != nil {
		return errors.New(`containerlab is not installed here: https://containerlab.dev/install has it, for instance by "bash -c "$(curl -sL https://get.containerlab.dev)""; it needs Docker. Without --runtime, Weft makes the lab itself, from network namespaces`)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, out, errs
	// Ctrl-C reaches it too; it is to clean up before it ends.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("containerlab %s: %w", verb, err)
	}
	return nil
}
