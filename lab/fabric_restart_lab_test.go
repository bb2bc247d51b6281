//go:build lab

package lab

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/topology"
)

// All daemons of all switches are restarted, one switch after the other, under the
// traffic of an overlay: nothing is lost. A switch that does not come back ends it, and
// the others are left alone.
func TestFabricRollingRestart(t *testing.T) {
	w := siteOf(t, rackedFile(t, topology.GenerateParams{Name: "rolling", Spines: 2, Leaves: 4, ServersPerLeaf: 1}))
	w.put(w.objects...)
	w.ready(patience)
	o := FailureOptions{Weft: w.weft, Calm: 200 * time.Millisecond, Abort: true}
	t.Run("all", func(t *testing.T) {
		before := slices.Clone(w.Processes)
		rep, err := TryFailures(t.Context(), w.State, w.Restarts(w.weft, time.Minute), o)
		require.NotNil(t, rep, "%v", err)
		var out bytes.Buffer
		require.NoError(t, rep.Print(&out))
		t.Logf("%s", &out)
		require.NoError(t, err)
		require.Len(t, rep.Results, 6)
		for _, r := range rep.Results {
			require.Zero(t, r.Down.Lost+r.Up.Lost, "restart of %s: %+v", r.What, r)
			require.Positive(t, r.Down.Sent)
		}
		for _, p := range before {
			n, err := w.Node(p.Node)
			if err == nil && n.Router != nil && p.Name != "keeper" {
				require.False(t, p.Alive(), "%s of %s was restarted", p.Name, p.Node)
			}
		}
	})
	t.Run("aborted", func(t *testing.T) {
		// An agent that ends at once gives FRR no configuration.
		broken := slices.DeleteFunc(w.Restarts("/bin/false", 5*time.Second), func(f Failure) bool { return f.Node != "leaf2" })
		rest := slices.DeleteFunc(w.Restarts(w.weft, time.Minute), func(f Failure) bool { return f.Node != "leaf3" })
		bgpd, err := w.processOf("leaf3", "bgpd")
		require.NoError(t, err)
		rep, err := TryFailures(t.Context(), w.State, slices.Concat(broken, rest), o)
		require.ErrorContains(t, err, "restart of leaf2: leaf2: in time limit: ")
		require.NotNil(t, rep)
		require.Empty(t, rep.Results)
		require.True(t, bgpd.Alive(), "leaf3 was left alone")
	})
}
