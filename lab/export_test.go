package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
	"github.com/weft-sdn/weft/southbound/agent"
	"github.com/weft-sdn/weft/topology"
	"go.yaml.in/yaml/v3"
)

// exampleFiles are the topology files that the repository has, and some that
// are generated.
func exampleFiles(t *testing.T) map[string]*topology.File {
	t.Helper()
	files := map[string]*topology.File{}
	paths, err := filepath.Glob("../topology/testdata/*.clab.yml")
	require.NoError(t, err)
	more, err := filepath.Glob("*/testdata/*.clab.yml")
	require.NoError(t, err)
	examples, err := filepath.Glob("../docs/examples/*.clab.yml")
	require.NoError(t, err)
	for _, p := range slices.Concat(paths, more, examples) {
		f, err := LoadFile(p)
		require.NoError(t, err)
		files[filepath.Base(p)] = f
	}
	require.GreaterOrEqual(t, len(files), 5)
	for name, p := range map[string]topology.GenerateParams{
		"small": {Name: "small", Spines: 1, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 1, ServersPerLeaf: 1},
		"pods":  {Name: "pods", Superspines: 2, Spines: 4, Leaves: 4, Pods: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 2, VTEPsPerLeaf: 1, ServersPerVTEP: 2},
		"large": {Name: "large", Spines: 2, Leaves: 14, HypervisorsPerLeaf: 18},
	} {
		f, err := topology.Generate(p)
		require.NoError(t, err)
		files[name] = f
	}
	return files
}

func containerlabSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	raw, err := os.ReadFile("../topology/testdata/clab.schema.json")
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("clab.json", doc))
	s, err := c.Compile("clab.json")
	require.NoError(t, err)
	return s
}

// plain is a YAML document as the schema's checker wants it.
func plain(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	require.NoError(t, yaml.Unmarshal(text, &v))
	b, err := json.Marshal(v)
	require.NoError(t, err)
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	require.NoError(t, err)
	return out
}

func (e *Export) data(t *testing.T, p string) []byte {
	t.Helper()
	i := slices.IndexFunc(e.Files, func(f ExportFile) bool { return f.Path == p })
	require.GreaterOrEqual(t, i, 0, "%s is not exported", p)
	return e.Files[i].Data
}

// What containerlab gets is valid for it, has every file that it names, and is
// the same lab: read again, it has the same groups, labels, roles, addresses,
// FRR configurations, links and objects.
func TestExportedLabIsTheSameLab(t *testing.T) {
	schema := containerlabSchema(t)
	for name, file := range exampleFiles(t) {
		t.Run(name, func(t *testing.T) {
			e, err := NewExport(file, ExportOptions{})
			require.NoError(t, err)
			dir := t.TempDir()
			require.NoError(t, e.Write(dir))
			text := e.data(t, e.Topology)
			require.NoError(t, schema.Validate(plain(t, text)))

			again, err := LoadFile(filepath.Join(dir, e.Topology))
			require.NoError(t, err)
			require.Equal(t, groupsAndLabels(file), groupsAndLabels(again))
			withMgmt, err := withMgmt(file)
			require.NoError(t, err)
			want, _, err := Plan(withMgmt)
			require.NoError(t, err)
			got, _, err := Plan(again)
			require.NoError(t, err)
			comparable(want)
			comparable(got)
			require.Equal(t, want, got)
			wantTenants, err := Intent(file)
			require.NoError(t, err)
			gotTenants, err := Intent(again)
			require.NoError(t, err)
			require.Equal(t, wantTenants, gotTenants)

			second, err := NewExport(again, ExportOptions{})
			require.NoError(t, err)
			require.Equal(t, string(text), string(second.data(t, second.Topology)), "an export of an export is the same")

			for _, c := range again.Nodes {
				for _, b := range c.Binds {
					_, err := os.Stat(filepath.Join(dir, b.Source))
					require.NoError(t, err)
				}
			}
		})
	}
}

