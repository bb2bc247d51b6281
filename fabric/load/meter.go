package load

import (
	"net/netip"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Limits bound what a Meter keeps.
type Limits struct {
	Ports   int // of one switch
	Tunnels int // of all switches together: ports times pairs of VTEPs times VNIs
}

// DefaultLimits take 60 MB for tunnels.
func DefaultLimits() Limits { return Limits{Ports: 1024, Tunnels: 100_000} }

// staleAfter is how long a switch may not report until nothing is said of its load.
const staleAfter = 10 * time.Second

// forgetAfter is how long a tunnel may be idle until it is forgotten.
const forgetAfter = 30 * time.Minute

// Meter keeps the rates of all switches. Make it with New. It is for one goroutine at
// a time.
type Meter struct {
	limits   Limits
	began    time.Time
	switches map[string]*source
	tunnels  int
}

// source is one switch.
type source struct {
	clock  time.Duration // of the last report, by the switch's clock
	at     time.Duration // when the last report came; this and what follows since the meter began
	since  time.Duration // when counting began
	until  time.Duration // up to where the switch has counted
	ports  map[string]*port
	pairs  map[pair]*tunnel
	total  counter // of all tunnels
	other  *Series // of what had no room
	counts bool    // tunnels
	failed string  // why it does not count tunnels
}

// counter is one that rises.
type counter struct {
	last  uint64
	known bool
}

// rise is by how much a counter rose; one that fell began anew.
func (c *counter) rise(now uint64) float64 {
	last, known := c.last, c.known
	c.last, c.known = now, true
	switch {
	case !known:
		return 0
	case now < last:
		return float64(now)
	}
	return float64(now - last)
}

type port struct {
	rx, tx, dropped        counter
	rxBytes, txBytes, lost *Series
	speed                  float64 // bit/s; zero when it is not known
}

type pair struct {
	port     string
	from, to netip.Addr
	vni      intent.VNI
}

type tunnel struct {
	counter
	bytes *Series
}

// New returns a Meter that knows nothing yet; all times that it is told later come after
// began.
func New(l Limits, began time.Time) *Meter {
	return &Meter{limits: l, began: began, switches: map[string]*source{}}
}

// Take takes a report that came at some time. It reports whether the next one must
// have all tunnels: counting begins with one that has.
func (m *Meter) Take(node string, now time.Time, r switchstate.Load) (full bool) {
	at, s := now.Sub(m.began), m.switches[node]
	if s == nil || at-s.at > staleAfter {
		if !r.Full {
			return true
		}
		m.Forget(node)
		s = &source{since: at, until: at, ports: map[string]*port{}, pairs: map[pair]*tunnel{}}
		m.switches[node] = s
		s.at, s.clock = at, r.Clock
		return m.count(s, r, at)
	}
	from, to := s.until, at
	if d := r.Clock - s.clock; d > 0 && from+d < at {
		// By the switch's clock, gently back to ours: reports come with delay.
		to = from + d
		to += (at - to) / 16
	}
	to = max(to, from+time.Millisecond)
	s.at, s.clock = at, r.Clock
	s.until = to
	return m.count(s, r, from)
}

// count adds what rose since a time. In a first report nothing did.
func (m *Meter) count(s *source, r switchstate.Load, from time.Duration) (full bool) {
	seen := make(map[string]struct{}, len(r.Ports))
	for _, p := range r.Ports {
		seen[p.Name] = struct{}{}
		q := s.ports[p.Name]
		if q == nil {
			if len(s.ports) >= m.limits.Ports {
				continue
			}
			q = &port{rxBytes: newSeries(ofLinks[:]), txBytes: newSeries(ofLinks[:]), lost: newSeries(ofLinks[:])}
			s.ports[p.Name] = q
		}
		q.speed = float64(p.Speed) * 1e6
		q.rxBytes.Add(from, s.until, q.rx.rise(p.RxBytes))
		q.txBytes.Add(from, s.until, q.tx.rise(p.TxBytes))
		q.lost.Add(from, s.until, q.dropped.rise(p.Dropped))
	}
	for name := range s.ports {
		if _, ok := seen[name]; !ok {
			delete(s.ports, name)
		}
	}
	if s.failed = r.Error; !r.Counts {
		return false
	}
	if !s.counts && !r.Full {
		return true
	}
	m.countTunnels(s, r, from)
	return false
}

func (m *Meter) countTunnels(s *source, r switchstate.Load, from time.Duration) {
	first := !s.counts
	if s.counts = true; first {
		s.total = counter{}
	}
	rest := s.total.rise(r.Tunnel)
	for _, t := range r.Tunnels {
		k := pair{t.Port, t.From, t.To, t.VNI}
		c := s.pairs[k]
		if c == nil {
			if m.tunnels >= m.limits.Tunnels {
				continue
			}
			m.tunnels++
			// A tunnel that comes later began at zero.
			c = &tunnel{counter: counter{known: !first}, bytes: newSeries(ofTunnels[:])}
			s.pairs[k] = c
		}
		rise := c.rise(t.Bytes)
		c.bytes.Add(from, s.until, rise)
		rest -= rise
	}
	if rest > 0 && !first {
		if s.other == nil {
			s.other = newSeries(ofLinks[:])
		}
		s.other.Add(from, s.until, rest)
	}
}

// Switches is how many switches have reported.
func (m *Meter) Switches() int { return len(m.switches) }

// Forget forgets a switch.
func (m *Meter) Forget(node string) {
	if s := m.switches[node]; s != nil {
		m.tunnels -= len(s.pairs)
		delete(m.switches, node)
	}
}

// Trim forgets tunnels that have been idle for half an hour.
func (m *Meter) Trim(now time.Time) {
	for _, s := range m.switches {
		for k, t := range s.pairs {
			if t.bytes.idle(now.Sub(m.began) - forgetAfter) {
				delete(s.pairs, k)
				m.tunnels--
			}
		}
	}
}
