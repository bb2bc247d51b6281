package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/fabric"
)

// What people do to a lab that runs is tried as failures are.
const (
	// Drain leads all traffic around a switch, and back.
	Drain FailureKind = "drain"
	// Restart ends all processes of a switch and starts them again; a spine is
	// drained before.
	Restart FailureKind = "restart"
	// Rebuild changes the lab to what another file says, and back.
	Rebuild FailureKind = "change"
)

// maintained are the switches in the order in which they are worked on: from the top
// down, then by name.
func (s *State) maintained() (list []Node) {
	order := []intent.Role{intent.RoleSuperspine, intent.RoleSpine, intent.RoleBorder, intent.RoleLeaf}
	for _, n := range s.Nodes {
		if n.Router != nil && n.Router.Managed && slices.Contains(order, n.Role) {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b Node) int {
		if d := slices.Index(order, a.Role) - slices.Index(order, b.Role); d != 0 {
			return d
		}
		return fabric.Natural(a.Name, b.Name)
	})
	return list
}

// carries reports whether a switch only carries what others send each other, so that
// it can be drained.
func (n Node) carries() bool { return n.Role == intent.RoleSpine || n.Role == intent.RoleSuperspine }

// Drains lists the drains of a lab's spines and superspines, each in turn.
func (s *State) Drains() (list []Failure) {
	for _, n := range s.maintained() {
		if n.carries() {
			list = append(list, Failure{Kind: Drain, What: n.Name, Node: n.Name, into: s.endsOf(n.Name),
				fail: func(ctx context.Context) error { return s.drain(ctx, n.Name) },
				mend: func(ctx context.Context) error { return s.undrain(ctx, n.Name) }})
		}
	}
	return list
}

// Restarts lists the restarts of a lab's switches, one by one. A spine is drained
// before, when there is a controller, and used again when it has all its sessions; a
// switch that has not all of them after patience is an error.
func (s *State) Restarts(weft string, patience time.Duration) (list []Failure) {
	for _, n := range s.maintained() {
		spared := n.carries() && s.Controller != ""
		list = append(list, Failure{Kind: Restart, What: n.Name, Node: n.Name, into: s.endsOf(n.Name),
			fail: func(ctx context.Context) error {
				if spared {
					if err := s.drain(ctx, n.Name); err != nil {
						return err
					}
				}
				return s.restart(ctx, n, weft, patience)
			},
			mend: func(ctx context.Context) error {
				if !spared {
					return nil
				}
				return s.undrain(ctx, n.Name)
			}})
	}
	return list
}

// Rebuilt changes the lab to a plan, and back to another one of what it was.
func (s *State) Rebuilt(what string, there, back *State, o Options) Failure {
	to := func(plan *State) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := Change(ctx, plan, o)
			return err
		}
	}
	return Failure{Kind: Rebuild, What: what, fail: to(there), mend: to(back)}
}

// drainTime bounds the drain of a switch, and its end.
const drainTime = time.Minute

// drain drains a switch and waits until it says so.
func (s *State) drain(ctx context.Context, node string) error {
	c, err := client.New(s.Controller)
	if err != nil {
		return err
	}
	if _, err := c.SetMaintenance(ctx, node, intent.MaintenanceDrain, false); err != nil {
		return err
	}
	return c.AwaitDrained(ctx, node, drainTime, func(*intent.Node) {})
}

// undrain has a switch used again and waits until it says that it is.
func (s *State) undrain(ctx context.Context, node string) error {
	c, err := client.New(s.Controller)
	if err != nil {
		return err
	}
	n, err := c.SetMaintenance(ctx, node, "", false)
	if err != nil {
		return err
	}
	_, err = c.Await(ctx, n.Ref(), n.Metadata.Revision, drainTime)
	return err
}

// restart ends a switch's processes, the agent first, and starts them again, but for
// the keeper: it is no part of FRR, and has the routes that bgpd comes back for. It
// returns when the switch has all its sessions and routes.
//
// The kernel forwards meanwhile as before (zebra's option -K), and the neighbours and
// the keeper go on to use the switch (RFC 4724): bgpd ends without a NOTIFICATION,
// before BFD tells of it.
func (s *State) restart(ctx context.Context, n Node, weft string, patience time.Duration) error {
	s.mu.Lock()
	var agents, daemons []Process
	for _, p := range s.Processes {
		switch {
		case p.Node != n.Name || p.Name == "keeper":
		case slices.Contains(n.Router.Daemons, p.Name):
			daemons = append(daemons, p)
		default:
			agents = append(agents, p)
		}
	}
	s.mu.Unlock()
	if err := errors.Join(stop(agents, 10*time.Second), stop(daemons, 0)); err != nil {
		return fmt.Errorf("restart %s: %w", n.Name, err)
	}
	// Left by the zebra that was killed: those after it would not wait.
	_ = os.Remove(filepath.Join(s.NodeDir(n.Name), "zserv.api"))
	r := &run{state: s, opts: Options{Weft: weft}, progress: silent{}}
	// BFD comes last: bgpd gives each of its BFD sessions up once when it learns of the
	// address and interface that a new connection has, takes that for a dead neighbour,
	// and resets the session (FRR 8.4).
	first := n
	first.Router = new(*n.Router)
	first.Router.Daemons = slices.DeleteFunc(slices.Clone(n.Router.Daemons), func(d string) bool { return d == "bfdd" })
	if err := r.startRouter(ctx, first); err != nil {
		return err
	}
	if err := r.startAgent(ctx, n); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := r.waitRouter(ctx, n); err != nil || len(first.Router.Daemons) == len(n.Router.Daemons) {
		return err
	}
	if err := r.startFRR(ctx, n, "bfdd"); err != nil {
		return err
	}
	return r.waitDetection(ctx, n)
}

// waitDetection waits until BFD watches all of a switch's sessions.
func (r *run) waitDetection(ctx context.Context, n Node) error {
	why := ""
	err := until(ctx, 20*time.Millisecond, nil, func() (bool, error) {
		why = r.state.undetected(ctx, n)
		return why == "", nil
	})
	if err != nil {
		return fmt.Errorf("%s: in time limit: %s", n.Name, why)
	}
	return nil
}
