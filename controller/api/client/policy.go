package client

// Policy is what the security groups of a port say together.
type Policy struct {
	Node   string   `json:"node" doc:"Device that enforces it"`
	Groups []string `json:"groups" nullable:"false" doc:"The port's groups; none when nothing is filtered"`
	// Ports is how many ports share the counters.
	Ports   int          `json:"ports" doc:"Ports of the device that are in the same groups: the counters are theirs together"`
	Rules   []PolicyRule `json:"rules" nullable:"false" doc:"Rules of all groups, by group and index"`
	Ingress PolicyRest   `json:"ingress" doc:"What no rule allows in"`
	Egress  PolicyRest   `json:"egress" doc:"What no rule allows out"`
}

// PolicyRule is a rule with its counters, which count from when the device got the
// rule. It counts the packets of the direction in which sessions began.
type PolicyRule struct {
	Group   string `json:"group" doc:"Group whose rule it is"`
	Index   int    `json:"index" doc:"Index in that group's rules"`
	Rule    string `json:"rule" doc:"The rule in words" example:"ingress tcp 80 from group app"`
	Packets uint64 `json:"packets" doc:"Packets that the rule let pass"`
	Bytes   uint64 `json:"bytes" doc:"Their bytes, whole frames"`
}

// PolicyRest is what happens to what no rule allows.
type PolicyRest struct {
	Action  string `json:"action" enum:"allow,deny"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Flow is a flow of a device in words.
type Flow struct {
	Table    uint8  `json:"table" doc:"Number of the flow table"`
	Priority uint16 `json:"priority"`
	Words    string `json:"words" doc:"What it does"`
	Packets  uint64 `json:"packets"`
	Bytes    uint64 `json:"bytes"`
}

// Flows are a port's flows, and those of its policy, by table and priority.
type Flows struct {
	Node  string `json:"node" doc:"Device that has them"`
	Items []Flow `json:"items" nullable:"false"`
}
