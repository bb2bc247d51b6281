package lab

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weft-sdn/weft/lab/netns"
	"github.com/weft-sdn/weft/southbound/frr"
)

const frrDir = "/usr/lib/frr"

// boundDaemons reads FRR's "daemons" file: those set to yes. zebra and staticd
// always run, as with FRR's own scripts.
func boundDaemons(text string) []string {
	ds := []string{"zebra", "staticd"}
	for sc := bufio.NewScanner(strings.NewReader(text)); sc.Scan(); {
		name, value, ok := strings.Cut(strings.TrimSpace(sc.Text()), "=")
		value, _, _ = strings.Cut(value, "#")
		if ok && strings.HasSuffix(name, "d") && strings.Trim(strings.TrimSpace(value), `"'`) == "yes" && !slices.Contains(ds, name) && !strings.ContainsAny(name, "/# ") {
			ds = append(ds, name)
		}
	}
	return ds
}

// startRouter runs a switch's FRR and gives it its configuration.
func (r *run) startRouter(ctx context.Context, n Node) error {
	dir := r.state.NodeDir(n.Name)
	if err := makeFRRDir(dir); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	// isisd takes its name into its first LSP.
	files := map[string]string{"name.conf": frr.Start(n.Name)}
	if !r.byAgent(n) {
		files["frr.conf"] = n.Router.Config
		for daemon, text := range n.Router.Sections {
			files[daemon+".conf"] = text
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	for _, d := range n.Router.Daemons {
		if err := r.startFRR(ctx, n, d); err != nil {
			return err
		}
	}
	return r.configure(ctx, n)
}

// configure gives the daemons what they did not read when they started. Their sockets
// are there: vtysh deals the file out to them.
func (r *run) configure(ctx context.Context, n Node) error {
	dir := r.state.NodeDir(n.Name)
	args := []string{"--vty_socket", dir, "--config_dir", dir, "-b"}
	switch {
	case r.byAgent(n):
		return nil
	case n.Router.Managed && slices.Contains(n.Router.Daemons, lateDaemon):
		args = []string{"--vty_socket", dir, "--config_dir", dir, "-d", lateDaemon, "-f", filepath.Join(dir, lateDaemon+".conf")}
	case n.Router.Managed:
		return nil
	}
	out, err := exec.CommandContext(ctx, "vtysh", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: FRR does not take %s: %w: %s", n.Name, cmp.Or(n.Router.Source, args[len(args)-1]), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// lateDaemon gets its configuration when it runs. FRR's isisd takes a file of its
// own at once, and schedules its first LSP with the interval of before, 30 s.
const lateDaemon = "isisd"

// byAgent reports whether a switch's agent configures its FRR, which then starts with
// nothing but its name.
func (r *run) byAgent(n Node) bool {
	return n.Router.Managed && n.Agent && r.state.Controller != "" && r.state.Fabric != nil
}

// startFRR starts one daemon and waits for its command socket.
func (r *run) startFRR(ctx context.Context, n Node, daemon string) error {
	dir := r.state.NodeDir(n.Name)
	conf := filepath.Join(dir, "name.conf")
	if n.Router.Managed && daemon != lateDaemon && !r.byAgent(n) {
		conf = filepath.Join(dir, daemon+".conf")
	}
	args := []string{
		filepath.Join(frrDir, daemon), "-f", conf, "-i", filepath.Join(dir, daemon+".pid"),
		"-z", filepath.Join(dir, "zserv.api"), "--vty_socket", dir, "-A", "127.0.0.1", "-P", "0",
	}
	switch daemon {
	case "zebra":
		// One that is started anew leaves the kernel's routes alone until the
		// daemons that made them, which try every 10 s, are back.
		args = append(args, "-s", "8388608", "-K", "20")
	case "bfdd":
		args = append(args, "--bfdctl", filepath.Join(dir, "bfdd.sock"))
	}
	wait := []string{filepath.Join(dir, daemon+".vty")}
	if daemon == "zebra" {
		wait = append(wait, filepath.Join(dir, "zserv.api"))
	}
	p := program{node: n.Name, name: daemon, args: args, log: filepath.Join(dir, daemon+".log")}
	// All switches of a lab share the machine: one that is busy must not look like a
	// link that is down.
	p.realtime = daemon == "bfdd"
	return r.daemon(ctx, p, wait...)
}

// makeFRRDir makes a folder that FRR's own user may write to.
func makeFRRDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for p := dir; p != "/"; p = filepath.Dir(p) {
		if st, err := os.Stat(p); err == nil && st.Mode()&1 == 0 {
			return fmt.Errorf("FRR runs as its own user and can't enter %s: chmod o+x it, or choose another folder with WEFT_LAB_DIR", p)
		}
	}
	u, err := user.Lookup("frr")
	if err != nil {
		return fmt.Errorf("FRR's user is missing: %w", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return os.Chown(dir, uid, gid)
}

// daemon starts a program in its node and waits for its sockets.
func (r *run) daemon(ctx context.Context, p program, sockets ...string) error {
	proc, gone, err := start(r.state.Namespace(p.node), p)
	if err != nil {
		return err
	}
	if err := r.state.record(proc); err != nil {
		return err
	}
	err = until(ctx, 5*time.Millisecond, gone, func() (bool, error) {
		return !slices.ContainsFunc(sockets, func(s string) bool { return !serves(s) }), nil
	})
	if err != nil {
		return fmt.Errorf("%s: %s did not start: %w%s", p.node, p.name, err, logTail(p.log, 5))
	}
	return nil
}

// serves reports whether a daemon's socket is there, and of an FRR daemon whether
// it is listened at: the file comes first.
func serves(socket string) bool {
	if !strings.HasSuffix(socket, ".vty") {
		return fileExists(socket)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// vty asks an FRR daemon on its command socket, as vtysh does: a command ends
// with a zero byte, an answer with three and a byte for its result.
func vty(ctx context.Context, dir, daemon, command string) ([]byte, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, daemon+".vty"))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", daemon, err)
	}
	defer conn.Close()
	deadline := time.Now().Add(5 * time.Second)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	var answer []byte
	for _, c := range []string{"enable", command} {
		if _, err := conn.Write(append([]byte(c), 0)); err != nil {
			return nil, fmt.Errorf("ask %s: %w", daemon, err)
		}
		answer = answer[:0]
		buf := make([]byte, 64<<10)
		for !answered(answer) {
			n, err := conn.Read(buf)
			if err != nil {
				return nil, fmt.Errorf("ask %s: %w", daemon, err)
			}
			answer = append(answer, buf[:n]...)
		}
	}
	return answer[:len(answer)-4], nil
}

func answered(b []byte) bool {
	n := len(b)
	return n >= 4 && b[n-4] == 0 && b[n-3] == 0 && b[n-2] == 0
}

// sessions asks a node's bgpd for its sessions, but for those by which routes are
// injected.
func sessions(ctx context.Context, dir string) ([]frr.Session, error) {
	b, err := vty(ctx, dir, "bgpd", "show bgp summary json")
	if err != nil {
		return nil, err
	}
	list, err := frr.ParseSummary(b)
	return slices.DeleteFunc(list, func(s frr.Session) bool { return s.Description == frr.InjectorDescription }), err
}

func established(list []frr.Session) int {
	n := 0
	for _, s := range list {
		if s.Up() {
			n++
		}
	}
	return n
}

// adjacencies asks a node's isisd for its adjacencies and counts those that are
// up.
func adjacencies(ctx context.Context, dir string) (up int, err error) {
	b, err := vty(ctx, dir, "isisd", "show isis neighbor json")
	if err != nil {
		return 0, err
	}
	list, err := frr.ParseAdjacencies(b)
	for _, a := range list {
		if a.Up() {
			up++
		}
	}
	return up, err
}

// waitRouter waits until a switch has its BGP sessions or IS-IS adjacencies, and
// the kernel its routes, over as many paths as the graph has.
func (r *run) waitRouter(ctx context.Context, n Node) error {
	dir := r.state.NodeDir(n.Name)
	why := "no answer from its daemons"
	err := until(ctx, 50*time.Millisecond, nil, func() (bool, error) {
		var err error
		why, err = r.state.missing(ctx, n)
		return why == "" && err == nil, err
	})
	if errors.Is(err, context.DeadlineExceeded) {
		daemon := "bgpd.log"
		if n.Router.Adjacencies > 0 {
			daemon = "isisd.log"
		}
		return fmt.Errorf("%s: in time limit: %s%s", n.Name, why, logTail(filepath.Join(dir, daemon), 5))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	return nil
}

// missing says what a switch has not yet; nothing when it has all.
func (s *State) missing(ctx context.Context, n Node) (string, error) {
	dir := s.NodeDir(n.Name)
	if n.Router.Sessions > 0 {
		list, err := sessions(ctx, dir)
		if err != nil {
			return err.Error(), nil
		}
		if up := established(list); up < n.Router.Sessions {
			return fmt.Sprintf("%d of %d BGP sessions are established", up, n.Router.Sessions), nil
		}
	}
	if n.Router.Adjacencies > 0 {
		up, err := adjacencies(ctx, dir)
		if err != nil {
			return err.Error(), nil
		}
		if up < n.Router.Adjacencies {
			return fmt.Sprintf("%d of %d IS-IS adjacencies are up", up, n.Router.Adjacencies), nil
		}
	}
	widths, err := s.widthsOf(n.Name)
	if err != nil {
		return "", err
	}
	for _, w := range widths {
		if w.Have < w.Want {
			return fmt.Sprintf("the kernel has %d of %d paths to %s (%s)", w.Have, w.Want, w.To, w.Addr), nil
		}
	}
	return "", nil
}

// Width is the number of planned next hops that a switch's kernel uses towards
// another; of all that it uses, when there are more.
type Width struct {
	PathWidth
	Have int `json:"have"`
}

// widthsOf reads the kernel's FIB in a switch's namespace.
func (s *State) widthsOf(node string) ([]Width, error) {
	var ws []Width
	err := netns.Do(s.Namespace(node), func() error {
		fib, err := readFIB()
		if err != nil {
			return err
		}
		for _, w := range slices.Concat(s.Widths, s.Widths6) {
			if w.From == node {
				ws = append(ws, Width{w, w.have(fib[w.Addr])})
			}
		}
		return nil
	})
	return ws, err
}