// groupsAndLabels is what a user gave nodes; the role that Weft found by the
// graph or a kind of its own is written down when exported.
func groupsAndLabels(f *topology.File) map[string]any {
	out := map[string]any{}
	for _, n := range f.Graph.Nodes {
		labels := map[string]string{topology.LabelRole: string(n.Role)}
		for k, v := range n.Labels {
			labels[k] = v
		}
		if !strings.HasPrefix(n.RoleRule, "graph") && !strings.HasPrefix(n.RoleRule, "kind") && n.RoleRule != "label "+topology.LabelRole {
			delete(labels, topology.LabelRole)
		}
		out[n.Name] = []any{n.Group, labels, n.Role}
	}
	return out
}

// comparable takes out what may differ: where the file is, the vendor's kind,
// how the role was found, and that a MAC of the lab's is set by a command.
func comparable(s *State) {
	s.Source, s.dir = "", ""
	for i := range s.Nodes {
		n := &s.Nodes[i]
		n.Kind, n.RoleRule = "", ""
		n.Exec = slices.DeleteFunc(slices.Clone(n.Exec), func(l string) bool { return regexp.MustCompile(`^ip link set \S+ address`).MatchString(l) })
	}
}

// The scripts are ones that bash reads, and say what the plan says.
func TestExportedScripts(t *testing.T) {
	files := exampleFiles(t)
	for _, name := range []string{"edges.clab.yml", "pods"} {
		e, err := NewExport(files[name], ExportOptions{})
		require.NoError(t, err)
		for _, f := range e.Files {
			if filepath.Base(f.Path) != startScript {
				continue
			}
			require.EqualValues(t, 0o755, f.Mode)
			check := exec.Command("bash", "-n")
			check.Stdin = bytes.NewReader(f.Data)
			out, err := check.CombinedOutput()
			require.NoError(t, err, "%s: %s", f.Path, out)
		}
	}
	e, err := NewExport(files["edges.clab.yml"], ExportOptions{})
	require.NoError(t, err)
	for path, lines := range map[string][]string{
		"nodes/leaf1/start.sh":        {"/usr/lib/frr/bgpd", "for i in eth1 eth2 eth3 eth4; do", "-f /run/frr/start.conf", "install -D -m 600 /weft/state.json /var/lib/weft-agent/state.json", "weft agent --node leaf1"},
		"nodes/hv1/start.sh":          {"ip address replace 10.64.0.1/31 dev br-phy", "external_ids:iface-id=blue-vm1", "ip route replace default via 10.64.0.0 dev br-phy onlink"},
		"nodes/vtep1/start.sh":        {"add-ps tor", "ovs-vtep"},
		"nodes/blue-server3/start.sh": {"weft lab tag eth1 101"},
		"nodes/controller/start.sh":   {"--listen 172.20.21.2:8470", "weft apply -f /weft/fabric.yaml", "weft apply -f /weft/underlay.yaml"},
	} {
		for _, line := range lines {
			require.Contains(t, string(e.data(t, path)), line, path)
		}
	}
	require.Contains(t, string(e.data(t, "nodes/controller/tenants.yaml")), "name: blue-server3")
	require.Contains(t, string(e.data(t, "nodes/controller/fabric.yaml")), "tcp:172.20.21.3:6640")
}

