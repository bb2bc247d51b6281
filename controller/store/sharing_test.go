package store

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// exporting gives a router route targets to export.
func exporting(r *intent.Router, targets ...string) *intent.Router {
	r.Spec.RouteTargets.Export = targets
	return r
}

func importing(r *intent.Router, target string, filter ...string) *intent.Router {
	r.Spec.Imports = append(r.Spec.Imports, intent.RouterImport{RouteTarget: target, Prefixes: cidrs(filter...)})
	return r
}

func numbered(r *intent.Router, v intent.VNI) *intent.Router {
	r.Spec.VNI = v
	return r
}

// services has a router of a tenant that imports from one of another tenant by
// name, and from one of its own by the target of its L3VNI; it also imports a
// target that nobody exports.
func services(t *testing.T) *Store {
	s := open(t, 1)[0]
	for _, tn := range []string{"shop", "svc", "other"} {
		put(t, s, tenant(tn))
	}
	put(t, s, network("svc", "dns", "10.9.0.0/24"))
	put(t, s, network("svc", "spare"))
	put(t, s, network("shop", "web", "10.1.0.0/24"))
	put(t, s, network("shop", "db", "10.2.0.0/24"))
	put(t, s, network("shop", "more", "10.9.0.64/26"))
	put(t, s, network("shop", "same", "10.2.0.0/24"))
	put(t, s, network("other", "dns", "10.9.0.128/25"))
	put(t, s, network("other", "same", "10.2.0.0/24"))
	put(t, s, exporting(numbered(vrf("svc", "r", "dns", "spare"), 900), "65000:900"))
	put(t, s, numbered(vrf("shop", "db", "db"), 700))
	put(t, s, importing(importing(importing(vrf("shop", "r", "web"), "65000:900", "10.9.0.0/24"), "65000:700"), "65000:701"))
	return s
}

func TestLeaksThatMeetAreRefused(t *testing.T) {
	s := services(t)
	both := importing(importing(importing(vrf("shop", "r", "web"), "65000:900", "10.9.0.0/24"), "65000:700"), "65000:701")
	const apart = ": a router can't tell them apart; take less by prefixes"
	refusals(t, s, map[string]intent.Object{
		// The router that imports.
		`Router shop/r: spec.imports[0]: 10.9.0.0/24 of Router svc/r is spec.routes[0] of this router too: take less by prefixes, or take the route away`: via(both, "10.9.0.0/24"),
		`Router shop/x: spec.imports[0]: 10.2.0.0/24 of Router shop/db overlaps 10.2.0.0/24, a subnet of this router` + apart:                             importing(vrf("shop", "x", "same"), "65000:700"),
		`Router shop/x: spec.imports[0]: 10.9.0.0/24 of Router svc/r overlaps 10.9.0.64/26, a subnet of this router` + apart:                              importing(vrf("shop", "x", "more"), "65000:900"),
		// Those from which it imports: one more, one that exists, one with the VNI.
		`Router other/r: spec: don't fit Router shop/r, which imports routes: spec.imports[0]: 10.9.0.0/24 of Router svc/r overlaps 10.9.0.128/25 of Router other/r, which spec.imports[0] takes` + apart:  exporting(vrf("other", "r", "dns"), "65000:900"),
		`Router shop/db: spec: don't fit Router shop/r, which imports routes: spec.imports[1]: 10.9.0.64/26 of Router shop/db overlaps 10.9.0.0/24 of Router svc/r, which spec.imports[0] takes` + apart:   vrf("shop", "db", "db", "more"),
		`Router shop/new: spec: don't fit Router shop/r, which imports routes: spec.imports[2]: 10.9.0.64/26 of Router shop/new overlaps 10.9.0.0/24 of Router svc/r, which spec.imports[0] takes` + apart: numbered(vrf("shop", "new", "more"), 701),
		// The networks of both.
		`Network shop/web: spec.subnets: don't fit Router shop/r, which imports routes: spec.imports[0]: 10.9.0.0/24 of Router svc/r overlaps 10.9.0.0/25, a subnet of this router` + apart:                      network("shop", "web", "10.1.0.0/24", "10.9.0.0/25"),
		`Network shop/db: spec.subnets: don't fit Router shop/r, which imports routes: spec.imports[1]: 10.9.0.0/28 of Router shop/db overlaps 10.9.0.0/24 of Router svc/r, which spec.imports[0] takes` + apart: network("shop", "db", "10.2.0.0/24", "10.9.0.0/28"),
	})
}

