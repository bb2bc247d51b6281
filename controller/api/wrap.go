package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/api/client"
)

// maxBody bounds the body of a request.
const maxBody = 1 << 20

type pathKey struct{}

// instance is the path that the request asked for.
func instance(ctx context.Context) string {
	p, _ := ctx.Value(pathKey{}).(string)
	return p
}

// answer notes what was answered and bounds how long writing it may take.
type answer struct {
	http.ResponseWriter
	timeout time.Duration
	status  int
	user    string // who asked, where users are known
	reads   bool   // the request changes nothing
}

func (a *answer) WriteHeader(status int) {
	if a.status != 0 {
		return // huma tells so that the client went away
	}
	a.status = status
	_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(a.timeout))
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// wrap adds to the operations what they have in common.
func (s *Server) wrap(mux *http.ServeMux) http.Handler {
	// A page of another origin in somebody's browser must not write.
	guard := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		a := &answer{ResponseWriter: w, timeout: s.cfg.WriteTimeout}
		r = r.WithContext(context.WithValue(r.Context(), pathKey{}, r.URL.EscapedPath()))
		defer func() {
			if p := recover(); p != nil {
				s.recovered(a, r, p)
			}
			s.note(a, r, time.Since(start))
		}()
		if err := guard.Check(r); err != nil {
			writeProblem(a, r, &client.Problem{Type: typeOrigin, Title: "Request of another origin", Status: http.StatusForbidden,
				Detail: "a web page of another origin may not change objects"})
			return
		}
		h, pattern := mux.Handler(r)
		if pattern == "" {
			s.unrouted(a, r, h)
			return
		}
		who, p := s.user(r, pattern)
		if a.user, a.reads = who, s.reads(r, pattern); p != nil {
			if p.Status == http.StatusUnauthorized {
				a.Header().Set("WWW-Authenticate", "Bearer")
			}
			writeProblem(a, r, p)
			return
		}
		if p := readBody(a, r); p != nil {
			writeProblem(a, r, p)
			return
		}
		mux.ServeHTTP(a, r)
	})
}

// note writes a request to the log: what a known user changes is worth more than debug.
func (s *Server) note(a *answer, r *http.Request, took time.Duration) {
	level, args := slog.LevelDebug, []any{"method", r.Method, "path", r.URL.Path, "status", a.status, "took", took}
	if a.user != "" {
		args = append(args, "user", a.user)
		if !a.reads {
			level = slog.LevelInfo
		}
	}
	s.log.Log(r.Context(), level, "request", args...)
}

const typeOrigin = "/problems/cross-origin"

func (s *Server) recovered(a *answer, r *http.Request, p any) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	if a.status != 0 { // most likely the client went away
		s.log.Debug("answer was cut short", "path", r.URL.Path, "cause", p)
		panic(http.ErrAbortHandler)
	}
	s.log.Error("request failed inside the controller", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	writeProblem(a, r, &client.Problem{Type: client.TypeInternal, Title: "Fault inside the controller", Status: http.StatusInternalServerError,
		Detail: "the controller failed at this request; its log has the details"})
}

// unrouted answers for paths and methods that there are not. The mux knows
// which of the two it is.
func (s *Server) unrouted(a *answer, r *http.Request, h http.Handler) {
	probe := &verdict{header: http.Header{}}
	h.ServeHTTP(probe, r)
	switch allow := probe.header.Get("Allow"); {
	case probe.status == http.StatusMethodNotAllowed:
		a.Header().Set("Allow", allow)
		writeProblem(a, r, &client.Problem{Type: client.TypeMethod, Title: "Method not allowed", Status: http.StatusMethodNotAllowed,
			Detail: fmt.Sprintf("%s can't be used with %s: use %s", r.Method, r.URL.Path, allow)})
	default:
		writeProblem(a, r, &client.Problem{Type: client.TypeNotFound, Title: "Not found", Status: http.StatusNotFound,
			Detail: fmt.Sprintf("there is nothing at %s; see /docs", r.URL.Path)})
	}
}

// verdict takes the status of an answer and drops the rest.
type verdict struct {
	header http.Header
	status int
}

func (v *verdict) Header() http.Header         { return v.header }
func (v *verdict) Write(b []byte) (int, error) { return len(b), nil }
func (v *verdict) WriteHeader(status int)      { v.status = status }

// readBody reads the whole body before anything waits, within a time of its
// own.
func readBody(a *answer, r *http.Request) *client.Problem {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	rc := http.NewResponseController(a)
	_ = rc.SetReadDeadline(time.Now().Add(10 * time.Second))
	b, err := io.ReadAll(http.MaxBytesReader(a.ResponseWriter, r.Body, maxBody))
	_ = rc.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &client.Problem{Type: client.TypeTooLarge, Title: "Body too large", Status: http.StatusRequestEntityTooLarge,
			Detail: fmt.Sprintf("the body is larger than %d bytes", maxBody)}
	case err != nil:
		return malformed("the body could not be read: %v", err)
	}
	if ct, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); len(b) > 0 && ct != "" && !strings.EqualFold(strings.TrimSpace(ct), "application/json") {
		return &client.Problem{Type: client.TypeMedia, Title: "Media type not supported", Status: http.StatusUnsupportedMediaType,
			Detail: fmt.Sprintf("the body is %s: send application/json", strings.TrimSpace(ct)),
			Errors: []client.ProblemField{{Location: "header", Field: "Content-Type", Message: "must be application/json"}}}
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return nil
}
