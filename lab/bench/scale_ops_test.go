//go:build bench

package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/sim"
)

// tracker tells when the last edge of a network has a change.
type tracker struct {
	rig *rig
	mu  sync.Mutex
	all map[uint64]*arrival // by cookie
	// mods counts flow-mods by table, additions and deletions apart, but for
	// those with a cookie of skip.
	mods map[[2]uint8]int64
	skip []uint64
}

// arrival is a change that is on its way to edges.
type arrival struct {
	gone bool // a deletion is awaited, not an addition
	// standby awaits the flows by which an edge prepares for a port.
	standby bool
	// table is the one in which it is awaited, whatever the cookie; that of the
	// MACs by default.
	table uint8
	left  map[int]struct{}
	began time.Time
	done  func(time.Duration)
}

// expect has done called once all edges, but real ones, have taken the change
// of the cookie's port.
func (k *tracker) expect(cookie uint64, edges []int, a *arrival) {
	a.left = make(map[int]struct{}, len(edges))
	for _, e := range edges {
		if e >= k.rig.reals() {
			a.left[e] = struct{}{}
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	a.began = time.Now()
	k.all[cookie] = a
}

// forget gives up on a change and says on which edges it is missing.
func (k *tracker) forget(cookie uint64) (missing []int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if a := k.all[cookie]; a != nil {
		for e := range a.left {
			missing = append(missing, e)
		}
	}
	delete(k.all, cookie)
	return missing
}

// observe is called by the simulated edges.
func (k *tracker) observe(c sim.Commit) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range c.Mods {
		d := uint8(0)
		if m.Delete {
			d = 1
		}
		if !slices.Contains(k.skip, m.Cookie) {
			k.mods[[2]uint8{m.Table, d}]++
		}
		cookie := m.Cookie
		if _, ok := k.all[tableCookie(m.Table)]; ok {
			cookie = tableCookie(m.Table)
		}
		a := k.all[cookie]
		if a == nil || m.Delete != a.gone {
			continue
		}
		if at := m.Table; a.table == 0 && (a.standby && at != 0 || !a.standby && at != 30 && at != 40) {
			continue
		}
		delete(a.left, c.Edge+k.rig.reals())
		if len(a.left) == 0 {
			delete(k.all, cookie)
			a.done(c.At.Sub(a.began))
		}
	}
}

// tableCookie stands for any change of a table.
func tableCookie(table uint8) uint64 { return uint64(table) }

// since starts a count of flow-mods, but for those with given cookies; the
// function that it returns says how many there were, and in words by table.
func (k *tracker) since(skip ...uint64) func() (int64, string) {
	k.mu.Lock()
	clear(k.mods)
	k.skip = skip
	k.mu.Unlock()
	return func() (all int64, words string) {
		k.mu.Lock()
		defer k.mu.Unlock()
		var out []string
		for m, n := range k.mods {
			all += n
			out = append(out, fmt.Sprintf("table %d: %d %s", m[0], n, []string{"added", "deleted"}[m[1]]))
		}
		slices.Sort(out)
		return all, strings.Join(out, ", ")
	}
}

// spare is a port that comes and goes; its interface is plugged in.
type spare struct {
	net    *scaleNet
	edge   int
	port   *intent.Port
	cookie uint64
	there  bool // in the intent
}

func (r *rig) newSpare(n *scaleNet, edge int, name string) *spare {
	p := r.newPort(n, name)
	r.plug(edge, name)
	return &spare{net: n, edge: edge, port: p, cookie: cookieOf(n, p)}
}

func (r *rig) api(i int) *client.Client { return r.apis[i%len(r.apis)] }

func (r *rig) put(i int, o intent.Object) int64 {
	res, err := r.api(i).Put(context.Background(), o, client.PutOptions{})
	require.NoError(r.t, err)
	return res.Object.Meta().Revision
}

// toggle adds the spare's port to the intent, or deletes it.
func (s *spare) toggle(api *client.Client) error {
	var err error
	if s.there {
		_, err = api.Delete(context.Background(), s.port.Ref(), client.DeleteOptions{})
	} else {
		_, err = api.Put(context.Background(), s.port, client.PutOptions{})
	}
	if err == nil {
		s.there = !s.there
	}
	return err
}

// once makes a change and waits until the edges have it; the time counts from
// the beginning of the change.
func (r *rig) once(what string, cookie uint64, edges []int, a *arrival, change func()) time.Duration {
	done := make(chan time.Duration, 1)
	a.done = func(d time.Duration) { done <- d }
	r.track.expect(cookie, edges, a)
	change()
	select {
	case d := <-done:
		return d
	case <-time.After(2 * time.Minute):
		require.Fail(r.t, what+" never reached all edges", "missing on %v", r.track.forget(cookie))
	}
	return 0
}

// percentiles sorts.
func percentiles(ds []time.Duration) (p50, p99 time.Duration) {
	if len(ds) == 0 {
		return 0, 0
	}
	slices.Sort(ds)
	return ds[len(ds)/2], ds[len(ds)*99/100]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// without is a list without one element.
func without(l []int, x int) []int {
	return slices.DeleteFunc(slices.Clone(l), func(e int) bool { return e == x })
}

// counts are what a run of changes cost.
type counts struct {
	cpu          time.Duration
	wall         time.Duration
	mods, others int64
	bundles      int64
	most         int64 // flow-mods to the edge that got most
	bytes        int64
}

// costing measures what f costs the controller and sends, to the edges of one
// network and to all others.
func (r *rig) costing(n *scaleNet, f func()) (c counts) {
	before := map[int]int{}
	for _, e := range n.edges {
		before[e] = r.sim(e).Stats().FlowMods
	}
	was, began, used := r.farm.Totals(), time.Now(), r.cpu()
	f()
	c.cpu, c.wall = r.cpu()-used, time.Since(began)
	now := r.farm.Totals()
	c.mods, c.bundles, c.bytes = now.FlowMods-was.FlowMods, now.Bundles-was.Bundles, now.Bytes-was.Bytes
	c.others = c.mods
	for _, e := range n.edges {
		d := int64(r.sim(e).Stats().FlowMods - before[e])
		c.others -= d
		c.most = max(c.most, d)
	}
	return c
}

// idle is the controller's processor time per second while nothing happens.
func (r *rig) idle(d time.Duration) float64 {
	used := r.cpu()
	time.Sleep(d) // this is the measurement
	return (r.cpu() - used).Seconds() / d.Seconds()
}

// rate makes changes at a steady rate and reports the times from each write to
// the last edge that has it.
type rated struct {
	written, failed int
	took            []time.Duration
	bySecond        [][]time.Duration // the same by the second of arrival
	lost            int
	wall, cpu       time.Duration
	ours, machine   time.Duration // processor time of this process, and of all
	late            time.Duration // of the last write behind its time
}

// drive calls change for spares at a rate, from many workers; change returns
// what is to be expected.
func (r *rig) drive(perSecond int, d time.Duration, change func(worker int, s *spare) error) (out rated) {
	free := make(chan *spare, len(r.spares))
	for _, s := range r.spares {
		free <- s
	}
	type ticket struct{ at time.Time }
	tickets := make(chan ticket, 100000)
	var mu sync.Mutex
	var pending atomic.Int64
	began, used := time.Now(), r.cpu()
	ours, machine := cpu(r.t, os.Getpid()), busy()
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for k := range tickets {
				s := <-free
				pending.Add(1)
				a := &arrival{gone: s.there, done: func(t time.Duration) {
					mu.Lock()
					out.took = append(out.took, t)
					for at := int(time.Since(began).Seconds()); len(out.bySecond) <= at; {
						out.bySecond = append(out.bySecond, nil)
					}
					at := len(out.bySecond) - 1
					out.bySecond[at] = append(out.bySecond[at], t)
					mu.Unlock()
					pending.Add(-1)
					free <- s
				}}
				r.track.expect(s.cookie, s.net.edges, a)
				if err := change(w, s); err != nil {
					r.track.forget(s.cookie)
					mu.Lock()
					out.failed++
					if out.failed < 5 {
						fmt.Println("  a change failed:", err)
					}
					mu.Unlock()
					pending.Add(-1)
					continue // the spare is not used again
				}
				mu.Lock()
				out.written++
				out.late = time.Since(k.at)
				mu.Unlock()
			}
		})
	}
	end := began.Add(d)
	for i := 0; ; i++ {
		at := began.Add(time.Duration(i) * time.Second / time.Duration(perSecond))
		if at.After(end) {
			break
		}
		time.Sleep(time.Until(at))
		select {
		case tickets <- ticket{at}:
		default:
			i-- // far behind: wait for a place
			tickets <- ticket{at}
			i++
		}
		if time.Now().After(end) {
			break
		}
	}
	// What was not begun by now does not count: the rate was not kept.
	for len(tickets) > 0 {
		select {
		case <-tickets:
		default:
		}
	}
	close(tickets)
	wg.Wait()
	out.wall, out.cpu = time.Since(began), r.cpu()-used
	out.ours, out.machine = cpu(r.t, os.Getpid())-ours, busy()-machine
	for wait := time.Now(); pending.Load() > 0 && time.Since(wait) < time.Minute; {
		time.Sleep(5 * time.Millisecond)
	}
	out.lost = int(pending.Load())
	mu.Lock()
	defer mu.Unlock()
	return out
}
