//go:build lab

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/apiutil"
	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
)

// foreign is an EVPN leaf of another make: a gobgpd of Debian's on the management
// network.
type foreign struct {
	*site
	name string
	vtep netip.Addr
	node intent.Node
	api  api.GobgpApiClient
}

const (
	foreignASN = 65009
	foreignRPC = "127.0.0.1:50051"
)

var (
	foreignLink = [2]netip.Prefix{netip.MustParsePrefix("10.250.0.0/31"), netip.MustParsePrefix("10.250.0.1/31")} // leaf1, far1
	evpnFamily  = &api.Family{Afi: api.Family_AFI_L2VPN, Safi: api.Family_SAFI_EVPN}
)

const foreignConf = `[global.config]
  as = %d
  router-id = "%s"
%s
[[neighbors]]
  [neighbors.config]
    neighbor-address = "%s"
    peer-as = %d
  [neighbors.transport.config]
    passive-mode = true
  [neighbors.graceful-restart.config]
    enabled = %t
    restart-time = 60
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "l2vpn-evpn"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = %[6]t
`

// deafConf refuses all that the controller announces. gobgpd 3.10 panics when
// somebody's flood route comes, or becomes stale, while it has a MAC/IP route of
// its own; so one leaf speaks, and another one hears.
const deafConf = `
  [global.apply-policy.config]
    import-policy-list = ["deaf"]
    default-import-policy = "accept-route"
[[defined-sets.neighbor-sets]]
  neighbor-set-name = "controller"
  neighbor-info-list = ["%s"]
[[policy-definitions]]
  name = "deaf"
  [[policy-definitions.statements]]
    name = "deaf"
    [policy-definitions.statements.conditions.match-neighbor-set]
      neighbor-set = "controller"
    [policy-definitions.statements.actions]
      route-disposition = "reject-route"
`

// foreign adds a leaf to a running lab, which the controller does not know yet.
// One that speaks is deaf.
func (w *site) foreign(name, vtep string, speaks bool) *foreign {
	w.Helper()
	f := &foreign{site: w, name: name, vtep: netip.MustParseAddr(vtep)}
	mgmt := w.controllerMgmt()
	for _, n := range w.Nodes {
		if n.Mgmt.IsValid() && mgmt.Addr().Less(n.Mgmt.Addr()) {
			mgmt = n.Mgmt
		}
	}
	mgmt = netip.PrefixFrom(mgmt.Addr().Next(), mgmt.Bits())
	f.node = intent.Node{Metadata: intent.Metadata{Name: name}, Spec: intent.NodeSpec{Role: intent.RoleLeaf, ASN: foreignASN, VTEP: f.vtep,
		EVPN: &intent.EVPN{Address: mgmt.Addr(), Unmanaged: true}}}
	w.Nodes = append(w.Nodes, Node{Name: name, Kind: "linux", Role: intent.RoleLeaf, Mgmt: mgmt})
	require.NoError(w, w.save())
	require.NoError(w, makeNamespace(w.Namespace(name), hostSysctls))
	require.NoError(w, joinMgmt(w.State.Name, name, "eth0", len(w.Nodes)+1, mgmt))
	f.start(mgmt.Addr(), speaks)
	return f
}

