//go:build bench

package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
)

// single measures one port added, moved and deleted, many times.
func (r *rig) single(say sayer, file func(string) string) {
	n := r.simNet(0)
	var ss []*spare
	for i := range *scaleOps {
		ss = append(ss, r.newSpare(n, n.edges[0], fmt.Sprintf("op%d", i)))
	}
	mv := r.newSpare(n, n.edges[0], "mover")
	r.quiet()
	base := r.idle(5 * time.Second)
	run := func(what string, ops int, change func(i int) time.Duration) {
		var took []time.Duration
		c := r.costing(n, func() {
			for i := range ops {
				took = append(took, change(i))
			}
		})
		p50, p99 := percentiles(took)
		per := float64(ops)
		say("one port "+what+", p50", "ms", ms(p50))
		say("one port "+what+", p99", "ms", ms(p99))
		say("one port "+what+", controller CPU less idle", "ms", (c.cpu.Seconds()-base*c.wall.Seconds())*1000/per)
		say("one port "+what+", flow-mods in all", "", float64(c.mods)/per)
		say("one port "+what+", flow-mods to other edges", "", float64(c.others)/per)
		say("one port "+what+", flow-mods to the edge that gets most", "", float64(c.most)/per)
		say("one port "+what+", bundles in all", "", float64(c.bundles)/per)
	}
	r.profiling(file("cpu-single"), 5, func() {
		run("added", len(ss), func(i int) time.Duration {
			return r.once("an added port", ss[i].cookie, n.edges, &arrival{}, func() { require.NoError(r.t, ss[i].toggle(r.api(0))) })
		})
		a, b := n.edges[0], n.edges[1]
		r.once("the port that moves", mv.cookie, n.edges, &arrival{}, func() { require.NoError(r.t, mv.toggle(r.api(0))) })
		run("moved", *scaleOps, func(i int) time.Duration {
			r.once("the new place", mv.cookie, []int{b}, &arrival{standby: true}, func() { r.plug(b, "mover") })
			d := r.once("a move", mv.cookie, n.edges, &arrival{}, func() { r.sim(a).Unplug("mover") })
			a, b = b, a
			return d
		})
		r.once("the port that moved", mv.cookie, n.edges, &arrival{gone: true}, func() { require.NoError(r.t, mv.toggle(r.api(0))) })
		run("deleted", len(ss), func(i int) time.Duration {
			return r.once("a deleted port", ss[i].cookie, n.edges, &arrival{gone: true}, func() { require.NoError(r.t, ss[i].toggle(r.api(0))) })
		})
	})
	r.converged("single changes are undone")
}

// quiet waits until nothing is sent any more.
func (r *rig) quiet() {
	was, since := r.farm.Totals(), time.Now()
	r.await("edges are quiet", func() (bool, string) {
		if now := r.farm.Totals(); now.FlowMods != was.FlowMods || now.Transactions != was.Transactions {
			was, since = now, time.Now()
		}
		return time.Since(since) > time.Second, fmt.Sprint(was.FlowMods)
	})
}

// slowEdge measures whether an edge that reads one message a second delays the
// others of its networks.
func (r *rig) slowEdge(say sayer) {
	n := r.simNet(1)
	slow := n.edges[len(n.edges)-1]
	others := without(n.edges, slow)
	var ss []*spare
	for i := range *scaleOps {
		ss = append(ss, r.newSpare(n, n.edges[0], fmt.Sprintf("beside%d", i)))
	}
	r.quiet()
	run := func(how string) {
		var took []time.Duration
		for range 2 {
			for _, s := range ss {
				took = append(took, r.once("a change beside a slow edge", s.cookie, others, &arrival{gone: s.there}, func() { require.NoError(r.t, s.toggle(r.api(0))) }))
			}
		}
		p50, p99 := percentiles(took)
		say("other edges "+how+", p50", "ms", ms(p50))
		say("other edges "+how+", p99", "ms", ms(p99))
	}
	run("without a slow one")
	r.sim(slow).Slow(time.Second)
	run("beside one that reads one message a second")
	r.sim(slow).Slow(0)
	r.sim(slow).Stick(true)
	run("beside one that is stuck")
	r.sim(slow).Stick(false)
	r.converged("the slow edge has caught up")
}

