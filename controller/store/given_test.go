package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// What the controller gave tenants is read as it was stored, and is no object of the intent.
func TestGivenColoursAreKept(t *testing.T) {
	s := open(t, 1)[0]
	got, err := s.GivenColours(t.Context())
	require.NoError(t, err)
	require.Empty(t, got)
	want := []intent.GivenColour{{Tenant: "blue", Colour: 2, Policy: "auto", Since: time.Unix(1000, 0).UTC()}}
	require.NoError(t, s.SetGivenColours(t.Context(), want))
	got, err = s.GivenColours(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
	objects, _, err := s.Snapshot(t.Context())
	require.NoError(t, err)
	require.Empty(t, objects)
}
