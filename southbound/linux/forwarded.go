package linux

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// forwarded counts the IP packets that the kernel has passed on, of both versions
// (ipIfStatsOutForwDatagrams of RFC 4293): not what the switch itself sends, such as
// BGP and BFD.
func forwarded() (uint64, error) {
	four, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		return 0, fmt.Errorf("count forwarded packets: %w", err)
	}
	n, err := forwarded4(string(four))
	if err != nil {
		return 0, err
	}
	six, err := os.ReadFile("/proc/thread-self/net/snmp6")
	if err != nil {
		return n, nil // a kernel without IPv6
	}
	return n + forwarded6(string(six)), nil
}

// forwarded4 reads ForwDatagrams of /proc/net/snmp, where a line has the names of a
// protocol's counters and the next one their values.
func forwarded4(snmp string) (uint64, error) {
	var names []string
	for l := range strings.Lines(snmp) {
		f := strings.Fields(l)
		switch {
		case len(f) == 0 || f[0] != "Ip:":
		case names == nil:
			names = f
		default:
			if i := slices.Index(names, "ForwDatagrams"); i > 0 && i < len(f) {
				return strconv.ParseUint(f[i], 10, 64)
			}
		}
	}
	return 0, errors.New("count forwarded packets: the kernel tells no ForwDatagrams")
}

// forwarded6 reads Ip6OutForwDatagrams of /proc/net/snmp6; zero when it is not there.
func forwarded6(snmp6 string) uint64 {
	for l := range strings.Lines(snmp6) {
		if f := strings.Fields(l); len(f) == 2 && f[0] == "Ip6OutForwDatagrams" {
			n, _ := strconv.ParseUint(f[1], 10, 64)
			return n
		}
	}
	return 0
}
