package engine

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// flowRig is a fabric of two leaves and two spines whose agents answer as a test says.
type flowRig struct {
	*testing.T
	*Engine
	stop context.CancelFunc
	done sync.WaitGroup
}

func newFlowRig(t *testing.T, answers map[string]func(switchstate.Question) switchstate.Answer) *flowRig {
	c := newChoosing(t)
	c.put(&intent.Node{Metadata: intent.Metadata{Name: "hv1"}, Spec: intent.NodeSpec{Role: intent.RoleHypervisor, VTEP: netip.MustParseAddr("10.64.1.2")}})
	c.put(cable("hv1", "eth1", "leaf1", "eth9"))
	r := &flowRig{T: t, Engine: c.Engine}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(t.Context())
	for node, answer := range answers {
		r.done.Go(func() {
			for {
				list, err := r.Questions(ctx, node)
				if err != nil {
					return
				}
				for _, q := range list {
					a := answer(q)
					a.ID = q.ID
					_ = r.TakeAnswer("leaf2", a) // it is not its question
					_ = r.TakeAnswer(node, a)
					_ = r.TakeAnswer(node, a) // once is enough
				}
			}
		})
	}
	return r
}

func (r *flowRig) end() {
	r.stop()
	r.done.Wait()
}

func header(from, to string, ports ...uint16) switchstate.Header {
	return switchstate.Header{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to), Protocol: 17, FromPort: ports[0], ToPort: ports[1]}
}

// by answers questions about routes with an interface, which must come with a header by
// an interface.
func by(out string, in string, want switchstate.Header) func(switchstate.Question) switchstate.Answer {
	return func(q switchstate.Question) switchstate.Answer {
		if q.Route == nil || q.Route.Header != want || q.Route.In != in {
			return switchstate.Answer{Error: fmt.Sprintf("asked for %+v", q)}
		}
		return switchstate.Answer{Route: &switchstate.NextHop{Interface: out}}
	}
}

// The outer header of a hypervisor's flow is what its leaf sees, and the kernels on the
// way say which links it takes.
func TestAFlowIsFollowedByItsOuterHeader(t *testing.T) {
	inner, outer := header("10.0.0.1", "10.0.0.3", 40000, 80), header("10.64.1.2", "10.254.0.2", 51111, 4789)
	flooded := header("10.64.1.2", "10.254.0.9", 51111, 4789)
	synctest.Test(t, func(t *testing.T) {
		leaf := by("eth2", "eth9", outer)
		r := newFlowRig(t, map[string]func(switchstate.Question) switchstate.Answer{
			"leaf1": func(q switchstate.Question) switchstate.Answer {
				if q.Watch == nil {
					return leaf(q)
				}
				if q.Watch.Header != inner {
					return switchstate.Answer{}
				}
				return switchstate.Answer{Seen: []switchstate.Tunnel{{Header: flooded, VNI: 7, Interface: "eth1"}, {Header: outer, VNI: 7, Interface: "eth2"}}}
			},
			"spine2": by("eth2", "eth1", outer),
		})
		defer r.end()
		p, err := r.Flow(t.Context(), FlowQuestion{From: "leaf1", To: "leaf2", Header: inner})
		require.NoError(t, err)
		require.Equal(t, outer, p.Tunnel)
		require.Equal(t, "eth2", p.Seen)
		require.Equal(t, "[{leaf1:eth2 spine2:eth1} {spine2:eth2 leaf2:eth2}]", fmt.Sprint(p.Links))

		// The outer header itself needs no watching.
		p, err = r.Flow(t.Context(), FlowQuestion{From: "leaf1", To: "leaf2", Header: outer})
		require.NoError(t, err)
		require.Len(t, p.Links, 2)
		require.Empty(t, p.Seen)

		for want, q := range map[string]FlowQuestion{
			"leaf1: the flow is not seen now: send it while": {From: "leaf1", To: "leaf2", Header: header("10.0.0.1", "10.0.0.4", 1, 1)},
			"tenant green has no such network":               {From: "leaf1", To: "leaf2", Tenant: "green", Header: inner},
			"leaf1 sends it to 10.254.0.9, which is not":     {From: "leaf1", To: "spine1", Header: inner},
			"leaf2: its agent does not answer":               {From: "leaf2", To: "leaf1", Header: inner},
			"leaf9: there is no such node":                   {From: "leaf9", To: "leaf1", Header: inner},
			"leaf7: there is no such node":                   {From: "leaf1", To: "leaf7", Header: outer},
			"spine2: asked for":                              {From: "spine2", To: "leaf1", Header: header("10.254.0.1", "10.254.0.2", 1, 1)},
		} {
			_, err := r.Flow(t.Context(), q)
			require.ErrorContains(t, err, want)
		}
		// What is joined to two leaves is behind both.
		r.mu.Lock()
		r.put(&intent.Node{Metadata: intent.Metadata{Name: "hv2"}, Spec: intent.NodeSpec{Role: intent.RoleHypervisor, VTEP: netip.MustParseAddr("10.64.1.9")}})
		r.put(cable("hv2", "eth1", "leaf1", "eth8"))
		r.put(cable("hv2", "eth2", "leaf2", "eth8"))
		r.mu.Unlock()
		for _, leaf := range []string{"hv2", "leaf1", "leaf2"} {
			require.True(t, r.reaches("hv2", leaf), leaf)
		}
		require.False(t, r.reaches("hv2", "spine1"))
		require.False(t, r.reaches("leaf1", "spine1"), "a leaf is behind itself only")
		r.questions.mu.Lock()
		defer r.questions.mu.Unlock()
		require.Empty(t, r.questions.asked)
		require.Empty(t, r.questions.waiting)
	})
}

// What waits for an agent that does not come is bounded.
func TestQuestionsAreBounded(t *testing.T) {
	q := newQuestions()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	errs := make(chan error, questionsMost+5)
	for range questionsMost + 5 {
		all.Go(func() {
			_, err := q.ask(ctx, "leaf1", switchstate.Question{})
			errs <- err
		})
	}
	for range 5 {
		require.ErrorContains(t, <-errs, "32 questions wait for its agent already")
	}
	cancel()
	all.Wait()
	for range questionsMost {
		require.ErrorContains(t, <-errs, "does not answer")
	}
	require.Empty(t, q.waiting)
	require.Empty(t, q.asked)
}
