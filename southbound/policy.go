package southbound

import (
	"context"

	"github.com/weft-sdn/weft/overlay"
)

// FlowCount is what flows of a device have counted since they were made.
type FlowCount struct {
	Packets uint64
	Bytes   uint64 // of whole frames
}

// PolicyCount is what a device counts for a policy. A rule counts the packets of
// the direction in which sessions began; answers pass without a rule.
type PolicyCount struct {
	Rules []FlowCount // as the policy has them
	// In and Out are what no rule allowed: denied, but for Out of a policy
	// without egress rules, which is allowed.
	In, Out FlowCount
	// Ports is how many ports of the device have the policy; the counts are
	// theirs together.
	Ports int
}

// ACLCount is what a device counts for a network ACL: the packets that each rule
// decided on.
type ACLCount struct {
	Rules []FlowCount // as the ACL has them
	// In and Out are what no rule matched, so that it was denied.
	In, Out FlowCount
}

// FlowLine is a flow of a device in words.
type FlowLine struct {
	Table    uint8
	Priority uint16
	Words    string // a sentence
	FlowCount
}

// Judge is a driver of a device that enforces policies of ports and counts for them
// and for network ACLs.
type Judge interface {
	// CountPolicy reads what the device counts for a local port's policy.
	CountPolicy(ctx context.Context, p overlay.LocalPort) (PolicyCount, error)
	// CountACL reads what the device counts for an ACL, for all its networks
	// together.
	CountACL(ctx context.Context, a *overlay.ACL) (ACLCount, error)
	// PortFlows reads the flows of a local port and of its policy.
	PortFlows(ctx context.Context, p overlay.LocalPort) ([]FlowLine, error)
}
