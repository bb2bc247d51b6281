package topology

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"strings"
)

// maxInterface is the longest interface name of Linux: IFNAMSIZ without the
// closing zero.
const maxInterface = 15

// kernelName reports whether Linux accepts the name (dev_valid_name), and
// whether it is printable ASCII.
func kernelName(s string) bool {
	if s == "" || len(s) > maxInterface || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '/' || s[i] == ':' {
			return false
		}
	}
	return true
}

var (
	srlLong  = regexp.MustCompile(`^(?i:ethernet)-(\d+)/(\d+)(?:/(\d+))?$`)
	eosLong  = regexp.MustCompile(`^(?i:ethernet|et)(\d+)(?:/(\d+))?(?:/(\d+))?$`)
	longType = regexp.MustCompile(`^[A-Za-z]+`)
	// Interface types as Cisco shortens them.
	shortTypes = map[string]string{
		"fastethernet": "Fa", "gigabitethernet": "Gi", "tengigabitethernet": "Te", "tengige": "Te",
		"twentyfivegige": "Twe", "twentyfivegigabitethernet": "Twe", "fortygige": "Fo",
		"fortygigabitethernet": "Fo", "fiftygige": "Fi", "hundredgige": "Hu", "hundredgigabitethernet": "Hu",
		"twohundredgige": "TwoH", "fourhundredgige": "FH", "managementethernet": "Mg",
	}
)

// kernelInterface is the name that an interface has in the kernel of a lab's
// node. What Linux accepts is kept. Names of vendors become the names that
// their containers use: ethernet-1/1 of SR Linux e1-1, Ethernet3/1 of EOS
// eth3_1. Other names lose what Linux refuses: ge-0/0/0 becomes ge-0-0-0,
// GigabitEthernet0/0/0/1 Gi0-0-0-1, and 1/1/2 p1-1-2. What is still too long
// ends in a hash.
func kernelInterface(written, kind string) string {
	if m := srlLong.FindStringSubmatch(written); m != nil {
		return shorten(joinParts("e"+m[1], "-", m[2:]), written)
	}
	if strings.Contains(kind, "ceos") || strings.Contains(kind, "veos") {
		if m := eosLong.FindStringSubmatch(written); m != nil {
			return shorten(joinParts("eth"+m[1], "_", m[2:]), written)
		}
	}
	if kernelName(written) {
		return written
	}
	name := written
	if t := longType.FindString(name); shortTypes[strings.ToLower(t)] != "" {
		name = shortTypes[strings.ToLower(t)] + name[len(t):]
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case r == '/' || r <= ' ' || r >= 0x7f:
			return '-'
		case r == ':':
			return '_'
		}
		return r
	}, name)
	if name != "" && (name[0] >= '0' && name[0] <= '9' || name[0] == '.' || name[0] == '-') {
		name = "p" + name
	}
	return shorten(name, written)
}

func joinParts(s, sep string, parts []string) string {
	for _, p := range parts {
		if p != "" {
			s += sep + p
		}
	}
	return s
}

// shorten makes a name fit: its start, and a hash of what was written.
func shorten(name, written string) string {
	if len(name) <= maxInterface {
		return name
	}
	h := fnv.New32a()
	h.Write([]byte(written))
	return fmt.Sprintf("%s-%06x", name[:maxInterface-7], h.Sum32()&0xffffff)
}
