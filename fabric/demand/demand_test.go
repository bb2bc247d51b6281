package demand_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/fabric/demand"
)

// leaves is a fabric that has leaf1 to leaf20.
func leaves(name string) error {
	var n int
	if _, err := fmt.Sscanf(name, "leaf%d", &n); err != nil || n < 1 || n > 20 {
		return fmt.Errorf("the fabric has no node %q", name)
	}
	return nil
}

func TestColumnsAreFoundByName(t *testing.T) {
	m, err := demand.Parse([]byte("# measured\nrate, from,to,flows\n1.5G,leaf10,leaf2,1\n\n250M,leaf2,leaf10,\n"), "m.csv", leaves)
	require.NoError(t, err)
	require.Equal(t, []demand.Demand{
		{Key: demand.Key{From: "leaf2", To: "leaf10"}, Rate: 250e6},
		{Key: demand.Key{From: "leaf10", To: "leaf2"}, Rate: 1.5e9, Flows: 1},
	}, m.Demands)
	require.True(t, m.Demands[1].Whole())
	require.False(t, m.Demands[0].Whole())
}

func TestAllFaultsAreToldWithTheirLines(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", `m.csv: the file is empty: a line like "from,to,tenant,flows,rate" is expected first`},
		{"from,to\n", "m.csv:1: column rate is missing: the first line names the columns"},
		{"from,to,rate,from\n", "m.csv:1: column from is there twice"},
		{"source,to,rate\n", "m.csv:1: column \"source\" is not one of from, to, tenant, flows, rate\nm.csv:1: column from is missing: the first line names the columns"},
		{"from,to,rate\nleaf1,leaf99,1G\nleef1,leaf2,1G\n", "m.csv:2: to: the fabric has no node \"leaf99\"\nm.csv:3: from: the fabric has no node \"leef1\""},
		{"from,to,rate\nleaf1,leaf2\nleaf1,leaf2,fast\n", "m.csv:2: the line has more or fewer fields than the header\nm.csv:3: rate: \"fast\" is not a rate: use bits per second, like 250M or 1.5G"},
		{"from,to,rate\nleaf1,leaf1,1G\n", "m.csv:2: the traffic goes from leaf1 to itself"},
		{"from,to,rate\nleaf1,leaf2,1G\nleaf1,leaf2,2G\n", "m.csv:3: leaf1 → leaf2 is given already in line 2"},
		{"from,to,rate\n,leaf2,-1\n", "m.csv:2: from is empty\nm.csv:2: rate: \"-1\" is not a rate: use bits per second, like 250M or 1.5G"},
		{"from,to,flows,rate\nleaf1,leaf2,0,1G\nleaf2,leaf1,x,1G\n", "m.csv:2: flows: \"0\" is not a number of flows: leave it empty when they are many\nm.csv:3: flows: \"x\" is not a number of flows: leave it empty when they are many"},
		{"from,to,rate\nleaf1,\"leaf2,1G\n", "m.csv:2: broken CSV: extraneous or missing \" in quoted-field"},
	} {
		_, err := demand.Parse([]byte(c.text), "m.csv", leaves)
		require.EqualError(t, err, c.want)
	}
}

func TestAVeryWrongFileEnds(t *testing.T) {
	_, err := demand.Parse([]byte("from,to,rate\n"+strings.Repeat("a,b,1\n", 100000)), "m.csv", leaves)
	require.ErrorContains(t, err, "more")
	require.Less(t, len(err.Error()), 2000)
}

