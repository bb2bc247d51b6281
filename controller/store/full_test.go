package store

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// TestOverQuota: a store that is full refuses writes and says what to do, goes
// on to be read, watched and deleted from, and takes writes again once it was
// compacted.
func TestOverQuota(t *testing.T) {
	s, err := Open(t.Context(), Config{Dir: t.TempDir(), Quota: 1 << 20})
	require.NoError(t, err)
	defer s.Close()
	put(t, s, tenant("keep"))
	h, err := s.Health(t.Context())
	require.NoError(t, err)
	require.Empty(t, h.Problems)
	require.EqualValues(t, 1<<20, h.Quota)

	// One object that changes all the time: its history fills the store.
	big := tenant("big")
	for i := 0; err == nil; i++ {
		require.Less(t, i, 1000)
		big.Spec.Description = fmt.Sprint(i) + strings.Repeat("x", 20_000)
		_, err = s.Put(t.Context(), big, PutOptions{})
	}
	require.ErrorIs(t, err, ErrFull)
	require.EqualError(t, err, "write Tenant big: the store is over its quota (etcdserver: mvcc: database space exceeded): delete what is not needed, then run `weft store compact`; reads and the data plane go on meanwhile")
	_, err = s.Put(t.Context(), tenant("small"), PutOptions{})
	require.ErrorIs(t, err, ErrFull)

	rev, err := s.Revision(t.Context())
	require.NoError(t, err)
	_, err = s.Get(t.Context(), ref(intent.KindTenant, "", "keep"))
	require.NoError(t, err)
	objects, _, err := s.Snapshot(t.Context())
	require.NoError(t, err)
	require.Len(t, objects, 2)
	h, err = s.Health(t.Context())
	require.NoError(t, err)
	require.Len(t, h.Problems, 1)
	require.Regexp(t, "^the store is over its quota \\(.* MiB, .* of them in use\\) and takes no writes: delete what is not needed, then run `weft store compact`", h.Problems[0])

	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	_, err = s.Delete(t.Context(), ref(intent.KindTenant, "", "big"), DeleteOptions{})
	require.NoError(t, err, "deleting is the way out")
	for batch, err := range s.Watch(ctx, rev+1) {
		require.NoError(t, err)
		require.Nil(t, batch[0].Object)
		break
	}
	_, err = s.Put(t.Context(), tenant("small"), PutOptions{})
	require.ErrorIs(t, err, ErrFull, "the history is still there")

	require.NoError(t, s.Compact(t.Context()))
	put(t, s, tenant("small"))
	h, err = s.Health(t.Context())
	require.NoError(t, err)
	require.Empty(t, h.Problems)
	require.Less(t, h.Size, int64(1<<19))
	require.NoError(t, s.Compact(t.Context()))
}

// TestReadOnly: with the rights to read only, and no more.
func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	root, err := Open(t.Context(), Config{Dir: dir})
	require.NoError(t, err)
	defer root.Close()
	put(t, root, tenant("t"))
	c, end := root.client, clientv3.GetPrefixRangeEnd("/weft/")
	for _, f := range []func() error{
		func() error { _, err := c.UserAdd(t.Context(), "root", "r"); return err },
		func() error { _, err := c.UserGrantRole(t.Context(), "root", "root"); return err },
		func() error { _, err := c.RoleAdd(t.Context(), "reader"); return err },
		func() error {
			_, err := c.RoleGrantPermission(t.Context(), "reader", "/weft/", end, clientv3.PermissionType(clientv3.PermRead))
			return err
		},
		func() error { _, err := c.UserAdd(t.Context(), "reader", "r"); return err },
		func() error { _, err := c.UserGrantRole(t.Context(), "reader", "reader"); return err },
		func() error { _, err := c.AuthEnable(t.Context()); return err },
	} {
		require.NoError(t, f())
	}
	s, err := Open(t.Context(), Config{Endpoints: []string{root.server.endpoint}, Username: "reader", Password: "r"})
	require.NoError(t, err)
	defer s.Close()
	_, err = s.Put(t.Context(), tenant("u"), PutOptions{})
	require.ErrorIs(t, err, ErrReadOnly)
	require.ErrorContains(t, err, "give the controller's etcd user the role to write")
	_, err = s.Delete(t.Context(), ref(intent.KindTenant, "", "t"), DeleteOptions{})
	require.ErrorIs(t, err, ErrReadOnly)
	objects, rev, err := s.Snapshot(t.Context())
	require.NoError(t, err)
	require.Len(t, objects, 1)
	h, err := s.Health(t.Context())
	require.NoError(t, err)
	require.Equal(t, rev, h.Revision)
	require.ErrorIs(t, s.Compact(t.Context()), ErrReadOnly)
}
