package steering

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/fabric/demand"
)

// tenantsOf is what tenants send in a minute: mice of all between all leaves, and of two of
// six tenants elephants from the first leaf.
func tenantsOf(p *painting, minute int) demand.Matrix {
	tenants := []string{"blue", "green", "red", "yellow", "white", "black"}
	random := rand.New(rand.NewPCG(uint64(minute), 7))
	var ds []demand.Demand
	clear(p.flows)
	for _, from := range leafNames(4) {
		for _, to := range leafNames(4) {
			if from == to {
				continue
			}
			for i, tenant := range tenants {
				d := demand.Demand{Key: demand.Key{From: from, To: to, Tenant: tenant}, Rate: 0.4e9 * (0.5 + random.Float64())}
				p.flows[d.Key] = 100
				// Each is there for two minutes, one comes and one goes each minute.
				if from == "leaf1" && to == "leaf3" && (i == minute%6 || i == (minute+1)%6) {
					d.Rate, p.flows[d.Key] = 12e9, 1
				}
				ds = append(ds, d)
			}
		}
	}
	m, err := demand.New(ds)
	require.NoError(p.t, err)
	return m
}

// Five minutes in which elephants come and go, and all rates wander by a tenth: with colours
// the most utilised link is less utilised than without, on average, by what links carry; and
// a colour is given once at most for each elephant that comes.
func TestFiveMinutesOfGivenColours(t *testing.T) {
	run := func(colours int) (level float64, gave int, late int) {
		p := newPainting(t, twoTier(4, 2), Capacities{Default: 40e9}, DefaultDamping(), colours, autoPolicy)
		p.place = func(k demand.Key, flow int) float64 {
			if p.flows[k] == 1 {
				return 0.001
			}
			return 0.001 + float64(flow%100)/100
		}
		random := rand.New(rand.NewPCG(3, uint64(1)))
		var was []string
		for step := range 72 {
			m := tenantsOf(p, step/12)
			noisy := demand.Matrix{Demands: slices.Clone(m.Demands)}
			for i := range noisy.Demands {
				noisy.Demands[i].Rate *= 0.9 + 0.2*random.Float64()
			}
			p.pass(noisy, 5*time.Second)
			for _, tenant := range p.given() {
				if !slices.Contains(was, tenant) {
					gave++
				}
			}
			if step%12 >= 8 && fmt.Sprint(was) != fmt.Sprint(p.given()) {
				late++
			}
			was = p.given()
			if step >= 12 {
				level += p.worst(noisy) / 60
			}
		}
		return level, gave, late
	}
	with, gave, late := run(4)
	without, none, _ := run(0)
	t.Logf("the most utilised link on average: %.1f %% with colours, %.1f %% without; %d were given in six minutes, in %d of the 24 last steps of the minutes something was given or given back", 100*with, 100*without, gave, late)
	require.Zero(t, none)
	require.Positive(t, gave)
	require.Less(t, with, without)
	require.LessOrEqual(t, gave, 7, "one for each elephant that comes")
}
