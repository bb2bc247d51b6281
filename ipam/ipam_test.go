package ipam_test

import (
	"errors"
	"math"
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/ipam"
	"pgregory.net/rapid"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

func TestSubPrefix(t *testing.T) {
	for _, c := range []struct {
		pool   string
		length int
		index  uint64
		want   string
	}{
		{"10.0.0.0/16", 24, 3, "10.0.3.0/24"},
		{"10.0.7.0/16", 24, 0, "10.0.0.0/24"},
		{"10.0.0.0/16", 31, 200, "10.0.1.144/31"},
		{"10.0.0.0/16", 24, 255, "10.0.255.0/24"},
		{"10.0.0.0/16", 24, 256, ""},
		{"10.0.0.0/16", 16, 0, "10.0.0.0/16"},
		{"10.0.0.0/16", 8, 0, ""},
		{"10.0.0.0/16", 33, 0, ""},
		{"2001:db8::/32", 64, 1<<32 - 1, "2001:db8:ffff:ffff::/64"},
		{"2001:db8::/32", 48, 5, "2001:db8:5::/48"},
		{"fd00::/64", 128, math.MaxUint64, "fd00::ffff:ffff:ffff:ffff/128"},
		{"fd00::/56", 72, 0x1ff, "fd00:0:0:1:ff00::/72"},
	} {
		got, err := ipam.SubPrefix(prefix(c.pool), c.length, c.index)
		if (err != nil) != (c.want == "") || err == nil && got != prefix(c.want) {
			t.Errorf("SubPrefix(%s, %d, %d) = %s, %v; want %s", c.pool, c.length, c.index, got, err, c.want)
		}
	}
	if _, err := ipam.SubPrefix(netip.Prefix{}, 24, 0); err == nil {
		t.Error("the zero prefix is taken for a pool")
	}
	if a, err := ipam.Addr(prefix("10.255.0.0/16"), 257); err != nil || a != addr("10.255.1.1") {
		t.Errorf("Addr = %s, %v", a, err)
	}
}

func TestNextHostLeavesOutWhatHostsMayNotHave(t *testing.T) {
	none := func(netip.Addr) bool { return false }
	for subnet, want := range map[string]string{
		"10.0.0.0/24": "10.0.0.2", "10.0.0.0/30": "10.0.0.2", "10.0.0.0/31": "", "10.0.0.0/32": "",
		"255.255.255.252/30": "255.255.255.254",
		"fd00::/64":          "fd00::2", "fd00::/126": "fd00::2", "fd00::/127": "", "fd00::/128": "",
	} {
		got, err := ipam.NextHost(prefix(subnet), none)
		if want == "" {
			if !errors.Is(err, ipam.ErrExhausted) {
				t.Errorf("%s: got %s, %v", subnet, got, err)
			}
			continue
		}
		if err != nil || got != addr(want) {
			t.Errorf("%s: got %s, %v; want %s", subnet, got, err, want)
		}
	}
	got, err := ipam.NextHost(prefix("10.0.0.0/24"), func(a netip.Addr) bool { return a == addr("10.0.0.3") }, addr("10.0.0.2"))
	if err != nil || got != addr("10.0.0.4") {
		t.Errorf("with .2 reserved and .3 taken: %s, %v", got, err)
	}
}

// Property: what NextHost gives is a host address, free, not the gateway; and it
// gives one if and only if there is one.
func TestNextHostProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.SampledFrom([]string{"10.1.2.0", "fd00:1::"}).Draw(t, "base")
		free := rapid.IntRange(0, 5).Draw(t, "host bits")
		subnet := netip.PrefixFrom(addr(base), addr(base).BitLen()-free)
		var all []netip.Addr
		for a := subnet.Addr(); subnet.Contains(a); a = a.Next() {
			all = append(all, a)
		}
		taken, possible := map[netip.Addr]bool{}, map[netip.Addr]bool{}
		for _, a := range all {
			taken[a] = rapid.IntRange(0, 3).Draw(t, "taken") > 0
			if !taken[a] && intent.HostAddress(subnet, a) && a != ipam.Gateway(subnet) {
				possible[a] = true
			}
		}
		reserved := rapid.SampledFrom(all).Draw(t, "reserved")
		delete(possible, reserved)
		h := ipam.Hosts{Subnet: subnet, Reserved: []netip.Addr{reserved}, Hint: rapid.SampledFrom(all).Draw(t, "hint")}
		got, err := h.Next(func(a netip.Addr) bool { return taken[a] })
		if len(possible) == 0 {
			if !errors.Is(err, ipam.ErrExhausted) {
				t.Fatalf("nothing is free, got %s, %v", got, err)
			}
			return
		}
		if err != nil || !possible[got] {
			t.Fatalf("got %s, %v; free are %v", got, err, possible)
		}
	})
}

func TestRangeProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := ipam.Range[uint32]{First: rapid.SampledFrom([]uint32{0, 1, math.MaxUint32 - 20}).Draw(t, "first")}
		r.Last = r.First + rapid.Uint32Range(0, 20).Draw(t, "size")
		taken := map[uint32]bool{}
		for v := uint64(r.First); v <= uint64(r.Last); v++ {
			if rapid.IntRange(0, 3).Draw(t, "taken") > 0 {
				taken[uint32(v)] = true
			}
		}
		full := uint64(len(taken)) == uint64(r.Last-r.First)+1
		got, err := r.Next(func(v uint32) bool { return taken[v] }, rapid.Uint32().Draw(t, "hint"))
		if full != errors.Is(err, ipam.ErrExhausted) || err == nil && (taken[got] || !r.Contains(got)) {
			t.Fatalf("Next = %d, %v; taken %v of %v", got, err, taken, r)
		}
		var sorted []uint32
		for v := range taken {
			sorted = append(sorted, v)
		}
		slices.Sort(sorted)
		low, err := r.FirstFree(sorted)
		if full != errors.Is(err, ipam.ErrExhausted) || err == nil && (taken[low] || !r.Contains(low)) {
			t.Fatalf("FirstFree = %d, %v; taken %v of %v", low, err, taken, r)
		}
		for v := r.First; err == nil && v < low; v++ {
			if !taken[v] {
				t.Fatalf("FirstFree = %d, but %d is free", low, v)
			}
		}
	})
}

func TestNextPrefixProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := prefix("10.8.0.0/16")
		n := rapid.IntRange(0, 4).Draw(t, "bits")
		taken := map[netip.Prefix]bool{}
		for i := range uint64(1) << n {
			p, err := ipam.SubPrefix(pool, 16+n, i)
			if err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "taken") {
				taken[p] = true
			}
		}
		got, i, err := ipam.NextPrefix(pool, 16+n, func(p netip.Prefix) bool { return taken[p] }, rapid.Uint64Range(0, 20).Draw(t, "hint"))
		if full := len(taken) == 1<<n; full != errors.Is(err, ipam.ErrExhausted) {
			t.Fatalf("full %v, got %v", full, err)
		}
		if err == nil {
			if at, _ := ipam.SubPrefix(pool, 16+n, i); taken[got] || at != got || !pool.Overlaps(got) {
				t.Fatalf("got %s, index %d", got, i)
			}
		}
	})
	if _, _, err := ipam.NextPrefix(netip.Prefix{}, 24, nil, 0); err == nil || errors.Is(err, ipam.ErrExhausted) {
		t.Errorf("the zero prefix is a pool: %v", err)
	}
}

func TestNextMAC(t *testing.T) {
	none := func(intent.MAC) bool { return false }
	if m, err := ipam.NextMAC(ipam.DefaultMAC, none, intent.MAC{}); err != nil || m != ipam.DefaultMAC {
		t.Errorf("first: %s, %v", m, err)
	}
	last := intent.MAC{2, 0x57, 0x45, 0xff, 0xff, 0xff}
	m, err := ipam.NextMAC(ipam.DefaultMAC, func(m intent.MAC) bool { return m == last }, last)
	if err != nil || m != ipam.DefaultMAC {
		t.Errorf("around the end: %s, %v", m, err)
	}
	for _, bad := range []intent.MAC{{}, {1}, {3}, {0x52 | 1}} {
		if m, err := ipam.NextMAC(bad, none, intent.MAC{}); err == nil {
			t.Errorf("%s is no pool, gave %s", bad, m)
		}
	}
	if _, err := ipam.NextMAC(ipam.DefaultMAC, func(intent.MAC) bool { return true }, intent.MAC{}); !errors.Is(err, ipam.ErrExhausted) {
		t.Errorf("all taken: %v", err)
	}
}

// A dense pool of 2^24 VNIs costs a step or two when the hint is the last one
// given.
func TestDensePoolWithHint(t *testing.T) {
	calls := 0
	last := intent.VNI(16_000_000)
	v, err := ipam.VNIs().Next(func(v intent.VNI) bool { calls++; return v <= last }, last)
	if err != nil || v != last+1 || calls > 2 {
		t.Errorf("got %d, %v after %d calls", v, err, calls)
	}
	h := ipam.Hosts{Subnet: prefix("fd00::/64"), Hint: addr("fd00::ffff:0:0")}
	calls = 0
	a, err := h.Next(func(a netip.Addr) bool { calls++; return a.Compare(h.Hint) <= 0 })
	if err != nil || a != h.Hint.Next() || calls > 2 {
		t.Errorf("got %s, %v after %d calls", a, err, calls)
	}
}

// A pool that is routed as a whole gives all but its first address and, of IPv4,
// its last; one of one or two addresses gives these.
func TestNextAddr(t *testing.T) {
	for pool, want := range map[string]string{
		"203.0.113.8/30":  "203.0.113.9 203.0.113.10",
		"203.0.113.8/31":  "203.0.113.8 203.0.113.9",
		"203.0.113.8/32":  "203.0.113.8",
		"2001:db8::8/126": "2001:db8::9 2001:db8::a 2001:db8::b",
		"2001:db8::8/127": "2001:db8::8 2001:db8::9",
	} {
		taken, got, hint := map[netip.Addr]bool{}, "", addr("203.0.113.9")
		for {
			a, err := ipam.NextAddr(prefix(pool), func(a netip.Addr) bool { return taken[a] }, hint)
			if err != nil {
				if !errors.Is(err, ipam.ErrExhausted) {
					t.Fatal(err)
				}
				break
			}
			if taken[a] || !prefix(pool).Contains(a) {
				t.Fatalf("%s: %s is given twice or is outside", pool, a)
			}
			taken[a], hint = true, a
		}
		for a := prefix(pool).Addr(); prefix(pool).Contains(a); a = a.Next() {
			if taken[a] {
				got += " " + a.String()
			}
		}
		if got != " "+want {
			t.Errorf("%s gives%s; want %s", pool, got, want)
		}
	}
	if _, err := ipam.NextAddr(netip.Prefix{}, func(netip.Addr) bool { return false }, netip.Addr{}); err == nil {
		t.Error("the zero prefix is taken for a pool")
	}
}
