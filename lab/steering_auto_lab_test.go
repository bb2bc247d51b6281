//go:build lab

package lab

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/demand"
	"github.com/weft-sdn/weft/fabric/steering"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/topology"
)

// Capacities of the links that lead to spine1 and to spine2, and what a leaf sends each
// other: by ECMP the slower links are at 80 % of theirs, by the optimum all are at 40 %.
const (
	fastLinks, slowLinks = 18e6, 6e6
	eachPair             = 3_200_000
)

// An elephant workload that ECMP puts on slow links as on fast ones is measured, and the
// optimiser brings the most utilised link to the optimum of what was measured, stays
// there, and leaves all to ECMP when it is called off.
func (w *site) steersBySelf(file *topology.File) {
	w.Helper()
	n := w.stateCapacities(file)
	stop := w.elephants()
	defer stop()
	var before, bound float64
	w.eventually(time.Minute, func() (err error) {
		if before, err = w.mostUtilised(5 * time.Second); err != nil {
			return err
		}
		if bound, err = w.optimum(n, 5*time.Second); err == nil && (before < 1.7*bound || bound < 0.38) {
			err = fmt.Errorf("the most utilised link is at %.3f, the optimum at %.3f", before, bound)
		}
		return err
	})

	w.put(steeringPolicy("all", intent.SteeringPolicySpec{Auto: &intent.SteeringAuto{Objective: intent.MinMaxUtilisation}}))
	began := time.Now()
	var c client.Choice
	w.eventually(2*time.Minute, func() (err error) {
		if c, err = w.client.Choice(w.Context()); err != nil {
			return err
		}
		if bound, err = w.optimum(n, 5*time.Second); err != nil {
			return err
		}
		if !c.Active || c.Steered == 0 || c.After > 1.02*c.Target || c.Target > 1.02*bound {
			return fmt.Errorf("the optimum of what is measured is %.4f: %+v", bound, c)
		}
		return nil
	})
	chosen := time.Since(began)
	w.eventually(patience, func() error {
		for from := 1; from <= 4; from++ {
			for to := 1; to <= 4; to++ {
				if leaf, far := fmt.Sprintf("leaf%d", from), fmt.Sprintf("leaf%d", to); from != to {
					if legs := w.legs(leaf, w.specOf(far).VTEP); legs != "eth1*75,eth2*25" {
						return fmt.Errorf("%s has %s to %s", leaf, legs, far)
					}
				}
			}
		}
		return nil
	})
	w.Logf("by ECMP the most utilised link is at %.1f %%; %s after the policy came all leaves are to have 3:1, by their kernels after %s", 100*before, chosen.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))

	var after float64
	w.eventually(time.Minute, func() (err error) {
		if after, err = w.mostUtilised(10 * time.Second); err == nil && after > 1.15*bound {
			err = fmt.Errorf("the most utilised link is at %.3f, the optimum is %.3f", after, bound)
		}
		return err
	})
	w.Logf("then it is at %.1f %% by the counters of 10 s, which a hash deals out like dice; the weights make %.2f %% of the measured matrix, its optimum is %.2f %%; %s in all", 100*after, 100*c.After, 100*bound, time.Since(began).Round(time.Millisecond))

	steps, last := 0, time.Time{}
	w.eventually(time.Minute, func() error {
		c, err := w.client.Choice(w.Context())
		if err != nil {
			return err
		}
		require.Empty(w, c.Changes, "it stays: %+v", c)
		if !c.At.Equal(last) {
			steps, last = steps+1, *c.At
		}
		if steps < 3 {
			return errStill("%d steps", steps)
		}
		return nil
	})
	w.Logf("\n%s", w.cli("steer", "chosen"))
	w.delete(intent.Ref{Kind: intent.KindSteeringPolicy, Name: "all"})
	w.eventually(patience, func() error {
		if legs := w.legs("leaf1", w.specOf("leaf3").VTEP); legs != "eth1*1,eth2*1" {
			return fmt.Errorf("leaf1 has %s", legs)
		}
		return nil
	})
}

