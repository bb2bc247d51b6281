//go:build bench

package bench

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// TestFloor measures what the switches need by themselves, with no controller at
// all: no controller can be faster than that.
func TestFloor(t *testing.T) {
	sb := newSandbox(t, *nHypervisors)
	before, began := cpu(t, sb.pids...), time.Now()
	ports := 0
	sb.each(func(i int, h *hypervisor) {
		var ids []string
		for n := 1; n <= *nNetworks; n++ {
			for p := 1; p <= *perEach; p++ {
				ids = append(ids, portID(n, i+1, p))
			}
		}
		h.plug(t, ids...)
	})
	for _, h := range sb.hvs {
		sb.opened(h)
		ports += *nNetworks * *perEach
	}
	fmt.Printf("interfaces alone: %d on %d switches in %s, CPU of the switches %s\n", ports, len(sb.hvs),
		time.Since(began).Round(time.Millisecond), cpu(t, sb.pids...)-before)
	floorOfOnePort(t, sb)
}

// opened waits until a switch has opened all its interfaces.
func (s *sandbox) opened(h *hypervisor) {
	require.Eventually(s.t, func() bool {
		return run(s.t, nil, "ovs-vsctl", "--db="+h.db(), "--bare", "--columns=name", "find", "interface", "type=dummy", "ofport=[]") == ""
	}, time.Minute, 20*time.Millisecond, h.name)
}

// floorOfOnePort measures what one more port costs when somebody knows what all
// switches must be sent before it happens: an interface is plugged on one, then a
// MAC and an ARP flow goes to all at once.
func floorOfOnePort(t *testing.T, sb *sandbox) {
	ctx := t.Context()
	conns := make([]*openflow.Conn, len(sb.hvs))
	station := func(i int) []openflow.FlowMod {
		mac := intent.MAC{2, 1, 0, byte(i >> 16), byte(i >> 8), byte(i)}
		var mods []openflow.FlowMod
		for table := uint8(40); table < 42; table++ {
			mods = append(mods, openflow.FlowMod{Command: openflow.FlowAdd, Flow: openflow.Flow{Table: table, Priority: 100,
				Match:        openflow.NewMatch(openflow.Metadata(uint64(i%*nNetworks)), openflow.EthDst(mac)),
				Instructions: openflow.NewInstructions(openflow.GotoTable(table + 10))}})
		}
		return mods
	}
	sb.each(func(i int, h *hypervisor) {
		c, err := openflow.Dial(ctx, "unix:"+h.dir+"/br-int.mgmt", openflow.Config{})
		require.NoError(t, err)
		conns[i] = c
		t.Cleanup(c.Close)
		var all []openflow.FlowMod
		for n := range *nNetworks * *perEach * *nHypervisors {
			all = append(all, station(n)...)
		}
		require.NoError(t, c.Bundle(ctx, all))
	})
	var plugged, sent []int64
	used := cpu(t, sb.pids...)
	for k := range *nExtra {
		began := time.Now()
		sb.hvs[0].plug(t, fmt.Sprintf("extra%d", k))
		plugged = append(plugged, time.Since(began).Microseconds())
		began = time.Now()
		sendAll(ctx, t, conns, station(1<<20+k))
		sent = append(sent, time.Since(began).Microseconds())
		sb.opened(sb.hvs[0])
	}
	p, _ := spread(plugged)
	s, most := spread(sent)
	fmt.Printf("one more port: ovs-vsctl p50 %.1f ms, then the flows of it on all switches p50 %.1f ms, most %.1f ms, CPU of the switches %s\n",
		float64(p)/1000, float64(s)/1000, float64(most)/1000, (cpu(t, sb.pids...)-used)/time.Duration(*nExtra))
}

func sendAll(ctx context.Context, t *testing.T, conns []*openflow.Conn, mods []openflow.FlowMod) {
	var wg sync.WaitGroup
	errs := make([]error, len(conns))
	for i, c := range conns {
		wg.Go(func() { errs[i] = c.Bundle(ctx, mods) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}
