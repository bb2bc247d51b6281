package engine

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric/steering"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// told is an injector that remembers what it was told last.
type told struct {
	mu     sync.Mutex
	routes []steering.Route
}

func (i *told) Set(routes []steering.Route) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.routes = routes
	return nil
}

func (i *told) Established() bool { return true }

func (i *told) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// text is what the leaf was told: "10.254.0.2/32 spine1*3 spine2*1".
func (i *told) text() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var out []string
	for _, r := range i.routes {
		s := r.Prefix.String()
		for _, h := range r.After {
			s += fmt.Sprintf(" %s*%d", h.Switch, h.Weight)
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

// steering is an engine with two leaves on two spines; leaf2 takes no injected routes.
type steeringBed struct {
	*Engine
	t    *testing.T
	leaf *told
	ctx  context.Context
	rev  int64
	now  time.Time
}

func newSteeringBed(t *testing.T) *steeringBed {
	b := &steeringBed{t: t, leaf: &told{}, now: time.Now()}
	b.Engine = New(Config{NewInjector: func(*intent.Node) Injector { return b.leaf }})
	b.setReady(nil)
	ctx, stop := context.WithCancel(t.Context())
	b.ctx = ctx
	t.Cleanup(func() {
		stop()
		b.steerer.end()
	})
	for i := range 2 {
		s := fmt.Sprintf("spine%d", i+1)
		b.put(&intent.Node{Metadata: intent.Metadata{Name: s}, Spec: intent.NodeSpec{Role: intent.RoleSpine, ASN: 64600, Loopback: netip.AddrFrom4([4]byte{10, 255, 1, byte(i + 1)})}})
		l := intent.Node{Metadata: intent.Metadata{Name: fmt.Sprintf("leaf%d", i+1)}, Spec: intent.NodeSpec{Role: intent.RoleLeaf, ASN: uint32(64701 + i), VTEP: netip.AddrFrom4([4]byte{10, 254, 0, byte(i + 1)})}}
		if i == 0 {
			l.Spec.Injection = &intent.Injection{Address: netip.MustParseAddr("192.0.2.31")}
		}
		b.put(&l)
	}
	for l := range 2 {
		for s := range 2 {
			far := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 192, byte(l), byte(2 * s)}), 31)
			b.put(&intent.Link{Metadata: intent.Metadata{Name: fmt.Sprintf("l%d-s%d", l+1, s+1)}, Spec: intent.LinkSpec{Endpoints: []intent.LinkEnd{
				{Node: fmt.Sprintf("leaf%d", l+1), Interface: fmt.Sprintf("eth%d", s+1)}, {Node: fmt.Sprintf("spine%d", s+1), Interface: fmt.Sprintf("eth%d", l+1), Address: far}}}})
		}
	}
	return b
}

func (b *steeringBed) put(o intent.Object) {
	b.rev++
	o.Meta().Revision = b.rev
	b.mu.Lock()
	b.Engine.put(o)
	b.mu.Unlock()
}

// reports has all switches report; ports that are named are down.
func (b *steeringBed) reports(down ...string) {
	for _, n := range []string{"spine1", "spine2", "leaf1", "leaf2"} {
		var r switchstate.Report
		for _, p := range []string{"eth1", "eth2"} {
			up := true
			for _, d := range down {
				up = up && d != n+":"+p
			}
			r.Ports = append(r.Ports, switchstate.Port{Name: p, Up: up})
		}
		b.TakeSwitch(n, r)
	}
}

func (b *steeringBed) requireTold(want string) {
	b.t.Helper()
	b.steerer.bring(b.ctx, b.now)
	require.Equal(b.t, want, b.leaf.text())
}

func (b *steeringBed) policy(name string, s intent.SteeringPolicySpec) *intent.SteeringPolicy {
	p := &intent.SteeringPolicy{Metadata: intent.Metadata{Name: name}, Spec: s}
	b.put(p)
	return p
}

func (b *steeringBed) reason(p *intent.SteeringPolicy) string {
	s := b.Status(p)
	if len(s.Reasons) == 0 {
		return string(s.Phase)
	}
	return string(s.Phase) + " " + s.Reasons[0].Device + " " + s.Reasons[0].Code
}

