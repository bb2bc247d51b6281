package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/weft-sdn/weft/controller/intent"
)

// GivenColours reads the colours that the controller gave tenants by itself, as SetGivenColours
// stored them last; none before.
func (s *Store) GivenColours(ctx context.Context) ([]intent.GivenColour, error) {
	r, err := s.client.Get(ctx, s.keys.givenColours())
	if err != nil {
		return nil, fmt.Errorf("read the colours that tenants were given: %w", wrong(err))
	}
	if len(r.Kvs) == 0 {
		return nil, nil
	}
	var out []intent.GivenColour
	if err := json.Unmarshal(r.Kvs[0].Value, &out); err != nil {
		return nil, fmt.Errorf("read the colours that tenants were given, key %s: %w", s.keys.givenColours(), err)
	}
	return out, nil
}

// SetGivenColours stores the colours that the controller gave tenants by itself, all of them.
// They are no intent: a controller that starts keeps them, so that no tenant's traffic goes to
// other addresses for the time that it needs to find the same again.
func (s *Store) SetGivenColours(ctx context.Context, given []intent.GivenColour) error {
	b, err := json.Marshal(given)
	if err == nil {
		_, err = s.client.Put(ctx, s.keys.givenColours(), string(b))
	}
	if err != nil {
		return fmt.Errorf("store the colours that tenants were given: %w", wrong(err))
	}
	return nil
}
