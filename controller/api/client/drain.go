package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
)

// SetMaintenance has a switch drained, or with "" not any more; what else its node
// says stays. With force it is drained even when that takes the last way between two
// leaves, or from ports.
func (c *Client) SetMaintenance(ctx context.Context, node string, m intent.Maintenance, force bool) (*intent.Node, error) {
	ref := intent.Ref{Kind: intent.KindNode, Name: node}
	for {
		o, err := c.Get(ctx, ref)
		if err != nil {
			return nil, err
		}
		n, ok := o.(*intent.Node)
		if !ok {
			return nil, fmt.Errorf("%s is no node", node)
		}
		if n.Spec.Maintenance == m {
			return n, nil
		}
		n.Spec.Maintenance, n.Status = m, nil
		res, err := c.Put(ctx, n, PutOptions{IfMatch: n.Metadata.Revision, Force: force})
		var p *Problem
		if errors.As(err, &p) && p.Status == http.StatusPreconditionFailed {
			continue // somebody else wrote it meanwhile
		}
		if err != nil {
			return nil, err
		}
		return res.Object.(*intent.Node), nil
	}
}

// drainPoll is how often a drain is asked after.
const drainPoll = 250 * time.Millisecond

// AwaitDrained waits until a switch says that it is drained, and passes nothing on any
// more. It tells what it sees meanwhile.
func (c *Client) AwaitDrained(ctx context.Context, node string, timeout time.Duration, see func(*intent.Node)) error {
	ref := intent.Ref{Kind: intent.KindNode, Name: node}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	t := time.NewTicker(drainPoll)
	defer t.Stop()
	why := "the controller has not taken it yet"
	for {
		o, err := c.Get(ctx, ref)
		if n, ok := o.(*intent.Node); err == nil && ok {
			see(n)
			if drained(n) {
				return nil
			}
			why = notDrained(n)
		} else if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			if err := context.Cause(ctx); !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			return fmt.Errorf("%s is not drained after %s: %s; it goes on: ask again, or take it back with \"weft fabric undrain %s\"", node, timeout, why, node)
		case <-t.C:
		}
	}
}

func drained(n *intent.Node) bool {
	return n.Status != nil && n.Status.Maintenance != nil && n.Status.Maintenance.State == intent.Drained
}

// notDrained says what a drain waits for.
func notDrained(n *intent.Node) string {
	switch s := n.Status; {
	case !n.Spec.Drains():
		return "it is not to be drained any more"
	case s != nil && s.Maintenance != nil && s.Maintenance.Rate != nil:
		return fmt.Sprintf("it still passes on %.0f packets a second", *s.Maintenance.Rate)
	case s != nil && len(s.Reasons) > 0:
		return s.Reasons[0].Message
	}
	return "the switch has not said that it is drained"
}
