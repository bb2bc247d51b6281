package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
)

// Bounds of join tokens.
const (
	maxTokens   = 1000
	MaxTokenTTL = 30 * 24 * time.Hour
	// tokenMemory is how long a token that expired or was used can still be told
	// from one that never was; then etcd forgets it by a lease.
	tokenMemory = 7 * 24 * time.Hour
)

// Token is a one-time join token, without its secret: of that only a hash is stored.
type Token struct {
	ID      string    `json:"id"`
	Hash    string    `json:"hash"`           // SHA-256 of the whole token, in hexadecimal
	Node    string    `json:"node,omitempty"` // that may be joined as; any when empty
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	// Used, UsedBy and UsedAs tell when it was used, by the box of which serial, and
	// as which node.
	Used   time.Time `json:"used,omitzero"`
	UsedBy string    `json:"usedBy,omitempty"`
	UsedAs string    `json:"usedAs,omitempty"`
}

// Credential binds a node to the box that joined as it.
type Credential struct {
	Node   string    `json:"node"`
	Serial string    `json:"serial"`
	Hash   string    `json:"hash"` // as HashSecret makes it of what the box's agent shows
	Joined time.Time `json:"joined"`
	// Token is the id of the join token that was used; empty when none was.
	Token string `json:"token,omitempty"`
	// Revoked is when it was: it has no hash then, and nothing is the node's.
	Revoked time.Time `json:"revoked,omitzero"`
	// Revision is the store's; zero for one that is not stored yet.
	Revision int64 `json:"-"`
}

// Causes why a join is refused. Their messages are sentences.
var (
	ErrTokenUnknown = errors.New("the join token is unknown")
	ErrTokenUsed    = errors.New("the join token was used")
	ErrTokenExpired = errors.New("the join token has expired")
	ErrTokenNode    = errors.New("the join token is for another node")
	ErrNameTaken    = errors.New("the name is taken")
)

// TokenError says why a join token is refused; its Is finds one of the causes above.
type TokenError struct {
	Cause  error
	Detail string
}

// Error is a sentence that says what to do.
func (e *TokenError) Error() string {
	return e.Cause.Error() + e.Detail + "; make one with `weft fabric token create`"
}

// Is reports whether target is the cause.
func (e *TokenError) Is(target error) bool { return target == e.Cause }

// HashSecret is under what a secret is stored: SHA-256, in hexadecimal. Secrets are
// random and long, so that a slow hash would gain nothing.
func HashSecret(secret string) string {
	h := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(h[:])
}

// words writes random bits in letters and digits that are not mistaken for each other.
var words = base32.NewEncoding("abcdefghjkmnpqrstuvwxyz023456789").WithPadding(base32.NoPadding)

// CreateToken makes a token that may be used once until ttl has passed, for one node
// or, when that is empty, any. The secret is returned and stored nowhere.
func (s *Store) CreateToken(ctx context.Context, node string, ttl time.Duration) (t Token, secret string, err error) {
	if ttl <= 0 || ttl > MaxTokenTTL {
		return t, "", fmt.Errorf("create token: a lifetime of %s is outside 1s..%s", ttl, MaxTokenTTL)
	}
	random := make([]byte, 25)
	_, _ = rand.Read(random) // never fails: it ends the program instead
	id, rest := words.EncodeToString(random[:5]), words.EncodeToString(random[5:])
	secret = id + "." + rest
	t = Token{ID: id, Hash: HashSecret(secret), Node: node, Created: s.now().UTC(), Expires: s.now().Add(ttl).UTC()}
	n, err := s.client.Get(ctx, s.keys.tokens(), clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return t, "", fmt.Errorf("create token: %w", err)
	}
	if n.Count >= maxTokens {
		return t, "", fmt.Errorf("create token: there are %d, the most there may be: delete some with `weft fabric token delete`", n.Count)
	}
	lease, err := s.client.Grant(ctx, int64((ttl+tokenMemory)/time.Second))
	if err != nil {
		return t, "", fmt.Errorf("create token: %w", wrong(err))
	}
	b, err := json.Marshal(t)
	if err != nil {
		return t, "", fmt.Errorf("create token: %w", err)
	}
	if _, err := s.client.Put(ctx, s.keys.token(id), string(b), clientv3.WithLease(lease.ID)); err != nil {
		return t, "", fmt.Errorf("create token: %w", wrong(err))
	}
	return t, secret, nil
}

