//go:build lab

package lab

import (
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/topology"
)

// aclOf makes a network ACL from rules in words: "deny ingress tcp 22 from
// 10.1.0.11/32", "allow egress tcp sport 20-80", "allow ingress icmp type 8".
func aclOf(t testing.TB, tenant, name string, rules ...string) *intent.NetworkACL {
	t.Helper()
	a := &intent.NetworkACL{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindNetworkACL}, Metadata: intent.Metadata{Tenant: tenant, Name: name}}
	for _, text := range rules {
		words := strings.Fields(text)
		r := intent.ACLRule{Action: intent.ACLAction(words[0]), Direction: intent.Direction(words[1])}
		for i := 2; i < len(words); i++ {
			next := func() string { i++; return words[i] }
			switch word := words[i]; {
			case word == "from":
				r.Source = netip.MustParsePrefix(next())
			case word == "to":
				r.Destination = netip.MustParsePrefix(next())
			case word == "sport":
				require.NoError(t, r.SourcePorts.UnmarshalText([]byte(next())))
			case word == "type":
				var n uint8
				_, err := fmt.Sscan(next(), &n)
				require.NoError(t, err)
				r.ICMPType = &n
			case word[0] >= '0' && word[0] <= '9':
				require.NoError(t, r.Ports.UnmarshalText([]byte(word)))
			case word != "any":
				r.Protocol = intent.Protocol(word)
			}
		}
		a.Spec.Rules = append(a.Spec.Rules, r)
	}
	return a
}

// judge writes an ACL and waits until its devices confirm it.
func (w *site) judge(a *intent.NetworkACL) {
	w.Helper()
	w.put(a)
	w.eventually(patience, func() error {
		o, err := w.client.Get(w.Context(), a.Ref())
		if err != nil {
			return err
		}
		if st := o.(*intent.NetworkACL).Status; st == nil || st.Phase != intent.PhaseReady || st.Applied != o.Meta().Revision {
			return fmt.Errorf("%s is %+v", a.Ref(), st)
		}
		return nil
	})
}

// dbRules are those of the subnets of net2: ssh but from w1, web, what answers it,
// some UDP, and echo requests.
func (w *routedSite) dbRules() []string {
	from := w.vms["w1"]
	return []string{
		fmt.Sprintf("deny ingress tcp 22 from %s/32", from.v4()), fmt.Sprintf("deny ingress tcp 22 from %s/128", from.v6()),
		"allow ingress tcp 20-80", "allow egress tcp sport 20-80",
		"allow ingress udp 5000-5010", "allow egress udp sport 5000-5010",
		"allow ingress icmp type 8", "allow egress icmp type 0", "allow ingress icmpv6 type 128", "allow egress icmpv6 type 129",
	}
}

func (w *routedSite) in(t testing.TB) *routedSite {
	c := *w.site
	c.TB = t
	return &routedSite{site: &c, vms: w.vms}
}

