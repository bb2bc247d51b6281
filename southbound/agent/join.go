package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Registrar is where a switch announces itself that is no node yet; *client.Client is
// one.
type Registrar interface {
	Announce(ctx context.Context, a switchstate.Announcement) (switchstate.Admission, error)
}

// Joining makes a switch a node: it announces the switch until the controller says
// which node it is. Meanwhile it speaks LLDP, so that the neighbours can confirm what
// the switch says.
type Joining struct {
	Registrar Registrar
	Wires     Wires // under the name that Describe gives, or else the serial number
	// Describe says what the switch is, but for its ports.
	Describe func(context.Context) switchstate.Announcement
	Logger   *slog.Logger
}

// Times between announcements: soon at first, as the controller may be about to learn
// of the node.
const (
	announceFirst = retryWait
	announceEvery = heartbeat
)

// Run announces the switch until it is a node, and returns that node's name, or ctx's
// error.
func (j *Joining) Run(ctx context.Context) (node string, err error) {
	speaking, stop := context.WithCancel(ctx)
	g, speaking := errgroup.WithContext(speaking)
	g.Go(func() error {
		for {
			err := j.Wires.Run(speaking)
			if speaking.Err() != nil {
				return nil
			}
			j.Logger.Warn("LLDP failed; trying again", "err", err)
			_ = sleep(speaking, retryWait) // its error is found above
		}
	})
	node, err = j.announce(ctx)
	stop()
	_ = g.Wait() // nothing there fails
	return node, err
}

func (j *Joining) announce(ctx context.Context) (string, error) {
	told := ""
	tell := func(level slog.Level, now string) {
		if now != told {
			told = now
			j.Logger.Log(ctx, level, "this switch is no node of the fabric yet", "why", now)
		}
	}
	for wait := announceFirst; ; wait = min(2*wait, announceEvery) {
		answer, err := j.once(ctx)
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case err != nil:
			tell(slog.LevelWarn, err.Error())
		case answer.Node != "":
			j.Logger.Info("this switch is a node now", "node", answer.Node, "why", answer.Message)
			return answer.Node, nil
		default:
			tell(slog.LevelInfo, answer.Message)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(wait):
		case <-j.Wires.Changed():
			// A neighbour may say many things one after the other.
			if err := sleep(ctx, announceFirst); err != nil {
				return "", err
			}
		}
	}
}

func (j *Joining) once(ctx context.Context) (switchstate.Admission, error) {
	a := j.Describe(ctx)
	r, err := j.Wires.Report()
	if err != nil {
		return switchstate.Admission{}, fmt.Errorf("read the ports: %w", err)
	}
	a.Ports = r.Ports
	return j.Registrar.Announce(ctx, a)
}

// MovedError says that a switch is another node than it was.
type MovedError struct{ Node string }

// Error names the node.
func (e *MovedError) Error() string { return "this switch is node " + e.Node + " now" }

// nameless reports whether an error says that the controller does not take the name of
// the switch: there is no such node, or another box is it.
func nameless(err error) bool {
	return errors.Is(err, switchstate.ErrNoNode) || errors.Is(err, switchstate.ErrRefused)
}

// rejoin announces a switch whose name the controller does not take. It returns a
// *MovedError when the switch is another node, the cause when it is the same one, and
// otherwise why it has to wait.
func (a *Agent) rejoin(ctx context.Context, cause error) error {
	if a.Joining == nil {
		return cause
	}
	answer, err := a.Joining.once(ctx)
	switch {
	case err != nil:
		return err
	case answer.Node == "":
		return fmt.Errorf("%w; it has to wait: %s", cause, answer.Message)
	case answer.Node != a.Node:
		return &MovedError{answer.Node}
	}
	return cause
}
