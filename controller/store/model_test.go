package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/weft-sdn/weft/controller/intent"
)

// model is the store as one map: the simplest thing that obeys its rules.
type model map[intent.Ref]intent.Object

// names lists the objects that an object names.
func names(o intent.Object) []intent.Ref {
	switch o := o.(type) {
	case *intent.Network:
		return []intent.Ref{ref(intent.KindTenant, "", o.Metadata.Tenant)}
	case *intent.Port:
		out := []intent.Ref{o.NetworkRef()}
		if n := o.Spec.Binding.Node; n != "" {
			out = append(out, ref(intent.KindNode, "", n))
		}
		return out
	case *intent.Link:
		return []intent.Ref{ref(intent.KindNode, "", o.Spec.Endpoints[0].Node), ref(intent.KindNode, "", o.Spec.Endpoints[1].Node)}
	}
	return nil
}

// values are what an object may not share; "" entries are yet to be chosen.
func values(o intent.Object) []string {
	switch o := o.(type) {
	case *intent.Network:
		if o.Spec.VNI != 0 {
			return []string{fmt.Sprint("vni ", o.Spec.VNI)}
		}
	case *intent.Port:
		var out []string
		if !o.Spec.MAC.IsZero() {
			out = append(out, fmt.Sprint(o.NetworkRef(), o.Spec.MAC))
		}
		for _, a := range o.Spec.Addresses {
			out = append(out, fmt.Sprint(o.NetworkRef(), a))
		}
		if b := o.Spec.Binding; !b.IsZero() {
			out = append(out, fmt.Sprint(b))
		}
		return out
	case *intent.Node:
		if o.Spec.VTEP.IsValid() {
			return []string{o.Spec.VTEP.String()}
		}
	case *intent.Link:
		return []string{fmt.Sprint("link ", o.Spec.Endpoints[0]), fmt.Sprint("link ", o.Spec.Endpoints[1])}
	}
	return nil
}

// refuses tells whether a Put must fail.
func (m model) refuses(o intent.Object) bool {
	for _, r := range names(o) {
		if m[r] == nil {
			return true
		}
	}
	mine := values(o)
	for r, other := range m {
		if r == o.Ref() {
			continue
		}
		for _, v := range values(other) {
			if slices.Contains(mine, v) {
				return true
			}
		}
		if p, ok := other.(*intent.Port); ok && p.NetworkRef() == o.Ref() && intent.CheckPort(p, o.(*intent.Network)) != nil {
			return true
		}
	}
	if p, ok := o.(*intent.Port); ok {
		n := m[p.NetworkRef()].(*intent.Network)
		old, _ := m[o.Ref()].(*intent.Port)
		if len(p.Spec.Addresses) == 0 && old != nil && old.Spec.Network == p.Spec.Network {
			return intent.CheckPort(old, n) != nil
		}
		return intent.CheckPort(p, n) != nil
	}
	return false
}

// named lists the objects that name one, and so on down.
func (m model) named(r intent.Ref) []intent.Ref {
	var out []intent.Ref
	for c, o := range m {
		if slices.Contains(names(o), r) && !slices.Contains(out, c) {
			out = append(append(out, m.named(c)...), c)
		}
	}
	return out
}

