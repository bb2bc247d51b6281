package probe

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/weft-sdn/weft/lab/netns"
)

// CheckOptions bound a check.
type CheckOptions struct {
	Tries int           // per pair, before it counts as lost; 3 when zero
	Wait  time.Duration // for an answer to each try; 1.2 s when zero
	Rate  int           // probes per second; 10000 when zero
}

func (o *CheckOptions) defaults() {
	o.Tries = cmp.Or(o.Tries, 3)
	o.Wait = cmp.Or(o.Wait, 1200*time.Millisecond)
	o.Rate = cmp.Or(o.Rate, 10000)
}

// Flow is one direction between two hosts by one address family.
type Flow struct {
	Source string `json:"source"`
	Dest   string `json:"destination"`
	IPv6   bool   `json:"ipv6"`
}

// String is "vm1 > vm2 IPv4".
func (f Flow) String() string {
	if f.IPv6 {
		return f.Source + " > " + f.Dest + " IPv6"
	}
	return f.Source + " > " + f.Dest + " IPv4"
}

// Row sums the flows from one tenant to another.
type Row struct {
	From       string `json:"from"`
	To         string `json:"to"`
	Pairs      int    `json:"pairs"`    // ordered pairs of hosts
	Expected   int    `json:"expected"` // flows that must arrive
	Seen       int    `json:"seen"`     // flows that did
	Lost       int    `json:"lost"`
	Leaked     int    `json:"leaked"` // copies at hosts of To that were not for them
	Duplicated int    `json:"duplicated"`
}

// EdgeRow sums the flows, or the copies of broadcasts, from hosts on one kind of
// edge to hosts on another.
type EdgeRow struct {
	From       string `json:"from"`
	To         string `json:"to"`
	Expected   int    `json:"expected"`
	Seen       int    `json:"seen"`
	Duplicated int    `json:"duplicated"`
}

// edgeRows collects EdgeRows.
type edgeRows map[[2]string]*EdgeRow

func (m edgeRows) at(from, to Host) *EdgeRow {
	k := [2]string{from.Edge, to.Edge}
	if m[k] == nil {
		m[k] = &EdgeRow{From: k[0], To: k[1]}
	}
	return m[k]
}

// sorted lists the rows when there is more than one kind of edge.
func (m edgeRows) sorted() []EdgeRow {
	if len(m) < 2 {
		return nil
	}
	var out []EdgeRow
	for _, k := range slices.SortedFunc(maps.Keys(m), func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
	}) {
		out = append(out, *m[k])
	}
	return out
}

// Failure is one flow that is not as expected.
type Failure struct {
	Flow   Flow   `json:"flow"`
	What   string `json:"what"` // lost, leaked, duplicated, flooded, stray
	Detail string `json:"detail,omitempty"`
}

// Report is the result of a check.
type Report struct {
	Hosts int   `json:"hosts"`
	Sent  int   `json:"sent"`
	Rows  []Row `json:"rows"`
	// Edges are there when hosts are on more than one kind of edge.
	Edges []EdgeRow `json:"edges,omitempty"`
	// Flooded counts frames for one host that came to the interface of
	// another; Unlearned those of them that a hardware VTEP sent to its own
	// ports, because the station had not spoken there yet.
	Flooded   int       `json:"flooded"`
	Unlearned int       `json:"unlearned"`
	Failures  []Failure `json:"failures"`
	Took      string    `json:"took"`
}

// OK reports whether everything was as expected.
func (r *Report) OK() bool { return len(r.Failures) == 0 }

// expectation is what a set of hosts must see of each other.
type expectation struct {
	reach []target // must arrive
	never []target // must not, but is tried
}

type target struct {
	flow Flow
	from int
	to   netip.Addr
}

