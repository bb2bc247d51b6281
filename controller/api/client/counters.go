package client

import (
	"context"

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
