package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/atomicfile"
	"github.com/weft-sdn/weft/lab"
)

// Configuration has one precedence for every setting; "weft help
// configuration" prints it.
const configurationHelp = `Where a setting comes from, the first that has it wins:

  1. a flag                 --server, --tenant, --ca-file, --access-token-file,
                            --context (it wins over WEFT_SERVER and the others)
  2. the environment        WEFT_SERVER, WEFT_TENANT, WEFT_CONTEXT, WEFT_CA_FILE,
                            WEFT_ACCESS_TOKEN_FILE
  3. the context in use     of the configuration file
  4. the running lab        its controller, when exactly one lab runs
  5. the default            server http://` + defaultListen + `

The configuration file is ~/.config/weft/config.yaml, or what --config or
WEFT_CONFIG names:

  current-context: dc1
  contexts:
    dc1: {server: "http://10.0.0.5:8470", tenant: blue}
    dc2: {server: "https://dc2.example:8470", ca-file: /etc/weft/ca.crt,
          access-token-file: /home/me/.config/weft/dc2.token}

A server is http://HOST:PORT, https://HOST:PORT or unix:PATH. A ca-file has the
certificates that vouch for the server, instead of those of the system; an
access-token-file the user's token ("weft user"). A context's are for its own server:
they are not used with a server that a flag or the environment names.
WEFT_ACCESS_TOKEN is the token itself, and wins over any file.
"weft controller" takes its flags from the environment too: WEFT_DATA_DIR,
WEFT_LISTEN, WEFT_ETCD_ENDPOINTS, WEFT_LOG_LEVEL.`

// contextConfig is one entry of the configuration file.
type contextConfig struct {
	Server string `yaml:"server,omitempty"`
	Tenant string `yaml:"tenant,omitempty"`
	CA     string `yaml:"ca-file,omitempty"`
	Token  string `yaml:"access-token-file,omitempty"`
}

// fileConfig is the configuration file.
type fileConfig struct {
	Current  string                   `yaml:"current-context,omitempty"`
	Contexts map[string]contextConfig `yaml:"contexts,omitempty"`
}

func (a *app) addFlags(c *cobra.Command) {
	f := c.PersistentFlags()
	a.flags = f
	f.String("server", "", "controller: http://HOST:PORT, https://HOST:PORT or unix:PATH")
	f.StringP("tenant", "t", "", "tenant to work in")
	f.String("context", "", "context of the configuration file to use")
	f.String("ca-file", "", "PEM file with the certificates that vouch for an https server; those of the system by default")
	f.String("access-token-file", "", "file with the user's token, where the controller wants one")
	f.String("config", "", "configuration file (~/.config/weft/config.yaml)")
	a.config.SetEnvPrefix("WEFT")
	a.config.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	a.config.AutomaticEnv()
	for _, name := range []string{"server", "tenant", "context", "config", "ca-file", "access-token-file"} {
		_ = a.config.BindPFlag(name, f.Lookup(name)) // fails only for a nil flag
	}
	_ = c.RegisterFlagCompletionFunc("tenant", a.completeTenants)
	c.AddCommand(&cobra.Command{Use: "configuration", Short: "Where settings come from", Long: configurationHelp})
}

func (a *app) configPath() (string, error) {
	if p := a.config.GetString("config"); p != "" {
		return p, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no place for the configuration file: %w; name one with --config", err)
	}
	return filepath.Join(dir, "weft", "config.yaml"), nil
}

