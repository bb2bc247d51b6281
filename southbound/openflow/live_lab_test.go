//go:build lab

package openflow

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/southbound/ovstest"
)

// bridge starts an Open vSwitch and returns the endpoint of its bridge br0.
func bridge(t *testing.T) string {
	o := ovstest.Start(t)
	o.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy", "fail-mode=secure", "protocols=OpenFlow10,OpenFlow15")
	return o.Bridge("br0")
}

func dial(t *testing.T, endpoint string) (*Conn, context.Context) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*ovstest.Patience)
	t.Cleanup(cancel)
	c, err := Dial(ctx, endpoint, Config{})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, ctx
}

// many are flows with every field and action that we use.
func many(n int) []FlowMod {
	var out []FlowMod
	for i := range n {
		m := [6]byte{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}
		a4 := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		a6 := netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(i >> 8), 15: byte(i)})
		v := uint64(i%100 + 1)
		for t, f := range everyFlow(m, a4, a6, v, uint32(i+1)) {
			f.Table, f.Cookie = uint8(t), 0x7ef7<<48|v
			out = append(out, FlowMod{Command: FlowAdd, Flow: f})
		}
	}
	return out
}

func TestDumpReturnsWhatWasSent(t *testing.T) {
	c, ctx := dial(t, bridge(t))
	mods := many(300)
	require.NoError(t, c.Bundle(ctx, mods))
	want := map[string][]byte{}
	for _, m := range mods {
		want[string(m.Match.AppendTo([]byte{m.Table}))] = m.Instructions.AppendTo(nil)
	}
	got, err := c.DumpFlows(ctx, 0x7ef7<<48, 0xffff<<48)
	require.NoError(t, err)
	require.Len(t, got, len(want))
	for _, f := range got {
		w, ok := want[string(f.Match.AppendTo([]byte{f.Table}))]
		require.True(t, ok, "not sent: %s", f)
		require.True(t, bytes.Equal(w, f.Instructions.AppendTo(nil)), "%s\nsent %x\ngot  %x", f, w, f.Instructions.AppendTo(nil))
		require.EqualValues(t, 0x7ef7, f.Cookie>>48)
	}
	described, err := c.DescribeFlows(ctx, 0x7ef7<<48, 0xffff<<48)
	require.NoError(t, err)
	require.Equal(t, len(got), described.Len())
	encoded := map[string]EncodedMod{}
	var e Encoded
	for _, m := range mods {
		e.Append(m)
	}
	for i := range e.Len() {
		encoded[string(e.At(i).AppendKey(nil))] = e.At(i)
	}
	for f := range described.All() {
		w, ok := encoded[string(f.AppendKey(nil))]
		require.True(t, ok)
		require.Equal(t, w.Instructions().AppendTo(nil), f.Instructions().AppendTo(nil))
	}
}

// What was encoded once goes to a switch by reference, behind other changes, and a
// refusal of one of them is told with its flow.
func TestEncodedBundles(t *testing.T) {
	c, ctx := dial(t, bridge(t))
	mods := many(20)
	var e Encoded
	for _, m := range mods[50:] {
		e.Append(m)
	}
	require.NoError(t, c.Bundle(ctx, mods[:50], e.Slice(0, 100), e.Slice(100, e.Len())))
	got, err := c.DumpFlows(ctx, 0, 0)
	require.NoError(t, err)
	require.Len(t, got, len(mods))
	var bad Encoded
	bad.Append(FlowMod{Flow: Flow{Table: 5, Cookie: 1, Match: NewMatch(ARPOp(1))}})
	err = c.Bundle(ctx, many(1), e.Slice(0, 3), bad)
	require.EqualError(t, err, "bad match: prerequisite missing: flow cookie=0x1,table=5,priority=0,arp_op=1 actions=drop")
}

func TestBundleIsAllOrNothing(t *testing.T) {
	c, ctx := dial(t, bridge(t))
	mods := many(10)
	bad := len(mods) / 2
	mods[bad].Flow = Flow{Table: 5, Cookie: 1, Match: NewMatch(ARPOp(1))} // its prerequisite is missing
	err := c.Bundle(ctx, mods)
	var be *BundleError
	require.ErrorAs(t, err, &be)
	require.Equal(t, "bad match: prerequisite missing: flow cookie=0x1,table=5,priority=0,arp_op=1 actions=drop", err.Error())
	got, err := c.DumpFlows(ctx, 0, 0)
	require.NoError(t, err)
	require.Empty(t, got)
	mods[bad] = mods[0]
	require.NoError(t, c.Bundle(ctx, mods), "the connection goes on")
}

func TestDeletionByCookie(t *testing.T) {
	c, ctx := dial(t, bridge(t))
	require.NoError(t, c.Bundle(ctx, many(200)))
	all, err := c.DumpFlows(ctx, 0, 0)
	require.NoError(t, err)
	require.NoError(t, c.Bundle(ctx, []FlowMod{{Command: FlowDelete, CookieMask: 1<<24 - 1, Flow: Flow{Table: TableAll, Cookie: 7}}}))
	left, err := c.DumpFlows(ctx, 0, 0)
	require.NoError(t, err)
	require.Len(t, left, len(all)*99/100)
	strict := FlowMod{Command: FlowDeleteStrict, CookieMask: ^uint64(0), Flow: left[0].Flow}
	strict.Cookie++
	require.NoError(t, c.Bundle(ctx, []FlowMod{strict}))
	still, _ := c.DumpFlows(ctx, 0, 0)
	require.Len(t, still, len(left), "another cookie protects")
	strict.Cookie--
	require.NoError(t, c.Bundle(ctx, []FlowMod{strict}))
	still, _ = c.DumpFlows(ctx, 0, 0)
	require.Len(t, still, len(left)-1)
}

func TestMonitorTellsOthersChangesOnly(t *testing.T) {
	at := bridge(t)
	c, ctx := dial(t, at)
	seen := make(chan FlowUpdate, 100)
	require.NoError(t, c.MonitorFlows(ctx, func(u FlowUpdate) { seen <- u }))
	require.NoError(t, c.Bundle(ctx, many(3)))
	require.NoError(t, c.Barrier(ctx))
	ofctl := func(args ...string) {
		out, err := exec.Command("ovs-ofctl", append([]string{"-O", "OpenFlow15"}, args...)...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	ofctl("add-flow", at, "cookie=0x99,table=7,priority=5,in_port=9,actions=drop")
	next := func() string {
		select {
		case u := <-seen:
			return fmt.Sprint(u.Event, " ", u.Flow)
		case <-time.After(ovstest.Patience):
			return "nothing"
		}
	}
	require.Equal(t, "1 cookie=0x99,table=7,priority=5,in_port=9 actions=drop", next())
	ofctl("--strict", "mod-flows", at, "table=7,priority=5,in_port=9,actions=output:1")
	require.Equal(t, "3 cookie=0x99,table=7,priority=5,in_port=9 actions=drop", next())
	ofctl("--strict", "del-flows", at, "table=7,priority=5,in_port=9")
	require.Equal(t, "2 cookie=0x99,table=7,priority=5,in_port=9 actions=drop", next())
}

func TestLostSwitch(t *testing.T) {
	at := bridge(t)
	c, ctx := dial(t, at)
	require.NotZero(t, c.Features().DatapathID)
	_, err := Dial(ctx, at+"x", Config{})
	require.ErrorContains(t, err, "no such file")
	c.c.Close()
	<-c.Done()
	require.Error(t, c.Barrier(ctx))
	require.Error(t, c.Bundle(ctx, many(1)))
}
