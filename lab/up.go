package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
	"golang.org/x/sync/errgroup"
)

// Options say how to bring a lab up.
type Options struct {
	// Weft is the binary that runs the controller; none without it.
	Weft string
	// Timeout bounds the whole; two minutes when zero.
	Timeout time.Duration
	// Progress is told what happens.
	Progress Progress
}

// run is one bringing up of a lab.
type run struct {
	state    *State
	opts     Options
	progress Progress
}

// ErrAlreadyUp says that the lab is up already, as it should be.
var ErrAlreadyUp = errors.New("already up")

// Up brings a lab up. What a crash left of a lab of that name is removed
// first. On failure everything is left in place to be looked at; Down, or
// another Up, removes it.
func Up(ctx context.Context, plan *State, opts Options) error {
	if err := CheckHost(plan); err != nil {
		return err
	}
	dir, unlock, err := lock(plan.Name)
	if err != nil {
		return err
	}
	defer unlock()
	plan.dir = dir
	if opts.Progress == nil {
		opts.Progress = silent{}
	}
	if opts.Timeout == 0 {
		opts.Timeout = 2 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	r := &run{state: plan, opts: opts, progress: opts.Progress}
	if err := r.clearOld(); err != nil {
		return err
	}
	return r.up(ctx)
}

// clearOld removes what is left of an earlier lab of the name, unless it is up
// and whole.
func (r *run) clearOld() error {
	s := r.state
	if err := s.checkOthers(); err != nil {
		return err
	}
	old, err := Load(s.Name)
	switch {
	case err == nil && old.Phase == PhaseUp && len(old.dead()) == 0:
		if old.Source != s.Source {
			return fmt.Errorf("lab %s is up already, from %s: take it down first with \"weft lab down %s\", or give this one another name", s.Name, old.Source, s.Name)
		}
		return ErrAlreadyUp
	case err == nil:
		done := r.progress.Phase("clean up what was left of an earlier run")
		err := remove(old)
		done(err)
		if err != nil {
			return err
		}
	case !errors.Is(err, ErrNoLab):
		return err
	}
	// A folder whose state was lost, or namespaces without a folder.
	if err := remove(s); err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("make the lab's folder: %w", err)
	}
	s.Phase, s.Created = PhaseStarting, time.Now().UTC()
	return s.save()
}

// checkOthers finds labs whose namespaces would have the names of ours: lab a
// with node b-c, lab a-b with node c.
func (s *State) checkOthers() error {
	all, err := List()
	if err != nil {
		return err
	}
	ours := map[string]bool{}
	for _, n := range s.Namespaces() {
		ours[n] = true
	}
	for _, o := range all {
		if o.Name == s.Name {
			continue
		}
		for _, n := range o.Namespaces() {
			if ours[n] {
				return fmt.Errorf("lab %s has the namespace %s that lab %s needs: give one of them another name", o.Name, n, s.Name)
			}
		}
	}
	return nil
}

// dead lists the processes of the lab that do not run any more.
func (s *State) dead() []Process {
	var gone []Process
	for _, p := range s.Processes {
		if !p.Alive() {
			gone = append(gone, p)
		}
	}
	return gone
}

func (r *run) up(ctx context.Context) error {
	s := r.state
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{fmt.Sprintf("%d namespaces", len(s.Namespaces())), r.namespaces},
		{fmt.Sprintf("%d links", len(s.Links)), r.links},
		{r.describeNodes(), r.nodes},
	}
	if s.Controller != "" {
		steps = append(steps, struct {
			name string
			do   func(context.Context) error
		}{"nodes and links registered with the controller", r.register})
	}
	steps = append(steps, struct {
		name string
		do   func(context.Context) error
	}{"sessions and equal-cost paths", r.converge})
	for _, step := range steps {
		done := r.progress.Phase(step.name)
		err := step.do(ctx)
		if errors.Is(ctx.Err(), context.Canceled) {
			err = fmt.Errorf("interrupted: \"weft lab down %s\" removes what is there", s.Name)
		}
		done(err)
		if err != nil {
			return err
		}
	}
	return s.setPhase(PhaseUp)
}

func (r *run) describeNodes() string {
	count := map[string]int{}
	for _, n := range r.state.Nodes {
		switch {
		case n.Router != nil:
			count["switches"]++
		case n.Role == intent.RoleVTEP:
			count["hardware VTEPs"]++
		case n.VTEP != nil:
			count["hypervisors"]++
		default:
			count["hosts"]++
		}
	}
	var parts []string
	for _, k := range []string{"switches", "hypervisors", "hardware VTEPs", "hosts"} {
		if count[k] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[k], k))
		}
	}
	if r.state.Controller != "" {
		parts = append(parts, "controller")
	}
	return strings.Join(parts, ", ")
}