// wideNetwork fills a network that up to a thousand hypervisors have, and has
// the last one join it again and again.
func (r *rig) wideNetwork(say sayer, file func(string) string) {
	n := r.wide
	all := make([]*spare, len(n.edges))
	for i, e := range n.edges {
		all[i] = r.newSpare(n, e, fmt.Sprintf("wide%d", i))
	}
	r.quiet()
	was, began, used := r.farm.Totals(), time.Now(), r.cpu()
	last := all[len(all)-1]
	for i := range all {
		if e := n.edges[i]; e >= r.reals() { // the last one to join is a simulated one
			last = all[i]
		}
	}
	r.profiling(file("cpu-wide"), 5, func() {
		parallel(16, len(all), func(w, i int) {
			if all[i] != last {
				require.NoError(r.t, all[i].toggle(r.api(w)))
			}
		})
		for _, s := range all {
			if s == last {
				continue
			}
			for _, e := range n.edges {
				switch {
				case e == s.edge:
					r.wantLocal[e]++
					r.wantARP[e] += 2
				case e != last.edge:
					r.wantRemote[e]++
					r.wantARP[e]++
				}
			}
		}
		r.converged("the wide network")
	})
	now := r.farm.Totals()
	say("wide network: hypervisors", "", float64(len(all)))
	say("wide network: all but one joined at once, after", "s", time.Since(began).Seconds())
	say("wide network: CPU for that", "s", (r.cpu() - used).Seconds())
	say("wide network: sent for that", "MB", float64(now.Bytes-was.Bytes)/1e6)
	say("wide network: flow-mods for that", "", float64(now.FlowMods-was.FlowMods))
	r.quiet()
	var joined, left []time.Duration
	const times = 20
	was, used = r.farm.Totals(), r.cpu()
	for range times {
		joined = append(joined, r.once("a joining hypervisor", last.cookie, n.edges, &arrival{}, func() { require.NoError(r.t, last.toggle(r.api(0))) }))
		left = append(left, r.once("a leaving hypervisor", last.cookie, without(n.edges, last.edge), &arrival{gone: true}, func() { require.NoError(r.t, last.toggle(r.api(0))) }))
	}
	r.converged("the last one left again")
	now = r.farm.Totals()
	p50, p99 := percentiles(joined)
	say("the last hypervisor joins, p50", "ms", ms(p50))
	say("the last hypervisor joins, p99", "ms", ms(p99))
	p50, _ = percentiles(left)
	say("the last hypervisor leaves, p50", "ms", ms(p50))
	say("join and leave: CPU", "ms", float64((r.cpu()-used).Milliseconds())/times)
	say("join and leave: flow-mods per edge", "", float64(now.FlowMods-was.FlowMods)/times/float64(len(n.edges)))
	say("join and leave: sent per edge", "B", float64(now.Bytes-was.Bytes)/times/float64(len(n.edges)))
}

// some picks simulated edges.
func (r *rig) some(n int) []int {
	var out []int
	for e := r.reals(); e < r.edges && len(out) < n; e++ {
		out = append(out, e)
	}
	return out
}

// reconnect measures edges that come back, with their flows and without.
func (r *rig) reconnect(say sayer, file func(string) string) {
	back := func(what string, edges []int, change func(e int)) {
		r.quiet()
		before, sums := map[int]int{}, map[int]uint64{}
		dumps := map[int]int{}
		for _, e := range edges {
			s := r.sim(e).Stats()
			before[e], sums[e], dumps[e] = s.FlowMods, s.Sum, s.Dumps
		}
		was, used := r.farm.Totals(), r.cpu()
		parallel(8, len(edges), func(_, i int) { change(edges[i]) })
		took := r.await(what, func() (bool, string) {
			ok := 0
			for _, e := range edges {
				if s := r.sim(e).Stats(); s.Sum == sums[e] && s.Dumps > dumps[e] {
					ok++
				}
			}
			return ok == len(edges), fmt.Sprintf("%d of %d", ok, len(edges))
		})
		r.quiet()
		now := r.farm.Totals()
		say(what+": all in place after", "ms", ms(took))
		say(what+": controller CPU", "ms", float64((r.cpu() - used).Milliseconds()))
		say(what+": flow-mods", "", float64(now.FlowMods-was.FlowMods))
		say(what+": OVSDB transactions", "", float64(now.Transactions-was.Transactions))
		say(what+": sent", "KB", float64(now.Bytes-was.Bytes)/1e3)
	}
	drop := func(e int) { r.sim(e).Drop() }
	empty := func(e int) {
		r.sim(e).SetDown(true)
		r.sim(e).Empty()
		r.sim(e).SetDown(false)
	}
	back("one edge comes back with its flows", r.some(1), drop)
	back("one edge comes back empty", r.some(1), empty)
	many := r.some(min(500, (r.edges-r.reals())/2))
	r.profiling(file("cpu-reconnect"), 5, func() {
		back(fmt.Sprintf("%d edges come back with their flows", len(many)), many, drop)
	})
	r.profiling(file("cpu-reconnect-empty"), 5, func() {
		back(fmt.Sprintf("%d edges come back empty", len(many)), many, empty)
	})
	r.nodesReady()
}

