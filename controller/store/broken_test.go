package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// spoil writes a value under a key behind the store's back.
func spoil(t testing.TB, s *Store, key, value string) {
	t.Helper()
	_, err := s.client.Put(t.Context(), key, value)
	require.NoError(t, err)
}

// spoiled is bed with three ports that can't be read and a key of a kind that
// there is not.
func spoiled(t *testing.T) *Store {
	s := bed(t)
	key := func(name string) string { return s.keys.object(ref(intent.KindPort, "blue", name)) }
	spoil(t, s, key("a"), `{"spec":{"netw`)
	spoil(t, s, key("b"), `{"apiVersion":"weft/v7","spec":{}}`)
	spoil(t, s, key("c"), `{"spec":{"network":"web"}}`)
	spoil(t, s, s.keys.join("v1", "gadgets", "g"), `{}`)
	return s
}

func TestSnapshotNamesWhatIsBrokenAndLoadsTheRest(t *testing.T) {
	s := spoiled(t)
	objects, rev, err := s.Snapshot(t.Context())
	require.ErrorIs(t, err, ErrBroken)
	require.Positive(t, rev)
	require.Len(t, objects, 7, "2 tenants, 2 nodes, a link, 2 networks")
	var be *BrokenError
	require.ErrorAs(t, err, &be)
	var got []string
	for _, b := range be.Objects {
		require.Positive(t, b.Revision)
		got = append(got, b.Error())
	}
	require.Equal(t, []string{
		"stored Port blue/a is damaged: unexpected end of JSON input; write it again, or delete it",
		`stored Port blue/b is damaged: its version is "weft/v7", and this program knows "weft/v1" only; write it again, or delete it`,
		"stored Port blue/c is damaged: it has no MAC address or network; write it again, or delete it",
		"key " + s.keys.join("v1", "gadgets", "g") + " of the store is no object's: a newer version of Weft may have written it; run that version, or remove the key with etcdctl",
	}, got)
	require.ErrorContains(t, err, "; and 1 more")

	l, err := s.List(t.Context(), intent.KindPort, ListOptions{})
	require.NoError(t, err)
	require.Empty(t, l.Objects)
	require.Len(t, l.Broken, 3)
	l, err = s.List(t.Context(), intent.KindPort, ListOptions{Limit: 2})
	require.NoError(t, err)
	require.Len(t, l.Broken, 2, "they count for the page")
	l, err = s.List(t.Context(), intent.KindPort, ListOptions{Limit: 2, Continue: l.Continue})
	require.NoError(t, err)
	require.Len(t, l.Broken, 1)
	_, err = s.Get(t.Context(), ref(intent.KindPort, "blue", "a"))
	require.ErrorIs(t, err, ErrBroken)
}

func TestBrokenObjectsAreMendedByPutAndDelete(t *testing.T) {
	s := spoiled(t)
	a := bound(port("blue", "web", "a", "10.0.0.200"), "leaf1", "eth9")
	a.Spec.MAC = intent.MAC{2, 0, 0, 0, 0, 1}
	dry, err := s.Put(t.Context(), a, PutOptions{DryRun: true})
	require.NoError(t, err)
	require.False(t, dry.Created)
	r, err := s.Put(t.Context(), a, PutOptions{})
	require.NoError(t, err)
	require.True(t, r.Changed)
	b := put(t, s, port("blue", "db", "b")) // elsewhere: what it held is free
	require.Equal(t, "10.1.0.2", b.Spec.Addresses[0].String())
	res, err := s.Delete(t.Context(), ref(intent.KindNetwork, "blue", "web"), DeleteOptions{Cascade: true})
	require.NoError(t, err)
	require.Len(t, res.Deleted, 3, "ports a and c, and the network")
	_, err = s.client.Delete(t.Context(), s.keys.join("v1", "gadgets", "g"))
	require.NoError(t, err)
	sound(t, s)
}

func TestPortOfABrokenNetworkIsRefused(t *testing.T) {
	s := bed(t)
	spoil(t, s, s.keys.object(ref(intent.KindNetwork, "blue", "web")), "?")
	_, err := s.Put(t.Context(), port("blue", "web", "z"), PutOptions{})
	require.ErrorIs(t, err, ErrBroken)
	require.ErrorContains(t, err, "stored Network blue/web is damaged")
	res, err := s.Delete(t.Context(), ref(intent.KindNetwork, "blue", "web"), DeleteOptions{Cascade: true})
	require.NoError(t, err)
	require.Len(t, res.Deleted, 4)
	sound(t, s)
}

func TestWatchGoesOnPastBrokenObjects(t *testing.T) {
	s := open(t, 1)[0]
	put(t, s, tenant("t"))
	_, rev, err := s.Snapshot(t.Context())
	require.NoError(t, err)
	spoil(t, s, s.keys.object(ref(intent.KindTenant, "", "u")), "?")
	spoil(t, s, s.keys.join("v1", "gadgets", "g"), "?")
	_, err = s.client.Delete(t.Context(), s.keys.join("v1", "gadgets", "g"))
	require.NoError(t, err)
	put(t, s, tenant("u"))
	put(t, s, tenant("v"))
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var got []string
	for batch, err := range s.Watch(ctx, rev+1) {
		require.NoError(t, err)
		for _, e := range batch {
			got = append(got, fmt.Sprint(e.Ref, " object ", e.Object != nil, " broken ", e.Broken != nil, " mended ", e.Mended != ""))
		}
		if len(got) == 5 {
			stop()
		}
	}
	require.Equal(t, []string{
		"Tenant u object false broken true mended false",
		"  object false broken true mended false",
		"  object false broken false mended true",
		"Tenant u object true broken false mended false",
		"Tenant v object true broken false mended false",
	}, got)
}

// One broken object among 20,000 costs the rest nothing.
func TestManyObjectsAndOneBroken(t *testing.T) {
	s := open(t, 1)[0]
	const n = 20_000
	put(t, s, tenant("t"))
	fillRaw(t, s, n)
	spoil(t, s, s.keys.object(ref(intent.KindTenant, "", "t012345")), "?")
	objects, _, err := s.Snapshot(t.Context())
	require.ErrorIs(t, err, ErrBroken)
	require.ErrorContains(t, err, "stored Tenant t012345 is damaged")
	require.Len(t, objects, n)
}