// Each switch starts with the very state that the controller will make of the objects
// beside it, so that nothing changes when it answers: as the agent reads it, and as the
// objects are after they were a file.
func TestExportedStates(t *testing.T) {
	for name, file := range exampleFiles(t) {
		if name == "large" {
			continue
		}
		e, err := NewExport(file, ExportOptions{})
		require.NoError(t, err)
		text := slices.Concat(e.data(t, "nodes/controller/fabric.yaml"), []byte("\n---\n"), e.data(t, "nodes/controller/underlay.yaml"))
		objects, err := intent.Decode(text, fabricFile)
		require.NoError(t, err)
		var nodes []*intent.Node
		var links []*intent.Link
		var spec *intent.FabricSpec
		for _, o := range objects {
			switch o := o.(type) {
			case *intent.Node:
				nodes = append(nodes, o)
			case *intent.Link:
				links = append(links, o)
			case *intent.Fabric:
				spec = &o.Spec
			}
		}
		require.NotNil(t, spec, name)
		facts, err := fabric.PlanIntent(*spec, nodes, links)
		require.NoError(t, err)
		managed := 0
		for _, n := range nodes {
			if !n.Spec.Role.Switch() || n.Spec.Unmanaged {
				continue
			}
			managed++
			d, err := fabric.Device(facts, n.Metadata.Name)
			require.NoError(t, err)
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, agentState), e.data(t, nodePath(n.Metadata.Name, agentState)), 0o600))
			got, err := (&agent.Disk{Dir: dir}).Load()
			require.NoError(t, err)
			require.Equal(t, d.Hash(), got.Hash, "%s of %s", n.Metadata.Name, name)
			require.NotContains(t, string(e.data(t, nodePath(n.Metadata.Name, emptyConf))), "router bgp")
		}
		require.Positive(t, managed, name)
	}
}

// Without a controller there are neither its node nor agents, and each switch has its
// whole configuration in a file.
func TestRenderedExport(t *testing.T) {
	schema := containerlabSchema(t)
	for name, file := range exampleFiles(t) {
		e, err := NewExport(file, ExportOptions{Rendered: true})
		require.NoError(t, err)
		require.NoError(t, schema.Validate(plain(t, e.data(t, e.Topology))), name)
		for _, f := range e.Files {
			require.NotContains(t, f.Path, controllerNode, name)
			require.NotContains(t, string(f.Data), "weft agent", "%s of %s", f.Path, name)
			require.NotContains(t, []string{agentState, emptyConf}, filepath.Base(f.Path))
		}
		s, _, err := Plan(file)
		require.NoError(t, err)
		for _, n := range s.Nodes {
			if n.Router != nil {
				require.Contains(t, string(e.data(t, nodePath(n.Name, startScript))), "vtysh -b")
				require.NotEmpty(t, e.data(t, nodePath(n.Name, frrConf)), n.Name)
			}
		}
	}
}

// A container lives as long as its daemons, and ends when it is told to.
func TestExportedScriptsEnd(t *testing.T) {
	run := func(stop bool, daemons ...string) (string, error) {
		s := begin("a test")
		for _, d := range daemons {
			s.daemon(strings.Fields(d)...)
		}
		s.run("sleep", "0.2") // the first may be gone by now
		cmd := exec.Command("bash", "-c", s.end())
		// As in a container, nothing else is in its group; and what is left of
		// that ends with the test.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		errs, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
		require.NoError(t, err)
		defer errs.Close()
		cmd.Stderr = errs
		require.NoError(t, cmd.Start())
		defer func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }()
		if stop {
			line := make([]byte, 8)
			_, _ = io.ReadFull(out, line)
			require.Equal(t, "started\n", string(line))
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			_, err = io.ReadAll(out) // ends when all daemons have ended
			require.NoError(t, err)
		}
		state, err := cmd.Process.Wait()
		require.NoError(t, err)
		said, err := os.ReadFile(errs.Name())
		require.NoError(t, err)
		if !state.Success() {
			return string(said), errors.New(state.String())
		}
		return string(said), nil
	}
	text, err := run(false, "false", "sleep 60")
	require.ErrorContains(t, err, "exit status 1")
	require.Contains(t, text, "ended: false")
	_, err = run(true, "sleep 60", "sleep 61")
	require.NoError(t, err)
}

