package ovsdb

import (
	"context"
	"net/netip"
	"strings"

	"github.com/ovn-org/libovsdb/model"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/ovsdb/vtepdb"
)

// unknownDst is the MAC under which the switch looks for where to send frames
// to all and to unknown stations.
const unknownDst = "unknown-dst"

// vxlanLocator is the only encapsulation that the schema knows.
var vxlanLocator = vtepdb.PhysicalLocatorEncapsulationTypeVxlanOverIpv4

// VTEPDB is one connection to a hardware_vtep database (vtep(5)).
type VTEPDB struct {
	*Conn
	plain bool // the schema has no replication_mode (before 1.6)
	noACL bool // the schema has no ACLs
}

// plainLogicalSwitch is a row of Logical_Switch in a schema that has no
// replication_mode.
type plainLogicalSwitch struct {
	UUID        string `ovsdb:"_uuid"`
	Description string `ovsdb:"description"`
	Name        string `ovsdb:"name"`
	TunnelKey   *int   `ovsdb:"tunnel_key"`
}

// DialVTEP connects and reads the database.
func DialVTEP(ctx context.Context, endpoint string) (*VTEPDB, error) {
	models := map[string]model.Model{
		vtepdb.PhysicalSwitchTable: &vtepdb.PhysicalSwitch{}, vtepdb.PhysicalPortTable: &vtepdb.PhysicalPort{}, vtepdb.TunnelTable: &vtepdb.Tunnel{},
		vtepdb.LogicalSwitchTable: &vtepdb.LogicalSwitch{}, vtepdb.UcastMacsLocalTable: &vtepdb.UcastMacsLocal{},
		vtepdb.UcastMacsRemoteTable: &vtepdb.UcastMacsRemote{}, vtepdb.McastMacsRemoteTable: &vtepdb.McastMacsRemote{},
		vtepdb.PhysicalLocatorSetTable: &vtepdb.PhysicalLocatorSet{}, vtepdb.PhysicalLocatorTable: &vtepdb.PhysicalLocator{},
		vtepdb.ACLTable: &vtepdb.ACL{}, vtepdb.ACLentryTable: &vtepdb.ACLentry{},
	}
	db := &VTEPDB{}
	for {
		c, err := Dial(ctx, endpoint, "hardware_vtep", models)
		switch {
		case err == nil:
			db.Conn = c
			return db, nil
		case !db.plain && strings.Contains(err.Error(), "ovs tag replication_mode: Column does not exist"):
			db.plain = true
			models[vtepdb.LogicalSwitchTable] = &plainLogicalSwitch{}
		case !db.noACL && lacksACLs(err):
			db.noACL = true
			delete(models, vtepdb.ACLTable)
			delete(models, vtepdb.ACLentryTable)
			models[vtepdb.PhysicalPortTable] = &plainPhysicalPort{}
		default:
			return nil, err
		}
	}
}

// lacksACLs reports whether a schema can't be used since it has no ACLs.
func lacksACLs(err error) bool {
	s := err.Error()
	return strings.Contains(s, "acl_bindings: Column does not exist") || strings.Contains(s, "table "+vtepdb.ACLTable+" that does not exist") ||
		strings.Contains(s, "table "+vtepdb.ACLentryTable+" that does not exist")
}

// VTEPRows are the rows of the database as one switch's driver needs them. Rows
// are named by UUID.
type VTEPRows struct {
	Schema  string                 // its version
	Plain   bool                   // logical switches have no replication mode
	Switch  *VTEPSwitch            // nil when there is none of that name
	Others  map[netip.Addr]string  // tunnel addresses of the other switches of the database, and their names
	Bound   map[string][]string    // logical switch -> other switches that have a port bound to it, sorted
	Logical map[string]VTEPLogical // logical switches
	NoACLs  bool                   // the schema has none
	ACLs    map[string]VTEPACL
	// ACLsBound are the ACLs that a port of another switch is bound to.
	ACLsBound map[string]bool
	// LooseEntries are entries that no ACL has, by UUID.
	LooseEntries map[string]VTEPEntry
	Ucast        map[string]map[intent.MAC]VTEPRemote // Ucast_Macs_Remote, by logical switch
	Mcast        map[string]VTEPFlood                 // unknown-dst in Mcast_Macs_Remote, by logical switch
	// TwiceU and TwiceM are more rows for what has one: UUID -> logical switch.
	TwiceU, TwiceM map[string]string
	Local          []VTEPLocal
	Malformed      []VTEPMalformed
	Tunnels        []VTEPTunnel

	locators map[netip.Addr]string // those that name no key of their own
}

// VTEPSwitch is a Physical_Switch.
type VTEPSwitch struct {
	UUID        string
	Description string
	TunnelIPs   []string
	Faults      []string
	Ports       map[string]VTEPPort // by name
}

// VTEPPort is a Physical_Port.
type VTEPPort struct {
	UUID     string
	Bindings map[int]string // VLAN, 0 for untagged -> logical switch
	ACLs     map[int]string // VLAN, 0 for the whole port -> ACL
	Faults   []string
}

// VTEPLogical is a Logical_Switch.
type VTEPLogical struct {
	Name        string
	Key         int // tunnel key; 0 for none
	Replication string
}

// VTEPStation is a MAC on a logical switch.
type VTEPStation struct {
	Logical string // UUID
	MAC     intent.MAC
}

// VTEPRemote is a row of Ucast_Macs_Remote.
type VTEPRemote struct {
	UUID string
	VTEP netip.Addr // invalid when the locator is none that could be ours
	IP   string     // as it is there
}

// VTEPFlood is a row of Mcast_Macs_Remote.
type VTEPFlood struct {
	UUID  string
	VTEPs []netip.Addr // sorted
}

// VTEPLocal is a station that a switch learned.
type VTEPLocal struct {
	VTEPStation
	IP   netip.Addr // invalid when not known
	VTEP netip.Addr // of the switch
}

// VTEPMalformed is a learned station of which something can't be read.
type VTEPMalformed struct {
	Logical string // UUID
	MAC     string // as it is there
	VTEP    netip.Addr
	Words   string // what can't be read
}

// VTEPTunnel is a tunnel of the switch.
type VTEPTunnel struct {
	Remote  netip.Addr
	Enabled bool // BFD watches it (RFC 5880)
	Down    bool
	Words   string // the switch's, about its state
}