// Network ACLs with real sockets, between subnets that a router joins. Of red, w1
// and w2 are in net1, which has none, d1 and d2 in net2, which has; d1 and w1 are on
// hv1, d2 and w2 on hv2. Ink has the same addresses, and no ACL.
func TestTenantsNetworkACL(t *testing.T) {
	w := newRoutedSite(t)
	for _, v := range routedVMs {
		w.objects = append(w.objects, v.port())
	}
	for _, vm := range []string{"d1", "d2", "w1", "x2"} {
		w.serve(vm, 22, 80, 81, 5000, 5005, 5011)
	}
	rules := w.dbRules()
	db := aclOf(t, "red", "db", rules...)
	net2 := &intent.Network{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindNetwork}, Metadata: intent.Metadata{Tenant: "red", Name: "net2"},
		Spec: intent.NetworkSpec{Subnets: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/24"), netip.MustParsePrefix("fd00:0:0:2::/64")}, ACLs: []intent.SubnetACL{{ACL: "db"}}}}
	w.put(db, net2)
	w.judge(db)

	t.Run("what is allowed and what is not", func(t *testing.T) {
		w := w.in(t)
		var all []attempt
		for _, to := range []string{"d1", "d2"} {
			for _, from := range []string{"w1", "w2"} {
				all = append(all, attempt{from, to, "tcp", 22, from == "w2"}, attempt{from, to, "tcp", 80, true}, attempt{from, to, "tcp", 81, false},
					attempt{from, to, "udp", 5000, true}, attempt{from, to, "udp", 5011, false}, attempt{from, to, "udp-fragments", 5005, true}, attempt{from, to, "udp-fragments", 5011, false},
					attempt{from, to, "ping", 0, true}, attempt{from, to, "ping-fragments", 0, true})
			}
			all = append(all, attempt{to, "w1", "tcp", 80, false}, attempt{to, "w1", "ping", 0, false}, attempt{to, "w1", "udp", 5000, false}) // only answers leave
		}
		all = append(all, attempt{"d1", "d2", "tcp", 81, true}, attempt{"d2", "d1", "tcp", 22, true}, attempt{"d1", "d2", "udp", 5011, true}, attempt{"d1", "d2", "ping", 0, true}, // within the subnet
			attempt{"w2", "w1", "tcp", 81, true}, attempt{"w2", "w1", "ping", 0, true}, // no ACL there
			attempt{"x1", "x2", "tcp", 81, true}, attempt{"x1", "x2", "ping", 0, true}) // the other tenant's equal addresses
		w.attempts(all)
		for _, v6 := range []bool{false, true} {
			w.ping("d1", w.vms["d1"].gateway(v6).String()) // its own gateway is within the subnet
		}
	})

	t.Run("what the rules counted", func(t *testing.T) {
		w := w.in(t)
		c, err := w.client.ACLCounters(w.Context(), db.Ref())
		require.NoError(t, err)
		require.Equal(t, []string{"hv1", "hv2"}, c.Devices)
		require.Empty(t, c.Missing)
		require.Len(t, c.Rules, len(rules))
		for _, r := range c.Rules {
			require.NotZero(t, r.Packets, r.Rule)
			require.Greater(t, r.Bytes, r.Packets*40, r.Rule)
		}
		require.NotZero(t, c.Ingress.Packets)
		require.NotZero(t, c.Egress.Packets)
		text := w.cli("describe", "networkacl", "db", "-t", "red")
		require.Regexp(t, `0 +deny ingress tcp from 10\.1\.0\.11/32 to port 22 +[1-9]`, text)
		require.Regexp(t, `- +deny egress anything else +[1-9]`, text)
		t.Log(text[strings.Index(text, "Counters:"):strings.Index(text, "Events:")])
		text = w.cli("get", "flows", "-t", "red", "--port", "d1")
		require.Contains(t, text, "rule 0 of ACL db: deny ingress tcp from 10.1.0.11/32 to port 22")
		require.NotContains(t, text, "actions=", "each flow is a sentence")
	})

	t.Run("the order of rules", func(t *testing.T) {
		w := w.in(t)
		swapped := append([]string{rules[2], rules[0], rules[1]}, rules[3:]...)
		w.judge(aclOf(t, "red", "db", swapped...))
		w.attempts([]attempt{{"w1", "d1", "tcp", 22, true}, {"w1", "d2", "tcp", 22, true}, {"w1", "d2", "tcp", 81, false}})
		w.judge(db)
		w.attempts([]attempt{{"w1", "d1", "tcp", 22, false}, {"w1", "d2", "tcp", 22, false}, {"w2", "d2", "tcp", 22, true}})
	})

	t.Run("answers need a rule, and sessions follow it", func(t *testing.T) {
		w := w.in(t)
		for _, v := range []int{4, 6} {
			s := w.chat("w1", w.address("d2", v), 80)
			s.lives(w.site, "at first")
			w.judge(aclOf(t, "red", "db", append(rules[:len(rules):len(rules)], "allow ingress tcp 443")...))
			s.lives(w.site, "after an unrelated rule came")
			since := time.Now()
			w.judge(aclOf(t, "red", "db", append(append([]string{}, rules[:3]...), rules[4:]...)...)) // no rule for answers
			s.ends(w.site, since)
			w.attempts([]attempt{{"w2", "d2", "tcp", 80, false}, {"w2", "d2", "udp", 5000, true}})
			w.judge(db)
			s.lives(w.site, "when the rule is back")
			since = time.Now()
			w.judge(aclOf(t, "red", "db", append([]string{"deny ingress tcp"}, rules...)...)) // denied before it is allowed
			s.ends(w.site, since)
			w.judge(db)
			s.Close()
		}
	})

	t.Run("with security groups", func(t *testing.T) {
		w := w.in(t)
		w.put(w.group("red", "web", "ingress tcp 80", "ingress tcp 81", "egress udp 5000"))
		w.join("d1", "web")
		w.ready(patience)
		w.attempts([]attempt{{"w2", "d1", "tcp", 80, true}, {"w2", "d1", "tcp", 81, false}, {"w2", "d1", "tcp", 22, false}, {"d2", "d1", "tcp", 81, true}, {"d2", "d1", "tcp", 22, false}, // both must allow; the group alone within the subnet
			{"d1", "w1", "udp", 5000, false}, {"d1", "d2", "udp", 5000, true}, {"d1", "d2", "udp", 5011, false}})
		w.join("d1")
		w.ready(patience)
		w.attempts([]attempt{{"w2", "d1", "tcp", 22, true}})
	})

	t.Run("what a station of the network forwards", func(t *testing.T) {
		w := w.in(t)
		w.put(routedRouter("red", intent.StaticRoute{Prefix: behind, NextHops: []intent.NextHop{{Port: "n1"}}}))
		w.ready(patience)
		w.ping("n1", w.vms["n1"].gateway(false).String()) // so that it has not to ask for the gateway as somebody else
		to := behind.Addr().Next()
		for _, from := range []string{"w1", "w2"} {
			w.eventually(patience, func() error { return w.reach(from, to, "ping", 0, time.Second) })
		}
		w.judge(aclOf(t, "red", "db", append(append([]string{}, rules[:6]...), rules[7:]...)...)) // no echo requests
		for _, from := range []string{"w1", "w2"} {
			require.Error(t, w.reach(from, to, "ping", 0, refusedAfter))
		}
		w.judge(db)
		w.eventually(patience, func() error { return w.reach("w2", to, "ping", 0, time.Second) })
		w.put(routedRouter("red"))
		w.ready(patience)
	})

	t.Run("without a controller", func(t *testing.T) {
		w := w.in(t)
		s := w.chat("w1", w.address("d1", 4), 80)
		s.lives(w.site, "at first")
		time.Sleep(time.Second) // ages are told in seconds
		before := w.allFlows()
		for _, flows := range before {
			ours(flows)
		}
		require.NoError(t, Kill(w.State, controllerNode, true))
		w.attempts([]attempt{{"w1", "d2", "tcp", 80, true}, {"w1", "d2", "tcp", 22, false}})
		w.startController()
		w.ready(patience)
		s.lives(w.site, "with a new controller")
		w.requireOlder(before, w.allFlows())
		s.Close()
	})

	t.Run("without the ACL", func(t *testing.T) {
		w := w.in(t)
		_, err := w.client.Delete(w.Context(), db.Ref(), client.DeleteOptions{})
		require.ErrorContains(t, err, "NetworkACL red/db is in use by Network red/net2")
		open := *net2
		open.Spec.ACLs = nil
		w.put(&open)
		w.ready(patience)
		w.attempts([]attempt{{"w1", "d1", "tcp", 22, true}, {"w1", "d2", "tcp", 81, true}, {"d1", "w1", "udp", 5011, true}})
		for _, hv := range []string{"hv1", "hv2"} {
			require.Regexp(t, `table=30,`, strings.Join(slices.Collect(maps.Keys(w.flows(hv))), "\n"))
			for _, f := range slices.Collect(maps.Keys(w.flows(hv))) {
				require.NotRegexp(t, `table=(18|19|58|59),`, f, "%s", hv)
			}
		}
	})
}

// Two subnets on one segment, bridged: what goes from one to the other is judged as
// if it was routed, also by MAC addresses that should not be.
func TestTenantsNetworkACLBridged(t *testing.T) {
	w := newSite(t, topology.GenerateParams{Name: "aclbridge", Spines: 1, Leaves: 2, HypervisorsPerLeaf: 1})
	w.put(&intent.Tenant{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindTenant}, Metadata: intent.Metadata{Name: "t"}})
	subnets := []netip.Prefix{netip.MustParsePrefix("10.3.0.0/24"), netip.MustParsePrefix("10.4.0.0/24"), netip.MustParsePrefix("fd00:0:0:3::/64"), netip.MustParsePrefix("fd00:0:0:4::/64")}
	segment := &intent.Network{Header: intent.Header{APIVersion: intent.APIVersion, Kind: intent.KindNetwork}, Metadata: intent.Metadata{Tenant: "t", Name: "n"},
		Spec: intent.NetworkSpec{Subnets: subnets, ACLs: []intent.SubnetACL{{ACL: "four", Subnet: subnets[1]}, {ACL: "four", Subnet: subnets[3]}}}}
	none := aclOf(t, "t", "four")
	w.put(none, segment)
	for i, vm := range []string{"three1", "four1", "three2", "four2"} { // hv1, hv1, hv2, hv2
		net, host := byte(3+i%2), byte(11+i)
		v := routedVM{name: vm, tenant: "t", network: net, host: host}
		hv := fmt.Sprintf("hv%d", 1+i/2)
		w.plug(hv, vm, v.mac(), netip.PrefixFrom(v.v4(), 24), netip.PrefixFrom(v.v6(), 64))
		for _, s := range subnets { // all of the segment is on-link
			_ = exec.Command("ip", "-n", w.Namespace(vm), "route", "add", s.String(), "dev", "eth1").Run() // one of each family is there
		}
		p := v.port()
		p.Spec.Network = "n"
		w.put(p)
		w.objects = append(w.objects, p)
	}
	w.ready(patience)
	w.judge(none)
	for _, vm := range []string{"three1", "four1", "four2"} {
		w.serve(vm, 80, 5000)
	}
	across := func(allowed bool) (all []attempt) {
		for _, pair := range [][2]string{{"three1", "four1"}, {"three2", "four1"}, {"three1", "four2"}} {
			all = append(all, attempt{pair[0], pair[1], "tcp", 80, allowed}, attempt{pair[0], pair[1], "udp", 5000, allowed}, attempt{pair[0], pair[1], "ping", 0, allowed})
		}
		return all
	}
	within := []attempt{{"four1", "four2", "tcp", 80, true}, {"four2", "four1", "udp", 5000, true}, {"four1", "four2", "ping", 0, true}, {"three2", "three1", "tcp", 80, true}}
	w.attempts(append(within, across(false)...))
	w.attempts([]attempt{{"four2", "three1", "tcp", 80, false}, {"four1", "three1", "ping", 0, false}})

	// A unicast packet in a broadcast frame comes to all ports of the segment.
	to := w.address("four1", 4)
	require.NoError(t, exec.Command("ip", "-n", w.Namespace("three1"), "neigh", "replace", to.String(), "lladdr", "ff:ff:ff:ff:ff:ff", "dev", "eth1").Run())
	require.Error(t, w.reach("three1", to, "udp", 5000, refusedAfter), "in a broadcast frame")
	open := aclOf(t, "t", "four", "allow ingress any", "allow egress any")
	w.judge(open)
	w.eventually(patience, func() error { return w.reach("three1", to, "udp", 5000, time.Second) })
	require.NoError(t, exec.Command("ip", "-n", w.Namespace("three1"), "neigh", "del", to.String(), "dev", "eth1").Run())
	w.attempts(append(within, across(true)...))

	// One direction only: nothing comes back.
	w.judge(aclOf(t, "t", "four", "allow ingress any"))
	w.attempts(append(within, across(false)...))
	w.judge(open)
	w.attempts(across(true))
}

