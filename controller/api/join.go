package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Boxes knows the switches that announce themselves; *engine.Engine is one.
type Boxes interface {
	// PlaceBox finds the node that a box is to be; empty when there is none.
	PlaceBox(a switchstate.Announcement) (node, why string)
	// LiveBox tells whether an agent reports as a node, and the serial of its box.
	LiveBox(node string) (serial string, ok bool)
	// HoldBox notes a box that waits; its error is engine.ErrManyUnknown.
	HoldBox(u engine.Unknown) error
	AdmitBox(fingerprint, serial, node, why string)
	UnknownBoxes() []engine.Unknown
}

// maxAnnouncement bounds the body of an announcement, and secretLeast and secretMost
// the length of what an agent shows.
const (
	maxAnnouncement = 1 << 20
	secretLeast     = 20
	secretMost      = 256
)

type joinInput struct {
	Authorization string `header:"Authorization" doc:"Bearer and the secret that the agent made; it becomes the node's credential"`
	Body          switchstate.Announcement
	from          netip.Addr
}

// Resolve notes from where the request comes.
func (in *joinInput) Resolve(ctx huma.Context) []error {
	if a, err := netip.ParseAddrPort(ctx.RemoteAddr()); err == nil {
		in.from = a.Addr().Unmap()
	}
	return nil
}

type admissionOutput struct{ Body switchstate.Admission }

// registerJoin registers how switches become nodes.
func (s *Server) registerJoin() {
	huma.Register(s.api, huma.Operation{OperationID: "join", Method: http.MethodPost, Path: "/v1/join", Tags: []string{tagAgents},
		Summary: "Announce a switch that is no node yet", MaxBodyBytes: maxAnnouncement,
		Description: "The controller finds the node that the switch is to be by the name it gives, its serial number, its MAC address, its token or its cables. Without one it waits: ask again every few seconds.",
		Errors:      []int{http.StatusUnauthorized, http.StatusConflict, http.StatusTooManyRequests}}, s.join)
	huma.Register(s.api, huma.Operation{OperationID: "listUnknown", Method: http.MethodGet, Path: "/v1/fabric/unknown", Tags: []string{"Operation"},
		Summary: "Switches that announce themselves and are no nodes"},
		func(context.Context, *struct{}) (*unknownOutput, error) {
			out := &unknownOutput{client.Unknowns{Items: []client.Unknown{}}}
			for _, u := range s.cfg.Boxes.UnknownBoxes() {
				out.Body.Items = append(out.Body.Items, client.Unknown(u))
			}
			return out, nil
		})
	huma.Register(s.api, huma.Operation{OperationID: "admit", Method: http.MethodPost, Path: "/v1/fabric/unknown/{serial}/admit", Tags: []string{"Operation"},
		Summary: "Make a switch that waits a node", Errors: []int{http.StatusNotFound, http.StatusConflict}}, s.admit)
	huma.Register(s.api, huma.Operation{OperationID: "revokeCredential", Method: http.MethodDelete, Path: "/v1/nodes/{name}/credential", Tags: []string{"Operation"},
		Summary: "Take its credential from a node", Description: "The box that is the node now is refused from then on, and announces itself anew.",
		Errors: []int{http.StatusNotFound}, DefaultStatus: http.StatusNoContent}, s.revoke)
}

type unknownOutput struct{ Body client.Unknowns }

// bearer is the secret of an Authorization header (RFC 6750 section 2.1).
func bearer(header string) string {
	scheme, secret, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(secret)
}

func (s *Server) join(ctx context.Context, in *joinInput) (*admissionOutput, error) {
	secret := bearer(in.Authorization)
	if len(secret) < secretLeast || len(secret) > secretMost {
		return nil, refusedToken(ctx, fmt.Sprintf("a switch that joins shows a secret of its own of %d to %d characters in the Authorization header, as Bearer", secretLeast, secretMost))
	}
	if err := in.Body.Check(); err != nil {
		return nil, &client.Problem{Type: client.TypeInvalid, Title: "Fields at fault", Status: http.StatusUnprocessableEntity, Instance: instance(ctx), Detail: err.Error()}
	}
	j := &joining{Server: s, a: in.Body, hash: store.HashSecret(secret), from: in.from, named: in.Body.Node != ""}
	node, why, err := j.place(ctx)
	if err == nil && node != "" {
		err = j.enrol(ctx, node)
	}
	var p *client.Problem
	switch {
	case err == nil && node != "":
		s.cfg.Boxes.AdmitBox(j.hash, j.a.Serial, node, why)
		return &admissionOutput{switchstate.Admission{Node: node, Message: why}}, nil
	case errors.As(err, &p) && (p.Status == http.StatusUnauthorized || p.Status == http.StatusConflict):
		why = p.Detail
	case err != nil:
		return nil, s.fail(ctx, err)
	}
	if herr := s.cfg.Boxes.HoldBox(engine.Unknown{Announcement: j.a, Fingerprint: j.hash, From: j.from, Why: why}); herr != nil && err == nil {
		return nil, &client.Problem{Type: client.TypeBusy, Title: "Too many switches", Status: http.StatusTooManyRequests, Instance: instance(ctx), Detail: herr.Error()}
	}
	if p != nil {
		return nil, p
	}
	return &admissionOutput{switchstate.Admission{Message: why}}, nil
}

