//go:build lab

package lab

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
)

// What 200 flows between servers on EVPN leaves and VMs on vSwitches send is what the
// matrix has, cell by cell and tenant by tenant; what links carry is what their
// counters say; and a controller that starts anew takes no history for traffic.
func TestSteeringLoad(t *testing.T) {
	w := siteOf(t, steeringFile(t))
	w.put(w.objects...)
	w.ready(patience)
	streams := []*udpFlows{
		{from: "blue-srv1", to: "blue-srv3", address: "10.0.0.13", flows: 80, rate: 400_000},
		{from: "red-srv1", to: "red-srv3", address: "10.0.0.13", flows: 40, rate: 200_000},
		{from: "blue-vm1", to: "blue-vm3", address: "10.0.0.23", flows: 40, rate: 200_000},
		{from: "red-srv2", to: "red-vm1", address: "10.0.0.21", flows: 40, rate: 100_000},
	}
	stop := w.send(streams...)
	defer stop()
	want := map[string]float64{
		"leaf1 leaf3 blue": w.tunnelled(streams[0]), "leaf1 leaf3 red": w.tunnelled(streams[1]),
		"hv1 hv3 blue": w.tunnelled(streams[2]), "leaf2 hv1 red": w.tunnelled(streams[3]),
	}
	t.Run("matrix", func(t *testing.T) { w.in(t).requireMatrix(want, 0.03) })
	t.Run("links", func(t *testing.T) { w.in(t).requireLinks(want) })
	t.Run("file", func(t *testing.T) {
		w := w.in(t)
		csv := w.cli("steer", "matrix", "--measured", "--window", "5s")
		require.Contains(t, csv, "from,to,tenant,flows,rate\n")
		require.Contains(t, csv, "hv1,hv3,blue,")
		t.Logf("\n%s%s", csv, w.cli("fabric", "load", "--most", "6"))
	})
	t.Run("controller", func(t *testing.T) {
		w := w.in(t)
		require.NoError(t, RestartController(t.Context(), w.State, w.weft, true))
		w.eventually(patience, func() error { return w.client.Ready(t.Context()) })
		most := 0.0
		w.eventually(patience, func() error {
			m, err := w.client.Matrix(t.Context(), time.Second)
			if err == nil {
				most = max(most, m.Total)
				_, err = compare(m, want, 0.1)
			}
			return err
		})
		require.Less(t, most, 3*total(want), "counters that went on counting while there was no controller are no traffic of now")
	})
	t.Run("silence", func(t *testing.T) {
		w := w.in(t)
		stop()
		w.eventually(patience, func() error {
			m, err := w.client.Matrix(t.Context(), time.Second)
			if err == nil && m.Total > total(want)/100 {
				err = errStill("%.0f bit/s", m.Total)
			}
			return err
		})
	})
}

// tunnelled is what flows makes in the tunnel, in bit/s.
func (w *site) tunnelled(s *udpFlows) float64 { return 8 * tunnelled * float64(s.rate) / payload }

func total(want map[string]float64) (sum float64) {
	for _, v := range want {
		sum += v
	}
	return sum
}

// compare wants the cells of a matrix to be as wanted within a part, and the others
// together less than a hundredth of all: those are ARP and what hosts say by themselves.
func compare(m client.Matrix, want map[string]float64, within float64) (worst float64, err error) {
	if len(m.Missing) > 0 {
		return 0, fmt.Errorf("leaves do not count: %v", m.Missing)
	}
	seen, rest := map[string]float64{}, m.Unknown+m.Uncounted
	for _, c := range m.Cells {
		name := c.From + " " + c.To + " " + c.Tenant
		if _, ok := want[name]; !ok {
			rest += c.Rate
		}
		seen[name] += c.Rate
	}
	for name, rate := range want {
		off := math.Abs(seen[name]/rate - 1)
		if worst = max(worst, off); off > within {
			err = fmt.Errorf("%s: measured %.0f bit/s, sent %.0f", name, seen[name], rate)
		}
	}
	if rest > total(want)/100 {
		err = fmt.Errorf("%.0f bit/s in other cells, unknown or uncounted: %+v", rest, m)
	}
	return worst, err
}

func (w *site) requireMatrix(want map[string]float64, within float64) {
	w.Helper()
	worst := 0.0
	took := w.eventually(patience, func() error {
		m, err := w.client.Matrix(w.Context(), 5*time.Second)
		if err == nil {
			worst, err = compare(m, want, within)
		}
		return err
	})
	w.Logf("%d cells measured over 5 s, the worst %.2f %% off what was sent, after %s", len(want), 100*worst, took.Round(time.Millisecond))
}

// requireLinks wants the uplinks of all leaves to carry the matrix and a little more:
// BGP, LLDP.
func (w *site) requireLinks(want map[string]float64) {
	w.Helper()
	expected := total(want)
	var l client.FabricLoad
	w.eventually(patience, func() (err error) {
		l, err = w.client.FabricLoad(w.Context(), 5*time.Second)
		if err != nil {
			return err
		}
		up, down := 0.0, 0.0
		for _, s := range l.Shares {
			up, down = up+s.Up, down+s.Down
		}
		for _, sum := range []float64{up, down} {
			if sum < 0.97*expected || sum > 1.1*expected {
				return fmt.Errorf("%.0f bit/s up, %.0f down, sent %.0f", up, down, expected)
			}
		}
		return nil
	})
	require.Len(w, l.Links, 16)
	require.Len(w, l.Shares, 2)
	require.Len(w, l.Imbalances, 4)
	for _, s := range l.Shares {
		w.Logf("%s has %.1f %% of what leaves send upwards", s.Node, 100*s.Part)
		require.InDelta(w, 0.5, s.Part, 0.25, "200 flows on two spines")
	}
}
