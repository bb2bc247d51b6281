package client

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
)

// FabricLoad is what the links between switches carried within a window.
type FabricLoad struct {
	Window     string      `json:"window" doc:"Up to when the request came"`
	Links      []LinkLoad  `json:"links" nullable:"false" doc:"Both directions of each link between switches"`
	Shares     []Share     `json:"shares" nullable:"false" doc:"How what leaves send upwards is divided among the switches of a tier"`
	Imbalances []Imbalance `json:"imbalances" nullable:"false" doc:"How unequal the uplinks of each switch are used"`
}

// LinkLoad is what one direction of a link carries.
type LinkLoad struct {
	From        string  `json:"from" doc:"Switch and port"`
	To          string  `json:"to"`
	Rate        float64 `json:"rate" doc:"Bits per second, Ethernet headers included"`
	Capacity    float64 `json:"capacity,omitempty" doc:"Bits per second, of the Link or as its ports report; left out when neither says"`
	Utilisation float64 `json:"utilisation" doc:"Part of the capacity"`
	Dropped     float64 `json:"dropped" doc:"Packets per second that its ports, or the queue in front of it, dropped"`
	Seen        bool    `json:"seen" doc:"False when neither end has reported lately: nothing is known"`
}

// Share is what goes by one spine or superspine.
type Share struct {
	Node string  `json:"node"`
	Up   float64 `json:"up" doc:"Bits per second from the tier below"`
	Down float64 `json:"down" doc:"Bits per second to the tier below"`
	Part float64 `json:"part" doc:"Part of what all switches of its tier get from below"`
}

// Imbalance is how unequal the uplinks of a switch are used.
type Imbalance struct {
	Node   string  `json:"node"`
	Max    float64 `json:"max" doc:"Highest utilisation of an uplink; bits per second where a capacity is not known"`
	Mean   float64 `json:"mean"`
	Excess float64 `json:"excess" doc:"By how much, as a part of the mean, the highest is above it: 0 is even"`
}

// LoadHistory is what a port sent.
type LoadHistory struct {
	Node       string      `json:"node"`
	Port       string      `json:"port"`
	Resolution string      `json:"resolution"`
	Points     []LoadPoint `json:"points" nullable:"false" doc:"Oldest first"`
}

// LoadPoint is the mean over one resolution's time.
type LoadPoint struct {
	Time time.Time `json:"time" doc:"When that time begins"`
	Rate float64   `json:"rate" doc:"Bits per second"`
}

// Matrix is the traffic between VTEPs, as leaves measured it within a window.
type Matrix struct {
	Window    string            `json:"window"`
	Cells     []Cell            `json:"cells" nullable:"false"`
	Tenants   []Volume          `json:"tenants" nullable:"false" doc:"The largest first"`
	Total     float64           `json:"total" doc:"Bits per second of all cells"`
	Unknown   float64           `json:"unknown,omitempty" doc:"Bits per second between addresses of which one is no node's VTEP"`
	Addresses []netip.Addr      `json:"addresses,omitempty" doc:"Some of those addresses"`
	Uncounted float64           `json:"uncounted,omitempty" doc:"Bits per second in tunnels for which there was no room"`
	Missing   map[string]string `json:"missing,omitempty" doc:"Leaves whose traffic is not in the matrix, and why"`
}

// Cell is what one VTEP sends another for a tenant.
type Cell struct {
	From   string  `json:"from" doc:"Node"`
	To     string  `json:"to" doc:"Node"`
	Tenant string  `json:"tenant,omitempty"`
	Rate   float64 `json:"rate" doc:"Bits per second, outer headers included"`
	// By says how much leaves by which ports, as leaf:port.
	By map[string]float64 `json:"by" doc:"Bits per second by the port by which it leaves, as leaf:port"`
}

// Volume is what a tenant sends through the fabric.
type Volume struct {
	Tenant string  `json:"tenant,omitempty" doc:"Empty when nobody has the VNI"`
	Rate   float64 `json:"rate" doc:"Bits per second"`
}

func window(d time.Duration) string {
	return "?" + url.Values{"window": {d.String()}}.Encode()
}

// FabricLoad is what the links between switches carried within a window that ends now:
// 1 s to 5 h.
func (c *Client) FabricLoad(ctx context.Context, within time.Duration) (FabricLoad, error) {
	var out FabricLoad
	err := c.get(ctx, "/v1/fabric/load"+window(within), &out)
	return out, err
}

// LoadHistory is what a port of a switch sent, at a resolution of 1 s, 10 s, 1 min or
// 5 min.
func (c *Client) LoadHistory(ctx context.Context, node, port string, resolution time.Duration) (LoadHistory, error) {
	var out LoadHistory
	q := url.Values{"resolution": {resolution.String()}}
	err := c.get(ctx, Path(intent.Ref{Kind: intent.KindNode, Name: node})+"/switch/ports/"+url.PathEscape(port)+"/load?"+q.Encode(), &out)
	return out, err
}

// Matrix is the traffic between VTEPs, measured within a window that ends now: 1 s to
// 5 min.
func (c *Client) Matrix(ctx context.Context, within time.Duration) (Matrix, error) {
	var out Matrix
	err := c.get(ctx, "/v1/fabric/matrix"+window(within), &out)
	return out, err
}

// MatrixCSV is the same as a file that weft steer simulate reads.
func (c *Client) MatrixCSV(ctx context.Context, within time.Duration) ([]byte, error) {
	_, b, err := c.do(ctx, http.MethodGet, "/v1/fabric/matrix.csv"+window(within), nil, nil, nil)
	return b, err
}
