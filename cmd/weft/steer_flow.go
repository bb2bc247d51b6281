package main

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// protocols are the names of IP protocols that --flow takes, besides their numbers.
var protocols = map[string]uint8{"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}

// parseFlow reads SRC,DST,PROTO,SPORT,DPORT; a protocol without ports has none.
func parseFlow(s string) (h switchstate.Header, err error) {
	words := strings.Split(s, ",")
	if len(words) != 5 && len(words) != 3 {
		return h, fmt.Errorf("--flow %q: SRC,DST,PROTO,SPORT,DPORT is expected, as 10.0.0.1,10.0.0.3,tcp,45012,443", s)
	}
	for i, a := range []*netip.Addr{&h.From, &h.To} {
		if *a, err = netip.ParseAddr(words[i]); err != nil || a.Zone() != "" {
			return h, fmt.Errorf("--flow %q: %q is no address", s, words[i])
		}
	}
	if h.From.Is4() != h.To.Is4() {
		return h, fmt.Errorf("--flow %q: %s and %s are of different IP versions", s, h.From, h.To)
	}
	number, known := protocols[strings.ToLower(words[2])]
	if n, err := strconv.ParseUint(words[2], 10, 8); err == nil {
		number, known = uint8(n), true
	}
	if h.Protocol = number; !known {
		return h, fmt.Errorf("--flow %q: %q is no protocol: use tcp, udp, sctp, icmp, icmpv6 or a number", s, words[2])
	}
	if has := switchstate.HasPorts(h.Protocol); has != (len(words) == 5) {
		return h, fmt.Errorf("--flow %q: %s goes %s ports", s, words[2], map[bool]string{true: "with", false: "without"}[has])
	}
	for i, p := range []*uint16{&h.FromPort, &h.ToPort}[:len(words)-3] {
		n, err := strconv.ParseUint(words[3+i], 10, 16)
		if err != nil {
			return h, fmt.Errorf("--flow %q: %q is no port", s, words[3+i])
		}
		*p = uint16(n)
	}
	return h, nil
}

// flowWords is a header as people read it.
func flowWords(h switchstate.Header) string {
	name := fmt.Sprintf("protocol %d", h.Protocol)
	for word, n := range protocols {
		if n == h.Protocol {
			name = word
		}
	}
	if !switchstate.HasPorts(h.Protocol) {
		return fmt.Sprintf("%s → %s %s", h.From, h.To, name)
	}
	return fmt.Sprintf("%s → %s %s", netip.AddrPortFrom(h.From, h.FromPort), netip.AddrPortFrom(h.To, h.ToPort), name)
}

// explainFlow prints which links a flow takes.
func (a *app) explainFlow(ctx context.Context, q client.FlowQuestion) error {
	cl, err := a.client()
	if err != nil {
		return err
	}
	p, err := cl.Flow(ctx, q)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "\nFlow:    %s\n", flowWords(q.Header))
	if p.Seen != "" {
		fmt.Fprintf(a.out, "Tunnel:  %s, VNI %d, seen leaving %s by %s\n", flowWords(p.Tunnel), p.VNI, q.From, p.Seen)
	}
	fmt.Fprintln(a.out, "\nBy what the kernels answer for the outer header:")
	t := table{header: []string{"FROM", "TO"}}
	for _, l := range p.Links {
		t.add(l.From, l.To)
	}
	if err := t.print(a.out, true); err != nil {
		return err
	}
	if first := q.From + ":" + p.Seen; p.Seen != "" && len(p.Links) > 0 && p.Links[0].From != first {
		return errDiffers(fmt.Sprintf("the kernel of %s says %s, and the flow was seen leaving by %s", q.From, p.Links[0].From, first))
	}
	return nil
}
