package evpn

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

// updateWith is an UPDATE with path attributes as given.
func updateWith(attributes ...[]byte) message {
	return appendUpdate(nil, func(b []byte) []byte { return append(b, bytes.Join(attributes, nil)...) })
}

// list is the routes as NLRI.
func list(routes ...table.Route) (b []byte) {
	for i := range routes {
		id := routes[i].ID()
		b = appendNLRI(b, &id, routes[i].VNI, routes[i].Gateway)
	}
	return b
}

func reach(list []byte) []byte {
	return appendAttribute(nil, flagsOptional, bgp.BGP_ATTR_TYPE_MP_REACH_NLRI, append([]byte{0, 25, 70, 4, 10, 255, 0, 1, 0}, list...))
}

var (
	goodOrigin = []byte{0x40, 1, 1, 0}
	goodPath   = []byte{0x40, 2, 0}
	goodPref   = []byte{0x40, 5, 4, 0, 0, 0, 100}
)

// short is a MAC/IP route that ends after the Ethernet tag.
var short = append([]byte{2, 22}, make([]byte, 22)...)

func TestUpdatesAreRead(t *testing.T) {
	a, b := macIP(100, vm1, "", vtep1), macIP(100, intent.MAC{2, 0, 0, 0, 0, 2}, "192.0.2.2", vtep1)
	for _, c := range []struct {
		name      string
		in        message
		announced []table.Key
		withdrawn []table.Key
		lost      int
		fatal     bool
	}{
		{name: "nothing wrong", in: updateWith(goodOrigin, goodPath, goodPref, reach(list(a, b))), announced: []table.Key{a.Key, b.Key}},
		{name: "invalid ORIGIN", in: updateWith([]byte{0x40, 1, 1, 9}, goodPath, goodPref, reach(list(a, b))), withdrawn: []table.Key{a.Key, b.Key}, lost: 2},
		{name: "ORIGIN too long", in: updateWith([]byte{0x40, 1, 2, 0, 0}, goodPath, goodPref, reach(list(a))), withdrawn: []table.Key{a.Key}, lost: 1},
		{name: "no AS_PATH", in: updateWith(goodOrigin, goodPref, reach(list(a))), withdrawn: []table.Key{a.Key}, lost: 1},
		{name: "broken communities", in: updateWith(goodOrigin, goodPath, reach(list(a)), []byte{0xc0, 16, 5, 1, 2, 3, 4, 5}), withdrawn: []table.Key{a.Key}, lost: 1},
		{name: "attribute longer than the UPDATE", in: updateWith(goodOrigin, goodPath, reach(list(a)), []byte{0xc0, 16, 80, 1}), withdrawn: []table.Key{a.Key}, lost: 1},
		{name: "one route too short", in: updateWith(goodOrigin, goodPath, goodPref, reach(append(list(a), append(short, list(b)...)...))),
			announced: []table.Key{a.Key, b.Key}, lost: 1},
		{name: "only a route too short", in: updateWith(goodOrigin, goodPath, goodPref, reach(short)), lost: 1},
		{name: "a route of an unknown type", in: updateWith(goodOrigin, goodPath, goodPref, reach(append([]byte{200, 2, 1, 2}, list(b)...))),
			announced: []table.Key{b.Key}},
		{name: "a withdrawal too short", in: appendWithdraw(nil, append(list(a), short...)), withdrawn: []table.Key{a.Key}, lost: 1},
		{name: "NLRI without proper lengths", in: updateWith(goodOrigin, goodPath, reach(append(list(a), 2, 90, 1))), fatal: true},
		{name: "attributes without proper length", in: func() message {
			m := updateWith(goodOrigin)
			m[headerLen+3] = 200
			return m
		}(), fatal: true},
		{name: "IPv4 routes", in: finish(append(appendHeader(nil, bgp.BGP_MSG_UPDATE), 0, 2, 8, 10, 0, 0), 0), fatal: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := newIntake()
			u, err := in.read(slices.Clone(c.in))
			if c.fatal {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.lost, u.lost)
			require.Equal(t, c.lost > 0, u.cause != nil)
			require.Equal(t, len(u.reach) > 0, u.attrs != nil)
			var announced, withdrawn []table.Key
			for _, x := range u.changes() {
				if x.Withdrawn {
					withdrawn = append(withdrawn, x.Key)
				} else {
					announced = append(announced, x.Key)
				}
			}
			require.Equal(t, c.announced, announced)
			require.Equal(t, c.withdrawn, withdrawn)
		})
	}
}

// newIntake reads for a leaf that has the identifier 10.255.0.1.
func newIntake() *intake {
	return &intake{originator: [4]byte{10, 255, 0, 1}, cluster: [4]byte{192, 0, 2, 250}, lookup: func([]byte) *attributes { return nil }}
}

// changes lists what an UPDATE says, as it is told.
func (u *update) changes() (out []Change) {
	each(u.unreach, func(n nlri) {
		if c, ok := n.withdrawn(); ok {
			out = append(out, c)
		}
	})
	each(u.reach, func(n nlri) {
		c := Change{Route: u.attrs.common()}
		if c.read(n) && u.attrs.vxlan {
			out = append(out, c)
		} else if c, ok := n.withdrawn(); ok {
			out = append(out, c)
		}
	})
	return out
}

