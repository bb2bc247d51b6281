package evpn

import (
	"context"
	"testing"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/stretchr/testify/require"
)

// The client that our own routes come from is sent none of the leaves': it
// drops what it gets, and each route costs GoBGP a message.
func TestOriginIsSentNoRoutes(t *testing.T) {
	w, l1, l2 := pair(t)
	r := ours(l1, macIP(100, vm1, "192.0.2.1", vtep1))
	l1.announce(r)
	require.Len(t, changes(l2.update()), 1)
	sent := func(client string) (n int) {
		err := w.gobgp.ListPath(context.Background(), &api.ListPathRequest{TableType: api.TableType_ADJ_OUT, Name: client, Family: apiFamily},
			func(*api.Destination) { n++ })
		require.NoError(t, err)
		return n
	}
	require.Equal(t, 1, sent(w.session("leaf2").addr.String()))
	require.Zero(t, sent(originRouter))
}