// Tokens lists the join tokens, the oldest first.
func (s *Store) Tokens(ctx context.Context) ([]Token, error) {
	r, err := s.client.Get(ctx, s.keys.tokens(), clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	out := make([]Token, 0, len(r.Kvs))
	for _, kv := range r.Kvs {
		var t Token
		if err := json.Unmarshal(kv.Value, &t); err != nil {
			return nil, fmt.Errorf("read token %s: %w: delete it", kv.Key, err)
		}
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b Token) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return out, nil
}

// DeleteToken forgets a token; ok is false when there is none.
func (s *Store) DeleteToken(ctx context.Context, id string) (ok bool, err error) {
	r, err := s.client.Delete(ctx, s.keys.token(id))
	if err != nil {
		return false, fmt.Errorf("delete token %s: %w", id, wrong(err))
	}
	return r.Deleted > 0, nil
}

// Token finds the token of a secret, and checks that it can be used; a *TokenError
// says why not.
func (s *Store) Token(ctx context.Context, secret string) (Token, error) {
	t, _, err := s.token(ctx, secret)
	return t, err
}

// storedToken is how a token was read.
type storedToken struct {
	rev   int64
	lease clientv3.LeaseID
}

func (s *Store) token(ctx context.Context, secret string) (t Token, at storedToken, err error) {
	id, _, ok := strings.Cut(secret, ".")
	if !ok || id == "" || len(secret) > 128 {
		return t, at, &TokenError{ErrTokenUnknown, ": it is no token of this controller's"}
	}
	r, err := s.client.Get(ctx, s.keys.token(id))
	if err != nil {
		return t, at, fmt.Errorf("read token: %w", err)
	}
	if len(r.Kvs) == 0 {
		return t, at, &TokenError{ErrTokenUnknown, ": it was deleted, or expired long ago, or is another controller's"}
	}
	if err := json.Unmarshal(r.Kvs[0].Value, &t); err != nil {
		return t, at, fmt.Errorf("read token %s: %w: delete it", id, err)
	}
	at = storedToken{r.Kvs[0].ModRevision, clientv3.LeaseID(r.Kvs[0].Lease)}
	switch {
	case t.Hash != HashSecret(secret):
		return Token{}, at, &TokenError{ErrTokenUnknown, ": its secret is not that of token " + id}
	case !t.Used.IsZero():
		return t, at, &TokenError{ErrTokenUsed, fmt.Sprintf(" by the box with serial %s as %s at %s", t.UsedBy, t.UsedAs, t.Used.Format(time.RFC3339))}
	case s.now().After(t.Expires):
		return t, at, &TokenError{ErrTokenExpired, " at " + t.Expires.Format(time.RFC3339)}
	}
	return t, at, nil
}

// Credential is that of a node; ok is false when it has none.
func (s *Store) Credential(ctx context.Context, node string) (c Credential, ok bool, err error) {
	r, err := s.client.Get(ctx, s.keys.credential(node))
	if err != nil {
		return c, false, fmt.Errorf("read the credential of %s: %w", node, err)
	}
	if len(r.Kvs) == 0 {
		return c, false, nil
	}
	if err := json.Unmarshal(r.Kvs[0].Value, &c); err != nil {
		return c, false, fmt.Errorf("read the credential of %s: %w: delete the node and create it again", node, err)
	}
	c.Revision = r.Kvs[0].ModRevision
	return c, true, nil
}

// Credentials lists those of all nodes, by name.
func (s *Store) Credentials(ctx context.Context) ([]Credential, error) {
	r, err := s.client.Get(ctx, s.keys.credentials(), clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	out := make([]Credential, 0, len(r.Kvs))
	for _, kv := range r.Kvs {
		var c Credential
		if json.Unmarshal(kv.Value, &c) != nil {
			continue // no box has it: Credential tells what to do
		}
		c.Revision = kv.ModRevision
		out = append(out, c)
	}
	return out, nil
}

// Enrol binds a node to a box. With a token's secret it uses the token up, in the
// same transaction. c.Revision is that of the credential which it replaces, zero for
// none: when the node has got another one meanwhile it fails with ErrNameTaken. It
// fails with ErrNotFound when there is no such node, and with a *TokenError when
// the token can't be used, or not as that node.
func (s *Store) Enrol(ctx context.Context, c Credential, secret string) error {
	node := s.keys.object(intent.Ref{Kind: intent.KindNode, Name: c.Node})
	cmps := []clientv3.Cmp{exists(node), at(s.keys.credential(c.Node), c.Revision)}
	var ops []clientv3.Op
	if secret != "" {
		t, read, err := s.token(ctx, secret)
		if err != nil {
			return err
		}
		if t.Node != "" && t.Node != c.Node {
			return &TokenError{ErrTokenNode, fmt.Sprintf(": it is for %s, not for %s", t.Node, c.Node)}
		}
		c.Token, t.Used, t.UsedBy, t.UsedAs = t.ID, s.now().UTC(), c.Serial, c.Node
		b, err := json.Marshal(t)
		if err != nil {
			return fmt.Errorf("join as %s: %w", c.Node, err)
		}
		cmps = append(cmps, at(s.keys.token(t.ID), read.rev))
		ops = append(ops, clientv3.OpPut(s.keys.token(t.ID), string(b), clientv3.WithLease(read.lease)))
	}
	c.Joined = s.now().UTC()
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("join as %s: %w", c.Node, err)
	}
	r, err := s.client.Txn(ctx).If(cmps...).Then(append(ops, clientv3.OpPut(s.keys.credential(c.Node), string(b)))...).Commit()
	if err != nil {
		return fmt.Errorf("join as %s: %w", c.Node, wrong(err))
	}
	if r.Succeeded {
		return nil
	}
	return s.whyNot(ctx, c, secret)
}

// whyNot finds which comparison of an Enrol failed.
func (s *Store) whyNot(ctx context.Context, c Credential, secret string) error {
	if _, err := s.Get(ctx, intent.Ref{Kind: intent.KindNode, Name: c.Node}); err != nil {
		return err
	}
	if secret != "" {
		if _, _, err := s.token(ctx, secret); err != nil {
			return err
		}
	}
	return fmt.Errorf("join as %s: %w: another box has joined as it meanwhile", c.Node, ErrNameTaken)
}

// Revoke takes a node's credential away: no box is the node until another one joins, or
// the same one anew. ok is false when the node has none.
func (s *Store) Revoke(ctx context.Context, node string) (ok bool, err error) {
	ref := intent.Ref{Kind: intent.KindNode, Name: node}
	err = retry(ctx, ref, func() error {
		c, held, err := s.Credential(ctx, node)
		if ok = held && c.Revoked.IsZero(); err != nil || !ok {
			return err
		}
		c.Hash, c.Revoked = "", s.now().UTC()
		b, err := json.Marshal(c)
		if err != nil {
			return err
		}
		key := s.keys.credential(node)
		r, err := s.client.Txn(ctx).If(at(key, c.Revision)).Then(clientv3.OpPut(key, string(b))).Commit()
		if err != nil {
			return wrong(err)
		}
		if !r.Succeeded {
			return errRaced
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("revoke the credential of %s: %w", node, err)
	}
	return ok, nil
}