func TestGoBGPPanicsWithoutMending(t *testing.T) {
	require.Panics(t, func() {
		m := updateWith(goodOrigin, goodPath, goodPref, reach(short))
		_, _ = bgp.ParseBGPBody(&bgp.BGPHeader{Len: uint16(len(m)), Type: bgp.BGP_MSG_UPDATE}, m.body())
	}, "if this fails, doc.go can be shorter")
}

// Whatever a leaf sends, what is read of it goes on as something that GoBGP reads
// the same.
func FuzzUpdate(f *testing.F) {
	f.Add(updateWith(goodOrigin, goodPath, goodPref, reach(list(macIP(100, vm1, "192.0.2.1", vtep1)))).body())
	f.Add(message(appendRoutes(nil, []table.Route{imet(100, vtep1)})).body())
	f.Add(message(appendRoutes(nil, []table.Route{macIP(100, vm1, "2001:db8::1", vtep2), {Key: table.PrefixKey(netip.MustParsePrefix("192.0.2.128/25")), VNI: 7, VTEP: vtep1}})).body())
	f.Add(message(endOfRIB).body())
	f.Add(updateWith([]byte{0x40, 1, 1, 9}, goodPath, reach(list(imet(1, vtep2)))).body())
	f.Add(updateWith(goodOrigin, goodPath, []byte{0xc0, 99, 1, 5}, []byte{0x80, 98, 1, 5}, []byte{0x80, 10, 4, 1, 2, 3, 4}, reach(list(imet(1, vtep2)))).body())
	f.Add(updateWith(goodOrigin, goodPath, goodPref, []byte{0xc0, 8, 4, 1, 2, 3, 4}, []byte{0xc0, 16, 8, 0, 2, 0, 1, 0, 0, 0, 1}, []byte{0xc0, 22, 9, 0, 6, 0, 0, 1, 10, 0, 0, 1}).body())
	f.Add(appendWithdraw(nil, list(imet(1, vtep2)))[headerLen:])
	f.Add(updateWith(goodOrigin, goodPath, reach(append(append([]byte{1, 25}, make([]byte, 25)...), append([]byte{4, 23, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32}, 10, 0, 0, 1)...))).body())
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > maxMessage-headerLen {
			return
		}
		u, err := newIntake().read(finish(append(appendHeader(nil, bgp.BGP_MSG_UPDATE), body...), 0))
		if err != nil {
			return
		}
		if list, err := split(nil, body); err == nil && plain(list) { // what is taken for good by a glance is
			all, err := judgeAll([]byte{10, 0, 0, 1}, slices.Clone(list))
			require.NoError(t, err)
			require.Equal(t, list, all)
		}
		r := newRIB()
		s := r.source()
		r.start()
		d := r.reader(none-1, true)
		d.next() // from now on it is told of changes
		want := map[table.RouteID]Change{}
		r.mu.Lock()
		each(u.unreach, func(n nlri) { r.withdraw(s, n) })
		each(u.reach, func(n nlri) { r.announce(s, n, u.attrs, false) })
		r.mu.Unlock()
		for _, c := range u.changes() {
			if !c.Withdrawn {
				want[c.ID()] = c
			}
		}
		got := map[table.RouteID]Change{}
		for b, fresh, ended := d.next(); b != nil || ended; b, fresh, ended = d.next() {
			if ended {
				continue
			}
			lists, _ := d.of(b, fresh)
			for _, m := range messages(t, bytes.Join(lists, nil)) {
				p, err := parse(m)
				if err != nil {
					t.Fatalf("GoBGP can't read what goes on: %v: % x", err, m)
				}
				for _, c := range changes(p) {
					if !c.Withdrawn {
						got[c.ID()] = c
					}
				}
			}
		}
		for _, m := range []map[table.RouteID]Change{want, got} { // GoBGP forgets distinguishers of types that it does not know
			maps.DeleteFunc(m, func(id table.RouteID, _ Change) bool { return id.RD[0] != 0 || id.RD[1] > 2 })
		}
		require.Equal(t, want, got)
	})
}

func FuzzOpen(f *testing.F) {
	f.Add(message(openMessage{asn: 65000, id: vtep1, restart: restart{RestartTime: time.Minute}}.encode()).body())
	f.Add(message(openMessage{asn: 4200000000, id: vtep1, restarting: true, restart: restart{RestartTime: time.Minute, StaleTime: time.Hour}}.encode()).body())
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = readOpen(finish(append(appendHeader(nil, bgp.BGP_MSG_OPEN), body...), 0))
	})
}

func TestOpenSaysThatForwardingIsPreserved(t *testing.T) {
	for _, restarting := range []bool{true, false} {
		m := message(openMessage{asn: 4200000000, id: vtep1, hold: holdTime, restarting: restarting, restart: restart{RestartTime: 100 * time.Second, StaleTime: time.Hour}}.encode())
		c, err := readOpen(m)
		require.NoError(t, err)
		require.Equal(t, capabilities{version: 4, hold: holdTime, asn: 4200000000, id: vtep1, family: true, restart: true, restarting: restarting,
			restartTime: 100, lasting: true, staleTime: 3600, fourOctet: true}, c)
		p, err := bgp.ParseBGPMessage(m)
		require.NoError(t, err)
		for _, o := range p.Body.(*bgp.BGPOpen).OptParams[0].(*bgp.OptionParameterCapability).Capability {
			switch o := o.(type) {
			case *bgp.CapGracefulRestart:
				require.Equal(t, uint8(0x80), o.Tuples[0].Flags)
			case *bgp.CapLongLivedGracefulRestart:
				require.Equal(t, uint8(0x80), o.Tuples[0].Flags)
			}
		}
	}
}
