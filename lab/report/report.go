package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// event is one of "go test -json" (go doc test2json, go help buildjson).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64 // s
}

// report is what is known of a run of tests.
type report struct {
	w     io.Writer
	least time.Duration // of tests that pass, to get a line
	now   func() time.Time

	began   time.Time
	running map[name]*running
	passed  []passed
	skipped []name
	failed  []failed // of packages, those without a test that failed
}

// name is a test's. The test is empty for what is the package's own.
type name struct{ pkg, test string }

func (n name) String() string { return strings.TrimSpace(path.Base(n.pkg) + " " + n.test) }

// running is a test that has begun, with what it and its subtests said.
type running struct {
	since time.Time
	sub   string // the subtest that began last
	said  bytes.Buffer
}

type failed struct {
	name
	why string
}

type passed struct {
	name
	took time.Duration
}

func newReport(w io.Writer, least time.Duration, now func() time.Time) *report {
	return &report{w: w, least: least, now: now, began: now(), running: map[name]*running{}}
}

// read follows the events until there are no more. At each tick it prints what runs.
func (r *report) read(in io.Reader, tick <-chan time.Time) error {
	lines := make(chan []byte)
	var err error
	go func() { // ends with in
		defer close(lines)
		b := bufio.NewReader(in)
		for err == nil {
			var line []byte
			if line, err = b.ReadBytes('\n'); len(line) > 0 {
				lines <- line
			}
		}
	}()
	for {
		select {
		case <-tick:
			r.tick()
		case line, ok := <-lines:
			if !ok {
				if err == io.EOF {
					err = nil
				}
				return err
			}
			r.line(line)
		}
	}
}

// line takes a line of the stream. What is no event is printed as it is: the go
// command says so that it can't do what was asked.
func (r *report) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil || e.Action == "" {
		fmt.Fprintf(r.w, "%s\n", bytes.TrimRight(line, "\n"))
		return
	}
	r.event(e)
}

func (r *report) event(e event) {
	top, sub, _ := strings.Cut(e.Test, "/")
	n := name{e.Package, top}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.w, e.Output)
	case "start", "run":
		r.test(n).sub = sub
	case "cont": // a parallel one, which was held until others had ended
		t := r.test(n)
		if t.sub = sub; sub == "" {
			t.since = r.now()
		}
	case "output":
		r.test(n).said.WriteString(e.Output)
	case "skip":
		if e.Test != "" {
			r.skipped = append(r.skipped, name{e.Package, e.Test})
		}
	}
	if sub != "" || e.Action != "pass" && e.Action != "fail" && e.Action != "skip" {
		return
	}
	took := time.Duration(e.Elapsed * float64(time.Second)).Round(10 * time.Millisecond)
	switch {
	case e.Action == "fail":
		r.fail(n, took)
	case top == "": // a package passed, or has no tests
	case e.Action == "skip":
		fmt.Fprintf(r.w, "SKIP  %-70s %s\n%s", n, took, &r.test(n).said)
	default:
		r.passed = append(r.passed, passed{n, took})
		if took >= r.least {
			fmt.Fprintf(r.w, "ok    %-70s %s\n", n, took)
		}
	}
	delete(r.running, n)
}

// test is a test that runs.
func (r *report) test(n name) *running {
	t := r.running[n]
	if t == nil {
		t = &running{since: r.now()}
		r.running[n] = t
	}
	return t
}

// fail tells all that a test said. When it is a package that failed, its tests which
// have not ended were ended with it: by a panic, or since the time was over.
func (r *report) fail(n name, took time.Duration) {
	if n.test == "" {
		for _, other := range r.names() {
			if other.pkg == n.pkg && other.test != "" {
				r.fail(other, r.now().Sub(r.running[other].since).Round(10*time.Millisecond))
				delete(r.running, other)
			}
		}
	}
	said := r.test(n).said.String()
	if n.test != "" || !slices.ContainsFunc(r.failed, func(o failed) bool { return o.pkg == n.pkg }) {
		r.failed = append(r.failed, failed{n, why(said)})
	}
	fmt.Fprintf(r.w, "FAIL  %-70s %s\n%s", n, took, said)
}

// mostWhy is how many lines of what a failed test said are repeated at the end.
const mostWhy = 15

// why is the part of what a failed test said that tells why: from the first failed
// assertion, panic or data race on; otherwise the end.
func why(said string) string {
	lines := strings.Split(strings.TrimRight(said, "\n"), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "=== ") || strings.TrimSpace(l) == "" })
	from := slices.IndexFunc(lines, func(l string) bool {
		l = strings.TrimSpace(l)
		return strings.HasPrefix(l, "Error Trace:") || strings.HasPrefix(l, "panic: ") || l == "WARNING: DATA RACE"
	})
	if from < 0 {
		from = max(0, len(lines)-mostWhy)
	}
	return strings.Join(lines[from:min(len(lines), from+mostWhy)], "\n")
}

// names are the running ones' in the order in which they began.
func (r *report) names() []name {
	return slices.SortedFunc(maps.Keys(r.running), func(a, b name) int {
		return cmp.Or(r.running[a].since.Compare(r.running[b].since), cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.test, b.test))
	})
}

// tick tells of the tests that run for long.
func (r *report) tick() {
	for _, n := range r.names() {
		t := r.running[n]
		if took := r.now().Sub(t.since).Round(time.Second); n.test != "" && took >= longest {
			fmt.Fprintf(r.w, "      %-70s runs for %s\n", strings.TrimSuffix(n.String()+"/"+t.sub, "/"), took)
		}
	}
}

// slowest is how many tests are named at the end.
const slowest = 5

// end prints the sum. It returns what to exit with, if the command's status was 0.
func (r *report) end() int {
	took := r.now().Sub(r.began).Round(time.Second)
	fmt.Fprintf(r.w, "%d tests passed, %d failures, %d skipped, after %s\n", len(r.passed), len(r.failed), len(r.skipped), took)
	slices.SortStableFunc(r.passed, func(a, b passed) int { return cmp.Compare(b.took, a.took) })
	for i, p := range r.passed {
		if i < slowest && p.took >= time.Second {
			fmt.Fprintf(r.w, "      longest: %-61s %s\n", p.name, p.took)
		}
	}
	for _, f := range r.failed {
		fmt.Fprintf(r.w, "FAIL  %s, above, in short:\n%s\n", f.name, f.why)
	}
	for _, n := range r.skipped {
		fmt.Fprintf(r.w, "%s was skipped: nothing may be\n", n)
	}
	if len(r.passed) == 0 {
		fmt.Fprintln(r.w, "no test has passed: is there any?")
	}
	if len(r.failed) > 0 || len(r.skipped) > 0 || len(r.passed) == 0 {
		return 1
	}
	return 0
}
