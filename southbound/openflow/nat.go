package openflow

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// Subtypes and flags of Nicira actions for address translation
// (openvswitch/ofp-actions.h, NXAST_NAT and NXAST_CT_CLEAR).
const (
	niciraNAT        = 36
	niciraClearTrack = 43

	natSource = 1 << 0
	natDest   = 1 << 1

	natMinIPv4 = 1 << 0
	natMinIPv6 = 1 << 2
)

// NAT says how a connection that is committed is translated, both ways. The zero
// value translates what belongs to a connection as was said when that was
// committed.
type NAT struct {
	flags uint16
	addr  netip.Addr
}

// SourceNAT has the source of the connection's first direction translated to an
// address. Its port stays if no other connection has it.
func SourceNAT(a netip.Addr) NAT { return NAT{natSource, a} }

// DestNAT has the destination translated to an address.
func DestNAT(a netip.Addr) NAT { return NAT{natDest, a} }

// appendTo writes NXAST_NAT.
func (n NAT) appendTo(b []byte) []byte {
	at := len(b)
	b = binary.BigEndian.AppendUint16(b, actionExperimenter)
	b = binary.BigEndian.AppendUint16(b, 0) // length
	b = binary.BigEndian.AppendUint32(b, vendorNicira)
	b = binary.BigEndian.AppendUint16(b, niciraNAT)
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint16(b, n.flags)
	switch {
	case !n.addr.IsValid():
		b = binary.BigEndian.AppendUint16(b, 0)
	case n.addr.Is4():
		b = append(binary.BigEndian.AppendUint16(b, natMinIPv4), n.addr.AsSlice()...)
	default:
		b = append(binary.BigEndian.AppendUint16(b, natMinIPv6), n.addr.AsSlice()...)
	}
	b = pad8(b, at)
	binary.BigEndian.PutUint16(b[at+2:], uint16(len(b)-at))
	return b
}

// text writes the translation as ovs-ofctl does.
func (n NAT) text() string {
	switch n.flags {
	case natSource:
		return fmt.Sprintf("nat(src=%s)", n.addr)
	case natDest:
		return fmt.Sprintf("nat(dst=%s)", n.addr)
	}
	return "nat"
}

// readNAT reads an NXAST_NAT as it is made here; ok is false for others.
func readNAT(b []byte) (n NAT, ok bool) {
	if len(b) < 16 || binary.BigEndian.Uint32(b[4:]) != vendorNicira || binary.BigEndian.Uint16(b[8:]) != niciraNAT {
		return NAT{}, false
	}
	n.flags = binary.BigEndian.Uint16(b[12:])
	switch present := binary.BigEndian.Uint16(b[14:]); {
	case present == natMinIPv4 && len(b) >= 20:
		n.addr = netip.AddrFrom4([4]byte(b[16:]))
	case present == natMinIPv6 && len(b) >= 32:
		n.addr = netip.AddrFrom16([16]byte(b[16:]))
	case present != 0:
		return NAT{}, false
	}
	return n, true
}

// Translate looks the packet's connection up, commits it if it is new, translates
// the packet as was said when it was committed, and goes on with it in a table.
func Translate(z Zone, n NAT, table uint8) Action { return translate(ctCommit, z, n, table) }

// Untranslate is Translate for what belongs to a connection already: nothing is
// committed.
func Untranslate(z Zone, table uint8) Action { return translate(0, z, NAT{}, table) }

func translate(flags uint16, z Zone, n NAT, table uint8) Action {
	a := conntrack(flags, z, table)
	a.n = uint8(len(n.appendTo(a.b[:a.n])))
	binary.BigEndian.PutUint16(a.b[2:], uint16(a.n))
	return a
}

// ClearTrack forgets what connection tracking said of the packet. Without it the
// state of one zone is taken into the next, and a packet is not translated twice in
// one zone.
func ClearTrack() Action {
	a := Action{n: 16}
	binary.BigEndian.PutUint16(a.b[:], actionExperimenter)
	a.b[3] = 16
	binary.BigEndian.PutUint32(a.b[4:], vendorNicira)
	binary.BigEndian.PutUint16(a.b[8:], niciraClearTrack)
	return a
}

// Addr is the address to which a connection is translated; the zero Addr when there
// is none.
func (n NAT) Addr() netip.Addr { return n.addr }

// NAT is the translation that the actions commit; ok is false when there is none.
func (i Instructions) NAT() (n NAT, ok bool) {
	i.eachAction(func(a []byte) {
		if isConntrack(a) {
			_ = eachAction(a[24:], func(b []byte) {
				if t, is := readNAT(b); is && t.addr.IsValid() {
					n, ok = t, true
				}
			})
		}
	})
	return n, ok
}

func isConntrack(a []byte) bool {
	return len(a) >= 24 && binary.BigEndian.Uint16(a) == actionExperimenter && binary.BigEndian.Uint32(a[4:]) == vendorNicira &&
		binary.BigEndian.Uint16(a[8:]) == niciraConntrack
}

// Zones lists the fixed zones in which the actions have connections committed.
func (i Instructions) Zones() (zones []uint16) {
	i.eachAction(func(a []byte) {
		if isConntrack(a) && binary.BigEndian.Uint16(a[10:])&ctCommit != 0 && binary.BigEndian.Uint32(a[12:]) == 0 {
			zones = append(zones, binary.BigEndian.Uint16(a[16:]))
		}
	})
	return zones
}

// nestedText writes the actions inside a ct action: the translation by itself, all
// else as exec.
func nestedText(b []byte) (out []string) {
	var exec []string
	err := eachAction(b, func(a []byte) {
		if n, ok := readNAT(a); ok {
			out = append(out, n.text())
			return
		}
		exec = append(exec, actionText(a))
	})
	if err != nil {
		exec = append(exec, err.Error())
	}
	if len(exec) > 0 {
		out = append(out, "exec("+strings.Join(exec, ",")+")")
	}
	return out
}
