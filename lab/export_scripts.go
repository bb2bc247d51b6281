package lab

import (
	"fmt"
	"maps"
	"net/netip"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/frr"
)

// Where a container's daemons have their files: where Debian's packages have
// them, so that vtysh and ovs-vsctl find them.
const (
	frrRun  = "/run/frr"
	ovsRun  = "/run/openvswitch"
	ovsDB   = "/etc/openvswitch/conf.db"
	vtepDB  = "/etc/openvswitch/vtep.db"
	weftBin = "weft"
)

// script collects the lines of a start script.
type script struct{ strings.Builder }

func (s *script) add(format string, args ...any) {
	fmt.Fprintf(s, format, args...)
	s.WriteByte('\n')
}

// run adds a command with each word quoted as need be.
func (s *script) run(words ...string) { s.add("%s", command(words)) }

// daemon adds a command that goes on in the background, and with which the
// container ends.
func (s *script) daemon(words ...string) { s.add("daemon %s", command(words)) }

func command(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = shellQuote(w)
	}
	return strings.Join(quoted, " ")
}

// shellQuote quotes a word for a shell when it has other than plain characters.
func shellQuote(w string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=,@%+", r)
	}
	if w != "" && strings.IndexFunc(w, func(r rune) bool { return !plain(r) }) < 0 {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}

// begin is the head of each script: what waits, and what ends the container.
func begin(what string) *script {
	s := &script{}
	s.add("#!/bin/bash")
	s.add("# %s. Written by \"weft lab export\".", what)
	s.WriteString(`set -euo pipefail
trap 'exit 1' USR1
trap 'trap "" TERM; kill 0; exit 0' TERM INT

# daemon COMMAND...: in the background; when it ends, so does the container.
daemon() {
  { "$@" || true; echo "ended: $*" >&2; kill -USR1 $$; } &
}

# await COMMAND...: until it succeeds, for a minute at most.
await() {
  for ((n = 0; n < 600; n++)); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
  echo "in vain: $*" >&2; exit 1
}

`)
	return s
}

// end waits: for a signal, or for a daemon to end.
func (s *script) end() string {
	s.add("")
	s.add("echo started")
	s.add("wait")
	return s.String()
}

// script is a node's start script. It does what startNode does in a namespace.
func (e *exporter) script(n Node) (string, error) {
	switch {
	case n.Router != nil:
		return e.routerScript(n), nil
	case n.VTEP != nil:
		return e.vswitchScript(n), nil
	case n.Role == intent.RoleVM || n.Role == intent.RoleServer:
		return e.hostScript(n), nil
	}
	return "", fmt.Errorf("%s: a %s can't be exported", n.Name, n.Role)
}

// settings sets what the kernel is to do: before the links are there, and then
// on each of them, because the two may come in any order.
func (e *exporter) settings(s *script, n Node, sysctls map[string]string) {
	s.add("# The kernel's settings; containerlab plugs the links in meanwhile.")
	file := func(key string) string { return "/proc/sys/" + strings.ReplaceAll(key, ".", "/") }
	var each []string
	for _, k := range slices.Sorted(maps.Keys(sysctls)) {
		s.add("%s", setting(file(k), sysctls[k]))
		if before, after, ok := strings.Cut(k, ".conf.default."); ok {
			each = append(each, "  "+setting(file(before+".conf.$i."+after), sysctls[k]))
		}
	}
	ends := e.state.ends(n.Name)
	if len(ends) == 0 {
		return
	}
	var names []string
	for _, x := range ends {
		names = append(names, shellQuote(x.Interface))
	}
	s.add("for i in %s; do", strings.Join(names, " "))
	s.add("  await test -e /sys/class/net/$i")
	for _, line := range each {
		s.add("%s", line)
	}
	s.add("  ip link set $i up")
	s.add("done")
	if n.Router != nil || n.VTEP != nil {
		for _, x := range ends {
			if !x.MAC.IsZero() {
				s.run("ip", "link", "set", x.Interface, "address", x.MAC.String())
			}
		}
		s.add("# The way to the host is no way for the fabric's packets.")
		s.add("ip route del default dev eth0 2>/dev/null || true")
		s.add("ip -6 route del default dev eth0 2>/dev/null || true")
	}
	s.add("")
}

// setting is the line that writes a setting; a kernel without IPv6 has none of
// its.
func setting(file, value string) string {
	if strings.Contains(file, "/ipv6/") || frr.Optional(strings.ReplaceAll(strings.TrimPrefix(file, "/proc/sys/"), "/", ".")) {
		return fmt.Sprintf("[ ! -e %s ] || echo %s >%s", file, value, file)
	}
	return fmt.Sprintf("echo %s >%s", value, file)
}

// agentDir is where a container's agent keeps its last good state.
const agentDir = "/var/lib/weft-agent"