// rates makes changes at a steady rate: ports that are written and deleted, and
// then interfaces that come and go.
func (r *rig) rates(say sayer, file func(string) string) {
	run := func(what string, perSecond int, change func(w int, s *spare) error) {
		r.quiet()
		was := r.farm.Totals()
		var out rated
		d := time.Duration(*scaleSeconds) * time.Second
		r.profiling(file("cpu-"+what), min(20, *scaleSeconds), func() { out = r.drive(perSecond, d, change) })
		p50, p99 := percentiles(out.took)
		name := fmt.Sprintf("%d %s a second", perSecond, what)
		for i, s := range out.bySecond {
			p50, p99 := percentiles(s)
			fmt.Printf("  second %d: %d in place, p50 %.0f ms, p99 %.0f ms\n", i, len(s), ms(p50), ms(p99))
		}
		say(name+": simulator and its clients, CPU", "cores", out.ours.Seconds()/out.wall.Seconds())
		say(name+": all of the machine, CPU", "cores", out.machine.Seconds()/out.wall.Seconds())
		say(name+": made", "1/s", float64(out.written)/out.wall.Seconds())
		say(name+": p50", "ms", ms(p50))
		say(name+": p99", "ms", ms(p99))
		say(name+": failed", "", float64(out.failed))
		say(name+": not everywhere a minute later", "", float64(out.lost))
		say(name+": controller CPU", "cores", out.cpu.Seconds()/out.wall.Seconds())
		now := r.farm.Totals()
		say(name+": edges that were connected anew", "", float64(now.OVSDBConnects-was.OVSDBConnects+now.OpenFlowConnects-was.OpenFlowConnects))
		say(name+": flow-mods per change", "", float64(now.FlowMods-was.FlowMods)/float64(max(1, out.written)))
	}
	run("writes", *scaleRate, func(w int, s *spare) error { return s.toggle(r.api(w)) })
	parallel(16, len(r.spares), func(w, i int) { // now all are there, and plugged in
		if s := r.spares[i]; !s.there {
			_, err := r.api(w).Put(context.Background(), s.port, client.PutOptions{})
			require.NoError(r.t, err)
		}
		r.spares[i].there = true
	})
	run("reports", *scaleRate, func(_ int, s *spare) error {
		if s.there {
			r.sim(s.edge).Unplug(s.port.Metadata.Name)
		} else {
			r.sim(s.edge).Plug(s.port.Metadata.Name)
		}
		s.there = !s.there
		return nil
	})
	parallel(16, len(r.spares), func(w, i int) {
		_, err := r.api(w).Delete(context.Background(), r.spares[i].port.Ref(), client.DeleteOptions{})
		require.NoError(r.t, err)
	})
	r.converged("the ports that came and went are gone")
}

// restart stops the controller, has an interface plugged in meanwhile, and
// starts it again: nothing but what follows from that interface may be sent.
func (r *rig) restart(say sayer, file func(string) string) {
	n := r.simNet(2)
	late := &spare{net: n, edge: n.edges[0], port: r.newPort(n, "late")}
	late.cookie = cookieOf(n, late.port)
	r.put(0, late.port)
	r.quiet()
	began := time.Now()
	r.stopController()
	say("controller stopped after", "s", time.Since(began).Seconds())
	r.plug(late.edge, "late")
	r.counted(n, late.edge, 1)
	was := r.farm.Totals()
	others := r.track.since(late.cookie, late.cookie&^(1<<48-1<<24)) // its own flows, and who floods
	began = time.Now()
	since := func(what string) { say("restart: "+what+" after", "s", time.Since(began).Seconds()) }
	r.startController()
	r.await("the controller is there", func() (bool, string) {
		_, err := r.apis[0].Version(context.Background())
		return err == nil, ""
	})
	since("API")
	r.profiling(file("cpu-restart"), 10, func() {
		r.ready()
		since("intent loaded")
		r.await("the first edge is read", func() (bool, string) { return r.farm.Totals().Dumps > was.Dumps, "" })
		since("first edge read")
		r.await("the first push", func() (bool, string) { return r.farm.Totals().FlowMods > was.FlowMods, "" })
		since("first push")
		r.nodesReady()
		since("all edges ready")
		r.converged("all edges after the restart")
		since("all edges have all rows")
		r.networksReady()
		since("status of all networks Ready")
	})
	r.quiet()
	say("restart: CPU", "s", r.cpu().Seconds())
	all, words := others()
	fmt.Printf("  restart, what was not the port's that was plugged in: %s\n", words)
	say("restart: flow-mods for what had not changed", "", float64(all))
	say("restart: OVSDB transactions", "", float64(r.farm.Totals().Transactions-was.Transactions))
	m := r.memory()
	say("restart: resident memory", "MB", float64(m.rss)/1e6)
	say("restart: anonymous memory per endpoint", "B", float64(m.anon)/float64(r.endpoints))
	say("restart: heap in use per endpoint", "B", float64(r.heap())/float64(r.endpoints))
	r.profile(file("heap-restart"), "heap")
}
