package vswitch

import (
	"bytes"
	"hash/maphash"
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// compiled are flows in the form in which they are sent, which a switch's own
// description of its flows is compared with as well. Once made it never changes:
// that of a segment's rows is shared by all edges that have the segment, see
// tables.
type compiled struct {
	rev   evpn.Revision
	mods  openflow.Encoded
	slots []uint32 // by hash of the key: a flow's number from one; open addressing
	// leads say to which of the VTEPs each flow leads, from one; zero for flows
	// that are the same wherever the route leads. Empty when no flow does.
	leads []uint32
	vteps []netip.Addr
	imet  *vtepList // who has the segment
	// superseded are flows whose key a later one has, as when two stations have
	// one address: the later one counts.
	superseded map[int]bool
}

// keySeed makes the slots of keys unpredictable to tenants.
var keySeed = maphash.MakeSeed()

// add appends a flow.
func (c *compiled) add(f openflow.Flow, vtep uint32) {
	c.mods.Append(openflow.FlowMod{Command: openflow.FlowAdd, Flow: f})
	if vtep > 0 && len(c.leads) == 0 {
		c.leads = make([]uint32, c.mods.Len()-1, c.mods.Len())
	}
	if len(c.leads) > 0 || vtep > 0 {
		c.leads = append(c.leads, vtep)
	}
}

// index makes the flows findable.
func (c *compiled) index() {
	n := 4
	for n < 2*c.mods.Len() {
		n *= 2
	}
	c.slots = make([]uint32, n)
	var key, scratch []byte
	for i := range c.mods.Len() {
		key = c.mods.At(i).AppendKey(key[:0])
		at := c.slot(key, &scratch)
		if was := c.slots[at]; was != 0 {
			if c.superseded == nil {
				c.superseded = map[int]bool{}
			}
			c.superseded[int(was-1)] = true
		}
		c.slots[at] = uint32(i + 1)
	}
}

// slot is where a key is, or would be; scratch is room for keys.
func (c *compiled) slot(key []byte, scratch *[]byte) uint64 {
	mask := uint64(len(c.slots) - 1)
	at := maphash.Bytes(keySeed, key) & mask
	for ; c.slots[at] != 0; at = (at + 1) & mask {
		*scratch = c.mods.At(int(c.slots[at] - 1)).AppendKey((*scratch)[:0])
		if bytes.Equal(key, *scratch) {
			return at
		}
	}
	return at
}

// find is the number of the flow of a key.
func (c *compiled) find(key []byte, scratch *[]byte) (int, bool) {
	i := c.slots[c.slot(key, scratch)]
	return int(i) - 1, i != 0
}

// lead is the number of a VTEP in leads, and none that any flow has when no flow
// leads there.
func (c *compiled) lead(vtep netip.Addr) uint32 {
	for i, a := range c.vteps {
		if a == vtep {
			return uint32(i + 1)
		}
	}
	return ^uint32(0)
}

// leaves reports whether a flow is left out on the edge that lead stands for:
// another one counts, or it would lead to the edge itself.
func (c *compiled) leaves(i int, lead uint32) bool {
	return len(c.leads) > 0 && c.leads[i] == lead || len(c.superseded) > 0 && c.superseded[i]
}

// runs are the flows in runs as long as possible, but for those that skip names.
func (c *compiled) runs(skip func(i int) bool) (out []openflow.Encoded) {
	from := 0
	for i := range c.mods.Len() {
		if skip(i) {
			if i > from {
				out = append(out, c.mods.Slice(from, i))
			}
			from = i + 1
		}
	}
	if from < c.mods.Len() {
		out = append(out, c.mods.Slice(from, c.mods.Len()))
	}
	return out
}

// size is how many bytes of memory it has.
func (c *compiled) size() int {
	return c.mods.Size() + 4*(c.mods.Len()+len(c.slots)+len(c.leads)) + 32*len(c.vteps)
}

// compileRows makes the flows that follow from a segment's rows, as they are for
// an edge that has none of the stations itself.
func (p pipeline) compileRows(v intent.VNI, rows []evpn.Row, rev evpn.Revision) *compiled {
	c := &compiled{rev: rev, leads: make([]uint32, 0, len(rows))}
	c.mods.Grow(len(rows), flowBytes*len(rows))
	numbers := map[netip.Addr]uint32{}
	var floods []evpn.Row
	for _, r := range rows {
		switch {
		case r.Deleted:
		case r.Type == evpn.IMET:
			floods = append(floods, r)
		case r.Type == evpn.MACIP && !r.IP.IsValid():
			if numbers[r.VTEP] == 0 {
				c.vteps = append(c.vteps, r.VTEP)
				numbers[r.VTEP] = uint32(len(c.vteps))
			}
			c.add(p.toVTEP(v, r), numbers[r.VTEP])
		default:
			for _, f := range p.row(v, r) {
				c.add(f, 0)
			}
		}
	}
	c.imet = (*vtepList)(nil).with(floods)
	c.index()
	return c
}

// flowBytes is how long a flow of a row is as a rule.
const flowBytes = 250

// compileFlows makes flows of one edge alone.
func compileFlows(flows []openflow.Flow) *compiled {
	c := &compiled{}
	c.mods.Grow(len(flows), flowBytes*len(flows))
	for _, f := range flows {
		c.add(f, 0)
	}
	c.index()
	return c
}
