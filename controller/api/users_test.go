package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/engine"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/controller/store"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

func usersFile(t *testing.T, users ...User) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users.yaml")
	require.NoError(t, WriteUsers(path, users))
	return path
}

func admin(name string) User {
	return User{Name: name, Role: RoleAdmin, Hash: store.HashSecret(name + "'s token")}
}

func onlyReader(name string) User {
	return User{Name: name, Role: RoleReader, Hash: store.HashSecret(name + "'s token")}
}

func TestUsers(t *testing.T) {
	ended := admin("bob")
	ended.Until = time.Now().Add(-time.Minute)
	path := usersFile(t, admin("alice"), onlyReader("grafana"), ended)
	var d diary
	b := newBench(t, func(c *Config) {
		var err error
		c.Users, err = OpenUsers(path, d.log())
		require.NoError(t, err)
	})
	as := func(name string) string { return "Authorization: Bearer " + name + "'s token" }
	const tenants = "/v1/tenants"
	for _, c := range []struct {
		name, method, path, body, as string
		want                         int
		says                         string
	}{
		{"nobody reads", "GET", tenants, "", "X: y", 401, "give an access token"},
		{"nobody writes", "PUT", tenants + "/blue", "{}", "X: y", 401, "give an access token"},
		{"a wrong token", "GET", tenants, "", as("mallory"), 401, "of no user"},
		{"another scheme", "GET", tenants, "", "Authorization: Basic YTpi", 401, "give an access token"},
		{"a token that has ended", "GET", tenants, "", as("bob"), 401, "has ended"},
		{"a watch of nobody's", "GET", tenants + "?watch=true", "", "X: y", 401, "give an access token"},
		{"a reader reads", "GET", tenants, "", as("grafana"), 200, ""},
		{"a reader writes", "PUT", tenants + "/blue", "{}", as("grafana"), 403, "grafana may read"},
		{"a reader applies", "POST", "/v1/apply", `{"items":[]}`, as("grafana"), 403, "grafana may read"},
		{"a reader deletes", "DELETE", tenants + "/blue", "", as("grafana"), 403, "grafana may read"},
		{"a reader makes a token", "POST", "/v1/fabric/tokens", "{}", as("grafana"), 403, "grafana may read"},
		{"a reader asks what edits would change", "POST", "/v1/fabric/plan", `{"items":[]}`, as("grafana"), 409, "there is no Fabric object"},
		{"a reader asks what would be steered", "POST", "/v1/steering/plan", `{}`, as("grafana"), 200, ""},
		{"nobody asks it", "POST", "/v1/steering/plan", `{}`, "X: y", 401, "give an access token"},
		{"a reader rolls back", "POST", "/v1/rollback", `{}`, as("grafana"), 403, "grafana may read"},
		{"an admin writes", "PUT", tenants + "/blue", "{}", as("alice"), 201, ""},
		{"health", "GET", "/healthz", "", "X: y", 200, ""},
		{"readiness", "GET", "/readyz", "", "X: y", 200, ""},
		{"the page", "GET", "/docs", "", "X: y", 200, ""},
		{"an agent of a switch that never joined", "POST", "/v1/nodes/leaf1/switch/report", "{}", "X: y", 401, "no box has joined as leaf1"},
		{"an admin's token is no agent's", "POST", "/v1/nodes/leaf1/switch/report", "{}", as("alice"), 401, "no box has joined as leaf1"},
		{"load that nobody measured", "POST", "/v1/nodes/leaf1/switch/load", "{}", "X: y", 401, "no box has joined as leaf1"},
		{"what leads nowhere", "GET", "/v1/nothing", "", "X: y", 404, ""},
	} {
		got := b.do(c.method, c.path, c.body, c.as)
		require.Equal(t, c.want, got.status, "%s: %s", c.name, got.body)
		require.Contains(t, got.body, c.says, c.name)
		if c.want == 401 {
			require.Equal(t, "Bearer", got.header.Get("WWW-Authenticate"), c.name)
		}
	}

	// Taken out of the file: refused. A file that is broken changes nothing.
	require.NoError(t, WriteUsers(path, []User{admin("carol")}))
	require.Eventually(t, func() bool { return b.do("GET", tenants, "", as("alice")).status == 401 }, time.Minute, 20*time.Millisecond)
	require.Equal(t, 200, b.do("GET", tenants, "", as("carol")).status)
	require.NoError(t, os.WriteFile(path, []byte("users: [{name: x, rights: all}]\n"), 0o600))
	require.Eventually(t, func() bool {
		b.server.cfg.Users.of("", time.Now())
		return len(d.lines("level=ERROR")) > 0
	}, time.Minute, 20*time.Millisecond)
	require.Equal(t, 200, b.do("GET", tenants, "", as("carol")).status)
}

