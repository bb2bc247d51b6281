//go:build lab

package lab

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/topology"
)

// The example of the book, applied as it is: three subnets behind a router, groups
// between the tiers, DHCP and a limit. web1 and db1 share a hypervisor, so that what
// is routed and judged on one switch and across the fabric is both tried, with real
// sockets, from real clients' leases on. The web tier is seen from outside by its
// floating IP, and the others go there by source NAT.
func TestTenantsThreeTiers(t *testing.T) {
	w := newSite(t, topology.GenerateParams{Name: "shop", Spines: 2, Leaves: 2, HypervisorsPerLeaf: 1})
	w.cli("apply", "-f", "../docs/examples/internet.yaml")
	w.internet()
	w.cli("apply", "-f", "../docs/examples/three-tier.yaml")
	guest := &intent.Port{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindPort}, Metadata: intent.Metadata{Tenant: "shop", Name: "guest"},
		Spec: intent.PortSpec{Network: "web", Binding: intent.Binding{IfaceID: "shop-guest"}}}
	w.put(guest)
	w.objects = append(w.objects, w.list(intent.KindPort)...)
	gateways := map[string][]netip.Addr{}
	for _, g := range w.cliGet(intent.Ref{Kind: intent.KindRouter, Tenant: "shop", Name: "main"}).Gateways {
		network, address, _ := strings.Cut(g, " ")
		gateways[network] = append(gateways[network], netip.MustParseAddr(address))
	}
	for vm, hypervisor := range map[string]string{"shop-web1": "hv1", "shop-app1": "hv2", "shop-db1": "hv1", "shop-guest": "hv2"} {
		w.plugPort(hypervisor, vm, gateways[w.portOf(vm).Spec.Network])
	}
	w.ready(patience)
	for vm, ports := range map[string][]uint16{"shop-web1": {443, 80}, "shop-app1": {8000, 8080, 8081, 9090, 514}, "shop-db1": {5432, 5433}, "shop-guest": {443}} {
		w.serve(vm, ports...)
	}

	const web, app, db, out = "shop-web1", "shop-app1", "shop-db1", "shop-guest"
	w.attempts([]attempt{
		// Users reach the web tier, by what it offers.
		{out, web, "tcp", 443, true}, {out, web, "ping", 0, true}, {out, web, "tcp", 80, false}, {out, web, "udp", 443, false},
		{app, web, "tcp", 443, true}, {app, web, "ping", 0, true}, {app, web, "tcp", 80, false}, {app, web, "udp", 443, false},
		// The web tier reaches the app tier, and nobody else there.
		{web, app, "tcp", 8000, true}, {web, app, "tcp", 8080, true}, {web, app, "tcp", 8081, false}, {web, app, "tcp", 9090, false},
		{web, app, "udp", 8000, false}, {web, app, "udp", 514, false}, {web, app, "ping", 0, false}, {out, app, "tcp", 8000, false},
		// The app tier reaches the database, which answers and tells only the app tier.
		{app, db, "tcp", 5432, true}, {app, db, "tcp", 5433, false}, {app, db, "ping", 0, false}, {web, db, "tcp", 5432, false}, {out, db, "tcp", 5432, false},
		{db, app, "tcp", 9090, true}, {db, app, "udp", 514, true}, {db, app, "tcp", 8000, false}, {db, web, "tcp", 443, false}, {db, web, "ping", 0, false}, {db, out, "udp", 443, false},
		// Egress is open where no group has a rule for it.
		{web, out, "tcp", 443, true}, {web, out, "udp", 443, true}, {app, out, "udp", 443, true}, {app, out, "ping", 0, true},
	})
	w.shopOutside(web, app, db)
	lease := w.dhcp(web).lease("bound")
	require.Contains(t, lease, "ip="+w.address(web, 4).String()+"\n")
	require.Contains(t, lease, "router="+gateways["web"][0].String()+"\n")
	require.Contains(t, lease, "domain=shop.example\n")

	text := w.cli("describe", "port", "app1", "-t", "shop")
	require.Regexp(t, `app\[0\] +ingress tcp 8000-8080 from group web +[1-9]`, text)
	require.Regexp(t, `app\[2\] +ingress udp 514 from group db +[1-9]`, text)

	// Without the router no tier reaches another, and the groups stay.
	live := w.chat(web, w.address(app, 4), 8080)
	live.lives(w, "before the router goes")
	gone := time.Now()
	w.delete(intent.Ref{Kind: intent.KindFloatingIP, Tenant: "shop", Name: "web"})
	w.delete(intent.Ref{Kind: intent.KindRouter, Tenant: "shop", Name: "main"})
	live.ends(w, gone)
	w.attempts([]attempt{{web, app, "tcp", 8000, false}, {db, app, "udp", 514, false}, {out, web, "tcp", 443, true}, {out, web, "tcp", 80, false}})
	w.cli("apply", "-f", "../docs/examples/three-tier.yaml")
	w.attempts([]attempt{{web, app, "tcp", 8000, true}, {app, db, "tcp", 5432, true}, {web, db, "tcp", 5432, false}})
	w.eventually(patience, func() error { return w.reach(internetNode, floatingWeb, "tcp", 443, time.Second) })
}

