// Command weft is the controller of a spine-leaf fabric and of the tenants'
// networks on it, its command line, and a lab that emulates whole fabrics.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

func main() { os.Exit(run(newApp(os.Stdin, os.Stdout, os.Stderr), os.Args[1:])) }

// run executes one command line and returns the exit status: 0 when all went
// well, 1 when something failed, 2 when the command line is wrong.
func run(a *app, args []string) int {
	root := newRootCommand(a)
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return 0
	}
	if s := err.Error(); s != "" {
		fmt.Fprintln(a.err, "Error:", strings.ReplaceAll(s, "\n", "\nError: "))
	}
	var code interface{ ExitCode() int }
	switch {
	case errors.As(err, &code):
		return code.ExitCode()
	case strings.HasPrefix(err.Error(), "unknown command"): // cobra has no type for it
		return 2
	}
	return 1
}
