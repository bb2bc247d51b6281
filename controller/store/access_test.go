package store

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

func TestJoinTokens(t *testing.T) {
	s := open(t, 1)[0]
	put(t, s, leaf("leaf1", ""))
	put(t, s, leaf("leaf2", ""))
	now := time.Now()
	s.now = func() time.Time { return now }
	enrol := func(node, serial, secret string) error {
		return s.Enrol(t.Context(), Credential{Node: node, Serial: serial, Hash: HashSecret("key of " + serial)}, secret)
	}
	made, secret, err := s.CreateToken(t.Context(), "", time.Hour)
	require.NoError(t, err)
	for k, v := range dump(t, s) {
		require.NotContains(t, v, secret, k)
	}
	got, err := s.Token(t.Context(), secret)
	require.NoError(t, err)
	require.Equal(t, made.ID, got.ID)

	require.ErrorIs(t, enrol("leaf9", "A", secret), ErrNotFound)
	require.NoError(t, enrol("leaf1", "A", secret))
	c, ok, err := s.Credential(t.Context(), "leaf1")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "A", c.Serial)
	require.Equal(t, HashSecret("key of A"), c.Hash)
	require.Equal(t, made.ID, c.Token)
	err = enrol("leaf2", "B", secret)
	require.ErrorIs(t, err, ErrTokenUsed)
	require.ErrorContains(t, err, "the join token was used by the box with serial A as leaf1 at ")
	_, ok, err = s.Credential(t.Context(), "leaf2")
	require.NoError(t, err)
	require.False(t, ok)

	_, forOne, err := s.CreateToken(t.Context(), "leaf2", time.Hour)
	require.NoError(t, err)
	require.ErrorIs(t, enrol("leaf1", "B", forOne), ErrTokenNode)
	_, short, err := s.CreateToken(t.Context(), "", time.Minute)
	require.NoError(t, err)
	now = now.Add(2 * time.Minute)
	require.ErrorIs(t, enrol("leaf2", "B", short), ErrTokenExpired)
	for _, wrong := range []string{"", "x", "nope.nope", secret[:len(secret)-1], forOne + "x", "../agent/leaf1.x"} {
		_, err := s.Token(t.Context(), wrong)
		require.ErrorIs(t, err, ErrTokenUnknown, wrong)
	}
	require.NoError(t, enrol("leaf2", "B", forOne))

	require.ErrorIs(t, enrol("leaf1", "C", ""), ErrNameTaken)
	c, _, err = s.Credential(t.Context(), "leaf1")
	require.NoError(t, err)
	c.Serial, c.Hash = "C", HashSecret("key of C")
	require.NoError(t, s.Enrol(t.Context(), c, ""), "one that is named by its revision is replaced")
	require.ErrorIs(t, s.Enrol(t.Context(), c, ""), ErrNameTaken, "once")
	all, err := s.Credentials(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 2)

	ok, err = s.Revoke(t.Context(), "leaf2")
	require.NoError(t, err)
	require.True(t, ok)
	ok, err = s.Revoke(t.Context(), "leaf2")
	require.NoError(t, err)
	require.False(t, ok)
	c, ok, err = s.Credential(t.Context(), "leaf2")
	require.NoError(t, err)
	require.True(t, ok, "it is not as if nobody had joined")
	require.Empty(t, c.Hash)
	_, err = s.Delete(t.Context(), intent.Ref{Kind: intent.KindNode, Name: "leaf1"}, DeleteOptions{})
	require.NoError(t, err)
	_, ok, err = s.Credential(t.Context(), "leaf1")
	require.NoError(t, err)
	require.False(t, ok, "a node that is deleted takes its credential along")

	tokens, err := s.Tokens(t.Context())
	require.NoError(t, err)
	require.Len(t, tokens, 3)
	ok, err = s.DeleteToken(t.Context(), made.ID)
	require.NoError(t, err)
	require.True(t, ok)
	_, err = s.Token(t.Context(), secret)
	require.ErrorIs(t, err, ErrTokenUnknown)
	for _, ttl := range []time.Duration{0, -time.Second, MaxTokenTTL + time.Second} {
		_, _, err := s.CreateToken(t.Context(), "", ttl)
		require.ErrorContains(t, err, "is outside 1s..720h0m0s")
	}
}

// Of many boxes that come with one token at once, at two controllers, one joins.
func TestATokenIsUsedOnce(t *testing.T) {
	stores := open(t, 2)
	const boxes = 16
	nodes := make([]string, boxes)
	for i := range nodes {
		nodes[i] = "leaf" + string(rune('a'+i))
		put(t, stores[0], leaf(nodes[i], ""))
	}
	_, secret, err := stores[0].CreateToken(t.Context(), "", time.Hour)
	require.NoError(t, err)
	var wg sync.WaitGroup
	errs := make([]error, boxes)
	for i, n := range nodes {
		wg.Go(func() {
			errs[i] = stores[i%2].Enrol(t.Context(), Credential{Node: n, Serial: n, Hash: HashSecret(n)}, secret)
		})
	}
	wg.Wait()
	joined := 0
	for _, err := range errs {
		if err == nil {
			joined++
			continue
		}
		require.ErrorIs(t, err, ErrTokenUsed)
	}
	require.Equal(t, 1, joined)
	all, err := stores[0].Credentials(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
}

// Two nodes can't be the same box.
func TestSerialsAreClaimed(t *testing.T) {
	s := open(t, 1)[0]
	a, b := leaf("leaf1", ""), leaf("leaf2", "")
	a.Spec.Serial, b.Spec.Serial = "FOX2219", "FOX2219"
	a.Spec.MAC, b.Spec.MAC = intent.MAC{2, 1}, intent.MAC{2, 1}
	put(t, s, a)
	_, err := s.Put(t.Context(), b, PutOptions{})
	require.EqualError(t, err, "Node leaf2: spec.serial: FOX2219 is in use by Node leaf1")
	b.Spec.Serial = "FOX2220"
	_, err = s.Put(t.Context(), b, PutOptions{})
	require.EqualError(t, err, "Node leaf2: spec.mac: 02:01:00:00:00:00 is in use by Node leaf1")
	b.Spec.MAC = intent.MAC{2, 2}
	put(t, s, b)
	sound(t, s)
}
