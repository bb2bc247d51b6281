package agent

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weft-sdn/weft/controller/atomicfile"
)

// Identity is what the agent knows of which node its switch is.
type Identity struct {
	Node string `json:"node,omitempty"` // empty until it joined
	// Secret is made by the agent, and is the node's credential from when it joined.
	// It is kept before it is shown, so that an answer that is lost does not use up
	// a join token in vain.
	Secret string `json:"secret"`
}

// identityFile is its name in the directory of the agent's state.
const identityFile = "identity.json"

// NewIdentity makes one with a new secret.
func NewIdentity() Identity {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	return Identity{Secret: base64.RawURLEncoding.EncodeToString(b)}
}

// ReadIdentity reads the identity kept in a directory. Where there is none it makes
// one and keeps it.
func ReadIdentity(dir string) (Identity, error) {
	path := filepath.Join(dir, identityFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		id := NewIdentity()
		return id, id.Keep(dir)
	}
	var id Identity
	if err == nil {
		err = json.Unmarshal(b, &id)
	}
	if err == nil && id.Secret == "" {
		err = errors.New("it has no secret")
	}
	if err != nil {
		return Identity{}, fmt.Errorf("read %s: %w: remove it, and join with a new token", path, err)
	}
	return id, nil
}

// Keep writes the identity into a directory, whole or not at all.
func (id Identity) Keep(dir string) error {
	fail := func(err error) error { return fmt.Errorf("keep the switch's identity: %w", err) }
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	b, err := json.Marshal(id)
	if err != nil {
		return fail(err)
	}
	if err := atomicfile.Replace(filepath.Join(dir, identityFile), append(b, '\n'), 0o600); err != nil {
		return fail(err)
	}
	return nil
}
