package store

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// shared is the one etcd of this package's tests; each test has a prefix of
// its own.
var (
	shared   *Store
	prefixes atomic.Int64
)

// checks is how many draws a property test has when -rapid.checks says nothing: each
// writes to etcd dozens of times.
const checks = "30"

func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", checks); err != nil { // what the command line says comes after
		panic(err)
	}
	if dir := os.Getenv("WEFT_STORE_CHILD"); dir != "" {
		child(dir)
		return
	}
	dir, err := os.MkdirTemp("/dev/shm", "weft-store-test-") // no disk to wait for
	if err != nil {
		dir, err = os.MkdirTemp("", "weft-store-test-")
	}
	if err != nil {
		panic(err)
	}
	if shared, err = Open(context.Background(), Config{Dir: dir}); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = shared.Close()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// open gives n stores on one new prefix.
func open(t testing.TB, n int) []*Store {
	t.Helper()
	prefix := fmt.Sprintf("/test%d/weft", prefixes.Add(1))
	out := make([]*Store, n)
	for i := range out {
		s, err := Open(t.Context(), Config{Endpoints: []string{shared.server.endpoint}, Prefix: prefix})
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.Close() })
		out[i] = s
	}
	return out
}

func tenant(name string) *intent.Tenant {
	return &intent.Tenant{Metadata: intent.Metadata{Name: name}}
}

func network(tenant, name string, subnets ...string) *intent.Network {
	n := &intent.Network{Metadata: intent.Metadata{Name: name, Tenant: tenant}}
	for _, s := range subnets {
		n.Spec.Subnets = append(n.Spec.Subnets, netip.MustParsePrefix(s))
	}
	return n
}

func port(tenant, network, name string, addrs ...string) *intent.Port {
	p := &intent.Port{Metadata: intent.Metadata{Name: name, Tenant: tenant}, Spec: intent.PortSpec{Network: network}}
	for _, a := range addrs {
		p.Spec.Addresses = append(p.Spec.Addresses, netip.MustParseAddr(a))
	}
	return p
}

func bound(p *intent.Port, node, iface string) *intent.Port {
	p.Spec.Binding = intent.Binding{Node: node, Interface: iface}
	return p
}

func leaf(name, vtep string) *intent.Node {
	n := &intent.Node{Metadata: intent.Metadata{Name: name}, Spec: intent.NodeSpec{Role: intent.RoleLeaf}}
	if vtep != "" {
		n.Spec.VTEP = netip.MustParseAddr(vtep)
	}
	return n
}

func cable(name, a, ai, b, bi string) *intent.Link {
	return &intent.Link{Metadata: intent.Metadata{Name: name}, Spec: intent.LinkSpec{
		Endpoints: []intent.LinkEnd{{Node: a, Interface: ai}, {Node: b, Interface: bi}}}}
}

func put[T intent.Object](t testing.TB, s *Store, o T) T {
	t.Helper()
	r, err := s.Put(t.Context(), o, PutOptions{})
	require.NoError(t, err)
	return r.Object.(T)
}

// dump reads all keys of the store but the journal.
func dump(t testing.TB, s *Store) map[string]string {
	t.Helper()
	r, err := s.client.Get(context.Background(), string(s.keys)+"/", clientv3.WithPrefix())
	require.NoError(t, err)
	out := map[string]string{}
	for _, kv := range r.Kvs {
		out[string(kv.Key)] = string(kv.Value)
	}
	delete(out, s.keys.journal())
	return out
}

// expected computes all keys but the objects' from the objects.
func expected(t testing.TB, s *Store, objects []intent.Object) map[string]string {
	t.Helper()
	out, networks := map[string]string{}, map[intent.Ref]*intent.Network{}
	for _, o := range objects {
		if n, ok := o.(*intent.Network); ok {
			networks[n.Ref()] = n
		}
	}
	for _, o := range objects {
		claims := s.keys.claims(o)
		if r, ok := o.(*intent.Router); ok {
			for i, rn := range r.Spec.Networks {
				require.NotNil(t, networks[r.NetworkRef(rn)], "%s has no network %s", r.Ref(), rn.Network)
				claims = append(claims, s.keys.gateways(r, i, networks[r.NetworkRef(rn)])...)
			}
		}
		for _, c := range claims {
			_, twice := out[c.key]
			require.False(t, twice, "%s is claimed twice", c.key)
			out[c.key] = encodeRef(o.Ref())
		}
		b, err := encode(o)
		require.NoError(t, err)
		out[s.keys.object(o.Ref())] = string(b)
	}
	return out
}

// sound checks that the claims in etcd are those of the objects.
func sound(t testing.TB, s *Store) []intent.Object {
	t.Helper()
	objects, _, err := s.Snapshot(context.Background())
	require.NoError(t, err)
	require.Equal(t, expected(t, s, objects), dump(t, s))
	return objects
}

func TestPutAllocatesAndKeeps(t *testing.T) {
	s := open(t, 1)[0]
	put(t, s, tenant("blue"))
	n := put(t, s, network("blue", "web", "10.0.0.0/24", "fd00::/64"))
	require.Equal(t, intent.VNI(10000), n.Spec.VNI)
	require.Equal(t, 1500, n.Spec.MTU)
	p := put(t, s, port("blue", "web", "a"))
	require.Equal(t, []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")}, p.Spec.Addresses)
	require.False(t, p.Spec.MAC.IsZero())
	require.NotNil(t, p.Metadata.Created)

	again, err := s.Put(t.Context(), port("blue", "web", "a"), PutOptions{})
	require.NoError(t, err)
	require.False(t, again.Changed)
	require.Equal(t, p, again.Object, "the same object, at the same revision")

	p2 := port("blue", "web", "a")
	p2.Metadata.Labels = map[string]string{"tier": "front"}
	changed, err := s.Put(t.Context(), p2, PutOptions{})
	require.NoError(t, err)
	require.True(t, changed.Changed)
	require.False(t, changed.Created)
	require.Equal(t, p.Spec, changed.Object.(*intent.Port).Spec)
	require.Equal(t, p.Metadata.Created, changed.Object.Meta().Created)
	require.Greater(t, changed.Object.Meta().Revision, p.Metadata.Revision)
	sound(t, s)
}
