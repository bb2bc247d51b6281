package vswitch

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/openflow"
	"github.com/weft-sdn/weft/southbound/service"
)

// Times and bounds of the responder.
const (
	askedMost      = 256               // requests that wait; the meters let few in
	advertiseLeast = 200 * time.Second // between unsolicited advertisements (RFC 4861 section 6.2.1)
	advertiseMost  = 600 * time.Second
	watchEvery     = 5 * time.Second // the counters of what is dropped
	quietTime      = time.Minute     // without new drops until an alarm ends
)

// responder answers what ports ask the network, over the connection by which it
// came, and watches the counters of what the service table drops. It runs beside
// the session, so that a station need not wait until a bundle is sent; it ends
// with the connection.
type responder struct {
	conn  *openflow.Conn
	feed  southbound.Feed
	log   *slog.Logger
	asked *openflow.PacketQueue

	mu    sync.Mutex
	ports map[uint32]overlay.LocalPort // that have services, by port number
	fresh []overlay.LocalPort          // to be told at once, since what they are told changed
	poke  chan struct{}                // capacity 1: there are fresh ones

	counts map[flowKey]uint64 // of the drops, when they were read last
	alarms map[southbound.AlarmKey]time.Time
	began  bool // counts is filled
	served bool // ports was set once

	stop context.CancelFunc
	done sync.WaitGroup
}

func newResponder(c *openflow.Conn, feed southbound.Feed, log *slog.Logger) *responder {
	ctx, stop := context.WithCancel(context.Background())
	r := &responder{conn: c, feed: feed, log: log, asked: openflow.NewPacketQueue(askedMost), ports: map[uint32]overlay.LocalPort{}, poke: make(chan struct{}, 1),
		counts: map[flowKey]uint64{}, alarms: map[southbound.AlarmKey]time.Time{}, stop: stop}
	r.done.Go(func() { r.run(ctx) })
	return r
}

// close ends the responder and its alarms: nobody watches their cause any more.
func (r *responder) close() {
	r.stop()
	r.done.Wait()
	for key := range r.alarms {
		r.feed.Alarm(key, "")
	}
}

