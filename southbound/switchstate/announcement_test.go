package switchstate

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnnouncementsAreChecked(t *testing.T) {
	good := func() *Announcement {
		return &Announcement{Serial: "FOX2219", Ports: []Port{{Name: "eth1", Neighbours: []Neighbour{{Device: "spine1", Port: "eth2"}}}, {Name: "eth2"}}}
	}
	require.NoError(t, good().Check())
	for want, spoil := range map[string]func(*Announcement){
		"serial: has 0 characters: a serial number has 1 to 128":        func(a *Announcement) { a.Serial = "" },
		"serial: has 129 characters: a serial number has 1 to 128":      func(a *Announcement) { a.Serial = strings.Repeat("x", 129) },
		"use printable ASCII without spaces":                            func(a *Announcement) { a.Serial = "a b" },
		`ports[0].name: "" is no name of a port`:                        func(a *Announcement) { a.Ports[0].Name = "" },
		"ports[1].name: eth1 is there twice":                            func(a *Announcement) { a.Ports[1].Name = "eth1" },
		"ports[1].neighbours: has 17, more than 16":                     func(a *Announcement) { a.Ports[1].Neighbours = make([]Neighbour, 17) },
		`ports[0].neighbours: "a\x1b[2J", port "eth2", is no neighbour`: func(a *Announcement) { a.Ports[0].Neighbours[0].Device = "a\x1b[2J" },
	} {
		a := good()
		spoil(a)
		require.ErrorContains(t, a.Check(), want)
	}
}
