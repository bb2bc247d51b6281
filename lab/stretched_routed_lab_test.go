//go:build lab

package lab

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
)

// TestTenantsStretchedRouted has two networks that are both stretched, and a router on
// them in each fabric: what is routed at its source in one fabric comes to a station
// of the other, and back. The gateway is the same in both, so that a VM which moves
// keeps it.
func TestTenantsStretchedRouted(t *testing.T) {
	f := newFabrics(t)
	const greenVNI = intent.VNI(10300)
	red := []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24"), netip.MustParsePrefix("fd00:0:0:9::/64")}
	green := []netip.Prefix{netip.MustParsePrefix("10.8.0.0/24"), netip.MustParsePrefix("fd00:0:0:8::/64")}
	for i, w := range f.sites {
		w.put(&intent.Network{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindNetwork}, Metadata: intent.Metadata{Tenant: "red", Name: "green"},
			Spec: intent.NetworkSpec{VNI: greenVNI, Subnets: green}})
		w.put(&intent.Router{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindRouter}, Metadata: intent.Metadata{Tenant: "red", Name: "r"},
			Spec: intent.RouterSpec{Networks: []intent.RouterNetwork{{Network: "red"}, {Network: "green"}}}})
		c := f.interconnect(i)
		c.Spec.Networks = append(c.Spec.Networks, intent.StretchedNetwork{Tenant: "red", Network: "green", RouteTarget: "65500:10300"})
		w.put(c)
	}
	at := func(subnets []netip.Prefix, host byte) []netip.Prefix {
		var out []netip.Prefix
		for _, s := range subnets {
			a := s.Addr().AsSlice()
			a[len(a)-1] = host
			addr, _ := netip.AddrFromSlice(a)
			out = append(out, netip.PrefixFrom(addr, s.Bits()))
		}
		return out
	}
	type vm struct {
		name, network string
		site, host    int
	}
	vms := []vm{{"rw", "red", 0, 131}, {"gw", "green", 0, 132}, {"re", "red", 1, 133}, {"ge", "green", 1, 134}}
	subnets := map[string][]netip.Prefix{"red": red, "green": green}
	for _, v := range vms {
		w, mine := f.sites[v.site], at(subnets[v.network], byte(v.host))
		mac := intent.MAC{2, 0x5e, 0, 0, 1, byte(v.host)}
		w.plug("hv1", v.name, mac, mine...)
		require.NoError(t, netns.Do(w.Namespace(v.name), func() error {
			for _, g := range at(subnets[v.network], 1) {
				if err := addGateway(Gateway{Interface: "eth1", Via: g.Addr()}); err != nil {
					return err
				}
			}
			return nil
		}))
		p := &intent.Port{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindPort}, Metadata: intent.Metadata{Tenant: "red", Name: v.name},
			Spec: intent.PortSpec{Network: v.network, Binding: intent.Binding{IfaceID: v.name}, MAC: mac}}
		for _, a := range mine {
			p.Spec.Addresses = append(p.Spec.Addresses, a.Addr())
		}
		w.put(p)
	}
	ping := func(from, to vm, family int) error {
		a := at(subnets[to.network], byte(to.host))[family].Addr()
		out, err := exec.Command("ip", "netns", "exec", f.sites[from.site].Namespace(from.name), "ping", "-n", "-c", "1", "-W", "1", a.String()).CombinedOutput()
		want := "ttl=64"
		if from.network != to.network {
			want = "ttl=63"
		}
		if err == nil && !strings.Contains(string(out), want) {
			err = fmt.Errorf("%s is not in the answer", want)
		}
		if err != nil {
			return fmt.Errorf("%s to %s at %s: %w: %s", from.name, to.name, a, err, out)
		}
		return nil
	}
	for _, from := range vms {
		for _, to := range vms {
			if from == to {
				continue
			}
			for family := range 2 {
				f.sites[0].eventually(patience, func() error { return ping(from, to, family) })
			}
		}
	}
	seen := f.crossing(func() {
		for _, from := range vms {
			for _, to := range vms {
				for family := range 2 {
					if from != to {
						require.NoError(t, ping(from, to, family))
					}
				}
			}
		}
	})
	t.Logf("tunnelled packets on the links between the fabrics, by VNI: %v", seen)
	require.Len(t, seen, 2, "only the L2VNIs of what is stretched cross, and no L3VNI")
	require.NotZero(t, seen[fmt.Sprint(redVNI)])
	require.NotZero(t, seen[fmt.Sprint(greenVNI)])
}
