package api

import (
	"fmt"
	"os"
	"slices"
	"time"
)

// rereadEvery is how often at most files are looked at.
const rereadEvery = time.Second

// reread has what files say read again when one of them changed. It is for one goroutine
// at a time.
type reread struct {
	what   string // for errors
	paths  []string
	looked time.Time
	marks  []fileMark // of the files that are in use; none before the first
	failed error      // why the files as they are now are not in use
}

// fileMark tells whether a file is the one that was read.
type fileMark struct {
	size int64
	at   time.Time
}

// look reads the files by load if they changed, at most once a second. The error says why
// what they say now is not in use: what was read before is, then.
func (r *reread) look(load func() error) error {
	if !r.looked.IsZero() && time.Since(r.looked) < rereadEvery {
		return r.failed
	}
	r.looked = time.Now()
	marks := make([]fileMark, len(r.paths))
	for i, p := range r.paths {
		info, err := os.Stat(p)
		if err != nil {
			r.failed = fmt.Errorf("%s: %w", r.what, err)
			return r.failed
		}
		marks[i] = fileMark{info.Size(), info.ModTime()}
	}
	if slices.Equal(marks, r.marks) {
		r.failed = nil
		return nil
	}
	if r.failed = load(); r.failed == nil {
		r.marks = marks
	}
	return r.failed
}
