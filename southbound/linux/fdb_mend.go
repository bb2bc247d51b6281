package linux

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/frr"
	"github.com/weft-sdn/weft/southbound/leafstate"
)

// fdbWhole is how often everything is compared; in between what changed in the kernel.
const fdbWhole = time.Minute

// fdbState is what is known from one look at the forwarding tables to the next.
type fdbState struct {
	seen   fdb // nil before the first
	doubts fdbDoubts
	whole  time.Time // when everything was compared last
	run    string    // of FRR then
	told   string    // why the last look failed
	heard  uint64    // messages of the kernel before the last look
	rev    uint64    // of the state that it was for
	untold time.Time // when no reflector told bgpd a route, as far as was asked
}

// idle reports whether a look would find what the last one did.
func (f fdbState) idle(rev uint64, now time.Time) bool {
	return f.seen != nil && len(f.doubts) == 0 && f.rev == rev && now.Sub(f.whole) < fdbWhole
}

// mendFDB puts entries of the segments' forwarding tables right that are not as zebra has
// them, and still are not at a second look. It returns them in words, and whether a look
// is due soon. What can't be read or written is tried again.
func (s *Switch) mendFDB(ctx context.Context, want leafstate.State) (repaired []string, again bool) {
	now := time.Now()
	done, err := s.lookAtFDB(ctx, want, now)
	why := ""
	if err != nil && ctx.Err() == nil {
		why = err.Error()
	}
	if s.fdb.told != why && why != "" {
		s.log.Warn("forwarding tables can't be compared with zebra's, or mended; trying again", "err", err)
	}
	s.fdb.told = why
	return fdbRepairs(done), s.fdb.doubts.open(now)
}

func (s *Switch) lookAtFDB(ctx context.Context, want leafstate.State, now time.Time) (told []fdbDiff, err error) {
	f := &s.fdb
	if f.doubts == nil {
		f.doubts = fdbDoubts{}
	}
	run, since, err := frrRun(s.config.FRRDir)
	if err != nil {
		f.seen = nil
		return nil, err
	}
	if run != f.run { // zebra has to hear everything anew
		*f = fdbState{run: run, doubts: fdbDoubts{}, told: f.told}
	}
	quiet, heard := s.config.Tables.quiet(f.heard)
	if quiet && f.idle(want.Revision, now) {
		return nil, nil
	}
	f.heard, f.rev = heard, want.Revision
	k, err := readFDB(want)
	if err != nil {
		f.seen = nil
		return nil, err
	}
	asked, whole := f.seen.changed(k.entries), now.Sub(f.whole) >= fdbWhole
	for key := range f.doubts {
		asked.add(key)
	}
	for vni := range k.devices {
		if whole {
			asked[vni] = &fdbScope{all: true}
		}
	}
	w, err := s.zebraHas(ctx, k, asked)
	if err != nil {
		f.seen = nil // what changed is to be asked again
		return nil, err
	}
	if whole {
		f.whole = now
	}
	settled := sync.OnceValue(func() (yes bool) {
		yes, err = s.settled(ctx, want, since, now)
		return yes
	})
	due := f.doubts.look(compareFDB(w, k.entries, asked), f.seen, asked, settled, now)
	f.seen = k.entries
	if len(due) == 0 {
		return nil, err
	}
	told, unmended := s.mendEntries(ctx, k, due)
	return told, errors.Join(err, unmended)
}

// mendEntries mends, and takes back what zebra gave up meanwhile.
func (s *Switch) mendEntries(ctx context.Context, k fdbKernel, due []fdbDiff) (told []fdbDiff, err error) {
	asked := fdbScopes{}
	var wrote []fdbDiff
	for _, x := range due {
		if e := k.mend(x); e != nil {
			err = e
			continue
		}
		switch {
		case s.fdb.doubts.leftover(x):
			s.log.Info("an entry that zebra left behind is removed", "what", x.String())
		case x.fault == fdbBogus:
			told = append(told, x)
		default:
			asked.add(x.key)
			wrote = append(wrote, x)
		}
	}
	if len(wrote) == 0 {
		return told, err
	}
	w, e := s.zebraHas(ctx, k, asked)
	if e != nil {
		return told, e
	}
	for _, x := range wrote {
		if v, still := w.want[x.key]; !still || v != x.want {
			if e := k.remove(x.key, x.want); e != nil {
				err = e
			}
			continue
		}
		told = append(told, x)
	}
	return told, err
}

// frrRun names the run of zebra and bgpd, and says since when it is.
func frrRun(dir string) (run string, since time.Time, err error) {
	for _, daemon := range []string{"zebra", "bgpd"} {
		at, err := daemonStart(dir, daemon)
		if err != nil {
			return "", time.Time{}, fmt.Errorf("%s does not run: %w", daemon, err)
		}
		run += at.String() + " "
		if at.After(since) {
			since = at
		}
	}
	return run, since, nil
}

