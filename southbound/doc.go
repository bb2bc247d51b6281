// Package southbound defines how the engine and the drivers of edges meet.
//
// A Driver keeps one device at what its Feed says and tells, through Status,
// Programmed and Cursor, what the device confirmed. The feed has two parts: the
// device's local ports, a small set that is compared as a whole, and the
// segment tables, which are read by cursor, so that a change costs what it
// touches whatever the size of the rest. Nothing queues between the two: a
// feed only wakes its driver, which then reads what is there, so that a slow
// device costs no memory.
//
// Drivers live in the packages below: vswitch programs Open vSwitch over ovsdb
// and openflow. frr renders the configuration of switches.
package southbound
