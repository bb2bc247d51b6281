// Package openflow speaks OpenFlow 1.5 (ONF TS-025) to Open vSwitch: an encoder
// and decoder for the part of the protocol that Weft uses, with the Open
// vSwitch extensions (NXM registers and tunnel fields, ND option fields,
// resubmission), and a connection with atomic bundles, flow dumps, a flow
// monitor, packets in both directions and meters.
//
// A Match is kept in a canonical encoding: fields in the order of their OXM
// headers, which is also an order in which every prerequisite comes first, and
// registers in pairs as OXM packet registers, as Open vSwitch returns them. So
// the bytes of a match or of instructions that were sent equal those that a
// dump returns, and bytes can be compared and used as map keys.
//
// Only version 1.5 is offered in the hello; a switch that does not speak it is
// refused with a sentence.
package openflow
