package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

var updateScripts = flag.Bool("update", false, "write what commands print into the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"weft": main})
}

// Each script talks to a controller of its own, without any device: the
// hypervisors that it names can't be reached.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *updateScripts,
		Cmds:          map[string]func(*testscript.TestScript, bool, []string){"report": reportRouting},
		Setup: func(e *testscript.Env) error {
			dir, err := os.MkdirTemp("", "weft-cli") // a socket's path must be short
			if err != nil {
				return err
			}
			at := "unix:" + filepath.Join(dir, "api.sock")
			ctx, stop := context.WithCancel(context.Background())
			done := make(chan error, 1)
			o := controllerOptions{dir: filepath.Join(dir, "data"), logLevel: "error", listen: []string{at}, asn: defaultASN, routerID: hostRouterID()}
			go func() { done <- o.run(ctx) }()
			e.Defer(func() {
				stop()
				if err := <-done; err != nil {
					e.T().Log("controller:", err)
				}
				os.RemoveAll(dir)
			})
			e.Setenv("WEFT_SERVER", at)
			e.Setenv("SOCKET", at)
			examples, err := filepath.Abs("../../docs/examples")
			if err != nil {
				return err
			}
			e.Setenv("EXAMPLES", examples)
			e.Setenv("WEFT_LAB_DIR", filepath.Join(e.WorkDir, "labs"))
			e.Setenv("WEFT_CONFIG", filepath.Join(e.WorkDir, "config.yaml"))
			e.Setenv("HOME", e.WorkDir)
			// With the race detector each command would sleep a second when it ends.
			e.Setenv("GORACE", "atexit_sleep_ms=10")
			return ready(at, done)
		},
	})
}

// reportRouting is the script command "report NODE FILE": what an agent on the switch
// would tell the controller of its routing.
func reportRouting(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || neg {
		ts.Fatalf("usage: report NODE FILE")
	}
	var r switchstate.Routing
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &r))
	c, err := client.New(ts.Getenv("WEFT_SERVER"))
	ts.Check(err)
	_, err = c.ReportRouting(context.Background(), args[0], switchstate.RoutingReport{Hash: r.Hash(), Routing: &r})
	ts.Check(err)
}

func ready(at string, done <-chan error) error {
	c, err := client.New(at)
	if err != nil {
		return err
	}
	end := time.Now().Add(time.Minute)
	for {
		if err = c.Ready(context.Background()); err == nil {
			return nil
		}
		select {
		case err := <-done:
			return fmt.Errorf("controller: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			return err
		}
	}
}

func TestAgesAreShort(t *testing.T) {
	for _, c := range []struct {
		ago  time.Duration
		want string
	}{{0, "0s"}, {90 * time.Second, "90s"}, {5 * time.Minute, "5m"}, {3 * time.Hour, "3h"}, {72 * time.Hour, "3d"}} {
		at := time.Now().Add(-c.ago)
		require.Equal(t, c.want, age(&at))
	}
	require.Empty(t, age(nil))
}

func TestDiffLines(t *testing.T) {
	require.Equal(t, []string{" a", "-b", "+x", " c", "+d"}, lines("a\nb\nc", "a\nx\nc\nd"))
	require.Empty(t, lines("", ""))
	require.Equal(t, []string{"+a"}, lines("", "a"))
}

func TestExitStatus(t *testing.T) {
	t.Setenv("WEFT_SERVER", "http://127.0.0.1:1")
	t.Setenv("WEFT_CONFIG", filepath.Join(t.TempDir(), "config.yaml"))
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"config", "get-contexts"}, 0},
		{[]string{"help", "apply"}, 0},
		{[]string{"get", "tenants"}, 1},
		{[]string{"nonsense"}, 2},
		{[]string{"get"}, 2},
		{[]string{"get", "vlans"}, 2},
		{[]string{"get", "tenants", "--nonsense"}, 2},
		{[]string{"lab", "dwon"}, 2},
		{[]string{"config", "bogus"}, 2},
		{[]string{"apply"}, 2},
		{[]string{"apply", "extra"}, 2},
		{[]string{"diff", "-f", "missing"}, 2},
		{[]string{"delete", "port"}, 2},
		{[]string{"controller", "--listen", "nonsense"}, 2},
		{[]string{"controller", "--listen", "127.0.0.1:99999"}, 2},
	} {
		var out, errs bytes.Buffer
		require.Equal(t, c.want, run(newApp(strings.NewReader(""), &out, &errs), c.args), "%v: %s", c.args, errs.String())
		if c.want != 0 {
			require.True(t, strings.HasPrefix(errs.String(), "Error: "), "%v: %q", c.args, errs.String())
		}
	}
}

// Every command that people run has an example in its help.
func TestHelpHasExamples(t *testing.T) {
	root := newRootCommand(newApp(nil, io.Discard, io.Discard))
	for _, c := range root.Commands() {
		if c.Name() != "help" && c.Name() != "completion" && c.Name() != "version" && c.Runnable() {
			require.NotEmpty(t, c.Example, c.CommandPath())
		}
	}
}
