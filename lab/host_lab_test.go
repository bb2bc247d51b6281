//go:build lab

package lab

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The limit of the neighbour tables is the machine's: the last lab that needs
// it raised puts it back.
func TestNeighbourLimitIsPutBack(t *testing.T) {
	labDir(t)
	limit := func() string {
		b, err := os.ReadFile(neighbourLimit("ipv4"))
		require.NoError(t, err)
		return strings.TrimSpace(string(b))
	}
	was := limit()
	t.Cleanup(func() { require.NoError(t, os.WriteFile(neighbourLimit("ipv4"), []byte(was), 0o644)) })
	require.NoError(t, os.WriteFile(neighbourLimit("ipv4"), []byte("1024"), 0o644))
	var labs []*State
	for _, name := range []string{"big1", "big2"} {
		dir, unlock, err := lock(name)
		require.NoError(t, err)
		unlock()
		s := &State{Name: name, dir: dir}
		require.NoError(t, s.save())
		require.NoError(t, (&run{state: s, progress: silent{}}).growNeighbours())
		require.Equal(t, "65536", limit())
		labs = append(labs, s)
	}
	require.NoError(t, Down(labs[0].Name, nil))
	require.Equal(t, "65536", limit(), "the other lab needs it")
	require.NoError(t, Down(labs[1].Name, nil))
	require.Equal(t, "1024", limit())
}
