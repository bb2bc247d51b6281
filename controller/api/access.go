package api

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/store"
)

// credentialTime is how long a credential that was read is taken for current. Another
// controller's revocation is heeded after it.
const credentialTime = time.Second

// credentialsKept bounds those in memory: names come from requests.
const credentialsKept = 16384

// credentials remembers what was read of the nodes' credentials, so that agents are
// served while the store is away.
type credentials struct {
	mu  sync.Mutex
	all map[string]readCredential
}

type readCredential struct {
	store.Credential
	held bool
	at   time.Time
}

// credential is that of a node: from memory when it was read just now, or when the
// store does not answer.
func (s *Server) credential(ctx context.Context, node string) (readCredential, error) {
	c := &s.credentials
	c.mu.Lock()
	have, known := c.all[node]
	c.mu.Unlock()
	if known && time.Since(have.at) < credentialTime {
		return have, nil
	}
	read, held, err := s.cfg.Store.Credential(ctx, node)
	if err != nil {
		if known {
			return have, nil
		}
		return readCredential{}, err
	}
	have = readCredential{read, held, time.Now()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil || len(c.all) >= credentialsKept {
		c.all = map[string]readCredential{}
	}
	c.all[node] = have
	return have, nil
}

// forgetCredential has a node's credential read again: it changes.
func (s *Server) forgetCredential(node string) {
	s.credentials.mu.Lock()
	defer s.credentials.mu.Unlock()
	delete(s.credentials.all, node)
}

// agentsOnly lets requests pass that a node's agent makes: it shows the credential
// with which its box joined. A node that no box has joined as is anyone's, unless
// tokens are required.
func (s *Server) agentsOnly(ctx huma.Context, next func(huma.Context)) {
	node := ctx.Param("name")
	c, err := s.credential(ctx.Context(), node)
	if err != nil {
		s.refuse(ctx, s.problem(ctx.Context(), err))
		return
	}
	shown := bearer(ctx.Header("Authorization"))
	right := c.held && c.Hash != "" && subtle.ConstantTimeCompare([]byte(store.HashSecret(shown)), []byte(c.Hash)) == 1
	switch {
	case right || !c.held && !s.cfg.RequireTokens:
		next(ctx)
	case !c.held:
		s.refuse(ctx, refusedToken(ctx.Context(), "no box has joined as "+node+", and this controller wants join tokens: start the agent with --token-file, or admit the box"))
	case !c.Revoked.IsZero():
		s.refuse(ctx, refusedToken(ctx.Context(), "the credential of "+node+" was revoked, and no box has joined as it since"))
	case shown == "":
		s.refuse(ctx, refusedToken(ctx.Context(), node+" has joined as the box with serial "+c.Serial+", and this request shows no credential: another agent runs as "+node+", or this one lost its --state-dir"))
	default:
		s.refuse(ctx, refusedToken(ctx.Context(), "the credential is not that of "+node+", which has joined as the box with serial "+c.Serial+": another box has its name, or the credential was revoked"))
	}
}

// refuse answers with a problem in a middleware.
func (s *Server) refuse(ctx huma.Context, p *client.Problem) {
	p.Instance = instance(ctx.Context())
	ctx.SetHeader("Content-Type", p.ContentType(""))
	if p.Status == http.StatusUnauthorized {
		ctx.SetHeader("WWW-Authenticate", "Bearer")
	}
	ctx.SetStatus(p.Status)
	b, _ := json.Marshal(p) // strings and numbers
	_, _ = ctx.BodyWriter().Write(append(b, '\n'))
}
