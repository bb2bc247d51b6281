package southbound

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRest(t *testing.T) {
	require.Equal(t, 3*time.Millisecond, Rest(time.Millisecond))
	require.Equal(t, 2*time.Second+restMost, Rest(2*time.Second))
	require.Zero(t, Rest(0))
}
