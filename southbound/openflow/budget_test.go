//go:build budget

package openflow

import (
	"encoding/hex"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/lab/budget"
)

// sink is a connection that takes all that is written.
type sink struct{ net.Conn }

func (sink) Write(b []byte) (int, error)      { return len(b), nil }
func (sink) SetWriteDeadline(time.Time) error { return nil }

func TestBudget(t *testing.T) {
	counts := map[string]float64{}
	buf, vtep := make([]byte, 0, 4096), netip.MustParseAddr("10.0.0.9")
	for _, f := range examples() {
		f.Cookie = 7
		counts["allocations to encode a flow"] += testing.AllocsPerRun(100, func() {
			buf = appendBundleAdd(buf[:0], 1, 1, FlowMod{Flow: f})
		})
	}
	var mods []FlowMod
	for range 1000 {
		for _, f := range examples() {
			mods = append(mods, FlowMod{Flow: f})
		}
	}
	c := &Conn{c: sink{}, waiting: map[uint32]*call{}}
	send := func() {
		if err := c.awaitBundle(&call{}, 1, uint32(len(mods))); err != nil {
			panic(err)
		}
		if err := c.sendMods(t.Context(), nil, nil, 1, 1, batch{mods: mods}); err != nil {
			panic(err)
		}
		c.forgetBundle()
	}
	counts["allocations to send a bundle of 13,000 flows"] = testing.AllocsPerRun(10, send)
	var encoded Encoded
	for _, m := range mods {
		encoded.Append(m)
	}
	counts["allocations to send 13,000 encoded flows"] = testing.AllocsPerRun(10, func() {
		if err := c.sendMods(t.Context(), nil, nil, 1, 1, batch{runs: []Encoded{encoded}}); err != nil {
			panic(err)
		}
	})
	var described Described
	m, err := hex.DecodeString(dumped)
	require.NoError(t, err)
	require.NoError(t, described.add(m[16:]))
	key := make([]byte, 0, 256)
	counts["allocations to look at a described flow"] = testing.AllocsPerRun(100, func() {
		for f := range described.All() {
			key = f.AppendKey(key[:0])
		}
	})
	require.NoError(t, err)
	counts["allocations to decode a flow"] = testing.AllocsPerRun(100, func() {
		if _, _, err := readFlowDesc(m[16:]); err != nil {
			panic(err)
		}
	})
	var made Flow
	counts["allocations to make a flow that leads to a VTEP"] = testing.AllocsPerRun(100, func() {
		made = Flow{Match: NewMatch(Metadata(7), EthDst([6]byte{2, 0, 0, 0, 0, 9})),
			Instructions: NewInstructions(Apply(SetField(TunnelID(7)), SetField(TunDst(vtep)), Output(65000)))}
	})
	require.NotEmpty(t, made.String())
	counts["bytes of a flow-mod"] = float64(len(appendBundleAdd(nil, 1, 1, mods[7])))
	budget.Check(t, counts)
}
