package store

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func fill(b *testing.B, s *Store, ports int) {
	put(b, s, tenant("t"))
	put(b, s, network("t", "n", "10.0.0.0/8"))
	parallel(50, func(g int) {
		for i := range ports / 50 {
			if _, err := s.Put(context.Background(), port("t", "n", fmt.Sprintf("f%d-%d", g, i)), PutOptions{}); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkPutPort adds ports to a network that has 10,000.
func BenchmarkPutPort(b *testing.B) {
	s := open(b, 1)[0]
	fill(b, s, 10_000)
	var n atomic.Int64
	b.Run("serial", func(b *testing.B) {
		for b.Loop() {
			put(b, s, port("t", "n", fmt.Sprintf("p%d", n.Add(1))))
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.SetParallelism(25)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				put(b, s, port("t", "n", fmt.Sprintf("p%d", n.Add(1))))
			}
		})
	})
}

func BenchmarkSnapshot10k(b *testing.B) {
	s := open(b, 1)[0]
	fill(b, s, 10_000)
	for b.Loop() {
		o, _, err := s.Snapshot(b.Context())
		require.NoError(b, err)
		require.Len(b, o, 10_002)
	}
}
