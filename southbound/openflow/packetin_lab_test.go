//go:build lab

package openflow

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/southbound/ovstest"
)

const discover = "ffffffffffff02000000000108004500001c00000000401100000000ffffffff0044004300080000"

// A switch with two ports whose flows send what comes to port 1, by a meter of
// packets, to the controller.
func metered(t *testing.T) (*ovstest.OVS, *Conn, Meter) {
	o := ovstest.Start(t)
	o.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy", "fail-mode=secure", "protocols=OpenFlow15",
		"--", "add-port", "br0", "p1", "--", "set", "interface", "p1", "type=dummy", "ofport_request=1",
		"--", "add-port", "br0", "p2", "--", "set", "interface", "p2", "type=dummy", "ofport_request=2")
	c, ctx := dial(t, o.Bridge("br0"))
	m := Meter{ID: 65539, Packets: true, Rate: 1, Burst: 3}
	require.NoError(t, c.SetMeters(ctx, []MeterMod{{MeterAdd, m}}))
	require.NoError(t, c.Bundle(ctx, []FlowMod{
		{Flow: Flow{Priority: 100, Cookie: 7, Match: NewMatch(InPort(1)), Instructions: NewInstructions(Apply(MeterBy(m.ID), SetField(Reg(3, 9))), WriteMetadata(100), GotoTable(12))}},
		{Flow: Flow{Table: 12, Priority: 100, Cookie: 8, Match: NewMatch(InPort(1)), Instructions: NewInstructions(Apply(Controller()))}},
		{Flow: Flow{Table: 12, Priority: 90, Cookie: 8, Match: NewMatch(Reg(3, 5)), Instructions: NewInstructions(Apply(Output(2)))}},
	}))
	return o, c, m
}

// What comes faster than a meter's rate never reaches the controller, and is
// counted at the switch; a flow that uses a meter comes back as it was sent.
func TestMeterLimitsPacketIns(t *testing.T) {
	o, c, m := metered(t)
	ctx := t.Context()
	q := NewPacketQueue(100)
	require.NoError(t, c.ReceivePackets(ctx, q.Put))
	const sent = 50
	began := time.Now()
	for range sent {
		o.Run("ovs-appctl", "-t", o.Dir+"/vs.ctl", "netdev-dummy/receive", "p1", discover)
	}
	var stats []MeterStats
	o.Eventually("all have met the meter", func() bool {
		var err error
		stats, err = c.MeterStats(ctx, MeterAll)
		require.NoError(t, err)
		return stats[0].Packets == sent
	})
	most := int(m.Burst) + int(time.Since(began).Seconds()*float64(m.Rate)) + 1
	passed := sent - int(stats[0].DroppedPackets)
	require.LessOrEqual(t, passed, most)
	require.GreaterOrEqual(t, passed, int(m.Burst))
	for i := range passed {
		select {
		case p := <-q.C():
			require.Equal(t, uint32(1), p.InPort)
			require.Equal(t, uint8(12), p.Table)
			reg, _ := p.Value(FieldReg(3))
			require.EqualValues(t, 9, reg)
			require.Equal(t, discover, hex.EncodeToString(p.Data))
		case <-time.After(ovstest.Patience):
			t.Fatalf("packet %d of %d did not come", i, passed)
		}
	}
	require.NoError(t, c.Barrier(ctx))
	require.Empty(t, q.C(), "what was dropped does not come")

	flows, err := c.DumpFlows(ctx, 7, ^uint64(0))
	require.NoError(t, err)
	require.Equal(t, "cookie=0x7,table=0,priority=100,in_port=1 actions=meter:65539,set_field:0x9->reg3,write_metadata:0x64,goto_table:12", flows[0].String())
	t.Logf("%d of %d passed", passed, sent)
}

// A packet-out carries registers into the flow tables.
func TestPacketOutWithRegisters(t *testing.T) {
	_, c, _ := metered(t)
	frame, err := hex.DecodeString(discover)
	require.NoError(t, err)
	for _, reg := range []uint32{5, 6} {
		require.NoError(t, c.SendPacket(PacketOut{InPort: PortController, Metadata: []Field{Metadata(100), Reg(3, reg)}, Actions: []Action{Resubmit(12)}, Data: frame}))
	}
	require.NoError(t, c.Barrier(t.Context()))
	flows, err := c.DumpFlows(t.Context(), 8, ^uint64(0))
	require.NoError(t, err)
	var out uint64
	for _, f := range flows {
		if f.Priority == 90 {
			out += f.Packets
		}
	}
	require.EqualValues(t, 1, out)
}

func TestMetersComeBackAsSent(t *testing.T) {
	_, c, m := metered(t)
	ctx := t.Context()
	var mods []MeterMod
	for i := range uint32(600) {
		mods = append(mods, MeterMod{MeterAdd, Meter{ID: 70000 + i, Rate: 1000 + i, Burst: 100}})
	}
	require.NoError(t, c.SetMeters(ctx, mods))
	got, err := c.DumpMeters(ctx)
	require.NoError(t, err)
	require.Len(t, got, 601)
	for _, g := range got {
		require.True(t, g.Plain)
		if g.ID == m.ID {
			require.Equal(t, m, g.Meter)
		} else {
			require.Equal(t, mods[g.ID-70000].Meter, g.Meter)
		}
	}
	var me *MeterError
	require.ErrorAs(t, c.SetMeters(ctx, []MeterMod{{MeterDelete, mods[0].Meter}, {MeterAdd, mods[1].Meter}}), &me)
	require.Equal(t, "meter-mod failed: the meter exists: meter=70001 kbps burst stats bands=type=drop rate=1001 burst_size=100", me.Error())
	require.NoError(t, c.SetMeters(ctx, []MeterMod{{MeterDelete, m}}))
	flows, err := c.DumpFlows(ctx, 7, ^uint64(0))
	require.NoError(t, err)
	require.Empty(t, flows, "a meter takes its flows with it")
}
