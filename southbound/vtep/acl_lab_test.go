//go:build lab

package vtep

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
)

// judge gives the ports of a VNI ACLs.
func (f *feed) judge(v intent.VNI, n *overlay.NetworkACLs) {
	f.change(func() {
		for r, l := range f.local {
			if l.VNI == v {
				l.ACLs = n
				f.local[r] = l
			}
		}
	})
}

// entries are those of an ACL as the database has them, in their order.
func (s *server) entries() string {
	return s.table("ACL_entry", "sequence,direction,action,source_ip,source_mask,dest_ip,dest_mask,protocol,source_port_min,source_port_max,dest_port_min,dest_port_max,icmp_type,icmp_code")
}

// The ACLs of networks in a real database: made together with the binding, found
// right by the next controller, mended, changed by what differs, and gone with the
// last port.
func TestACLsInADatabase(t *testing.T) {
	s, tb, r := bed(t)
	require.Zero(t, s.count("ACL"))
	n := acls(nil, acl("edge", tcp80, ssh))
	r.judge(200, n)
	r.synced()
	require.Equal(t, "weft-200", s.table("ACL", "acl_name"))
	require.Equal(t, len(aclEntries(n)), s.count("ACL_entry"))
	bound := func(iface string) string { return s.ctl("get", "Physical_Port", iface, "acl_bindings") }
	acl200 := s.ctl("--no-heading", "--format=csv", "--columns=_uuid", "list", "ACL")
	require.Equal(t, "{20="+acl200+"}", bound("eth2"))
	require.Equal(t, "{}", bound("eth1"))
	for _, want := range []string{
		"1,ingress,permit,192.168.0.0,255.255.255.0,192.168.0.0,255.255.255.0,[],[],[],[],[],[],[]",
		"7,ingress,permit,::,::,::,::,58,[],[],[],[],135,[]",
		"9,ingress,deny,192.168.0.0,255.255.255.0,0.0.0.0,0.0.0.0,[],[],[],[],[],[],[]",
		"18,egress,permit,0.0.0.0,0.0.0.0,192.168.0.0,255.255.255.0,6,[],[],80,80,[],[]",
		"19,egress,deny,10.0.0.0,255.0.0.0,192.168.0.0,255.255.255.0,6,[],[],22,22,[],[]",
		"20,egress,deny,0.0.0.0,0.0.0.0,192.168.0.0,255.255.255.0,[],[],[],[],[],[],[]",
	} {
		require.Contains(t, strings.Split(s.entries(), "\n"), want)
	}
	require.Equal(t, len(aclEntries(n)), strings.Count(s.entries(), "\n")+1)

	// The next controller writes nothing.
	r.stop()
	before := s.written()
	r = start(t, node("tor1", ip(1), s.db()), tb, plugged, func(f *feed) { f.judge(200, n) })
	r.synced()
	require.Equal(t, before, s.written())

	t.Run("a rule is one transaction", func(t *testing.T) {
		before := s.written()
		r.judge(200, acls(nil, acl("edge", tcp80, ssh, rule(intent.Allow, intent.Ingress, "udp", 53, "", ""))))
		r.synced()
		require.Equal(t, before+1, s.written())
		require.Contains(t, s.entries(), "20,egress,permit,0.0.0.0,0.0.0.0,192.168.0.0,255.255.255.0,17,[],[],53,53,[],[]")
		require.Equal(t, len(aclEntries(n))+1, s.count("ACL_entry"), "no entry is left behind")
		r.judge(200, n)
		r.synced()
		require.Empty(t, r.said("Repaired"))
	})
	t.Run("tampering is put back and told", func(t *testing.T) {
		before := s.entries()
		victim := strings.Fields(s.ctl("--bare", "--columns=_uuid", "find", "ACL_entry", "sequence=20"))[0]
		s.ctl("set", "ACL_entry", victim, "action=permit")
		s.eventually("the entry is back", func() bool { return s.entries() == before })
		s.eventually("it is told", func() bool { return len(r.said("Repaired")) == 1 })
		require.Contains(t, r.said("Repaired")[0], "ACL weft-200 had other entries; put back")
		s.ctl("clear", "Physical_Port", "eth2", "acl_bindings", "--", "destroy", "ACL", acl200)
		s.eventually("it is made and bound again", func() bool { return s.count("ACL") == 1 && strings.HasPrefix(bound("eth2"), "{20=") })
		r.synced()
		require.Equal(t, before, s.entries(), "of the entries that were left")
	})
	t.Run("somebody else's stay", func(t *testing.T) {
		s.ctl("--", "--id=@e", "create", "ACL_entry", "sequence=1", "direction=ingress", "action=permit", "--", "--id=@a", "create", "ACL", "acl_name=theirs", "acl_entries=@e", "--", "set", "Physical_Port", "eth1", "acl_bindings:0=@a")
		r.judge(100, acls(nil, acl("edge", tcp80)))
		s.eventually("an alarm", func() bool { return r.raised(alarmACL, "port eth1 untagged") != "" })
		s.eventually("the port is refused", func() bool { e := r.PortError(port("a")); return e != nil && e.Code == southbound.CodeRefused })
		r.judge(100, nil)
		r.synced()
		require.Contains(t, s.table("ACL", "acl_name"), "theirs")
		require.Empty(t, r.raised(alarmACL, "port eth1 untagged"))
		s.ctl("clear", "Physical_Port", "eth1", "acl_bindings", "--", "destroy", "ACL", s.ctl("--bare", "--columns=_uuid", "find", "ACL", "acl_name=theirs"))
	})
	t.Run("with the last port all goes", func(t *testing.T) {
		r.unplug("b")
		s.eventually("no ACL", func() bool { return s.count("ACL") == 0 })
		require.Equal(t, "{}", bound("eth2"))
		require.NotContains(t, s.entries(), "192.168.", "no entry of ours")
	})
}

// A schema without ACLs serves what needs none.
func TestSchemaWithoutACLs(t *testing.T) {
	old := t.TempDir() + "/old.ovsschema"
	text := newServerless(t, "jq", `del(.tables.ACL, .tables.ACL_entry, .tables.Logical_Router, .tables.Physical_Port.columns.acl_bindings, .tables.Logical_Switch.columns.replication_mode) | .version = "1.3.0" | del(.cksum)`, schemaFile)
	require.NoError(t, os.WriteFile(old, []byte(text), 0o600))
	s := newServer(t, old)
	s.ctl("add-ps", "tor1", "--", "add-port", "tor1", "eth1", "--", "add-port", "tor1", "eth2")
	tb := newTables()
	tb.set(100, imet(ip(7)), at(7, ip(7)))
	r := start(t, node("tor1", ip(1), s.db()), tb, plugged)
	r.synced()
	require.Contains(t, remotes(s), "02:00:00:00:00:07 -> vxlan_over_ipv4/10.0.0.7")
	r.judge(200, acls(acl("edge")))
	s.eventually("the port is refused", func() bool { return r.PortError(port("b")) != nil })
	require.ErrorContains(t, r.PortError(port("b")), "the database of physical switch tor1 has no ACLs, schema 1.3.0: the ACLs of the port's network are not enforced")
	require.Nil(t, r.PortError(port("a")))
	require.Equal(t, "0020 weft-200", lastLine(s.ctl("list-bindings", "tor1", "eth2")))
}

// lastLine leaves out warnings about the schema.
func lastLine(s string) string { return s[strings.LastIndexByte(s, '\n')+1:] }
