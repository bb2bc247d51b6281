package probe

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Uplink is a hypervisor's interface to the fabric.
type Uplink struct {
	Node      string
	Namespace string
	Interface string
	VTEP      netip.Addr
}

// BroadcastRow is one kind of broadcast on one network.
type BroadcastRow struct {
	Tenant     string `json:"tenant"`
	Network    string `json:"network"`
	Kind       string `json:"kind"` // 255.255.255.255, 10.0.0.255, ff02::1
	Sent       int    `json:"sent"`
	Expected   int    `json:"expected"` // copies, one per other host of the network
	Seen       int    `json:"seen"`
	Lost       int    `json:"lost"`
	Leaked     int    `json:"leaked"`
	Duplicated int    `json:"duplicated"`
	// Tunnels counts copies that came in on uplinks of hypervisors, as Sent those of
	// the last try; Stray those at hypervisors that do not have the network, or beyond
	// the first, of all tries.
	Tunnels int `json:"tunnels"`
	Stray   int `json:"stray"`
}

// BroadcastReport is the result of a broadcast check.
type BroadcastReport struct {
	Rows []BroadcastRow `json:"rows"`
	// Edges are there when hosts are on more than one kind of edge.
	Edges    []EdgeRow `json:"edges,omitempty"`
	Failures []Failure `json:"failures"`
	Took     string    `json:"took"`
}

// OK reports whether everything was as expected.
func (r *BroadcastReport) OK() bool { return len(r.Failures) == 0 }

// shot is one broadcast by one host.
type shot struct {
	from int
	to   netip.Addr
	seq  int
}

// subnetBroadcast is the directed broadcast address of an IPv4 subnet.
func subnetBroadcast(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(a)
}

// shots lists what each host sends: to all ones, to its subnets' broadcast
// addresses and to all IPv6 nodes.
func shots(hosts []Host) []shot {
	var all []shot
	add := func(from int, to netip.Addr) { all = append(all, shot{from, to, len(all) + 1}) }
	for i, h := range hosts {
		if h.Tenant == "" {
			continue
		}
		if h.has(false) {
			add(i, netip.AddrFrom4([4]byte{255, 255, 255, 255}))
		}
		for _, s := range h.Subnets {
			if s.Addr().Is4() {
				add(i, subnetBroadcast(s))
			}
		}
		add(i, netip.IPv6LinkLocalAllNodes())
	}
	return all
}

// arrival is one broadcast at one receiver.
type arrival struct {
	seq int
	at  string
}

// tunnelled is one broadcast coming in by one hypervisor's uplink.
type tunnelled struct {
	arrival
	vni uint32
}

// Broadcast has each host send broadcasts and counts the copies: one for each
// other host of its network, none elsewhere; and on the uplinks one for each
// other VTEP that has the network. A broadcast is sent once more, under a
// new number, when a host got no copy of the first, up to the tries.
func (f *Field) Broadcast(ctx context.Context, uplinks []Uplink, o CheckOptions) (*BroadcastReport, error) {
	o.defaults()
	began := time.Now()
	b := &broadcast{Field: f, kind: f.round("broadcast"), copies: map[arrival]int{}, tunnels: map[tunnelled]int{}}
	taps, err := b.tap(uplinks)
	defer func() {
		for _, t := range taps {
			t.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	defer f.collect(func(r Receipt) {
		if r.Kind == b.kind {
			b.copies[arrival{r.Seq, r.At}]++
		}
	})()
	b.shots = shots(f.Hosts)
	last := b.shots
	pace := pacer{rate: min(o.Rate, 2000)} // each is many
	for try := 1; ; try++ {
		for _, s := range last {
			if err := pace.wait(ctx); err != nil {
				return nil, fmt.Errorf("broadcast check: %w", err)
			}
			_ = f.send(s.from, s.to, ID{Kind: b.kind, Source: f.Hosts[s.from].Name, Dest: "*", Seq: s.seq}) // a refusal shows as loss
		}
		f.wait(ctx, o.Wait, func() bool { return len(b.unseen(last)) == 0 })
		var again []shot
		f.locked(func() bool { again = b.unseen(last); return true })
		if len(again) == 0 || try == o.Tries {
			break
		}
		last = b.again(again)
	}
	f.wait(ctx, 300*time.Millisecond, func() bool { return false })
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("broadcast check: %w", err)
	}
	var rep *BroadcastReport
	f.locked(func() bool { rep = b.report(uplinks); return true })
	rep.Took = time.Since(began).Round(time.Millisecond).String()
	return rep, nil
}

// broadcast is one run of the check; its maps are guarded by the field's lock.
type broadcast struct {
	*Field
	kind    string
	shots   []shot
	retried map[int]bool // numbers that were sent again under another
	copies  map[arrival]int
	tunnels map[tunnelled]int
}

// tap counts tunnelled broadcasts that come in on each uplink.
func (b *broadcast) tap(uplinks []Uplink) ([]*Tap, error) {
	var taps []*Tap
	for _, u := range uplinks {
		t, err := OpenTap(u.Namespace, u.Interface, func(frame []byte, out bool) {
			if out {
				return
			}
			vni, id, dst, ok := parseVXLAN(frame)
			if !ok || id.Run != b.run || id.Kind != b.kind || dst != u.VTEP {
				return
			}
			b.mu.Lock()
			b.tunnels[tunnelled{arrival{id.Seq, u.Node}, vni}]++
			b.mu.Unlock()
		})
		if err != nil {
			return taps, fmt.Errorf("listen on %s of %s: %w", u.Interface, u.Node, err)
		}
		taps = append(taps, t)
	}
	return taps, nil
}

// parseVXLAN finds a probe inside a VXLAN packet.
func parseVXLAN(frame []byte) (vni uint32, id ID, dst netip.Addr, ok bool) {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	vx, _ := p.Layer(layers.LayerTypeVXLAN).(*layers.VXLAN)
	outer := p.NetworkLayer()
	if vx == nil || outer == nil {
		return 0, id, dst, false
	}
	dst, _ = netip.AddrFromSlice(outer.NetworkFlow().Dst().Raw())
	inner := gopacket.NewPacket(vx.LayerPayload(), layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	udp, _ := inner.Layer(layers.LayerTypeUDP).(*layers.UDP)
	if udp == nil {
		return 0, id, dst, false
	}
	id, ok = ParseID(udp.Payload)
	return vx.VNI, id, dst, ok
}

// members are the other hosts of the network of a shot's sender.
func (b *broadcast) members(s shot) []Host {
	from := b.Hosts[s.from]
	var ms []Host
	for _, h := range b.Hosts {
		if h.Name != from.Name && from.sameNetwork(h) && h.has(s.to.Is6()) {
			ms = append(ms, h)
		}
	}
	return ms
}

// unseen are the shots of which some member has no copy.
func (b *broadcast) unseen(ss []shot) []shot {
	var list []shot
	for _, s := range ss {
		if slices.ContainsFunc(b.members(s), func(h Host) bool { return b.copies[arrival{s.seq, h.Name}] == 0 }) {
			list = append(list, s)
		}
	}
	return list
}

// again gives shots new numbers.
func (b *broadcast) again(ss []shot) []shot {
	if b.retried == nil {
		b.retried = map[int]bool{}
	}
	var next []shot
	for _, s := range ss {
		b.retried[s.seq] = true
		s.seq = len(b.shots) + 1
		b.shots = append(b.shots, s)
		next = append(next, s)
	}
	return next
}

func (b *broadcast) report(uplinks []Uplink) *BroadcastReport {
	rep := &BroadcastReport{Failures: []Failure{}}
	rows := map[[3]string]*BroadcastRow{}
	var order [][3]string
	edges := edgeRows{}
	for _, s := range b.shots {
		from := b.Hosts[s.from]
		b.countEdges(edges, s)
		k := [3]string{from.Tenant, from.Network, s.to.String()}
		if rows[k] == nil {
			rows[k] = &BroadcastRow{Tenant: k[0], Network: k[1], Kind: k[2]}
			order = append(order, k)
		}
		b.judge(rep, rows[k], s, uplinks)
	}
	slices.SortFunc(order, func(x, y [3]string) int {
		return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1]), cmp.Compare(x[2], y[2]))
	})
	for _, k := range order {
		rep.Rows = append(rep.Rows, *rows[k])
	}
	rep.Edges = edges.sorted()
	return rep
}

