package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/ipam"
)

// poolSize is how many free values one scan of the claims collects.
const poolSize = 1024

// pool holds values that were free when the claims were last scanned. It saves
// scans; whether a value is free the transaction finds out.
type pool[T any] struct {
	mu   sync.Mutex
	free []T
}

// take removes a value, after a scan when none is left. After a lost race it
// scans in any case and takes a random value: the rival has the same list.
func (p *pool[T]) take(raced bool, scan func() ([]T, error)) (T, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if raced || len(p.free) == 0 {
		free, err := scan()
		if err != nil {
			var none T
			return none, err
		}
		if raced {
			rand.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
		}
		p.free = free
	}
	v := p.free[0]
	p.free = p.free[1:]
	return v, nil
}

// give returns a value that was not used after all.
func (p *pool[T]) give(v T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append([]T{v}, p.free...)
}

// collect asks next for free values, each the hint for the one after it, until
// the pool is exhausted or full. It fails only when there is none at all.
func collect[T comparable](taken map[T]bool, next func(func(T) bool, T) (T, error)) ([]T, error) {
	var (
		out  []T
		hint T
	)
	for len(out) < poolSize {
		v, err := next(func(v T) bool { return taken[v] }, hint)
		if errors.Is(err, ipam.ErrExhausted) && len(out) > 0 {
			break
		}
		if err != nil {
			return nil, err
		}
		taken[v] = true
		out, hint = append(out, v), v
	}
	return out, nil
}

type hostsKey struct {
	network intent.Ref
	subnet  netip.Prefix
}

func (s *Store) hostPool(k hostsKey) *pool[netip.Addr] {
	s.hostsMu.Lock()
	defer s.hostsMu.Unlock()
	p := s.hosts[k]
	if p == nil {
		p = &pool[netip.Addr]{}
		s.hosts[k] = p
	}
	return p
}

// forget drops the pools of a network that was deleted.
func (s *Store) forget(r intent.Ref) {
	if r.Kind != intent.KindNetwork && r.Kind != intent.KindExternalNetwork {
		return
	}
	s.hostsMu.Lock()
	defer s.hostsMu.Unlock()
	maps.DeleteFunc(s.hosts, func(k hostsKey, _ *pool[netip.Addr]) bool { return k.network == r })
}

// allocVNI chooses the VNI of a network or the L3VNI of a router or of the outside.
func (w *write) allocVNI(ctx context.Context, of intent.Ref, vni *intent.VNI) error {
	s := w.s
	v, err := s.vnis.take(w.raced, func() ([]intent.VNI, error) {
		taken := map[intent.VNI]bool{}
		err := s.eachKey(ctx, s.keys.vnis(), func(key string) {
			if v, err := strconv.ParseUint(lastPart(key), 10, 32); err == nil {
				taken[intent.VNI(v)] = true
			}
		})
		if err != nil {
			return nil, err
		}
		return collect(taken, ipam.Range[intent.VNI]{First: s.cfg.FirstVNI, Last: s.cfg.LastVNI}.Next)
	})
	if errors.Is(err, ipam.ErrExhausted) {
		return &ExhaustedError{of, "spec.vni", fmt.Sprintf(
			"no VNI is free in %d..%d, from which they are allocated: give one, or widen the range", s.cfg.FirstVNI, s.cfg.LastVNI)}
	}
	if err != nil {
		return fmt.Errorf("choose a VNI: %w", err)
	}
	*vni = v
	w.chose("spec.vni", func() { s.vnis.give(v) })
	return nil
}

// allocMAC chooses the MAC address of a port: the claims of a network are few
// beside the pool, so a random start is free as good as always.
func (w *write) allocMAC(p *intent.Port) error {
	hint := ipam.DefaultMAC
	r := rand.Uint32()
	hint[3], hint[4], hint[5] = byte(r>>16), byte(r>>8), byte(r)
	m, err := ipam.NextMAC(ipam.DefaultMAC, func(intent.MAC) bool { return false }, hint)
	if err != nil {
		return fmt.Errorf("choose a MAC address: %w", err)
	}
	p.Spec.MAC = m
	w.chose("spec.mac", func() {})
	return nil
}

// allocAddrs chooses one address in each subnet of the network.
func (w *write) allocAddrs(ctx context.Context, p *intent.Port, n *intent.Network) error {
	s := w.s
	for i, subnet := range n.Spec.Subnets {
		hosts := s.hostPool(hostsKey{n.Ref(), subnet})
		a, err := hosts.take(w.raced, func() ([]netip.Addr, error) {
			taken := map[netip.Addr]bool{}
			err := s.eachKey(ctx, s.keys.addrs(n.Ref()), func(key string) {
				if a, ok := addrOf(key); ok {
					taken[a] = true
				}
			})
			if err != nil {
				return nil, err
			}
			return collect(taken, func(taken func(netip.Addr) bool, hint netip.Addr) (netip.Addr, error) {
				return ipam.Hosts{Subnet: subnet, Hint: hint}.Next(taken)
			})
		})
		if errors.Is(err, ipam.ErrExhausted) {
			return &ExhaustedError{p.Ref(), "spec.addresses", fmt.Sprintf(
				"no address is free in %s of %s: delete a port, or add a larger subnet", subnet, n.Ref())}
		}
		if err != nil {
			return fmt.Errorf("choose an address: %w", err)
		}
		p.Spec.Addresses = append(p.Spec.Addresses, a)
		w.chose(fmt.Sprintf("spec.addresses[%d]", i), func() { hosts.give(a) })
	}
	return nil
}

// eachKey reads the keys under a prefix by pages, at one revision.
func (s *Store) eachKey(ctx context.Context, prefix string, f func(string)) error {
	_, err := s.pages(ctx, prefix, 0, func(r *clientv3.GetResponse) error {
		for _, kv := range r.Kvs {
			f(string(kv.Key))
		}
		return nil
	}, clientv3.WithKeysOnly())
	return err
}
