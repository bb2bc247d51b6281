package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
)

// parallel runs f n times at once.
func parallel(n int, f func(int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func TestFiftyWritersOnTwoStoresNeverShare(t *testing.T) {
	ss := open(t, 2)
	put(t, ss[0], tenant("t"))
	put(t, ss[0], network("t", "n", "10.0.0.0/24", "fd00::/64"))
	errs := make([]error, 50)
	parallel(50, func(i int) {
		s := ss[i%2]
		_, err := s.Put(context.Background(), network("t", fmt.Sprintf("n%d", i)), PutOptions{})
		for j := range 4 {
			_, e := s.Put(context.Background(), port("t", "n", fmt.Sprintf("p%d-%d", i, j)), PutOptions{})
			err = errors.Join(err, e)
		}
		errs[i] = err
	})
	require.NoError(t, errors.Join(errs...))
	vnis, macs, addrs := map[any]bool{}, map[any]bool{}, map[any]bool{}
	for _, o := range sound(t, ss[0]) {
		switch o := o.(type) {
		case *intent.Network:
			vnis[o.Spec.VNI] = true
		case *intent.Port:
			macs[o.Spec.MAC] = true
			require.Len(t, o.Spec.Addresses, 2)
			for _, a := range o.Spec.Addresses {
				addrs[a] = true
			}
		}
	}
	require.Equal(t, []int{51, 200, 400}, []int{len(vnis), len(macs), len(addrs)})
}

func TestOneValueOneWinner(t *testing.T) {
	ss := open(t, 2)
	put(t, ss[0], tenant("t"))
	won := make([]error, 30)
	parallel(len(won), func(i int) {
		n := network("t", fmt.Sprintf("n%d", i))
		n.Spec.VNI = 42
		_, won[i] = ss[i%2].Put(context.Background(), n, PutOptions{})
	})
	winners := 0
	for _, err := range won {
		if err == nil {
			winners++
		} else {
			require.ErrorIs(t, err, ErrConflict)
		}
	}
	require.Equal(t, 1, winners)
	sound(t, ss[0])
}

func TestWritersOfOneObject(t *testing.T) {
	ss := open(t, 2)
	errs := make([]error, 30)
	parallel(len(errs), func(i int) {
		o := tenant("t")
		o.Spec.Description = fmt.Sprint(i)
		_, errs[i] = ss[i%2].Put(context.Background(), o, PutOptions{})
	})
	require.NoError(t, errors.Join(errs...))
	sound(t, ss[0])
}

// Deletes of a network and of its tenant against creation of ports and
// networks: no port is ever without network, no network without tenant, and
// no claim outlives its owner.
func TestDeleteAgainstCreate(t *testing.T) {
	ss := open(t, 2)
	ctx := context.Background()
	bad := make(chan error, 1000)
	known := func(err error) {
		var fe intent.FieldErrors
		if err != nil && !errors.As(err, &fe) && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrInUse) && !errors.Is(err, ErrConflict) {
			bad <- err
		}
	}
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	parallel(20, func(g int) {
		s := ss[g%2]
		for i := range rounds {
			switch g % 10 {
			case 0:
				_, err := s.Put(ctx, tenant("t"), PutOptions{})
				known(err)
				_, err = s.Put(ctx, network("t", "n", "10.0.0.0/24"), PutOptions{})
				known(err)
			case 1:
				_, err := s.Delete(ctx, ref(intent.KindNetwork, "t", "n"), DeleteOptions{Cascade: i%2 == 0})
				known(err)
			case 2:
				_, err := s.Delete(ctx, ref(intent.KindTenant, "", "t"), DeleteOptions{Cascade: i%3 == 0})
				known(err)
			case 3:
				_, err := s.Delete(ctx, ref(intent.KindPort, "t", fmt.Sprintf("p%d", i%5)), DeleteOptions{})
				known(err)
			case 4:
				_, err := s.Put(ctx, port("t", "n", fmt.Sprintf("p%d", i%5), fmt.Sprintf("10.0.0.%d", 10+i%2)), PutOptions{})
				known(err)
				subnet := []string{"10.0.0.0/24", "10.0.0.0/28"}[i%2]
				_, err = s.Put(ctx, network("t", "n", subnet), PutOptions{})
				known(err)
			case 5:
				_, err := s.Put(ctx, port("t", "n", fmt.Sprintf("p%d", i%5)), PutOptions{})
				known(err)
			case 6:
				// A router whose networks and next hops come and go.
				r := vrf("t", "r", [][]string{{"n"}, {"n@10.0.0.9", "o"}, {"o"}, nil}[i%4]...)
				if i%3 == 0 && i%4 < 2 {
					via(r, "192.0.2.0/24", fmt.Sprintf("p%d", i%5))
				}
				_, err := s.Put(ctx, r, PutOptions{})
				known(err)
				if i%7 == 0 {
					_, err = s.Delete(ctx, r.Ref(), DeleteOptions{})
					known(err)
				}
			case 7:
				_, err := s.Put(ctx, network("t", "o", []string{"10.1.0.0/24", "10.0.0.16/28"}[i%2], "fd00::/64"), PutOptions{})
				known(err)
				_, err = s.Put(ctx, port("t", "n", fmt.Sprintf("g%d", i%3), []string{"10.0.0.1", "10.0.0.9"}[i%2]), PutOptions{})
				known(err)
				_, err = s.Delete(ctx, ref(intent.KindPort, "t", fmt.Sprintf("g%d", i%3)), DeleteOptions{})
				known(err)
			case 8:
				for _, w := range s.PutAll(ctx, []intent.Object{group("t", "a", "b"), group("t", "b", "a"), in(port("t", "n", fmt.Sprintf("p%d", i%5)), "a")}, false) {
					known(w.Err)
				}
			default:
				_, err := s.Put(ctx, group("t", "b", [][]string{{"a"}, nil}[i%2]...), PutOptions{})
				known(err)
				_, err = s.Delete(ctx, ref(intent.KindSecurityGroup, "t", []string{"a", "b"}[i%2]), DeleteOptions{Cascade: i%3 == 0})
				known(err)
			}
			if g == 0 && i%5 == 0 {
				consistent(t, s)
			}
		}
	})
	close(bad)
	for err := range bad {
		t.Error(err)
	}
	sound(t, ss[0])
	_, err := ss[0].Delete(ctx, ref(intent.KindTenant, "", "t"), DeleteOptions{Cascade: true})
	known(err)
	require.Empty(t, dump(t, ss[0]))
}

// consistent checks that what a snapshot has breaks no rule: all that is named
// is in it, no address is used twice, routers fit their networks.
func consistent(t *testing.T, s *Store) {
	objects, _, err := s.Snapshot(context.Background())
	if err != nil {
		t.Error(err)
		return
	}
	m := model{}
	for _, o := range objects {
		m[o.Ref()] = o
	}
	if !m.holds() {
		t.Errorf("a rule is broken: %v", m)
	}
}

func TestFiveHundredCyclesLeaveNothing(t *testing.T) {
	s := open(t, 1)[0]
	put(t, s, tenant("t"))
	for range 500 {
		n := network("t", "n", "10.0.0.0/30")
		n.Spec.VNI = 9
		put(t, s, n)
		put(t, s, port("t", "n", "p"))
		for _, r := range []intent.Ref{ref(intent.KindPort, "t", "p"), ref(intent.KindNetwork, "t", "n")} {
			_, err := s.Delete(t.Context(), r, DeleteOptions{})
			require.NoError(t, err)
		}
	}
	_, err := s.Delete(t.Context(), ref(intent.KindTenant, "", "t"), DeleteOptions{})
	require.NoError(t, err)
	require.Empty(t, dump(t, s))
	require.Empty(t, s.hosts, "nor in memory")
}

func TestCascadeOfManyPorts(t *testing.T) {
	s := open(t, 1)[0]
	put(t, s, tenant("t"))
	put(t, s, network("t", "n", "10.0.0.0/16"))
	errs := make([]error, 20)
	parallel(20, func(g int) {
		for i := range 15 {
			_, err := s.Put(context.Background(), port("t", "n", fmt.Sprintf("p%d-%d", g, i)), PutOptions{})
			errs[g] = errors.Join(errs[g], err)
		}
	})
	require.NoError(t, errors.Join(errs...))
	res, err := s.Delete(t.Context(), ref(intent.KindTenant, "", "t"), DeleteOptions{Cascade: true})
	require.NoError(t, err)
	require.Len(t, res.Deleted, 302)
	require.Empty(t, dump(t, s))
}
