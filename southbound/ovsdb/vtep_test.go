package ovsdb

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ovn-org/libovsdb/database/inmemory"
	"github.com/ovn-org/libovsdb/model"
	"github.com/ovn-org/libovsdb/server"
	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/ovsdb/vtepdb"
)

// serveVTEP runs libovsdb's server with a hardware_vtep database.
func serveVTEP(t *testing.T) *VTEPDB {
	m, err := vtepdb.FullDatabaseModel()
	require.NoError(t, err)
	schema := vtepdb.Schema() // without references: else the server collects all rows as garbage
	for name, table := range schema.Tables {
		table.IsRoot = true
		schema.Tables[name] = table
	}
	dm, errs := model.NewDatabaseModel(schema, m)
	require.Empty(t, errs)
	s, err := server.NewOvsdbServer(inmemory.NewDatabase(map[string]model.ClientDBModel{"hardware_vtep": m}), dm)
	require.NoError(t, err)
	path := t.TempDir() + "/db"
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve("unix", path) }()
	t.Cleanup(func() { s.Close(); <-done })
	require.Eventually(t, s.Ready, time.Minute, time.Millisecond)
	c, err := DialVTEP(t.Context(), "unix:"+path)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	w := &transaction{conn: c.Conn}
	w.create(&vtepdb.PhysicalPort{UUID: "p1", Name: "eth1", PortFaultStatus: []string{"unspecified_fault"}},
		&vtepdb.PhysicalPort{UUID: "p2", Name: "eth1"},
		&vtepdb.PhysicalSwitch{UUID: "s1", Name: "tor1", Description: "ToR", TunnelIPs: []string{"10.0.0.1"}, Ports: []string{"p1"}},
		&vtepdb.PhysicalSwitch{UUID: "s2", Name: "tor2", TunnelIPs: []string{"10.0.0.2"}, Ports: []string{"p2"}})
	require.NoError(t, w.err)
	require.NoError(t, c.Transact(t.Context(), w.ops))
	return c
}

var (
	far   = netip.MustParseAddr("10.0.0.7")
	other = netip.MustParseAddr("10.0.0.8")
	vm    = intent.MAC{2, 0, 0, 0, 0, 7}
)

// writtenOps makes a change and counts its operations.
func writtenOps(t *testing.T, c *VTEPDB, ch VTEPChange) (int, *VTEPRows) {
	t.Helper()
	r := c.Rows("tor1")
	ops, err := c.operations(r, &ch)
	require.NoError(t, err)
	require.NoError(t, c.Write(t.Context(), r, &ch))
	return len(ops), c.Rows("tor1")
}

func TestVTEPChangesCostTheirRows(t *testing.T) {
	c := serveVTEP(t)
	r := c.Rows("tor1")
	require.Equal(t, "1.7.0", r.Schema)
	require.Equal(t, map[netip.Addr]string{netip.MustParseAddr("10.0.0.2"): "tor2"}, r.Others)
	require.Equal(t, []string{"unspecified_fault"}, r.Switch.Ports["eth1"].Faults)
	require.Nil(t, c.Rows("nobody").Switch)

	n, r := writtenOps(t, c, VTEPChange{Make: []VTEPLogical{{"weft-100", 100, "source_node"}}, Bind: map[string]map[int]string{r.Switch.Ports["eth1"].UUID: {20: "weft-100"}},
		Ucast: map[VTEPStation]VTEPRemote{{"weft-100", vm}: {VTEP: far, IP: "192.168.0.7"}}, Mcast: map[string]VTEPFlood{"weft-100": {VTEPs: []netip.Addr{far}}}})
	require.Equal(t, 6, n, "logical switch, binding, locator, MAC, locator set, unknown-dst")
	ls := r.Switch.Ports["eth1"].Bindings[20]
	require.Equal(t, VTEPLogical{"weft-100", 100, "source_node"}, r.Logical[ls])
	row := r.Ucast[ls][vm]
	require.Equal(t, VTEPRemote{row.UUID, far, "192.168.0.7"}, row)
	require.Equal(t, []netip.Addr{far}, r.Mcast[ls].VTEPs)

	station := VTEPStation{ls, vm}
	n, _ = writtenOps(t, c, VTEPChange{Ucast: map[VTEPStation]VTEPRemote{{ls, intent.MAC{2, 0, 0, 0, 0, 9}}: {VTEP: far}}})
	require.Equal(t, 1, n, "a MAC at a VTEP that is known")
	n, _ = writtenOps(t, c, VTEPChange{Ucast: map[VTEPStation]VTEPRemote{station: {UUID: row.UUID, VTEP: other}}})
	require.Equal(t, 2, n, "a move, and a locator")
	n, r = writtenOps(t, c, VTEPChange{Ucast: map[VTEPStation]VTEPRemote{station: {UUID: row.UUID, VTEP: far}}})
	require.Equal(t, 1, n, "a move")
	require.Equal(t, VTEPRemote{row.UUID, far, ""}, r.Ucast[ls][vm])
	n, r = writtenOps(t, c, VTEPChange{Mcast: map[string]VTEPFlood{ls: {UUID: r.Mcast[ls].UUID, VTEPs: []netip.Addr{far, other}}}})
	require.Equal(t, 2, n, "a new locator set")
	require.Equal(t, []netip.Addr{far, other}, r.Mcast[ls].VTEPs)
	n, r = writtenOps(t, c, VTEPChange{DropU: []string{row.UUID}})
	require.Equal(t, 1, n)
	require.NotContains(t, r.Ucast[ls], vm)
	_, r = writtenOps(t, c, VTEPChange{Unbind: map[string]map[int]string{r.Switch.Ports["eth1"].UUID: {20: "another"}}})
	require.Equal(t, ls, r.Switch.Ports["eth1"].Bindings[20], "what is bound to another is not unbound")
	require.Zero(t, VTEPChange{}.Rows())
	require.True(t, VTEPChange{}.Empty())
}

