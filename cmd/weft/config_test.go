package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A context's token is for the context's server: no other server is shown it, however
// it was named.
func TestTokensGoToTheirServer(t *testing.T) {
	type fake struct {
		*httptest.Server
		shown string
	}
	serve := func() *fake {
		f := &fake{}
		f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.shown = r.Header.Get("Authorization")
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"items":[],"revision":1}`))
		}))
		t.Cleanup(f.Close)
		return f
	}
	dc1, other := serve(), serve()
	dir := t.TempDir()
	token, mine := filepath.Join(dir, "dc1.token"), filepath.Join(dir, "my.token")
	require.NoError(t, os.WriteFile(token, []byte("secret\n"), 0o600))
	require.NoError(t, os.WriteFile(mine, []byte("mine\n"), 0o600))
	config := filepath.Join(dir, "config.yaml")
	require.NoError(t, os.WriteFile(config, []byte("current-context: dc1\ncontexts:\n"+
		"  dc1: {server: \""+dc1.URL+"\", access-token-file: "+token+"}\n"+
		"  bare: {access-token-file: "+token+"}\n"), 0o600))
	const none, its, given = "", "Bearer secret", "Bearer mine"
	for _, c := range []struct {
		name string
		env  map[string]string
		args []string
		at   *fake
		want string
	}{
		{"the context in use", nil, nil, dc1, its},
		{"the context by name", nil, []string{"--context", "dc1"}, dc1, its},
		{"it wins over the environment", map[string]string{"WEFT_SERVER": other.URL}, []string{"--context", "dc1"}, dc1, its},
		{"the context of the environment", map[string]string{"WEFT_CONTEXT": "dc1"}, nil, dc1, its},
		{"another server by a flag", nil, []string{"--server", other.URL}, other, none},
		{"another server by the environment", map[string]string{"WEFT_SERVER": other.URL}, nil, other, none},
		{"another server beside a context by name", nil, []string{"--server", other.URL, "--context", "dc1"}, other, none},
		{"two of the environment", map[string]string{"WEFT_SERVER": other.URL, "WEFT_CONTEXT": "dc1"}, nil, other, none},
		{"a context that has no server", map[string]string{"WEFT_SERVER": other.URL}, []string{"--context", "bare"}, other, none},
		{"a token of one's own", map[string]string{"WEFT_SERVER": other.URL}, []string{"--access-token-file", mine}, other, given},
		{"one of the environment", map[string]string{"WEFT_ACCESS_TOKEN_FILE": mine}, []string{"--server", other.URL, "--context", "dc1"}, other, given},
		{"the context's wins over the environment's", map[string]string{"WEFT_ACCESS_TOKEN_FILE": mine}, []string{"--context", "dc1"}, dc1, its},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, v := range []string{"WEFT_SERVER", "WEFT_CONTEXT", "WEFT_ACCESS_TOKEN", "WEFT_ACCESS_TOKEN_FILE", "WEFT_CA_FILE"} {
				t.Setenv(v, c.env[v])
			}
			t.Setenv("WEFT_CONFIG", config)
			dc1.shown, other.shown = "nothing", "nothing"
			var out, errs bytes.Buffer
			require.Zero(t, run(newApp(strings.NewReader(""), &out, &errs), append([]string{"get", "tenants"}, c.args...)), errs.String())
			for _, f := range []*fake{dc1, other} {
				if f == c.at {
					require.Equal(t, c.want, f.shown)
				} else {
					require.Equal(t, "nothing", f.shown, "it is asked nothing")
				}
			}
		})
	}
}
