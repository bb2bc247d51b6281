//go:build budget

package budget_test

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-sdn/weft/controller/intent"
)

func group(name string, id uint32, rules ...intent.SecurityRule) *intent.SecurityGroup {
	return &intent.SecurityGroup{Metadata: intent.Metadata{Name: name, Tenant: "t"}, Spec: intent.SecurityGroupSpec{ID: id, Rules: rules}}
}

// namesApp are rules that name group app.
func namesApp(n int) (rules []intent.SecurityRule) {
	for i := range n {
		p := uint16(80 + i)
		rules = append(rules, intent.SecurityRule{Direction: intent.Ingress, Protocol: "tcp", Ports: intent.PortRange{First: p, Last: p}, Group: "app"})
	}
	return rules
}

// memberCosts is what one member more or less, and one rule more, costs the edges
// whose rules name the group: every edge of the network has a port in group web,
// whose rules name group app.
func memberCosts(t *testing.T, rules, size int) map[string]float64 {
	address := func(p *intent.Port) {
		b := binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(p.Spec.MAC[2:]))
		p.Spec.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, b[1], b[2], b[3]})}
	}
	shape := func(p *intent.Port) {
		address(p)
		switch name := p.Metadata.Name; {
		case strings.HasPrefix(name, "own") && p.Spec.Network == "web":
			p.Spec.SecurityGroups = []string{"web"}
		case strings.HasPrefix(name, "p"):
			p.Spec.SecurityGroups = []string{"app"}
		}
	}
	s := start(t, size, shape, group("web", 1, namesApp(rules)...), group("app", 2))
	s.settled()
	p := port("new", "web", 500)
	address(p)
	s.farm.Edge(3).Plug("new")
	s.change(p.Ref(), p)
	s.untilReady(p)
	s.settled()
	counts := map[string]float64{}
	in := *p
	in.Spec.SecurityGroups = []string{"app"}
	s.costs(counts, "port joins a group", []int{3}, func() {
		s.change(in.Ref(), &in)
		s.untilReady(&in)
	})
	flows := s.farm.Edge(0).Stats().Flows
	out := *p
	s.costs(counts, "port leaves a group", []int{3}, func() {
		s.change(out.Ref(), &out)
		for i := range members {
			if i != 3 {
				s.until("the member's flow is gone", func() bool { return s.farm.Edge(i).Stats().Flows == flows-1 })
			}
		}
		s.untilReady(&out)
	})
	web := group("web", 1, namesApp(rules+1)...)
	var had [members]int
	for i := range had {
		had[i] = s.farm.Edge(i).Stats().Flows
	}
	s.costs(counts, "rule added to a group", nil, func() {
		s.change(web.Ref(), web)
		for i := range had {
			s.until("the rule's flows are there", func() bool { return s.farm.Edge(i).Stats().Flows == had[i]+2 })
		}
	})
	return counts
}
