package overlay

import (
	"iter"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
)

// QoS limits and marks what a port sends and receives. It is not changed once
// made.
type QoS struct {
	Out, In Limit
	// Mark says that DSCP is set on what the station sends.
	Mark bool
	DSCP uint8 // 0 to 63
}

// Limit is a token bucket in kbit/s and kbit; there is none when Rate is zero.
type Limit struct{ Rate, Burst uint32 }

// Equal reports whether both are the same; nil is none.
func (q *QoS) Equal(o *QoS) bool {
	if q == nil || o == nil {
		return q == o
	}
	return *q == *o
}

// compileQoS makes a port's limits; nil when it has none.
func compileQoS(q *intent.QoS) *QoS {
	if q == nil {
		return nil
	}
	out := QoS{Out: compileLimit(q.Out), In: compileLimit(q.In)}
	if q.DSCP != nil {
		out.Mark, out.DSCP = true, *q.DSCP
	}
	if out == (QoS{}) {
		return nil
	}
	return &out
}

// limits are those of tenants, by name. The ports of a tenant share one QoS.
type limits map[string]*QoS

// compileTenantQoS makes what a tenant's ports on one edge may use together; nil
// when nothing limits them.
func compileTenantQoS(t *intent.Tenant) *QoS {
	if t == nil || t.Spec.QoS == nil {
		return nil
	}
	return compileQoS(&intent.QoS{Out: t.Spec.QoS.Out, In: t.Spec.QoS.In})
}

// setTenant takes a tenant, new, changed or, with nil, deleted: its ports are
// settled when its limits changed.
func (m *Model) setTenant(name string, t *intent.Tenant) {
	now := compileTenantQoS(t)
	if m.limits[name].Equal(now) {
		return
	}
	if m.limits[name] = now; now == nil {
		delete(m.limits, name)
	}
	for p := range m.PortsOfTenant(name) {
		m.settle(p)
	}
}

// LimitsTenant reports whether a tenant has limits.
func (m *Model) LimitsTenant(name string) bool { return m.limits[name] != nil }

// PortsOfTenant yields the ports of a tenant by network and name.
func (m *Model) PortsOfTenant(name string) iter.Seq[intent.Ref] {
	return func(yield func(intent.Ref) bool) {
		var networks []intent.Ref
		for n := range m.portsOf {
			if n.Tenant == name {
				networks = append(networks, n)
			}
		}
		slices.SortFunc(networks, compareRefs)
		for _, n := range networks {
			for _, p := range m.PortsOf(n) {
				if !yield(p) {
					return
				}
			}
		}
	}
}

// leastBurst is room for a few packets of 1,500 octets, in kbit: with less a
// meter passes next to nothing.
const leastBurst = 64

// compileLimit rounds to what a meter can hold; without a burst a tenth of a
// second's worth may come at once.
func compileLimit(l intent.RateLimit) Limit {
	bits, _ := l.Rate.Bits()
	if bits == 0 {
		return Limit{}
	}
	out := Limit{Rate: kilo(bits)}
	if burst, _ := l.Burst.Bits(); burst > 0 {
		out.Burst = kilo(burst)
	} else {
		out.Burst = max(out.Rate/10, leastBurst)
	}
	return out
}

// kilo rounds bits up to kilobits.
func kilo(bits uint64) uint32 { return uint32(min((bits+999)/1000, 1<<32-1)) }
