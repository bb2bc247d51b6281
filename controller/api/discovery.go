package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

type discoveryOutput struct{ Body client.Discovery }

// registerDiscovery registers what the fabric is, whatever the intent says.
func (s *Server) registerDiscovery() {
	huma.Register(s.api, huma.Operation{OperationID: "discover", Method: http.MethodGet, Path: "/v1/fabric/discovery", Tags: []string{"Operation"},
		Summary:     "Switches that report, whether they are nodes or not",
		Description: "What agents say of their ports, and who is at their other ends: the fabric as it is wired. `weft fabric discover` makes objects of it."},
		func(context.Context, *struct{}) (*discoveryOutput, error) {
			out := &discoveryOutput{client.Discovery{Switches: []client.Discovered{}}}
			for _, u := range s.cfg.Boxes.UnknownBoxes() {
				out.Body.Switches = append(out.Body.Switches, client.Discovered{Announcement: u.Announcement})
			}
			for _, r := range s.cfg.Status.Reporting() {
				out.Body.Switches = append(out.Body.Switches, client.Discovered{Role: r.Role,
					Announcement: switchstate.Announcement{Node: r.Node, Serial: r.Serial, Ports: r.Ports}})
			}
			return out, nil
		})
}
