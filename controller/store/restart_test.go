package store

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// child writes ports into a store until it is killed.
func child(dir string) {
	ctx := context.Background()
	s, err := Open(ctx, Config{Dir: dir})
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	_, _ = s.Put(ctx, tenant("blue"), PutOptions{})
	_, _ = s.Put(ctx, network("blue", "web", "10.0.0.0/16"), PutOptions{})
	for i := 0; ; i++ {
		name := fmt.Sprintf("p%d", i)
		if _, err := s.Put(ctx, port("blue", "web", name), PutOptions{}); err != nil {
			fmt.Println("error:", err)
			return
		}
		fmt.Println(name)
	}
}

func TestKilledProcessLosesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("a-long-directory-", 8)) // no room for a socket
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "WEFT_STORE_CHILD="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	confirmed := []string{}
	for len(confirmed) < 40 && lines.Scan() {
		require.NotContains(t, lines.Text(), "error")
		confirmed = append(confirmed, lines.Text())
	}
	require.Len(t, confirmed, 40)
	_, err = Open(t.Context(), Config{Dir: dir})
	require.ErrorIs(t, err, ErrLocked)
	require.EqualError(t, err, fmt.Sprintf("open store: data directory %s is in use by process %d: stop it, or use another directory", dir, cmd.Process.Pid))
	require.NoError(t, cmd.Process.Kill())
	for lines.Scan() { // what it said before it died counts too
		confirmed = append(confirmed, lines.Text())
	}
	_ = cmd.Wait()

	s, err := Open(t.Context(), Config{Dir: dir})
	require.NoError(t, err)
	for _, name := range confirmed {
		_, err := s.Get(t.Context(), ref(intent.KindPort, "blue", name))
		require.NoError(t, err)
	}
	before := sound(t, s)
	rev, err := s.Revision(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Close())

	s, err = Open(t.Context(), Config{Dir: dir})
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, before, sound(t, s))
	again, err := s.Revision(t.Context())
	require.NoError(t, err)
	require.Equal(t, rev, again)
	require.Greater(t, put(t, s, port("blue", "web", "new")).Metadata.Revision, rev)
}

func TestOpenErrors(t *testing.T) {
	_, err := Open(t.Context(), Config{})
	require.EqualError(t, err, "open store: neither etcd endpoints nor a data directory is given")
	_, err = Open(t.Context(), Config{Dir: "x", FirstVNI: 9, LastVNI: 8})
	require.EqualError(t, err, "open store: VNI range 9..8 is empty or beyond 16777215")
}