// What meets no import is not refused: what a filter leaves out, what is of a
// tenant that gives no target by name, what the same router gives twice.
func TestLeaksThatDoNotMeet(t *testing.T) {
	s := services(t)
	put(t, s, network("svc", "spare", "10.2.0.0/24")) // left out by the filter
	put(t, s, importing(vrf("other", "x", "same"), "65000:700"))
	put(t, s, exporting(vrf("other", "y", "dns"), "65000:901"))
	put(t, s, importing(importing(vrf("other", "z"), "65000:900", "10.9.0.0/24"), "65000:902"))
	put(t, s, exporting(numbered(vrf("svc", "r", "dns", "spare"), 900), "65000:900", "65000:902"))
	put(t, s, network("svc", "dns", "10.9.0.0/24", "10.9.1.0/24"))
}

// Two that fit alone and not together are never both written, whoever writes at
// the same time.
func TestLeaksRace(t *testing.T) {
	stores := open(t, 3)
	put(t, stores[0], tenant("t"))
	for i := range 3 {
		put(t, stores[0], network("t", fmt.Sprint("n", i), fmt.Sprintf("10.%d.0.0/24", i)))
	}
	for round := range 20 {
		put(t, stores[0], network("t", "same", "10.1.0.0/24"))
		a, b := fmt.Sprintf("65000:%d", 2*round), fmt.Sprintf("65000:%d", 2*round+1)
		x, y, z := fmt.Sprint("x", round), fmt.Sprint("y", round), fmt.Sprint("z", round)
		writes := []intent.Object{importing(importing(vrf("t", x), a), b), exporting(vrf("t", y, "n1"), a), exporting(vrf("t", z, "same"), b)}
		errs := make([]error, 3)
		var wg sync.WaitGroup
		for i, o := range writes {
			wg.Go(func() { _, errs[i] = stores[i].Put(t.Context(), o, PutOptions{}) })
		}
		wg.Wait()
		failed := 0
		for _, err := range errs {
			if err != nil {
				failed++
				require.ErrorContains(t, err, "a router can't tell them apart")
			}
		}
		require.Equal(t, 1, failed, "%v", errs)
		out := stores[0].PutAll(t.Context(), []intent.Object{vrf("t", y), vrf("t", z)}, false)
		noErrors(t, out)
	}
}

// Two that fit alone and not together are not written by one transaction.
func TestPutAllOfLeaksThatMeet(t *testing.T) {
	s := services(t)
	put(t, s, importing(vrf("other", "both"), "65000:900"))
	put(t, s, exporting(vrf("shop", "db", "db"), "65000:700", "65000:900"))
	const apart = " which imports routes: spec.imports[0]: 10.8.0.0/24 of Router svc/r overlaps 10.8.0.0/16 of Router shop/db, which spec.imports[0] takes: a router can't tell them apart; take less by prefixes"
	out := s.PutAll(t.Context(), []intent.Object{network("shop", "db", "10.2.0.0/24", "10.8.0.0/16"), network("svc", "dns", "10.9.0.0/24", "10.8.0.0/24")}, false)
	require.NoError(t, out[0].Err)
	require.EqualError(t, out[1].Err, "Network svc/dns: spec.subnets: don't fit Router other/both,"+apart)
	out = s.PutAll(t.Context(), []intent.Object{exporting(vrf("other", "r", "dns"), "65000:901"), importing(vrf("shop", "r", "more"), "65000:901")}, false)
	require.NoError(t, out[0].Err)
	require.NoError(t, out[1].Err)
	out = s.PutAll(t.Context(), []intent.Object{exporting(vrf("other", "r", "dns", "same"), "65000:901"), importing(vrf("shop", "r", "same"), "65000:901")}, false)
	require.NoError(t, out[0].Err)
	require.EqualError(t, out[1].Err, "Router shop/r: spec.imports[0]: 10.2.0.0/24 of Router other/r overlaps 10.2.0.0/24, a subnet of this router: a router can't tell them apart; take less by prefixes")
	sound(t, s)
}

// The same of networks of routers that are there: those of two from which one
// imports, and its own against those of one.
func TestLeaksRaceOfNetworks(t *testing.T) {
	stores := open(t, 2)
	s := stores[0]
	put(t, s, tenant("t"))
	for _, n := range []string{"x", "y", "z"} {
		put(t, s, network("t", n))
	}
	put(t, s, importing(importing(vrf("t", "x", "x"), "1:1"), "1:77"))
	put(t, s, exporting(vrf("t", "y", "y"), "1:1"))
	put(t, s, numbered(vrf("t", "z", "z"), 77))
	for range 10 {
		for _, pair := range [][2]string{{"x", "y"}, {"x", "z"}, {"y", "z"}} {
			errs := make([]error, 2)
			var wg sync.WaitGroup
			for i, n := range pair {
				wg.Go(func() { _, errs[i] = stores[i].Put(t.Context(), network("t", n, "10.0.0.0/24"), PutOptions{}) })
			}
			wg.Wait()
			require.NotEqual(t, errs[0] == nil, errs[1] == nil, "%v: %v", pair, errs)
			for _, n := range pair {
				put(t, s, network("t", n))
			}
		}
	}
	sound(t, s)
}
