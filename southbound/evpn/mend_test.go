package evpn

import (
	"bytes"
	"testing"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	table "github.com/weft-sdn/weft/overlay/evpn"
)

// updateWith is an UPDATE with path attributes as given.
func updateWith(attributes ...[]byte) message {
	return appendUpdate(nil, func(b []byte) []byte { return append(b, bytes.Join(attributes, nil)...) })
}

// nlri is the routes as NLRI.
func nlri(routes ...table.Route) (b []byte) {
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

func TestMend(t *testing.T) {
	a, b := macIP(100, vm1, "", vtep1), macIP(100, intent.MAC{2, 0, 0, 0, 0, 2}, "192.0.2.2", vtep1)
	for _, c := range []struct {
		name      string
		in        message
		announced []table.Key
		withdrawn []table.Key
		lost      int
		fatal     bool
	}{
		{name: "nothing wrong", in: updateWith(goodOrigin, goodPath, goodPref, reach(nlri(a, b))), announced: []table.Key{a.Key, b.Key}},
		{name: "invalid ORIGIN", in: updateWith([]byte{0x40, 1, 1, 9}, goodPath, goodPref, reach(nlri(a, b))), withdrawn: []table.Key{a.Key, b.Key}, lost: 2},
		{name: "ORIGIN too long", in: updateWith([]byte{0x40, 1, 2, 0, 0}, goodPath, goodPref, reach(nlri(a))), withdrawn: []table.Key{a.Key}, lost: 1},
		{name: "no AS_PATH", in: updateWith(goodOrigin, goodPref, reach(nlri(a))), withdrawn: []table.Key{a.Key}, lost: 1},
		{name: "broken communities", in: updateWith(goodOrigin, goodPath, reach(nlri(a)), []byte{0xc0, 16, 5, 1, 2, 3, 4, 5}), withdrawn: []table.Key{a.Key}, lost: 1},
		{name: "attribute longer than the UPDATE", in: updateWith(goodOrigin, goodPath, reach(nlri(a)), []byte{0xc0, 16, 80, 1}), withdrawn: []table.Key{a.Key}, lost: 1},
		{name: "one route too short", in: updateWith(goodOrigin, goodPath, goodPref, reach(append(nlri(a), append(short, nlri(b)...)...))),
			announced: []table.Key{a.Key, b.Key}, lost: 1},
		{name: "only a route too short", in: updateWith(goodOrigin, goodPath, goodPref, reach(short)), lost: 1},
		{name: "a route of an unknown type", in: updateWith(goodOrigin, goodPath, goodPref, reach(append([]byte{200, 2, 1, 2}, nlri(b)...))),
			announced: []table.Key{b.Key}},
		{name: "a withdrawal too short", in: appendWithdraw(nil, append(nlri(a), short...)), withdrawn: []table.Key{a.Key}, lost: 1},
		{name: "NLRI without proper lengths", in: updateWith(goodOrigin, goodPath, reach(append(nlri(a), 2, 90, 1))), fatal: true},
		{name: "attributes without proper length", in: func() message {
			m := updateWith(goodOrigin)
			m[headerLen+3] = 200
			return m
		}(), fatal: true},
		{name: "IPv4 routes", in: finish(append(appendHeader(nil, bgp.BGP_MSG_UPDATE), 0, 2, 8, 10, 0, 0), 0), fatal: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := mend(c.in)
			if c.fatal {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.lost, u.lost)
			require.Equal(t, c.lost > 0, u.cause != nil)
			var announced, withdrawn []table.Key
			if u.body != nil {
				for _, x := range changes(u.body) {
					if x.Withdrawn {
						withdrawn = append(withdrawn, x.Key)
					} else {
						announced = append(announced, x.Key)
					}
				}
			}
			require.Equal(t, c.announced, announced)
			require.Equal(t, c.withdrawn, withdrawn)
		})
	}
}

func TestGoBGPPanicsWithoutMending(t *testing.T) {
	require.Panics(t, func() {
		m := updateWith(goodOrigin, goodPath, goodPref, reach(short))
		_, _ = bgp.ParseBGPBody(&bgp.BGPHeader{Len: uint16(len(m)), Type: bgp.BGP_MSG_UPDATE}, m.body())
	}, "if this fails, doc.go can be shorter")
}

// Whatever a leaf sends, what GoBGP gets can be read.
func FuzzMend(f *testing.F) {
	f.Add(updateWith(goodOrigin, goodPath, goodPref, reach(nlri(macIP(100, vm1, "192.0.2.1", vtep1)))).body())
	f.Add(message(appendRoutes(nil, []table.Route{imet(100, vtep1)})).body())
	f.Add(message(endOfRIB).body())
	f.Add(updateWith([]byte{0x40, 1, 1, 9}, goodPath, reach(nlri(imet(1, vtep2)))).body())
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > maxMessage-headerLen {
			return
		}
		u, err := mend(finish(append(appendHeader(nil, bgp.BGP_MSG_UPDATE), body...), 0))
		if err != nil || len(u.wire) == 0 {
			return
		}
		p, err := bgp.ParseBGPBody(&bgp.BGPHeader{Len: uint16(len(u.wire)), Type: bgp.BGP_MSG_UPDATE}, u.wire.body())
		if err != nil && !discarded(err) {
			t.Fatal(err)
		}
		changes(p.Body.(*bgp.BGPUpdate))
		isEndOfRIB(u.wire)
	})
}

func FuzzOpen(f *testing.F) {
	f.Add(message(originOpen(65000)).body())
	f.Add(message(originOpen(4200000000)).body())
	f.Fuzz(func(t *testing.T, body []byte) {
		m := message(finish(append(appendHeader(nil, bgp.BGP_MSG_OPEN), body...), 0))
		_, _ = readOpen(m)
		_ = preserve(m, true)
	})
}

func TestOpenSaysThatForwardingIsPreserved(t *testing.T) {
	m := message(originOpen(4200000000))
	require.NoError(t, preserve(m, true))
	c, err := readOpen(m)
	require.NoError(t, err)
	require.True(t, c.restarting && c.restart && c.family)
	require.Equal(t, uint32(4200000000), c.asn)
	require.Equal(t, originRouter, c.id.String())
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
	require.NoError(t, preserve(m, false))
	c, err = readOpen(m)
	require.NoError(t, err)
	require.False(t, c.restarting)
}