// joining is one announcement that is looked at.
type joining struct {
	*Server
	a    switchstate.Announcement
	hash string // of the secret
	from netip.Addr

	named  bool                        // it says which node it is
	member bool                        // the box is the node already
	by     map[string]store.Credential // the nodes' credentials
}

// place finds the node; its problems are why the announcement is refused.
func (j *joining) place(ctx context.Context) (node, why string, err error) {
	all, err := j.cfg.Store.Credentials(ctx)
	if err != nil {
		return "", "", err
	}
	j.by = map[string]store.Credential{}
	for _, c := range all {
		j.by[c.Node] = c
		if c.Hash == j.hash {
			j.member = true
			return c.Node, "it has joined as " + c.Node + " before", nil
		}
	}
	if j.a.Token != "" {
		t, err := j.cfg.Store.Token(ctx, j.a.Token)
		if err == nil && t.Node != "" && j.a.Node != "" && t.Node != j.a.Node {
			err = &store.TokenError{Cause: store.ErrTokenNode, Detail: fmt.Sprintf(": it is for %s, not for %s", t.Node, j.a.Node)}
		}
		if err != nil {
			return "", "", j.refused(ctx, err)
		}
		j.a.Node = cmp.Or(j.a.Node, t.Node)
	}
	if node, why = j.cfg.Boxes.PlaceBox(j.a); node == "" {
		return "", why, nil
	}
	if j.a.Token == "" && j.cfg.RequireTokens {
		return "", why + ", but has no join token: give it one, or admit it", nil
	}
	return node, why, nil
}

// enrol binds the node to the box, unless another one is it.
func (j *joining) enrol(ctx context.Context, node string) error {
	if j.member {
		return nil
	}
	o, err := j.cfg.Store.Get(ctx, intent.Ref{Kind: intent.KindNode, Name: node})
	if err != nil {
		return err
	}
	spec := o.(*intent.Node).Spec
	c := store.Credential{Node: node, Serial: j.a.Serial, Hash: j.hash}
	holder, held := j.by[node]
	live, reports := j.cfg.Boxes.LiveBox(node)
	appointed := spec.Serial == j.a.Serial
	if held && !holder.Revoked.IsZero() {
		if j.a.Token == "" && (j.named || holder.Serial == j.a.Serial) {
			return taken(ctx, fmt.Sprintf("the credential of %s was revoked: give this box a join token, or admit it with `weft fabric admit %s --as %s`", node, j.a.Serial, node))
		}
		held, reports = false, false // what reported under it does no longer
	}
	switch {
	case held && holder.Serial == j.a.Serial && j.a.Token == "":
		return taken(ctx, fmt.Sprintf("%s has joined as the box with serial %s, and this one says the same serial number but does not show that box's credential: give it a join token, or revoke the credential with `weft fabric revoke %s`", node, holder.Serial, node))
	case held && holder.Serial != j.a.Serial && !appointed:
		return taken(ctx, takenBy(node, holder.Serial, j.a.Serial))
	case !held && reports && live != j.a.Serial && !appointed:
		return taken(ctx, takenBy(node, cmp.Or(live, "unknown"), j.a.Serial))
	}
	if j.named && j.a.Token == "" {
		return nil // someone gave the box its name, and it keeps no secret
	}
	c.Revision = holder.Revision
	defer j.forgetCredential(node)
	return j.refused(ctx, j.cfg.Store.Enrol(ctx, c, j.a.Token))
}

func takenBy(node, have, want string) string {
	return fmt.Sprintf("%s is the box with serial %s; the one with serial %s is another: give it another name, or make it %s with `weft fabric admit %s --as %s --replace`", node, have, want, node, want, node)
}

func taken(ctx context.Context, detail string) *client.Problem {
	return &client.Problem{Type: client.TypeNameTaken, Title: "Name is taken", Status: http.StatusConflict, Instance: instance(ctx), Detail: detail}
}

func refusedToken(ctx context.Context, detail string) *client.Problem {
	return &client.Problem{Type: client.TypeToken, Title: "Not authorized", Status: http.StatusUnauthorized, Instance: instance(ctx), Detail: detail}
}

// refused makes problems of why a join is.
func (j *joining) refused(ctx context.Context, err error) error {
	var t *store.TokenError
	switch {
	case errors.As(err, &t):
		return refusedToken(ctx, t.Error())
	case errors.Is(err, store.ErrNameTaken):
		return taken(ctx, err.Error())
	}
	return err
}

