package overlay

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
	"pgregory.net/rapid"
)

func hypervisor(i int) *intent.Node {
	return &intent.Node{Metadata: intent.Metadata{Name: fmt.Sprintf("hv%d", i)}, Spec: intent.NodeSpec{
		Role: intent.RoleHypervisor, VTEP: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), VSwitch: &intent.VSwitch{OVSDB: "tcp:127.0.0.1:6640"}}}
}

func network(name string, vni intent.VNI) *intent.Network {
	return &intent.Network{Metadata: intent.Metadata{Name: name, Tenant: "t"}, Spec: intent.NetworkSpec{VNI: vni}}
}

func port(name, net string, i byte, b intent.Binding) *intent.Port {
	return &intent.Port{Metadata: intent.Metadata{Name: name, Tenant: "t"}, Spec: intent.PortSpec{Network: net, Binding: b,
		MAC: intent.MAC{2, 0, 0, 0, 0, i}, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 168, 0, i})}}}
}

func rowsOf(m *Model, v intent.VNI) []string {
	var out []string
	if s := m.Segment(v); s != nil {
		for r := range s.Rows() {
			out = append(out, fmt.Sprint(r.Type, " ", r.MAC, " ", r.IP, " ", r.VTEP))
		}
	}
	slices.Sort(out)
	return out
}

func TestPortFollowsItsIfaceID(t *testing.T) {
	m := NewModel()
	m.Put(network("web", 100))
	m.Put(hypervisor(1))
	m.Put(hypervisor(2))
	p := port("a", "web", 7, intent.Binding{IfaceID: "vm-a"})
	m.Put(p)
	require.Empty(t, rowsOf(m, 100))
	m.Observe("hv1", []Interface{{Name: "tap0", IfaceID: "vm-a", OFPort: 5}})
	require.Equal(t, []string{"IMET 00:00:00:00:00:00 10.0.0.1 10.0.0.1", "MAC/IP 02:00:00:00:00:07 192.168.0.7 10.0.0.1", "MAC/IP 02:00:00:00:00:07 invalid IP 10.0.0.1"}, rowsOf(m, 100))

	m.Touched()
	m.Observe("hv2", []Interface{{Name: "tap9", IfaceID: "vm-a", OFPort: 2}})
	nodes, vnis := m.Touched()
	require.Equal(t, []string{"hv2"}, nodes, "the place in use stays while it can; the other is prepared")
	require.Equal(t, []intent.VNI{100}, vnis, "frames to all come to the other place from now on")
	require.True(t, m.Local("hv2")[p.Ref()].Standby)

	m.Observe("hv1", nil)
	a, _ := m.Attachment(p.Ref())
	require.Equal(t, "hv2", a.Node)
	r, _ := m.Segment(100).Get(evpn.MACKey(p.Spec.MAC))
	require.Equal(t, uint32(1), r.Seq)
	require.Empty(t, m.Local("hv1"))
	nodes, vnis = m.Touched()
	require.Equal(t, []string{"hv1", "hv2"}, nodes)
	require.Equal(t, []intent.VNI{100}, vnis)

	m.Delete(p.Ref())
	require.Empty(t, rowsOf(m, 100))
	m.Trim(100, 0, 0)
	require.Nil(t, m.Segment(100))
}

// A table that was given up and made anew has none of its former revisions: what
// somebody made of one is never taken for what follows from another.
func TestTablesMadeAnewGoOnWithRevisions(t *testing.T) {
	m := NewModel()
	m.Put(hypervisor(1))
	m.Put(network("web", 100))
	m.Put(port("a", "web", 7, intent.Binding{IfaceID: "a"}))
	last := evpn.Revision(0)
	for range 3 {
		m.Observe("hv1", []Interface{{Name: "tap0", IfaceID: "a", OFPort: 1}})
		for r := range m.Segment(100).Rows() {
			require.Greater(t, r.Rev, last)
		}
		require.Len(t, rowsOf(m, 100), 3, "a MAC, an address and who floods")
		m.Observe("hv1", nil)
		last = m.Segment(100).Rev()
		m.Trim(100, last, 0)
		require.Nil(t, m.Segment(100))
	}
}

func TestUnusablePlacesDoNotCount(t *testing.T) {
	m := NewModel()
	m.Put(network("web", 100))
	m.Put(port("a", "web", 7, intent.Binding{Node: "hv1", Interface: "tap0"}))
	m.Observe("hv1", []Interface{{Name: "tap0", Error: "could not open network device tap0 (No such device)"}})
	require.Empty(t, rowsOf(m, 100))
	require.Len(t, m.Places(intent.Ref{Kind: intent.KindPort, Tenant: "t", Name: "a"}), 1)
	m.Observe("hv1", []Interface{{Name: "tap0", OFPort: 3}})
	require.Empty(t, rowsOf(m, 100), "a node without VTEP carries nothing")
	m.Put(hypervisor(1))
	require.Len(t, rowsOf(m, 100), 3)
}

