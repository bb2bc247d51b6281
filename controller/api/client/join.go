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

// Types of problems of switches that join.
const (
	TypeToken     = "/problems/token"      // 401: a join token or a credential is missing or wrong
	TypeNameTaken = "/problems/name-taken" // 409: another box is the node
)

// Unknown is a switch that announces itself and is no node of the fabric.
type Unknown struct {
	switchstate.Announcement
	Fingerprint string     `json:"fingerprint" doc:"Tells boxes apart that say the same serial number"`
	From        netip.Addr `json:"from" doc:"Address from which it announces itself"`
	Why         string     `json:"why" doc:"What it waits for"`
	Since       time.Time  `json:"since"`
	Last        time.Time  `json:"last" doc:"When it was heard last"`
}

// Unknowns are the switches that wait.
type Unknowns struct {
	Items []Unknown `json:"items" nullable:"false"`
}

// Admit says which node a switch that waits is to be.
type Admit struct {
	Node        string      `json:"node" doc:"Node that it becomes" minLength:"1" maxLength:"63"`
	Role        intent.Role `json:"role,omitempty" doc:"Role of the node, when it is to be created" enum:"superspine,spine,leaf,border"`
	Fingerprint string      `json:"fingerprint,omitempty" doc:"Which of several boxes that say the same serial number; its beginning is enough" maxLength:"64"`
	Replace     bool        `json:"replace,omitempty" doc:"Take the node from the box that is it now"`
}

// Token is a one-time join token.
type Token struct {
	ID      string    `json:"id"`
	Secret  string    `json:"secret,omitempty" doc:"The token itself; told once, by the answer that makes it"`
	Node    string    `json:"node,omitempty" doc:"Node that may be joined as; any when left out"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Used    time.Time `json:"used,omitzero"`
	UsedBy  string    `json:"usedBy,omitempty" doc:"Serial number of the box that used it"`
	UsedAs  string    `json:"usedAs,omitempty" doc:"Node that it became"`
}

// Tokens are the join tokens, the oldest first.
type Tokens struct {
	Items []Token `json:"items" nullable:"false"`
}

// NewToken asks for a join token.
type NewToken struct {
	TTL  string `json:"ttl,omitempty" doc:"How long it can be used, such as 30m; 1h when left out" example:"1h"`
	Node string `json:"node,omitempty" doc:"Node that may be joined as; any when left out" maxLength:"63"`
}

// Discovery is what the fabric is by what its switches report, whether they are nodes
// or not.
type Discovery struct {
	Switches []Discovered `json:"switches" nullable:"false"`
}

// Discovered is a switch that reports.
type Discovered struct {
	switchstate.Announcement
	Role intent.Role `json:"role,omitempty" doc:"It is a node already, of the name in node, with this role"`
}

// Announce announces a switch that is no node yet. The client's credential is the
// one that the node is to have.
func (c *Client) Announce(ctx context.Context, a switchstate.Announcement) (switchstate.Admission, error) {
	var out switchstate.Admission
	err := c.post(ctx, "/v1/join", a, &out)
	return out, err
}

// Unknown lists the switches that wait to be admitted, by serial number.
func (c *Client) Unknown(ctx context.Context) ([]Unknown, error) {
	var out Unknowns
	err := c.get(ctx, "/v1/fabric/unknown", &out)
	return out.Items, err
}

// Admit makes a switch that waits a node.
func (c *Client) Admit(ctx context.Context, serial string, a Admit) (switchstate.Admission, error) {
	var out switchstate.Admission
	err := c.post(ctx, "/v1/fabric/unknown/"+url.PathEscape(serial)+"/admit", a, &out)
	return out, err
}

// Discover is the fabric as its switches report it.
func (c *Client) Discover(ctx context.Context) (Discovery, error) {
	var out Discovery
	err := c.get(ctx, "/v1/fabric/discovery", &out)
	return out, err
}

// CreateToken makes a one-time join token.
func (c *Client) CreateToken(ctx context.Context, t NewToken) (Token, error) {
	var out Token
	err := c.post(ctx, "/v1/fabric/tokens", t, &out)
	return out, err
}

// JoinTokens lists the join tokens, the oldest first.
func (c *Client) JoinTokens(ctx context.Context) ([]Token, error) {
	var out Tokens
	err := c.get(ctx, "/v1/fabric/tokens", &out)
	return out.Items, err
}

// DeleteToken forgets a join token.
func (c *Client) DeleteToken(ctx context.Context, id string) error {
	_, _, err := c.do(ctx, http.MethodDelete, "/v1/fabric/tokens/"+url.PathEscape(id), nil, nil, nil)
	return err
}

// Revoke takes its credential from a node: the box that is it now is refused.
func (c *Client) Revoke(ctx context.Context, node string) error {
	_, _, err := c.do(ctx, http.MethodDelete, Path(intent.Ref{Kind: intent.KindNode, Name: node})+"/credential", nil, nil, nil)
	return err
}

// WithCredential returns a client that shows a credential with each request (RFC
// 6750).
func (c *Client) WithCredential(secret string) *Client {
	with := *c
	with.credential = secret
	return &with
}

// post sends a body and reads the answer's.
func (c *Client) post(ctx context.Context, path string, body, into any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	_, b, err = c.do(ctx, http.MethodPost, path, nil, http.Header{"Content-Type": {"application/json"}}, b)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: the controller's answer can't be read: %w", path, err)
	}
	return nil
}
