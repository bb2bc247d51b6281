//go:build vm

package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// run runs a program and returns what it prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

func TestGuestHasWhatTheMachineMayLack(t *testing.T) {
	ns := "weft-vm-test"
	run(t, "ip", "netns", "add", ns)
	defer run(t, "ip", "netns", "del", ns)
	run(t, "ip", "-n", ns, "link", "add", "red", "type", "vrf", "table", "100")
	run(t, "ip", "-n", ns, "link", "add", "d0", "type", "dummy")
	run(t, "ip", "-n", ns, "link", "add", "link", "d0", "name", "d0.7", "type", "vlan", "id", "7")
	run(t, "ip", "-n", ns, "link", "set", "d0.7", "master", "red")
	run(t, "ip", "-n", ns, "link", "set", "red", "up")
	run(t, "ip", "-n", ns, "link", "set", "d0", "up")
	run(t, "tc", "-n", ns, "qdisc", "add", "dev", "d0", "root", "netem", "delay", "1ms")
	require.Contains(t, run(t, "ip", "-n", ns, "-d", "link", "show", "d0.7"), "master red")
	require.Contains(t, run(t, "ip", "-n", ns, "-d", "link", "show", "d0.7"), "802.1Q id 7")
	require.Contains(t, run(t, "ip", "-n", ns, "vrf", "show"), "red")
}

func TestGuestWritesNothingToTheMachine(t *testing.T) {
	require.NoError(t, os.WriteFile("/usr/weft-vm-wrote", nil, 0o644))
	require.Contains(t, run(t, "findmnt", "-n", "/"), "overlay")
}
