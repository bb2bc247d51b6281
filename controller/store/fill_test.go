package store

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// fillRaw writes tenants t000000, t000001 ... as fast as etcd takes them.
func fillRaw(t testing.TB, s *Store, n int) {
	t.Helper()
	var ops []clientv3.Op
	for i := range n {
		o := tenant(fmt.Sprintf("t%06d", i))
		b, err := encode(o)
		require.NoError(t, err)
		ops = append(ops, clientv3.OpPut(s.keys.object(o.Ref()), string(b)))
		if len(ops) == 100 || i == n-1 {
			_, err := s.client.Txn(t.Context()).Then(ops...).Commit()
			require.NoError(t, err)
			ops = ops[:0]
		}
	}
}
