// Package ovsdb speaks the Open vSwitch database protocol (RFC 7047) by
// libovsdb; it is the only package that imports it.
//
// Conn is one connection to one database, with its tables in memory. It is not
// mended when it breaks: a new one is made, so that what is in memory is never
// older than the connection. A silent server is noticed by echoes.
//
// VSwitch keeps the rows of one hypervisor's bridge: the bridge itself with
// fail_mode=secure (a controller that is away changes no flow), one VXLAN port
// whose flows choose remote and key, and an OpenFlow listener. It writes only
// what differs and touches no other row; its rows carry
// external_ids:weft-owner.
package ovsdb
