package api

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound"
	"github.com/weft-sdn/weft/southbound/leafstate"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// joinBench is a bench whose boxes an engine knows, which follows the store.
type joinBench struct {
	*bench
	engine *engine.Engine
}

func newJoinBench(t *testing.T, tokens bool, nodes ...*intent.Node) *joinBench {
	j := &joinBench{}
	j.bench = newBench(t, func(c *Config) {
		j.engine = engine.New(engine.Config{Source: c.Store.(engine.Source), NewDriver: func(*intent.Node, southbound.Feed) southbound.Driver { return nil }})
		c.Boxes, c.Status, c.RequireTokens = j.engine, j.engine, tokens
	})
	for _, n := range nodes {
		_, err := j.client().Put(t.Context(), n, client.PutOptions{})
		require.NoError(t, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- j.engine.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	require.Eventually(t, func() bool { return j.engine.Ready() == nil }, time.Minute, 5*time.Millisecond)
	return j
}

func leafNode(name, serial string) *intent.Node {
	return &intent.Node{Metadata: intent.Metadata{Name: name}, Spec: intent.NodeSpec{Role: intent.RoleLeaf, Serial: serial}}
}

// box is a switch with a secret of its own.
func (j *joinBench) box(serial string) *client.Client {
	return j.client().WithCredential("the secret of the box with serial " + serial)
}

// announce announces a box and wants it to be a node, or a problem or reason to wait.
func (j *joinBench) announce(a switchstate.Announcement) (node, message string, status int) {
	j.t.Helper()
	if a.Ports == nil {
		a.Ports = []switchstate.Port{}
	}
	got, err := j.box(a.Serial).Announce(j.t.Context(), a)
	if err != nil {
		var p *client.Problem
		require.ErrorAs(j.t, err, &p)
		return "", p.Detail, p.Status
	}
	return got.Node, got.Message, http.StatusOK
}

func (j *joinBench) token(node string) string {
	j.t.Helper()
	tok, err := j.client().CreateToken(j.t.Context(), client.NewToken{TTL: "10m", Node: node})
	require.NoError(j.t, err)
	return tok.Secret
}

func (j *joinBench) report(c *client.Client, node, serial string) error {
	_, err := c.ReportSwitch(j.t.Context(), node, switchstate.Report{Serial: serial, Ports: []switchstate.Port{}})
	return err
}

// A box with a token and a serial number that the intent has gets its identity; the
// credential is the node's from then on.
func TestJoin(t *testing.T) {
	j := newJoinBench(t, false, leafNode("leaf1", "S1"), leafNode("leaf2", ""))
	require.NoError(t, j.report(j.client(), "leaf1", ""), "nobody has joined as leaf1, and tokens are not required")

	node, message, _ := j.announce(switchstate.Announcement{Serial: "S1"})
	require.Equal(t, "leaf1", node)
	require.Equal(t, "it has the serial number of leaf1", message)
	require.NoError(t, j.report(j.box("S1"), "leaf1", "S1"))
	for want, c := range map[string]*client.Client{
		"leaf1 has joined as the box with serial S1, and this request shows no credential": j.client(),
		"the credential is not that of leaf1, which has joined as the box with serial S1":  j.box("other"),
	} {
		err := j.report(c, "leaf1", "S1")
		require.ErrorIs(t, err, switchstate.ErrRefused)
		require.ErrorContains(t, err, want)
		_, err = c.ReportLeaf(t.Context(), "leaf1", leafReport)
		require.ErrorIs(t, err, switchstate.ErrRefused)
		_, _, err = c.LeafState(t.Context(), "leaf1", 0)
		require.ErrorIs(t, err, switchstate.ErrRefused)
	}
	node, message, _ = j.announce(switchstate.Announcement{Serial: "S1"})
	require.Equal(t, "leaf1", node, "the agent was started anew")
	require.Equal(t, "it has joined as leaf1 before", message)

	tok := j.token("leaf2")
	_, message, status := j.announce(switchstate.Announcement{Serial: "S9", Token: tok, Node: "leaf1"})
	require.Equal(t, 401, status)
	require.Equal(t, "the join token is for another node: it is for leaf2, not for leaf1; make one with `weft fabric token create`", message)
	node, _, _ = j.announce(switchstate.Announcement{Serial: "S9", Token: tok})
	require.Equal(t, "leaf2", node, "by the token alone")
	node, _, _ = j.announce(switchstate.Announcement{Serial: "S9", Token: tok})
	require.Equal(t, "leaf2", node, "the answer may have been lost")
	_, message, status = j.announce(switchstate.Announcement{Serial: "S8", Token: tok})
	require.Equal(t, 401, status)
	require.Contains(t, message, "the join token was used by the box with serial S9 as leaf2 at ")
	_, message, status = j.announce(switchstate.Announcement{Serial: "S8", Token: "never.was"})
	require.Equal(t, 401, status)
	require.Contains(t, message, "the join token is unknown")
	unknown, err := j.client().Unknown(t.Context())
	require.NoError(t, err)
	require.Len(t, unknown, 1, "who was refused is seen")
	require.Equal(t, message, unknown[0].Why)
	require.Empty(t, unknown[0].Token)
	require.Equal(t, "127.0.0.1", unknown[0].From.String())

	tokens, err := j.client().JoinTokens(t.Context())
	require.NoError(t, err)
	require.Len(t, tokens, 1)
	require.Equal(t, "S9", tokens[0].UsedBy)
	require.Empty(t, tokens[0].Secret)
	require.NoError(t, j.client().DeleteToken(t.Context(), tokens[0].ID))
	require.ErrorContains(t, j.client().DeleteToken(t.Context(), tokens[0].ID), "there is no join token")
}

var leafReport = leafstate.Report{Full: true}

// A name that another box has is refused with both serial numbers, until that box is
// revoked, or the intent names the new one.
func TestJoinAsAnotherBox(t *testing.T) {
	j := newJoinBench(t, false, leafNode("leaf1", ""), leafNode("leaf2", ""))
	node, _, _ := j.announce(switchstate.Announcement{Serial: "A", Node: "leaf1", Token: j.token("")})
	require.Equal(t, "leaf1", node)
	_, message, status := j.announce(switchstate.Announcement{Serial: "B", Node: "leaf1", Token: j.token("")})
	require.Equal(t, 409, status)
	require.Equal(t, "leaf1 is the box with serial A; the one with serial B is another: give it another name, or make it leaf1 with `weft fabric admit B --as leaf1 --replace`", message)

	// An agent that never joined is live as leaf2.
	require.NoError(t, j.report(j.client(), "leaf2", "C"))
	_, message, status = j.announce(switchstate.Announcement{Serial: "B", Node: "leaf2", Token: j.token("")})
	require.Equal(t, 409, status)
	require.Contains(t, message, "leaf2 is the box with serial C; the one with serial B is another")

	// Another box that says the same serial number does not have its secret.
	thief := j.client().WithCredential("a secret that nobody else can know")
	_, err := thief.Announce(t.Context(), switchstate.Announcement{Serial: "A", Node: "leaf1", Ports: []switchstate.Port{}})
	require.ErrorContains(t, err, "this one says the same serial number but does not show that box's credential")

	require.NoError(t, j.client().Revoke(t.Context(), "leaf1"))
	require.ErrorContains(t, j.client().Revoke(t.Context(), "leaf1"), "there is no credential to revoke")
	for _, c := range []*client.Client{j.client(), j.box("A")} {
		require.ErrorContains(t, j.report(c, "leaf1", "A"), "the credential of leaf1 was revoked, and no box has joined as it since")
	}
	for _, a := range []switchstate.Announcement{{Serial: "A", Node: "leaf1"}, {Serial: "X", Node: "leaf1"}} {
		_, message, status = j.announce(a)
		require.Equal(t, 409, status)
		require.Contains(t, message, "the credential of leaf1 was revoked: give this box a join token, or admit it")
	}
	node, _, _ = j.announce(switchstate.Announcement{Serial: "B", Node: "leaf1", Token: j.token("")})
	require.Equal(t, "leaf1", node)
	require.ErrorIs(t, j.report(j.box("A"), "leaf1", "A"), switchstate.ErrRefused)

	// The intent names the box that replaces this one.
	_, err = j.client().Put(t.Context(), leafNode("leaf1", "D"), client.PutOptions{})
	require.NoError(t, err)
	require.NoError(t, j.report(j.box("B"), "leaf1", "B"), "until the new one is there the old one stays")
	require.Eventually(t, func() bool {
		node, _ := j.engine.PlaceBox(switchstate.Announcement{Serial: "D"})
		return node == "leaf1"
	}, time.Minute, 5*time.Millisecond)
	node, _, _ = j.announce(switchstate.Announcement{Serial: "D"})
	require.Equal(t, "leaf1", node)
	require.ErrorIs(t, j.report(j.box("B"), "leaf1", "B"), switchstate.ErrRefused)
	require.NoError(t, j.report(j.box("D"), "leaf1", "D"))
}

// Where tokens are required, nothing else lets a box in but somebody who admits it.
func TestAdmit(t *testing.T) {
	j := newJoinBench(t, true, leafNode("leaf1", "S1"), &intent.Node{Metadata: intent.Metadata{Name: "srv"}, Spec: intent.NodeSpec{Role: intent.RoleServer}})
	err := j.report(j.client(), "leaf1", "")
	require.ErrorIs(t, err, switchstate.ErrRefused)
	require.ErrorContains(t, err, "this controller wants join tokens")
	node, message, _ := j.announce(switchstate.Announcement{Serial: "S1"})
	require.Empty(t, node)
	require.Equal(t, "it has the serial number of leaf1, but has no join token: give it one, or admit it", message)
	node, message, _ = j.announce(switchstate.Announcement{Serial: "S2"})
	require.Empty(t, node)
	require.Equal(t, "none of its ports hears a switch of the fabric", message)

	admit := func(serial string, a client.Admit) error {
		_, err := j.client().Admit(t.Context(), serial, a)
		return err
	}
	require.ErrorContains(t, admit("S3", client.Admit{Node: "leaf3"}), "no switch with serial S3 announces itself")
	require.ErrorContains(t, admit("S2", client.Admit{Node: "leaf2"}), "there is no node leaf2: give its role")
	require.ErrorContains(t, admit("S2", client.Admit{Node: "srv"}), "node srv is a server, and no switch")
	require.ErrorContains(t, admit("S1", client.Admit{Node: "leaf1", Role: intent.RoleSpine}), "node leaf1 is a leaf, not a spine")
	require.NoError(t, admit("S1", client.Admit{Node: "leaf1"}))
	require.NoError(t, j.report(j.box("S1"), "leaf1", "S1"))
	require.ErrorContains(t, admit("S2", client.Admit{Node: "leaf1"}), "leaf1 is the box with serial S1; the one with serial S2 is another")
	require.NoError(t, admit("S2", client.Admit{Node: "leaf2", Role: intent.RoleLeaf}))
	o, err := j.store.Get(t.Context(), intent.Ref{Kind: intent.KindNode, Name: "leaf2"})
	require.NoError(t, err)
	require.Equal(t, "S2", o.(*intent.Node).Spec.Serial)
	node, _, _ = j.announce(switchstate.Announcement{Serial: "S2"})
	require.Equal(t, "leaf2", node)
	unknown, err := j.client().Unknown(t.Context())
	require.NoError(t, err)
	require.Empty(t, unknown)

	// Two boxes that say the same serial number are told apart.
	for _, secret := range []string{"the secret of one of the twins", "the secret of the other twin"} {
		_, err = j.client().WithCredential(secret).Announce(t.Context(), switchstate.Announcement{Serial: "T", Ports: []switchstate.Port{}})
		require.NoError(t, err)
	}
	require.ErrorContains(t, admit("T", client.Admit{Node: "leaf1", Replace: true}), "2 switches say the serial number T: 127.0.0.1 (fingerprint ")
	unknown, err = j.client().Unknown(t.Context())
	require.NoError(t, err)
	require.Len(t, unknown, 2)
	require.NoError(t, admit("T", client.Admit{Node: "leaf1", Replace: true, Fingerprint: unknown[0].Fingerprint[:12]}))
	require.ErrorIs(t, j.report(j.box("S1"), "leaf1", "S1"), switchstate.ErrRefused)
	require.Equal(t, "T", must(j.store.Get(t.Context(), intent.Ref{Kind: intent.KindNode, Name: "leaf1"})).(*intent.Node).Spec.Serial)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestJoinRefusesBadInput(t *testing.T) {
	j := newJoinBench(t, false)
	key := "Authorization: Bearer " + strings.Repeat("k", 43)
	for _, c := range []struct {
		body, auth, want string
		status           int
	}{
		{`{"serial":"S","ports":[]}`, "", "shows a secret of its own", 401},
		{`{"serial":"S","ports":[]}`, "Authorization: Bearer short", "shows a secret of its own", 401},
		{`{"serial":"S","ports":[]}`, "Authorization: Basic " + strings.Repeat("k", 43), "shows a secret of its own", 401},
		{`{"serial":"","ports":[]}`, key, "serial", 422},
		{`{"serial":"a b","ports":[]}`, key, "use printable ASCII without spaces", 422},
		{`{"serial":"S","ports":[{"name":"eth1","up":true,"mtu":1500,"mac":"","counters":{"rxPackets":0,"rxBytes":0,"txPackets":0,"txBytes":0}},{"name":"eth1","up":true,"mtu":1500,"mac":"","counters":{"rxPackets":0,"rxBytes":0,"txPackets":0,"txBytes":0}}]}`, key, "ports[1].name: eth1 is there twice", 422},
		{`{"ports":`, key, "", 400},
	} {
		var headers []string
		if c.auth != "" {
			headers = append(headers, c.auth)
		}
		r := j.do("POST", "/v1/join", c.body, headers...)
		require.Equal(t, c.status, r.status, "%s: %s", c.body, r.body)
		require.Contains(t, r.body, c.want)
	}
	for ttl, want := range map[string]string{"1 h": "is not a time", "-5m": "is not a time", "9999h": "is not a time from 1s to 720h0m0s"} {
		_, err := j.client().CreateToken(t.Context(), client.NewToken{TTL: ttl})
		require.ErrorContains(t, err, want)
	}
	_, err := j.client().CreateToken(t.Context(), client.NewToken{Node: "leaf9"})
	require.ErrorContains(t, err, "Node leaf9 does not exist")
}
