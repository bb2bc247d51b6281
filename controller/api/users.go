package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.yaml.in/yaml/v3"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/atomicfile"
	"github.com/weft-sdn/weft/controller/store"
)

// Roles of users.
const (
	RoleAdmin  = "admin"  // reads and writes everything
	RoleReader = "reader" // reads everything
)

// User may use the API over TCP by a bearer token (RFC 6750), of which only the hash is
// known.
type User struct {
	Name  string    `yaml:"name"`
	Role  string    `yaml:"role"` // RoleAdmin or RoleReader
	Hash  string    `yaml:"tokenHash"`
	Until time.Time `yaml:"until,omitempty"` // when the token ends; zero for never
}

// Users are those of a file. The file is read again when it changed; one that can't be
// read leaves the users as they were, and the log says so.
type Users struct {
	mu     sync.Mutex
	file   reread
	byHash map[string]User
}

// OpenUsers reads the users of a file, which ReadUsers describes. A nil log is none.
func OpenUsers(path string, log *slog.Logger) (*Users, error) {
	u := &Users{file: newReread("users", log, path)}
	return u, u.file.look(u.load)
}

// ReadUsers reads a file of users: YAML with a list "users" of name, role, tokenHash
// (SHA-256 of the token, in hexadecimal) and until. An error names the file and the user.
func ReadUsers(path string) ([]User, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	var f struct {
		Users []User `yaml:"users"`
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("users: %s: %w", path, err)
	}
	var errs []error
	for i, u := range f.Users {
		same := func(o User) bool { return o.Name == u.Name || o.Hash == u.Hash }
		switch {
		case u.Name == "":
			errs = append(errs, fmt.Errorf("users: %s: user %d has no name", path, i+1))
		case u.Role != RoleAdmin && u.Role != RoleReader:
			errs = append(errs, fmt.Errorf("users: %s: %s has the role %q: use %s or %s", path, u.Name, u.Role, RoleAdmin, RoleReader))
		case len(u.Hash) != hashLength || strings.Trim(u.Hash, "0123456789abcdef") != "":
			errs = append(errs, fmt.Errorf("users: %s: the tokenHash of %s is no SHA-256 in %d hexadecimal digits: make one with \"weft user add\"", path, u.Name, hashLength))
		case slices.ContainsFunc(f.Users[:i], same):
			errs = append(errs, fmt.Errorf("users: %s: %s is there twice, or has another's token", path, u.Name))
		}
	}
	return f.Users, errors.Join(errs...)
}

// hashLength is that of a SHA-256 in hexadecimal.
const hashLength = 64

// WriteUsers replaces a file of users as atomicfile.Replace does: the controller may read
// it as before, whoever runs this. A new file only its owner may read.
func WriteUsers(path string, users []User) error {
	b, err := yaml.Marshal(map[string][]User{"users": users})
	if err != nil {
		return fmt.Errorf("users: %w", err)
	}
	if err := atomicfile.Replace(path, b, 0o600); err != nil {
		return fmt.Errorf("users: %w", err)
	}
	return nil
}

// load reads the file.
func (u *Users) load() error {
	users, err := ReadUsers(u.file.paths[0])
	if err != nil {
		return err
	}
	u.byHash = make(map[string]User, len(users))
	for _, x := range users {
		u.byHash[x.Hash] = x
	}
	return nil
}

// of returns the user with a token.
func (u *Users) of(token string, now time.Time) (User, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	_ = u.file.look(u.load) // the users go on as they were, and the log tells why
	x, ok := u.byHash[store.HashSecret(token)]
	if ok && !x.Until.IsZero() && !now.Before(x.Until) {
		ok = false
	}
	return x, ok
}

// openPatterns are of requests that need no user: they tell nothing of the network.
var openPatterns = map[string]bool{
	"GET /healthz": true, "GET /readyz": true, "GET /v1/version": true, "GET /docs": true, "GET /{$}": true,
	"GET /openapi.json": true, "GET /openapi.yaml": true, "GET /schemas/{name}": true,
}

// tagAgents is that of operations which a switch's agent uses, and proves itself for by
// its own credential.
const tagAgents = "Agents"

// readsOnly is the metadata of an operation that changes nothing although it is a POST,
// as its question takes a body: readers may use it.
var readsOnly = map[string]any{"readsOnly": true}

// patterns finds those of the operations for which is holds.
func (s *Server) patterns(is func(*huma.Operation) bool) map[string]bool {
	all := map[string]bool{}
	for path, item := range s.api.OpenAPI().Paths {
		for method, op := range map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put,
			http.MethodPatch: item.Patch, http.MethodDelete: item.Delete} {
			if op != nil && is(op) {
				all[method+" "+path] = true
			}
		}
	}
	return all
}

func forAgents(op *huma.Operation) bool   { return slices.Contains(op.Tags, tagAgents) }
func onlyReading(op *huma.Operation) bool { return op.Metadata["readsOnly"] == true }

// user checks who asks, where users are known: over a Unix socket whoever may open it,
// else who shows a user's token. It returns the user's name.
func (s *Server) user(r *http.Request, pattern string) (string, *client.Problem) {
	if s.cfg.Users == nil || openPatterns[pattern] || s.agentOps[pattern] || overUnix(r) {
		return "", nil
	}
	token := bearer(r.Header.Get("Authorization"))
	if token == "" {
		return "", refusedToken(r.Context(), "this controller wants to know who asks: give an access token, by WEFT_ACCESS_TOKEN or --access-token-file")
	}
	u, ok := s.cfg.Users.of(token, time.Now())
	if !ok {
		return "", refusedToken(r.Context(), "the access token is of no user, or has ended: ask for another (\"weft user add\" where the controller runs)")
	}
	if u.Role != RoleAdmin && !s.reads(r, pattern) {
		return u.Name, &client.Problem{Type: typeForbidden, Title: "Not allowed", Status: http.StatusForbidden, Instance: instance(r.Context()),
			Detail: fmt.Sprintf("%s may read, and %s changes something: that needs the role %s", u.Name, r.Method, RoleAdmin)}
	}
	return u.Name, nil
}

const typeForbidden = "/problems/forbidden" // 403: the user's role does not allow it

// reads reports whether a request changes nothing.
func (s *Server) reads(r *http.Request, pattern string) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead || s.readOps[pattern]
}

func overUnix(r *http.Request) bool {
	a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && a.Network() == "unix"
}
