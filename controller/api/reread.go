package api

import (
	"fmt"
	"log/slog"
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
	log    *slog.Logger
	looked time.Time
	marks  []fileMark // of the files that are in use; none before the first
	failed error      // why the files as they are now are not in use
}

// fileMark tells whether a file is the one that was read.
type fileMark struct {
	size int64
	at   time.Time
}

// newReread looks at files for the first time with its first look. A nil log is none.
func newReread(what string, log *slog.Logger, paths ...string) reread {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return reread{what: what, paths: paths, log: log}
}

// look reads the files by load if they changed, at most once a second. The error says why
// what they say now is not in use: what was read before is, then, and the log tells once
// of each such error and of its end.
func (r *reread) look(load func() error) error {
	if !r.looked.IsZero() && time.Since(r.looked) < rereadEvery {
		return r.failed
	}
	r.looked = time.Now()
	first, was := r.marks == nil, r.failed
	r.failed = r.read(load)
	switch {
	case first: // whoever opens the files hears of it
	case r.failed != nil && (was == nil || was.Error() != r.failed.Error()):
		r.log.Error("a file has changed and can't be used: what was read before stays in force", "what", r.what, "err", r.failed)
	case r.failed == nil && was != nil:
		r.log.Info("the file can be used again, and is in force", "what", r.what)
	}
	return r.failed
}

// read reads the files if they changed.
func (r *reread) read(load func() error) error {
	marks := make([]fileMark, len(r.paths))
	for i, p := range r.paths {
		info, err := os.Stat(p)
		if err != nil {
			return fmt.Errorf("%s: %w", r.what, err)
		}
		marks[i] = fileMark{info.Size(), info.ModTime()}
	}
	if slices.Equal(marks, r.marks) {
		return nil
	}
	if err := load(); err != nil {
		return err
	}
	r.marks = marks
	return nil
}
