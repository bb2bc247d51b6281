//go:build lab

package evpn

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

// betweenTarget is the route target by which two fabrics know the network.
const betweenTarget = "65500:100"

// runFabric is a controller whose peer is the speaker of another fabric, and dials.
// It announces its MACs with the target between the fabrics, and one more that has
// only the automatic one.
func (c child) runFabric(ctx context.Context, log *slog.Logger) error {
	l, err := Listen(netip.MustParseAddrPort("10.0.0.2:179"))
	if err != nil {
		return err
	}
	go func() { _ = l.Run(ctx) }()
	s := New(Config{ASN: 65000, Prepend: 65000, Fabric: true, Listener: l, RouterID: netip.MustParseAddr("10.0.0.2"), Logger: log,
		OnRoutes: func(_ string, list []Change) {
			for i, k := range keys(list) {
				fmt.Println(k, "by", list[i].VTEP, list[i].Targets)
			}
		}})
	if err := s.SetPeers([]Peer{c.Peer}); err != nil {
		return err
	}
	target, err := intent.ParseRouteTarget(betweenTarget)
	if err != nil {
		return err
	}
	routes := []table.Route{imet(labVNI, labVTEP)}
	for _, m := range c.MACs {
		routes = append(routes, macIP(labVNI, intent.MAC{2, 0, 0, 0, 0, m}, "", labVTEP))
	}
	for i := range routes {
		routes[i].Targets = []intent.RouteTarget{target}
	}
	routes = append(routes, labRoute(macIP(labVNI, intent.MAC{2, 0, 0, 0, 0, 99}, "", labVTEP), 65000))
	if err := s.Announce(routes, nil); err != nil {
		return err
	}
	s.Open()
	return s.Run(ctx)
}

const frrFabricConf = `frr defaults datacenter
router bgp 65001
 bgp router-id 10.255.0.1
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor 10.0.0.2 remote-as 65000
 neighbor 10.0.0.2 password between-us
 neighbor 10.0.0.2 timers connect 1
 address-family l2vpn evpn
  neighbor 10.0.0.2 activate
  neighbor 10.0.0.2 attribute-unchanged next-hop
  advertise-all-vni
  vni 100
   route-target import 65500:100
   route-target export 65500:100
  exit-vni
 exit-address-family
`

// An EVPN router of FRR's is an external peer as another controller is: each knows
// the other's VTEPs as next hops, by the target between them and by no other.
func TestAnotherFabricOfFRR(t *testing.T) {
	b := newBench(t)
	b.frrWith(frrFabricConf)
	peer := Peer{Name: "frr", Address: netip.MustParseAddrPort("10.0.0.1:179"), ASN: 65001, LocalASN: 65000, Password: "between-us", Passive: true, HoldTime: 9 * time.Second}
	c := child{Peer: peer, MACs: []byte{1, 2, 3}, Fabric: true}
	controller := b.child(b.ctl, "controller", c)
	b.until("FDB entries", func() bool { return b.forwards(1, 2, 3) })
	b.until("one that is in no network there", func() bool { return strings.Contains(b.vtysh("show bgp l2vpn evpn"), "02:00:00:00:00:63") })
	require.True(t, b.forwards(1, 2, 3), b.fdb())
	b.until("FRR's own route", func() bool {
		return strings.Contains(controller.text(), "10.255.0.1 by 10.255.0.1 ["+betweenTarget+"]")
	})
	controller.kill()
	c.MACs = []byte{1, 3}
	controller = b.child(b.ctl, "controller", c)
	b.until("what is gone is gone", func() bool { return b.forwards(1, 3) })
	b.until("FRR's own route again", func() bool { return strings.Contains(controller.text(), "10.255.0.1 by 10.255.0.1") })
}
