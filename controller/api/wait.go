package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

const (
	defaultWait = 30 * time.Second
	maxWait     = 10 * time.Minute
)

// timeout is how long to wait.
func (w *WaitParams) timeout() (time.Duration, error) {
	if w.Timeout == "" {
		return defaultWait, nil
	}
	d, err := time.ParseDuration(w.Timeout)
	if err != nil || d <= 0 || d > maxWait {
		return 0, parameter("query", "timeout", "is %q: give a time such as 90s or 2m, 10m at most", w.Timeout)
	}
	return d, nil
}

// applied reports whether the devices confirmed the revision, or have nothing
// to say.
func applied(st *intent.Status, rev int64) bool {
	return st == nil || st.Phase == intent.PhaseReady && st.Applied >= rev
}

// await waits until the devices confirmed the object's revision. The object is
// read again from time to time: it may be changed or deleted meanwhile.
func (s *Server) await(ctx context.Context, o intent.Object, rev int64, timeout time.Duration) (intent.Object, error) {
	end := time.NewTimer(timeout)
	defer end.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		changed := s.cfg.Status.Changed() // before the status is asked for
		st := s.cfg.Status.Status(o)
		if applied(st, rev) && o.Meta().Revision >= rev {
			return o, nil
		}
		select {
		case <-changed:
		case <-tick.C:
			again, err := s.read(ctx, o.Ref())
			if err != nil {
				return nil, err
			}
			o = again
		case <-end.C:
			return nil, notApplied(o, st, rev, fmt.Sprintf("after %s", timeout))
		case <-s.closing:
			return nil, notApplied(o, st, rev, "and the controller is stopping")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// notApplied says why the devices have not confirmed an object.
func notApplied(o intent.Object, st *intent.Status, rev int64, when string) *client.Problem {
	p := &client.Problem{Type: client.TypeNotApplied, Title: "Not applied in time", Status: http.StatusGatewayTimeout}
	var why []string
	phase := intent.PhasePending
	if st != nil {
		p.Reasons, phase = st.Reasons, st.Phase
		for _, r := range st.Reasons {
			why = append(why, strings.TrimLeft(r.Device+": "+r.Message, ": "))
		}
	}
	p.Detail = fmt.Sprintf("%s is stored at revision %d, but is %s %s", o.Ref(), o.Meta().Revision, phase, when)
	if rev > o.Meta().Revision {
		p.Detail = fmt.Sprintf("%s is at revision %d, and has not come to revision %d %s", o.Ref(), o.Meta().Revision, rev, when)
	}
	if len(why) > 0 {
		p.Detail += ": " + strings.Join(why, "; ")
	}
	return p
}
