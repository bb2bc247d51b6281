//go:build bench

package bench

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

var (
	groupPorts = flag.Int("group-ports", 500, "ports in one security group")
	groupRules = flag.Int("group-rules", 20, "rules of it that name the group")
	groupJoins = flag.Int("group-joins", 10, "ports that join it afterwards")
)

// guarded is a side that can put ports into a security group all of whose rules name
// the group.
type guarded interface {
	side
	// group makes the group of the ports and returns once every flow is in place.
	group(ids []string, rules int)
	// join puts one more port into it.
	join(id, mac, ip string)
}

// secured is what one side needed for its group.
type secured struct {
	Side          string  `json:"side"`
	Hypervisors   int     `json:"hypervisors"`
	Ports         int     `json:"ports"`
	Rules         int     `json:"rules"`
	GroupMS       float64 `json:"group_ms"`
	CPUms         float64 `json:"controllers_cpu_ms"`
	PlainFlows    int     `json:"flows_per_switch_before"`
	FlowsPerPort  float64 `json:"more_flows_per_local_port"`
	Flows         int     `json:"flows_per_switch"`
	JoinEdits     float64 `json:"edits_per_member"`
	JoinP50us     int64   `json:"join_p50_us"`
	JoinMostus    int64   `json:"join_most_us"`
	JoinCPUms     float64 `json:"join_controllers_cpu_ms"`
	JoinSwitchCPU float64 `json:"join_switches_cpu_ms"`
}

// measureGroup has all ports of one network join a group, and then some more, one
// after the other, each until the farthest hypervisor knows it as a member.
func measureGroup(t *testing.T, sb *sandbox, s guarded) secured {
	r := secured{Side: s.name(), Hypervisors: *nHypervisors, Rules: *groupRules}
	s.bulk(func() {
		sb.each(func(i int, h *hypervisor) {
			var ids []string
			for p := 1; p <= *perEach; p++ {
				ids = append(ids, portID(1, i+1, p))
			}
			h.plug(t, ids...)
		})
	})
	var ids []string
	eachPort(func(s, h, p int) { ids = append(ids, portID(s, h, p)) })
	r.Ports = len(ids)
	far := sb.hvs[len(sb.hvs)-1]
	r.PlainFlows = far.count()
	controllers := append(append([]int{}, s.central()...), s.agents()...)
	c, began := cpu(t, controllers...), time.Now()
	s.group(ids, *groupRules)
	r.GroupMS, r.CPUms = float64(time.Since(began).Microseconds())/1000, float64((cpu(t, controllers...) - c).Milliseconds())
	r.Flows = far.count()
	r.FlowsPerPort = float64(r.Flows-r.PlainFlows) / float64(*perEach)
	w := far.watch(t)
	var took []int64
	edits := 0
	c, v := cpu(t, controllers...), cpu(t, sb.pids...)
	for k := range *groupJoins {
		id, mac, ip := fmt.Sprintf("member%d", k+1), fmt.Sprintf("02:fe:00:00:00:%02x", k+1), fmt.Sprintf("10.1.251.%d", k+1)
		sb.hvs[0].plug(t, id)
		s.add(id, mac, ip)
		w.until(t, "event=ADDED", "dl_dst="+mac)
		w.calm(time.Second)
		began := time.Now()
		s.join(id, mac, ip)
		at, n := w.through(t, "nw_src="+ip)
		took, edits = append(took, at.Sub(began).Microseconds()), edits+n
	}
	r.JoinCPUms, r.JoinSwitchCPU = float64((cpu(t, controllers...) - c).Milliseconds()), float64((cpu(t, sb.pids...) - v).Milliseconds())
	r.JoinEdits = float64(edits) / float64(*groupJoins)
	r.JoinP50us, r.JoinMostus = spread(took)
	return r
}

// through waits for a change with a word, and then until nothing changes for a
// second: it returns when the first came, and how many changes there were.
func (w *watcher) through(t *testing.T, word string) (at time.Time, n int) {
	end := time.After(time.Minute)
	for quiet := time.After(time.Minute); ; {
		select {
		case c, ok := <-w.lines:
			require.True(t, ok, "ovs-ofctl ended")
			if !strings.Contains(c.text, "event=") || strings.Contains(c.text, "ABBREV") {
				continue
			}
			n++
			if at.IsZero() && strings.Contains(c.text, word) {
				at = c.at
			}
			if !at.IsZero() {
				quiet = time.After(time.Second)
			}
		case <-quiet:
			return at, n
		case <-end:
			require.Fail(t, "no such change", "%s", word)
		}
	}
}