func TestShellQuoting(t *testing.T) {
	for _, w := range []string{"", "plain-1.2/3:4=5", "a b", "it's", `$(rm -r x) "y" \`, "a;b", "*", "~", "#"} {
		out, err := exec.Command("bash", "-c", "printf %s "+shellQuote(w)).Output()
		require.NoError(t, err)
		require.Equal(t, w, string(out))
	}
}

// What the user brings stays: images of hosts, files that are bound, an FRR of
// the user's own.
func TestExportKeepsTheUsersFiles(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "www", "sub"), 0o755))
	for name, text := range map[string]string{"mine.conf": "hostname mine\n", "daemons": "bgpd=yes\n", "www/index.html": "hello", "www/sub/x": "x"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	e, err := NewExport(parse(t, dir, `
name: x
topology:
  nodes:
    spine1: {kind: nokia_srlinux, image: srl}
    leaf1: {kind: linux, image: my/frr, binds: ["mine.conf:/etc/frr/frr.conf:ro", "daemons:/etc/frr/daemons"]}
    leaf2: {kind: linux, binds: ["mine.conf:/etc/frr/frr.conf"]}
    server1:
      kind: linux
      image: my/tool
      binds: ["www:/www", "/abs:/abs", "gone:/gone"]
      labels: {weft-tenant: blue, weft-network: web, weft-addresses: 10.0.0.1/24}
      env: {A: "1"}
      exec: ["ip addr add 10.0.0.1/24 dev eth1"]
    server2: {kind: linux, image: my/tool, ports: ["8080:80"]}
    server3: {kind: linux, image: my/tool, labels: {weft-tenant: blue, weft-network: web, weft-vlan: "7"}}
    hv1: {kind: linux}
    vtep1: {kind: linux}
  links:
    - endpoints: ["leaf1:eth1", "spine1:e1-1"]
    - endpoints: ["leaf2:eth1", "spine1:e1-2"]
    - endpoints: ["server1:eth1", "leaf2:eth2"]
    - endpoints: ["server2:eth1", "leaf1:eth2"]
    - endpoints: ["vtep1:eth1", "leaf1:eth3"]
    - endpoints: ["vtep1:eth2", "server3:eth1"]
`), ExportOptions{Image: "mine:1"})
	require.NoError(t, err)
	require.NoError(t, containerlabSchema(t).Validate(plain(t, e.data(t, e.Topology))))
	out := t.TempDir()
	require.NoError(t, e.Write(out))
	f, err := LoadFile(filepath.Join(out, e.Topology))
	require.NoError(t, err)
	require.Equal(t, "my/frr", f.Nodes["leaf1"].Image)
	require.Equal(t, []topology.Bind{
		{Source: "nodes/leaf1/binds/mine.conf", Target: "/etc/frr/frr.conf", Mode: "ro"}, {Source: "nodes/leaf1/binds/daemons", Target: "/etc/frr/daemons"},
	}, f.Nodes["leaf1"].Binds)
	require.Equal(t, "hostname mine\n", string(e.data(t, "nodes/leaf1/binds/mine.conf")))
	require.Equal(t, "mine:1", f.Nodes["leaf2"].Image, "no image of the user's: Weft's starts with the user's configuration")
	require.Equal(t, "hostname mine\n", string(e.data(t, "nodes/leaf2/frr.conf")))
	require.Equal(t, "mine:1", f.Nodes["spine1"].Image)
	require.Contains(t, string(e.data(t, "nodes/spine1/state.json")), `"hostname": "spine1"`)
	s1 := f.Nodes["server1"]
	require.Equal(t, "my/tool", s1.Image)
	require.Equal(t, map[string]string{"A": "1"}, s1.Env)
	require.Equal(t, []topology.Bind{{Source: "nodes/server1/binds/www", Target: "/www"}, {Source: "/abs", Target: "/abs"}}, s1.Binds)
	require.Equal(t, "x", string(e.data(t, "nodes/server1/binds/www/sub/x")))
	require.Regexp(t, `^ip link set eth1 address 02:`, s1.Exec[0], "the MAC that the lab gives its port")
	require.Equal(t, "mine:1", f.Nodes["server3"].Image, "the VLAN tag needs Weft's image")
	text := string(e.data(t, e.Topology))
	require.Equal(t, 2, strings.Count(text, "network-mode: none"), "hosts without published ports:\n%s", text)
	notes := strings.Join(e.Notes, "\n")
	require.Contains(t, notes, "spine1: Weft starts it from its own image")
	require.Contains(t, notes, "server1: "+filepath.Join(dir, "gone")+" is not there, so it is not bound")
	require.Contains(t, notes, "server3: its frames have a VLAN tag")
}

func TestExportRefusals(t *testing.T) {
	for want, text := range map[string]string{
		"leaf1: interface eth0 is containerlab's management interface": "name: x\ntopology:\n  nodes: {leaf1: {kind: linux}, leaf2: {kind: linux}}\n  links: [{endpoints: [\"leaf1:eth0\", \"leaf2:eth1\"]}]\n",
		"leave ipv4-gw out":     "name: x\nmgmt: {ipv4-gw: 172.20.20.9}\ntopology: {nodes: {leaf1: {kind: linux}}}\n",
		"is not an IPv4 prefix": "name: x\nmgmt: {ipv4-subnet: here}\ntopology: {nodes: {leaf1: {kind: linux}}}\n",
	} {
		_, err := NewExport(parse(t, "/", text), ExportOptions{})
		require.ErrorContains(t, err, want)
	}
	e, err := NewExport(parse(t, "/", "name: x\ntopology: {nodes: {leaf1: {kind: linux}}}\n"), ExportOptions{})
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "thesis.tex"), []byte("years of work"), 0o644))
	require.ErrorContains(t, e.Write(dir), "has other things in it")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing is written beside what is not ours")
}

// A MAC that the file gives a link has to be set by somebody.
func TestExportedMACs(t *testing.T) {
	e, err := NewExport(parse(t, "/", `
name: x
topology:
  nodes: {leaf1: {kind: linux}, server1: {kind: linux, image: a}}
  links:
    - type: veth
      endpoints:
        - {node: leaf1, interface: eth1, mac: "02:00:00:00:00:01"}
        - {node: server1, interface: eth1, mac: "02:00:00:00:00:02"}
`), ExportOptions{})
	require.NoError(t, err)
	require.Contains(t, string(e.data(t, "nodes/leaf1/start.sh")), "ip link set eth1 address 02:00:00:00:00:01\n")
	require.Contains(t, string(e.data(t, e.Topology)), "ip link set eth1 address 02:00:00:00:00:02\n")
	_, err = topology.Deployment{Links: []topology.Link{{A: topology.End{MAC: "02:00:00:00:00:01"}}}}.Encode()
	require.ErrorContains(t, err, "set them by exec")
}

// The image has all that the lab needs of this machine, and Debian's packages
// by the same names.
func TestImageHasWhatLabsNeed(t *testing.T) {
	b, err := os.ReadFile("image/Dockerfile")
	require.NoError(t, err)
	var instructions []string
	for _, l := range strings.Split(strings.ReplaceAll(string(b), "\\\n", " "), "\n") {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
			instructions = append(instructions, strings.Fields(l)[0])
		}
	}
	require.Equal(t, []string{"FROM", "RUN", "COPY", "ENTRYPOINT", "CMD"}, instructions)
	words := strings.Fields(string(b))
	for _, n := range needs {
		require.Contains(t, words, n.pkg)
	}
}

func TestRolesOfExportedNodes(t *testing.T) {
	f := parse(t, "/", "name: x\ntopology:\n  nodes: {leaf1: {kind: linux}, controller: {kind: linux, labels: {weft-role: controller}}}\n")
	require.Len(t, f.Graph.Nodes, 1)
	require.Contains(t, f.Ignored(), "the node of the controller: controller")
	_, _, err := Plan(f)
	require.NoError(t, err)
	require.NotContains(t, intent.Roles(), intent.Role(topology.RoleController))
}
