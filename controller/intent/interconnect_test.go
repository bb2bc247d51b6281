package intent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestInterconnectValidate(t *testing.T) {
	const peer, red = "peers: [{address: 192.0.2.1}]", `{tenant: t, network: red, routeTarget: "65500:1"}`
	line := func(name, iface, octet, more string) string {
		n := octet[0] - '0'
		return fmt.Sprintf("{name: %s, node: leaf1, interface: %s, address: 198.51.100.%d/31, peer: 198.51.100.%d, asn: 4220100001%s}", name, iface, n, n+1, more)
	}
	lines := func(prefixes string, list ...string) string {
		return "{asn: 1, " + peer + ", prefixes: " + prefixes + ", lines: [" + strings.Join(list, ", ") + "]}"
	}
	for name, c := range map[string]struct{ spec, want string }{
		"least":            {"{asn: 64513, " + peer + "}", ""},
		"all":              {`{asn: 64513, peers: [{address: "2001:db8::1", port: 1179, password: secret, maxRoutes: 9, holdTime: 3}, {address: 192.0.2.1, passive: true}], networks: [` + red + `, {tenant: u, network: red, routeTarget: "192.0.2.1:7"}]}`, ""},
		"no AS":            {"{" + peer + "}", "spec.asn: is missing: give the AS of the other fabric's controller"},
		"AS_TRANS":         {"{asn: 23456, " + peer + "}", "spec.asn: 23456 is reserved (RFC 6793, RFC 7300)"},
		"no peer":          {"{asn: 1}", "spec.peers: is missing: give the address of the other fabric's controller"},
		"no address":       {"{asn: 1, peers: [{port: 1}]}", "spec.peers[0].address: is missing: give the address of the other fabric's speaker"},
		"any address":      {"{asn: 1, peers: [{address: 0.0.0.0}]}", "spec.peers[0].address: 0.0.0.0 can't be dialled"},
		"multicast":        {"{asn: 1, peers: [{address: 224.0.0.5}]}", "spec.peers[0].address: 224.0.0.5 can't be dialled"},
		"a peer twice":     {"{asn: 1, peers: [{address: 192.0.2.1}, {address: 192.0.2.1, port: 1179}]}", "spec.peers[1].address: 192.0.2.1 is given twice: spec.peers[0] has it too"},
		"passive and port": {"{asn: 1, peers: [{address: 192.0.2.1, passive: true, port: 179}]}", "spec.peers[0].port: goes without passive: a peer that dials is not dialled"},
		"hold time":        {"{asn: 1, peers: [{address: 192.0.2.1, holdTime: 2}]}", "spec.peers[0].holdTime: 2 is outside 3..65535 (RFC 4271 section 4.2)"},
		"no tenant":        {"{asn: 1, " + peer + `, networks: [{network: red, routeTarget: "1:1"}]}`, `spec.networks[0].tenant: "" is not a name: use 1 to 63 lower-case letters, digits, '-', '.' or '_', with a letter or digit at both ends`},
		"no target":        {"{asn: 1, " + peer + `, networks: [{tenant: t, network: red}]}`, `spec.networks[0].routeTarget: "" is not a route target like 65000:10100 or 192.0.2.1:100`},
		"a network twice":  {"{asn: 1, " + peer + `, networks: [` + red + `, {tenant: t, network: red, routeTarget: "1:1"}]}`, "spec.networks[1].network: Network t/red is given twice: spec.networks[0] has it too"},
		"a target twice":   {"{asn: 1, " + peer + `, networks: [` + red + `, {tenant: u, network: red, routeTarget: "65500:1"}]}`, "spec.networks[1].routeTarget: 65500:1 is given twice: spec.networks[0] has it too, and a route of either could not be told from the other's"},
		"lines":            {lines("[10.80.0.0/12, 10.254.64.0/18]", line("a", "eth8", "0", ""), line("b", "eth9", "2", ", preference: 50, weight: 3")), ""},
		"no prefixes":      {lines("[]", line("a", "eth8", "0", "")), "spec.prefixes: is missing: say in which prefixes the other fabric's VTEPs are, for border leaves take no others from lines"},
		"no lines":         {"{asn: 1, " + peer + ", prefixes: [10.80.0.0/12]}", "spec.prefixes: goes with lines: there is none"},
		"hold down alone":  {"{asn: 1, " + peer + ", holdDown: 9}", "spec.holdDown: goes with lines: there is none"},
		"hold down":        {"{asn: 1, " + peer + ", prefixes: [10.80.0.0/12], holdDown: 241, lines: [" + line("a", "eth8", "0", "") + "]}", "spec.holdDown: 241 is outside 1..240"},
		"host bits":        {lines("[10.80.0.1/12]", line("a", "eth8", "0", "")), "spec.prefixes[0]: 10.80.0.1/12 has host bits set: use 10.80.0.0/12"},
		"everything":       {lines("[0.0.0.0/0]", line("a", "eth8", "0", "")), "spec.prefixes[0]: 0.0.0.0/0 is too much to take from another fabric: give its VTEP and rack pools, /8 or longer"},
		"overlapping":      {lines("[10.80.0.0/12, 10.81.0.0/16]", line("a", "eth8", "0", "")), "spec.prefixes[1]: 10.81.0.0/16 overlaps spec.prefixes[0] (10.80.0.0/12)"},
		"IPv6 prefix":      {lines(`["fd00::/64"]`, line("a", "eth8", "0", "")), "spec.prefixes[0]: is not an IPv4 prefix: VTEP addresses are IPv4"},
		"a name twice":     {lines("[10.80.0.0/12]", line("a", "eth8", "0", ""), line("a", "eth9", "2", "")), "spec.lines[1].name: a is given twice: spec.lines[0] has it too"},
		"a port twice":     {lines("[10.80.0.0/12]", line("a", "eth8", "0", ""), line("b", "eth8", "2", "")), "spec.lines[1].interface: eth8 of leaf1 is given twice: spec.lines[0] has it too"},
		"an end twice":     {lines("[10.80.0.0/12]", line("a", "eth8", "0", ""), line("b", "eth9", "0", "")), "spec.lines[1].peer: 198.51.100.1 is given twice: spec.lines[0] has it too"},
		"own end":          {lines("[10.80.0.0/12]", "{name: a, node: leaf1, interface: eth8, address: 198.51.100.0/31, peer: 198.51.100.0, asn: 1}"), "spec.lines[0].peer: 198.51.100.0 is not the address of another end in 198.51.100.0/31"},
		"no other end":     {lines("[10.80.0.0/12]", "{name: a, node: leaf1, interface: eth8, address: 198.51.100.0/32, peer: 198.51.100.0, asn: 1}"), "spec.lines[0].address: 198.51.100.0/32 leaves no address for the other end: use /31 or shorter"},
		"no line's AS":     {lines("[10.80.0.0/12]", "{name: a, node: leaf1, interface: eth8, address: 198.51.100.0/31, peer: 198.51.100.1}"), "spec.lines[0].asn: is missing: give the AS of the border leaf there"},
		"no interface":     {lines("[10.80.0.0/12]", `{name: a, node: leaf1, address: 198.51.100.0/31, peer: 198.51.100.1, asn: 1}`), "spec.lines[0].interface: is missing: give the border leaf's interface that leads to the other fabric"},
		"preference":       {lines("[10.80.0.0/12]", line("a", "eth8", "0", ", preference: -1")), "spec.lines[0].preference: -1 is outside 0..65535"},
		"weight":           {lines("[10.80.0.0/12]", line("a", "eth8", "0", ", weight: 101")), "spec.lines[0].weight: 101 is outside 0..100"},
		"preferences": {lines("[10.80.0.0/12]", line("a", "eth1", "0", ""), line("b", "eth2", "2", ", preference: 1"), line("c", "eth3", "4", ", preference: 2"),
			line("d", "eth4", "6", ", preference: 3"), line("e", "eth5", "8", ", preference: 4")), "spec.lines: have 5 different preferences: 4 are possible"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want != "" {
				c.want = "Interconnect dc: " + c.want
			}
			require.Equal(t, c.want, faultsOf(t, "kind: Interconnect\nmetadata: {name: dc}\nspec: "+c.spec))
		})
	}
	c := &Interconnect{Metadata: Metadata{Name: "dc", Tenant: "t"}, Spec: InterconnectSpec{ASN: 1}}
	for i := range maxFabricPeers + 1 {
		c.Spec.Peers = append(c.Spec.Peers, FabricPeer{Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})})
	}
	c.Spec.Peers[0].Password = fmt.Sprintf("%081d", 0)
	require.EqualError(t, c.Validate(), "Interconnect dc: metadata.tenant: must be left out: an interconnect belongs to no tenant; "+
		"Interconnect dc: spec.peers: has 9: an interconnect may have 8; Interconnect dc: spec.peers[0].password: has 81 octets: TCP-MD5 takes 80")
}

