package ovsdb

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVTEPACLs(t *testing.T) {
	c := serveVTEP(t)
	r := c.Rows("tor1")
	require.False(t, r.NoACLs)
	port := r.Switch.Ports["eth1"].UUID
	full := VTEPEntry{Sequence: 7, Egress: true, Permit: true, Source: "10.0.0.0", SourceMask: "255.0.0.0", Dest: "192.168.0.0", DestMask: "255.255.0.0", Protocol: VTEPNumber{true, 6},
		SourcePorts: VTEPPorts{1024, 65535}, DestPorts: VTEPPorts{80, 80}}
	icmp := VTEPEntry{Sequence: 8, Source: "0.0.0.0", SourceMask: "0.0.0.0", Protocol: VTEPNumber{true, 1}, ICMPType: VTEPNumber{true, 0}, ICMPCode: VTEPNumber{true, 0}}
	bare := VTEPEntry{Sequence: 9}
	n, r := writtenOps(t, c, VTEPChange{ACLs: map[string]VTEPACLChange{"weft-100": {Add: []VTEPEntry{full, icmp}}}, BindACL: map[string]map[int]string{port: {20: "weft-100"}}})
	require.Equal(t, 4, n, "two entries, the ACL, the binding")
	uuid := r.Switch.Ports["eth1"].ACLs[20]
	require.Equal(t, "weft-100", r.ACLs[uuid].Name)
	require.ElementsMatch(t, []VTEPEntry{full, icmp}, slices.Collect(maps.Values(r.ACLs[uuid].Entries)), "as they were written")
	require.False(t, r.ACLsBound[uuid])
	require.True(t, c.Rows("tor2").ACLsBound[uuid], "by another switch")

	var keep, drop []string
	for u, e := range r.ACLs[uuid].Entries {
		if e == full {
			keep = append(keep, u)
		} else {
			drop = append(drop, u)
		}
	}
	n, r = writtenOps(t, c, VTEPChange{ACLs: map[string]VTEPACLChange{"weft-100": {UUID: uuid, Keep: keep, Add: []VTEPEntry{bare}, Drop: drop}}})
	require.Equal(t, 3, n, "one entry more, one less, and the list")
	require.ElementsMatch(t, []VTEPEntry{full, bare}, slices.Collect(maps.Values(r.ACLs[uuid].Entries)))
	require.Contains(t, r.ACLs[uuid].Entries, keep[0])

	_, r = writtenOps(t, c, VTEPChange{UnbindACL: map[string]map[int]string{port: {20: "another"}}})
	require.Equal(t, uuid, r.Switch.Ports["eth1"].ACLs[20], "what another has is not unbound")
	n, r = writtenOps(t, c, VTEPChange{UnbindACL: map[string]map[int]string{port: {20: uuid}}, DropACLs: []string{uuid}})
	require.Equal(t, 4, n)
	require.Empty(t, r.ACLs)
	require.Empty(t, r.Switch.Ports["eth1"].ACLs)
	require.Equal(t, 1+1+1, VTEPChange{ACLs: map[string]VTEPACLChange{"a": {Add: []VTEPEntry{bare}, Drop: []string{"x"}}}}.Rows())
}
