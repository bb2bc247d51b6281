package client

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Problem is an error as the controller tells it: RFC 9457 problem details
// with the faults of single fields.
type Problem struct {
	Type     string         `json:"type" doc:"Path that names the kind of problem, such as /problems/conflict" example:"/problems/conflict"`
	Title    string         `json:"title" doc:"The kind of problem in words; the same each time"`
	Status   int            `json:"status" doc:"HTTP status"`
	Detail   string         `json:"detail,omitempty" doc:"What happened, in a sentence that names the object and the field"`
	Instance string         `json:"instance,omitempty" doc:"Path that was asked for"`
	Errors   []ProblemField `json:"errors,omitempty" doc:"One entry for each field at fault"`
	// Users and Reasons belong to single types of problem.
	Users   []intent.Ref    `json:"users,omitempty" doc:"in-use: the first objects that name it; orphans: the first ports that would be cut off"`
	Reasons []intent.Reason `json:"reasons,omitempty" doc:"not-applied: why the object is not Ready"`
}

// ProblemField is a fault in one field.
type ProblemField struct {
	Location string `json:"location,omitempty" doc:"Where: body, path, query or header" example:"body"`
	Field    string `json:"field,omitempty" doc:"JSON path in the object, or name of the parameter" example:"spec.vni"`
	Message  string `json:"message" doc:"What is wrong with it"`
}

// Error is the sentence.
func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}

// Is finds the causes that agents act upon.
func (p *Problem) Is(target error) bool {
	return target == switchstate.ErrNoNode && p.Type == TypeNotFound || target == switchstate.ErrRefused && p.Type == TypeToken
}

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is application/problem+json.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// Types of problems.
const (
	TypeMalformed    = "/problems/malformed"          // 400: the body or a token can't be read
	TypeNotFound     = "/problems/not-found"          // 404
	TypeMethod       = "/problems/method-not-allowed" // 405
	TypeConflict     = "/problems/conflict"           // 409: another object has the value
	TypeInUse        = "/problems/in-use"             // 409: other objects name it
	TypeOrphans      = "/problems/orphans"            // 409: ports would be cut off, or leaves have no way
	TypeBusy         = "/problems/busy"               // 409: lost too many races; try again
	TypeExpired      = "/problems/expired"            // 410: list or watch anew
	TypePrecondition = "/problems/precondition"       // 412: If-Match or If-None-Match
	TypeTooLarge     = "/problems/too-large"          // 413
	TypeMedia        = "/problems/media-type"         // 415
	TypeInvalid      = "/problems/invalid"            // 422: fields at fault
	TypeInternal     = "/problems/internal"           // 500
	TypeBroken       = "/problems/broken"             // 500: what is stored can't be read: write it again, or delete it
	TypeFull         = "/problems/full"               // 507: the store is over its quota
	TypeUnavailable  = "/problems/unavailable"        // 503: the store is away
	TypeNotApplied   = "/problems/not-applied"        // 504: not Ready in time
)

// Health is the answer of the health checks.
type Health struct {
	Status   string   `json:"status" doc:"alive or ready"`
	Revision int64    `json:"revision,omitempty" doc:"Store revision"`
	Problems []string `json:"problems,omitempty" doc:"What is wrong beside that, and what to do about it"`
}

// Action tells what a Put did.
type Action string

// Actions.
const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
)

// WarningHeader carries each warning in the answer to a PUT.
const WarningHeader = "Weft-Warning"

// ActionHeader carries the Action in the answer to a PUT.
const ActionHeader = "Weft-Action"

// List is one page of a collection.
type List[T any] struct {
	Kind      string `json:"kind" doc:"Kind of the items with List after it" example:"PortList"`
	Items     []T    `json:"items" nullable:"false"`
	Revision  int64  `json:"revision" doc:"Store revision that all pages show; watch from here"`
	Continue  string `json:"continue,omitempty" doc:"Give it as ?continue= for the next page; left out on the last one"`
	Remaining int64  `json:"remaining,omitempty" doc:"How many objects follow, before selectors"`
	// Broken tells of stored objects of this page that can't be read.
	Broken []string `json:"broken,omitempty" doc:"What is stored of this kind and can't be read: which, why and what to do"`
}

// MaxApply is how many objects one Apply may have.
const MaxApply = 1000

// Apply is the body that writes many objects.
type Apply struct {
	Items []json.RawMessage `json:"items" nullable:"false" doc:"Objects, each with kind and metadata"`
}

// Applied is the answer to it: what was done with each, in their order.
type Applied struct {
	Items []AppliedItem `json:"items" nullable:"false"`
}

// AppliedItem tells what was done with one object, or why nothing was.
type AppliedItem struct {
	Ref      intent.Ref `json:"ref"`
	Action   Action     `json:"action,omitempty" enum:"created,configured,unchanged" doc:"What was done"`
	Revision int64      `json:"revision,omitempty" doc:"The object's revision"`
	Problem  *Problem   `json:"problem,omitempty" doc:"Why it was refused"`
}

// Deleted is the answer to a DELETE.
type Deleted struct {
	Deleted  []intent.Ref `json:"deleted" nullable:"false" doc:"What was deleted: dependents first, the object itself last"`
	Revision int64        `json:"revision" doc:"Store revision after it"`
}

// WatchEvent is the data of an event in a watch. Its object has no status: GET
// the object for that.
type WatchEvent struct {
	Type     string          `json:"type" enum:"put,delete" doc:"put or delete"`
	Ref      intent.Ref      `json:"ref"`
	Object   json.RawMessage `json:"object,omitempty" doc:"The object; left out for delete"`
	Revision int64           `json:"revision"`
}