// underlay joins the leaf to leaf1, whose bgpd announces its VTEP address and
// those of others that are behind it.
func (f *foreign) underlay(behind ...*foreign) {
	f.Helper()
	f.Links = append(f.Links, Link{A: End{Node: "leaf1", Interface: "far"}, B: End{Node: f.name, Interface: "eth1"}, MTU: vmMTU})
	require.NoError(f, f.save())
	require.NoError(f, makeLink(f.State.Name, f.Links[len(f.Links)-1]))
	route := func(to netip.Prefix, by netip.Addr) error {
		dst := &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())}
		return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: by.AsSlice()})
	}
	require.NoError(f, netns.Do(f.Namespace("leaf1"), func() error { return addAddress(Address{"far", foreignLink[0]}) }))
	require.NoError(f, netns.Do(f.Namespace(f.name), func() error {
		return errors.Join(addAddress(Address{"eth1", foreignLink[1]}), route(netip.MustParsePrefix("10.0.0.0/8"), foreignLink[0].Addr()))
	}))
	for _, b := range append(behind, f) {
		vtep := netip.PrefixFrom(b.vtep, b.vtep.BitLen())
		require.NoError(f, netns.Do(f.Namespace("leaf1"), func() error { return route(vtep, foreignLink[1].Addr()) }))
		require.NoError(f, netns.Do(f.Namespace(f.name), func() error { return addAddress(Address{"lo", vtep}) }))
		out, err := exec.Command("vtysh", "--vty_socket", f.NodeDir("leaf1"), "-c", "configure terminal", "-c", fmt.Sprintf("router bgp %d", f.specOf("leaf1").ASN),
			"-c", "address-family ipv4 unicast", "-c", "network "+vtep.String()).CombinedOutput()
		require.NoError(f, err, "%s", out)
		f.eventually(patience, func() error {
			out, err := exec.Command("ip", "-n", f.Namespace("leaf2"), "route", "get", b.vtep.String()).CombinedOutput()
			if err != nil {
				return fmt.Errorf("leaf2 has no route to the VTEP: %s", out)
			}
			return nil
		})
	}
}

// start runs gobgpd and connects to its API.
func (f *foreign) start(at netip.Addr, deaf bool) {
	f.Helper()
	dir := f.NodeDir(f.name)
	require.NoError(f, os.MkdirAll(dir, 0o755))
	conf := filepath.Join(dir, "gobgpd.toml")
	controller, policy := f.controllerMgmt().Addr(), ""
	if deaf {
		policy = fmt.Sprintf(deafConf, controller)
	}
	require.NoError(f, os.WriteFile(conf, fmt.Appendf(nil, foreignConf, foreignASN, at, policy, controller, foreignASN, !deaf), 0o644))
	log := filepath.Join(dir, "gobgpd.log")
	f.Cleanup(func() {
		if f.Failed() {
			f.Logf("gobgpd of %s:%s", f.name, logTail(log, 40))
		}
	})
	r := &run{state: f.State, progress: silent{}}
	require.NoError(f, r.daemon(f.Context(), program{node: f.name, name: "gobgpd", log: log,
		args: []string{"gobgpd", "-f", conf, "--api-hosts", foreignRPC, "--pprof-disable"}}))
	conn, err := grpc.NewClient("passthrough:///"+foreignRPC, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (conn net.Conn, err error) {
			err = netns.Do(f.Namespace(f.name), func() (err error) {
				conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", addr)
				return err
			})
			return conn, err
		}))
	require.NoError(f, err)
	f.Cleanup(func() { _ = conn.Close() })
	f.api = api.NewGobgpApiClient(conn)
	f.eventually(patience, func() error {
		_, err := f.api.GetBgp(f.Context(), &api.GetBgpRequest{})
		return err
	})
}

// established waits for the session with the controller, and returns when it was
// not there yet.
func (f *foreign) established() (before time.Time) {
	f.Helper()
	f.eventually(patience, func() error {
		asked := time.Now()
		s, err := f.api.ListPeer(f.Context(), &api.ListPeerRequest{})
		if err != nil {
			return err
		}
		p, err := s.Recv()
		if err != nil {
			return err
		}
		if got := p.Peer.State.SessionState; got != api.PeerState_ESTABLISHED {
			before = asked
			return fmt.Errorf("the session is %s", got)
		}
		return nil
	})
	return before
}

// path makes an announcement of the leaf in a VNI.
func (f *foreign) path(vni intent.VNI, route uint8, data packet.EVPNRouteTypeInterface) *api.Path {
	f.Helper()
	attrs := []packet.PathAttributeInterface{
		packet.NewPathAttributeOrigin(packet.BGP_ORIGIN_ATTR_TYPE_INCOMPLETE),
		packet.NewPathAttributeNextHop(f.vtep.String()),
		packet.NewPathAttributeExtendedCommunities([]packet.ExtendedCommunityInterface{
			packet.NewTwoOctetAsSpecificExtended(packet.EC_SUBTYPE_ROUTE_TARGET, foreignASN, uint32(vni), true),
			packet.NewEncapExtended(packet.TUNNEL_TYPE_VXLAN),
		}),
	}
	if route == packet.EVPN_INCLUSIVE_MULTICAST_ETHERNET_TAG {
		attrs = append(attrs, packet.NewPathAttributePmsiTunnel(packet.PMSI_TUNNEL_TYPE_INGRESS_REPL, false, uint32(vni), &packet.IngressReplTunnelID{Value: f.vtep.AsSlice()}))
	}
	p, err := apiutil.NewPath(packet.NewEVPNNLRI(route, data), false, attrs, time.Now())
	require.NoError(f, err)
	return p
}