func draw(t *rapid.T) intent.Object {
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	tn := pick("tenant", "t", "u")
	switch pick("kind", "tenant", "node", "link", "network", "network", "port", "port", "port", "port") {
	case "tenant":
		o := tenant(tn)
		o.Spec.Description = pick("description", "", "x")
		return o
	case "node":
		return leaf(pick("node", "A", "b"), pick("vtep", "", "10.9.0.1", "10.9.0.2"))
	case "link":
		return cable(pick("link", "l", "m"), "A", pick("if", "e1", "e/2"), "b", pick("if", "e1", "e/2"))
	case "network":
		o := network(tn, pick("network", "n", "o"), rapid.SampledFrom([][]string{nil, {"10.0.0.0/24"}, {"10.0.0.0/28"}, {"10.0.0.0/24", "fd00::/64"}}).Draw(t, "subnets")...)
		o.Spec.VNI = rapid.SampledFrom([]intent.VNI{0, 0, 5, 6}).Draw(t, "vni")
		return o
	}
	o := port(tn, pick("network", "n", "o"), pick("port", "p", "q", "r"),
		rapid.SampledFrom([][]string{nil, nil, {"10.0.0.5"}, {"10.0.0.100", "fd00::5"}}).Draw(t, "addresses")...)
	o.Spec.MAC = rapid.SampledFrom([]intent.MAC{{}, {}, {2, 1}, {2, 2}}).Draw(t, "mac")
	switch pick("binding", "", "", "iface", "node") {
	case "iface":
		o.Spec.Binding.IfaceID = pick("iface", "i", "j")
	case "node":
		bound(o, pick("node", "A", "b"), pick("if", "e1", "e/2"))
	}
	return o
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := open(t, 1)[0]
		defer s.Close()
		ctx := context.Background()
		m := model{}
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				o, dry := draw(rt), rapid.IntRange(0, 9).Draw(rt, "dry") == 0
				refuse := m.refuses(o)
				res, err := s.Put(ctx, o, PutOptions{DryRun: dry})
				if refuse != (err != nil) {
					rt.Fatalf("put %s: model refuses: %v; store: %v", o.Ref(), refuse, err)
				}
				if err != nil {
					var fe intent.FieldErrors
					require.True(rt, errors.As(err, &fe) || errors.Is(err, ErrConflict), "%v", err)
					return
				}
				require.Equal(rt, m[o.Ref()] == nil, res.Created)
				require.False(rt, m.refuses(res.Object), "what was chosen fits")
				complete(rt, o, res.Object, m[o.Ref()])
				if !dry {
					m[o.Ref()] = res.Object
				}
			},
			"delete": func(rt *rapid.T) {
				r, cascade := draw(rt).Ref(), rapid.Bool().Draw(rt, "cascade")
				named := m.named(r)
				_, err := s.Delete(ctx, r, DeleteOptions{Cascade: cascade})
				switch {
				case m[r] == nil:
					require.ErrorIs(rt, err, ErrNotFound)
				case len(named) > 0 && !cascade:
					require.ErrorIs(rt, err, ErrInUse)
				default:
					require.NoError(rt, err)
					for _, c := range append(named, r) {
						delete(m, c)
					}
				}
			},
			"": func(rt *rapid.T) {
				objects := make([]intent.Object, 0, len(m))
				for _, o := range m {
					objects = append(objects, o)
				}
				require.Equal(rt, expected(t, s, objects), dump(t, s))
			},
		})
	})
}

// complete checks that what was given was stored, and that what was left out
// was kept or chosen.
func complete(t *rapid.T, given, stored, old intent.Object) {
	switch g := given.(type) {
	case *intent.Network:
		st := stored.(*intent.Network)
		require.True(t, st.Spec.VNI == g.Spec.VNI || g.Spec.VNI == 0 && st.Spec.VNI != 0)
		if old != nil && g.Spec.VNI == 0 {
			require.Equal(t, old.(*intent.Network).Spec.VNI, st.Spec.VNI)
		}
	case *intent.Port:
		st := stored.(*intent.Port)
		require.True(t, st.Spec.MAC == g.Spec.MAC || g.Spec.MAC.IsZero() && !st.Spec.MAC.IsZero())
		if g.Spec.Addresses != nil {
			require.Equal(t, g.Spec.Addresses, st.Spec.Addresses)
		} else if o, _ := old.(*intent.Port); o != nil && o.Spec.Network == g.Spec.Network && o.Spec.Addresses != nil {
			require.Equal(t, o.Spec.Addresses, st.Spec.Addresses)
		}
		require.Equal(t, []netip.Addr(g.Spec.Addresses) == nil && len(st.Spec.Addresses) == 0, len(st.Spec.Addresses) == 0)
	}
}
