package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/weft-sdn/weft/lab/netns"
)

// Switch is a switch whose loopback is probed from and to.
type Switch struct {
	Name      string
	Namespace string
	Loopback  netip.Addr
	Uplinks   []string // its interfaces to other switches
}

// PathRow is what the flows from one switch to another took.
type PathRow struct {
	From     string         `json:"from"`
	To       string         `json:"to"`
	Sent     int            `json:"sent"`
	Received int            `json:"received"`
	Uplinks  map[string]int `json:"uplinks"` // interface to probes that left by it
}

// flows is the number of source ports that Underlay uses: with eight paths
// the chance that one is missed by fair hashing is below 2e-7.
const flows = 128

type switchEnd struct {
	Switch
	socks []*net.UDPConn
	rx    *net.UDPConn
	taps  []*Tap
}

// Underlay sends from each switch's loopback to each other's, over many source
// ports, and counts what arrives and by which uplinks it left.
func Underlay(ctx context.Context, switches []Switch) ([]PathRow, error) {
	run := fmt.Sprintf("u%d", time.Now().UnixNano())
	var mu sync.Mutex
	arrived := make(chan struct{}, 1)
	seen := func() {
		select {
		case arrived <- struct{}{}:
		default:
		}
	}
	rows := map[[2]string]*PathRow{}
	var order []*PathRow
	for _, a := range switches {
		for _, b := range switches {
			if a.Name != b.Name {
				r := &PathRow{From: a.Name, To: b.Name, Uplinks: map[string]int{}}
				rows[[2]string{a.Name, b.Name}] = r
				order = append(order, r)
			}
		}
	}
	var ends []*switchEnd
	defer func() {
		for _, e := range ends {
			e.close()
		}
	}()
	for _, s := range switches {
		e := &switchEnd{Switch: s}
		ends = append(ends, e)
		left := func(iface string, id ID) {
			mu.Lock()
			defer mu.Unlock()
			if r := rows[[2]string{id.Source, id.Dest}]; r != nil && id.Run == run && id.Source == s.Name {
				r.Uplinks[iface]++
			}
			seen()
		}
		came := func(id ID) {
			mu.Lock()
			if r := rows[[2]string{id.Source, id.Dest}]; r != nil && id.Run == run && id.Dest == s.Name {
				r.Received++
			}
			mu.Unlock()
			seen()
		}
		if err := e.open(left, came); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	pace := pacer{rate: 20000}
	for _, from := range ends {
		for _, to := range ends {
			if from == to {
				continue
			}
			row := rows[[2]string{from.Name, to.Name}]
			for i, c := range from.socks {
				if err := pace.wait(ctx); err != nil {
					return nil, fmt.Errorf("underlay check: %w", err)
				}
				id := ID{Run: run, Kind: "underlay", Source: from.Name, Dest: to.Name, Seq: i}
				_, _ = c.WriteToUDPAddrPort(id.Bytes(), netip.AddrPortFrom(to.Loopback, port)) // a refusal shows as loss
				row.Sent++
			}
		}
	}
	// A busy machine may take long to read all of it, but always reads some.
	quiet := time.NewTimer(time.Second)
	defer quiet.Stop()
	whole := func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, r := range order {
			n := 0
			for _, c := range r.Uplinks {
				n += c
			}
			if r.Received < r.Sent || n < r.Sent {
				return false
			}
		}
		return true
	}
	for late := false; !late && !whole(); {
		select {
		case <-arrived:
			quiet.Reset(time.Second)
		case <-quiet.C:
			late = true
		case <-ctx.Done():
			return nil, fmt.Errorf("underlay check: %w", ctx.Err())
		}
	}
	mu.Lock()
	defer mu.Unlock()
	result := make([]PathRow, len(order))
	for i, r := range order {
		result[i] = *r
		result[i].Uplinks = map[string]int{}
		for k, n := range r.Uplinks {
			result[i].Uplinks[k] = n
		}
	}
	return result, nil
}

// open opens a socket per flow on the loopback, one to receive on, and a tap
// on each uplink.
func (e *switchEnd) open(left func(string, ID), came func(ID)) error {
	err := netns.Do(e.Namespace, func() error {
		var err error
		if e.rx, err = listenOn(e.Loopback, port); err != nil {
			return err
		}
		for range flows {
			c, err := listenOn(e.Loopback, 0)
			if err != nil {
				return err
			}
			e.socks = append(e.socks, c)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, u := range e.Uplinks {
		t, err := OpenTap(e.Namespace, u, func(frame []byte, out bool) {
			if !out {
				return
			}
			p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
			if udp, _ := p.Layer(layers.LayerTypeUDP).(*layers.UDP); udp != nil {
				if id, ok := ParseID(udp.Payload); ok {
					left(u, id)
				}
			}
		})
		if err != nil {
			return err
		}
		e.taps = append(e.taps, t)
	}
	go func(c *net.UDPConn) { // ends when the socket is closed
		buf := make([]byte, 2048)
		for {
			n, _, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if id, ok := ParseID(buf[:n]); ok {
				came(id)
			}
		}
	}(e.rx)
	return nil
}

func (e *switchEnd) close() {
	for _, t := range e.taps {
		t.Close()
	}
	for _, c := range e.socks {
		c.Close()
	}
	if e.rx != nil {
		e.rx.Close()
	}
}
