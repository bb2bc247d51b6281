package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/engine"
)

// maxTold bounds the broken objects that a health check names.
const maxTold = 10

// problems lists what is wrong with a controller that runs. It answers in time
// whether the store does or not.
func (s *Server) problems(ctx context.Context) (rev int64, out []string) {
	ctx, cancel := context.WithTimeout(ctx, min(time.Second, s.cfg.StoreTimeout))
	defer cancel()
	h, err := s.cfg.Store.Health(ctx)
	if err != nil {
		out = append(out, fmt.Sprintf("the store does not answer: %v", err))
	}
	out = append(out, h.Problems...)
	if err := s.cfg.Status.Ready(); err != nil {
		out = append(out, err.Error())
	}
	broken := 0
	for _, a := range s.cfg.Status.Alarms() {
		if a.Reason != engine.AlarmBroken {
			continue
		}
		if broken++; broken <= maxTold {
			out = append(out, a.Message)
		}
	}
	if broken > maxTold {
		out = append(out, fmt.Sprintf("%d more objects of the store can't be read: see the alarms", broken-maxTold))
	}
	return h.Revision, out
}

// registerStore registers what is done to the store itself.
func (s *Server) registerStore() {
	huma.Register(s.api, huma.Operation{OperationID: "compactStore", Method: http.MethodPost, Path: "/v1/store/compact", Tags: []string{"Controller"},
		Summary:     "Give space of the store back",
		Description: "Forgets the history of the objects, not the objects, and defragments etcd, which does not answer for as long as that takes. A store that was over its quota takes writes again, if there is room then. Watches that were behind end with status 410.",
		Errors:      []int{http.StatusServiceUnavailable, http.StatusInsufficientStorage}, DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, _ *struct{}) (*struct{}, error) {
			// Not cut short when the client goes: that would leave it half done.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), compactTime)
			defer cancel()
			if err := s.cfg.Store.Compact(ctx); err != nil {
				return nil, s.fail(ctx, err)
			}
			return nil, nil
		})
}

// compactTime is how long compacting and defragmenting may take.
const compactTime = 5 * time.Minute