// Policies become routes of leaves, follow what is up, and end.
func TestPoliciesBecomeRoutes(t *testing.T) {
	b := newSteeringBed(t)
	scope := intent.SteeringScope{From: "leaf1", To: "leaf2"}
	p := b.policy("p", intent.SteeringPolicySpec{Scope: scope, Weight: map[string]int{"spine1": 3, "spine2": 1}, Until: b.now.Add(time.Hour)})
	b.requireTold("")
	require.Equal(t, "Pending controller Planning", b.reason(p), "nothing is steered before the switches have reported")
	b.reports()
	b.requireTold("10.254.0.2/32 spine1*3 spine2*1")
	require.Equal(t, "Pending leaf1 Unverified", b.reason(p))
	vtep := netip.MustParsePrefix("10.254.0.2/32")
	kernel := func(hops ...switchstate.NextHop) {
		r := switchstate.Routing{Programmed: []switchstate.Group{{Prefixes: []netip.Prefix{vtep}, Protocol: "bgp", NextHops: hops}}}
		b.TakeRouting("leaf1", switchstate.RoutingReport{Hash: r.Hash(), Routing: &r})
	}
	kernel(switchstate.NextHop{Interface: "eth1"}, switchstate.NextHop{Interface: "eth2"})
	require.Equal(t, "Pending leaf1 Programming", b.reason(p), "the kernel has ECMP")
	kernel(switchstate.NextHop{Interface: "eth1", Weight: 75}, switchstate.NextHop{Interface: "eth2", Weight: 25})
	require.Equal(t, "Ready", b.reason(p))

	b.reports("spine1:eth2") // to the far leaf
	b.requireTold("10.254.0.2/32 spine2*1")
	b.reports("spine1:eth2", "leaf2:eth2")
	b.requireTold("")
	b.reports()
	b.requireTold("10.254.0.2/32 spine1*3 spine2*1")

	// Frozen: what is new is not heard, and what leads nowhere goes.
	b.policy("stop", intent.SteeringPolicySpec{Freeze: true})
	p = b.policy("p", intent.SteeringPolicySpec{Scope: scope, Pin: &intent.SteeringPin{Via: []string{"spine2"}}, Until: b.now.Add(time.Hour)})
	b.requireTold("10.254.0.2/32 spine1*3 spine2*1")
	require.Equal(t, "Pending controller Frozen", b.reason(p))
	b.reports("spine1:eth2")
	b.requireTold("10.254.0.2/32 spine2*1")
	b.mu.Lock()
	b.delete(intent.Ref{Kind: intent.KindSteeringPolicy, Name: "stop"})
	b.mu.Unlock()
	b.reports()
	b.requireTold("10.254.0.2/32 spine2*1")

	// A spine that is drained is as one that is down.
	n := b.model.Node("spine2")
	drained := *n
	drained.Spec.Maintenance = intent.MaintenanceDrain
	b.put(&drained)
	b.requireTold("")
	require.Equal(t, "Degraded leaf1 FallenBack", b.reason(p))
	b.put(n)
	b.requireTold("10.254.0.2/32 spine2*1")

	b.now = b.now.Add(2 * time.Hour)
	b.reports()
	b.requireTold("")
}