// Event is something that happened to a device or an object.
type Event struct {
	Time     time.Time `json:"time"`
	Severity string    `json:"severity" doc:"Normal or Warning"`
	Device   string    `json:"device,omitempty"`
	Object   string    `json:"object,omitempty" doc:"Kind and name"`
	Reason   string    `json:"reason" doc:"One word for programs"`
	Message  string    `json:"message"`
}

// Events are the newest events, oldest first; older ones are forgotten.
type Events struct {
	Items []Event `json:"items" nullable:"false"`
}

// Version says what the controller is.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go,omitempty"`
	API     string `json:"api" example:"weft/v1"`
}

// Path is an object's path under the server's root.
func Path(r intent.Ref) string {
	if r.Kind.Tenanted() {
		return "/v1/tenants/" + url.PathEscape(r.Tenant) + "/" + r.Kind.Plural() + "/" + url.PathEscape(r.Name)
	}
	return "/v1/" + r.Kind.Plural() + "/" + url.PathEscape(r.Name)
}

// decode reads an object of a kind.
func decode(k intent.Kind, b []byte) (intent.Object, error) {
	o, err := intent.New(k)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, o); err != nil {
		return nil, fmt.Errorf("the controller's answer is no %s: %w", strings.ToLower(string(k)), err)
	}
	return o, nil
}

// Alarm is a state that a person must look at. It lasts until its cause is gone
// or, where that can't be seen, until it is cleared.
type Alarm struct {
	ID      string    `json:"id" doc:"Short name, to clear the alarm by"`
	Device  string    `json:"device" doc:"Device that caused it"`
	Reason  string    `json:"reason" doc:"One word for programs: DuplicateMAC, Spoofing, UnknownVNI, Malformed, Session, VLANTaken, KeyTaken, Capability, SwitchFault, TunnelDown, Unreachable, NotReady, Refused, BrokenObject"`
	Object  string    `json:"object" doc:"What is concerned"`
	Message string    `json:"message" doc:"What happened and what to do"`
	Since   time.Time `json:"since" doc:"First raised"`
	Last    time.Time `json:"last" doc:"Last raised again"`
	Count   int       `json:"count" doc:"Times raised"`
}

// Alarms are all alarms, the oldest first.
type Alarms struct {
	Items []Alarm `json:"items" nullable:"false"`
}

// Route is a path of a route in a network's segment table.
type Route struct {
	Type      string       `json:"type" doc:"EVPN route type: IMET, MAC/IP or prefix"`
	MAC       string       `json:"mac,omitempty" doc:"Station; of MAC/IP routes"`
	IP        netip.Addr   `json:"ip,omitzero" doc:"Its address; left out for the MAC-only route by which edges forward. Of an IMET route the VTEP that floods"`
	Prefix    netip.Prefix `json:"prefix,omitzero" doc:"Destination; of prefix routes"`
	L2VNI     intent.VNI   `json:"l2vni,omitempty" doc:"In the table of an L3VNI, the network that the station is on"`
	RouterMAC string       `json:"routerMAC,omitempty" doc:"MAC by which the VTEP routes (RFC 9135 section 5); without it the station is bridged to"`
	VTEP      netip.Addr   `json:"vtep" doc:"Next hop"`
	Node      string       `json:"node,omitempty" doc:"Node that has the VTEP"`
	Origin    string       `json:"origin" doc:"port: a port of the intent, where its edge has it; learned: by an edge from traffic; bgp: announced by an EVPN leaf; fabric: announced by another fabric" enum:"port,learned,bgp,fabric"`
	Source    string       `json:"source" doc:"Who states the path: the node, and the port or the leaf's route distinguisher"`
	Best      bool         `json:"best" doc:"The path in use"`
	Sequence  uint32       `json:"sequence" doc:"MAC mobility sequence number (RFC 7432 section 7.7)"`
	Sticky    bool         `json:"sticky,omitempty" doc:"Static MAC (RFC 7432 section 15.2)"`
	Revision  uint64       `json:"revision" doc:"Revision of the segment at the route's last change"`
}

// Routes is the table of a VNI: IMET routes first, then by MAC and
// address, the best path first.
type Routes struct {
	VNI   intent.VNI `json:"vni"`
	Items []Route    `json:"items" nullable:"false"`
}

// SwitchReported is the answer to a report of a switch's ports.
type SwitchReported struct {
	Leaf bool `json:"leaf" doc:"The switch is an EVPN leaf that the controller serves: its agent asks for its state, too"`
}

// Switch is what a switch's agent reported last.
type Switch struct {
	Node  string             `json:"node"`
	Since time.Time          `json:"since" doc:"When that was"`
	Ports []switchstate.Port `json:"ports" nullable:"false"`
}

// CablingFault is what is wrong with a cable.
type CablingFault struct {
	Kind    string    `json:"kind" doc:"Miswired, Missing, OneWay, Extra, Claimed, WrongMTU or Unequal"`
	Link    string    `json:"link" doc:"The two ends"`
	Message string    `json:"message" doc:"What is wrong and what to do"`
	Since   time.Time `json:"since"`
}

// Cabling is how the intended links are wired, as far as switches report.
type Cabling struct {
	Links   int            `json:"links" doc:"Links of the intent"`
	Unheard []string       `json:"unheard,omitempty" doc:"Switches whose agents have not reported since the controller started"`
	Silent  []string       `json:"silent,omitempty" doc:"Switches whose agents reported and do no longer"`
	Faults  []CablingFault `json:"faults" nullable:"false"`
}

// Reported is the answer to an agent's report.
type Reported struct {
	Full bool `json:"full" doc:"The controller knows nothing of the leaf yet: send a full report"`
}
