package vswitch

import (
	"net/netip"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// partReg is the register that says which part of a flood list is served, from
// one; zero is the beginning.
const partReg = 1

// flood are the flows that replicate broadcast and multicast of a VNI. All lists
// are sorted. The switch itself never sends a frame out of the port that it came
// in by, unless told to. A long flood list is in parts, of which each is a flow
// that the first one resubmits to: one VTEP more changes one of them. (Buckets of
// a group would be as few messages, but the switch copies all buckets for each.)
func (p pipeline) flood(v intent.VNI, rep replication) []openflow.Flow {
	fs := []openflow.Flow{p.floodLocal(v, rep), p.floodFirst(v, rep)}
	if parts := rep.vteps.all(); len(parts) > 1 {
		for i := range parts {
			fs = append(fs, p.floodPart(v, rep, i))
		}
	}
	return append(fs, p.replicate(v, rep)...)
}

// changeFlood changes the flood flows of a VNI, looking at the parts that differ
// only.
func (p pipeline) changeFlood(c *changes, v intent.VNI, was, now replication) {
	if len(was.vteps.clients(p.vtep))+len(now.vteps.clients(p.vtep)) > 0 {
		c.replace(p.flood(v, was), p.flood(v, now))
		return
	}
	old, parts := was.vteps.all(), now.vteps.all()
	var gone, come []openflow.Flow
	if len(old) != len(parts) || len(parts) == 1 || !slices.Equal(was.ports, now.ports) {
		gone = []openflow.Flow{p.floodLocal(v, was), p.floodFirst(v, was)}
		come = []openflow.Flow{p.floodLocal(v, now), p.floodFirst(v, now)}
	}
	for i := range max(len(old), len(parts)) {
		if i < len(old) && i < len(parts) && len(old) > 1 && len(parts) > 1 && samePart(old[i], parts[i]) {
			continue
		}
		if len(old) > 1 && i < len(old) {
			gone = append(gone, p.floodPart(v, was, i))
		}
		if len(parts) > 1 && i < len(parts) {
			come = append(come, p.floodPart(v, now, i))
		}
	}
	c.replace(gone, come)
}

func outputs(ports []uint32) []openflow.Action {
	as := make([]openflow.Action, 0, len(ports))
	for _, o := range ports {
		as = append(as, hand(o)...)
	}
	return as
}

// floodLocal hands what came out of a tunnel to the local ports.
func (p pipeline) floodLocal(v intent.VNI, rep replication) openflow.Flow {
	return flow(tableFlood, 100, cookie(v),
		openflow.NewMatch(openflow.Metadata(uint64(v)), openflow.Reg(0, fromTunnel)),
		openflow.NewInstructions(openflow.Apply(outputs(rep.ports)...)))
}

// floodFirst serves the local ports and the only part, or hands on to all parts.
func (p pipeline) floodFirst(v intent.VNI, rep replication) openflow.Flow {
	as := outputs(rep.ports)
	if parts := rep.vteps.all(); len(parts) > 1 {
		as = append(append(as, p.setKey(v)...), toParts(parts, -1)...)
	} else if to := p.toEach(parts[0], netip.Addr{}, p.tunnel(v)); len(to) > 0 {
		as = append(append(as, p.setKey(v)...), to...)
	}
	return flow(tableFlood, 100, cookie(v),
		openflow.NewMatch(openflow.Metadata(uint64(v)), openflow.Reg(0, 0), openflow.Reg(partReg, 0)),
		openflow.NewInstructions(openflow.Apply(as...)))
}

// floodPart serves one part of a list.
func (p pipeline) floodPart(v intent.VNI, rep replication, i int) openflow.Flow {
	return flow(tableFlood, 100, cookie(v),
		openflow.NewMatch(openflow.Metadata(uint64(v)), openflow.Reg(0, 0), openflow.Reg(partReg, uint32(i+1))),
		openflow.NewInstructions(openflow.Apply(p.toEach(rep.vteps.all()[i], netip.Addr{}, p.tunnel(v))...)))
}

// toParts resubmits to the flows of all parts but one.
func toParts(parts [][]netip.Addr, but int) []openflow.Action {
	as := make([]openflow.Action, 0, 2*len(parts))
	for i := range parts {
		if i != but {
			as = append(as, openflow.SetField(openflow.Reg(partReg, uint32(i+1))), openflow.Resubmit(tableFlood))
		}
	}
	return as
}

// toEach sends by a port to VTEPs, this edge and one more left out.
func (p pipeline) toEach(vteps []netip.Addr, but netip.Addr, port uint32) []openflow.Action {
	as := make([]openflow.Action, 0, 2*len(vteps))
	for _, a := range vteps {
		if a != p.vtep && a != but {
			as = append(as, openflow.SetField(tunnelDst(a)), openflow.Output(port))
		}
	}
	return as
}

// replicate are the flows that send what edges that can't replicate sent here to
// everybody else (RFC 9574 section 5: this edge is their AR-REPLICATOR), back into
// the tunnel that it came out of.
func (p pipeline) replicate(v intent.VNI, rep replication) []openflow.Flow {
	clients, parts := rep.vteps.clients(p.vtep), rep.vteps.all()
	if len(clients) == 0 {
		return nil
	}
	var fs []openflow.Flow
	for _, from := range clients {
		at := partOf(from, len(parts))
		as := append(outputs(rep.ports), p.setKey(v)...)
		as = append(as, p.toEach(parts[at], from, openflow.PortInPort)...)
		as = append(as, toParts(parts, at)...)
		fs = append(fs, flow(tableFlood, 110, cookie(v),
			openflow.NewMatch(openflow.Metadata(uint64(v)), openflow.Reg(0, fromTunnel), openflow.TunSrc(from)),
			openflow.NewInstructions(openflow.Apply(as...))))
	}
	if len(parts) == 1 {
		return fs
	}
	for i, vteps := range parts {
		fs = append(fs, flow(tableFlood, 120, cookie(v),
			openflow.NewMatch(openflow.Metadata(uint64(v)), openflow.Reg(0, fromTunnel), openflow.Reg(partReg, uint32(i+1))),
			openflow.NewInstructions(openflow.Apply(p.toEach(vteps, netip.Addr{}, openflow.PortInPort)...))))
	}
	return fs
}