// countEdges sums the copies of one shot by kinds of edges. A shot that was
// repeated counts by its repetition.
func (b *broadcast) countEdges(edges edgeRows, s shot) {
	for _, h := range b.members(s) {
		row, n := edges.at(b.Hosts[s.from], h), b.copies[arrival{s.seq, h.Name}]
		if !b.retried[s.seq] {
			row.Expected++
			row.Seen += min(n, 1)
		}
		row.Duplicated += max(n-1, 0)
	}
}

// judge counts the copies of one shot.
func (b *broadcast) judge(rep *BroadcastReport, row *BroadcastRow, s shot, uplinks []Uplink) {
	from := b.Hosts[s.from]
	fail := func(dest, what, detail string) {
		rep.Failures = append(rep.Failures, Failure{Flow{from.Name, dest, s.to.Is6()}, what, s.to.String() + ": " + detail})
	}
	first := !b.retried[s.seq]
	members := map[string]bool{}
	vteps := map[netip.Addr]bool{}
	for _, h := range b.members(s) {
		members[h.Name] = true
	}
	for _, h := range b.Hosts {
		if h.Name != from.Name && from.sameNetwork(h) && h.VTEP != from.VTEP {
			vteps[h.VTEP] = true
		}
	}
	if first {
		row.Sent++
		row.Expected += len(members)
	}
	for _, h := range b.Hosts {
		n := b.copies[arrival{s.seq, h.Name}]
		switch {
		case h.Name == from.Name:
			// A host may hear its own ff02::1 by its own kernel's loop.
		case members[h.Name] && n == 0 && first:
			row.Lost++
			fail(h.Name, "lost", "no copy")
		case members[h.Name]:
			if first {
				row.Seen++
			}
			if n > 1 {
				row.Duplicated += n - 1
				fail(h.Name, "duplicated", fmt.Sprintf("%d copies", n))
			}
		case n > 0 && !(from.sameNetwork(h)):
			row.Leaked += n
			fail(h.Name, "leaked", fmt.Sprintf("%d copies at %s", n, h.Name))
		}
	}
	b.judgeTunnels(row, s, uplinks, vteps, fail)
}

// judgeTunnels counts the copies of one shot on the uplinks.
func (b *broadcast) judgeTunnels(row *BroadcastRow, s shot, uplinks []Uplink, vteps map[netip.Addr]bool, fail func(dest, what, detail string)) {
	at := map[string]int{}
	for k, n := range b.tunnels {
		if k.seq == s.seq {
			at[k.at] += n
		}
	}
	for _, u := range uplinks {
		n := at[u.Node]
		if !b.retried[s.seq] {
			row.Tunnels += n
		}
		want := 0
		if vteps[u.VTEP] {
			want = 1
		}
		if n > want {
			row.Stray += n - want
			fail(u.Node, "stray", fmt.Sprintf("%d copies on the uplink, %d expected", n, want))
		}
	}
}
