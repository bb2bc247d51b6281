package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/store"
)

// The token is printed and kept nowhere: the file of users has its hash only.
func TestTokensAreKeptNowhere(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	file := filepath.Join(dir, "users.yaml")
	var out, errs bytes.Buffer
	require.Zero(t, run(newApp(strings.NewReader(""), &out, &errs), []string{"user", "add", "alice", "--file", file}), errs.String())
	token := strings.TrimSpace(out.String())
	require.Len(t, token, 52)
	require.Empty(t, errs.String())
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(b), store.HashSecret(token))
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		require.NotContains(t, strings.ToUpper(string(b)), token, path)
		return err
	}))
}
