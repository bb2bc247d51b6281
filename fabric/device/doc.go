// Package device has the vendor-neutral desired state of one switch.
//
// A State is a value: fabric.Device makes it from the plan, a driver below
// southbound turns it into what its device understands, and nobody changes it
// in between. Two states are equal when their encodings are, so that a state
// that did not change need not be sent again.
//
// It has only what some stage fills in and some driver uses. VRFs, segments
// with their local ports, gateways and steering policies come as further fields
// of State beside BGP, each a list sorted by name, when a switch carries them.
package device
