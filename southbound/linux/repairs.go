package linux

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-sdn/weft/southbound/leafstate"
)

// view is what a leaf's kernel has of a state: the attributes of each interface that
// is ours, is wanted in a bridge of ours, or is in one, by name.
type view map[string][]string

// viewOf is the view of the kernel as it was read.
func viewOf(k kernel, want leafstate.State) view {
	keep := keptLinks(want)
	out := view{}
	for name, l := range k.links.byName {
		m := k.links.byIndex[l.Attrs().MasterIndex]
		inOurs := m != nil && ours(m) && keep[m.Attrs().Name]
		if !inOurs && !(ours(l) && keep[name]) {
			continue
		}
		var a []string
		if ours(l) {
			a = append(a, fmt.Sprintf("MTU %d", l.Attrs().MTU))
			for _, p := range k.addresses[l.Attrs().Index] {
				if !p.Addr().IsLinkLocalUnicast() {
					a = append(a, "address "+p.String())
				}
			}
		}
		if inOurs {
			a = append(a, "master "+m.Attrs().Name)
		}
		if l.Attrs().RawFlags&unix.IFF_UP == 0 {
			a = append(a, "no IFF_UP")
		}
		out[name] = append(a, kindAttributes(l, k.flags[l.Attrs().Index])...)
		slices.Sort(out[name])
	}
	return out
}

// kindAttributes are those that only a bridge or a VXLAN device has.
func kindAttributes(l netlink.Link, f portFlags) []string {
	switch l := l.(type) {
	case *netlink.Bridge:
		if ours(l) && (l.MulticastSnooping == nil || *l.MulticastSnooping) {
			return []string{"mcast_snooping on"}
		}
	case *netlink.Vxlan:
		if ours(l) {
			return []string{fmt.Sprintf("VNI %d from %s port %d", l.VxlanId, l.SrcAddr, l.Port), fmt.Sprintf("TTL %d", l.TTL), fmt.Sprintf("TOS %d", l.TOS),
				"learning " + onOff(f.learning), "flood " + onOff(f.flood), "neigh_suppress " + onOff(f.suppress)}
		}
	}
	return nil
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// equal reports whether two views are the same.
func (v view) equal(o view) bool {
	return maps.EqualFunc(v, o, func(a, b []string) bool { return slices.Equal(a, b) })
}

// repairs says in words what others had changed: found differs from left, and now,
// after Apply, an interface is as it was left again.
func repairs(left, found, now view) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(left)) {
		have, ok := found[name]
		back, is := now[name]
		switch want := left[name]; {
		case ok && slices.Equal(have, want) || !is || !slices.Equal(back, want):
		case !ok && !slices.ContainsFunc(want, func(a string) bool { return strings.HasPrefix(a, "MTU ") }):
			out = append(out, fmt.Sprintf("interface %s: was not in its bridge or VRF; put back (%s)", name, strings.Join(want, ", ")))
		case !ok:
			out = append(out, fmt.Sprintf("interface %s: was missing; made again", name))
		default:
			out = append(out, fmt.Sprintf("interface %s: had %s; set back to %s", name, besides(have, want), besides(want, have)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		_, was := left[name]
		if _, is := now[name]; !was && !is {
			out = append(out, fmt.Sprintf("interface %s: was added (%s); taken out", name, strings.Join(found[name], ", ")))
		}
	}
	return out
}

// besides are the attributes of a that b has not.
func besides(a, b []string) string {
	rest := slices.DeleteFunc(slices.Clone(a), func(x string) bool { return slices.Contains(b, x) })
	if len(rest) == 0 {
		return "no such attribute"
	}
	return strings.Join(rest, ", ")
}
