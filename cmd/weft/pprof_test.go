package main

import (
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPprofIsServedOnLoopbackOnly(t *testing.T) {
	for _, at := range []string{"0.0.0.0:6060", "10.0.0.1:6060", "[::]:6060", ":6060", "127.0.0.1", "localhost:6060"} {
		_, err := listenPprof(at)
		require.ErrorAs(t, err, &usageError{}, at)
		require.ErrorContains(t, err, "use a loopback address and a port", at)
	}
	none, err := listenPprof("")
	require.NoError(t, err)
	require.Nil(t, none)
	l, err := listenPprof("127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() { servePprof(l) })
	r, err := http.Get("http://" + l.Addr().String() + "/debug/pprof/heap?debug=1")
	require.NoError(t, err)
	b, err := io.ReadAll(r.Body)
	r.Body.Close()
	require.NoError(t, err)
	require.Contains(t, string(b), "HeapInuse")
	l.Close()
	wg.Wait()
}
