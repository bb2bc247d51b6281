package linux

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
)

// zebra puts a station of a VXLAN device back when somebody takes it out of the bridge,
// and a neighbour or an entry of the flood list that is removed. That the device's own
// entry is gone, which says behind which VTEP the station is, that it has another VTEP, or
// that there are entries that nobody announced, it does not notice. So what the kernel has is
// compared with what zebra has, where the kernel's tables changed, and all of it now and
// then.

// fdbPart is one of the tables of a segment in the kernel.
type fdbPart uint8

const (
	tunnelPart    fdbPart = iota // the VXLAN device's FDB: behind which VTEP a station is
	floodPart                    // the same: a VTEP to which frames to all go
	bridgePart                   // the bridge's FDB: that a station is behind the VXLAN device
	neighbourPart                // of the bridge: the MAC of an address, by which ARP is answered
)

// fdbKey names an entry of a segment.
type fdbKey struct {
	vni  intent.VNI
	part fdbPart
	mac  intent.MAC // tunnel, bridge
	ip   netip.Addr // of the VTEP: flood; of the neighbour
}

// fdbValue is what an entry says.
type fdbValue struct {
	vtep  netip.Addr // tunnel
	mac   intent.MAC // neighbour
	alien bool       // of a neighbour: not as zebra writes it
}

// fdbEntry is an entry as the kernel has it.
type fdbEntry struct {
	fdbValue
	device int // index of its interface: one that is made anew has other entries
	// learned says that it has the mark of a routing daemon, sticky that it may not move.
	learned, sticky bool
}

// fdb are the entries of segments as the kernel has them.
type fdb map[fdbKey]fdbEntry

// fdbScope is what is asked zebra about a segment: all, or some of it.
type fdbScope struct {
	all  bool
	macs map[intent.MAC]bool
	ips  map[netip.Addr]bool
}

// fdbScopes are the scopes of segments.
type fdbScopes map[intent.VNI]*fdbScope

// askedMost is how many stations, or addresses, are asked for one by one; more are asked
// for with all others of their segment.
const askedMost = 16

func (s fdbScopes) add(k fdbKey) {
	sc := s[k.vni]
	if sc == nil {
		sc = &fdbScope{macs: map[intent.MAC]bool{}, ips: map[netip.Addr]bool{}}
		s[k.vni] = sc
	}
	switch k.part {
	case tunnelPart, bridgePart:
		sc.macs[k.mac] = true
	case neighbourPart:
		sc.ips[k.ip] = true
	}
}

// has reports whether an entry is asked for. The flood list always is.
func (s fdbScopes) has(k fdbKey) bool {
	sc := s[k.vni]
	switch {
	case sc == nil:
		return false
	case sc.all || k.part == floodPart:
		return true
	case k.part == neighbourPart:
		return sc.ips[k.ip]
	}
	return sc.macs[k.mac]
}

// changed are the scopes of what differs between two looks at the kernel.
func (f fdb) changed(now fdb) fdbScopes {
	out := fdbScopes{}
	for k, e := range now {
		if was, ok := f[k]; !ok || was != e {
			out.add(k)
		}
	}
	for k := range f {
		if _, ok := now[k]; !ok {
			out.add(k)
		}
	}
	return out
}

// fdbWant is what follows from zebra's tables: what the kernel is to have, and entries
// that it may have or not, since zebra itself is about to decide, or does not mind them.
type fdbWant struct {
	want map[fdbKey]fdbValue
	open map[fdbKey]bool
}

// heard leaves the flood list's entries of VTEPs to zebra which has heard of them: it does
// not say to which of them frames to all go, and puts those back itself.
func (w fdbWant) heard(vni intent.VNI, vteps []netip.Addr) {
	for _, vtep := range vteps {
		w.open[fdbKey{vni: vni, part: floodPart, ip: vtep}] = true
	}
}

// fdbFault says what is wrong with an entry.
type fdbFault uint8

const (
	fdbMissing fdbFault = iota
	fdbWrong
	fdbBogus // nobody announced it
)

// fdbDiff is an entry that is not as zebra has it.
type fdbDiff struct {
	key   fdbKey
	fault fdbFault
	want  fdbValue // not of bogus ones
	have  fdbEntry // not of missing ones
}

// compareFDB finds what the kernel has otherwise than zebra, of what zebra was asked for,
// in a stable order.
func compareFDB(w fdbWant, have fdb, asked fdbScopes) []fdbDiff {
	var out []fdbDiff
	for k, v := range w.want {
		e, ok := have[k]
		switch {
		case w.open[k] || ok && e.fdbValue == v:
		case ok:
			out = append(out, fdbDiff{k, fdbWrong, v, e})
		default:
			out = append(out, fdbDiff{key: k, fault: fdbMissing, want: v})
		}
	}
	for k, e := range have {
		if _, ok := w.want[k]; !ok && !w.open[k] && asked.has(k) {
			out = append(out, fdbDiff{key: k, fault: fdbBogus, have: e})
		}
	}
	slices.SortFunc(out, func(a, b fdbDiff) int { return a.key.compare(b.key) })
	return out
}

