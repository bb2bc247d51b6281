package southbound

import (
	"context"
	"fmt"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// Feed is what a driver reads and whom it tells. Its methods may be called
// from any goroutine.
type Feed interface {
	// Wake receives after something that concerns the device changed.
	Wake() <-chan struct{}
	// Behind tells a driver that has the rows of segments up to some cursors
	// which of the segments have newer ones, in no order, and the revision of
	// what Local returns: it rises with each change.
	Behind(cursors map[intent.VNI]evpn.Revision) (local uint64, newer []intent.VNI)
	// Local returns the ports that the device must serve now, in a map that is
	// shared and never changes.
	Local() map[intent.Ref]overlay.LocalPort
	// Rows returns the rows of a segment that changed after since, and the
	// segment's revision; deleted rows come as tombstones.
	Rows(vni intent.VNI, since evpn.Revision) ([]evpn.Row, evpn.Revision)
	// Colouring says at which of their addresses VTEPs are sent unicast frames. It is
	// the same pointer while nothing of it changes; Wake receives when it does.
	Colouring() *overlay.Colouring
	// Unreported returns the VTEPs of edges that have not reported since the
	// controller started. What a device has for them must be kept. With await,
	// Wake receives when one of them has reported; else only when all have.
	Unreported(await bool) overlay.Away
	// Observe tells the interfaces that the device has now.
	Observe([]overlay.Interface)
	// Learned tells the stations that the device has learned from traffic now.
	Learned([]overlay.Learned)
	// Announced tells that a port in standby has spoken on the interface: it
	// is there now.
	Announced(iface string)
	// Alarm raises an alarm, or with an empty message ends it. The same alarm
	// raised again is counted, not repeated.
	Alarm(key AlarmKey, message string)
	// Confirmed tells that Status, Programmed or Cursor changed.
	Confirmed()
	// Event tells what was found on the device and what was done about it.
	Event(Event)
}

// Driver keeps one device at what its feed says.
type Driver interface {
	// Run works until ctx ends. It reconnects by itself and returns only
	// ctx's error.
	Run(ctx context.Context) error
	// Status says how the device is.
	Status() Status
	// Programmed returns a local port as the device confirmed it.
	Programmed(port intent.Ref) (overlay.LocalPort, bool)
	// Cursor returns the revision of a segment up to which the device
	// confirmed the rows; ok is false when it does not carry the segment.
	Cursor(vni intent.VNI) (rev evpn.Revision, ok bool)
	// Cursors returns all cursors.
	Cursors() map[intent.VNI]evpn.Revision
	// Withdraw takes everything of ours from the device; it is called instead
	// of Run once the device left the intent.
	Withdraw(ctx context.Context) error
}

// Status is how a device is, from what it says itself.
type Status struct {
	// Err is why the device is not in sync, nil when it is. It is an *OpError.
	Err      *OpError
	Since    time.Time // of the present state
	Software string    // and version, as the device reports it
	Flows    int       // our flows at the last reading of the device
	Synced   bool      // the device was read and is as the feed said
}

// Codes of OpError.
const (
	CodeUnreachable = "Unreachable" // no connection
	CodeNotReady    = "NotReady"    // connected, but a part is missing there
	CodeRefused     = "Refused"     // the device refused what was sent
)

// OpError is a failed operation on a device.
type OpError struct {
	Device string
	Op     string // what was tried: "connect to OVSDB tcp:10.0.0.1:6640"
	Code   string
	Action string // what a person can do about it
	Err    error  // the device's own words
}

// Error is a sentence that names device and operation.
func (e *OpError) Error() string { return fmt.Sprintf("%s: %s: %v", e.Device, e.Op, e.Err) }

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

// Severity grades events.
type Severity string

// Severities.
const (
	Normal  Severity = "Normal"
	Warning Severity = "Warning"
)

// Event is something that happened to a device or object.
type Event struct {
	Time     time.Time
	Severity Severity
	Device   string
	Object   string // a Ref in words, may be empty
	Reason   string // one word for programs
	Message  string
}

// AlarmKey says what an alarm is about.
type AlarmKey struct {
	Reason string // one word for programs: DuplicateMAC, VLANTaken
	Object string // what is concerned, in words: "VNI 100 MAC 02:00:00:00:00:01"
}

// Reasons of alarms that several drivers have.
const (
	AlarmDuplicateMAC = "DuplicateMAC" // a MAC moves back and forth (RFC 7432 section 15.1)
	AlarmSpoofing     = "Spoofing"     // an edge announces what is another port's
	AlarmUnknownVNI   = "UnknownVNI"   // a route for a VNI that no network has
	AlarmMalformed    = "Malformed"    // an UPDATE that could not be read (RFC 7606)
	AlarmSession      = "Session"      // a BGP session that the peer refuses
	AlarmVLANTaken    = "VLANTaken"    // a VLAN of a switch's port is bound by someone else
	AlarmCapability   = "Capability"   // the device can't do what the network needs
	AlarmRogueServer  = "RogueServer"  // a port plays DHCP server or router
	AlarmRequestFlood = "RequestFlood" // a port asks for DHCP or routers without end
	AlarmPeerDown     = "PeerDown"     // a border's BGP session with a router outside
	AlarmDeclined     = "Declined"     // a station found its address in use by another
)
