package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// The nftables table that counts what leaves in tunnels, and how many counters it may
// have for each IP version.
const (
	loadTable = "weft_load"
	loadMost  = 32768
	// The sets of counters; rest has, by port, what the others had no room for.
	pairs4, pairs6, rest = "pairs4", "pairs6", "rest"
)

// loadText is that table: of each packet in a tunnel (VXLAN by RFC 7348, Geneve by RFC
// 8926, whose VNIs are at one place, and NVGRE by RFC 7637) that leaves, the port, the
// two VTEPs and the VNI. A counter that is idle for ten minutes makes room.
//
// It is a table of its own, and stays when the agent ends, so that counting goes on.
func loadText() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s\ndelete table inet %s\ntable inet %s {\n", loadTable, loadTable, loadTable)
	for _, v := range []struct{ set, ip string }{{pairs4, "ip"}, {pairs6, "ip6"}} {
		fmt.Fprintf(&b, " set %s { typeof meta oif . %s saddr . %s daddr . @th,96,24; flags dynamic,timeout; timeout 10m; size %d; counter; }\n", v.set, v.ip, v.ip, loadMost)
	}
	fmt.Fprintf(&b, " set %s { typeof meta oif; flags dynamic; size 4096; counter; }\n chain out {\n  type filter hook postrouting priority 300; policy accept;\n", rest)
	for _, v := range []struct{ set, ip, family string }{{pairs4, "ip", "ipv4"}, {pairs6, "ip6", "ipv6"}} {
		for _, t := range []struct{ match, vni string }{{"udp dport { 4789, 6081 }", "@th,96,24"}, {"meta l4proto gre", "@th,32,24"}} {
			fmt.Fprintf(&b, "  meta nfproto %s %s update @%s { meta oif . %s saddr . %s daddr . %s counter } accept\n", v.family, t.match, v.set, v.ip, v.ip, t.vni)
		}
	}
	fmt.Fprintf(&b, "  udp dport { 4789, 6081 } update @%s { meta oif counter }\n  meta l4proto gre update @%s { meta oif counter }\n }\n}\n", rest, rest)
	return b.String()
}

// Counting reads what a switch has counted. It is for one goroutine.
type Counting struct {
	told  map[tunnelKey]uint64 // bytes, as of the last report that was taken
	read  map[tunnelKey]uint64 // as read last
	other map[int]uint64       // of rest, by port, as read last
	total uint64               // that was counted since the first reading
	began bool
}

type tunnelKey struct {
	port     int
	from, to netip.Addr
	vni      intent.VNI
}

// NewCounting returns one that has read nothing.
func NewCounting() *Counting {
	return &Counting{told: map[tunnelKey]uint64{}, read: map[tunnelKey]uint64{}, other: map[int]uint64{}}
}

// Load reads the counters of the ports, and with tunnels those of what leaves in
// tunnels, which it has the kernel count when it does not: all of them with full, else
// those that rose since Told was called.
func (c *Counting) Load(ctx context.Context, tunnels, full bool) (switchstate.Load, error) {
	r := switchstate.Load{Full: full, Ports: []switchstate.PortLoad{}}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return r, fmt.Errorf("read the clock: %w", err)
	}
	r.Clock = time.Duration(now.Nano())
	links, err := allLinks()
	if err != nil {
		return r, fmt.Errorf("read interfaces: %w", err)
	}
	queues, err := queueDrops()
	if err != nil {
		return r, err
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		if s := a.Statistics; isPort(l) && s != nil {
			r.Ports = append(r.Ports, switchstate.PortLoad{Name: a.Name, RxBytes: s.RxBytes, TxBytes: s.TxBytes,
				Dropped: s.RxDropped + s.TxDropped + queues[a.Index], Speed: speed(a.Name)})
		}
	}
	slices.SortFunc(r.Ports, func(a, b switchstate.PortLoad) int { return strings.Compare(a.Name, b.Name) })
	if !tunnels {
		return r, nil
	}
	if err := c.readTunnels(ctx); err != nil {
		r.Error = err.Error()
		return r, nil
	}
	for k, bytes := range c.read {
		if full || c.told[k] != bytes {
			r.Tunnels = append(r.Tunnels, switchstate.Tunnelled{Port: names[k.port], From: k.from, To: k.to, VNI: k.vni, Bytes: bytes})
		}
	}
	r.Counts, r.Tunnel = true, c.total
	return r, nil
}

// Told says that what was read last has been taken.
func (c *Counting) Told() { c.told = maps.Clone(c.read) }

// queueDrops are the packets that the queues in front of ports dropped, by index.
func queueDrops() (map[int]uint64, error) {
	queues, err := netlink.QdiscList(nil)
	if err != nil {
		return nil, fmt.Errorf("read queues: %w", err)
	}
	out := map[int]uint64{}
	for _, q := range queues {
		if a := q.Attrs(); a.Parent == netlink.HANDLE_ROOT && a.Statistics != nil && a.Statistics.Queue != nil {
			out[a.LinkIndex] += uint64(a.Statistics.Queue.Drops)
		}
	}
	return out, nil
}

