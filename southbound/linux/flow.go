package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// Flows answers what becomes of single flows on this switch.
type Flows struct{}

// Answer answers a question.
func (Flows) Answer(ctx context.Context, q switchstate.Question) (a switchstate.Answer) {
	var err error
	switch a.ID = q.ID; {
	case q.Route != nil:
		a.Route, err = routeOf(*q.Route)
	case q.Watch != nil:
		a.Seen, err = watch(ctx, *q.Watch)
	default:
		err = errors.New("the agent does not know such a question: it is older than the controller")
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

// Attributes of a route question, from linux/rtnetlink.h.
const (
	rtaIPProto = 27
	rtaSport   = 28
	rtaDport   = 29
)

// routeOf asks the kernel (RTM_GETROUTE) by which next hop it sends a packet: it hashes
// the header as it hashes that of a packet, by fib_multipath_hash_policy.
func routeOf(q switchstate.RouteQuestion) (*switchstate.NextHop, error) {
	h, family := q.Header, uint8(unix.AF_INET)
	if h.From.Is4() != h.To.Is4() {
		return nil, fmt.Errorf("%s and %s are of different IP versions", h.From, h.To)
	}
	if h.To.Is6() {
		family = unix.AF_INET6
	}
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_REQUEST)
	bits := uint8(h.To.BitLen())
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: family, Dst_len: bits, Src_len: bits}})
	port := func(p uint16) []byte { return binary.BigEndian.AppendUint16(nil, p) }
	for kind, value := range map[int][]byte{unix.RTA_DST: h.To.AsSlice(), unix.RTA_SRC: h.From.AsSlice(), rtaIPProto: {h.Protocol}, rtaSport: port(h.FromPort), rtaDport: port(h.ToPort)} {
		req.AddData(nl.NewRtAttr(kind, value))
	}
	if q.In != "" {
		l, err := netlink.LinkByName(q.In)
		if err != nil {
			return nil, fmt.Errorf("interface %s: %w", q.In, err)
		}
		req.AddData(nl.NewRtAttr(unix.RTA_IIF, binary.NativeEndian.AppendUint32(nil, uint32(l.Attrs().Index))))
	}
	msgs, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil {
		return nil, fmt.Errorf("the kernel has no route from %s to %s: %w", h.From, h.To, err)
	}
	for _, m := range msgs {
		if len(m) < unix.SizeofRtMsg {
			continue
		}
		return hopOf(m)
	}
	return nil, errors.New("the kernel answered nothing")
}

// hopOf reads a kernel's answer. A packet that is for the switch itself has none.
func hopOf(m []byte) (*switchstate.NextHop, error) {
	out := &switchstate.NextHop{}
	if nl.DeserializeRtMsg(m).Type == unix.RTN_LOCAL {
		return out, nil
	}
	attrs, err := nl.ParseRouteAttr(m[unix.SizeofRtMsg:])
	if err != nil {
		return nil, err
	}
	for _, a := range attrs {
		switch a.Attr.Type & nl.NLA_TYPE_MASK {
		case unix.RTA_OIF:
			l, err := netlink.LinkByIndex(int(binary.NativeEndian.Uint32(a.Value)))
			if err != nil {
				return nil, err
			}
			out.Interface = l.Attrs().Name
		case unix.RTA_GATEWAY:
			out.Via, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_VIA:
			if len(a.Value) > 2 {
				out.Via, _ = netip.AddrFromSlice(a.Value[2:])
			}
		}
	}
	return out, nil
}

// Where things are in an Ethernet frame with VXLAN (RFC 7348) over IPv4 without options.
const (
	outerIP    = 14
	outerUDP   = outerIP + 20
	vxlanStart = outerUDP + 8
	innerFrame = vxlanStart + 8
	innerIP    = innerFrame + 14
)

// watchMost bounds the tunnels that are told of one flow, watchLongest how long it is
// watched.
const (
	watchMost    = 16
	watchLongest = 10 * time.Second
)

// watch looks at what leaves in VXLAN, by a filter in the kernel that lets pass only
// what has the flow's addresses inside. It ends soon after the first packet: by then a
// flow that has several outer ports has shown them.
func watch(ctx context.Context, q switchstate.WatchQuestion) ([]switchstate.Tunnel, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	defer unix.Close(fd)
	filter := watchFilter(q.Header)
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}); err != nil {
		return nil, fmt.Errorf("set the filter of a packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: network16(unix.ETH_P_ALL)}); err != nil {
		return nil, fmt.Errorf("bind a packet socket: %w", err)
	}
	wait := unix.NsecToTimeval(int64(20 * time.Millisecond))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return nil, fmt.Errorf("set the time of a packet socket: %w", err)
	}
	seen := flowSeen{q: q, nameOf: interfaceName, names: map[int]string{}}
	frame, until := make([]byte, 256), time.Now().Add(min(max(q.For, 0), watchLongest))
	for ctx.Err() == nil && time.Now().Before(until) && len(seen.tunnels) < watchMost {
		n, from, err := unix.Recvfrom(fd, frame, 0)
		switch at, ok := from.(*unix.SockaddrLinklayer); {
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		case err != nil:
			return seen.tunnels, fmt.Errorf("read a packet socket: %w", err)
		case ok && at.Pkttype == unix.PACKET_OUTGOING:
			if end := time.Now().Add(50 * time.Millisecond); seen.take(frame[:n], at.Ifindex) && end.Before(until) {
				until = end
			}
		}
	}
	return seen.tunnels, nil
}

