package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
)

// tokenTTL is how long a join token can be used when nobody says otherwise.
const tokenTTL = time.Hour

type newTokenInput struct{ Body client.NewToken }

type tokenOutput struct{ Body client.Token }

type tokensOutput struct{ Body client.Tokens }

type tokenInput struct {
	ID string `path:"id" doc:"The token's id" maxLength:"64"`
}

// registerTokens registers the join tokens.
func (s *Server) registerTokens() {
	huma.Register(s.api, huma.Operation{OperationID: "createToken", Method: http.MethodPost, Path: "/v1/fabric/tokens", Tags: []string{"Operation"},
		Summary: "Make a one-time join token", Description: "Only this answer has the token itself; of it a hash is stored.",
		Errors: []int{http.StatusNotFound}, DefaultStatus: http.StatusCreated}, s.createToken)
	huma.Register(s.api, huma.Operation{OperationID: "listTokens", Method: http.MethodGet, Path: "/v1/fabric/tokens", Tags: []string{"Operation"},
		Summary: "Join tokens, the oldest first", Description: "Those that expired or were used are kept for a week."},
		func(ctx context.Context, _ *struct{}) (*tokensOutput, error) {
			all, err := s.cfg.Store.Tokens(ctx)
			if err != nil {
				return nil, s.fail(ctx, err)
			}
			out := &tokensOutput{client.Tokens{Items: []client.Token{}}}
			for _, t := range all {
				out.Body.Items = append(out.Body.Items, told(t))
			}
			return out, nil
		})
	huma.Register(s.api, huma.Operation{OperationID: "deleteToken", Method: http.MethodDelete, Path: "/v1/fabric/tokens/{id}", Tags: []string{"Operation"},
		Summary: "Delete a join token", Errors: []int{http.StatusNotFound}, DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, in *tokenInput) (*struct{}, error) {
			ok, err := s.cfg.Store.DeleteToken(ctx, in.ID)
			if err == nil && !ok {
				err = &client.Problem{Type: client.TypeNotFound, Title: "Not found", Status: http.StatusNotFound, Detail: "there is no join token " + in.ID}
			}
			if err != nil {
				return nil, s.fail(ctx, err)
			}
			return nil, nil
		})
}

// told is a token without its hash.
func told(t store.Token) client.Token {
	return client.Token{ID: t.ID, Node: t.Node, Created: t.Created, Expires: t.Expires, Used: t.Used, UsedBy: t.UsedBy, UsedAs: t.UsedAs}
}

func (s *Server) createToken(ctx context.Context, in *newTokenInput) (*tokenOutput, error) {
	ttl := tokenTTL
	if in.Body.TTL != "" {
		d, err := time.ParseDuration(in.Body.TTL)
		if err != nil || d < time.Second || d > store.MaxTokenTTL {
			return nil, s.fail(ctx, &client.Problem{Type: client.TypeInvalid, Title: "Fields at fault", Status: http.StatusUnprocessableEntity,
				Detail: "ttl " + in.Body.TTL + " is not a time from 1s to " + store.MaxTokenTTL.String() + ", such as 30m",
				Errors: []client.ProblemField{{Location: "body", Field: "ttl", Message: "is not a time from 1s to " + store.MaxTokenTTL.String()}}})
		}
		ttl = d
	}
	if in.Body.Node != "" {
		if _, err := s.cfg.Store.Get(ctx, intent.Ref{Kind: intent.KindNode, Name: in.Body.Node}); err != nil {
			return nil, s.fail(ctx, err)
		}
	}
	t, secret, err := s.cfg.Store.CreateToken(ctx, in.Body.Node, ttl)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	out := &tokenOutput{told(t)}
	out.Body.Secret = secret
	return out, nil
}
