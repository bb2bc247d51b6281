//go:build bench

package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/southbound/evpn"
)

// reflector is a daemon that reflects routes between the peers.
type reflector struct {
	name  string // as in the table
	ipv4  bool   // it knows no EVPN and reflects IPv4 routes
	start func(t *testing.T, dir string, peers int) (pid int)
	// oneMAC tells whether many distinguishers for one MAC make sense.
	oneMAC bool
}

func reflectors() map[string]reflector {
	return map[string]reflector{
		"weft":   {name: "weft", start: startWeftSpeaker, oneMAC: true},
		"frr":    {name: "frr", start: startFRR, oneMAC: true},
		"gobgpd": {name: "gobgpd", start: startGoBGPD, oneMAC: true},
		"bird":   {name: "bird (ipv4)", start: startBIRD, ipv4: true},
	}
}

// sayVersions tells who is measured, and whether BIRD does the same work.
func sayVersions(t *testing.T) (out []string) {
	for _, n := range strings.Split(*evpnDaemons, ",") {
		switch n {
		case "frr":
			line, _, _ := strings.Cut(run(t, nil, "/usr/lib/frr/bgpd", "--version"), "\n")
			out = append(out, "frr: "+line)
		case "gobgpd":
			out = append(out, run(t, nil, "gobgpd", "--version"))
		case "bird":
			file := filepath.Join(t.TempDir(), "bird.conf")
			require.NoError(t, os.WriteFile(file, []byte("router id 192.0.2.1;\nprotocol bgp { local as 1; neighbor 192.0.2.2 as 1; evpn { import all; export all; }; }\n"), 0o644))
			b, err := exec.Command("bird", "-p", "-c", file).CombinedOutput()
			require.Error(t, err, "this BIRD takes an evpn channel: measure it with EVPN routes")
			_, why, _ := strings.Cut(strings.TrimSpace(string(b)), file+":")
			out = append(out, fmt.Sprintf("bird (ipv4): %s has no EVPN (%s); it reflects as many IPv4 routes: other and less work, a mark for what reflection costs.", run(t, nil, "bird", "--version"), why))
		}
	}
	return out
}

// daemon starts a program whose output is kept in a file.
func daemon(t *testing.T, dir, name string, args ...string) int {
	out, err := os.Create(filepath.Join(dir, filepath.Base(name)+".log"))
	require.NoError(t, err)
	c := exec.Command(name, args...)
	c.Stdout, c.Stderr = out, out
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, c.Start(), "install %s", name)
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		out.Close()
		if t.Failed() {
			b, _ := os.ReadFile(out.Name())
			t.Logf("%s: %.4000s", name, b)
		}
	})
	return c.Process.Pid
}

func startFRR(t *testing.T, dir string, peers int) int {
	var b strings.Builder
	fmt.Fprintf(&b, "frr defaults datacenter\nrouter bgp %d\n bgp router-id %s\n no bgp default ipv4-unicast\n timers connect 1\n coalesce-time 20\n", benchASN, reflectorAddr)
	fmt.Fprintf(&b, " neighbor leaf peer-group\n neighbor leaf remote-as %d\n neighbor leaf update-source %s\n neighbor leaf advertisement-interval 0\n neighbor leaf timers 60 180\n", benchASN, reflectorAddr)
	for i := range peers {
		fmt.Fprintf(&b, " neighbor %s peer-group leaf\n", peerAddr(i+1))
	}
	b.WriteString(" address-family l2vpn evpn\n  neighbor leaf activate\n  neighbor leaf route-reflector-client\n exit-address-family\n")
	require.NoError(t, os.WriteFile(dir+"/bgpd.conf", []byte(b.String()), 0o644))
	require.NoError(t, os.WriteFile(dir+"/zebra.conf", nil, 0o644))
	require.NoError(t, os.Chmod(dir, 0o755))
	run(t, nil, "chown", "-R", "frr:frr", dir)
	daemon(t, dir, "/usr/lib/frr/zebra", "-f", dir+"/zebra.conf", "-i", dir+"/zebra.pid", "-z", dir+"/zserv.api", "--vty_socket", dir, "-A", "127.0.0.1", "-P", "0")
	waitFile(t, dir+"/zserv.api")
	return daemon(t, dir, "/usr/lib/frr/bgpd", "-f", dir+"/bgpd.conf", "-i", dir+"/bgpd.pid", "-z", dir+"/zserv.api", "--vty_socket", dir, "-A", "127.0.0.1", "-P", "0", "-p", "1790")
}