func (k fdbKey) compare(o fdbKey) int {
	return cmp.Or(cmp.Compare(k.vni, o.vni), cmp.Compare(k.part, o.part), slices.Compare(k.mac[:], o.mac[:]), k.ip.Compare(o.ip))
}

// fdbTime is how long an entry must be otherwise than zebra has it until it is mended:
// zebra decides first, and then tells the kernel.
const fdbTime = 900 * time.Millisecond

// fdbSettle is how long FRR runs, and is told routes by a reflector, until what it does not
// know, and was there before, is taken for nobody's: zebra has to hear all of it from bgpd,
// and bgpd from the reflector.
const fdbSettle = time.Minute

// fdbDoubt is an entry that is not as zebra has it, since when.
type fdbDoubt struct {
	diff  fdbDiff
	due   time.Time // to be mended
	fresh bool      // it came while somebody looked
	tries int
}

// fdbDoubts are those of one look after the other.
type fdbDoubts map[fdbKey]fdbDoubt

// look takes the differences of a look at what was asked for and returns those that are
// to be mended now. seen is what the look before saw; settled says that FRR knows all, and
// is asked only where that matters.
func (d fdbDoubts) look(diffs []fdbDiff, seen fdb, asked fdbScopes, settled func() bool, now time.Time) (due []fdbDiff) {
	was := maps.Clone(d)
	maps.DeleteFunc(d, func(k fdbKey, _ fdbDoubt) bool { return asked.has(k) || asked[k.vni] == nil })
	for _, x := range diffs {
		doubt, known := was[x.key]
		if !known || doubt.diff != x {
			was, before := seen[x.key]
			doubt = fdbDoubt{diff: x, due: now.Add(fdbTime), fresh: seen != nil && (!before || was != x.have) || known && doubt.fresh, tries: doubt.tries}
		}
		if !now.Before(doubt.due) && (x.fault != fdbBogus || doubt.fresh || settled()) {
			doubt.tries++
			doubt.due = now.Add(fdbTime << min(doubt.tries, 6))
			due = append(due, x)
		}
		d[x.key] = doubt
	}
	return due
}

// open reports whether some entry awaits its second look.
func (d fdbDoubts) open(now time.Time) bool {
	for _, doubt := range d {
		if doubt.tries == 0 && doubt.due.After(now) {
			return true
		}
	}
	return false
}

// leftover reports whether a difference is what zebra itself left behind: it forgets the
// tunnel of a station that moves to a port here.
func (d fdbDoubts) leftover(x fdbDiff) bool {
	return x.fault == fdbBogus && x.have.learned && !d[x.key].fresh
}

// fdbWordsMost is how many entries of a segment are told one by one.
const fdbWordsMost = 3

// fdbRepairs says in words what was mended.
func fdbRepairs(done []fdbDiff) (out []string) {
	type kind struct {
		vni   intent.VNI
		part  fdbPart
		fault fdbFault
	}
	count := map[kind]int{}
	for _, x := range done {
		count[kind{x.key.vni, x.key.part, x.fault}]++
	}
	for _, x := range done {
		k := kind{x.key.vni, x.key.part, x.fault}
		switch n := count[k]; {
		case n == 0: // told
		case n > fdbWordsMost:
			out = append(out, fmt.Sprintf("%d entries, among them %s", n, x))
			count[k] = 0
		default:
			out = append(out, x.String())
		}
	}
	return out
}

// String says what was found, as "bridge fdb" and "ip neighbour" have it, and what was
// done.
func (x fdbDiff) String() string {
	var b strings.Builder
	k := x.key
	switch k.part {
	case tunnelPart:
		fmt.Fprintf(&b, "FDB entry %s dev %s", k.mac, vxlanName(k.vni))
	case floodPart:
		fmt.Fprintf(&b, "FDB entry %s dev %s dst %s", intent.MAC{}, vxlanName(k.vni), k.ip)
	case bridgePart:
		fmt.Fprintf(&b, "FDB entry %s dev %s master", k.mac, vxlanName(k.vni))
	case neighbourPart:
		fmt.Fprintf(&b, "neighbour %s dev %s", k.ip, bridgeName(k.vni))
	}
	switch x.fault {
	case fdbMissing:
		b.WriteString(x.want.words(k.part) + ": was missing; put back")
	case fdbWrong:
		b.WriteString(": had" + x.have.words(k.part) + "; set back to" + x.want.words(k.part))
	case fdbBogus:
		b.WriteString(x.have.words(k.part) + ": was added, and BGP has no such; removed")
	}
	return b.String()
}

// words are what an entry says beside its name.
func (v fdbValue) words(part fdbPart) string {
	switch {
	case part == tunnelPart:
		return " dst " + v.vtep.String()
	case part == neighbourPart && v.alien:
		return " lladdr " + v.mac.String() + ", not FRR's"
	case part == neighbourPart:
		return " lladdr " + v.mac.String()
	}
	return ""
}