// routerScript runs FRR, and Weft's agent, and on an EVPN leaf its keeper. The agent does
// what a switch without one reads from its file.
func (e *exporter) routerScript(n Node) string {
	s := begin("Switch " + n.Name + " of lab " + e.state.Name + ": FRR")
	e.settings(s, n, n.Router.Sysctls)
	e.addressLines(s, n)
	conf := path.Join(frrRun, emptyConf)
	s.add("install -d -o frr -g frr %s", frrRun)
	s.add("touch /etc/frr/vtysh.conf")
	if e.byAgent(n) {
		s.add("install -o frr -g frr -m 640 %s %s", path.Join(nodeMount, emptyConf), conf)
	} else {
		s.add("install -o frr -g frr -m 640 %s /etc/frr/%s", path.Join(nodeMount, frrConf), frrConf)
		s.add("echo hostname %s >%s", n.Name, conf)
	}
	for _, d := range n.Router.Daemons {
		args := []string{path.Join(frrDir, d), "-f", conf, "-A", "127.0.0.1", "-P", "0"}
		if d == "zebra" {
			args = append(args, "-s", "8388608", "-K", "20")
		}
		s.daemon(args...)
		s.run("await", "vtysh", "-d", d, "-c", "show version")
		if d == "bfdd" { // all nodes share a machine: one that is busy must not look like a link that is down
			s.add(`chrt --rr --pid 1 "$(cat %s/bfdd.pid)" || echo "bfdd runs without a real-time priority" >&2`, frrRun)
		}
	}
	if !e.byAgent(n) {
		s.add("vtysh -b")
	}
	if n.Agent && !e.rendered {
		s.add("")
		if n.EVPN {
			s.daemon(e.state.keeperArgs(weftBin, n)...)
		}
		if e.byAgent(n) {
			state := path.Join(agentDir, agentState)
			s.add("# What the agent has until the controller answers; then what that told it last.")
			s.add("[ -e %s ] || install -D -m 600 %s %s", state, path.Join(nodeMount, agentState), state)
		}
		s.daemon(e.state.agentArgs(weftBin, n, frrRun, agentDir)...)
	}
	return s.end()
}

// addressLines set the addresses that no daemon owns, and routes.
func (e *exporter) addressLines(s *script, n Node) {
	for _, a := range n.Addresses {
		s.run("ip", "address", "replace", a.Prefix.String(), "dev", a.Interface)
	}
	for _, g := range n.Gateways {
		to := "default"
		if g.To.IsValid() {
			to = g.To.String()
		}
		s.run("ip", "route", "replace", to, "via", g.Via.String(), "dev", g.Interface, "onlink")
	}
}

// vswitchScript runs Open vSwitch as startVSwitch does, and on a hardware VTEP
// the emulator.
func (e *exporter) vswitchScript(n Node) string {
	what, hardware := "Hypervisor "+n.Name, n.Role == intent.RoleVTEP
	if hardware {
		what = "Hardware VTEP " + n.Name
	}
	s := begin(what + " of lab " + e.state.Name + ": Open vSwitch")
	e.settings(s, n, hostSysctls)
	e.addressLines(s, n)
	s.add("mkdir -p %s %s /var/log/openvswitch", ovsRun, filepath.Dir(ovsDB))
	s.add("rm -f %s %s", ovsDB, vtepDB)
	s.run("ovsdb-tool", "create", ovsDB, ovsSchema)
	databases := []string{ovsDB}
	if hardware {
		s.run("ovsdb-tool", "create", vtepDB, vtepSchema)
		databases = append(databases, vtepDB)
	}
	sock := ovsRun + "/db.sock"
	s.daemon(slices.Concat([]string{"ovsdb-server", "--pidfile", "-vsyslog:off", "-vconsole:info"}, databases,
		[]string{"--remote=punix:" + sock, fmt.Sprintf("--remote=ptcp:%d", ovsdbPort)})...)
	s.add("await test -S %s", sock)
	s.daemon("ovs-vswitchd", "unix:"+sock, "--pidfile", "-vsyslog:off", "-vconsole:info", "--disable-system")
	s.run(append([]string{"ovs-vsctl", "--timeout=30"}, vswitchSetup(e.state, n)...)...)
	e.underlayLines(s, n.VTEP)
	if hardware {
		s.run(append([]string{"vtep-ctl", "--timeout=30"}, vtepSetup(e.state, n)...)...)
		s.daemon(python, vtepEmulator, "-vsyslog:off", "--pidfile="+ovsRun+"/ovs-vtep.pid", switchName)
		s.add("await ovs-vsctl --timeout=10 br-exists %s", bridgeBFD)
	}
	return s.end()
}

// underlayLines do what underlayOf does.
func (e *exporter) underlayLines(s *script, v *VTEP) {
	if v.Uplink == "" {
		return
	}
	s.run("ip", "link", "set", v.Uplink, "arp", "off")
	s.run("ip", "link", "set", bridgePhy, "up")
	s.add("# The first address is the one that Open vSwitch sends from.")
	s.run("ip", "address", "replace", hostPrefix(v).String(), "dev", bridgePhy)
	if v.Link.IsValid() && v.Link.Addr() != v.Address {
		s.run("ip", "address", "replace", v.Link.String(), "dev", bridgePhy)
	}
	for _, a := range v.Colours {
		s.run("ip", "address", "replace", netip.PrefixFrom(a, a.BitLen()).String(), "dev", bridgePhy)
	}
	if v.Gateway.IsValid() {
		s.run("ip", "route", "replace", "default", "via", v.Gateway.String(), "dev", bridgePhy, "onlink")
	}
}

// hostScript is a VM's or server's; its commands come by containerlab's exec.
func (e *exporter) hostScript(n Node) string {
	s := begin(fmt.Sprintf("%s %s of lab %s", map[intent.Role]string{intent.RoleVM: "VM", intent.RoleServer: "Server"}[n.Role], n.Name, e.state.Name))
	e.settings(s, n, hostSysctls)
	for _, t := range n.Tags {
		s.run(weftBin, "lab", "tag", t.Interface, fmt.Sprint(t.VLAN))
	}
	s.daemon("sleep", "infinity")
	return s.end()
}

// controllerScript runs the controller and tells it of the fabric.
func (e *exporter) controllerScript() string {
	s := begin("The controller of lab " + e.state.Name)
	s.daemon(e.state.controllerArgs(weftBin, "/var/lib/weft")...)
	s.add("await %s get nodes", weftBin)
	s.run(weftBin, "apply", "-f", path.Join(nodeMount, fabricFile))
	s.add("# Last: so the agents are told whole states only.")
	s.run(weftBin, "apply", "-f", path.Join(nodeMount, routingFile))
	return s.end()
}
