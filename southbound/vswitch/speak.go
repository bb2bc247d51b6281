package vswitch

import (
	"context"
	"time"

	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// heardMost bounds the announcements that wait to be told; more are dropped, for
// one is enough.
const heardMost = 256

// Announce has the bridge speak for a port once the port is served: what came
// to a new place says so to those that learn from frames. It never blocks.
func (d *Driver) Announce(p overlay.LocalPort) {
	d.mu.Lock()
	d.speak[p.Port] = p
	d.mu.Unlock()
	select {
	case d.poke <- struct{}{}:
	default:
	}
}

// speakNow sends the announcements of ports that are served by now.
func (s *connection) speakNow() error {
	s.forgetTold()
	s.Driver.mu.Lock()
	var ready []overlay.LocalPort
	for r, p := range s.speak {
		if l, ok := s.done.local[r]; ok && l.Equal(p) && !l.Standby {
			ready = append(ready, l)
			delete(s.speak, r)
		}
	}
	s.Driver.mu.Unlock()
	for _, l := range ready {
		for _, f := range announcements(l) {
			if err := s.conn.SendFrame(l.OFPort, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// againAfter is how soon the same port's announcements are told again.
const againAfter = time.Second

// hear has announcements of ports in standby handed to serve.
func (s *connection) hear(ctx context.Context) error {
	return s.conn.ReceivePackets(ctx, func(p openflow.PacketIn) {
		switch {
		case p.Cookie&cookieMarkMask != cookieMark:
			return
		case p.Table == tableICMP:
			s.reported.Put(p)
			return
		case p.Table != tableAdmission:
			return
		}
		select {
		case s.heard <- p.InPort:
		default:
		}
	})
}

// announced tells the feed that a port in standby has spoken.
func (s *connection) announced(ofPort uint32) {
	for r, l := range s.done.local {
		if l.OFPort != ofPort || !l.Standby {
			continue
		}
		if now := time.Now(); now.Sub(s.told[r]) > againAfter {
			s.told[r] = now
			s.feed.Announced(l.Interface)
		}
	}
	s.forgetTold()
}

// forgetTold forgets whom the feed was told of: long ago, or who has been in use
// since.
func (s *connection) forgetTold() {
	for r, at := range s.told {
		if l, ok := s.done.local[r]; !ok || !l.Standby || time.Since(at) > againAfter {
			delete(s.told, r)
		}
	}
}

// inUse are the ports to which our flows deliver.
func inUse(has flowSet) map[uint32]bool {
	out := map[uint32]bool{}
	for _, f := range has {
		if f.Table == tableLocal {
			for _, o := range f.Instructions.Outputs() {
				out[o] = true
			}
		}
	}
	return out
}
