//go:build bench

package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFloor measures what the switches need for the interfaces alone, with no
// controller at all: no controller can be faster than that.
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
		require.Eventually(t, func() bool {
			return run(t, nil, "ovs-vsctl", "--db="+h.db(), "--bare", "--columns=name", "find", "interface", "type=dummy", "ofport=[]") == ""
		}, time.Minute, 20*time.Millisecond, h.name)
		ports += *nNetworks * *perEach
	}
	fmt.Printf("interfaces alone: %d on %d switches in %s, CPU of the switches %s\n", ports, len(sb.hvs),
		time.Since(began).Round(time.Millisecond), cpu(t, sb.pids...)-before)
}