// A spine whose link is up may have no route yet: nothing is steered to it before the
// sessions on the way are Established, be it near the leaf or beyond the spine.
func TestNothingIsSteeredWithoutSessions(t *testing.T) {
	b := newSteeringBed(t)
	b.policy("p", intent.SteeringPolicySpec{Scope: intent.SteeringScope{From: "leaf1", To: "leaf2"}, Pin: &intent.SteeringPin{Via: []string{"spine2"}}})
	b.reports()
	b.requireTold("10.254.0.2/32 spine2*1")
	sessions := func(node string, list ...switchstate.BGPSession) {
		r := switchstate.Routing{BGP: list}
		b.TakeRouting(node, switchstate.RoutingReport{Hash: r.Hash(), Routing: &r})
	}
	session := func(port, state string) switchstate.BGPSession {
		return switchstate.BGPSession{Peer: port + state, Interface: port, State: state}
	}
	for _, c := range []struct {
		node, port, want string
		states           []string
	}{
		{"leaf1", "eth2", "", []string{"Active"}},
		{"leaf1", "eth2", "10.254.0.2/32 spine2*1", []string{"Established"}},
		{"leaf1", "eth1", "10.254.0.2/32 spine2*1", []string{"Idle"}},
		{"leaf2", "eth2", "", []string{"OpenConfirm"}},
		{"leaf2", "eth2", "10.254.0.2/32 spine2*1", []string{"Idle", "Established"}}, // that of IPv6 is down
		{"spine2", "eth2", "", []string{"Connect"}},
		{"spine2", "eth2", "10.254.0.2/32 spine2*1", []string{"Established"}},
		{"leaf2", "eth9", "10.254.0.2/32 spine2*1", []string{"Idle"}}, // with a router outside
	} {
		var list []switchstate.BGPSession
		for _, s := range c.states {
			list = append(list, session(c.port, s))
		}
		sessions(c.node, append(list, switchstate.BGPSession{Peer: "192.0.2.1", State: "Active"})...)
		b.requireTold(c.want)
	}

	// A port that was down, and whose switch has said nothing of its sessions since.
	b.reports("leaf1:eth2")
	b.requireTold("")
	sessions("leaf1", switchstate.BGPSession{Peer: "192.0.2.2", State: "Active"}) // by no port: it has no address
	b.reports()
	b.requireTold("")
	sessions("leaf1", session("eth2", "Active"))
	b.requireTold("")
	sessions("leaf1", session("eth2", "Established"))
	b.requireTold("10.254.0.2/32 spine2*1")
}

// What can't be done is told, with the device, and holds nothing else back.
func TestPoliciesThatDoNothing(t *testing.T) {
	b := newSteeringBed(t)
	b.reports()
	deaf := b.policy("deaf", intent.SteeringPolicySpec{Scope: intent.SteeringScope{From: "leaf2"}, Pin: &intent.SteeringPin{Via: []string{"spine1"}}})
	unfit := b.policy("unfit", intent.SteeringPolicySpec{Pin: &intent.SteeringPin{Via: []string{"spine9"}}})
	tenant := b.policy("tenant", intent.SteeringPolicySpec{Scope: intent.SteeringScope{Tenant: "blue", From: "leaf1"}, Pin: &intent.SteeringPin{Via: []string{"spine2"}}})
	off := b.policy("off", intent.SteeringPolicySpec{Suspended: true, Pin: &intent.SteeringPin{Via: []string{"spine2"}}})
	b.policy("good", intent.SteeringPolicySpec{Scope: intent.SteeringScope{From: "leaf1"}, Pin: &intent.SteeringPin{Via: []string{"spine1"}}})
	b.requireTold("10.254.0.2/32 spine1*1")
	require.Equal(t, "Failed leaf2 NotSteerable", b.reason(deaf))
	require.Equal(t, "Failed controller Unfit", b.reason(unfit))
	require.Equal(t, "Failed controller Unfit", b.reason(tenant))
	require.Equal(t, "Ready  Suspended", b.reason(off))

	plan, err := b.PlanSteering(SteeringQuestion{Off: []string{"good"}, Without: []string{"spine1"}})
	require.NoError(t, err)
	require.Empty(t, plan.Routes)
	require.Contains(t, plan.Unfit, "unfit")
	_, err = b.PlanSteering(SteeringQuestion{Without: []string{"spine9"}})
	require.ErrorContains(t, err, "no link between switches at spine9")
}

// colours gives all leaves of the bed further addresses: leaf2 has 10.128.4.0 and so on.
func (b *steeringBed) colours(n int) {
	for l := range 2 {
		node := *b.model.Node(fmt.Sprintf("leaf%d", l+1))
		node.Spec.Colours = nil
		for k := range n {
			node.Spec.Colours = append(node.Spec.Colours, netip.AddrFrom4([4]byte{10, 128, byte(4*l + k), 0}))
		}
		b.put(&node)
	}
}

