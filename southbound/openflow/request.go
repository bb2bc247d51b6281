package openflow

import (
	"context"
	"errors"
	"fmt"
)

// Barrier waits until the switch has done all that was sent before.
func (c *Conn) Barrier(ctx context.Context) error {
	return c.do(ctx, simple(typeBarrierRequest, c.next()), func(uint8, []byte) (bool, error) { return true, nil })
}

// DumpFlows returns the flows of all tables whose cookie, under the mask, is
// the given one.
func (c *Conn) DumpFlows(ctx context.Context, cookie, mask uint64) ([]FlowStats, error) {
	return c.DumpTable(ctx, TableAll, cookie, mask)
}

// DumpTable is DumpFlows for one table.
func (c *Conn) DumpTable(ctx context.Context, table uint8, cookie, mask uint64) ([]FlowStats, error) {
	var out []FlowStats
	err := c.do(ctx, flowDescRequest(c.next(), table, cookie, mask), func(_ uint8, body []byte) (bool, error) {
		kind, more, rest, err := readMultipart(body)
		if err != nil || kind != multipartFlowDesc {
			return true, errors.Join(err, fmt.Errorf("multipart reply of kind %d", kind))
		}
		for len(rest) > 0 {
			f, r, err := readFlowDesc(rest)
			if err != nil {
				return true, err
			}
			out, rest = append(out, f), r
		}
		return !more, nil
	})
	return out, err
}

// MonitorFlows calls f for each flow that somebody else adds, changes or
// removes from now on, in the connection's reader: f must not block. One
// monitor per connection.
func (c *Conn) MonitorFlows(ctx context.Context, f func(FlowUpdate)) error {
	c.mu.Lock()
	had := c.onFlow != nil
	c.onFlow = f
	c.mu.Unlock()
	if had {
		return errors.New("flows are monitored already")
	}
	xid := c.next()
	return c.do(ctx, flowMonitorRequest(xid, 1), func(uint8, []byte) (bool, error) { return true, nil })
}

// updates hands on a batch of a flow monitor. The first answers the request.
func (c *Conn) updates(xid uint32, b []byte) error {
	c.mu.Lock()
	f, w := c.onFlow, c.waiting[xid]
	c.mu.Unlock()
	if w != nil {
		w.finish(nil)
	}
	for len(b) > 0 {
		u, rest, err := readFlowUpdate(b)
		if err != nil {
			return fmt.Errorf("flow monitor: %w", err)
		}
		b = rest
		if f != nil && u.Event != flowAbbrev && u.Event != flowPaused {
			f(u)
		}
	}
	return nil
}

// BundleError says which change of a bundle the switch refused.
type BundleError struct {
	Mod FlowMod
	Err *Error
}

// Error names the flow and has the switch's words.
func (e *BundleError) Error() string { return fmt.Sprintf("%v: flow %s", e.Err, e.Mod.Flow) }

// Unwrap returns the switch's error.
func (e *BundleError) Unwrap() error { return e.Err }

// bundleWrite is how many bytes of a bundle are written at once.
const bundleWrite = 64 << 10

// Bundle makes the changes in order and all at once, or none (section 6.9).
// On a *BundleError nothing was changed and the connection goes on.
func (c *Conn) Bundle(ctx context.Context, mods []FlowMod) error {
	if len(mods) == 0 {
		return nil
	}
	c.bundles.Lock()
	defer c.bundles.Unlock()
	id := c.next()
	reply := func(uint8, []byte) (bool, error) { return true, nil }
	open, all := &call{part: reply, done: make(chan error, 1)}, &call{part: reply, done: make(chan error, 1)}
	openID, allID := c.next(), c.next()
	if err := errors.Join(c.await(open, openID), c.await(all, allID)); err != nil {
		return err
	}
	defer c.forget(openID)
	defer c.forget(allID)
	first := c.xid.Add(uint32(len(mods))) - uint32(len(mods)) + 1
	last := first + uint32(len(mods)) - 1
	refused := &call{part: reply, done: make(chan error, 1)}
	if err := c.awaitBundle(refused, first, last); err != nil {
		return err
	}
	defer c.forgetBundle()
	// A switch refuses a change when it gets it, and would commit the others:
	// so ask whether all were taken before committing.
	if err := c.sendMods(ctx, bundleControl(openID, id, bundleOpen), simple(typeBarrierRequest, allID), id, first, mods); err != nil {
		return err
	}
	if err := c.wait(ctx, all); err != nil {
		c.end(fmt.Errorf("send bundle: %w", err))
		return fmt.Errorf("send bundle: %w", err)
	}
	if err := c.wait(ctx, open); err != nil {
		return fmt.Errorf("open bundle: %w", err)
	}
	var why error
	select {
	case why = <-refused.done:
	default:
		why = c.do(ctx, bundleControl(c.next(), id, bundleCommit), reply)
		if why == nil {
			return nil
		}
		select {
		case r := <-refused.done:
			why = r // says more than the commit's error
		default:
		}
		return c.refused(fmt.Errorf("commit bundle: %w", why), why, first, mods)
	}
	if err := c.do(ctx, bundleControl(c.next(), id, bundleDiscard), reply); err != nil {
		c.end(fmt.Errorf("discard bundle: %w", err))
	}
	return c.refused(why, why, first, mods)
}

// refused makes the error of a bundle. Without an answer of the switch it is
// unknown what it did: such a connection must not go on.
func (c *Conn) refused(err, why error, first uint32, mods []FlowMod) error {
	var r *refusal
	if !errors.As(why, &r) {
		c.end(err)
		return err
	}
	if i := r.xid - first; i < uint32(len(mods)) {
		return &BundleError{mods[i], r.err}
	}
	return err
}

// sendMods writes the changes, between what goes before and after them, without
// waiting for answers: there are none but errors.
func (c *Conn) sendMods(ctx context.Context, before, after []byte, bundle, first uint32, mods []FlowMod) error {
	buf := make([]byte, 0, min(bundleWrite, 256*len(mods))+4096)
	buf = append(buf, before...)
	for i, m := range mods {
		buf = appendBundleAdd(buf, first+uint32(i), bundle, m)
		if i == len(mods)-1 {
			buf = append(buf, after...)
		} else if len(buf) < bundleWrite {
			continue
		}
		if err := ctx.Err(); err != nil {
			c.end(fmt.Errorf("send bundle: %w", err))
			return err
		}
		if err := c.write(buf); err != nil {
			c.end(err)
			return err
		}
		buf = buf[:0]
	}
	return nil
}
