package ovsdb

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ovn-org/libovsdb/ovsdb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/weft-sdn/weft/southbound/ovsdb/vswitchdb"
)

var testConfig = VSwitchConfig{Name: "hv1", Bridge: "br-int", DatapathType: "dummy", VTEP: netip.MustParseAddr("10.0.0.1"),
	Tunnel: "weft-vxlan", UDPPort: 4789, OpenFlowListen: "ptcp:6653:10.0.0.1"}

// inPlace are rows of which nothing has to be written.
func inPlace() *rows {
	secure, port, local := vswitchdb.BridgeFailModeSecure, TunnelPort, 65534
	return &rows{
		root:     &vswitchdb.OpenvSwitch{},
		bridge:   &vswitchdb.Bridge{Name: "br-int", FailMode: &secure, Protocols: []string{"OpenFlow13", "OpenFlow15"}, ExternalIDs: owned()},
		local:    &vswitchdb.Interface{Name: "br-int", Ofport: &local},
		tunnel:   &vswitchdb.Interface{Name: "weft-vxlan", Type: "vxlan", Options: tunnelOptions(testConfig), OfportRequest: &port, ExternalIDs: owned()},
		listener: true,
	}
}

func TestPlan(t *testing.T) {
	standalone := vswitchdb.BridgeFailModeStandalone
	for name, test := range map[string]struct {
		edit  func(*rows)
		found []string
		err   string
	}{
		"all in place": {edit: func(*rows) {}},
		"no bridge": {
			edit:  func(r *rows) { r.bridge, r.tunnel, r.local, r.listener = nil, nil, nil, false },
			found: []string{"was missing", "was missing", "did not listen on ptcp:6653:10.0.0.1"},
		},
		"an installer's bridge": {
			edit: func(r *rows) {
				r.bridge.FailMode, r.bridge.Protocols, r.bridge.ExternalIDs = nil, nil, nil
			},
			found: []string{`had fail_mode ""`, "had protocols []"},
		},
		"standalone":          {edit: func(r *rows) { r.bridge.FailMode = &standalone }, found: []string{`had fail_mode "standalone"`}},
		"OpenFlow 1.3 only":   {edit: func(r *rows) { r.bridge.Protocols = []string{"OpenFlow13"} }, found: []string{"had protocols [OpenFlow13]"}},
		"no tunnel":           {edit: func(r *rows) { r.tunnel = nil }, found: []string{"was missing"}},
		"another VTEP":        {edit: func(r *rows) { r.tunnel.Options["local_ip"] = "10.9.9.9" }, found: []string{`had type vxlan and options map[key:flow local_ip:10.9.9.9 remote_ip:flow]`}},
		"an option too many":  {edit: func(r *rows) { r.tunnel.Options["csum"] = "true" }, found: []string{`had type vxlan and options map[csum:true key:flow local_ip:10.0.0.1 remote_ip:flow]`}},
		"another port number": {edit: func(r *rows) { r.tunnel.OfportRequest = nil }, found: []string{"had ofport_request 0"}},
		"unmarked but ours":   {edit: func(r *rows) { r.tunnel.ExternalIDs, r.tunnel.OfportRequest = nil, nil }},
		"another's port": {
			edit: func(r *rows) { r.tunnel.ExternalIDs, r.tunnel.Type = nil, "gre" },
			err:  "port weft-vxlan is not Weft's",
		},
		"the name is elsewhere": {
			edit: func(r *rows) { r.tunnel, r.elsewhere, r.listener = nil, "another bridge", false },
			err:  "port weft-vxlan is on another bridge", found: []string{"did not listen on ptcp:6653:10.0.0.1"},
		},
		"our listener of before": {edit: func(r *rows) { r.stale = []string{"u"} }, found: []string{"listened for Weft elsewhere too"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := inPlace()
			test.edit(r)
			c, err := plan(testConfig, r)
			var found []string
			for _, p := range c.parts {
				found = append(found, p.Found)
			}
			assert.Equal(t, test.found, found)
			if test.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.err)
			}
		})
	}
}

