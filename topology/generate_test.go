package topology_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/topology"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test ./topology -update writes it):\n%s", path, got)
	}
}

func generate(t testing.TB, p topology.GenerateParams) *topology.File {
	t.Helper()
	f, err := topology.Generate(p)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestGenerate(t *testing.T) {
	f := generate(t, topology.GenerateParams{Name: "demo", Spines: 2, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 2, ServersPerLeaf: 1})
	text, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "generated.clab.yml", text)
	if len(f.Ignored()) != 0 {
		t.Errorf("Weft ignores something of its own: %q", f.Ignored())
	}
	for _, n := range f.Graph.Nodes {
		if n.RoleRule != "label weft-role" {
			t.Errorf("the role of %s comes from %s", n.Name, n.RoleRule)
		}
	}
	if c := f.Nodes["blue-vm2"]; c.Labels[topology.LabelAddresses] != "10.0.0.12/24 fd00:0:0:a::12/64" {
		t.Errorf("blue-vm2 has %s", c.Labels[topology.LabelAddresses])
	}
	if !reflect.DeepEqual(f.Nodes["blue-vm1"].Exec, f.Nodes["green-vm1"].Exec) {
		t.Error("the tenants' addresses don't overlap")
	}
}

// everyEdge has every kind of edge.
var everyEdge = topology.GenerateParams{Name: "edges", Spines: 1, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 1, ServersPerLeaf: 1, VTEPsPerLeaf: 1, ServersPerVTEP: 4}

func TestGenerateEveryEdge(t *testing.T) {
	f := generate(t, everyEdge)
	text, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "edges.clab.yml", text)
	objects, err := f.Intent()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "edges.tenants.yaml", documents(t, objects))
	bindings := map[string]intent.Binding{}
	for _, o := range objects {
		if p, ok := o.(*intent.Port); ok {
			bindings[p.Metadata.Name] = p.Spec.Binding
		}
	}
	for name, want := range map[string]intent.Binding{
		"blue-vm1": {IfaceID: "blue-vm1"}, "blue-server2": {Node: "vtep1", Interface: "eth2"},
		"green-server2": {Node: "vtep1", Interface: "eth3"}, "blue-server3": {Node: "vtep1", Interface: "eth4", VLAN: 101}, "green-server5": {Node: "vtep2", Interface: "eth5", VLAN: 102},
	} {
		if bindings[name] != want {
			t.Errorf("%s is bound to %+v, want %+v", name, bindings[name], want)
		}
	}
}

func TestGenerateSpreadsTenants(t *testing.T) {
	for _, perHypervisor := range []int{1, 2, 3} {
		f := generate(t, topology.GenerateParams{Name: "t", Spines: 1, Leaves: 4, HypervisorsPerLeaf: 2, HostsPerHypervisor: perHypervisor})
		on := map[string]map[string]bool{}
		for _, n := range f.Graph.ByRole(intent.RoleVM) {
			tenant := n.Labels[topology.LabelTenant]
			if on[tenant] == nil {
				on[tenant] = map[string]bool{}
			}
			on[tenant][f.Graph.Neighbours(n.Name)[0]] = true
		}
		for tenant, hypervisors := range on {
			if want := min(8, 8*perHypervisor/2); len(hypervisors) != want {
				t.Errorf("%d VMs per hypervisor: %s is on %d of 8 hypervisors, want %d", perHypervisor, tenant, len(hypervisors), want)
			}
		}
	}
}

func TestGenerateManyVMs(t *testing.T) {
	f := generate(t, topology.GenerateParams{Name: "big", Spines: 4, Leaves: 16, HypervisorsPerLeaf: 8, HostsPerHypervisor: 5, Tenants: []string{"one"}})
	if got := f.Nodes["one-vm640"].Labels[topology.LabelAddresses]; got != "10.0.2.138/16 fd00:0:0:a::28a/64" {
		t.Errorf("the last VM has %s", got)
	}
	objects, err := f.Intent()
	if err != nil || len(objects) != 642 {
		t.Errorf("%d objects, %v", len(objects), err)
	}
}

