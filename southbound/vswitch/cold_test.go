package vswitch

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// Each network has 100 endpoints on ten edges, each edge ten endpoints of one.
const (
	perNetwork = 100
	perEdge    = 10
)

// dataCentre is the intent of so many endpoints, and what their edges report.
type dataCentre struct {
	objects []intent.Object
	reports map[string][]overlay.Interface
}

func newDataCentre(endpoints int) *dataCentre {
	d := &dataCentre{reports: map[string][]overlay.Interface{}}
	for i := range endpoints / perEdge {
		name := fmt.Sprintf("hv%d", i)
		d.objects = append(d.objects, &intent.Node{Metadata: intent.Metadata{Name: name}, Spec: intent.NodeSpec{Role: intent.RoleHypervisor,
			VTEP: netip.AddrFrom4([4]byte{10, 64, byte(i >> 8), byte(i)}), VSwitch: &intent.VSwitch{}}})
	}
	for i := range endpoints {
		id, name := fmt.Sprint(i), fmt.Sprintf("hv%d", i/perEdge)
		if i%perNetwork == 0 {
			d.objects = append(d.objects, network(fmt.Sprintf("n%d", i/perNetwork), intent.VNI(1000+i/perNetwork)))
		}
		b := binary.BigEndian.AppendUint32(nil, uint32(i))
		d.objects = append(d.objects, &intent.Port{Metadata: intent.Metadata{Name: id, Tenant: "t"}, Spec: intent.PortSpec{
			Network: fmt.Sprintf("n%d", i/perNetwork), Binding: intent.Binding{IfaceID: id}, MAC: intent.MAC{2, 0, b[0], b[1], b[2], b[3]},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + i%perNetwork)})}}})
		d.reports[name] = append(d.reports[name], overlay.Interface{Name: "tap" + id, IfaceID: id, OFPort: uint32(1 + i%perEdge)})
	}
	return d
}

func network(name string, v intent.VNI) *intent.Network {
	return &intent.Network{Metadata: intent.Metadata{Name: name, Tenant: "t"}, Spec: intent.NetworkSpec{VNI: v}}
}

// compileAll makes the rows, and all flow-mods of all edges, from nothing.
func (d *dataCentre) compileAll() (rules, octets int) {
	m := overlay.NewModel()
	for _, o := range d.objects {
		m.Put(o)
	}
	for name, ifaces := range d.reports {
		m.Observe(name, ifaces)
	}
	var buf []byte
	for _, name := range m.Edges() {
		p := pipeline{vtep: m.Node(name).Spec.VTEP, tunnels: map[intent.Encapsulation]uint32{standardTunnel: 65000}}
		buf = buf[:0]
		emit := func(fs []openflow.Flow) {
			for _, f := range fs {
				buf = openflow.FlowMod{Flow: f}.AppendTo(buf, uint32(rules))
				rules++
			}
		}
		emit(p.base())
		local := m.Local(name)
		for _, l := range local {
			emit(p.port(l))
		}
		for v, ports := range byVNI(local) {
			emit(p.network(v))
			var imet []evpn.Row
			for r := range m.Segment(v).Changes(0) {
				if r.Type == evpn.IMET {
					imet = append(imet, r)
				}
				emit(p.row(v, r))
			}
			emit(p.flood(v, replication{slices.Clone(ports), (*vtepList)(nil).with(imet)}))
		}
		octets += len(buf)
	}
	return rules, octets
}

// What an endpoint costs does not depend on how many there are.
func TestRulesPerEndpointAreConstant(t *testing.T) {
	per := func(endpoints int) float64 {
		rules, _ := newDataCentre(endpoints).compileAll()
		return float64(rules) / float64(endpoints)
	}
	few := per(1000)
	for _, n := range []int{4000, 40_000} {
		require.Equal(t, few, per(n), "%d endpoints", n)
	}
}

// BenchmarkColdCompile is all of a cold start but the reading of the store and the
// sending: intent to rows, rows to flows, flows to octets. It uses one core.
func BenchmarkColdCompile(b *testing.B) {
	for _, n := range []int{1000, 10_000, 40_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := newDataCentre(n)
			rules := 0
			b.ReportAllocs()
			for b.Loop() {
				r, _ := d.compileAll()
				rules += r
			}
			b.ReportMetric(float64(rules)/b.Elapsed().Seconds(), "rules/s")
			b.ReportMetric(float64(rules)/float64(b.N)/float64(n), "rules/endpoint")
		})
	}
}