// What a switch writes need not make sense.
func TestVTEPRowsOfAnySort(t *testing.T) {
	c := serveVTEP(t)
	key := 5
	w := &transaction{conn: c.Conn}
	w.create(&vtepdb.LogicalSwitch{UUID: "ls", Name: "weft-100", TunnelKey: &key},
		&vtepdb.PhysicalLocator{UUID: "own", EncapsulationType: vxlanLocator, DstIP: "10.0.0.1"},
		&vtepdb.PhysicalLocator{UUID: "keyed", EncapsulationType: vxlanLocator, DstIP: "10.0.0.7", TunnelKey: &key},
		&vtepdb.PhysicalLocator{UUID: "plain", EncapsulationType: vxlanLocator, DstIP: "10.0.0.7"},
		&vtepdb.PhysicalLocator{UUID: "odd", EncapsulationType: vxlanLocator, DstIP: "nowhere"})
	for i, l := range []struct{ mac, ip, at string }{
		{"02:00:00:00:00:01", "192.168.0.1", "own"}, {"02:00:00:00:00:02", "", "own"}, {"02:00:00:00:00:03", "nonsense", "own"},
		{"nonsense", "192.168.0.4", "own"}, {"01:00:5e:00:00:01", "", "own"}, {"02:00:00:00:00:06", "0.0.0.0", "odd"},
	} {
		w.create(&vtepdb.UcastMacsLocal{UUID: string(rune('a' + i)), MAC: l.mac, Ipaddr: l.ip, Locator: l.at, LogicalSwitch: "ls"})
	}
	w.create(&vtepdb.UcastMacsRemote{UUID: "r1", MAC: "02:00:00:00:00:07", Locator: "keyed", LogicalSwitch: "ls"},
		&vtepdb.UcastMacsRemote{UUID: "r2", MAC: "02:00:00:00:00:08", Locator: "plain", LogicalSwitch: "ls"},
		&vtepdb.UcastMacsRemote{UUID: "r3", MAC: "02:00:00:00:00:08", Locator: "odd", LogicalSwitch: "ls"},
		&vtepdb.UcastMacsRemote{UUID: "r4", MAC: "unknown", Locator: "odd", LogicalSwitch: "ls"})
	require.NoError(t, w.err)
	require.NoError(t, c.Transact(t.Context(), w.ops))
	r := c.Rows("tor1")
	require.Len(t, r.Local, 4)
	addresses := map[intent.MAC]netip.Addr{}
	for _, l := range r.Local {
		addresses[l.MAC] = l.IP
	}
	require.Equal(t, map[intent.MAC]netip.Addr{{2, 0, 0, 0, 0, 1}: netip.MustParseAddr("192.168.0.1"), {2, 0, 0, 0, 0, 2}: {}, {2, 0, 0, 0, 0, 3}: {}, {2, 0, 0, 0, 0, 6}: {}}, addresses)
	bad := map[string]string{}
	for _, m := range r.Malformed {
		bad[m.MAC] = m.Words
	}
	require.Equal(t, map[string]string{"02:00:00:00:00:03": `ipaddr "nonsense" is no station's address`, "02:00:00:00:00:06": `ipaddr "0.0.0.0" is no station's address`,
		"nonsense": `"nonsense" is not a MAC address like 02:00:00:00:00:01`, "01:00:5e:00:00:01": `"01:00:5e:00:00:01" is no station's MAC address`}, bad)

	require.Len(t, r.Ucast, 1)
	require.Len(t, r.TwiceU, 1)
	for ls, of := range r.Ucast {
		require.False(t, of[vm].VTEP.IsValid(), "a locator with a key of its own is not ours")
		kept := of[intent.MAC{2, 0, 0, 0, 0, 8}].UUID
		for row, l := range r.TwiceU {
			require.Equal(t, ls, l)
			require.Less(t, kept, row, "every reader keeps the same one")
		}
	}
}

func TestVTEPRefusals(t *testing.T) {
	c := serveVTEP(t)
	r := c.Rows("tor1")
	ch := VTEPChange{Make: []VTEPLogical{{"weft-100", 100, "source_node"}}}
	require.NoError(t, c.Write(t.Context(), r, &ch))
	err := c.Write(t.Context(), r, &ch)
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorIs(t, err, ErrConflict, "its name is taken by now")
	c.Close()
	err = c.Write(t.Context(), r, &ch)
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrRefused)
	_, err = DialVTEP(t.Context(), "ssl:10.0.0.1:1")
	require.ErrorContains(t, err, "use tcp:ADDRESS:PORT or unix:/PATH")
}