func TestProtocolsAreOnlyAdded(t *testing.T) {
	assert.Equal(t, []string{"OpenFlow15"}, lacking([]string{"OpenFlow10"}))
	assert.Empty(t, lacking([]string{"OpenFlow15"}))
	assert.Len(t, lacking(nil), 6, "none named: all stay allowed")
}

func TestTunnelOptions(t *testing.T) {
	c := testConfig
	c.UDPPort = 4790
	assert.Equal(t, map[string]string{"remote_ip": "flow", "key": "flow", "local_ip": "10.0.0.1", "dst_port": "4790"}, tunnelOptions(c))
}

// What the switch has not made is not ready, even if its rows are right.
func TestUnmade(t *testing.T) {
	r := inPlace()
	require.NoError(t, r.unmade(testConfig))
	r.local.Ofport = nil
	require.EqualError(t, r.unmade(testConfig), "ovs-vswitchd has not made bridge br-int yet")
	words := "could not open network device br-int (No such device)"
	r.local.Error = &words
	require.EqualError(t, r.unmade(testConfig), words)
	r.local = nil
	require.Error(t, r.unmade(testConfig))
}

func TestPace(t *testing.T) {
	var p pace
	now := time.Now()
	assert.Zero(t, p.wait(now), "the first goes at once")
	writes, end := 0, now.Add(time.Minute)
	for now.Before(end) { // somebody undoes it at once, for a minute
		p.wrote(now)
		writes++
		now = now.Add(p.wait(now))
	}
	assert.Less(t, writes, 25)
	assert.LessOrEqual(t, p.wait(now), paceMost)
	now = now.Add(paceMost + paceCalm + time.Second)
	p.wrote(now)
	assert.Equal(t, paceFirst, p.wait(now), "forgotten after a calm time")
}

// The outer DSCP is ours to change: doing so is no repair, and until somebody has
// said what it is to be, it stays as it was.
func TestTunnelsInheritTheDSCP(t *testing.T) {
	for _, c := range []struct {
		what          string
		told, inherit bool
		has           string
		change        bool
		then          string
		repairs       int
	}{
		{"nothing asked, nothing there", true, false, "", false, "", 0},
		{"asked", true, true, "", true, "inherit", 0},
		{"asked, and there", true, true, "inherit", false, "inherit", 0},
		{"asked no more", true, false, "inherit", true, "", 0},
		{"not known yet", false, false, "inherit", false, "inherit", 0},
		{"another program's", true, true, "5", true, "inherit", 1},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := inPlace()
			r.told, r.inherit = c.told, c.inherit
			r.wanted = []Tunnel{{Name: "weft-nvgre", Type: "gre"}}
			more := testConfig.options(r.wanted[0])
			r.tunnels = map[string]tunnelRow{"weft-nvgre": {iface: &vswitchdb.Interface{UUID: "n", Name: "weft-nvgre", Type: "gre", Options: more}, port: "p"}}
			if c.has != "" {
				r.tunnel.Options[tosKey], more[tosKey] = c.has, c.has
			}
			ch, err := plan(testConfig, r)
			require.NoError(t, err)
			require.Equal(t, c.change, ch.needed())
			require.Equal(t, c.change, ch.options)
			require.Equal(t, c.change && c.told, len(ch.fix) == 1)
			require.Len(t, ch.parts, 2*c.repairs)
			for _, op := range ch.operations(r) {
				require.Equal(t, vswitchdb.InterfaceTable, op.Table)
				want := map[string]string{}
				if c.then != "" {
					want[tosKey] = c.then
				}
				got := map[string]string{}
				for k, v := range op.Row["options"].(ovsdb.OvsMap).GoMap {
					if k == tosKey {
						got[tosKey] = v.(string)
					}
				}
				require.Equal(t, want, got)
			}
		})
	}
}