// stateCapacities writes capacities into the links' objects, and prepares the same
// fabric from its file.
func (w *site) stateCapacities(file *topology.File) *steering.Network {
	w.Helper()
	for _, o := range w.list(intent.KindLink) {
		l := o.(*intent.Link)
		for _, e := range l.Spec.Endpoints {
			switch e.Node {
			case "spine1":
				l.Spec.Capacity = intent.BitRate(demand.FormatRate(fastLinks))
			case "spine2":
				l.Spec.Capacity = intent.BitRate(demand.FormatRate(slowLinks))
			}
		}
		if l.Spec.Capacity != "" {
			w.put(l)
		}
	}
	n, err := steering.NewNetwork(file.Graph, steering.Capacities{Default: fastLinks, Of: map[string]float64{"spine2": slowLinks}})
	require.NoError(w, err)
	return n
}

// mostUtilised is the highest utilisation of a link by its counters.
func (w *site) mostUtilised(window time.Duration) (float64, error) {
	l, err := w.client.FabricLoad(w.Context(), window)
	most := 0.0
	for _, k := range l.Links {
		if most = max(most, k.Utilisation); !k.Seen || k.Capacity == 0 {
			return 0, fmt.Errorf("%s is not known: %+v", k.From, k)
		}
	}
	return most, err
}

// optimum is what the most utilised link would be at if the measured matrix were divided
// as well as can be: a bound that no way to divide it goes below.
func (w *site) optimum(n *steering.Network, window time.Duration) (float64, error) {
	csv, err := w.client.MatrixCSV(w.Context(), window)
	if err != nil {
		return 0, err
	}
	m, err := demand.Parse(csv, "measured", n.End)
	if err != nil {
		return 0, err
	}
	t, err := steering.NewTraffic(n, m)
	if err != nil {
		return 0, err
	}
	r, err := steering.Simulate(t, nil, steering.Case{}, steering.Settings{Gap: 0.001})
	return r.Bound, err
}

// elephants has each leaf's server send to each other's, in as many flows as packets.
func (w *site) elephants() (stop func()) {
	w.Helper()
	var all []*udpFlows
	for from := 1; from <= 4; from++ {
		for to := 1; to <= 4; to++ {
			if from != to {
				s := &udpFlows{from: fmt.Sprintf("blue-srv%d", from), to: fmt.Sprintf("blue-srv%d", to), address: fmt.Sprintf("10.0.0.%d", 10+to)}
				s.rate = eachPair / 8 * payload / tunnelled
				s.write = w.sprayer(s)
				all = append(all, s)
			}
		}
	}
	return w.send(all...)
}

// sprayer writes datagrams from a host to another by a packet socket, each from another
// source port, so that each is a flow.
func (w *site) sprayer(s *udpFlows) func(number int64) error {
	w.Helper()
	mac := func(host string) (hw net.HardwareAddr, index int) {
		require.NoError(w, netns.Do(w.Namespace(host), func() error {
			i, err := net.InterfaceByName("eth1")
			if err == nil {
				hw, index = i.HardwareAddr, i.Index
			}
			return err
		}))
		return hw, index
	}
	source, index := mac(s.from)
	destination, _ := mac(s.to)
	var number int
	_, err := fmt.Sscanf(s.from, "blue-srv%d", &number)
	require.NoError(w, err)
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + number)}).AsSlice(), DstIP: netip.MustParseAddr(s.address).AsSlice()}
	frame := gopacket.NewSerializeBuffer()
	require.NoError(w, gopacket.SerializeLayers(frame, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: source, DstMAC: destination, EthernetType: layers.EthernetTypeIPv4}, ip, gopacket.Payload(make([]byte, 8+payload))))
	b := frame.Bytes()
	udp := b[34:]
	udp[2], udp[3] = 0, 9                            // discard
	udp[4], udp[5] = (8+payload)>>8, (8+payload)%256 // no checksum (RFC 768)
	fd := -1
	require.NoError(w, netns.Do(w.Namespace(s.from), func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	}))
	w.Cleanup(func() { _ = unix.Close(fd) })
	to := &unix.SockaddrLinklayer{Ifindex: index}
	return func(number int64) error {
		port := 1024 + number*7919%60000
		udp[0], udp[1] = byte(port>>8), byte(port)
		return unix.Sendto(fd, b, 0, to)
	}
}
