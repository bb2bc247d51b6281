//go:build budget

package overlay

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/budget"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// endpoints gives n ports of 100 a network, on 50 edges that report them.
func endpoints(n int) (nets []*intent.Network, ports []*intent.Port, reports map[string][]Interface) {
	reports = map[string][]Interface{}
	for i := range n {
		if i%100 == 0 {
			nets = append(nets, network(fmt.Sprintf("net%d", i/100), intent.VNI(1000+i/100)))
		}
		id := fmt.Sprintf("port-%07d", i)
		p := port(id, fmt.Sprintf("net%d", i/100), 0, intent.Binding{IfaceID: id})
		b := binary.BigEndian.AppendUint32(nil, uint32(i))
		p.Spec.MAC = intent.MAC{2, 1, b[0], b[1], b[2], b[3]}
		p.Spec.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, b[1], b[2], b[3]})}
		ports = append(ports, p)
		hv := fmt.Sprintf("hv%d", 1+i%50)
		reports[hv] = append(reports[hv], Interface{Name: "tap" + id, IfaceID: id, OFPort: uint32(i/50 + 1)})
	}
	return nets, ports, reports
}

func edges(m *Model, reports map[string][]Interface) {
	for i := 1; i <= 50; i++ {
		n := hypervisor(i)
		m.Put(n)
		m.Observe(n.Metadata.Name, reports[n.Metadata.Name])
	}
}

func TestBudget(t *testing.T) {
	const n = 20_000
	counts := map[string]float64{}
	counts["heap bytes of an endpoint in the model"] = budget.Heap(n, func() any {
		m := NewModel()
		nets, ports, reports := endpoints(n)
		for _, o := range nets {
			m.Put(o)
		}
		edges(m, reports)
		for _, p := range ports {
			m.Put(p)
		}
		m.Touched()
		return m
	})

	m := NewModel()
	nets, ports, reports := endpoints(n)
	for _, o := range nets {
		m.Put(o)
	}
	edges(m, reports)
	counts["allocations to add a port"] = budget.Allocs(n, func() {
		for _, p := range ports {
			m.Put(p)
			m.Touched()
		}
	})
	counts["allocations to put a port that is so already"] = budget.Allocs(n, func() {
		for _, p := range ports {
			m.Put(p)
			m.Touched()
		}
	})
	// One port in a network with an edge for each of 50: who hears of it, and
	// how much is there to read.
	v := intent.VNI(1000)
	at := m.Segment(v).Rev()
	r := ports[3].Ref()
	m.Delete(r)
	nodes, vnis := m.Touched()
	require.Equal(t, []intent.VNI{v}, vnis)
	counts["edges whose own ports changed, port deleted"] = float64(len(nodes))
	counts["rows to read, port deleted"] = float64(rowsSince(m, v, &at))
	m.Put(ports[3])
	nodes, _ = m.Touched()
	counts["edges whose own ports changed, port added"] = float64(len(nodes))
	counts["rows to read, port added"] = float64(rowsSince(m, v, &at))
	counts["allocations to delete a port"] = budget.Allocs(n, func() {
		for _, p := range ports {
			m.Delete(p.Ref())
			m.Touched()
		}
	})
	floatingBudget(t, counts)
	budget.Check(t, counts)
}

// floatingBudget counts who hears of a floating IP more, and how much there is to
// read, where 50 edges have ports of a router that leads outside.
func floatingBudget(t *testing.T, counts map[string]float64) {
	m := NewModel()
	nets, ports, reports := endpoints(100)
	nets[0].Spec.Subnets = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	m.Put(nets[0])
	edges(m, reports)
	for _, p := range ports {
		m.Put(p)
	}
	m.Put(&intent.ExternalNetwork{Metadata: intent.Metadata{Name: "x"}, Spec: intent.ExternalNetworkSpec{VNI: 900}})
	r := &intent.Router{Metadata: intent.Metadata{Name: "r", Tenant: "t"}, Spec: intent.RouterSpec{VNI: 901, Networks: []intent.RouterNetwork{{Network: nets[0].Metadata.Name}},
		External: &intent.RouterExternal{Network: "x", SNAT: true}}}
	m.Put(r)
	m.Touched()
	at := m.segment(900).Rev()
	m.Put(&intent.FloatingIP{Metadata: intent.Metadata{Name: "f", Tenant: "t"}, Spec: intent.FloatingIPSpec{External: "x", Address: netip.MustParseAddr("203.0.113.9"), Port: ports[3].Metadata.Name}})
	nodes, vnis := m.Touched()
	require.Equal(t, []intent.VNI{900}, vnis)
	counts["edges whose own ports changed, floating IP added"] = float64(len(nodes))
	counts["rows to read, floating IP added"] = float64(rowsSince(m, 900, &at))
}

func rowsSince(m *Model, v intent.VNI, at *evpn.Revision) (n int) {
	for range m.Segment(v).Changes(*at) {
		n++
	}
	*at = m.Segment(v).Rev()
	return n
}