// flowSeen are the tunnels of a flow.
type flowSeen struct {
	q       switchstate.WatchQuestion
	tunnels []switchstate.Tunnel
	nameOf  func(index int) string
	names   map[int]string // told by nameOf
}

// take takes a frame that left by the interface with an index; it reports whether the flow
// is inside.
func (s *flowSeen) take(frame []byte, index int) bool {
	t, ok := tunnelled(frame, s.q)
	if !ok {
		return false
	}
	name, known := s.names[index]
	if !known {
		name = s.nameOf(index)
		s.names[index] = name
	}
	if t.Interface = name; !slices.Contains(s.tunnels, t) {
		s.tunnels = append(s.tunnels, t)
	}
	return true
}

// interfaceName is empty when the interface is gone. The kernel dumps all for it.
func interfaceName(index int) string {
	l, err := net.InterfaceByIndex(index)
	if err != nil {
		return ""
	}
	return l.Name
}

// tunnelled reads a frame with VXLAN; ok says whether the flow is inside.
func tunnelled(b []byte, q switchstate.WatchQuestion) (t switchstate.Tunnel, ok bool) {
	if len(b) < innerIP || b[outerIP] != 0x45 {
		return t, false
	}
	t.Header = switchstate.Header{From: netip.AddrFrom4([4]byte(b[outerIP+12:])), To: netip.AddrFrom4([4]byte(b[outerIP+16:])), Protocol: unix.IPPROTO_UDP,
		FromPort: binary.BigEndian.Uint16(b[outerUDP:]), ToPort: binary.BigEndian.Uint16(b[outerUDP+2:])}
	t.VNI = intent.VNI(b[vxlanStart+4])<<16 | intent.VNI(b[vxlanStart+5])<<8 | intent.VNI(b[vxlanStart+6])
	if len(q.VNIs) > 0 && !slices.Contains(q.VNIs, t.VNI) {
		return t, false
	}
	inner, ok := headerOf(b[innerFrame+12:])
	return t, ok && inner == q.Header
}

// headerOf reads the IP header behind an EtherType; ports are zero when the protocol has
// none.
func headerOf(b []byte) (h switchstate.Header, ok bool) {
	kind, ip := binary.BigEndian.Uint16(b), b[2:]
	length := 0
	switch {
	case kind == unix.ETH_P_IP && len(ip) >= 20:
		h.From, h.To, h.Protocol = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:])), ip[9]
		length = int(ip[0]&15) * 4
		if binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
			return h, false // a fragment has no ports
		}
	case kind == unix.ETH_P_IPV6 && len(ip) >= 40:
		h.From, h.To, h.Protocol = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:])), ip[6]
		length = 40
	default:
		return h, false
	}
	if switchstate.HasPorts(h.Protocol) {
		if len(ip) < length+4 {
			return h, false
		}
		h.FromPort, h.ToPort = binary.BigEndian.Uint16(ip[length:]), binary.BigEndian.Uint16(ip[length+2:])
	}
	return h, true
}

// watchFilter is a program (BPF, as of linux/filter.h) that lets frames pass which leave,
// have VXLAN over IPv4 without options, and the last four bytes of the flow's addresses
// inside.
func watchFilter(h switchstate.Header) []unix.SockFilter {
	const (
		ldw, ldh, ldb = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
		jeq           = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	)
	last := func(a netip.Addr) uint32 { b := a.AsSlice(); return binary.BigEndian.Uint32(b[len(b)-4:]) }
	kind, from, to := uint32(unix.ETH_P_IP), uint32(innerIP+12), uint32(innerIP+16)
	if h.From.Is6() {
		kind, from, to = unix.ETH_P_IPV6, innerIP+20, innerIP+36
	}
	checks := []struct {
		load uint16
		at   uint32
		want uint32
	}{
		{ldb, 0xfffff000 + 4, unix.PACKET_OUTGOING}, // SKF_AD_OFF + SKF_AD_PKTTYPE
		{ldh, outerIP - 2, unix.ETH_P_IP}, {ldb, outerIP, 0x45}, {ldb, outerIP + 9, unix.IPPROTO_UDP}, {ldh, outerUDP + 2, vxlanPort},
		{ldh, innerIP - 2, kind}, {ldw, from, last(h.From)}, {ldw, to, last(h.To)},
	}
	var out []unix.SockFilter
	for i, c := range checks {
		out = append(out, unix.SockFilter{Code: c.load, K: c.at}, unix.SockFilter{Code: jeq, Jf: uint8(2*(len(checks)-1-i) + 1), K: c.want})
	}
	return append(out, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 256}, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K})
}
