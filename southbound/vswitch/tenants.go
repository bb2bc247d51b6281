package vswitch

import (
	"hash/fnv"
	"maps"
	"slices"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound/openflow"
)

// tenants are those whose ports an edge limits together, and the numbers of their
// meters. A tenant has the meters of a port number that no port has. The numbers
// follow from the ports that the edge has now: a controller that starts finds its
// meters right. It is immutable.
type tenants struct {
	limits  map[string]*overlay.QoS
	numbers map[string]uint32 // port numbers whose meters are the tenants'
}

// Port numbers whose meters tenants have: above those that Open vSwitch gives to
// the first ports of a bridge, and so that the meters are among the 200,000 that the
// kernel's datapath has at most.
const (
	tenantFirst   uint32 = 1 << 15
	tenantNumbers        = 1 << 14
	portLast             = 65279
)

// tenantsOf makes the numbers for an edge's ports: that to which the tenant's name
// hashes, or the next that no port has and no tenant with a lower name.
func tenantsOf(local map[intent.Ref]overlay.LocalPort) *tenants {
	t := &tenants{limits: map[string]*overlay.QoS{}, numbers: map[string]uint32{}}
	for _, l := range local {
		if l.TenantQoS != nil && !l.Standby {
			t.limits[l.Port.Tenant] = l.TenantQoS
		}
	}
	if len(t.limits) == 0 {
		return t
	}
	taken := make(map[uint32]bool, len(local)+len(t.limits))
	for _, l := range local {
		taken[l.OFPort] = true
	}
	for _, name := range slices.Sorted(maps.Keys(t.limits)) {
		h := fnv.New32a()
		_, _ = h.Write([]byte(name))
		n := tenantFirst + h.Sum32()%tenantNumbers
		for taken[n] && len(taken) < portLast { // more ports and tenants than numbers there can't be
			if n++; n > portLast {
				n = 1
			}
		}
		taken[n], t.numbers[name] = true, n
	}
	return t
}

// numberOf is the number of a port's tenant; zero when that has no limit.
func (t *tenants) numberOf(l overlay.LocalPort) uint32 {
	if t == nil || l.TenantQoS == nil {
		return 0
	}
	return t.numbers[l.Port.Tenant]
}

// meters are those of all tenants.
func (t *tenants) meters() (ms []openflow.Meter) {
	if t == nil {
		return nil
	}
	for name, q := range t.limits {
		ms = append(ms, limiting(t.numbers[name], q)...)
	}
	return ms
}