// parallel does the work for each item, a few at a time; all failures are
// told.
func parallel[T any](ctx context.Context, items []T, width int, work func(context.Context, T) error) error {
	var g errgroup.Group
	g.SetLimit(width)
	var mu sync.Mutex
	var errs []error
	for _, it := range items {
		g.Go(func() error {
			err := ctx.Err()
			if err == nil {
				err = work(ctx, it)
			}
			if err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

func width() int { return 2 * runtime.GOMAXPROCS(0) }

func (r *run) namespaces(ctx context.Context) error {
	s := r.state
	if len(s.Nodes) > 30 {
		if err := r.growNeighbours(); err != nil {
			return err
		}
	}
	sysctls := map[string]map[string]string{}
	for _, n := range s.Nodes {
		if n.Router != nil {
			sysctls[s.Namespace(n.Name)] = n.Router.Sysctls
		}
	}
	return parallel(ctx, s.Namespaces(), width(), func(_ context.Context, ns string) error {
		set := sysctls[ns]
		if set == nil {
			set = hostSysctls
		}
		return makeNamespace(ns, set)
	})
}

func (r *run) links(ctx context.Context) error {
	s := r.state
	gateway := netip.PrefixFrom(s.Mgmt.Masked().Addr().Next(), s.Mgmt.Bits())
	if err := makeMgmt(s.Name, gateway); err != nil {
		return err
	}
	if err := parallel(ctx, s.Links, width(), func(_ context.Context, l Link) error { return makeLink(s.Name, l) }); err != nil {
		return err
	}
	numbers := make([]int, len(s.Nodes)+1)
	for i := range numbers {
		numbers[i] = i
	}
	return parallel(ctx, numbers, width(), func(_ context.Context, i int) error {
		if i == len(s.Nodes) {
			return joinMgmt(s.Name, controllerNode, "eth0", i, s.controllerMgmt())
		}
		if n := s.Nodes[i]; n.Mgmt.IsValid() {
			return joinMgmt(s.Name, n.Name, s.mgmtInterface(n.Name), i, n.Mgmt)
		}
		return nil
	})
}

// controllerMgmt is the controller's address in the management network: the
// one after the bridge's.
func (s *State) controllerMgmt() netip.Prefix {
	return netip.PrefixFrom(s.Mgmt.Masked().Addr().Next().Next(), s.Mgmt.Bits())
}

// mgmtInterface is eth0, as in containerlab, unless the file uses that name.
func (s *State) mgmtInterface(node string) string {
	if _, taken := s.neighbour(node, "eth0"); taken {
		return "mgmt0"
	}
	return "eth0"
}

// nodes starts everything that runs: the controller, the switches, the
// hypervisors and the hosts' commands, at once.
func (r *run) nodes(ctx context.Context) error {
	s := r.state
	template := filepath.Join(s.dir, "template.db")
	jobs := []func(context.Context) error{}
	if s.Controller != "" {
		jobs = append(jobs, r.startController)
	}
	for _, n := range s.Nodes {
		if n.VTEP != nil {
			if err := makeDatabase(ctx, template, ovsSchema); err != nil {
				return err
			}
			defer os.Remove(template)
			break
		}
	}
	for _, n := range s.Nodes {
		jobs = append(jobs, func(ctx context.Context) error { return r.startNode(ctx, n, template) })
	}
	return parallel(ctx, jobs, width()+1, func(ctx context.Context, job func(context.Context) error) error { return job(ctx) })
}

func (r *run) startNode(ctx context.Context, n Node, template string) error {
	s := r.state
	err := netns.Do(s.Namespace(n.Name), func() error {
		for _, a := range n.Addresses {
			if err := addAddress(a); err != nil {
				return err
			}
		}
		for _, g := range n.Gateways {
			if err := addGateway(g); err != nil {
				return err
			}
		}
		// What a kernel VTEP sends, or a host, may end in Open vSwitch.
		if n.Role == intent.RoleVM || n.Role == intent.RoleServer || n.EVPN {
			return s.offloadsOf(n.Name)
		}
		return nil
	})
	if err == nil {
		err = s.tagsOf(n)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	switch {
	case n.Router != nil:
		if err = r.startRouter(ctx, n); err == nil {
			err = r.startAgent(ctx, n)
		}
	case n.Role == intent.RoleVTEP:
		err = r.startVTEP(ctx, n, template)
	case n.VTEP != nil:
		err = r.startVSwitch(ctx, n, template)
	}
	if err != nil {
		return err
	}
	for _, line := range n.Exec {
		err := s.runLine(ctx, n, line)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.progress.Note(err.Error())
		}
	}
	return nil
}

// offloadsOf switches checksum offload off on a node's interfaces.
func (s *State) offloadsOf(node string) error {
	for _, l := range s.Links {
		for _, e := range []End{l.A, l.B} {
			if e.Node == node {
				if err := checksumOff(e.Interface); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// runLine runs one of the file's exec lines in the node's namespace. What it
// says goes to the node's log; a line that fails does not stop the lab, as
// with containerlab, but is told.
func (s *State) runLine(ctx context.Context, n Node, line string) error {
	if err := os.MkdirAll(s.NodeDir(n.Name), 0o755); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	log, err := os.OpenFile(filepath.Join(s.NodeDir(n.Name), "exec.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	defer log.Close()
	fmt.Fprintf(log, "+ %s\n", line)
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.Env = append(os.Environ(), n.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := netns.Do(s.Namespace(n.Name), cmd.Start); err != nil {
		return fmt.Errorf("%s: exec %q: %w", n.Name, line, err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: exec %q: %w%s", n.Name, line, err, logTail(log.Name(), 3))
	}
	return nil
}

// converge waits for each managed switch's sessions and routes, and for the
// gateway of each hypervisor and hardware VTEP.
func (r *run) converge(ctx context.Context) error {
	var switches, behind []Node
	for _, n := range r.state.Nodes {
		if n.Router != nil && n.Router.Managed {
			switches = append(switches, n)
		}
		// Open vSwitch learns neighbours only while it has a tunnel port: a
		// hypervisor's is the controller's.
		tunnel := r.state.Controller != "" || n.Role == intent.RoleVTEP
		if tunnel && n.VTEP != nil && n.VTEP.Uplink != "" && n.VTEP.Gateway.IsValid() {
			behind = append(behind, n)
		}
	}
	if err := parallel(ctx, switches, width(), r.waitRouter); err != nil {
		return err
	}
	return parallel(ctx, behind, width(), r.waitGateway)
}