// Each operation of an agent asks for the credential of its switch, without which it
// would be anyone's: users do not guard it. But for joining, which is for who has none.
func TestAgentsOperationsAskForCredentials(t *testing.T) {
	path := usersFile(t)
	b := newBench(t, func(c *Config) {
		var err error
		c.Users, err = OpenUsers(path, nil)
		require.NoError(t, err)
	})
	require.NotEmpty(t, b.server.agentOps)
	_, err := b.store.Put(t.Context(), &intent.Node{Metadata: intent.Metadata{Name: "leaf1"}, Spec: intent.NodeSpec{Role: intent.RoleLeaf}}, store.PutOptions{})
	require.NoError(t, err)
	for path, item := range b.server.api.OpenAPI().Paths {
		for method, has := range map[string]bool{"GET": item.Get != nil, "POST": item.Post != nil, "PUT": item.Put != nil, "DELETE": item.Delete != nil, "PATCH": item.Patch != nil} {
			if has && path != "/v1/join" && !openPatterns[method+" "+path] {
				url := regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(path, "leaf1")
				require.Equal(t, 401, b.do(method, url, "").status, "%s %s", method, url)
			}
		}
	}
}

func TestUsersFilesAtFault(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"users: [{role: admin}]":                         "user 1 has no name",
		"users: [{name: a, role: root, tokenHash: x}]":   `a has the role "root": use admin or reader`,
		"users: [{name: a, role: admin, tokenHash: 00}]": "the tokenHash of a is no SHA-256",
		"users: [{name: a, role: admin, token: secret}]": "field token not found",
		"users: 7": "users.yaml",
	} {
		path := filepath.Join(dir, "users.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := OpenUsers(path, nil)
		require.ErrorContains(t, err, want)
	}
	twice := usersFile(t, admin("a"), admin("a"))
	_, err := OpenUsers(twice, nil)
	require.ErrorContains(t, err, "a is there twice")
	_, err = OpenUsers(filepath.Join(dir, "none.yaml"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// certificate writes a self-signed certificate of 127.0.0.1 and its key.
func certificate(t *testing.T, cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "weft"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	require.NoError(t, err)
	kder, err := x509.MarshalECPrivateKey(k)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: kder}), 0o600))
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
}

// TLS on TCP, with a certificate that is renewed while the controller runs; the Unix
// socket stays as it is, and asks nobody.
func TestServeTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	_, err := ServerTLS(cert, key, nil)
	require.ErrorContains(t, err, "tls.crt")
	certificate(t, cert, key)
	conf, err := ServerTLS(cert, key, nil)
	require.NoError(t, err)
	users, err := OpenUsers(usersFile(t, admin("alice")), nil)
	require.NoError(t, err)
	s := New(Config{Store: openStore(t), Status: newDevices(), Boxes: engine.New(engine.Config{}), TLS: conf, Users: users})
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	path := socket(t)
	unix, err := ListenUnix(path)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, tcp, unix) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-done) })

	at := "https://" + tcp.Addr().String()
	trusting := func() *client.Client {
		c, err := client.New(at)
		require.NoError(t, err)
		c, err = c.WithCA(cert)
		require.NoError(t, err)
		return c.WithCredential("alice's token")
	}
	list := func(c *client.Client) error {
		_, err := c.List(t.Context(), intent.KindTenant, client.ListOptions{})
		return err
	}
	first := trusting()
	require.NoError(t, list(first))
	require.ErrorContains(t, list(first.WithCredential("")), "give an access token")
	stranger, err := client.New(at)
	require.NoError(t, err)
	require.ErrorContains(t, list(stranger), "certificate")
	plain, err := client.New("http://" + tcp.Addr().String())
	require.NoError(t, err)
	require.Error(t, list(plain))
	local, err := client.New("unix:" + path)
	require.NoError(t, err)
	require.NoError(t, list(local))
	_, err = local.WithCredential("").ReportSwitch(t.Context(), "leaf1", switchstate.Report{Ports: []switchstate.Port{}})
	require.Error(t, err, "an agent proves itself on every way")

	certificate(t, cert, key)
	require.Eventually(t, func() bool { return list(trusting()) == nil }, time.Minute, 50*time.Millisecond, "the new certificate")
	_, err = stranger.WithCA(key)
	require.ErrorContains(t, err, "has none in PEM")
}

// Between two renames the certificate and the key don't fit: the old pair serves on.
func TestCertificateHalfRenewed(t *testing.T) {
	dir := t.TempDir()
	p := newPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), nil)
	certificate(t, p.files.paths[0], p.files.paths[1])
	old, err := p.get(nil)
	require.NoError(t, err)
	require.NotNil(t, old)
	certificate(t, p.files.paths[0], filepath.Join(dir, "other.key"))
	p.files.looked = time.Time{}
	got, err := p.get(nil)
	require.NoError(t, err)
	require.Same(t, old, got)
	require.NoError(t, os.Rename(filepath.Join(dir, "other.key"), p.files.paths[1]))
	p.files.looked = time.Time{}
	got, err = p.get(nil)
	require.NoError(t, err)
	require.NotSame(t, old, got)
}
