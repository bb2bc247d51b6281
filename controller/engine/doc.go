// Package engine runs the controller's core: it loads intent from the store,
// feeds the overlay model, keeps one session with every edge, and computes
// status from what the edges confirmed.
//
// One lock guards the model. The store's watch and the sessions' reports change
// it; sessions read from it by cursor. A change wakes only the sessions that it
// concerns: those of nodes whose local ports changed, and those that carry a
// segment whose table changed. Few wakes go at once, many go one after the other:
// what changes for an edge while its wake waits, 100 ms at most, is one bundle with
// that, and one change of a port still follows another at once.
//
// Sessions start only after the whole intent was loaded, so that nothing is
// taken for surplus because it is not known yet. For the same reason, what a
// device has for the VTEP of an edge that has not reported since the start is
// kept: the devices' own state bridges a restart of the controller, as a
// graceful restart does for BGP (RFC 4724).
//
// Status is computed when asked for: an object is Ready when the devices
// confirmed its present revision. Nothing per port is done or stored for it.
package engine
