package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// site is a whole intent, what is named after what names it: ports that name
// networks and nodes, some bound, some with addresses of their own.
func site(ports int) []intent.Object {
	var out []intent.Object
	for i := range ports {
		p := port("blue", fmt.Sprintf("n%d", i%7), fmt.Sprintf("p%d", i))
		switch i % 3 {
		case 0:
			p.Spec.Binding.IfaceID = fmt.Sprintf("vm-%d", i)
		case 1:
			p = bound(p, fmt.Sprintf("leaf%d", i%4), fmt.Sprintf("eth%d", i))
		}
		out = append(out, p)
	}
	for i := range 7 {
		out = append(out, network("blue", fmt.Sprintf("n%d", i), fmt.Sprintf("10.%d.0.0/16", i), "fd00::/64"))
	}
	for i := range 4 {
		out = append(out, leaf(fmt.Sprintf("leaf%d", i), fmt.Sprintf("10.255.0.%d", i+1)))
	}
	out = append(out, cable("l1", "leaf0", "up1", "leaf1", "up1"), tenant("blue"))
	return out
}

func noErrors(t testing.TB, out []Written) {
	t.Helper()
	var errs []error
	for _, w := range out {
		errs = append(errs, w.Err)
	}
	require.NoError(t, errors.Join(errs...))
}

func TestPutAllWritesFew(t *testing.T) {
	for name, ops := range map[string]int{"cluster": defaultOps, "in process": embeddedOps} {
		t.Run(name, func(t *testing.T) {
			s := open(t, 1)[0]
			s.maxOps = ops
			objects := site(1000)
			before, err := s.Revision(t.Context())
			require.NoError(t, err)
			out := s.PutAll(t.Context(), objects, false)
			noErrors(t, out)
			for i, w := range out {
				require.Equal(t, objects[i].Ref(), w.Object.Ref())
				require.True(t, w.Created && w.Changed)
				require.Positive(t, w.Object.Meta().Revision)
				got, err := s.Get(t.Context(), objects[i].Ref())
				require.NoError(t, err)
				require.Equal(t, w.Object, got)
			}
			after, err := s.Revision(t.Context())
			require.NoError(t, err)
			t.Logf("%d transactions for %d objects", after-before, len(objects))
			require.Less(t, 10*(after-before), int64(len(objects)), "under 0.1 writes an object")
			require.Len(t, sound(t, s), len(objects))

			noErrors(t, s.PutAll(t.Context(), objects, false))
			same, err := s.Revision(t.Context())
			require.NoError(t, err)
			require.Equal(t, after, same, "all is so already")
		})
	}
}

func TestPutAllSaysWhatPutSays(t *testing.T) {
	s := bed(t)
	twice := port("blue", "web", "twice")
	twice.Metadata.Labels = map[string]string{"n": "2"}
	taken := port("blue", "web", "taken", "10.0.0.10")
	rival := port("blue", "web", "rival", "10.0.0.77")
	first := port("blue", "web", "first", "10.0.0.77")
	moved := bound(port("blue", "web", "a", "10.0.0.201"), "leaf2", "eth9")
	freed := port("blue", "web", "c", "10.0.0.202") // gives 10.0.0.201 to a
	objects := []intent.Object{
		port("blue", "new", "early"), // its network comes later in the list
		port("blue", "web", "twice"), port("blue", "nope", "x"), taken, first, rival, freed, moved,
		&intent.Port{Metadata: intent.Metadata{Name: "Bad Name", Tenant: "blue"}}, twice,
		network("blue", "new", "10.7.0.0/24"), tenant("red"),
	}
	out := s.PutAll(t.Context(), objects, false)
	var said []string
	for i, w := range out {
		switch {
		case w.Err != nil:
			require.Nil(t, w.Object)
			said = append(said, w.Err.Error())
		case !w.Changed:
			said = append(said, objects[i].Ref().String()+" unchanged")
		case w.Created:
			said = append(said, objects[i].Ref().String()+" created")
		default:
			said = append(said, objects[i].Ref().String()+" configured")
		}
	}
	require.Contains(t, said[8], "metadata.name")
	said[8] = "a fault of its own"
	require.Equal(t, []string{
		"Port blue/early created", "Port blue/twice created",
		`Port blue/x: spec.network: names an unknown network "nope" of tenant blue`,
		"Port blue/taken: spec.addresses[0]: 10.0.0.10 is in use by Port blue/b",
		"Port blue/first created",
		"Port blue/rival: spec.addresses[0]: 10.0.0.77 is in use by Port blue/first",
		"Port blue/c configured", "Port blue/a configured", "a fault of its own", "Port blue/twice configured",
		"Network blue/new created", "Tenant red unchanged",
	}, said)
	require.Len(t, sound(t, s), 14)

	before := dump(t, s)
	dry := s.PutAll(t.Context(), []intent.Object{port("blue", "web", "d1"), port("blue", "web", "d2"), tenant("green")}, true)
	noErrors(t, dry)
	require.True(t, dry[0].Created)
	require.Equal(t, before, dump(t, s), "a dry run writes nothing")
}

// TestPutAllAmongRivals: several at once, of the same objects.
func TestPutAllAmongRivals(t *testing.T) {
	s := open(t, 4)
	objects := site(300)
	noErrors(t, s[0].PutAll(t.Context(), objects[300:], false))
	outs := make([][]Written, len(s))
	parallel(len(s), func(g int) {
		mine := append(append([]intent.Object{}, objects[g*50:300]...), objects[:g*50]...)
		outs[g] = s[g].PutAll(context.Background(), mine, false)
	})
	for _, out := range outs {
		noErrors(t, out)
	}
	require.Len(t, sound(t, s[0]), len(objects))
}

func TestPutAllWithoutStore(t *testing.T) {
	s := open(t, 1)[0]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, w := range s.PutAll(ctx, site(3), false) {
		require.ErrorIs(t, w.Err, context.Canceled)
	}
}