// floatingWeb is the web tier's address outside.
var floatingWeb = netip.MustParseAddr("203.0.113.10")

// shopOutside: from outside the web tier answers by its floating IP, by what its
// group allows, and nobody else does; the tiers reach outside as their groups let
// them, each known by its own address there.
func (w *site) shopOutside(web, app, db string) {
	w.Helper()
	address := floatingWeb
	w.eventually(patience, func() error { return w.reach(internetNode, address, "tcp", 443, time.Second) })
	w.eventually(patience, func() error { return w.reach(internetNode, address, "ping", 0, time.Second) })
	for _, c := range []struct {
		to    netip.Addr
		proto string
		port  uint16
	}{{address, "tcp", 80}, {address, "udp", 443}, {w.sources("hv1", false), "tcp", 443}, {w.sources("hv2", false), "tcp", 8000}} {
		require.Error(w, w.reach(internetNode, c.to, c.proto, c.port, refusedAfter), "%+v", c)
	}
	const who = 8443
	for _, s := range []netip.Addr{server4, server6} {
		w.who(internetNode, netip.AddrPortFrom(s, who))
	}
	w.seenAs(web, netip.AddrPortFrom(server4, who), address)
	w.seenAs(web, netip.AddrPortFrom(server6, who), w.sources("hv1", true))
	w.seenAs(app, netip.AddrPortFrom(server4, who), w.sources("hv2", false))
	w.unseen(db, netip.AddrPortFrom(server4, who)) // its group lets it talk to the app tier alone
	require.Equal(w, intent.PhaseReady, w.cliGet(intent.Ref{Kind: intent.KindFloatingIP, Tenant: "shop", Name: "web"}).Phase)
	require.Equal(w, intent.PhaseReady, w.cliGet(intent.Ref{Kind: intent.KindRouter, Tenant: "shop", Name: "main"}).Phase)
}

// plugPort makes the VM of a port, with the port's MAC and addresses, and default
// routes by its network's gateways.
func (w *site) plugPort(hypervisor, vm string, gateways []netip.Addr) {
	w.Helper()
	p := w.portOf(vm)
	var addresses []netip.Prefix
	for _, a := range p.Spec.Addresses {
		i := slices.IndexFunc(w.networkOf(p).Spec.Subnets, func(s netip.Prefix) bool { return s.Contains(a) })
		addresses = append(addresses, netip.PrefixFrom(a, w.networkOf(p).Spec.Subnets[i].Bits()))
	}
	w.plug(hypervisor, vm, p.Spec.MAC, addresses...)
	require.NoError(w, netns.Do(w.Namespace(vm), func() error {
		for _, g := range gateways {
			if err := addGateway(Gateway{Interface: "eth1", Via: g}); err != nil {
				return err
			}
		}
		return nil
	}))
}
