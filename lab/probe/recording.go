package probe

import (
	"context"
	"math/bits"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// bound opens a socket on a place's address and port, in the current namespace.
func bound(p Place, port int) (*net.UDPConn, error) {
	if p.Interface == "" {
		return listenOn(p.Address, port)
	}
	network := "udp4"
	if p.Address.Is6() {
		network = "udp6"
	}
	return listenAt(network, p.Interface, port)
}

// Recording is what was sent and what arrived while streams ran. A tick is one
// datagram of each stream.
type Recording struct {
	streams  *Streams
	run      uint32
	interval time.Duration
	began    time.Time

	ticks atomic.Int64 // that were sent
	sent  []int64      // when each tick was, nanoseconds after began

	places []sync.Mutex // each guards what arrives at one place
	got    [][]uint64   // a bit for each tick, by stream
	twice  []int        // by stream
	leaked []int        // by the place that got what was for another

	cancel context.CancelFunc
	done   chan struct{}
	end    sync.Once
}

func (s *Streams) record(run uint32, ticks int) *Recording {
	r := &Recording{streams: s, run: run, began: time.Now(), sent: make([]int64, ticks), places: make([]sync.Mutex, len(s.Places)),
		got: make([][]uint64, len(s.Streams)), twice: make([]int, len(s.Streams)), leaked: make([]int, len(s.Places)), done: make(chan struct{})}
	for i := range r.got {
		r.got[i] = make([]uint64, (ticks+63)/64)
	}
	return r
}

// Start sends all streams once each interval, until Stop or for the longest time that
// is given. One recording is made at a time.
func (s *Streams) Start(interval, longest time.Duration) *Recording {
	s.runs++
	r := s.record(s.runs, int(longest/interval)+1)
	r.interval = interval
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	s.now.Store(r)
	go func() {
		defer close(r.done)
		r.play(ctx)
	}()
	return r
}

// play sends until there is no room for more ticks.
func (r *Recording) play(ctx context.Context) {
	buf := make([]byte, streamSize)
	t := time.NewTimer(0)
	defer t.Stop()
	due := time.Now()
	for tick := range r.sent {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		r.sent[tick] = int64(time.Since(r.began))
		for i := range r.streams.Streams {
			r.streams.send(buf, r.run, i, r.streams.Streams[i].choice, tick)
		}
		r.ticks.Store(int64(tick) + 1)
		// A sender that was held up goes on from now: no burst makes up for it.
		due = due.Add(r.interval)
		if now := time.Now(); due.Before(now.Add(-r.interval)) {
			due = now
		}
		t.Reset(time.Until(due))
	}
}

// Stop ends the sending and waits until it has ended, and for what is on its way: until
// all has come of the last 100 ms, or nothing more comes for half a second. Again it does
// nothing.
func (r *Recording) Stop() {
	r.end.Do(func() {
		r.cancel()
		<-r.done
		last, since := r.arrived(), time.Now()
		for len(r.Missing(r.newest(100*time.Millisecond), r.Tick())) > 0 && time.Since(since) < 500*time.Millisecond {
			time.Sleep(5 * time.Millisecond)
			if n := r.arrived(); n != last {
				last, since = n, time.Now()
			}
		}
		r.streams.now.Store(nil)
	})
}

// newest is the first of the ticks that were sent within a time before the last one.
func (r *Recording) newest(within time.Duration) int {
	sent := r.sent[:r.Tick()]
	if len(sent) == 0 {
		return 0
	}
	at, _ := slices.BinarySearch(sent, sent[len(sent)-1]-int64(within))
	return at
}

func (r *Recording) arrived() int {
	n := 0
	for i, t := range r.streams.Streams {
		r.places[t.To].Lock()
		for _, w := range r.got[i] {
			n += bits.OnesCount64(w)
		}
		r.places[t.To].Unlock()
	}
	return n
}

func (r *Recording) arrive(place, stream, tick int) {
	r.places[place].Lock()
	defer r.places[place].Unlock()
	if stream >= len(r.got) || tick >= len(r.sent) {
		return
	}
	if r.streams.Streams[stream].To != place {
		r.leaked[place]++
		return
	}
	w, bit := &r.got[stream][tick/64], uint64(1)<<(tick%64)
	if *w&bit != 0 {
		r.twice[stream]++
	}
	*w |= bit
}

// Tick is the number of ticks that were sent so far.
func (r *Recording) Tick() int { return int(r.ticks.Load()) }

// Missing are the streams of which something that was sent in ticks from to to did
// not arrive.
func (r *Recording) Missing(from, to int) []int {
	var list []int
	for i := range r.streams.Streams {
		if r.Loss(i, from, to).Lost > 0 {
			list = append(list, i)
		}
	}
	return list
}

// StreamLoss is what one stream lost.
type StreamLoss struct {
	Sent, Lost int
	// Gap is the longest time, by when they were sent, from a datagram that arrived
	// to the next one that did, with some lost between; up to the end of what is
	// looked at, when nothing came any more.
	Gap time.Duration
}

// Loss counts what a stream lost of ticks from to to.
func (r *Recording) Loss(stream, from, to int) StreamLoss {
	to = min(to, r.Tick())
	from = max(from, 0)
	l := StreamLoss{Sent: max(to-from, 0)}
	place := r.streams.Streams[stream].To
	r.places[place].Lock()
	defer r.places[place].Unlock()
	got := r.got[stream]
	last, missed := from, false // the newest that arrived, or the first; what came after it
	for i := from; i < to; i++ {
		lost := got[i/64]&(1<<(i%64)) == 0
		if lost {
			l.Lost++
			missed = true
		}
		if missed && (!lost || i == to-1) {
			l.Gap = max(l.Gap, time.Duration(r.sent[i]-r.sent[last]))
		}
		if !lost {
			last, missed = i, false
		}
	}
	return l
}

// Pause is the longest time between two ticks: gaps can't be told from it.
func (r *Recording) Pause(from, to int) time.Duration {
	var longest int64
	for i := from + 1; i < min(to, r.Tick()); i++ {
		longest = max(longest, r.sent[i]-r.sent[i-1])
	}
	return time.Duration(longest)
}

// Strays are datagrams that came to a place they were not for, and those that came
// twice.
func (r *Recording) Strays() (leaked, twice int) {
	for i := range r.places {
		r.places[i].Lock()
		leaked += r.leaked[i]
		for s, t := range r.streams.Streams {
			if t.To == i {
				twice += r.twice[s]
			}
		}
		r.places[i].Unlock()
	}
	return leaked, twice
}