// A network's ACL on a hardware VTEP is rows of its database, which the controller
// keeps; the emulator filters nothing, and its devices are named as counting nothing.
func TestTenantsNetworkACLOnHardwareVTEP(t *testing.T) {
	labDir(t)
	weft, err := weftBinary()
	require.NoError(t, err)
	file, err := topology.Parse([]byte(oneVTEP), filepath.Join(t.TempDir(), "vtep.clab.yml"))
	require.NoError(t, err)
	s, _, err := Plan(file)
	require.NoError(t, err)
	s.UseController()
	require.NoError(t, Up(t.Context(), s, Options{Weft: weft}))
	w := &site{State: s, TB: t, weft: weft}
	w.client, err = client.New(s.Controller)
	require.NoError(t, err)
	w.objects, err = Intent(file)
	require.NoError(t, err)
	w.put(w.objects...)
	w.ready(patience)
	w.eventually(patience, func() error { return ping(t, s, "srv1", "10.0.0.12") })
	require.Empty(t, w.vtep("--bare", "--columns=acl_name", "list", "ACL"))

	web := *w.network("blue")
	vni := fmt.Sprintf("weft-%d", w.vniOf("blue"))
	edge := aclOf(t, "blue", "edge", "deny ingress tcp 22 from 192.0.2.0/24", "allow ingress tcp 20-80", "allow egress tcp sport 20-80")
	web.Spec.ACLs = []intent.SubnetACL{{ACL: "edge"}}
	w.put(edge, &web)
	w.judge(edge)
	require.Equal(t, vni, strings.TrimSpace(w.vtep("--bare", "--columns=acl_name", "list", "ACL")))
	for _, port := range []string{"eth2", "eth3"} {
		require.Regexp(t, map[string]string{"eth2": `^{0=[0-9a-f-]{36}}\s*$`, "eth3": `^{20=[0-9a-f-]{36}}\s*$`}[port], w.vtep("get", "Physical_Port", port, "acl_bindings"))
	}
	denied := w.vtep("--bare", "--columns=direction,dest_ip,dest_mask,protocol", "find", "ACL_entry", "action=deny", "dest_port_min=22", "dest_port_max=22", "source_ip=192.0.2.0", "source_mask=255.255.255.0")
	require.Equal(t, []string{"egress", "0.0.0.0", "0.0.0.0", "6"}, strings.Fields(denied))
	require.NoError(t, ping(t, s, "srv1", "10.0.0.12"), "within the subnet")
	require.Regexp(t, `without +vtep1: it counts nothing for ACLs: only vSwitches do`, w.cli("describe", "networkacl", "edge", "-t", "blue"))

	entries := func() []string {
		lines := strings.Split(w.vtep("--format=csv", "list", "ACL_entry"), "\n")
		slices.Sort(lines)
		return lines
	}
	before := entries()
	require.NoError(t, Kill(w.State, controllerNode, true))
	w.startController()
	w.ready(patience)
	w.judge(edge)
	require.Equal(t, before, entries(), "a new controller finds all right")

	web.Spec.ACLs = nil
	w.put(&web)
	w.eventually(patience, func() error {
		if left := w.vtep("--bare", "--columns=_uuid", "list", "ACL") + w.vtep("--bare", "--columns=_uuid", "list", "ACL_entry"); strings.TrimSpace(left) != "" {
			return fmt.Errorf("rows are left: %s", left)
		}
		return nil
	})
	require.NoError(t, ping(t, s, "srv1", "10.0.0.12"))
}
