package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// wallClock finds what loses a time's monotonic reading, so that a span between
// two such times is wrong when somebody sets the clock.
var wallClock = regexp.MustCompile(`time\.(Unix|UnixMilli|UnixMicro)\(|\.(Unix|UnixNano|UnixMilli|UnixMicro|UTC)\(\)|\.Round\(0\)|\.Truncate\(time\.`)

// dates are where a time is only shown or told apart from others; nothing is
// measured with it.
var dates = map[string]int{
	"southbound/linux/peers.go":   2, // when a session was established, as FRR tells it
	"controller/store/put.go":     2, // metadata.created
	"controller/store/codec.go":   3, // metadata.created
	"controller/store/journal.go": 3, // when a revision was written, for people
	"southbound/frr/summary.go":   2, // when a session was established
	"southbound/linux/mend.go":    2, // when something was mended, for people
	"controller/store/access.go":  5, // join tokens hold for hours, over restarts and for several controllers
	"southbound/leaf/driver.go":   1, // a revision unlike that of an earlier controller
	"cmd/weft/steer_policy.go":    3, // when a policy ends: a date in an object
	"controller/engine/given.go":  2, // since when a tenant has a colour, for people
	"cmd/weft/user.go":            2, // when a token ends: a date in a file
	"lab/up.go":                   1,
	"lab/probe/table.go":          1,
	"lab/probe/underlay.go":       1,
}

// TestNothingIsMeasuredByTheWallClock: hold times, timeouts, duplicate
// detection and ages must not notice a clock that jumps.
func TestNothingIsMeasuredByTheWallClock(t *testing.T) {
	root, seen := filepath.Join("..", ".."), 0
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if found := wallClock.FindAllString(string(b), -1); len(found) > dates[rel] {
			t.Errorf("%s uses %v: measure with time.Since and time.Time.Sub of untouched times, or add the file to dates and say why", rel, found)
		}
		return nil
	}))
	require.Greater(t, seen, 100)
}
