package client

import (
	"context"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
)

// PortCounters are what a port's edge has counted of it.
type PortCounters struct {
	Node     string      `json:"node" doc:"The edge that counted"`
	Sent     Count       `json:"sent" doc:"By the station, before limits"`
	Received Count       `json:"received" doc:"By the station"`
	Dropped  []DropCount `json:"dropped" nullable:"false" doc:"What the edge dropped, by reason"`
}

// Count is a number of packets and of their octets.
type Count struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes" doc:"Ethernet headers included"`
}

// Plus is the sum of both.
func (c Count) Plus(o Count) Count { return Count{c.Packets + o.Packets, c.Bytes + o.Bytes} }

// DropCount is why packets were dropped, and how many.
type DropCount struct {
	Why   string `json:"why" doc:"In words"`
	Count `yaml:",inline"`
}

// PortCounters asks a port's edge what it has counted.
func (c *Client) PortCounters(ctx context.Context, port intent.Ref) (PortCounters, error) {
	var out PortCounters
	err := c.get(ctx, Path(port)+"/counters", &out)
	return out, err
}

// RouterCounters are what the edges of a router have counted of it.
type RouterCounters struct {
	// Total is nil while an edge does not answer, so that it never goes back for
	// that.
	Total     *RouterTotal   `json:"total,omitempty" doc:"Of all edges together; left out while one that counts does not answer"`
	Edges     []RouterCount  `json:"edges" nullable:"false" doc:"Edges with ports of the router's networks"`
	Missing   []MissingCount `json:"missing" nullable:"false" doc:"Edges that do not answer now"`
	Uncounted []string       `json:"uncounted" nullable:"false" doc:"Edges with ports of its networks that never count: only vSwitches do"`
}

// RouterTotal is the sum of the edges' counts.
type RouterTotal struct {
	Routed   Count `json:"routed" doc:"IP packets that stations sent to the gateway's MAC, to be routed: each is counted once, on the station's edge"`
	Received Count `json:"received" doc:"IP packets that came routed from other edges, with the L3VNI"`
}

// RouterCount is what one edge has counted.
type RouterCount struct {
	Node        string `json:"node"`
	RouterTotal `yaml:",inline"`
	Since       time.Time `json:"since" doc:"Since when: from then on the edge has had ports of the router's networks"`
}

// MissingCount is an edge that does not answer, and why.
type MissingCount struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

// RouterCounters asks the edges of a router what they have counted.
func (c *Client) RouterCounters(ctx context.Context, router intent.Ref) (RouterCounters, error) {
	var out RouterCounters
	err := c.get(ctx, Path(router)+"/counters", &out)
	return out, err
}

// TenantCounters are what a tenant's limits have done on each edge.
type TenantCounters struct {
	Edges     []TenantCount  `json:"edges" nullable:"false" doc:"Edges with ports of the tenant"`
	Missing   []MissingCount `json:"missing" nullable:"false" doc:"Edges that do not answer now"`
	Uncounted []string       `json:"uncounted" nullable:"false" doc:"Edges with ports of the tenant that do not limit: only vSwitches do"`
}

// TenantCount is what came to a tenant's limits on one edge since they were made
// there.
type TenantCount struct {
	Node     string     `json:"node"`
	Sent     LimitCount `json:"sent" doc:"By its stations there, together; zero without a limit out"`
	Received LimitCount `json:"received" doc:"By its stations there, together; zero without a limit in"`
}

// LimitCount is what came to a limit, and what of that it dropped.
type LimitCount struct {
	Came    Count `json:"came" doc:"Packets that came to the limit"`
	Dropped Count `json:"dropped" doc:"Those of them that it dropped"`
}

// TenantCounters asks the edges of a tenant what its limits have done.
func (c *Client) TenantCounters(ctx context.Context, tenant string) (TenantCounters, error) {
	var out TenantCounters
	err := c.get(ctx, Path(intent.Ref{Kind: intent.KindTenant, Name: tenant})+"/counters", &out)
	return out, err
}