// TestBesideOVNGroups: one security group, or port group, of all ports of a network,
// whose rules name it, on both sides with the same ports and rules.
func TestBesideOVNGroups(t *testing.T) {
	require.NotEmpty(t, *weftBinary, "-args -weft PROGRAM")
	networks, each := *nNetworks, *perEach
	t.Cleanup(func() { *nNetworks, *perEach = networks, each })
	*nNetworks, *perEach = 1, max(1, *groupPorts / *nHypervisors)
	var rs []secured
	for _, s := range []struct {
		name string
		make func(*testing.T, *sandbox) side
	}{{"weft", newWeft}, {"ovn", newOVN}} {
		if *onlySide != "" && *onlySide != s.name {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			sb := newSandbox(t, *nHypervisors)
			r := measureGroup(t, sb, s.make(t, sb).(guarded))
			b, err := json.Marshal(r)
			require.NoError(t, err)
			fmt.Println(string(b))
			rs = append(rs, r)
		})
	}
	if *onlySide != "" || t.Failed() {
		return
	}
	require.Len(t, rs, 2)
	w, o := rs[0], rs[1]
	tw := tabwriter.NewWriter(os.Stdout, 0, 8, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "%d hypervisors, %d ports in a group with %d rules\tWeft\tOVN\tOVN/Weft\t\n", w.Hypervisors, w.Ports, w.Rules)
	for _, l := range []struct {
		what string
		w, o float64
	}{
		{"group in place, ms", w.GroupMS, o.GroupMS}, {"CPU of controllers for it, ms", w.CPUms, o.CPUms},
		{"flows per switch for it", float64(w.Flows - w.PlainFlows), float64(o.Flows - o.PlainFlows)}, {"the same per local port", w.FlowsPerPort, o.FlowsPerPort},
		{"one more member: flow changes on the farthest", w.JoinEdits, o.JoinEdits},
		{"one more member: p50 ms", float64(w.JoinP50us) / 1000, float64(o.JoinP50us) / 1000}, {"one more member: most ms", float64(w.JoinMostus) / 1000, float64(o.JoinMostus) / 1000},
		{"CPU of controllers for all of them, ms", w.JoinCPUms, o.JoinCPUms},
	} {
		fmt.Fprintf(tw, "%s\t%.1f\t%.1f\t%.2f\t\n", l.what, l.w, l.o, l.o/l.w)
	}
	tw.Flush()
}

func (w *weft) group(ids []string, rules int) {
	g := &intent.SecurityGroup{Header: intent.Header{Kind: intent.KindSecurityGroup}, Metadata: intent.Metadata{Name: "all", Tenant: "t"}}
	for i := range rules {
		port := uint16(1000 + i)
		g.Spec.Rules = append(g.Spec.Rules, intent.SecurityRule{Direction: intent.Ingress, Protocol: "tcp", Ports: intent.PortRange{First: port, Last: port}, Group: "all"})
	}
	all := []intent.Object{g}
	eachPort(func(s, h, p int) {
		o := w.port(fmt.Sprintf("s%d", s), portID(s, h, p), portMAC(s, h, p), portIP(s, h, p))
		o.Spec.SecurityGroups = []string{"all"}
		all = append(all, o)
	})
	require.NoError(w.t, w.api.Apply(context.Background(), all, client.ApplyOptions{}, func(i client.AppliedItem) { require.Nil(w.t, i.Problem) }))
	for {
		o, err := w.api.Get(context.Background(), g.Ref())
		require.NoError(w.t, err)
		if s := o.(*intent.SecurityGroup).Status; s.Phase == intent.PhaseReady && s.Ports.Total == len(ids) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (w *weft) join(id, mac, ip string) {
	p := w.port("s1", id, mac, ip)
	p.Spec.SecurityGroups = []string{"all"}
	w.put(p)
}

func (o *ovn) group(ids []string, rules int) {
	args := append([]string{"--wait=hv", "pg-add", "all"}, ids...)
	for i := range rules {
		args = append(args, "--", "acl-add", "all", "to-lport", "1001", fmt.Sprintf("outport == @all && ip4 && ip4.src == $all_ip4 && tcp.dst == %d", 1000+i), "allow-related")
	}
	o.nbctl(append(args, "--", "acl-add", "all", "to-lport", "1000", "outport == @all && ip", "drop")...)
}

func (o *ovn) join(id, _, _ string) {
	uuid := strings.TrimSpace(run(o.t, []string{"OVN_NB_DB=" + o.nb}, "ovn-nbctl", "--bare", "--columns=_uuid", "find", "logical_switch_port", "name="+id))
	o.nbctl("add", "port_group", "all", "ports", uuid)
}