func TestRates(t *testing.T) {
	for text, want := range map[string]float64{"0": 0, "64000": 64000, "64k": 64e3, "64K": 64e3, "1.5G": 1.5e9, "2T": 2e12, "1e9": 1e9} {
		v, err := demand.ParseRate(text)
		require.NoError(t, err, text)
		require.Equal(t, want, v, text)
	}
	for _, text := range []string{"", "G", "NaN", "inf", "-0.1G", "1e300", "1 G", "5m", "2t", "0x10", "1_000", "1Gbit"} {
		_, err := demand.ParseRate(text)
		require.Error(t, err, text)
	}
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.OneOf(rapid.Float64Range(0, 1e15), rapid.Map(rapid.IntRange(0, 1e12), func(i int) float64 { return float64(i) * 1000 })).Draw(t, "rate")
		back, err := demand.ParseRate(demand.FormatRate(v))
		if err != nil || back != v {
			t.Fatalf("%v is written %s and read %v, %v", v, demand.FormatRate(v), back, err)
		}
	})
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ds []demand.Demand
		node := rapid.IntRange(1, 20)
		for range rapid.IntRange(0, 20).Draw(t, "cells") {
			d := demand.Demand{Rate: rapid.Float64Range(0, 1e12).Draw(t, "rate"), Flows: rapid.IntRange(0, 3).Draw(t, "flows")}
			d.From, d.To = fmt.Sprintf("leaf%d", node.Draw(t, "from")), fmt.Sprintf("leaf%d", node.Draw(t, "to"))
			d.Tenant = rapid.SampledFrom([]string{"", "blue", "a,\"b\""}).Draw(t, "tenant")
			if d.From != d.To {
				ds = append(ds, d)
			}
		}
		m, err := demand.New(ds)
		if err != nil {
			t.Fatal(err)
		}
		back, err := demand.Parse(m.CSV(), "m.csv", leaves)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(back) != fmt.Sprint(m) {
			t.Fatalf("wrote %v, read %v", m, back)
		}
		total := 0.0
		for _, d := range ds {
			total += d.Rate
		}
		if math.Abs(total-m.Total()) > 1e-6*total {
			t.Fatalf("the demands add up to %v, the matrix to %v", total, m.Total())
		}
	})
}

func TestWrongDemandsAreRefused(t *testing.T) {
	for _, d := range []demand.Demand{
		{Key: demand.Key{From: "a", To: "b"}, Rate: math.NaN()},
		{Key: demand.Key{From: "a", To: "b"}, Rate: math.Inf(1)},
		{Key: demand.Key{From: "a", To: "b"}, Rate: -1},
		{Key: demand.Key{From: "a", To: "b"}, Flows: -1},
		{Key: demand.Key{From: "a", To: "a"}, Rate: 1},
	} {
		_, err := demand.New([]demand.Demand{d})
		require.Error(t, err)
	}
}

func TestGravity(t *testing.T) {
	g := demand.Gravity{Total: 1e12, Spread: 0.5, Heavy: 0.1, Times: 8, Seed: 3}
	for i := range 64 {
		g.Nodes = append(g.Nodes, fmt.Sprintf("leaf%d", i+1))
	}
	m, err := g.Matrix()
	require.NoError(t, err)
	again, err := g.Matrix()
	require.NoError(t, err)
	require.Equal(t, m, again)
	require.Len(t, m.Demands, 64*63)
	require.InEpsilon(t, 1e12, m.Total(), 1e-6)
	heavy := 0
	for _, d := range m.Demands {
		if d.Whole() {
			heavy++
		}
	}
	require.InDelta(t, 403, heavy, 60)
	for _, bad := range []demand.Gravity{{}, {Nodes: g.Nodes}, {Nodes: g.Nodes, Total: 1, Heavy: 2}, {Nodes: g.Nodes, Total: 1, Heavy: .1}, {Nodes: g.Nodes, Total: 1, Spread: -1}} {
		_, err := bad.Matrix()
		require.Error(t, err)
	}
}

func TestTheLargest(t *testing.T) {
	m, err := demand.New([]demand.Demand{
		{Key: demand.Key{From: "a", To: "b", Tenant: "blue"}, Rate: 3},
		{Key: demand.Key{From: "b", To: "a", Tenant: "blue"}, Rate: 4},
		{Key: demand.Key{From: "b", To: "a", Tenant: "red"}, Rate: 5},
		{Key: demand.Key{From: "b", To: "c"}, Rate: 1},
		{Key: demand.Key{From: "b", To: "c"}, Rate: 1},
	})
	require.NoError(t, err)
	require.Equal(t, "b → a of red", m.Largest(1)[0].Key.String())
	require.Len(t, m.Largest(9), 4)
	ts := m.Tenants()
	require.Equal(t, "blue", ts[0].Tenant)
	require.Equal(t, 7.0, ts[0].Rate)
	require.Len(t, ts, 2)
	require.Equal(t, 28.0, m.Scale(2).Total())
	require.Equal(t, 14.0, m.Total())
}

func FuzzParse(f *testing.F) {
	f.Add("from,to,rate\nleaf1,leaf2,1G\n")
	f.Add("# x\nrate,from,to,tenant,flows\n1,leaf3,leaf2,\"a\"\"b\",7\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := demand.Parse([]byte(text), "m.csv", leaves)
		if err != nil {
			return
		}
		back, err := demand.Parse(m.CSV(), "again", leaves)
		require.NoError(t, err)
		require.Equal(t, m, back)
	})
}