func TestGenerateRefuses(t *testing.T) {
	for want, p := range map[string]topology.GenerateParams{
		`generate: name: "" is not a name for a lab: use 1 to 63 letters, digits, '-', '.' or '_', with a letter or digit at both ends`:                        {Leaves: 1},
		"generate: leaves: a fabric needs leaves, or spines alone for a collapsed spine":                                                                       {Name: "t"},
		"generate: leaves: a collapsed spine, without leaves, has no pods and no superspines":                                                                  {Name: "t", Spines: 2, Superspines: 1},
		"generate: planes: 3 superspines can't be divided among 2 planes":                                                                                      {Name: "t", Spines: 4, Leaves: 2, Pods: 2, Superspines: 3, Planes: 2},
		"generate: planes: 3 spines of a pod can't be divided among 2 planes":                                                                                  {Name: "t", Spines: 6, Leaves: 2, Pods: 2, Superspines: 2, Planes: 2},
		"generate: planes: they are of superspines, and there is none":                                                                                         {Name: "t", Spines: 2, Leaves: 2, Planes: 2},
		"generate: parallel links: 33 is outside 1..32":                                                                                                        {Name: "t", Spines: 2, Leaves: 2, ParallelLinks: 33},
		"generate: underlay: \"a: b\" is not words like \"bgp unnumbered\"":                                                                                    {Name: "t", Spines: 2, Leaves: 2, Underlay: "a: b"},
		"generate: spines: -1 is outside 0..20000":                                                                                                             {Name: "t", Leaves: 1, Spines: -1},
		"generate: spines: 2 leaves need at least one spine":                                                                                                   {Name: "t", Leaves: 2},
		"generate: spines: 3 spines can't be divided among 2 pods":                                                                                             {Name: "t", Leaves: 4, Spines: 3, Pods: 2, Superspines: 1},
		"generate: leaves: 3 leaves can't be divided among 2 pods":                                                                                             {Name: "t", Leaves: 3, Spines: 4, Pods: 2, Superspines: 1},
		"generate: superspines: 2 pods need at least one superspine":                                                                                           {Name: "t", Leaves: 4, Spines: 4, Pods: 2},
		"generate: spines: superspines need spines below them":                                                                                                 {Name: "t", Leaves: 1, Superspines: 1},
		"generate: hypervisors per leaf: VMs need hypervisors":                                                                                                 {Name: "t", Leaves: 1, HostsPerHypervisor: 1},
		"generate: the fabric has more than 20000 nodes":                                                                                                       {Name: "t", Leaves: 100, Spines: 1, HypervisorsPerLeaf: 10, HostsPerHypervisor: 20},
		"generate: VTEPs per leaf: servers behind VTEPs need VTEPs":                                                                                            {Name: "t", Leaves: 1, ServersPerVTEP: 1},
		"generate: tenants: a is given twice":                                                                                                                  {Name: "t", Leaves: 1, Tenants: []string{"a", "a"}},
		"generate: Tenant A: metadata.name: \"A\" is not a name: use 1 to 63 lower-case letters, digits, '-', '.' or '_', with a letter or digit at both ends": {Name: "t", Leaves: 1, Tenants: []string{"A"}},
	} {
		if _, err := topology.Generate(p); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// Parallel planes: each spine is on its own plane's superspines only, and paths
// between pods stay in the plane that they begin in.
func TestGeneratePlanes(t *testing.T) {
	g := generate(t, topology.GenerateParams{Name: "t", Superspines: 4, Spines: 8, Leaves: 4, Pods: 2, Planes: 2}).Graph
	for spine, want := range map[string]string{
		"spine1": "superspine1 superspine2", "spine2": "superspine1 superspine2", "spine3": "superspine3 superspine4", "spine4": "superspine3 superspine4",
		"spine5": "superspine1 superspine2", "spine8": "superspine3 superspine4",
	} {
		var up []string
		for _, n := range g.Neighbours(spine) {
			if strings.HasPrefix(n, "super") {
				up = append(up, n)
			}
		}
		if got := strings.Join(up, " "); got != want {
			t.Errorf("%s is on %s, want %s", spine, got, want)
		}
	}
	p := g.Paths("leaf1", "leaf3", topology.PathOptions{})
	if p.Hops() != 4 || p.Width() != 4 || p.Count() != 4*2*2 {
		t.Errorf("%d paths of %d hops over %d uplinks, want 16, 4, 4", p.Count(), p.Hops(), p.Width())
	}
	for path := range p.All(0) {
		plane := func(n string) bool { return n == "spine1" || n == "spine2" || n == "spine5" || n == "spine6" }
		if a, b := path[0].B.Node, path[2].B.Node; plane(a) != plane(b) {
			t.Errorf("a path changes its plane: %s to %s", a, b)
		}
	}
}

// A collapsed spine: every spine has hosts and is a leaf to the fabric.
func TestGenerateCollapsedSpine(t *testing.T) {
	f := generate(t, topology.GenerateParams{Name: "t", Spines: 3, ParallelLinks: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 1, Underlay: "bgp unnumbered"})
	c, err := f.Graph.Clos()
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Leaves) != 3 || len(c.Spines) != 0 || len(c.Sideways) != 6 || len(f.Graph.ByRole(intent.RoleVM)) != 3 {
		t.Errorf("%d leaves, %d spines, %d links between leaves", len(c.Leaves), len(c.Spines), len(c.Sideways))
	}
	if p := f.Graph.Paths("spine1", "spine3", topology.PathOptions{}); p.Hops() != 1 || p.Width() != 2 {
		t.Errorf("%d links, %d hops", p.Width(), p.Hops())
	}
	if n, _ := f.Graph.Node("spine2"); n.Labels[topology.LabelUnderlay] != "bgp unnumbered" {
		t.Errorf("labels %v", n.Labels)
	}
}

// TestGeneratedFilesAreContainerlabs checks against containerlab's own schema.
func TestGeneratedFilesAreContainerlabs(t *testing.T) {
	raw, err := os.ReadFile("testdata/clab.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := errors.Join(c.AddResource("clab.json", doc)); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("clab.json")
	if err != nil {
		t.Fatal(err)
	}
	f := generate(t, topology.GenerateParams{Name: "t", Superspines: 1, Spines: 2, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 2, ServersPerLeaf: 1, VTEPsPerLeaf: 1, ServersPerVTEP: 2})
	text, _ := f.Encode()
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	plain, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(instance); err != nil {
		t.Error(err)
	}
}

func TestIntent(t *testing.T) {
	f := generate(t, topology.GenerateParams{Name: "demo", Spines: 2, Leaves: 2, HypervisorsPerLeaf: 1, HostsPerHypervisor: 2, ServersPerLeaf: 1})
	objects, err := f.Intent()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "generated.tenants.yaml", documents(t, objects))
}

func documents(t *testing.T, objects []intent.Object) []byte {
	t.Helper()
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	for _, o := range objects {
		if err := o.Validate(); err != nil {
			t.Error(err)
		}
		if err := e.Encode(o); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestIntentFromCommands(t *testing.T) {
	f := parse(t, `
name: t
topology:
  defaults: {kind: linux}
  nodes:
    hv1:
    leaf1:
    a:
      labels: {weft-tenant: blue, weft-network: web}
      exec:
        - ip link set dev eth1 address 02:00:00:00:00:0A
        - sh -c 'ip addr add 10.1.0.5/24 dev eth1'
        - ip -6 address add fd01::5/64 dev eth1 nodad
        - ip addr add 192.168.0.1/24 dev eth9
        - ip route add default via 10.1.0.1
    Srv1:
      labels: {weft-tenant: blue, weft-network: web, weft-addresses: "10.1.0.6/24, fd01::6/64", weft-mac: "02:00:00:00:00:0b"}
  links:
    - endpoints: ["hv1:eth1", "leaf1:eth1"]
    - {endpoints: ["hv1:eth2", "a:eth1"], mtu: 1400}
    - endpoints: ["leaf1:eth7", "Srv1:eth1"]
`)
	objects, err := f.Intent()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "commands.tenants.yaml", documents(t, objects))
}

func TestIntentRefuses(t *testing.T) {
	for _, c := range []struct{ labels, more, want string }{
		{"weft-tenant: blue", "", "f.yml:6: node v: label weft-network is missing: say to which network of tenant blue the node belongs"},
		{"weft-network: web", "", "f.yml:6: node v: label weft-tenant is missing: a network belongs to a tenant"},
		{"weft-tenant: blue, weft-network: web, weft-addresses: 10.0.0.1", "", `f.yml:6: node v: address "10.0.0.1" is not one with a prefix length, like 10.0.0.11/24`},
		{"weft-tenant: blue, weft-network: web, weft-addresses: 10.0.0.1/24 10.0.0.1/24", "", "f.yml:6: node v: address 10.0.0.1 is given twice"},
		{"weft-tenant: blue, weft-network: web, weft-mac: x", "", `f.yml:6: node v: "x" is not a MAC address like 02:00:00:00:00:01`},
		{"weft-vlan: \"20\"", "", "f.yml:6: node v: label weft-tenant is missing: a network belongs to a tenant"},
		{"weft-tenant: blue, weft-network: web, weft-vlan: \"20\"", "", "f.yml:6: node v: label weft-vlan goes with servers: a vm's port is found by its iface-id, whatever the tag"},
		{"weft-role: server, weft-tenant: blue, weft-network: web, weft-vlan: \"0\"", "", `f.yml:6: node v: label weft-vlan: "0" is not a VLAN: use 1 to 4094, or leave it out for untagged frames`},
		{"weft-role: server, weft-tenant: blue, weft-network: web, weft-vlan: \"4095\"", "", `f.yml:6: node v: label weft-vlan: "4095" is not a VLAN`},
		{"weft-tenant: Blue, weft-network: web", "", "f.yml:6: Tenant Blue: metadata.name: \"Blue\" is not a name"},
		{"weft-tenant: blue, weft-network: web, weft-addresses: 10.0.0.1/24", "    w: {labels: {weft-tenant: blue, weft-network: web, weft-addresses: 10.0.0.2/16}}\n    W: {labels: {weft-tenant: blue, weft-network: web}}\n",
			"f.yml:7: node w: subnet 10.0.0.0/16 overlaps 10.0.0.0/24 of Network blue/web: give all its nodes the same prefix length\nf.yml:8: node W: its port has the same name as that of node w"},
	} {
		links := "  links:\n    - endpoints: [\"hv1:eth2\", \"v:eth1\"]\n"
		if c.more != "" {
			links += "    - endpoints: [\"hv1:eth3\", \"w:eth1\"]\n    - endpoints: [\"hv1:eth4\", \"W:eth1\"]\n"
		}
		f := parse(t, "name: t\ntopology:\n  defaults: {kind: linux}\n  nodes:\n    hv1:\n    v: {labels: {"+c.labels+"}}\n"+c.more+links)
		_, err := f.Intent()
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.labels, err, c.want)
		}
	}
	f := parse(t, "name: t\ntopology:\n  defaults: {kind: linux}\n  nodes:\n    hv1: {labels: {weft-tenant: a, weft-network: b}}\n")
	if _, err := f.Intent(); err == nil || err.Error() != "f.yml:5: node hv1: label weft-tenant: a hypervisor has no port in a tenant's network" {
		t.Errorf("got %v", err)
	}
	f = parse(t, "name: t\ntopology:\n  defaults: {kind: linux}\n  nodes:\n    vtep1: {labels: {weft-vlan: \"7\"}}\n")
	if _, err := f.Intent(); err == nil || err.Error() != "f.yml:5: node vtep1: label weft-vlan: a vtep has no port in a tenant's network" {
		t.Errorf("got %v", err)
	}
	f = parse(t, "name: t\ntopology:\n  defaults: {kind: linux}\n  nodes:\n    s: {labels: {weft-tenant: a, weft-network: b}}\n")
	if _, err := f.Intent(); err == nil || err.Error() != "f.yml:5: node s: has no link: its port can't be anywhere" {
		t.Errorf("got %v", err)
	}
}
