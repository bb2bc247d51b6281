package engine

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay"
	"github.com/weft-sdn/weft/southbound"
)

// alarmsKept bounds the alarms in memory; what comes beyond is only logged.
const alarmsKept = 4096

// Alarm is a state that a person must look at. It lasts until its cause is gone
// or, where the cause can't be seen to go, until it is cleared.
type Alarm struct {
	ID      string // short and stable: the same for the same device, reason and object
	Device  string
	Reason  string
	Object  string
	Message string
	Since   time.Time // first raised
	Last    time.Time // last raised again
	Count   int       // times raised
}

// Errors of ClearAlarm.
var (
	ErrNoAlarm  = errors.New("no such alarm")
	ErrNotClear = errors.New("the alarm ends by itself when its cause is gone")
)

// alarms are those that last.
type alarms struct {
	mu  sync.Mutex
	all map[string]*Alarm
}

func alarmID(device, reason, object string) string {
	h := sha256.Sum256([]byte(device + "\x00" + reason + "\x00" + object))
	return hex.EncodeToString(h[:5])
}

// raise reports whether the alarm is new.
func (a *alarms) raise(device, reason, object, message string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	id, now := alarmID(device, reason, object), time.Now()
	if have := a.all[id]; have != nil {
		have.Message, have.Last = message, now
		have.Count++
		return false
	}
	if len(a.all) < alarmsKept {
		if a.all == nil {
			a.all = map[string]*Alarm{}
		}
		a.all[id] = &Alarm{ID: id, Device: device, Reason: reason, Object: object, Message: message, Since: now, Last: now, Count: 1}
	}
	return true
}

// end ends an alarm, of any device when none is named. It reports whether
// there was one.
func (a *alarms) end(device, reason, object string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	ended := false
	for id, have := range a.all {
		if (device == "" || have.Device == device) && have.Reason == reason && have.Object == object {
			delete(a.all, id)
			ended = true
		}
	}
	return ended
}

// endDevice ends all alarms of a device.
func (a *alarms) endDevice(device string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, have := range a.all {
		if have.Device == device {
			delete(a.all, id)
		}
	}
}

// endReasons ends all alarms of a device that have one of the reasons.
func (a *alarms) endReasons(device string, reasons []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, have := range a.all {
		if have.Device == device && slices.Contains(reasons, have.Reason) {
			delete(a.all, id)
		}
	}
}

// recovered is the reason of a driver's event that its device is well again.
const recovered = "Recovered"

// troubles are the reasons of a driver's events that its device is not: one at a
// time, until the device has recovered.
var troubles = []string{southbound.CodeUnreachable, southbound.CodeNotReady, southbound.CodeRefused}

// trouble keeps the alarm that a device is not as it should be. The event that
// it is made of is logged.
func (e *Engine) trouble(s *session, ev southbound.Event) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.sessions[s.node] != s {
		return // replaced or gone, and its alarms with it
	}
	if n := s.spec.EVPN; n != nil && n.Unmanaged {
		return // all that can be lost is the BGP session, which has an alarm of its own
	}
	others := slices.DeleteFunc(slices.Clone(troubles), func(r string) bool { return r == ev.Reason })
	e.alarms.endReasons(s.node, others)
	if ev.Reason != recovered {
		e.alarms.raise(s.node, ev.Reason, "the device", ev.Message)
	}
}

// Alarms lists what lasts, the oldest first.
func (e *Engine) Alarms() []Alarm {
	e.alarms.mu.Lock()
	defer e.alarms.mu.Unlock()
	out := make([]Alarm, 0, len(e.alarms.all))
	for _, a := range e.alarms.all {
		out = append(out, *a)
	}
	slices.SortFunc(out, func(a, b Alarm) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	return out
}

// alarm raises an alarm, or ends it when the message is empty, and tells of the
// first time and of the end.
func (e *Engine) alarm(device string, key southbound.AlarmKey, message string) {
	switch {
	case message != "" && e.alarms.raise(device, key.Reason, key.Object, message):
		e.events.add(southbound.Event{Severity: southbound.Warning, Device: device, Object: key.Object, Reason: key.Reason, Message: message})
		e.log.Warn(message, "device", device, "reason", key.Reason, "object", key.Object)
	case message == "" && e.alarms.end(device, key.Reason, key.Object):
		e.events.add(southbound.Event{Severity: southbound.Normal, Device: device, Object: key.Object, Reason: key.Reason, Message: "the alarm ended"})
		e.log.Info("the alarm ended", "device", device, "reason", key.Reason, "object", key.Object)
	}
}

// takeAlarms passes on what the model raised and ended. The caller holds the
// lock.
func (e *Engine) takeAlarms() {
	for _, a := range e.model.TakeAlarms() {
		if e.bgp != nil {
			e.bgp.doubtAfter(a)
		}
		e.alarm(a.Device, southbound.AlarmKey{Reason: a.Reason, Object: a.Object}, a.Message)
	}
}

// ClearAlarm ends an alarm whose cause can't be seen to go: a duplicate MAC may
// move again (RFC 7432 section 15.1).
func (e *Engine) ClearAlarm(id string) error {
	e.alarms.mu.Lock()
	a := e.alarms.all[id]
	e.alarms.mu.Unlock()
	if a == nil {
		return fmt.Errorf("alarm %s: %w", id, ErrNoAlarm)
	}
	if a.Reason != overlay.AlarmDuplicateMAC {
		return fmt.Errorf("alarm %s (%s of %s): %w", id, a.Reason, a.Device, ErrNotClear)
	}
	v, mac, ok := parseDuplicate(a.Object)
	if !ok {
		return fmt.Errorf("alarm %s (%s): %w", id, a.Object, ErrNotClear)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.model.ClearDuplicate(v, mac) { // it froze in an earlier table
		e.alarm(a.Device, southbound.AlarmKey{Reason: a.Reason, Object: a.Object}, "")
		return nil
	}
	e.wakeTouched()
	e.broadcast()
	return nil
}

// parseDuplicate reads what overlay.DuplicateObject wrote.
func parseDuplicate(object string) (intent.VNI, intent.MAC, bool) {
	var v intent.VNI
	var text string
	if _, err := fmt.Sscanf(object, "VNI %d MAC %s", &v, &text); err != nil {
		return 0, intent.MAC{}, false
	}
	mac, err := intent.ParseMAC(strings.TrimSpace(text))
	return v, mac, err == nil
}