// expect derives from the hosts' tenants and networks which flows must
// arrive: all between two hosts of one network, by each family that both
// have. Towards hosts of other networks all their addresses are tried that
// mean nobody in the sender's own network, nor behind its router.
func expect(hosts []Host) expectation {
	var e expectation
	type place struct{ tenant, network, router string }
	taken := map[place]map[netip.Addr]bool{}
	for _, h := range hosts {
		for _, k := range []place{{h.Tenant, h.Network, ""}, {h.Tenant, "", h.Router}} {
			if taken[k] == nil {
				taken[k] = map[netip.Addr]bool{}
			}
			for _, a := range h.Addresses {
				taken[k][a] = true
			}
		}
	}
	means := func(s Host, a netip.Addr) bool { // somebody whom the sender may reach
		return taken[place{s.Tenant, s.Network, ""}][a] || s.Router != "" && taken[place{s.Tenant, "", s.Router}][a]
	}
	for i, s := range hosts {
		for _, d := range hosts {
			if s.Name == d.Name {
				continue
			}
			for _, a := range d.Addresses {
				t := target{Flow{s.Name, d.Name, a.Is6()}, i, a}
				switch {
				case s.sameNetwork(d):
					if s.has(a.Is6()) {
						e.reach = append(e.reach, t)
					}
				case !means(s, a):
					e.never = append(e.never, t)
				}
			}
		}
	}
	return e
}

func (h Host) has(v6 bool) bool {
	return slices.ContainsFunc(h.Addresses, func(a netip.Addr) bool { return a.Is6() == v6 })
}

// copyKey names one datagram at one receiver.
type copyKey struct {
	flow Flow
	seq  int
	at   string
}

