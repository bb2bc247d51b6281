package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
)

// WatchOptions choose what Watch yields.
type WatchOptions struct {
	Tenant string // networks and ports of one tenant
	// Revision is the last one known, such as that of ListAt: what changed
	// after it is yielded. 0: what changes from now on.
	Revision int64
}

// Change is one object's change. Object is nil when it was deleted; otherwise
// it has no status.
type Change struct {
	Ref      intent.Ref
	Object   intent.Object
	Revision int64
}

// silence is how long a watch may be silent; the server sends a comment each
// 15 seconds.
const silence = 50 * time.Second

// Watch yields the changes of a kind in order until ctx ends. A lost
// connection is made again from the last revision; changes of that revision
// may then come twice. It ends after the first error, which is a Problem of
// TypeExpired when the revision is gone: list again. It does not try again
// when the very first connection fails.
func (c *Client) Watch(ctx context.Context, k intent.Kind, opt WatchOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		s := &stream{c: c, kind: k, opt: opt, last: opt.Revision, yield: yield}
		for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
			connected, err := s.run(ctx)
			var p *Problem
			switch {
			case s.done || ctx.Err() != nil:
				return
			case errors.As(err, &p) && p.Status != http.StatusServiceUnavailable, err != nil && !s.ever:
				yield(Change{}, err)
				return
			}
			if connected {
				wait = 100 * time.Millisecond
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		}
	}
}

// stream is a Watch in the making.
type stream struct {
	c     *Client
	kind  intent.Kind
	opt   WatchOptions
	last  int64 // all changes up to it were yielded
	ever  bool  // was connected
	done  bool  // the consumer has enough
	yield func(Change, error) bool
}

// run reads one connection until it breaks.
func (s *stream) run(ctx context.Context) (connected bool, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	q := ListOptions{Tenant: s.opt.Tenant}.query()
	q.Set("watch", "true")
	if s.last != 0 {
		q.Set("revision", strconv.FormatInt(s.last, 10))
	}
	resp, err := s.c.request(ctx, http.MethodGet, "/v1/"+s.kind.Plural(), q, http.Header{"Accept": {"text/event-stream"}}, nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		return false, s.c.problem(resp, b)
	}
	s.ever = true
	quiet := time.AfterFunc(silence, stop)
	defer quiet.Stop()
	err = readEvents(resp.Body, func() { quiet.Reset(silence) }, s.take)
	if s.done {
		return true, nil
	}
	return true, err
}

var errEnough = errors.New("enough")

// take handles one server-sent event.
func (s *stream) take(event, data, id string) error {
	if rev, err := strconv.ParseInt(id, 10, 64); err == nil {
		defer func() { s.last = rev }()
	}
	switch event {
	case "error":
		p := &Problem{}
		if err := json.Unmarshal([]byte(data), p); err != nil {
			return fmt.Errorf("watch %s: the controller's answer can't be read: %w", s.kind.Plural(), err)
		}
		return p
	case "put", "delete":
	default:
		return nil
	}
	var w WatchEvent
	if err := json.Unmarshal([]byte(data), &w); err != nil {
		return fmt.Errorf("watch %s: the controller's answer can't be read: %w", s.kind.Plural(), err)
	}
	ch := Change{Ref: w.Ref, Revision: w.Revision}
	if w.Type == "put" {
		o, err := decode(w.Ref.Kind, w.Object)
		if err != nil {
			return err
		}
		ch.Object = o
	}
	if !s.yield(ch, nil) {
		s.done = true
		return errEnough
	}
	return nil
}

// readEvents parses server-sent events (WHATWG HTML section 9.2.6): f is called
// for each event and for each id that comes without data.
func readEvents(r io.Reader, alive func(), f func(event, data, id string) error) error {
	br := bufio.NewReaderSize(r, 64<<10)
	var event, id string
	var data []string
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return err
		}
		alive()
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			if err := f(event, strings.Join(data, "\n"), id); err != nil {
				return err
			}
			event, id, data = "", "", nil
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			event = value
		case "data":
			data = append(data, value)
		case "id":
			id = value
		}
	}
}