// assigned are the colours that those who send were told of.
func (b *steeringBed) assigned() map[steering.ColourScope]int {
	b.Engine.colours.mu.Lock()
	defer b.Engine.colours.mu.Unlock()
	require.True(b.t, b.Engine.colours.known, "nobody was told")
	return b.Engine.colours.assigned
}

// Policies for tenants become routes to addresses of their colours, which those who send
// are told of: as soon as the policies are known, and as long as they are there, also
// while what is steered is frozen.
func TestPoliciesForTenants(t *testing.T) {
	b := newSteeringBed(t)
	b.colours(2)
	pin := func(tenant, via string) intent.SteeringPolicySpec {
		return intent.SteeringPolicySpec{Scope: intent.SteeringScope{Tenant: tenant, From: "leaf1", To: "leaf2"}, Pin: &intent.SteeringPin{Via: []string{via}}}
	}
	blue := b.policy("blue", pin("blue", "spine1"))
	b.requireTold("")
	require.Len(t, b.assigned(), 1, "also before the switches have reported: until then traffic keeps its addresses")
	b.reports()
	at := func(tenant string) string {
		k := b.assigned()[steering.ColourScope{Tenant: tenant}]
		require.NotZero(t, k, tenant)
		return fmt.Sprintf("10.128.%d.0/32", 4+k-1)
	}
	b.requireTold(at("blue") + " spine1*1")
	red := b.policy("red", pin("red", "spine2"))
	third := b.policy("third", pin("third", "spine2"))
	b.steerer.bring(b.ctx, b.now)
	require.ElementsMatch(t, []string{at("blue") + " spine1*1", at("red") + " spine2*1"}, strings.Split(b.leaf.text(), ", "))
	require.Equal(t, "Pending leaf1 Unverified", b.reason(blue))
	require.Equal(t, "Failed controller Unfit", b.reason(third))
	require.Contains(t, b.Status(third).Reasons[0].Message, "no colour is left: 2 of 2 are used by tenant blue, tenant red")
	steered := b.Status(red).Steered
	require.Len(t, steered, 1)
	require.Equal(t, "red", steered[0].Tenant)
	require.Equal(t, b.assigned()[steering.ColourScope{Tenant: "red"}], steered[0].Colour)

	// Nothing that is down, and no freeze, changes a colour.
	before := b.assigned()
	b.reports("leaf1:eth1")
	b.requireTold(at("red") + " spine2*1")
	require.Equal(t, before, b.assigned())
	b.reports()
	b.policy("stop", intent.SteeringPolicySpec{Freeze: true})
	b.mu.Lock()
	b.delete(red.Ref())
	b.mu.Unlock()
	b.steerer.bring(b.ctx, b.now)
	require.Equal(t, before, b.assigned())
	for _, gone := range []intent.Object{blue, third, &intent.SteeringPolicy{Metadata: intent.Metadata{Name: "stop"}}} {
		b.mu.Lock()
		b.delete(gone.Ref())
		b.mu.Unlock()
	}
	b.requireTold("")
	require.Empty(t, b.assigned())
}

// While it can't be planned what is steered, at the start, nobody is told that there are
// no colours; and later those that there are stay.
func TestColoursWithoutAPlan(t *testing.T) {
	b := newSteeringBed(t)
	b.colours(2)
	b.policy("blue", intent.SteeringPolicySpec{Scope: intent.SteeringScope{Tenant: "blue"}, Pin: &intent.SteeringPin{Via: []string{"spine1"}}})
	leaves := []*intent.Node{b.model.Node("leaf1"), b.model.Node("leaf2")}
	gone := func() {
		for _, n := range leaves {
			b.mu.Lock()
			b.delete(n.Ref())
			b.mu.Unlock()
		}
	}
	gone()
	b.reports()
	b.requireTold("")
	require.Error(t, b.steerer.plan.err)
	require.False(t, b.Engine.colours.known)
	for _, n := range leaves {
		b.put(n)
	}
	b.steerer.bring(b.ctx, b.now)
	before := b.assigned()
	require.Len(t, before, 1)
	gone()
	b.steerer.bring(b.ctx, b.now)
	require.Equal(t, before, b.assigned())
}
