package overlay

import (
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
