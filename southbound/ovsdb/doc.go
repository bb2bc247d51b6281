// Package ovsdb speaks the Open vSwitch database protocol (RFC 7047).
//
// A hypervisor's database is followed by a client of our own (wire.go, tables.go,
// columns.go): there is one connection for each hypervisor, and libovsdb needs
// 1.5 MB for it and 8 KB for each interface, where this needs 15 KB and half a
// kilobyte. It knows the five tables of a VSwitch and the differences of
// ovsdb-server(7), monitor_cond and update2. Databases of hardware VTEPs, of
// which there are few and with more tables, are followed by libovsdb (Conn).
// This is the only package that imports it.
//
// Neither connection is mended when it breaks: a new one is made, so that
// what is in memory is never older than the connection, and nothing has to be
// guessed from a client that says it is connected while it is not. A server
// that falls silent is noticed by echoes; what is not RFC 7047 ends the
// connection, and says why.
//
// VSwitch keeps the rows of one hypervisor's bridge: the bridge itself with
// fail_mode=secure (a controller that is away changes no flow), one VXLAN port
// whose flows choose remote and key, and an OpenFlow listener.
//
// # Own marks
//
// Rows that we made carry external_ids:weft-owner. The bridge may be an
// installer's: then it is used as it is but for fail_mode and OpenFlow15 among
// its protocols. A port that has the tunnel's name without the mark is taken
// when it is what we would make, and else reported and left alone. Listeners
// of ours with another target are removed, other controllers stay. No other
// row or column is written.
//
// # Order and restart
//
// What differs is written in one transaction; where all is in place, as after
// a controller's restart, nothing is. What another program changed is mended
// at once and reported; changes that come back again and again are mended more
// and more slowly.
package ovsdb
