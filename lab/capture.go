package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/weft-sdn/weft/lab/probe"
)

// Capture writes the packets of an interface as pcap until the context ends,
// the interface goes away, or nobody reads any more.
func Capture(ctx context.Context, w io.Writer, s *State, node, iface string) (packets int, err error) {
	if _, err := s.Node(node); err != nil {
		return 0, err
	}
	buffer := bufio.NewWriterSize(w, 1<<16)
	pcap := pcapgo.NewWriter(buffer)
	if err := pcap.WriteFileHeader(65536, layers.LinkTypeEthernet); err != nil {
		return 0, fmt.Errorf("write capture: %w", err)
	}
	if err := buffer.Flush(); err != nil {
		return 0, fmt.Errorf("write capture: %w", err)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var mu sync.Mutex
	tap, err := probe.OpenTap(s.Namespace(node), iface, func(frame []byte, _ bool) {
		mu.Lock()
		defer mu.Unlock()
		ci := gopacket.CaptureInfo{Timestamp: time.Now(), CaptureLength: len(frame), Length: len(frame)}
		if err := pcap.WritePacket(ci, frame); err != nil {
			stop(fmt.Errorf("write capture: %w", err))
			return
		}
		packets++
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", node, err)
	}
	ended := tap.Done()
	flush := time.NewTicker(100 * time.Millisecond)
	defer flush.Stop()
	for {
		select {
		case <-flush.C:
			mu.Lock()
			if err := buffer.Flush(); err != nil {
				stop(fmt.Errorf("write capture: %w", err))
			}
			mu.Unlock()
			continue
		case <-ctx.Done():
		case <-ended:
		}
		break
	}
	tap.Close()
	if err := context.Cause(ctx); err != nil && err != ctx.Err() {
		return packets, err
	}
	return packets, buffer.Flush()
}
