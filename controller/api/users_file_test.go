package api

import (
	"bufio"
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// diary is a log that tests read.
type diary struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (d *diary) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.b.Write(b)
}

// lines are those that have a word.
func (d *diary) lines(word string) (out []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for l := range strings.Lines(d.b.String()) {
		if strings.Contains(l, word) {
			out = append(out, l)
		}
	}
	return out
}

func (d *diary) log() *slog.Logger { return slog.New(slog.NewTextHandler(d, nil)) }

// Whoever could read the file of users still can: the controller, when root takes out a
// user.
func TestUsersFilesStayWhose(t *testing.T) {
	path := usersFile(t, admin("alice"))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode(), "a new one")
	require.NoError(t, os.Chmod(path, 0o640))
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	if uid == 0 {
		uid, gid = 12345, 12346
		require.NoError(t, os.Chown(path, int(uid), int(gid)))
	}
	require.NoError(t, WriteUsers(path, []User{admin("carol")}))
	info, err = os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode())
	st := info.Sys().(*syscall.Stat_t)
	require.Equal(t, []uint32{uid, gid}, []uint32{st.Uid, st.Gid})
	got, err := ReadUsers(path)
	require.NoError(t, err)
	require.Equal(t, []User{admin("carol")}, got)
}

// A file that can't be used is told of once when that begins, when it is for another
// reason, and when it is over: not at each request.
func TestUsersFileAtFaultIsToldOnce(t *testing.T) {
	var d diary
	path := usersFile(t, admin("alice"))
	u, err := OpenUsers(path, d.log())
	require.NoError(t, err)
	ask := func() {
		for range 5 {
			u.file.looked = time.Time{}
			_, ok := u.of("alice's token", time.Now())
			require.True(t, ok)
			_, ok = u.of("a token of nobody's", time.Now())
			require.False(t, ok)
		}
	}
	ask()
	require.Empty(t, d.lines(""))
	require.NoError(t, os.WriteFile(path, []byte("users: [{role: admin}]\n"), 0o600))
	ask()
	require.Len(t, d.lines("level=ERROR"), 1)
	require.Contains(t, d.lines("level=ERROR")[0], "user 1 has no name")
	require.NoError(t, os.WriteFile(path, []byte("users: 7\n"), 0o600))
	ask()
	require.NoError(t, os.Rename(path, path+".away"))
	ask()
	require.Len(t, d.lines("level=ERROR"), 3)
	require.Contains(t, d.lines("level=ERROR")[2], "no such file")
	require.Empty(t, d.lines("level=INFO"))
	require.NoError(t, WriteUsers(path, []User{admin("alice")}))
	ask()
	require.Len(t, d.lines(""), 4)
	require.Len(t, d.lines("level=INFO"), 1)
}

// So is a certificate that could not be renewed, while the old one serves.
func TestRenewalThatFailsIsTold(t *testing.T) {
	var d diary
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	certificate(t, cert, key)
	p := newPair(cert, key, d.log())
	serve := func() {
		for range 3 {
			p.files.looked = time.Time{}
			got, err := p.get(nil)
			require.NoError(t, err)
			require.NotNil(t, got)
		}
	}
	serve()
	require.Empty(t, d.lines(""))
	certificate(t, cert, filepath.Join(dir, "other.key"))
	serve()
	require.Len(t, d.lines(""), 1)
	require.Contains(t, d.lines("level=ERROR")[0], "private key does not match")
	require.NoError(t, os.Rename(filepath.Join(dir, "other.key"), key))
	serve()
	require.Len(t, d.lines(""), 2)
	require.Len(t, d.lines("level=INFO"), 1)
}

// A watch ends when its user is taken out of the file, or the token has ended.
func TestWatchEndsWithItsUser(t *testing.T) {
	path := usersFile(t, admin("alice"), onlyReader("grafana"))
	b := newBench(t, func(c *Config) {
		var err error
		c.Users, err = OpenUsers(path, nil)
		require.NoError(t, err)
		c.Heartbeat = 20 * time.Millisecond
	})
	ctx, stop := context.WithTimeout(t.Context(), 40*time.Second)
	defer stop()
	open := func(name string) *bufio.Scanner {
		r, err := http.NewRequestWithContext(ctx, "GET", b.url+"/v1/tenants?watch=true", nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+name+"'s token")
		got, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		t.Cleanup(func() { got.Body.Close() })
		require.Equal(t, 200, got.StatusCode)
		return bufio.NewScanner(got.Body)
	}
	alice, grafana := open("alice"), open("grafana")
	for range 20 {
		require.True(t, grafana.Scan(), "it goes on")
	}
	require.NoError(t, WriteUsers(path, []User{admin("alice")}))
	var last []string
	for grafana.Scan() { // it ends by itself
		last = append(last, grafana.Text())
	}
	require.NoError(t, grafana.Err())
	text := strings.Join(last, "\n")
	require.Contains(t, text, "event: error\n")
	require.Contains(t, text, `"status":401`)
	require.Contains(t, text, `"instance":"/v1/tenants"`)
	for range 20 {
		require.True(t, alice.Scan(), "others' go on")
	}
}