// readTunnels reads the counters, and makes the table when it is not there.
func (c *Counting) readTunnels(ctx context.Context) error {
	now, others := map[tunnelKey]uint64{}, map[int]uint64{}
	err := readSets(now, others)
	if errors.Is(err, unix.ENOENT) {
		cmd := exec.CommandContext(ctx, "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(loadText())
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("count tunnels: nft: %w: %s", err, firstLine(string(out)))
		}
		err = readSets(now, others)
	}
	if err != nil {
		return fmt.Errorf("read the counters of tunnels: %w", err)
	}
	if c.began {
		for k, bytes := range now {
			c.total += rise(c.read[k], bytes)
		}
		for port, bytes := range others {
			c.total += rise(c.other[port], bytes)
		}
	}
	c.read, c.other, c.began = now, others, true
	return nil
}

// rise is by how much a counter rose; one that fell began at zero.
func rise(was, now uint64) uint64 {
	if now < was {
		return now
	}
	return now - was
}

func readSets(pairs map[tunnelKey]uint64, others map[int]uint64) error {
	for _, set := range []string{pairs4, pairs6, rest} {
		err := dumpSet(set, func(b []byte) error {
			return eachElement(b, func(key []byte, bytes uint64) {
				if set == rest && len(key) >= 4 {
					others[int(binary.NativeEndian.Uint32(key))] = bytes
				} else if k, ok := tunnelOf(key); ok {
					pairs[k] = bytes
				}
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// What the kernel calls the elements of sets, from linux/netfilter/nf_tables.h.
const (
	nftGetElements    = nftSubsystem<<8 | 13
	nftNewElements    = nftSubsystem<<8 | 12
	nftListTable      = 1
	nftListSet        = 2
	nftListElements   = 3
	nftListElement    = 1
	nftElementKey     = 1
	nftElementExpr    = 7
	nftElementExprs   = 11
	nftDataValue      = 1
	nftExprName       = 1
	nftExprData       = 2
	nftCounterBytes   = 1
	nftCounterPackets = 2

	// etherHeader is what the counters of nftables leave out and those of ports have.
	etherHeader = 14
)

// dumpSet reads the elements of a set, in the kernel's messages.
func dumpSet(set string, each func([]byte) error) error {
	req := nl.NewNetlinkRequest(nftGetElements, unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_INET})
	req.AddData(nl.NewRtAttr(nftListTable, nl.ZeroTerminated(loadTable)))
	req.AddData(nl.NewRtAttr(nftListSet, nl.ZeroTerminated(set)))
	msgs, err := req.Execute(unix.NETLINK_NETFILTER, nftNewElements)
	if err != nil {
		return err
	}
	for _, m := range msgs {
		if len(m) < nl.SizeofNfgenmsg {
			return errors.New("a message of the kernel is too short")
		}
		if err := each(m[nl.SizeofNfgenmsg:]); err != nil {
			return err
		}
	}
	return nil
}

// within calls f for the attributes of a kind (linux/netlink.h).
func within(b []byte, kind uint16, f func([]byte) error) error {
	for len(b) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return errors.New("a message of the kernel is cut off")
		}
		if binary.NativeEndian.Uint16(b[2:])&nl.NLA_TYPE_MASK == kind {
			if err := f(b[unix.SizeofRtAttr:n]); err != nil {
				return err
			}
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return nil
}

// eachElement reads the elements of a message, with what they have counted.
func eachElement(b []byte, f func(key []byte, bytes uint64)) error {
	return within(b, nftListElements, func(b []byte) error {
		return within(b, nftListElement, func(b []byte) error {
			var key []byte
			var bytes uint64
			counter := func(b []byte) error { return counterOf(b, &bytes) }
			return errors.Join(
				within(b, nftElementKey, func(b []byte) error {
					return within(b, nftDataValue, func(b []byte) error { key = b; return nil })
				}),
				within(b, nftElementExpr, counter),
				within(b, nftElementExprs, func(b []byte) error { return within(b, nftListElement, counter) }),
				func() error {
					if key != nil {
						f(key, bytes)
					}
					return nil
				}())
		})
	})
}

// counterOf reads an expression, if it is a counter: its bytes, and those of the
// packets' Ethernet headers.
func counterOf(b []byte, bytes *uint64) error {
	name := ""
	err := within(b, nftExprName, func(b []byte) error { name = strings.TrimRight(string(b), "\x00"); return nil })
	if err != nil || name != "counter" {
		return err
	}
	add := func(each uint64) func([]byte) error {
		return func(b []byte) error {
			if len(b) != 8 {
				return errors.New("a counter of the kernel is not of 8 bytes")
			}
			*bytes += each * binary.BigEndian.Uint64(b)
			return nil
		}
	}
	return within(b, nftExprData, func(b []byte) error {
		return errors.Join(within(b, nftCounterBytes, add(1)), within(b, nftCounterPackets, add(etherHeader)))
	})
}

// tunnelOf reads the key of a pair: each part of it is padded to four bytes.
func tunnelOf(key []byte) (k tunnelKey, ok bool) {
	length := 4
	switch len(key) {
	case 4 + 2*4 + 4:
	case 4 + 2*16 + 4:
		length = 16
	default:
		return k, false
	}
	k.port = int(binary.NativeEndian.Uint32(key))
	k.from, _ = netip.AddrFromSlice(key[4 : 4+length])
	k.to, _ = netip.AddrFromSlice(key[4+length : 4+2*length])
	v := key[4+2*length:]
	k.vni = intent.VNI(v[0])<<16 | intent.VNI(v[1])<<8 | intent.VNI(v[2])
	return k, true
}