func (f *foreign) rd(vni intent.VNI) packet.RouteDistinguisherInterface {
	return packet.NewRouteDistinguisherIPAddressAS(f.vtep.String(), uint16(vni))
}

// imet announces that the leaf takes frames to all.
func (f *foreign) imet(vni intent.VNI) *api.Path {
	f.Helper()
	return f.path(vni, packet.EVPN_INCLUSIVE_MULTICAST_ETHERNET_TAG, &packet.EVPNMulticastEthernetTagRoute{RD: f.rd(vni), IPAddressLength: 32, IPAddress: f.vtep.AsSlice()})
}

// station is one of the leaf's stations, by number.
func foreignStation(n int) (intent.MAC, netip.Addr) {
	return intent.MAC{2, 0xfa, 0, byte(n >> 16), byte(n >> 8), byte(n)}, netip.AddrFrom4([4]byte{10, 99, byte(n >> 8), byte(n)})
}

// macIP announces a station with its address.
func (f *foreign) macIP(vni intent.VNI, n int) *api.Path {
	f.Helper()
	mac, ip := foreignStation(n)
	return f.path(vni, packet.EVPN_ROUTE_TYPE_MAC_IP_ADVERTISEMENT, &packet.EVPNMacIPAdvertisementRoute{RD: f.rd(vni), MacAddressLength: 48, MacAddress: mac[:],
		IPAddressLength: 32, IPAddress: ip.AsSlice(), Labels: []uint32{uint32(vni)}})
}

// announce streams announcements.
func (f *foreign) announce(paths []*api.Path) {
	f.Helper()
	s, err := f.api.AddPathStream(f.Context())
	require.NoError(f, err)
	for len(paths) > 0 {
		n := min(len(paths), 500)
		require.NoError(f, s.Send(&api.AddPathStreamRequest{TableType: api.TableType_GLOBAL, Paths: paths[:n]}))
		paths = paths[n:]
	}
	_, err = s.CloseAndRecv()
	require.NoError(f, err)
}

// withdrawAll takes all announcements back.
func (f *foreign) withdrawAll() {
	f.Helper()
	_, err := f.api.DeletePath(f.Context(), &api.DeletePathRequest{TableType: api.TableType_GLOBAL, Family: evpnFamily})
	require.NoError(f, err)
}

// heard counts what the leaf hears from the controller.
type heard struct {
	mu                 sync.Mutex
	updates, withdrawn int
	texts              []string // of what was withdrawn
	err                error
}

func (h *heard) counts() (updates, withdrawn int, texts []string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.updates, h.withdrawn, h.texts, h.err
}

// listen takes all that gobgpd tells about its tables from now on: what it
// hears from its peer, and what is the best path.
func (f *foreign) listen(kind api.WatchEventRequest_Table_Filter_Type) *heard {
	f.Helper()
	h := &heard{}
	s, err := f.api.WatchEvent(f.Context(), &api.WatchEventRequest{Table: &api.WatchEventRequest_Table{Filters: []*api.WatchEventRequest_Table_Filter{{Type: kind, Init: true}}}})
	require.NoError(f, err)
	go func() {
		for {
			r, err := s.Recv()
			if err != nil {
				h.mu.Lock()
				if !errors.Is(err, io.EOF) && f.Context().Err() == nil {
					h.err = err
				}
				h.mu.Unlock()
				return
			}
			h.mu.Lock()
			for _, p := range r.GetTable().GetPaths() {
				if p.IsWithdraw {
					h.withdrawn++
					if d, err := apiutil.GetNativeNlri(p); err == nil && len(h.texts) < 5 {
						h.texts = append(h.texts, d.String())
					}
				} else {
					h.updates++
				}
			}
			h.mu.Unlock()
		}
	}()
	return h
}