// settled reports whether what zebra does not know, and was there before, is nobody's:
// FRR has been running for long, and all the while bgpd was told routes by a reflector. One
// that tells none may not know any yet, as a keeper that was started anew while the
// controllers are away.
func (s *Switch) settled(ctx context.Context, want leafstate.State, since, now time.Time) (bool, error) {
	up, err := s.reflected(ctx, want, 1)
	if err != nil || up == 0 {
		s.fdb.untold = now
		return false, err
	}
	return min(up, now.Sub(since), now.Sub(s.fdb.untold)) >= s.settle, nil
}

// zebraHas asks zebra. A segment that zebra does not know, or by another device than the
// kernel's, is taken out of what is asked for: zebra is about to learn of it.
func (s *Switch) zebraHas(ctx context.Context, k fdbKernel, asked fdbScopes) (fdbWant, error) {
	w := fdbWant{map[fdbKey]fdbValue{}, map[fdbKey]bool{}}
	for vni, sc := range asked {
		d, ok := k.devices[vni]
		if !ok {
			delete(asked, vni)
			continue
		}
		text, err := s.askZebra(ctx, "show evpn vni %d json", vni)
		if err != nil {
			return w, err
		}
		has, err := frr.ParseEVPNVNI(text)
		if err != nil {
			return w, err
		}
		if has.VXLAN != d.vxlan {
			delete(asked, vni)
			continue
		}
		w.heard(vni, has.VTEPs)
		macs, err := s.askStations(ctx, vni, sc)
		if err != nil {
			return w, err
		}
		ips, err := s.askNeighbours(ctx, vni, sc)
		if err != nil {
			return w, err
		}
		w.take(vni, macs, ips, k)
	}
	return w, nil
}

func (s *Switch) askZebra(ctx context.Context, format string, args ...any) ([]byte, error) {
	return VTY(ctx, s.config.FRRDir, "zebra", fmt.Sprintf(format, args...))
}

// askStations asks zebra for the stations of a scope.
func (s *Switch) askStations(ctx context.Context, vni intent.VNI, sc *fdbScope) (map[intent.MAC]frr.EVPNPlace, error) {
	if sc.all || len(sc.macs) > askedMost {
		text, err := s.askZebra(ctx, "show evpn mac vni %d json", vni)
		if err != nil {
			return nil, err
		}
		return frr.ParseEVPNMACs(text)
	}
	out := map[intent.MAC]frr.EVPNPlace{}
	for mac := range sc.macs {
		text, err := s.askZebra(ctx, "show evpn mac vni %d mac %s json", vni, mac)
		if err != nil {
			return nil, err
		}
		one, err := frr.ParseEVPNMACs(text)
		if err != nil {
			return nil, err
		}
		if p, ok := one[mac]; ok {
			out[mac] = p
		}
	}
	return out, nil
}

// askNeighbours asks zebra for the addresses of a scope.
func (s *Switch) askNeighbours(ctx context.Context, vni intent.VNI, sc *fdbScope) (map[netip.Addr]frr.EVPNPlace, error) {
	if sc.all || len(sc.ips) > askedMost {
		text, err := s.askZebra(ctx, "show evpn arp-cache vni %d json", vni)
		if err != nil {
			return nil, err
		}
		return frr.ParseEVPNNeighbours(text)
	}
	out := map[netip.Addr]frr.EVPNPlace{}
	for ip := range sc.ips {
		text, err := s.askZebra(ctx, "show evpn arp-cache vni %d ip %s json", vni, ip)
		if err != nil {
			return nil, err
		}
		one, err := frr.ParseEVPNNeighbours(text)
		if err != nil {
			return nil, err
		}
		if p, ok := one[ip]; ok {
			out[ip] = p
		}
	}
	return out, nil
}

// take notes what follows from zebra's stations and neighbours of a segment. Of a station
// that zebra has elsewhere, or the bridge behind a port, zebra is about to decide, or the
// tunnel's entry does no harm.
func (w fdbWant) take(vni intent.VNI, macs map[intent.MAC]frr.EVPNPlace, ips map[netip.Addr]frr.EVPNPlace, k fdbKernel) {
	for mac, p := range macs {
		tunnel, bridge := fdbKey{vni: vni, part: tunnelPart, mac: mac}, fdbKey{vni: vni, part: bridgePart, mac: mac}
		if !p.VTEP.IsValid() || k.ports[station{vni, mac}] {
			w.open[tunnel], w.open[bridge] = true, true
			continue
		}
		w.want[tunnel], w.want[bridge] = fdbValue{vtep: p.VTEP}, fdbValue{}
	}
	for ip, p := range ips {
		key := fdbKey{vni: vni, part: neighbourPart, ip: ip}
		if e, have := k.entries[key]; !p.VTEP.IsValid() {
			// zebra takes what a person wrote for a neighbour at a port of ours. Those the
			// kernel resolves, and does not hold for good.
			w.open[key] = !have || e.learned
			continue
		}
		w.want[key] = fdbValue{mac: p.MAC}
	}
}
