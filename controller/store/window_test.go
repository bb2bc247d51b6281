package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// Between what a write reads and its commit another writer comes in: each of
// these commits must notice, and the whole Put or Delete run again must end
// as if it had come second.
func TestWriteNoticesWhatCameBetween(t *testing.T) {
	gone := func(k intent.Kind, tenant, name string) func(*testing.T, *Store) {
		return func(t *testing.T, s *Store) {
			_, err := s.Delete(t.Context(), ref(k, tenant, name), DeleteOptions{Cascade: true})
			require.NoError(t, err)
		}
	}
	puts := func(o intent.Object) func(*testing.T, *Store) {
		return func(t *testing.T, s *Store) { put(t, s, o) }
	}
	for name, c := range map[string]struct {
		object  intent.Object
		between func(*testing.T, *Store)
		want    string // of the Put that follows
	}{
		"port, network gone":      {port("blue", "db", "z"), gone(intent.KindNetwork, "blue", "db"), `Port blue/z: spec.network: names an unknown network "db" of tenant blue`},
		"port, network shrinks":   {port("blue", "db", "z", "10.1.0.200"), puts(network("blue", "db", "10.1.0.0/25")), `Port blue/z: spec.addresses[0]: 10.1.0.200 is outside the subnets [10.1.0.0/25] of Network blue/db`},
		"port, node gone":         {bound(port("blue", "db", "z"), "leaf2", "eth5"), gone(intent.KindNode, "", "leaf2"), `Port blue/z: spec.binding.node: names an unknown node "leaf2"`},
		"port, address taken":     {port("blue", "db", "z", "10.1.0.200"), puts(port("blue", "db", "y", "10.1.0.200")), `Port blue/z: spec.addresses[0]: 10.1.0.200 is in use by Port blue/y`},
		"network, tenant gone":    {network("red", "x"), gone(intent.KindTenant, "", "red"), `Network red/x: metadata.tenant: names an unknown tenant "red"`},
		"network, port outside":   {network("blue", "db", "10.1.0.0/25"), puts(port("blue", "db", "y", "10.1.0.200")), `Network blue/db: spec.subnets: leave out addresses in use: 10.1.0.200 of Port blue/y; change these ports first`},
		"link, node gone":         {cable("l9", "leaf1", "eth4", "leaf2", "eth4"), gone(intent.KindNode, "", "leaf2"), `Link l9: spec.endpoints[1].node: names an unknown node "leaf2"`},
		"node, VTEP taken":        {leaf("leaf3", "10.255.0.3"), puts(leaf("leaf4", "10.255.0.3")), `Node leaf3: spec.vtep: 10.255.0.3 is in use by Node leaf4`},
		"the same object written": {network("blue", "db", "10.1.0.0/23"), puts(network("blue", "db", "10.1.0.0/22")), ""},
		"the same object deleted": {network("blue", "db", "10.1.0.0/23"), gone(intent.KindNetwork, "blue", "db"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := bed(t)
			want, err := clone(c.object)
			require.NoError(t, err)
			w := &write{s: s, want: want, taken: map[string]bool{}}
			require.NoError(t, w.prepare(t.Context()))
			p, err := w.plan()
			require.NoError(t, err)
			c.between(t, s)
			before := dump(t, s)
			_, err = w.commit(t.Context(), p)
			require.Error(t, err)
			require.Equal(t, before, dump(t, s))
			_, err = s.Put(t.Context(), c.object, PutOptions{})
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, c.want)
			}
			sound(t, s)
		})
	}
}

func TestDeleteNoticesWhatCameBetween(t *testing.T) {
	for name, c := range map[string]struct {
		root    intent.Ref
		between intent.Object
	}{
		"tenant gets a network":      {ref(intent.KindTenant, "", "red"), network("red", "x")},
		"network gets a port":        {ref(intent.KindNetwork, "blue", "db"), port("blue", "db", "z")},
		"network of a tenant does":   {ref(intent.KindTenant, "", "blue"), port("blue", "db", "z")},
		"node gets a link":           {ref(intent.KindNode, "", "leaf2"), cable("l9", "leaf1", "eth4", "leaf2", "eth4")},
		"node gets a port":           {ref(intent.KindNode, "", "leaf2"), bound(port("blue", "db", "z"), "leaf2", "eth5")},
		"a port moves away":          {ref(intent.KindNetwork, "blue", "web"), port("blue", "db", "b")},
		"the object itself is wrote": {ref(intent.KindNetwork, "blue", "db"), network("blue", "db", "10.1.0.0/23")},
	} {
		t.Run(name, func(t *testing.T) {
			s := bed(t)
			resp, err := s.client.Get(t.Context(), s.keys.object(c.root))
			require.NoError(t, err)
			d := &deletion{s: s, root: c.root, opt: DeleteOptions{Cascade: true}, rev: resp.Header.Revision, seen: map[intent.Ref]bool{}, open: map[intent.Ref]bool{}}
			root, err := d.victim(t.Context(), resp.Kvs[0])
			require.NoError(t, err)
			require.NoError(t, d.collect(t.Context(), root))
			put(t, s, c.between)
			before := dump(t, s)
			require.ErrorIs(t, d.commit(t.Context(), root), errRaced)
			require.Equal(t, before, dump(t, s))
			_, err = s.Delete(t.Context(), c.root, DeleteOptions{Cascade: true})
			require.NoError(t, err)
			sound(t, s)
		})
	}
}
