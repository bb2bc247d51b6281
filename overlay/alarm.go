package overlay

import (
	"fmt"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/overlay/evpn"
)

// Alarm is raised, or with an empty message ended.
type Alarm struct {
	Device string // who caused it; any when it ends
	Reason string
	Object string
	// Message is a sentence for people.
	Message string
}

// Reasons of alarms.
const (
	AlarmDuplicateMAC = "DuplicateMAC" // a MAC moves back and forth (RFC 7432 section 15.1)
	AlarmSpoofing     = "Spoofing"     // an edge announces what is another port's
	AlarmUnknownVNI   = "UnknownVNI"   // a route for a VNI that no network has
)

type alarmKey struct{ reason, object string }

// DuplicateObject names what an alarm DuplicateMAC is about.
func DuplicateObject(v intent.VNI, mac intent.MAC) string {
	return fmt.Sprintf("VNI %d MAC %s", v, mac)
}

func (m *Model) spoofed(v intent.VNI, k evpn.Key) alarmKey {
	if k.IP.IsValid() {
		return alarmKey{AlarmSpoofing, fmt.Sprintf("VNI %d MAC %s address %s", v, k.MAC, k.IP)}
	}
	return alarmKey{AlarmSpoofing, fmt.Sprintf("VNI %d MAC %s", v, k.MAC)}
}

// say counts the causes of an edge's alarm up or down; the first raises it, the
// last gone ends it.
func (m *Model) say(node string, e *edge, k alarmKey, by int, message string) {
	n := e.said[k]
	if by < 0 && n == 0 {
		return
	}
	if n+by > 0 {
		e.said[k] = n + by
	} else {
		delete(e.said, k)
	}
	if n == 0 || n+by == 0 {
		m.alarms = append(m.alarms, Alarm{Device: node, Reason: k.reason, Object: k.object, Message: message})
	}
}

// TakeAlarms returns what was raised and ended since the last call.
func (m *Model) TakeAlarms() []Alarm {
	out := m.alarms
	m.alarms = nil
	return out
}