func TestFabricPeerDefaults(t *testing.T) {
	p := FabricPeer{Address: netip.MustParseAddr("::ffff:192.0.2.1")}
	require.Equal(t, "192.0.2.1:179", p.At().String())
	require.Equal(t, 30*time.Second, p.Hold())
	p.Port, p.HoldTime = 1179, 9
	require.Equal(t, "192.0.2.1:1179", p.At().String())
	require.Equal(t, 9*time.Second, p.Hold())
}

// What a controller prints of an object can be read again, with its status.
func TestStatusOfSessionsInYAML(t *testing.T) {
	session := BGPSession{State: "Established", Received: 1 << 40, Advertised: 2, Updates: Traffic{In: 3, Out: 4}, Synced: true}
	all := []Object{
		&Interconnect{Header: Header{APIVersion: APIVersion, Kind: KindInterconnect}, Metadata: Metadata{Name: "dc"},
			Spec: InterconnectSpec{ASN: 1, Peers: []FabricPeer{{Address: netip.MustParseAddr("192.0.2.1")}}},
			Status: &Status{Phase: PhaseReady, Peers: []PeerSession{{Peer: "192.0.2.1", BGPSession: session}},
				Stretched: []StretchedView{{Network: "t/red", VNI: 5, Sent: 1, Received: 2, Used: 2, VTEPs: []string{"10.0.0.1"}}}}},
		&Node{Header: Header{APIVersion: APIVersion, Kind: KindNode}, Metadata: Metadata{Name: "leaf"}, Spec: NodeSpec{Role: RoleLeaf}, Status: &Status{Session: &session}},
	}
	out, err := EncodeYAML(all...)
	require.NoError(t, err)
	again, err := Decode(out, "f")
	require.NoError(t, err, "%s", out)
	require.Equal(t, all, again)
}
