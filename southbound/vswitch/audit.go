package vswitch

import (
	"context"
	"fmt"
	"strings"

	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// readAll reads all our flows from the device, brings them to what they should
// be and, when asked to, tells what was found that nobody here had sent. seen, if
// there is one, gets what the device has before anything is done about it.
func (s *connection) readAll(ctx context.Context, seen func(*openflow.Described), tell bool) error {
	x, err := s.difference(ctx, seen, tell)
	if err != nil {
		return err
	}
	x.changes.putFor(greetingSeconds, greetings(x.fresh)...)
	if err := s.send(ctx, &x.changes); err != nil {
		return err
	}
	if err := s.forgetConnections(x.fresh, x.spoiled); err != nil {
		return err
	}
	s.done, s.reading = x.programmed, nil
	s.answers.serve(s.done.local)
	s.confirm(&s.done, x.count())
	if tell {
		s.faults += x.found.n
		x.found.tell(s.feed)
	}
	if s.feed.Colouring() != s.done.colours { // it may have changed before we read a segment
		return s.bring(ctx)
	}
	return s.speakNow()
}

// difference compares what the device has with what it should have.
func (s *connection) difference(ctx context.Context, seen func(*openflow.Described), tell bool) (*comparison, error) {
	// From here on no deletion is forgotten that comes after what is shared of
	// these segments.
	s.readSegments()
	if err := s.gates.read.enter(ctx); err != nil {
		return nil, err
	}
	defer s.gates.read.leave()
	has, err := s.dump(ctx)
	if err != nil {
		return nil, err
	}
	if seen != nil {
		seen(has)
	}
	if err := s.gates.compare.enter(ctx); err != nil {
		return nil, err
	}
	defer s.gates.compare.leave()
	// Before the rows are read: what an edge that reports meanwhile has is in
	// them, or still kept.
	away := s.feed.Unreported(false)
	x := s.compile(has, away, tell)
	x.compare(has)
	if seen != nil {
		x.fresh = strangers(x.local, has)
		x.spoiled = spoiled(translationsOf(translated(has)), translationsOf(x.nat.all(x.local)))
	} else {
		x.fresh = arrivals(s.done.local, x.local)
		x.spoiled = spoiled(translationsOf(s.done.nat.all(s.done.local)), translationsOf(x.nat.all(x.local)))
	}
	if err := s.compareMeters(ctx, x); err != nil {
		return nil, err
	}
	s.kept = s.keep(x, away) || x.keptFloods || len(x.members.kept) > 0 || len(x.prefixes.kept) > 0
	x.dropUnknown()
	x.putMissing()
	return x, nil
}

func (s *connection) dump(ctx context.Context) (*openflow.Described, error) {
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	has, err := s.conn.DescribeFlows(ctx, cookieMark, cookieMarkMask)
	if err != nil {
		return nil, s.fail(southbound.CodeUnreachable, "read flows", "", err)
	}
	return has, nil
}

// findings are what another program did to our flows.
type findings struct {
	n     int
	texts []string
}

// findingsTold bounds the flows that one event names.
const findingsTold = 5

func (f *findings) note(fl openflow.Flow, what string) {
	if f.n++; f.n <= findingsTold {
		f.texts = append(f.texts, fmt.Sprintf("flow %s %s", fl, what))
	}
}

func (f *findings) tell(feed southbound.Feed) {
	if f.n == 0 {
		return
	}
	msg := strings.Join(f.texts, "; ")
	if more := f.n - len(f.texts); more > 0 {
		msg += fmt.Sprintf("; and %d more", more)
	}
	feed.Event(southbound.Event{Severity: southbound.Warning, Reason: "FlowsRepaired", Message: msg})
}
