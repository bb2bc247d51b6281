package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Paths are the equal-cost paths between two places: as the graph has them, as the
// routing protocols have them, and as the kernels send packets.
type Paths struct {
	From PathEnd `json:"from"`
	To   PathEnd `json:"to"`
	// Up is what is left of the intended ones without the links that are down.
	Intended    PathSet          `json:"intended"`
	Up          PathSet          `json:"up" doc:"The intended ones over links that are up"`
	Learned     PathSet          `json:"learned" doc:"Of the routing protocols"`
	Programmed  PathSet          `json:"programmed" doc:"Of the kernels"`
	Hops        []PathHop        `json:"hops" nullable:"false" doc:"Switches on the way, the nearest first"`
	Differences []PathDifference `json:"differences" nullable:"false"`
}

// PathEnd is one end of paths.
type PathEnd struct {
	Name    string     `json:"name" doc:"As asked for"`
	Node    string     `json:"node,omitempty" doc:"Who has the address; left out when no node of the intent has it"`
	Switch  string     `json:"switch" doc:"The switch that it is, or is behind"`
	Address netip.Addr `json:"address" doc:"That is looked up on each switch"`
}

// PathSet is a set of equal-cost paths.
type PathSet struct {
	Width int    `json:"width" doc:"Next hops of the first switch"`
	Paths uint64 `json:"paths"`
	Hops  int    `json:"hops" doc:"Links of the longest path"`
}

// PathHop is a switch on the way.
type PathHop struct {
	Switch   string    `json:"switch"`
	Reported bool      `json:"reported" doc:"Its agent tells what it has; else it is taken to be as intended"`
	Steered  bool      `json:"steered,omitempty" doc:"Its next hops were chosen by the controller and need not be all"`
	NextHops []PathLeg `json:"nextHops" nullable:"false"`
}

// PathLeg is a next hop, and which of the sets have it.
type PathLeg struct {
	Interface  string `json:"interface"`
	Neighbour  string `json:"neighbour,omitempty" doc:"Port at the other end, as spine1:eth2; left out where no link is intended"`
	Intended   bool   `json:"intended"`
	Up         bool   `json:"up"`
	Learned    bool   `json:"learned"`
	Programmed bool   `json:"programmed"`
	Weight     int    `json:"weight,omitempty" doc:"In the kernel, beside those of the others"`
}

// PathDifference is a next hop that is in one set and not in another.
type PathDifference struct {
	Kind      string `json:"kind" enum:"LinkDown,NextHopNotLearned,NextHopNotProgrammed,NextHopStale,NextHopUnintended"`
	Switch    string `json:"switch"`
	Interface string `json:"interface"`
	Message   string `json:"message"`
}

// NodeRouting is what a switch's agent reported last of its routing.
type NodeRouting struct {
	Node  string    `json:"node"`
	Since time.Time `json:"since" doc:"When the agent was heard last"`
	switchstate.Routing
}

// RoutingReported is the answer to a report of a switch's routing.
type RoutingReported struct {
	Whole bool `json:"whole" doc:"The controller wants the routing itself, and not its hash alone"`
}

// Paths finds the paths between two places, each given by the name of a switch or
// hypervisor, or by an address.
func (c *Client) Paths(ctx context.Context, from, to string) (Paths, error) {
	var out Paths
	_, b, err := c.do(ctx, http.MethodGet, "/v1/fabric/paths", url.Values{"from": {from}, "to": {to}}, nil, nil)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return out, fmt.Errorf("paths from %s to %s: the controller's answer can't be read: %w", from, to, err)
	}
	return out, nil
}

// Routing is what a switch's agent reported last of its routing.
func (c *Client) Routing(ctx context.Context, node string) (NodeRouting, error) {
	var out NodeRouting
	err := c.get(ctx, Path(intent.Ref{Kind: intent.KindNode, Name: node})+"/routing", &out)
	return out, err
}

// ReportRouting tells the controller what a switch's routing is. whole says that it
// wants more than a hash.
func (c *Client) ReportRouting(ctx context.Context, node string, r switchstate.RoutingReport) (whole bool, err error) {
	body, err := json.Marshal(r)
	if err != nil {
		return false, fmt.Errorf("report the routing of %s: %w", node, err)
	}
	h := http.Header{"Content-Type": {"application/json"}}
	_, b, err := c.do(ctx, http.MethodPost, Path(intent.Ref{Kind: intent.KindNode, Name: node})+"/routing/report", nil, h, body)
	if err != nil {
		return false, err
	}
	var a RoutingReported
	if err := json.Unmarshal(b, &a); err != nil {
		return false, fmt.Errorf("report the routing of %s: the controller's answer can't be read: %w", node, err)
	}
	return a.Whole, nil
}
