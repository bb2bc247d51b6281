// Package irb tests symmetric routing between subnets (RFC 9135) across kinds of
// edges, with the real controller, agents, FRR and Open vSwitch: servers behind
// EVPN leaves with VRFs, and VMs on a hypervisor.
//
// Leaves need VRF devices, which not every kernel has: the tests have the tag vm
// and run in the virtual machine of lab/vm ("make test-vm").
package irb