// Check tries all pairs of hosts.
func (f *Field) Check(ctx context.Context, o CheckOptions) (*Report, error) {
	o.defaults()
	began := time.Now()
	e := expect(f.Hosts)
	copies := map[copyKey]int{}
	done := map[Flow]bool{}
	kind := f.round("check")
	defer f.collect(func(r Receipt) {
		// What a host hears of itself never left it: it has the address that
		// it sent to.
		if r.Kind != kind || r.At == r.Source {
			return
		}
		flow := Flow{r.Source, r.Dest, r.IPv6}
		copies[copyKey{flow: flow, seq: r.Seq, at: r.At}]++
		if r.At == r.Dest {
			done[flow] = true
		}
	})()
	flooded := map[copyKey]int{}
	taps, err := f.tapFloods(kind, flooded)
	defer func() {
		for _, t := range taps {
			t.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	sent := 0
	pace := pacer{rate: o.Rate}
	seq := 0
	try := func(ts []target) error {
		for _, t := range ts {
			if f.locked(func() bool { return done[t.flow] }) {
				continue
			}
			if err := pace.wait(ctx); err != nil {
				return fmt.Errorf("check: %w", err)
			}
			// A refusal by the sender's kernel shows as loss.
			seq++
			if f.send(t.from, t.to, ID{Kind: kind, Source: t.flow.Source, Dest: t.flow.Dest, Seq: seq}) == nil {
				sent++
			}
		}
		return nil
	}
	for range o.Tries {
		if err := try(e.reach); err != nil {
			return nil, err
		}
		f.wait(ctx, o.Wait, func() bool {
			return !slices.ContainsFunc(e.reach, func(t target) bool { return !done[t.flow] })
		})
	}
	// What must not come is tried once, when all interfaces work for sure. It
	// has no end to wait for: give it the time that ARP and a flood would need.
	if err := try(e.never); err != nil {
		return nil, err
	}
	f.wait(ctx, 300*time.Millisecond, func() bool { return false })
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	var rep *Report
	f.locked(func() bool {
		rep = f.report(e, copies, done)
		f.judgeFloods(rep, flooded)
		return true
	})
	rep.Sent, rep.Took = sent, time.Since(began).Round(time.Millisecond).String()
	return rep, nil
}

// tapFloods listens at every host's interface for probes that are addressed to
// another host's MAC.
func (f *Field) tapFloods(kind string, flooded map[copyKey]int) ([]*Tap, error) {
	var taps []*Tap
	for _, h := range f.Hosts {
		var own net.HardwareAddr
		err := netns.Do(h.Namespace, func() error {
			i, err := net.InterfaceByName(h.Interface)
			if err == nil {
				own = i.HardwareAddr
			}
			return err
		})
		if err != nil {
			return taps, fmt.Errorf("find %s of %s: %w", h.Interface, h.Name, err)
		}
		t, err := OpenTap(h.Namespace, h.Interface, func(frame []byte, out bool) {
			if out || len(frame) < 14 || frame[0]&1 == 1 || bytes.Equal(frame[:6], own) {
				return
			}
			p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
			udp, _ := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
			if udp == nil {
				return
			}
			id, ok := ParseID(udp.Payload)
			if !ok || id.Run != f.run || id.Kind != kind {
				return
			}
			f.mu.Lock()
			flooded[copyKey{Flow{id.Source, id.Dest, frame[12] == 0x86}, id.Seq, h.Name}]++
			f.mu.Unlock()
		})
		if err != nil {
			return taps, fmt.Errorf("listen on %s of %s: %w", h.Interface, h.Name, err)
		}
		taps = append(taps, t)
	}
	return taps, nil
}

// judgeFloods adds what came to hosts that it was not addressed to. A switch
// that learns may send a frame for a port that was silent to all its ports.
func (f *Field) judgeFloods(r *Report, flooded map[copyKey]int) {
	for _, k := range slices.SortedFunc(maps.Keys(flooded), func(a, b copyKey) int {
		return cmp.Or(cmp.Compare(a.flow.String(), b.flow.String()), cmp.Compare(a.seq, b.seq), cmp.Compare(a.at, b.at))
	}) {
		at, dest := f.Hosts[f.index[k.at]], f.Hosts[f.index[k.flow.Dest]]
		if at.Edge == HardwareVTEP && at.VTEP == dest.VTEP && at.sameNetwork(dest) {
			r.Unlearned += flooded[k]
			continue
		}
		r.Flooded += flooded[k]
		r.Failures = append(r.Failures, Failure{k.flow, "flooded", fmt.Sprintf("%d at the interface of %s", flooded[k], k.at)})
	}
}

// report compares what was seen with what was expected.
func (f *Field) report(e expectation, copies map[copyKey]int, done map[Flow]bool) *Report {
	rep := &Report{Hosts: len(f.Hosts), Failures: []Failure{}}
	rows := map[[2]string]*Row{}
	row := func(from, to string) *Row {
		k := [2]string{f.tenant(from), f.tenant(to)}
		if rows[k] == nil {
			rows[k] = &Row{From: k[0], To: k[1]}
		}
		return rows[k]
	}
	for _, s := range f.Hosts {
		for _, d := range f.Hosts {
			if s.Name != d.Name {
				row(s.Name, d.Name).Pairs++
			}
		}
	}
	edges := edgeRows{}
	edge := func(t Flow) *EdgeRow { return edges.at(f.Hosts[f.index[t.Source]], f.Hosts[f.index[t.Dest]]) }
	for _, t := range e.reach {
		r := row(t.flow.Source, t.flow.Dest)
		r.Expected++
		edge(t.flow).Expected++
		if done[t.flow] {
			r.Seen++
			edge(t.flow).Seen++
			continue
		}
		r.Lost++
		rep.Failures = append(rep.Failures, Failure{t.flow, "lost", "to " + t.to.String()})
	}
	wanted := map[Flow]bool{}
	for _, t := range e.reach {
		wanted[t.flow] = true
	}
	keys := slices.SortedFunc(maps.Keys(copies), func(a, b copyKey) int {
		return cmp.Or(cmp.Compare(a.flow.String(), b.flow.String()), cmp.Compare(a.seq, b.seq), cmp.Compare(a.at, b.at))
	})
	for _, k := range keys {
		n, r := copies[k], row(k.flow.Source, k.at)
		switch {
		case k.at != k.flow.Dest:
			r.Leaked += n
			rep.Failures = append(rep.Failures, Failure{k.flow, "leaked", fmt.Sprintf("%d at %s (tenant %s)", n, k.at, f.tenant(k.at))})
		case !wanted[k.flow]:
			r.Leaked += n
			rep.Failures = append(rep.Failures, Failure{k.flow, "leaked", "arrived although the two share no network"})
		case n > 1:
			r.Duplicated += n - 1
			edge(k.flow).Duplicated += n - 1
			rep.Failures = append(rep.Failures, Failure{k.flow, "duplicated", fmt.Sprintf("%d copies", n)})
		}
	}
	rep.Edges = edges.sorted()
	for _, k := range slices.SortedFunc(maps.Keys(rows), func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
	}) {
		rep.Rows = append(rep.Rows, *rows[k])
	}
	return rep
}

// tenant is a host's tenant, "-" when it has none.
func (f *Field) tenant(host string) string {
	if i, ok := f.index[host]; ok && f.Hosts[i].Tenant != "" {
		return f.Hosts[i].Tenant
	}
	return "-"
}
