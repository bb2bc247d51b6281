//go:build lab

package lab

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/probe"
	"github.com/weft-sdn/weft/topology"
)

// Three tenants on four hypervisors, none of which has them all, and one that
// has but one: each broadcast comes once to each VM of its network, to no
// other, and over no uplink to a hypervisor without the network.
func TestBroadcastsGoWhereTheNetworkIs(t *testing.T) {
	w := newTenants(t, topology.GenerateParams{Name: "copies", Spines: 2, Leaves: 2, HypervisorsPerLeaf: 2, HostsPerHypervisor: 2,
		Tenants: []string{"red", "green", "blue"}})
	// hv1 red green, hv2 blue red, hv3 green blue, hv4 red and a VM of green
	// that has no port any more: it only listens.
	last := w.portOf("green-vm3")
	require.Equal(t, "hv4", w.cliGet(last.Ref()).Node)
	_, err := w.client.Delete(t.Context(), last.Ref(), client.DeleteOptions{})
	require.NoError(t, err)
	for tenant, vteps := range map[string]int{"red": 3, "green": 2, "blue": 2} {
		w.eventually(patience, func() error {
			if got := w.cliGet(intent.Ref{Kind: intent.KindNetwork, Tenant: tenant, Name: tenant}).VTEPs; len(got) != vteps {
				return fmt.Errorf("%s: %v, not %d VTEPs", tenant, got, vteps)
			}
			return nil
		})
	}
	w.ready(patience)
	w.eventually(patience, func() error { return w.forgotten(last, "hv4") })

	c := w.check()
	require.Len(t, c.Broadcast.Rows, 9, "three kinds in each of three networks")
	for _, r := range c.Broadcast.Rows {
		sent := map[string]int{"red": 3, "green": 2, "blue": 2}[r.Tenant]
		require.Equal(t, sent, r.Sent, "%+v", r)
		require.Equal(t, sent*(sent-1), r.Seen, "%+v", r)
		require.Equal(t, sent*(sent-1), r.Tunnels, "each other VM is behind another VTEP: %+v", r)
		require.Zero(t, r.Lost+r.Leaked+r.Duplicated+r.Stray, "%+v", r)
	}
	w.strayIsSeen()
}

// forgotten says where a network's flows still know a hypervisor on which its last port
// was.
func (w *site) forgotten(last *intent.Port, hypervisor string) error {
	w.Helper()
	n, err := w.Node(hypervisor)
	require.NoError(w, err)
	o, err := w.client.Get(w.Context(), last.NetworkRef())
	require.NoError(w, err)
	network := regexp.MustCompile(fmt.Sprintf(`metadata=%#x\b`, uint32(o.(*intent.Network).Spec.VNI)))
	tunnel := regexp.MustCompile(regexp.QuoteMeta(n.VTEP.Address.String()) + `->tun_dst`)
	for _, h := range w.hypervisors() {
		for f := range w.flows(h.Name) {
			if network.MatchString(f) && (h.Name == hypervisor || tunnel.MatchString(f)) {
				return fmt.Errorf("%s still has %s", h.Name, f)
			}
		}
	}
	return nil
}

// strayIsSeen floods red's broadcasts to hv3 too, which has no red, while the
// controller can't mend it: the check must tell. When the controller is back
// the flow is gone and the check is content.
func (w *site) strayIsSeen() {
	w.Helper()
	hosts, _, err := w.hosts(w.Context())
	require.NoError(w, err)
	field, err := probe.Open(hosts)
	require.NoError(w, err)
	hv3, err := w.Node("hv3")
	require.NoError(w, err)
	o, err := w.client.Get(w.Context(), intent.Ref{Kind: intent.KindNetwork, Tenant: "red", Name: "red"})
	require.NoError(w, err)
	red := uint32(o.(*intent.Network).Spec.VNI)
	require.NoError(w, Kill(w.State, controllerNode, true))
	w.ofctl("hv1", "add-flow", fmt.Sprintf("cookie=0x7ef7000000000000, table=50, priority=999, metadata=%#x, reg0=0 actions=set_field:%#x->tun_id,set_field:%s->tun_dst,output:65000", red, red, hv3.VTEP.Address))
	cast, err := field.Broadcast(w.Context(), w.uplinks(), probe.CheckOptions{})
	field.Close()
	require.NoError(w, err)
	stray, lost := 0, 0
	for _, r := range cast.Rows {
		stray, lost = stray+r.Stray, lost+r.Lost
	}
	w.Logf("with a wrong flow on hv1: %d copies astray, %d lost", stray, lost)
	require.NotZero(w, stray)
	require.NotZero(w, lost, "hv1's own flow was overridden")
	began := time.Now()
	w.startController()
	w.eventually(patience, func() error {
		for f := range w.flows("hv1") {
			if strings.Contains(f, "priority=999") {
				return fmt.Errorf("still there: %s", f)
			}
		}
		return nil
	})
	w.Logf("the controller removed it %s after its start", time.Since(began).Round(time.Millisecond))
	w.ready(patience)
	w.check()
}
