package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
)

func init() {
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return fromHuma("", status, msg, errs)
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		u := ctx.URL()
		return fromHuma(u.EscapedPath(), status, msg, errs)
	}
}

// fromHuma makes a problem of what huma found in the parameters.
func fromHuma(path string, status int, msg string, errs []error) *client.Problem {
	p := &client.Problem{Type: client.TypeInvalid, Title: "Fields at fault", Status: status, Detail: msg, Instance: path}
	switch {
	case status == http.StatusBadRequest:
		p.Type, p.Title = client.TypeMalformed, "Malformed request"
	case status >= 500:
		p.Type, p.Title = client.TypeInternal, "Fault inside the controller"
	case status != http.StatusUnprocessableEntity:
		p.Type, p.Title = "about:blank", http.StatusText(status)
	}
	var said []string
	for _, err := range errs {
		f := client.ProblemField{Message: err.Error()}
		if d, ok := err.(huma.ErrorDetailer); ok {
			e := d.ErrorDetail()
			f.Location, f.Field, _ = strings.Cut(e.Location, ".")
			f.Message = e.Message
		}
		p.Errors = append(p.Errors, f)
		said = append(said, strings.TrimLeft(f.Location+" "+f.Field+": "+f.Message, " :"))
	}
	if len(said) > 0 {
		p.Detail = strings.Join(said, "; ")
	}
	return p
}

func malformed(format string, args ...any) *client.Problem {
	return &client.Problem{Type: client.TypeMalformed, Title: "Malformed request", Status: http.StatusBadRequest, Detail: fmt.Sprintf(format, args...)}
}

// parameter is the problem of one parameter.
func parameter(location, name, format string, args ...any) *client.Problem {
	msg := fmt.Sprintf(format, args...)
	return &client.Problem{Type: client.TypeInvalid, Title: "Fields at fault", Status: http.StatusUnprocessableEntity,
		Detail: fmt.Sprintf("%s parameter %s %s", location, name, msg),
		Errors: []client.ProblemField{{Location: location, Field: name, Message: msg}}}
}

// fail makes the problem of an error.
func (s *Server) fail(ctx context.Context, err error) error {
	p := s.problem(ctx, err)
	p.Instance = instance(ctx)
	if p.Status >= 500 && p.Type != client.TypeNotApplied && ctx.Err() == nil {
		s.log.Warn("request failed", "path", p.Instance, "status", p.Status, "err", err)
	}
	return p
}

func (s *Server) problem(ctx context.Context, err error) *client.Problem {
	var (
		p        *client.Problem
		faults   intent.FieldErrors
		conflict *store.ConflictError
		revision *store.RevisionError
		inUse    *store.InUseError
	)
	set := func(typ, title string, status int) *client.Problem {
		return &client.Problem{Type: typ, Title: title, Status: status, Detail: err.Error()}
	}
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &faults):
		p = set(client.TypeInvalid, "Fields at fault", http.StatusUnprocessableEntity)
		for _, f := range faults {
			p.Errors = append(p.Errors, client.ProblemField{Location: "body", Field: f.Field, Message: f.Detail})
		}
		return p
	case errors.As(err, &conflict):
		p = set(client.TypeConflict, "Value in use", http.StatusConflict)
		p.Errors = []client.ProblemField{{Location: "body", Field: conflict.Field,
			Message: fmt.Sprintf("%s is in use by %s", conflict.Value, conflict.Owner)}}
		p.Users = []intent.Ref{conflict.Owner}
		return p
	case errors.As(err, &revision):
		p = set(client.TypePrecondition, "Precondition failed", http.StatusPreconditionFailed)
		name := "If-Match"
		if revision.Want == 0 {
			name = "If-None-Match"
		}
		p.Errors = []client.ProblemField{{Location: "header", Field: name, Message: revision.Error()}}
		return p
	case errors.As(err, &inUse):
		p = set(client.TypeInUse, "Object in use", http.StatusConflict)
		p.Users = inUse.By
		return p
	case errors.Is(err, store.ErrNotFound):
		return set(client.TypeNotFound, "Not found", http.StatusNotFound)
	case errors.Is(err, store.ErrExpired), errors.Is(err, store.ErrCompacted), errors.Is(err, store.ErrGone):
		return set(client.TypeExpired, "Revision is gone", http.StatusGone)
	case errors.Is(err, store.ErrToken):
		p = malformed("%v", err)
		p.Errors = []client.ProblemField{{Location: "query", Field: "continue", Message: "is not a token of a list like this"}}
		return p
	case errors.Is(err, store.ErrFull):
		return set(client.TypeFull, "Store is full", http.StatusInsufficientStorage)
	case errors.Is(err, store.ErrReadOnly):
		return set(client.TypeUnavailable, "Store takes no writes", http.StatusServiceUnavailable)
	case errors.Is(err, store.ErrBroken):
		return set(client.TypeBroken, "Stored object is broken", http.StatusInternalServerError)
	case errors.Is(err, store.ErrBusy):
		return set(client.TypeBusy, "Too many writers", http.StatusConflict)
	case s.storeAway(ctx, err):
		p = set(client.TypeUnavailable, "Store unavailable", http.StatusServiceUnavailable)
		p.Detail = "the store does not answer: " + err.Error() + "; nothing is known to be changed; try again"
		return p
	}
	return set(client.TypeInternal, "Fault inside the controller", http.StatusInternalServerError)
}

// storeAway reports whether an error comes from a store that can't be reached:
// then it can't be asked for its revision either.
func (s *Server) storeAway(ctx context.Context, err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_, err = s.cfg.Store.Revision(ctx)
	return err != nil
}

// writeProblem answers outside of huma's operations.
func writeProblem(w http.ResponseWriter, r *http.Request, p *client.Problem) {
	p.Instance = instance(r.Context())
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	b, _ := json.Marshal(p) // strings and numbers
	_, _ = w.Write(append(b, '\n'))
}
