package store

import (
	"flag"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

var benchPorts = flag.Int("ports", 100_000, "ports of the benchmarks")

// tenancy is n ports of 100 a network and 50 networks a tenant, as a cloud has
// them: an address, a MAC and an iface-id each.
func tenancy(n int) (names, ports []intent.Object) {
	for i := range n {
		t, net := fmt.Sprintf("t%04d", i/5000), fmt.Sprintf("n%02d", i/100%50)
		if i%5000 == 0 {
			names = append(names, tenant(t))
		}
		if i%100 == 0 {
			nw := network(t, net, "10.0.0.0/16")
			nw.Spec.VNI = intent.VNI(20_000 + i/100)
			names = append(names, nw)
		}
		p := port(t, net, fmt.Sprintf("vm%07d", i))
		p.Spec.MAC = intent.MAC{2, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
		p.Spec.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i % 100), 10})}
		p.Spec.Binding.IfaceID = fmt.Sprintf("0f9a2c1e-%012d", i)
		ports = append(ports, p)
	}
	return names, ports
}

// large is a store of its own with n ports, imported by requests of 500 objects.
func large(b *testing.B, n int) *Store {
	b.Helper()
	s, err := Open(b.Context(), Config{Dir: b.TempDir()})
	require.NoError(b, err)
	b.Cleanup(func() { _ = s.Close() })
	names, ports := tenancy(n)
	for _, o := range [][]intent.Object{names, ports} {
		importAll(b, s, o)
	}
	return s
}

func importAll(b *testing.B, s *Store, objects []intent.Object) {
	b.Helper()
	for len(objects) > 0 {
		n := min(500, len(objects))
		for _, w := range s.PutAll(b.Context(), objects[:n], false) {
			if w.Err != nil {
				b.Fatal(w.Err)
			}
		}
		objects = objects[n:]
	}
}

// BenchmarkImport writes ports in bulk: how fast, by how many writes, and how
// much room they take.
func BenchmarkImport(b *testing.B) {
	for name, ops := range map[string]int{"cluster": defaultOps, "in-process": embeddedOps} {
		b.Run(name, func(b *testing.B) {
			n := *benchPorts
			names, ports := tenancy(n)
			for b.Loop() {
				b.StopTimer()
				s, err := Open(b.Context(), Config{Dir: b.TempDir()})
				require.NoError(b, err)
				s.maxOps = ops
				importAll(b, s, names)
				before, err := s.Health(b.Context())
				require.NoError(b, err)
				b.StartTimer()
				importAll(b, s, ports)
				b.StopTimer()
				after, err := s.Health(b.Context())
				require.NoError(b, err)
				b.ReportMetric(float64(after.Revision-before.Revision)/float64(n), "writes/object")
				b.ReportMetric(float64(after.Size-before.Size)/float64(n), "db-bytes/object")
				require.NoError(b, s.Compact(b.Context()))
				after, err = s.Health(b.Context())
				require.NoError(b, err)
				b.ReportMetric(float64(after.Size-before.Size)/float64(n), "db-bytes/object-compacted")
				require.NoError(b, s.Close())
				b.StartTimer()
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "objects/s")
		})
	}
}

// BenchmarkLoad reads all objects, as a controller does when it starts.
func BenchmarkLoad(b *testing.B) {
	n := *benchPorts
	s := large(b, n)
	var before, after runtime.MemStats
	var objects []intent.Object
	b.ResetTimer()
	for b.Loop() {
		objects = nil
		runtime.GC()
		runtime.ReadMemStats(&before)
		var err error
		objects, _, err = s.Snapshot(b.Context())
		require.NoError(b, err)
		runtime.GC()
		runtime.ReadMemStats(&after)
	}
	require.Greater(b, len(objects), n)
	b.ReportMetric(float64(len(objects)*b.N)/b.Elapsed().Seconds(), "objects/s")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(len(objects)), "allocs/object")
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/float64(len(objects)), "heap-bytes/object")
	runtime.KeepAlive(objects)
}

// BenchmarkListPages reads all objects as a client does, page by page.
func BenchmarkListPages(b *testing.B) {
	s := large(b, *benchPorts)
	b.ResetTimer()
	for b.Loop() {
		o, got := ListOptions{Limit: 500}, 0
		for {
			l, err := s.List(b.Context(), intent.KindPort, o)
			require.NoError(b, err)
			if got += len(l.Objects); l.Continue == "" {
				break
			}
			o.Continue = l.Continue
		}
		require.Equal(b, *benchPorts, got)
	}
	b.ReportMetric(float64(*benchPorts*b.N)/b.Elapsed().Seconds(), "objects/s")
}

// BenchmarkPutPort adds single ports to a store that has many.
func BenchmarkPutPort(b *testing.B) {
	s := large(b, *benchPorts)
	put(b, s, network("t0000", "own", "10.0.0.0/8"))
	var n atomic.Int64
	add := func() { put(b, s, port("t0000", "own", fmt.Sprintf("p%d", n.Add(1)))) }
	b.Run("serial", func(b *testing.B) {
		for b.Loop() {
			add()
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.SetParallelism(25)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				add()
			}
		})
	})
}

// BenchmarkDecode reads one stored port.
func BenchmarkDecode(b *testing.B) {
	_, ports := tenancy(1)
	value, err := encode(ports[0])
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(ports[0].Ref(), value, 1); err != nil {
			b.Fatal(err)
		}
	}
}
