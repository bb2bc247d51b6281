package lab

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Progress is told of each phase when it begins; the function that it returns
// is called when the phase ends.
type Progress interface {
	Phase(name string) (done func(error))
	// Note tells something that does not stop the work. It may be called
	// from several goroutines, and during a phase.
	Note(text string)
}

type silent struct{}

func (silent) Phase(string) func(error) { return func(error) {} }
func (silent) Note(string)              {}

// PrintProgress prints a line per phase with the time it took. On a terminal
// the line shows at once and is completed in place.
func PrintProgress(w io.Writer, terminal bool) Progress {
	return &printed{w: w, terminal: terminal}
}

type printed struct {
	w        io.Writer
	terminal bool
	mu       sync.Mutex // of writes
}

// Note prints a line of its own.
func (p *printed) Note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprint(p.w, "\r\033[K")
	}
	fmt.Fprintln(p.w, "note: "+text)
}

// Phase prints the phase.
func (p *printed) Phase(name string) func(error) {
	begin := time.Now()
	mu := &p.mu
	stop := make(chan struct{})
	line := func(mark string) {
		fmt.Fprintf(p.w, "\r\033[K%s %s %.1fs", mark, name, time.Since(begin).Seconds())
	}
	if p.terminal {
		mu.Lock()
		line(" ")
		mu.Unlock()
		go func() {
			t := time.NewTicker(100 * time.Millisecond)
			defer t.Stop()
			for {
				select {
				case <-stop:
					return
				case <-t.C:
				}
				mu.Lock()
				select {
				case <-stop:
				default:
					line(" ")
				}
				mu.Unlock()
			}
		}()
	}
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		close(stop)
		mark := "ok"
		if err != nil {
			mark = "failed:"
		}
		if p.terminal {
			line(mark)
			fmt.Fprintln(p.w)
			return
		}
		fmt.Fprintf(p.w, "%s %s %.1fs\n", mark, name, time.Since(begin).Seconds())
	}
}