func TestLearnedStationsAreRowsWhileTheEdgeCarriesTheSegment(t *testing.T) {
	m := NewModel()
	m.Put(network("web", 100))
	m.Put(hypervisor(1))
	station := Learned{VNI: 100, MAC: intent.MAC{2, 9, 9, 9, 9, 9}}
	m.Learn("hv1", []Learned{station})
	require.Empty(t, rowsOf(m, 100), "no port of the network is here")
	for i, vlan := range []uint16{0, 7} {
		p := port(fmt.Sprintf("p%d", vlan), "web", byte(i+1), intent.Binding{Node: "hv1", Interface: "eth1", VLAN: vlan})
		m.Put(p)
	}
	m.Observe("hv1", []Interface{{Name: "eth1", OFPort: 1}})
	require.Len(t, m.Local("hv1"), 2, "two tags on one interface are two ports")
	require.Contains(t, rowsOf(m, 100), "MAC/IP 02:09:09:09:09:09 invalid IP 10.0.0.1")
	m.Learn("hv1", nil)
	require.NotContains(t, rowsOf(m, 100), "MAC/IP 02:09:09:09:09:09 invalid IP 10.0.0.1")
	m.Learn("hv1", []Learned{station})
	m.Observe("hv1", nil)
	require.Empty(t, rowsOf(m, 100))
	m.Delete(intent.Ref{Kind: intent.KindNode, Name: "hv1"})
}

// After any sequence of objects and reports the model equals one that is told
// only the end.
func TestModelEqualsFromScratch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := NewModel()
		objects := map[intent.Ref]intent.Object{}
		reports := map[string][]Interface{}
		put := func(o intent.Object) { m.Put(o); objects[o.Ref()] = o }
		del := func(r intent.Ref) { m.Delete(r); delete(objects, r) }
		reader, at := map[evpn.Key]netip.Addr{}, evpn.Revision(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := rapid.IntRange(1, 3).Draw(t, "i")
			switch rapid.IntRange(0, 7).Draw(t, "op") {
			case 0:
				n := hypervisor(i)
				if rapid.Bool().Draw(t, "renumber") {
					n.Spec.VTEP = netip.AddrFrom4([4]byte{10, 0, 1, byte(i)})
				}
				put(n)
			case 1:
				n := fmt.Sprintf("hv%d", i)
				del(intent.Ref{Kind: intent.KindNode, Name: n})
				delete(reports, n)
			case 2:
				put(network(fmt.Sprintf("n%d", i), intent.VNI(i*10+rapid.IntRange(0, 1).Draw(t, "vni"))))
			case 3:
				del(intent.Ref{Kind: intent.KindNetwork, Tenant: "t", Name: fmt.Sprintf("n%d", i)})
			case 4, 5:
				// Names, networks, addresses and bindings are reused among few.
				name := fmt.Sprintf("p%d", rapid.IntRange(1, 4).Draw(t, "port"))
				b := intent.Binding{IfaceID: name}
				if rapid.Bool().Draw(t, "by place") {
					b = intent.Binding{Node: fmt.Sprintf("hv%d", rapid.IntRange(1, 3).Draw(t, "node")), Interface: "if-" + name}
				}
				p := port(name, fmt.Sprintf("n%d", i), name[1]*10+byte(rapid.IntRange(0, 1).Draw(t, "mac")), b)
				put(p)
			case 6:
				del(intent.Ref{Kind: intent.KindPort, Tenant: "t", Name: fmt.Sprintf("p%d", rapid.IntRange(1, 4).Draw(t, "port"))})
			case 7:
				n := fmt.Sprintf("hv%d", i)
				var ifs []Interface
				for j := range 4 {
					name := fmt.Sprintf("p%d", j+1)
					// An iface-id is on one node only, or the choice depends on history.
					if j%3+1 == i && rapid.Bool().Draw(t, "by id") {
						ifs = append(ifs, Interface{Name: "tap" + name, IfaceID: name, OFPort: rapid.Uint32Range(0, 3).Draw(t, "ofport")})
					}
					if rapid.Bool().Draw(t, "by name") {
						ifs = append(ifs, Interface{Name: "if-" + name, OFPort: rapid.Uint32Range(0, 3).Draw(t, "ofport")})
					}
				}
				m.Observe(n, ifs)
				reports[n] = ifs
			}
			if s := m.Segment(10); s != nil && rapid.Bool().Draw(t, "read") {
				at = follow(s, reader, at)
				m.Trim(10, at, 1)
			}
		}
		want := NewModel()
		for _, o := range objects {
			want.Put(o)
		}
		for n, ifs := range reports {
			want.Observe(n, ifs)
		}
		for v := intent.VNI(10); v < 40; v++ {
			if g, w := rowsOf(m, v), rowsOf(want, v); !slices.Equal(g, w) {
				t.Fatalf("VNI %d\n got %v\nwant %v", v, g, w)
			}
			if g, w := slices.Sorted(m.Carriers(v)), slices.Sorted(want.Carriers(v)); !slices.Equal(g, w) {
				t.Fatalf("VNI %d is carried by %v, want %v", v, g, w)
			}
		}
		for n := range reports {
			g, w := m.Local(n), want.Local(n)
			if len(g) != len(w) {
				t.Fatalf("%s has %v, want %v", n, g, w)
			}
			for r := range w {
				if !g[r].Equal(w[r]) {
					t.Fatalf("%s: %s is %v, want %v", n, r, g[r], w[r])
				}
			}
		}
		if s := m.Segment(10); s != nil {
			follow(s, reader, at)
			if len(reader) != s.Len() {
				t.Fatalf("a reader has %d rows of %d", len(reader), s.Len())
			}
		}
	})
}

func follow(s *evpn.Segment, rows map[evpn.Key]netip.Addr, at evpn.Revision) evpn.Revision {
	for r := range s.Changes(at) {
		if r.Deleted {
			delete(rows, r.Key)
		} else {
			rows[r.Key] = r.VTEP
		}
	}
	return s.Rev()
}
