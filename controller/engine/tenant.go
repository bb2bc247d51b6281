package engine

import (
	"fmt"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
)

// tenantStatus is Ready when every edge with ports of a tenant that has limits
// confirmed these with them. Of a tenant without limits no edge has to know.
func (e *Engine) tenantStatus(t *intent.Tenant) *intent.Status {
	if t.Spec.QoS == nil && !e.model.LimitsTenant(t.Metadata.Name) {
		return &intent.Status{Phase: intent.PhaseReady, Applied: t.Metadata.Revision}
	}
	st := e.spreadStatus(t, e.model.PortsOfTenant(t.Metadata.Name), 0)
	told := map[string]bool{}
	for p := range e.model.PortsOfTenant(t.Metadata.Name) {
		a, ok := e.model.Attachment(p)
		if !ok || told[a.Node] || len(st.Reasons) >= maxReasons {
			continue
		}
		if why := e.notLimited(a); why != nil {
			told[a.Node] = true
			st.Reasons = append(st.Reasons, *why)
			if st.Phase == intent.PhaseReady {
				st.Phase = intent.PhaseDegraded
			}
		}
	}
	return st
}

// notLimited says that a port is not among those that its tenant's limits hold for,
// nil when it is, or when there are none.
func (e *Engine) notLimited(a overlay.Attachment) *intent.Reason {
	n := e.model.Node(a.Node)
	if a.TenantQoS == nil || n == nil || n.Spec.VSwitch != nil {
		return nil
	}
	return &intent.Reason{Device: a.Node, Code: southbound.AlarmCapability,
		Message: fmt.Sprintf("only vSwitches limit: the limits of tenant %s do not hold for its ports here", a.Port.Tenant),
		Action:  "limit on the switch, or move the ports to a hypervisor"}
}
