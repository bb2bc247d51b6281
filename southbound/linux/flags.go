package linux

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// portFlags are the flags of a bridge's port that are ours to set.
type portFlags struct {
	learning bool // stations from packets
	flood    bool // unknown unicast goes there
	suppress bool // ARP and ND are answered for stations behind it (RFC 9161)
}

// readFlags reads the flags of all bridge ports, by index, in one go.
func readFlags() (map[int]portFlags, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_BRIDGE))
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, fmt.Errorf("read flags of bridge ports: %w", err)
	}
	out := map[int]portFlags{}
	for _, m := range msgs {
		attrs, err := nl.ParseRouteAttr(m[unix.SizeofIfInfomsg:])
		if err != nil {
			return nil, fmt.Errorf("read flags of bridge ports: %w", err)
		}
		for _, a := range attrs {
			if a.Attr.Type&nl.NLA_TYPE_MASK != unix.IFLA_PROTINFO {
				continue
			}
			f, err := parseFlags(a.Value)
			if err != nil {
				return nil, fmt.Errorf("read flags of bridge ports: %w", err)
			}
			out[int(nl.DeserializeIfInfomsg(m).Index)] = f
		}
	}
	return out, nil
}

func parseFlags(b []byte) (f portFlags, err error) {
	attrs, err := nl.ParseRouteAttr(b)
	for _, a := range attrs {
		on := len(a.Value) > 0 && a.Value[0] != 0
		switch a.Attr.Type {
		case nl.IFLA_BRPORT_LEARNING:
			f.learning = on
		case nl.IFLA_BRPORT_UNICAST_FLOOD:
			f.flood = on
		case nl.IFLA_BRPORT_NEIGH_SUPPRESS:
			f.suppress = on
		}
	}
	return f, err
}

// bringFlags brings the flags of a port in line.
func bringFlags(l netlink.Link, is, want portFlags) error {
	for _, f := range []struct {
		name     string
		is, want bool
		set      func(netlink.Link, bool) error
	}{
		{"learning", is.learning, want.learning, netlink.LinkSetLearning},
		{"flood", is.flood, want.flood, netlink.LinkSetFlood},
		{"neigh_suppress", is.suppress, want.suppress, netlink.LinkSetBrNeighSuppress},
	} {
		if f.is != f.want {
			if err := f.set(l, f.want); err != nil {
				return fmt.Errorf("set %s of %s: %w", f.name, l.Attrs().Name, err)
			}
		}
	}
	return nil
}