// readConfig reads the configuration file; one that is missing is empty.
func (a *app) readConfig() (fileConfig, error) {
	var f fileConfig
	path, err := a.configPath()
	if err != nil {
		return f, nil // no home, no file
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("configuration: %w", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return f, fmt.Errorf("configuration %s: %w", path, err)
	}
	return f, nil
}

func (a *app) writeConfig(f fileConfig) error {
	path, err := a.configPath()
	if err != nil {
		return err
	}
	b, err := yaml.Marshal(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := atomicfile.Replace(path, b, 0o600); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return nil
}

// inContext is the context in use; the zero one when there is none.
func (a *app) inContext() (contextConfig, error) {
	f, err := a.readConfig()
	if err != nil {
		return contextConfig{}, err
	}
	name := a.config.GetString("context")
	if name == "" {
		name = f.Current
	}
	if name == "" {
		return contextConfig{}, nil
	}
	c, ok := f.Contexts[name]
	if !ok {
		return c, usageError{fmt.Errorf("there is no context %q: weft config get-contexts lists them", name)}
	}
	return c, nil
}

// controllerAddress is the address of the controller in force, and the context whose CA
// and token are for it: the zero one when a flag or the environment names the server,
// which may be another's.
func (a *app) controllerAddress() (string, contextConfig, error) {
	server := a.config.GetString("server")
	if a.given("server") || server != "" && !a.given("context") {
		return server, contextConfig{}, nil
	}
	c, err := a.inContext()
	switch {
	case err != nil:
		return "", contextConfig{}, err
	case c.Server != "":
		return c.Server, c, nil
	case server != "":
		return server, contextConfig{}, nil
	}
	at, _, err := lab.FindAPI()
	switch {
	case err == nil:
		return at, c, nil
	case errors.Is(err, lab.ErrNoLab):
		return "http://" + defaultListen, c, nil
	}
	return "", contextConfig{}, err
}

// client connects to the controller in force.
func (a *app) client() (*client.Client, error) {
	server, of, err := a.controllerAddress()
	if err != nil {
		return nil, err
	}
	cl, err := client.New(server)
	if err != nil {
		return nil, err
	}
	if ca := a.setting("ca-file", of.CA); ca != "" {
		if cl, err = cl.WithCA(ca); err != nil {
			return nil, err
		}
	}
	return a.identified(cl, of)
}

// setting is a flag or its environment, or what the context of the server has for it.
func (a *app) setting(key, inContext string) string {
	v := a.config.GetString(key)
	if v != "" && (a.given(key) || !a.given("context")) {
		return v
	}
	return cmp.Or(inContext, v)
}

// identified has the client show the user's token, if there is one.
func (a *app) identified(cl *client.Client, of contextConfig) (*client.Client, error) {
	if t := os.Getenv("WEFT_ACCESS_TOKEN"); t != "" {
		return cl.WithCredential(t), nil
	}
	path := a.setting("access-token-file", of.Token)
	if path == "" {
		return cl, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("access token: %w", err)
	}
	t := strings.TrimSpace(string(b))
	if t == "" {
		return nil, fmt.Errorf("access token: %s is empty", path)
	}
	return cl.WithCredential(t), nil
}

// tenant is the tenant in force, or "".
func (a *app) tenant() (string, error) {
	t := a.config.GetString("tenant")
	if t != "" && (a.given("tenant") || !a.given("context")) {
		return t, nil
	}
	c, err := a.inContext()
	if c.Tenant != "" {
		t = c.Tenant
	}
	return t, err
}

// list reads a setting of several values, given by commas or spaces.
func (a *app) list(key string) []string {
	return strings.FieldsFunc(strings.Join(a.config.GetStringSlice(key), ","), func(r rune) bool { return r == ',' || r == ' ' })
}

func init() { commands = append(commands, newConfigCommand) }

func newConfigCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Contexts: which controller and tenant to use",
		Long: configurationHelp,
		Example: `  weft config set-context dc1 --server http://10.0.0.5:8470 --tenant blue
  weft config use-context dc1
  weft config get-contexts`}
	c.AddCommand(
		&cobra.Command{Use: "view", Short: "Print the configuration file", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			f, err := a.readConfig()
			if err != nil {
				return err
			}
			b, err := yaml.Marshal(f)
			fmt.Fprint(a.out, string(b))
			return err
		}},
		&cobra.Command{Use: "get-contexts", Short: "List contexts", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return a.getContexts() }},
		&cobra.Command{Use: "current-context", Short: "Print the context in use", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			f, err := a.readConfig()
			if err == nil && f.Current == "" {
				err = errors.New("no context is in use: weft config use-context NAME")
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, f.Current)
			return nil
		}},
		&cobra.Command{Use: "use-context NAME", Short: "Use a context from now on", Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
			f, err := a.readConfig()
			if err != nil {
				return err
			}
			if _, ok := f.Contexts[args[0]]; !ok {
				return fmt.Errorf("there is no context %q: weft config get-contexts lists them", args[0])
			}
			f.Current = args[0]
			return a.writeConfig(f)
		}},
		&cobra.Command{Use: "set-context NAME", Short: "Make a context, or change it, from --server, --tenant, --ca-file and --access-token-file", Args: cobra.ExactArgs(1),
			RunE: func(c *cobra.Command, args []string) error { return a.setContext(c, args[0]) }},
		&cobra.Command{Use: "delete-context NAME", Short: "Delete a context", Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
			f, err := a.readConfig()
			if err != nil {
				return err
			}
			if _, ok := f.Contexts[args[0]]; !ok {
				return fmt.Errorf("there is no context %q", args[0])
			}
			delete(f.Contexts, args[0])
			if f.Current == args[0] {
				f.Current = ""
			}
			return a.writeConfig(f)
		}})
	return c
}

func (a *app) getContexts() error {
	f, err := a.readConfig()
	if err != nil {
		return err
	}
	t := table{header: []string{"CURRENT", "NAME", "SERVER", "TENANT"}}
	for _, n := range slices.Sorted(maps.Keys(f.Contexts)) {
		mark := ""
		if n == f.Current {
			mark = "*"
		}
		t.add(mark, n, f.Contexts[n].Server, f.Contexts[n].Tenant)
	}
	return t.print(a.out, true)
}

func (a *app) setContext(c *cobra.Command, name string) error {
	f, err := a.readConfig()
	if err != nil {
		return err
	}
	k := f.Contexts[name]
	if s := c.Flags().Lookup("server"); s != nil && s.Changed {
		if _, err := client.New(s.Value.String()); err != nil {
			return usageError{err}
		}
		k.Server = s.Value.String()
	}
	for flag, into := range map[string]*string{"tenant": &k.Tenant, "ca-file": &k.CA, "access-token-file": &k.Token} {
		if f := c.Flags().Lookup(flag); f != nil && f.Changed {
			*into = f.Value.String()
		}
	}
	if f.Contexts == nil {
		f.Contexts = map[string]contextConfig{}
	}
	f.Contexts[name] = k
	return a.writeConfig(f)
}
