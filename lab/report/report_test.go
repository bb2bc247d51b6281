package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// reported runs go test on a module of one package with this test file.
func reported(t *testing.T, text string, args ...string) (status int, out string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/x\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x_test.go"), []byte("package x\n"+text), 0o600))
	var b bytes.Buffer
	command := []string{"go", "-C", dir, "test", "-json"}
	status, err := run(context.Background(), newReport(&b, 0, time.Now), append(command, args...))
	require.NoError(t, err)
	return status, b.String()
}

func TestReportOfRealRuns(t *testing.T) {
	for what, c := range map[string]struct {
		text   string
		args   []string
		status int
		says   []string
		silent []string
	}{
		"all pass": {
			text:   `import "testing"; func TestA(t *testing.T) { t.Log("well"); t.Run("sub", func(t *testing.T) {}) }; func TestB(t *testing.T) {}`,
			says:   []string{"ok    x TestA ", "ok    x TestB ", "2 tests passed, 0 failures, 0 skipped"},
			silent: []string{"well", "FAIL", "sub"},
		},
		"one fails": {
			text:   `import "testing"; func TestA(t *testing.T) { t.Log("well") }; func TestB(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Fatal("alas") }) }`,
			status: 1,
			says:   []string{"ok    x TestA ", "FAIL  x TestB ", "alas", "1 tests passed, 1 failures"},
			silent: []string{"well"},
		},
		"why is said at the end": {
			text:   `import "testing"; func TestA(t *testing.T) { t.Log("well"); t.Errorf("\n\tError Trace:\tx_test.go:1\n\tError: \talas"); for i := 0; i < 40; i++ { t.Log("much more") } }; func TestB(t *testing.T) { t.Error("oh dear") }`,
			status: 1,
			says:   []string{"FAIL  x TestA, above, in short:\n        \tError Trace:\tx_test.go:1\n        \tError: \talas\n    x_test.go:2: much more\n", "FAIL  x TestB, above, in short:\n    x_test.go:2: oh dear\n--- FAIL"},
		},
		"a panic": {
			text:   `import "testing"; func TestA(t *testing.T) { panic("at the disco") }`,
			status: 1,
			says:   []string{"FAIL  x TestA ", "panic: at the disco"},
		},
		"the process ends": {
			text:   `import ("os"; "testing"); func TestA(t *testing.T) { println("last words"); os.Exit(3) }`,
			status: 1,
			says:   []string{"FAIL  x TestA ", "last words"},
		},
		"the time is over": {
			text:   `import "testing"; func TestA(t *testing.T) { select {} }`,
			args:   []string{"-timeout", "10ms"},
			status: 1,
			says:   []string{"FAIL  x TestA ", "panic: test timed out"},
		},
		"one is skipped": {
			text:   `import "testing"; func TestA(t *testing.T) {}; func TestB(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Skip("no root") }) }`,
			status: 1,
			says:   []string{"ok    x TestB ", "x TestB/sub was skipped"},
		},
		"it does not compile": {
			text:   `import "testing"; func TestA(t *testing.T) { undefined() }`,
			status: 1,
			says:   []string{"undefined: undefined", "FAIL  x "},
		},
		"no test matches": {
			text:   `import "testing"; func TestA(t *testing.T) {}`,
			args:   []string{"-run", "Other"},
			status: 1,
			says:   []string{"no test has passed"},
		},
		"no such flag": {
			text:   `import "testing"; func TestA(t *testing.T) {}`,
			args:   []string{"-nonsense"},
			status: 1,
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			status, out := reported(t, c.text, c.args...)
			require.Equal(t, c.status, min(status, 1), out)
			for _, s := range c.says {
				require.Contains(t, out, s)
			}
			for _, s := range c.silent {
				require.NotContains(t, out, s)
			}
		})
	}
}

// What runs for long is told, with the subtest that is on; short ones that pass are
// not.
func TestLongTestsAreTold(t *testing.T) {
	var b bytes.Buffer
	now := time.Unix(0, 0)
	r := newReport(&b, time.Second, func() time.Time { return now })
	say := func(lines ...string) {
		for _, l := range lines {
			r.line([]byte(l + "\n"))
		}
	}
	say(`{"Action":"run","Package":"a/lab","Test":"TestShort"}`, `{"Action":"pass","Package":"a/lab","Test":"TestShort","Elapsed":0.5}`,
		`{"Action":"run","Package":"a/lab","Test":"TestLong"}`, `{"Action":"run","Package":"a/lab","Test":"TestLong/third"}`,
		`{"Action":"run","Package":"a/lab","Test":"TestLong/fourth"}`, `{"Action":"pause","Package":"a/lab","Test":"TestLong/fourth"}`,
		`{"Action":"cont","Package":"a/lab","Test":"TestLong/third"}`,
		`{"Action":"run","Package":"a/probe","Test":"TestHeld"}`, `{"Action":"pause","Package":"a/probe","Test":"TestHeld"}`,
		`{"Action":"run","Package":"a/probe","Test":"TestOther"}`, `no event`)
	r.tick() // nothing runs for long
	now = now.Add(40 * time.Second)
	say(`{"Action":"cont","Package":"a/probe","Test":"TestHeld"}`)
	r.tick()
	say(`{"Action":"pass","Package":"a/probe","Test":"TestHeld","Elapsed":0.1}`)
	say(`{"Action":"pass","Package":"a/probe","Test":"TestOther","Elapsed":41}`, `{"Action":"pass","Package":"a/lab","Test":"TestLong","Elapsed":42}`)
	require.Zero(t, r.end())
	var got []string
	for line := range strings.Lines(b.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	require.Equal(t, []string{"no event", "lab TestLong/third runs for 40s", "probe TestOther runs for 40s", "ok probe TestOther 41s", "ok lab TestLong 42s",
		"4 tests passed, 0 failures, 0 skipped, after 40s", "longest: lab TestLong 42s", "longest: probe TestOther 41s"}, got)
}

func TestReportOfACommandThatIsMissing(t *testing.T) {
	status, err := run(context.Background(), newReport(io.Discard, 0, time.Now), []string{"/no/such/go"})
	require.Error(t, err)
	require.Equal(t, exitBroken, status)
}

// What report is told to end ends its tests, which may tidy up.
func TestReportIsInterrupted(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var b bytes.Buffer
	said := &once{w: &b, then: cancel}
	status, err := run(ctx, newReport(said, 0, time.Now), []string{"sh", "-c", `trap 'echo tidied; exit 5' INT; echo ready; while :; do sleep 0.01; done`})
	require.Equal(t, 5, status, "%v", err)
	require.Contains(t, b.String(), "ready\ntidied\n")
}

// once calls a function when the first is written.
type once struct {
	w    io.Writer
	then func()
}

func (o *once) Write(b []byte) (int, error) {
	defer o.then()
	return o.w.Write(b)
}
