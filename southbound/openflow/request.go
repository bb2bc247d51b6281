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

// DumpTable is DumpFlows of one table.
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

// DescribeFlows returns the flows that DumpFlows would, not decoded.
func (c *Conn) DescribeFlows(ctx context.Context, cookie, mask uint64) (*Described, error) {
	d := &Described{}
	err := c.do(ctx, flowDescRequest(c.next(), TableAll, cookie, mask), func(_ uint8, body []byte) (bool, error) {
		kind, more, rest, err := readMultipart(body)
		if err != nil || kind != multipartFlowDesc {
			return true, errors.Join(err, fmt.Errorf("multipart reply of kind %d", kind))
		}
		return !more, d.add(rest)
	})
	return d, err
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

// batch is what a bundle carries: flow-mods, and after them runs of encoded ones.
type batch struct {
	mods []FlowMod
	runs []Encoded
}

func (b batch) len() int {
	n := len(b.mods)
	for _, r := range b.runs {
		n += r.Len()
	}
	return n
}

// at is the i-th flow-mod.
func (b batch) at(i int) FlowMod {
	if i < len(b.mods) {
		return b.mods[i]
	}
	i -= len(b.mods)
	for _, r := range b.runs {
		if i < r.Len() {
			return r.At(i).Decode()
		}
		i -= r.Len()
	}
	return FlowMod{}
}

// Bundle makes the changes in order and all at once, or none (section 6.9): first
// mods, then what is encoded already, of which only the ids are written anew. On a
// *BundleError nothing was changed and the connection goes on.
func (c *Conn) Bundle(ctx context.Context, mods []FlowMod, runs ...Encoded) error {
	all := batch{mods, runs}
	n := uint32(all.len())
	if n == 0 {
		return nil
	}
	c.bundles.Lock()
	defer c.bundles.Unlock()
	id := c.next()
	reply := func(uint8, []byte) (bool, error) { return true, nil }
	open, taken := &call{part: reply, done: make(chan error, 1)}, &call{part: reply, done: make(chan error, 1)}
	openID, takenID := c.next(), c.next()
	if err := errors.Join(c.await(open, openID), c.await(taken, takenID)); err != nil {
		return err
	}
	defer c.forget(openID)
	defer c.forget(takenID)
	first := c.xid.Add(n) - n + 1
	last := first + n - 1
	refused := &call{part: reply, done: make(chan error, 1)}
	if err := c.awaitBundle(refused, first, last); err != nil {
		return err
	}
	defer c.forgetBundle()
	// A switch refuses a change when it gets it, and would commit the others:
	// so ask whether all were taken before committing.
	if err := c.sendMods(ctx, bundleControl(openID, id, bundleOpen), simple(typeBarrierRequest, takenID), id, first, all); err != nil {
		return err
	}
	if err := c.wait(ctx, taken); err != nil {
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
		return c.refused(fmt.Errorf("commit bundle: %w", why), why, first, all)
	}
	if err := c.do(ctx, bundleControl(c.next(), id, bundleDiscard), reply); err != nil {
		c.end(fmt.Errorf("discard bundle: %w", err))
	}
	return c.refused(why, why, first, all)
}

// refused makes the error of a bundle. Without an answer of the switch it is
// unknown what it did: such a connection must not go on.
func (c *Conn) refused(err, why error, first uint32, all batch) error {
	var r *refusal
	if !errors.As(why, &r) {
		c.end(err)
		return err
	}
	if i := int(r.xid - first); i < all.len() {
		return &BundleError{all.at(i), r.err}
	}
	return err
}

// sendMods writes the changes, between what goes before and after them, without
// waiting for answers: there are none but errors.
func (c *Conn) sendMods(ctx context.Context, before, after []byte, bundle, first uint32, all batch) error {
	buf := make([]byte, 0, min(bundleWrite, 256*all.len())+4096)
	buf = append(buf, before...)
	full := func() error {
		if len(buf) < bundleWrite {
			return nil
		}
		err := c.sendPart(ctx, buf)
		buf = buf[:0]
		return err
	}
	xid := first
	for _, m := range all.mods {
		buf = appendBundleAdd(buf, xid, bundle, m)
		xid++
		if err := full(); err != nil {
			return err
		}
	}
	for _, r := range all.runs {
		for i := range r.Len() {
			buf = r.appendTo(buf, i, xid, bundle)
			xid++
			if err := full(); err != nil {
				return err
			}
		}
	}
	return c.sendPart(ctx, append(buf, after...))
}

// sendPart writes a part of a bundle; it ends the connection when it can't.
func (c *Conn) sendPart(ctx context.Context, b []byte) error {
	if err := ctx.Err(); err != nil {
		c.end(fmt.Errorf("send bundle: %w", err))
		return err
	}
	if err := c.write(b); err != nil {
		c.end(err)
		return err
	}
	return nil
}
