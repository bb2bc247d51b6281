package lab

import (
	"encoding/json"
	"fmt"

	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// byAgent reports whether a switch's agent configures its FRR.
func (e *exporter) byAgent(n Node) bool { return n.Router.Managed && n.Agent && !e.rendered }

// states writes for each switch with an agent the state that the controller will tell it:
// the agent starts from it as from the last good one of its own.
func (e *exporter) states() error {
	facts, err := fabric.PlanIntent(e.state.Fabric.Spec, e.state.FabricNodes, e.state.FabricLinks)
	if err != nil {
		return err
	}
	for _, n := range e.state.Nodes {
		if n.Router == nil || !e.byAgent(n) {
			continue
		}
		s := switchstate.State{Version: switchstate.Version}
		if s.Device, err = fabric.Device(facts, n.Name); err != nil {
			return err
		}
		s.Hash = s.Device.Hash()
		text, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			return fmt.Errorf("%s: write its state: %w", n.Name, err)
		}
		e.add(nodePath(n.Name, agentState), text)
	}
	return nil
}
