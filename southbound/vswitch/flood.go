package vswitch

import (
	"net/netip"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// floodChunk is how many VTEPs one flow of the flood table serves. An action
// list ends at 64 KiB, about 1,600 VTEPs; the next chunk is reached by
// resubmission with its number in register 1.
const floodChunk = 1000

// flood are the flows that replicate broadcast and multicast of a VNI. All
// lists are sorted. The switch itself never sends a frame out of the port that
// it came in by, unless told to.
func (p pipeline) flood(v intent.VNI, rep replication) []openflow.Flow {
	var local []openflow.Action
	for _, o := range rep.ports {
		local = append(local, hand(o)...)
	}
	fs := []openflow.Flow{flow(tableFlood, 100, cookie(v),
		openflow.NewMatch(openflow.Metadata(uint64(v)), openflow.Reg(0, fromTunnel)),
		openflow.NewInstructions(openflow.Apply(local...)))}
	for _, a := range rep.served {
		fs = append(fs, p.replicate(v, rep, local, a))
	}
	as, vteps := local, rep.vteps
	for chunk := uint32(0); ; chunk++ {
		now := vteps[:min(len(vteps), floodChunk)]
		vteps = vteps[len(now):]
		if len(now) > 0 {
			as = append(as[:len(as):len(as)], p.setKey(v)...)
		}
		for _, a := range now {
			as = append(as, openflow.SetField(tunnelDst(a)), openflow.Output(p.tunnel(v)))
		}
		if len(vteps) > 0 {
			as = append(as, openflow.SetField(openflow.Reg(1, chunk+1)), openflow.Resubmit(tableFlood))
		}
		fs = append(fs, flow(tableFlood, 100, cookie(v),
			openflow.NewMatch(openflow.Metadata(uint64(v)), openflow.Reg(0, 0), openflow.Reg(1, chunk)),
			openflow.NewInstructions(openflow.Apply(as...))))
		if len(vteps) == 0 {
			return fs
		}
		as = nil
	}
}

// replicate is the flow that sends what an edge that can't replicate sent here
// to everybody else (RFC 9574 section 5: this edge is its AR-REPLICATOR), the
// first floodChunk VTEPs at most.
func (p pipeline) replicate(v intent.VNI, rep replication, local []openflow.Action, from netip.Addr) openflow.Flow {
	as := append(local[:len(local):len(local)], p.setKey(v)...)
	for _, a := range rep.vteps[:min(len(rep.vteps), floodChunk)] {
		if a != from {
			as = append(as, openflow.SetField(tunnelDst(a)), openflow.Output(openflow.PortInPort))
		}
	}
	return flow(tableFlood, 110, cookie(v),
		openflow.NewMatch(openflow.Metadata(uint64(v)), openflow.Reg(0, fromTunnel), openflow.TunSrc(from)),
		openflow.NewInstructions(openflow.Apply(as...)))
}
