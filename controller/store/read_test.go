package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

func TestListPages(t *testing.T) {
	s := open(t, 1)[0]
	for _, tn := range []string{"a", "a-b", "b"} {
		put(t, s, tenant(tn))
		for i := range 3 {
			put(t, s, network(tn, fmt.Sprintf("n%d", i)))
		}
	}
	all, err := s.List(t.Context(), intent.KindNetwork, ListOptions{})
	require.NoError(t, err)
	require.Len(t, all.Objects, 9)
	require.Empty(t, all.Continue)
	mine, err := s.List(t.Context(), intent.KindNetwork, ListOptions{Tenant: "a"})
	require.NoError(t, err)
	require.Len(t, mine.Objects, 3)

	var got []intent.Object
	o := ListOptions{Limit: 2}
	for {
		l, err := s.List(t.Context(), intent.KindNetwork, o)
		require.NoError(t, err)
		require.Equal(t, all.Revision, l.Revision)
		got = append(got, l.Objects...)
		require.EqualValues(t, 9-len(got), l.Remaining)
		if l.Continue == "" {
			break
		}
		if o.Continue == "" { // a change amid the pages is not seen
			put(t, s, network("b", "n9"))
		}
		o.Continue = l.Continue
	}
	require.Equal(t, all.Objects, got)

	_, err = s.List(t.Context(), intent.KindPort, ListOptions{Continue: o.Continue})
	require.ErrorIs(t, err, ErrToken)
	_, err = s.List(t.Context(), intent.KindNetwork, ListOptions{Continue: "junk"})
	require.EqualError(t, err, "list networks: continue token is not valid")
	now, err := s.Revision(t.Context())
	require.NoError(t, err)
	_, err = s.client.Compact(t.Context(), now)
	require.NoError(t, err)
	_, err = s.List(t.Context(), intent.KindNetwork, ListOptions{Continue: o.Continue})
	require.ErrorIs(t, err, ErrExpired)
	require.EqualError(t, err, "list networks: continue token expired: list again")
}

func TestWatchFromSnapshot(t *testing.T) {
	s := open(t, 1)[0]
	put(t, s, tenant("t"))
	objects, rev, err := s.Snapshot(t.Context())
	require.NoError(t, err)
	require.Len(t, objects, 1)
	put(t, s, network("t", "n", "10.0.0.0/24"))
	put(t, s, port("t", "n", "p"))
	_, err = s.Delete(t.Context(), ref(intent.KindTenant, "", "t"), DeleteOptions{Cascade: true})
	require.NoError(t, err)

	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var got []string
	for batch, err := range s.Watch(ctx, rev+1) {
		require.NoError(t, err)
		for _, e := range batch {
			require.Equal(t, batch[0].Revision, e.Revision)
			if e.Object != nil {
				require.Equal(t, e.Revision, e.Object.Meta().Revision)
			}
			got = append(got, fmt.Sprint(e.Ref, " ", e.Object != nil))
		}
		got = append(got, "-")
		if len(got) == 8 {
			stop()
		}
	}
	require.Equal(t, []string{"Network t/n true", "-", "Port t/p true", "-", "Port t/p false", "Network t/n false", "Tenant t false", "-"}, got)
}

func TestWatchCompacted(t *testing.T) {
	s := open(t, 1)[0]
	put(t, s, tenant("a"))
	put(t, s, tenant("b"))
	now, err := s.Revision(t.Context())
	require.NoError(t, err)
	_, err = s.client.Compact(t.Context(), now)
	require.NoError(t, err)
	for _, from := range []int64{1, now + 100} {
		var got error
		for _, err := range s.Watch(t.Context(), from) {
			got = err
		}
		var ce *CompactedError
		require.True(t, errors.As(got, &ce) && errors.Is(got, ErrCompacted), "%v", got)
		require.Equal(t, CompactedError{After: from - 1, Current: now}, *ce)
	}
}

func TestSnapshotOfManyPages(t *testing.T) {
	s := open(t, 1)[0]
	errs := make([]error, 25)
	parallel(25, func(g int) {
		for i := range 90 {
			_, err := s.Put(context.Background(), tenant(fmt.Sprintf("t%d-%d", g, i)), PutOptions{})
			errs[g] = errors.Join(errs[g], err)
		}
	})
	require.NoError(t, errors.Join(errs...))
	objects, _, err := s.Snapshot(t.Context())
	require.NoError(t, err)
	require.Len(t, objects, 2250)
	l, err := s.List(t.Context(), intent.KindTenant, ListOptions{Limit: 2100})
	require.NoError(t, err)
	require.Len(t, l.Objects, 2100)
	require.EqualValues(t, 150, l.Remaining)
}

func TestBackup(t *testing.T) {
	s := open(t, 1)[0]
	put(t, s, tenant("t"))
	var b bytes.Buffer
	require.NoError(t, s.Backup(t.Context(), &b))
	require.Greater(t, b.Len(), 10000)
	require.Contains(t, b.String(), s.keys.object(ref(intent.KindTenant, "", "t")))
}
