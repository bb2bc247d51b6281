package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/weft-sdn/weft/southbound/switchstate"
)

// questionsMost bounds the questions that wait for one switch's agent.
const questionsMost = 32

// questions are those that wait for agents, or for their answers.
type questions struct {
	mu      sync.Mutex
	last    uint64
	waiting map[string][]switchstate.Question     // by node
	asked   map[uint64]asked                      // not yet answered
	woken   map[string]map[chan struct{}]struct{} // agents that wait for a question, by node
}

// asked is a question whose answer is waited for.
type asked struct {
	node   string
	answer chan switchstate.Answer // has room for it
}

func newQuestions() *questions {
	// An answer to what another controller asked, before a start, is none to this one's.
	return &questions{last: rand.Uint64() >> 1, waiting: map[string][]switchstate.Question{}, asked: map[uint64]asked{}, woken: map[string]map[chan struct{}]struct{}{}}
}

// ask asks a switch's agent and waits for its answer until ctx ends.
func (q *questions) ask(ctx context.Context, node string, what switchstate.Question) (switchstate.Answer, error) {
	q.mu.Lock()
	if len(q.waiting[node]) >= questionsMost {
		q.mu.Unlock()
		return switchstate.Answer{}, fmt.Errorf("%s: %d questions wait for its agent already: try again later", node, questionsMost)
	}
	q.last++
	what.ID = q.last
	answer := make(chan switchstate.Answer, 1)
	q.waiting[node] = append(q.waiting[node], what)
	q.asked[what.ID] = asked{node, answer}
	for c := range q.woken[node] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	q.mu.Unlock()
	select {
	case a := <-answer:
		if a.Error != "" {
			return a, fmt.Errorf("%s: %s", node, a.Error)
		}
		return a, nil
	case <-ctx.Done():
		q.drop(node, what.ID)
		return switchstate.Answer{}, fmt.Errorf("%s: its agent does not answer: look whether weft agent runs there, and is not older than the controller", node)
	}
}

// drop forgets a question that nobody waits for any more.
func (q *questions) drop(node string, id uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.asked, id)
	left := q.waiting[node][:0:0]
	for _, w := range q.waiting[node] {
		if w.ID != id {
			left = append(left, w)
		}
	}
	q.keep(node, left)
}

// keep sets what waits for a node. The caller holds the lock.
func (q *questions) keep(node string, list []switchstate.Question) {
	if len(list) == 0 {
		delete(q.waiting, node)
	} else {
		q.waiting[node] = list
	}
}

// take waits until there are questions for a switch; its error is ctx's.
func (q *questions) take(ctx context.Context, node string) ([]switchstate.Question, error) {
	wake := make(chan struct{}, 1)
	q.mu.Lock()
	if q.woken[node] == nil {
		q.woken[node] = map[chan struct{}]struct{}{}
	}
	q.woken[node][wake] = struct{}{}
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if delete(q.woken[node], wake); len(q.woken[node]) == 0 {
			delete(q.woken, node)
		}
	}()
	for {
		q.mu.Lock()
		list := q.waiting[node]
		delete(q.waiting, node)
		q.mu.Unlock()
		if len(list) > 0 {
			return list, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-wake:
		}
	}
}

// answered takes a switch's answer; one that nobody waits for is nothing.
func (q *questions) answered(node string, a switchstate.Answer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if of, ok := q.asked[a.ID]; ok && of.node == node {
		delete(q.asked, a.ID)
		of.answer <- a
	}
}

// Questions waits until there are questions for a switch's agent; its error is
// ErrNoNode or ctx's.
func (e *Engine) Questions(ctx context.Context, node string) ([]switchstate.Question, error) {
	if !e.known(node) {
		return nil, ErrNoNode
	}
	return e.questions.take(ctx, node)
}

// TakeAnswer takes an agent's answer.
func (e *Engine) TakeAnswer(node string, a switchstate.Answer) error {
	if !e.known(node) {
		return ErrNoNode
	}
	e.questions.answered(node, a)
	return nil
}

func (e *Engine) known(node string) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.model.Node(node) != nil
}