func startGoBGPD(t *testing.T, dir string, peers int) int {
	var b strings.Builder
	fmt.Fprintf(&b, "[global.config]\n as = %d\n router-id = %q\n port = 1790\n local-address-list = [%q]\n", benchASN, reflectorAddr, reflectorAddr)
	for i := range peers {
		fmt.Fprintf(&b, "[[neighbors]]\n [neighbors.config]\n  neighbor-address = %q\n  peer-as = %d\n [neighbors.transport.config]\n  local-address = %q\n [neighbors.timers.config]\n  connect-retry = 1\n  hold-time = 180\n  keepalive-interval = 60\n",
			peerAddr(i+1), benchASN, reflectorAddr)
		fmt.Fprintf(&b, " [neighbors.route-reflector.config]\n  route-reflector-client = true\n  route-reflector-cluster-id = %q\n [[neighbors.afi-safis]]\n  [neighbors.afi-safis.config]\n   afi-safi-name = \"l2vpn-evpn\"\n", reflectorAddr)
	}
	require.NoError(t, os.WriteFile(dir+"/gobgpd.toml", []byte(b.String()), 0o644))
	return daemon(t, dir, "gobgpd", "-f", dir+"/gobgpd.toml", "--api-hosts", "127.0.0.1:50051", "--pprof-disable", "-l", "error")
}

func startBIRD(t *testing.T, dir string, peers int) int {
	var b strings.Builder
	fmt.Fprintf(&b, "router id %s;\nprotocol device {}\nprotocol direct { ipv4; }\n", reflectorAddr)
	for i := range peers {
		fmt.Fprintf(&b, "protocol bgp leaf%d { local %s port 1790 as %d; neighbor %s port 179 as %d; rr client; rr cluster id %s; connect delay time 1; connect retry time 1; hold time 180;\n"+
			" ipv4 { import all; export where source = RTS_BGP; next hop keep; }; }\n", i+1, reflectorAddr, benchASN, peerAddr(i+1), benchASN, reflectorAddr)
	}
	require.NoError(t, os.WriteFile(dir+"/bird.conf", []byte(b.String()), 0o644))
	return daemon(t, dir, "bird", "-f", "-c", dir+"/bird.conf", "-s", dir+"/bird.ctl", "-P", dir+"/bird.pid")
}

const reflectorEnv = "WEFT_BENCH_REFLECTOR"

// startWeftSpeaker starts this program again as a reflector, so that what it
// costs is told apart.
func startWeftSpeaker(t *testing.T, dir string, peers int) int {
	self, err := os.Executable()
	require.NoError(t, err)
	return daemon(t, dir, "/usr/bin/env", fmt.Sprintf("%s=%d:%s", reflectorEnv, peers, dir), self)
}

// init is the reflector when this program was started as one: the speaker as
// the controller has it, whose routes are counted instead of put into tables.
func init() {
	spec, ok := os.LookupEnv(reflectorEnv)
	if !ok {
		return
	}
	var peers int
	number, dir, _ := strings.Cut(spec, ":")
	if _, err := fmt.Sscan(number, &peers); err != nil {
		panic(err)
	}
	if err := reflect(peers, dir+"/control.sock"); err != nil && !strings.Contains(err.Error(), context.Canceled.Error()) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func reflect(peers int, control string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var taken atomic.Int64
	s := evpn.New(evpn.Config{ASN: benchASN, RouterID: reflectorAddr, OnRoutes: func(_ string, list []evpn.Change) { taken.Add(int64(len(list))) }})
	var all []evpn.Peer
	for i := range peers {
		all = append(all, evpn.Peer{Name: fmt.Sprintf("leaf%d", i+1), Address: netip.AddrPortFrom(peerAddr(i+1), 179), ASN: benchASN, LocalAddress: reflectorAddr})
	}
	if err := s.SetPeers(all); err != nil {
		return err
	}
	s.Open()
	l, err := net.Listen("unix", control)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	var profile *os.File
	mux.HandleFunc("/start", func(_ http.ResponseWriter, r *http.Request) {
		profile, _ = os.Create(r.FormValue("file"))
		_ = pprof.StartCPUProfile(profile)
	})
	mux.HandleFunc("/stop", func(http.ResponseWriter, *http.Request) { pprof.StopCPUProfile(); profile.Close() })
	mux.HandleFunc("/heap", func(w http.ResponseWriter, r *http.Request) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if name := r.FormValue("file"); name != "" {
			f, _ := os.Create(name)
			_ = pprof.Lookup("heap").WriteTo(f, 0)
			f.Close()
		}
		fmt.Fprint(w, m.HeapAlloc)
	})
	go func() { _ = http.Serve(l, mux) }()
	return s.Run(ctx)
}

// ask asks the reflector that is this program for something.
func ask(t *testing.T, dir, path string) string {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", dir+"/control.sock")
	}}}
	r, err := c.Get("http://reflector" + path)
	require.NoError(t, err)
	defer r.Body.Close()
	return readAll(r.Body)
}
