//go:build lab

package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// flowsPerPair is how many flows of each pair of hosts are explained.
const flowsPerPair = 10

// sightings are the interfaces by which VXLAN packets leave switches, by the inner flow.
type sightings struct {
	mu sync.Mutex
	at map[switchstate.Header]map[string]bool
}

// take notes an inner UDP flow that leaves in VXLAN over IPv4.
func (s *sightings) take(at string, b []byte) {
	const outer, inner = 14, 14 + 20 + 8 + 8 + 14
	if len(b) < inner+28 || binary.BigEndian.Uint16(b[12:]) != 0x0800 || b[outer+9] != 17 || binary.BigEndian.Uint16(b[outer+22:]) != 4789 ||
		binary.BigEndian.Uint16(b[inner-2:]) != 0x0800 || b[inner+9] != 17 {
		return
	}
	h := switchstate.Header{From: netip.AddrFrom4([4]byte(b[inner+12:])), To: netip.AddrFrom4([4]byte(b[inner+16:])), Protocol: 17,
		FromPort: binary.BigEndian.Uint16(b[inner+20:]), ToPort: binary.BigEndian.Uint16(b[inner+22:])}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at[h] == nil {
		s.at[h] = map[string]bool{}
	}
	s.at[h][at] = true
}

// of are the interfaces by which a flow leaves switches, in order.
func (s *sightings) of(h switchstate.Header) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for at := range s.at[h] {
		out = append(out, at)
	}
	slices.Sort(out)
	return out
}

// explainFlows asks for each of some flows between leaf1 and leaf3 which links it takes,
// and wants those on which a capture sees it. They are sent all the while.
func (w *site) explainFlows(streams ...*udpFlows) {
	w.Helper()
	s := &sightings{at: map[switchstate.Header]map[string]bool{}}
	for node, ports := range map[string]int{"leaf1": 2, "spine1": 4, "spine2": 4, "leaf2": 2, "leaf4": 2} {
		for i := range ports {
			iface := fmt.Sprintf("eth%d", i+1)
			tap, err := probe.OpenTap(w.Namespace(node), iface, func(frame []byte, out bool) {
				if out {
					s.take(node+":"+iface, frame)
				}
			})
			require.NoError(w, err)
			defer tap.Close()
		}
	}
	by := map[string]int{}
	for _, stream := range streams {
		for _, c := range stream.opened[:flowsPerPair] {
			from, to := c.LocalAddr().(*net.UDPAddr).AddrPort(), netip.MustParseAddr(stream.address)
			h := switchstate.Header{From: from.Addr().Unmap(), To: to, Protocol: 17, FromPort: from.Port(), ToPort: 9}
			var p client.FlowPath
			w.eventually(patience, func() (err error) { // its packets may be late for once
				p, err = w.client.Flow(w.Context(), client.FlowQuestion{From: "leaf1", To: "leaf3", Tenant: strings.Split(stream.from, "-")[0], Header: h})
				return err
			})
			require.Len(w, p.Links, 2, "%+v", p)
			var named []string
			for _, l := range p.Links {
				named = append(named, l.From)
			}
			slices.Sort(named)
			var seen []string
			w.eventually(patience, func() error {
				if seen = s.of(h); len(seen) < 2 {
					return errStill("%s is seen on %v", flowText(h), seen)
				}
				return nil
			})
			require.Equal(w, named, seen, "%s, in %+v", flowText(h), p)
			require.Equal(w, p.Links[0].From, "leaf1:"+p.Seen)
			by[p.Links[0].From]++
		}
	}
	w.Logf("%d flows go by the links that are named; by uplink: %v", flowsPerPair*len(streams), by)
	require.Len(w, by, 2, "all flows go one way: that proves little")
}

func flowText(h switchstate.Header) string {
	return netip.AddrPortFrom(h.From, h.FromPort).String() + " → " + netip.AddrPortFrom(h.To, h.ToPort).String()
}

// The links that are named for a flow, of a server on an EVPN leaf or a VM on a vSwitch,
// are those on which a capture sees it; also by its outer header, and while it is pinned.
func TestSteeringFlow(t *testing.T) {
	w := siteOf(t, steeringFile(t))
	w.put(w.objects...)
	w.ready(patience)
	servers := &udpFlows{from: "blue-srv1", to: "blue-srv3", address: "10.0.0.13", flows: flowsPerPair, rate: 100_000}
	vms := &udpFlows{from: "red-vm1", to: "red-vm3", address: "10.0.0.23", flows: flowsPerPair, rate: 100_000}
	for _, s := range []*udpFlows{servers, vms} {
		s.opened = w.sockets(s)
	}
	defer w.send(servers, vms)()
	w.explainFlows(servers, vms)

	port := servers.opened[0].LocalAddr().(*net.UDPAddr).Port
	out := w.cli("steer", "explain", "leaf1", "leaf3", "--tenant", "blue", "--flow", fmt.Sprintf("10.0.0.11,10.0.0.13,udp,%d,9", port))
	require.Contains(t, out, "seen leaving leaf1 by eth")
	require.Contains(t, out, "leaf3:eth")
	t.Logf("\n%s", out)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	q := client.FlowQuestion{From: "leaf1", To: "leaf3", Tenant: "red", Header: switchstate.Header{From: netip.MustParseAddr("10.0.0.11"), To: netip.MustParseAddr("10.0.0.13"), Protocol: 17, FromPort: uint16(port), ToPort: 9}}
	_, err := w.client.Flow(ctx, q)
	require.ErrorContains(t, err, "the flow is not seen now: send it", "it is blue's, not red's")
}