// serve takes the local ports as the device has them now. Those that are told
// something new get an advertisement at once; all do in their time, so that a
// controller that starts does not speak to everybody.
func (r *responder) serve(local map[intent.Ref]overlay.LocalPort) {
	now := map[uint32]overlay.LocalPort{}
	for _, l := range local {
		if l.Services != nil && !l.Standby {
			now[l.OFPort] = l
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.served {
		for p, l := range now {
			if was, ok := r.ports[p]; !ok || was.Port != l.Port || !was.Services.Equal(l.Services) {
				r.fresh = append(r.fresh, l)
			}
		}
		for p, was := range r.ports {
			if _, ok := now[p]; ok {
				continue
			}
			if l, ok := local[was.Port]; ok && l.OFPort == p {
				r.fresh = append(r.fresh, service.Retracted(was)) // its network tells nothing any more
			}
		}
	}
	r.ports, r.served = now, true
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// port is the port that has a number, if it has services.
func (r *responder) port(ofPort uint32) (overlay.LocalPort, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.ports[ofPort]
	return l, ok
}

func (r *responder) run(ctx context.Context) {
	advertise := time.NewTimer(rand.N(advertiseLeast))
	defer advertise.Stop()
	watch := time.NewTicker(watchEvery)
	defer watch.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-r.conn.Done():
			return
		case p := <-r.asked.C():
			err = r.answer(p)
		case <-r.poke:
			if !r.began {
				err = r.watch(ctx)
			}
			if err == nil {
				err = r.advertiseFresh()
			}
		case <-advertise.C:
			err = r.advertiseAll()
			advertise.Reset(advertiseLeast + rand.N(advertiseMost-advertiseLeast))
		case <-watch.C:
			err = r.watch(ctx)
		}
		if err != nil && r.conn.Err() != nil {
			return // the session says why
		} else if err != nil && ctx.Err() == nil {
			r.log.Warn("services", "err", err)
		}
	}
}

// answer answers one request.
func (r *responder) answer(p openflow.PacketIn) error {
	l, ok := r.port(p.InPort)
	if !ok {
		return nil
	}
	a, err := service.Request(p.Data, l)
	if err != nil {
		r.log.Debug("request not answered", "port", l.Port.String(), "err", err)
		return nil
	}
	r.log.Debug("request answered", "port", l.Port.String(), "did", a.Did)
	r.judge(l, a)
	if a.Frame == nil {
		return nil
	}
	return r.send(l, a.Frame)
}

// judge raises an alarm when a station declines its address, and ends it when it
// takes it.
func (r *responder) judge(l overlay.LocalPort, a service.Answer) {
	key := func(a fmt.Stringer) southbound.AlarmKey {
		return southbound.AlarmKey{Reason: southbound.AlarmDeclined, Object: fmt.Sprintf("%s address %s", l.Port, a)}
	}
	switch {
	case a.Declined.IsValid():
		r.raise(key(a.Declined), fmt.Sprintf("%s declined %s: its station found another one with that address", l.Port, a.Declined), time.Time{})
	case a.Bound.IsValid():
		r.end(key(a.Bound))
	}
}

func (r *responder) send(l overlay.LocalPort, frame []byte) error {
	return r.conn.SendPacket(openflow.PacketOut{InPort: openflow.PortController, Actions: []openflow.Action{openflow.Output(l.OFPort)}, Data: frame})
}

// advertiseFresh tells those whose network says something new.
func (r *responder) advertiseFresh() error {
	r.mu.Lock()
	ports := r.fresh
	r.fresh = nil
	r.mu.Unlock()
	return r.advertiseEach(ports)
}

func (r *responder) advertiseAll() error {
	r.mu.Lock()
	ports := make([]overlay.LocalPort, 0, len(r.ports))
	for _, l := range r.ports {
		ports = append(ports, l)
	}
	r.mu.Unlock()
	return r.advertiseEach(ports)
}

func (r *responder) advertiseEach(ports []overlay.LocalPort) error {
	for _, l := range ports {
		if f := service.Advertisement(l); f != nil {
			if err := r.send(l, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// raise raises an alarm once. It ends when nothing is added for quietTime after
// now; with a zero time when it is ended.
func (r *responder) raise(key southbound.AlarmKey, message string, now time.Time) {
	if _, ok := r.alarms[key]; !ok {
		r.feed.Alarm(key, message)
	}
	r.alarms[key] = now
}

func (r *responder) end(key southbound.AlarmKey) {
	if _, ok := r.alarms[key]; ok {
		delete(r.alarms, key)
		r.feed.Alarm(key, "")
	}
}

// watch reads the counters of what the service table and its meters dropped, and
// tells whose rise. What was dropped before the first reading is history.
func (r *responder) watch(ctx context.Context) error {
	r.mu.Lock()
	ports := r.ports
	r.mu.Unlock()
	if len(ports) == 0 {
		clear(r.counts)
		r.began = true
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	flows, err := r.conn.DumpTable(ctx, tableService, cookieMark, cookieMarkMask)
	if err != nil {
		return err
	}
	meters, err := r.conn.MeterStats(ctx, openflow.MeterAll)
	if err != nil {
		return err
	}
	dropped := make(map[flowKey]uint64, len(flows))
	for _, f := range flows {
		if f.Priority == priorityRogue {
			dropped[keyOf(f.Flow)] = f.Packets
		}
	}
	asked := make(map[uint32]uint64, len(ports))
	for _, m := range meters {
		asked[m.ID] = m.DroppedPackets
	}
	now, counts := time.Now(), make(map[flowKey]uint64, len(dropped))
	var p pipeline
	for _, l := range ports {
		for _, g := range p.rogues(l) {
			k := keyOf(g.flow)
			counts[k] = dropped[k]
			if r.began && counts[k] > r.counts[k] {
				r.raise(southbound.AlarmKey{Reason: southbound.AlarmRogueServer, Object: fmt.Sprintf("%s: %s", l.Port, g.what)},
					fmt.Sprintf("%s sends %s, which only the network may: %d packets dropped at the switch so far", l.Port, g.what, counts[k]), now)
			}
		}
		n := asked[meterID(l.OFPort, meterService)]
		k := flowKey(fmt.Sprintf("meter %d", l.OFPort))
		counts[k] = n
		if r.began && n > r.counts[k] {
			r.raise(southbound.AlarmKey{Reason: southbound.AlarmRequestFlood, Object: l.Port.String()}, flooded(l, n), now)
		}
	}
	r.counts, r.began = counts, true
	for key, at := range r.alarms {
		if !at.IsZero() && now.Sub(at) > quietTime {
			r.end(key)
		}
	}
	return nil
}
