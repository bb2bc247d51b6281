package client

import (
	"context"

	"github.com/weft-sdn/weft/controller/intent"
)

// ACLCounters are what the rules of a network ACL have decided on, on all devices
// together.
type ACLCounters struct {
	Devices []string       `json:"devices" nullable:"false" doc:"Devices whose counters these are, together"`
	Missing []MissingCount `json:"missing" nullable:"false" doc:"Devices with ports of its networks whose counters are missing"`
	Rules   []ACLRuleCount `json:"rules" nullable:"false" doc:"The rules in their order"`
	Ingress PolicyRest     `json:"ingress" doc:"What enters and no rule matches"`
	Egress  PolicyRest     `json:"egress" doc:"What leaves and no rule matches"`
}

// ACLRuleCount is a rule with its counters, which count from when each device got the
// rule at this place.
type ACLRuleCount struct {
	Index   int    `json:"index" doc:"Index in the rules"`
	Rule    string `json:"rule" doc:"The rule in words" example:"deny ingress tcp from 192.0.2.0/24 to port 22"`
	Packets uint64 `json:"packets" doc:"Packets that the rule decided on"`
	Bytes   uint64 `json:"bytes" doc:"Their bytes, whole frames"`
}

// ACLCounters asks what the rules of a network ACL have decided on.
func (c *Client) ACLCounters(ctx context.Context, acl intent.Ref) (ACLCounters, error) {
	var out ACLCounters
	err := c.get(ctx, Path(acl)+"/counters", &out)
	return out, err
}
