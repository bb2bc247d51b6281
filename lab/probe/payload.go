package probe

import (
	"fmt"
	"strconv"
	"strings"
)

// ID is what a probe's payload says.
type ID struct {
	Run    string // of this run of the program
	Kind   string // unicast, cross, broadcast, ...
	Source string // host that sent it
	Dest   string // host that it is for; "*" for all of the network
	Seq    int
	Sent   int64 // nanoseconds since the run began
}

const magic = "weft-probe"

// Bytes writes the payload: text, to be read in any packet capture.
func (id ID) Bytes() []byte {
	return fmt.Appendf(nil, "%s %s %s %s %s %d %d", magic, id.Run, id.Kind, id.Source, id.Dest, id.Seq, id.Sent)
}

// ParseID reads a payload; ok is false for anything else than a probe.
func ParseID(b []byte) (id ID, ok bool) {
	if len(b) > 512 {
		return id, false
	}
	f := strings.Split(string(b), " ")
	if len(f) != 7 || f[0] != magic {
		return id, false
	}
	seq, err1 := strconv.Atoi(f[5])
	sent, err2 := strconv.ParseInt(f[6], 10, 64)
	if err1 != nil || err2 != nil {
		return id, false
	}
	return ID{f[1], f[2], f[3], f[4], seq, sent}, true
}
