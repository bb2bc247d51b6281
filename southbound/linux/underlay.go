package linux

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/fabric/device"
	"github.com/weft-sdn/weft/southbound/frr"
)

// Underlay configures a switch as a part of the underlay: addresses, MTU and settings
// of its kernel, and FRR, of which only what differs is told. What it does not own it
// leaves alone: see frr.Changes, and underlayKernel.
//
// It works in the network namespace of the thread that calls; all calls must come
// from that namespace, one at a time.
type Underlay struct {
	dir string // of FRR's sockets
	log *slog.Logger

	good    *device.State // that Apply brought in place last
	refused bool          // the kernel may have refused routes: see installAgain
	daemons map[string]*daemonView
}

// daemonView is what is known of a daemon's configuration.
type daemonView struct {
	run     string          // of the daemon
	unshown map[string]bool // lines that it takes and does not show
	clean   [sha256.Size]byte
	want    string // for which clean holds
	judge   bool   // bgpd is still to judge routes by what changed
}

// NewUnderlay returns the underlay's part of the switch whose FRR has its sockets in
// a folder.
func NewUnderlay(frrDir string, log *slog.Logger) *Underlay {
	return &Underlay{dir: frrDir, log: log, daemons: map[string]*daemonView{}}
}

// RefusedError says that a daemon does not take a line.
type RefusedError struct{ Err error }

// Error has the daemon's own words.
func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Err }

// Refused says that the state itself is at fault, not the moment.
func (e *RefusedError) Refused() bool { return true }

// Apply makes the switch what the state says. last is the state that was wanted
// before; it may be nil, and then only what stands at things of ours is taken away. When
// the state was in place already, what had to be done was changed by others since:
// it is returned in words.
func (u *Underlay) Apply(ctx context.Context, want device.State, last *device.State) (repaired []string, err error) {
	conf, err := frr.Render(want)
	if err != nil {
		return nil, &RefusedError{err}
	}
	var before frr.Config
	if last != nil {
		if before, err = frr.Render(*last); err != nil {
			return nil, &RefusedError{err}
		}
	}
	known := u.good != nil && u.good.Equal(want)
	done, sources, err := bringUnderlay(want, last, !known)
	errs := []error{err}
	daemons := conf.Daemons()
	for _, d := range before.Daemons() {
		if !slices.Contains(daemons, d) && u.runs(d) {
			daemons = append(daemons, d)
		}
	}
	for _, d := range daemons {
		told, err := u.reload(ctx, d, conf.Daemon(d), before.Daemon(d))
		done, errs = append(done, told...), append(errs, err)
	}
	if u.refused = u.refused || sources; u.refused {
		err := u.installAgain(ctx, conf)
		errs = append(errs, err)
		u.refused = err != nil
	}
	if err := errors.Join(errs...); err != nil {
		u.good = nil
		return nil, err
	}
	u.good = &want
	if !known {
		return nil, nil
	}
	return done, nil
}

// runs reports whether a daemon has a command socket.
func (u *Underlay) runs(daemon string) bool {
	_, err := os.Stat(filepath.Join(u.dir, daemon+".vty"))
	return err == nil
}

// installAgain has zebra give the kernel all routes once more, by taking the route maps
// of their sources away and back. When the address is missing from which routes are to be
// sent, the kernel drops and refuses them; zebra takes them for rejected, and their next
// hops for unreachable, and does not try again by itself.
func (u *Underlay) installAgain(ctx context.Context, conf frr.Config) error {
	for _, line := range strings.Split(conf.Daemon("zebra"), "\n") {
		if !strings.HasPrefix(line, "ip protocol ") && !strings.HasPrefix(line, "ipv6 protocol ") {
			continue
		}
		if _, err := VTY(ctx, u.dir, "zebra", "configure terminal", "no "+line, line, "end"); err != nil {
			return fmt.Errorf("have zebra install its routes again: %w", err)
		}
	}
	return nil
}

// reload brings one daemon in line and says what differed.
func (u *Underlay) reload(ctx context.Context, daemon, want, last string) ([]string, error) {
	v := u.daemons[daemon]
	run, err := daemonRun(u.dir, daemon)
	if err != nil {
		return nil, fmt.Errorf("%s is not running, and the switch needs it: start it, on Debian by %s=yes in /etc/frr/daemons: %w", daemon, daemon, err)
	}
	fresh := v != nil && v.run != run
	if v == nil || fresh {
		// Whether an agent before this one came to it is not known.
		v = &daemonView{run: run, judge: daemon == "bgpd" && v == nil}
		u.daemons[daemon] = v
	}
	have, err := VTY(ctx, u.dir, daemon, "show running-config")
	if err != nil {
		return nil, err
	}
	if v.want == want && v.clean == sha256.Sum256(have) {
		return nil, u.judgeAgain(ctx, v)
	}
	changes := frr.Changes(frr.Reload{Have: string(have), Want: want, Last: last, Unshown: v.unshown})
	var told []string
	if len(changes) > 0 {
		v.judge = v.judge || daemon == "bgpd" && frr.Judges(changes)
		if err := u.tell(ctx, daemon, changes); err != nil {
			return nil, err
		}
		told = describe(daemon, changes, fresh)
		if have, err = VTY(ctx, u.dir, daemon, "show running-config"); err != nil {
			return nil, err
		}
	}
	v.want, v.clean, v.unshown = want, sha256.Sum256(have), frr.Unshown(string(have), want)
	return told, u.judgeAgain(ctx, v)
}

// judgeAgain has bgpd hold the routes that it has against lists and route maps that
// changed, until it was asked to.
func (u *Underlay) judgeAgain(ctx context.Context, v *daemonView) error {
	if !v.judge {
		return nil
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		_, err := VTY(ctx, u.dir, "bgpd", "clear bgp "+family+" unicast * soft")
		var words *vtyError
		if err != nil && !errors.As(err, &words) { // an instance without neighbours has words
			return fmt.Errorf("have bgpd judge its routes again: %w", err)
		}
	}
	v.judge = false
	return nil
}

// tell gives a daemon the changes.
func (u *Underlay) tell(ctx context.Context, daemon string, changes []frr.Change) error {
	u.log.Debug("configuring FRR", "daemon", daemon, "changes", changes)
	_, err := VTY(ctx, u.dir, daemon, append(append([]string{"configure terminal"}, frr.Commands(changes)...), "end")...)
	var words *vtyError
	if errors.As(err, &words) {
		return &RefusedError{err}
	}
	return err
}

// most is how many changes of a daemon are told one by one.
const most = 8

// describe says what differed.
func describe(daemon string, changes []frr.Change, fresh bool) []string {
	if fresh {
		return []string{daemon + " was started anew: it was configured again"}
	}
	var out []string
	for i, c := range changes {
		if i == most {
			out = append(out, fmt.Sprintf("%s: %d more changes", daemon, len(changes)-most))
			break
		}
		out = append(out, daemon+": "+strings.TrimSuffix(c.String(), " / "))
	}
	return out
}
