package vswitch

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/weft-sdn/weft/southbound/openflow"
)

// flowKey is what identifies a flow in a switch: table, priority and match, in
// the match's canonical encoding.
type flowKey string

func keyOf(f openflow.Flow) flowKey {
	b := make([]byte, 0, 64)
	b = append(b, f.Table)
	b = binary.BigEndian.AppendUint16(b, f.Priority)
	return flowKey(f.Match.AppendTo(b))
}

// flowSet is a set of flows by key.
type flowSet map[flowKey]openflow.Flow

func (s flowSet) add(fs ...openflow.Flow) {
	for _, f := range fs {
		s[keyOf(f)] = f
	}
}

// same reports whether two flows of one key do the same under the same mark.
func same(a, b openflow.Flow) bool {
	return a.Cookie == b.Cookie && bytes.Equal(a.Instructions.AppendTo(nil), b.Instructions.AppendTo(nil))
}

// changes collects flow-mods: deletions go before additions. What is compiled
// already is added last.
type changes struct {
	del, add []openflow.FlowMod
	runs     []openflow.Encoded
	meters   []openflow.MeterMod // to be made before flows use them
	spent    []openflow.MeterMod // to be deleted once no flow does
}

func (c *changes) empty() bool {
	return len(c.del)+len(c.add)+len(c.runs)+len(c.meters)+len(c.spent) == 0
}

// len is how many flow-mods there are.
func (c *changes) len() int {
	n := len(c.del) + len(c.add)
	for _, r := range c.runs {
		n += r.Len()
	}
	return n
}

func (c *changes) mods() []openflow.FlowMod { return slices.Concat(c.del, c.add) }

// put adds a flow, replacing one of the same key.
func (c *changes) put(fs ...openflow.Flow) {
	for _, f := range fs {
		c.add = append(c.add, openflow.FlowMod{Command: openflow.FlowAdd, Flow: f})
	}
}

// putFor adds flows that the switch removes again after some seconds.
func (c *changes) putFor(seconds uint16, fs ...openflow.Flow) {
	for _, f := range fs {
		c.add = append(c.add, openflow.FlowMod{Command: openflow.FlowAdd, HardTimeout: seconds, Flow: f})
	}
}

// drop deletes a flow of exactly this key and cookie.
func (c *changes) drop(fs ...openflow.Flow) {
	for _, f := range fs {
		f.Instructions = openflow.Instructions{}
		c.del = append(c.del, openflow.FlowMod{Command: openflow.FlowDeleteStrict, CookieMask: ^uint64(0), Flow: f})
	}
}

// dropCookie deletes all flows whose masked cookie is the given one.
func (c *changes) dropCookie(cookie, mask uint64) {
	c.del = append(c.del, openflow.FlowMod{Command: openflow.FlowDelete, CookieMask: mask, Flow: openflow.Flow{Table: openflow.TableAll, Cookie: cookie}})
}

// replace changes the flows of one thing from old to new.
func (c *changes) replace(old, new []openflow.Flow) {
	was, now := make(flowSet, len(old)), make(flowSet, len(new))
	was.add(old...)
	now.add(new...)
	for _, f := range old {
		if _, ok := now[keyOf(f)]; !ok {
			c.drop(f)
		}
	}
	for _, f := range new {
		if o, ok := was[keyOf(f)]; !ok || !same(o, f) {
			c.put(f)
		}
	}
}

// sorted lists the flows of a set in the order of table, priority and match.
func (s flowSet) sorted() []openflow.Flow {
	keys := make([]flowKey, 0, len(s))
	for k := range s {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b flowKey) int { return cmp.Compare(a, b) })
	out := make([]openflow.Flow, len(keys))
	for i, k := range keys {
		out[i] = s[k]
	}
	return out
}