type admitInput struct {
	Serial string `path:"serial" doc:"Serial number" maxLength:"128"`
	Body   client.Admit
}

// admit makes a box that waits a node, which it creates when it is not there.
func (s *Server) admit(ctx context.Context, in *admitInput) (*admissionOutput, error) {
	u, err := s.waiting(ctx, in.Serial, in.Body.Fingerprint)
	if err != nil {
		return nil, err
	}
	node := in.Body.Node
	holder, held, err := s.cfg.Store.Credential(ctx, node)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	live, reports := s.cfg.Boxes.LiveBox(node)
	held = held && holder.Revoked.IsZero()
	if !in.Body.Replace && (held && holder.Serial != u.Serial || reports && live != "" && live != u.Serial) {
		return nil, taken(ctx, takenBy(node, cmp.Or(holder.Serial, live), u.Serial))
	}
	if err := s.appoint(ctx, node, in.Body.Role, u.Serial); err != nil {
		return nil, s.fail(ctx, err)
	}
	defer s.forgetCredential(node)
	err = s.cfg.Store.Enrol(ctx, store.Credential{Node: node, Serial: u.Serial, Hash: u.Fingerprint, Revision: holder.Revision}, "")
	if errors.Is(err, store.ErrNameTaken) {
		return nil, taken(ctx, err.Error())
	}
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	why := "it was admitted"
	s.cfg.Boxes.AdmitBox(u.Fingerprint, u.Serial, node, why)
	return &admissionOutput{switchstate.Admission{Node: node, Message: why}}, nil
}

// waiting finds a box that waits.
func (s *Server) waiting(ctx context.Context, serial, fingerprint string) (found engine.Unknown, err error) {
	var at []string
	for _, u := range s.cfg.Boxes.UnknownBoxes() {
		if u.Serial == serial && strings.HasPrefix(u.Fingerprint, fingerprint) {
			found, at = u, append(at, fmt.Sprintf("%s (fingerprint %.12s)", u.From, u.Fingerprint))
		}
	}
	switch len(at) {
	case 0:
		return found, &client.Problem{Type: client.TypeNotFound, Title: "Not found", Status: http.StatusNotFound, Instance: instance(ctx),
			Detail: "no switch with serial " + serial + " announces itself: `weft fabric unknown` lists those that do"}
	case 1:
		return found, nil
	}
	return found, &client.Problem{Type: client.TypeConflict, Title: "Several switches", Status: http.StatusConflict, Instance: instance(ctx),
		Detail: fmt.Sprintf("%d switches say the serial number %s: %s: name one by its fingerprint", len(at), serial, strings.Join(at, ", "))}
}

// appoint makes the intent say that a node is the box with a serial number.
func (s *Server) appoint(ctx context.Context, node string, role intent.Role, serial string) error {
	ref := intent.Ref{Kind: intent.KindNode, Name: node}
	o, err := s.cfg.Store.Get(ctx, ref)
	switch {
	case errors.Is(err, store.ErrNotFound) && role == "":
		return &client.Problem{Type: client.TypeNotFound, Title: "Not found", Status: http.StatusNotFound,
			Detail: "there is no node " + node + ": give its role to have it created"}
	case errors.Is(err, store.ErrNotFound):
		n := &intent.Node{Metadata: intent.Metadata{Name: node}, Spec: intent.NodeSpec{Role: role, Serial: serial}}
		_, err = s.cfg.Store.Put(ctx, n, store.PutOptions{IfAbsent: true})
		return err
	case err != nil:
		return err
	}
	n := *o.(*intent.Node)
	switch {
	case !n.Spec.Role.Switch():
		return taken(ctx, fmt.Sprintf("node %s is a %s, and no switch", node, n.Spec.Role))
	case role != "" && role != n.Spec.Role:
		return taken(ctx, fmt.Sprintf("node %s is a %s, not a %s", node, n.Spec.Role, role))
	case n.Spec.Serial == serial:
		return nil
	}
	n.Spec.Serial = serial
	_, err = s.cfg.Store.Put(ctx, &n, store.PutOptions{IfMatch: n.Metadata.Revision})
	return err
}

type nodeInput struct {
	Name string `path:"name" doc:"Node"`
}

func (s *Server) revoke(ctx context.Context, in *nodeInput) (*struct{}, error) {
	ok, err := s.cfg.Store.Revoke(ctx, in.Name)
	s.forgetCredential(in.Name)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	if !ok {
		return nil, &client.Problem{Type: client.TypeNotFound, Title: "Not found", Status: http.StatusNotFound, Instance: instance(ctx),
			Detail: "no box has joined as " + in.Name + ": there is no credential to revoke"}
	}
	return nil, nil
}
