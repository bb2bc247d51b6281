package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/lab/netns"
)

// add makes and starts what is new.
func (c *change) add(ctx context.Context) error {
	s := c.run.state
	err := parallel(ctx, c.Added, width(), func(_ context.Context, n Node) error {
		set := hostSysctls
		if n.Router != nil {
			set = n.Router.Sysctls
		}
		if err := makeNamespace(s.Namespace(n.Name), set); err != nil || !n.Mgmt.IsValid() {
			return err
		}
		return joinMgmt(s.Name, n.Name, s.mgmtInterface(n.Name), mgmtPort(n), n.Mgmt)
	})
	if err == nil {
		err = parallel(ctx, c.AddedLinks, width(), func(_ context.Context, l Link) error { return makeLink(s.Name, l) })
	}
	if err != nil {
		return err
	}
	template := filepath.Join(s.dir, "template.db")
	if err := makeDatabase(ctx, template, ovsSchema); err != nil && slices.ContainsFunc(c.Added, func(n Node) bool { return n.VTEP != nil }) {
		return err
	}
	defer os.Remove(template)
	if err := parallel(ctx, c.Added, width(), func(ctx context.Context, n Node) error { return c.run.startNode(ctx, n, template) }); err != nil {
		return err
	}
	for _, l := range c.AddedLinks {
		for _, e := range [][2]End{{l.A, l.B}, {l.B, l.A}} {
			if err := c.plugged(ctx, e[0], e[1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// mgmtPort numbers a node's port of the management bridge by its address: those that
// the lab began with have their place in the file.
func mgmtPort(n Node) int {
	a := n.Mgmt.Addr().As4()
	return 1000 + int(a[2])<<8 + int(a[3])
}

// plugged prepares an interface that a node which runs already got.
func (c *change) plugged(ctx context.Context, at, other End) error {
	s := c.run.state
	n, err := s.Node(at.Node)
	if err != nil || among(c.Added, at.Node) {
		return err
	}
	if n.Role == intent.RoleVM || n.Role == intent.RoleServer || n.EVPN {
		err = netns.Do(s.Namespace(n.Name), func() error { return checksumOff(at.Interface) })
	}
	if err == nil && n.Role == intent.RoleHypervisor {
		for _, p := range s.vmPorts(n.Name) {
			if p.iface == at.Interface {
				err = ovsVsctl(ctx, s.NodeDir(n.Name), "add-port", bridgeInt, p.iface, "--", "set", "Interface", p.iface, "external_ids:iface-id="+p.ifaceID)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("link %s:%s to %s:%s: %w", at.Node, at.Interface, other.Node, other.Interface, err)
	}
	return nil
}

// register tells the controller of what is new.
func (c *change) register(ctx context.Context) error {
	cl, err := client.New(c.run.state.Controller)
	if err != nil {
		return err
	}
	put := func(o intent.Object) error {
		if _, err := cl.Put(ctx, o, client.PutOptions{}); err != nil {
			return fmt.Errorf("register %s: %w", o.Ref(), err)
		}
		return nil
	}
	for _, n := range c.plan.FabricNodes {
		if among(c.Added, n.Metadata.Name) {
			if err := put(n); err != nil {
				return err
			}
		}
	}
	for _, l := range c.plan.FabricLinks {
		if !slices.ContainsFunc(c.running.FabricLinks, func(o *intent.Link) bool { return o.Metadata.Name == l.Metadata.Name }) {
			if err := put(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// unregister drains the switches that go, and then has the others forget all that
// goes, links first.
func (c *change) unregister(ctx context.Context) error {
	cl, err := client.New(c.run.state.Controller)
	if err != nil {
		return err
	}
	for _, n := range c.Removed {
		if n.Role != intent.RoleSpine && n.Role != intent.RoleSuperspine {
			continue
		}
		if _, err := cl.SetMaintenance(ctx, n.Name, intent.MaintenanceDrain, false); err != nil {
			return err
		}
		if err := cl.AwaitDrained(ctx, n.Name, c.run.opts.Timeout, func(*intent.Node) {}); err != nil {
			return err
		}
	}
	forget := func(r intent.Ref) error {
		_, err := cl.Delete(ctx, r, client.DeleteOptions{})
		var p *client.Problem
		if errors.As(err, &p) && p.Type == client.TypeNotFound {
			return nil
		}
		return err
	}
	for _, l := range c.running.FabricLinks {
		if !slices.ContainsFunc(c.plan.FabricLinks, func(o *intent.Link) bool { return o.Metadata.Name == l.Metadata.Name }) {
			if err := forget(l.Ref()); err != nil {
				return err
			}
		}
	}
	for _, n := range c.running.FabricNodes {
		if among(c.Removed, n.Metadata.Name) {
			if err := forget(n.Ref()); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove takes away what goes. Links go with either end's namespace.
func (c *change) remove(ctx context.Context) error {
	s := c.run.state
	var errs []error
	for _, l := range c.RemovedLinks {
		for _, e := range [][2]End{{l.A, l.B}, {l.B, l.A}} {
			errs = append(errs, c.unplugged(ctx, e[0]))
		}
	}
	for _, n := range c.Removed {
		errs = append(errs, s.removeNode(n))
	}
	s.mu.Lock()
	s.Nodes = slices.DeleteFunc(s.Nodes, func(n Node) bool { return among(c.Removed, n.Name) })
	s.Links = slices.DeleteFunc(s.Links, func(l Link) bool {
		return slices.ContainsFunc(c.RemovedLinks, func(o Link) bool { return sameCable(l, o) })
	})
	s.mu.Unlock()
	return errors.Join(append(errs, s.save())...)
}

// unplugged takes a cable out of a node that stays.
func (c *change) unplugged(ctx context.Context, at End) error {
	s := c.run.state
	n, err := s.Node(at.Node)
	if err != nil || among(c.Removed, at.Node) {
		return err
	}
	if n.Role == intent.RoleHypervisor {
		if err := ovsVsctl(ctx, s.NodeDir(n.Name), "--if-exists", "del-port", bridgeInt, at.Interface); err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	return netns.Do(s.Namespace(n.Name), func() error {
		link, err := netlink.LinkByName(at.Interface)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return nil // with its other end
		}
		if err == nil {
			err = netlink.LinkDel(link)
		}
		if err != nil {
			return fmt.Errorf("%s: unplug %s: %w", n.Name, at.Interface, err)
		}
		return nil
	})
}

// removeNode ends a node's processes and removes its namespace and folder.
func (s *State) removeNode(n Node) error {
	s.mu.Lock()
	var own []Process
	s.Processes = slices.DeleteFunc(s.Processes, func(p Process) bool {
		if p.Node == n.Name {
			own = append(own, p)
		}
		return p.Node == n.Name
	})
	s.mu.Unlock()
	errs := []error{stop(own, 0)}
	forgetLogs(own)
	found, err := netns.Processes([]string{s.Namespace(n.Name)})
	errs = append(errs, err)
	for _, pid := range found[s.Namespace(n.Name)] {
		if ticks, _, err := startTime(pid); err == nil {
			errs = append(errs, stop([]Process{{Node: n.Name, Name: "process", PID: pid, Start: ticks}}, 0))
		}
	}
	errs = append(errs, netns.Delete(s.Namespace(n.Name)), os.RemoveAll(s.NodeDir(n.Name)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("take %s away: %w", n.Name, err)
	}
	return nil
}

// undo takes away what was new, and leaves the lab as it was.
func (c *change) undo() error {
	s := c.run.state
	var errs []error
	for _, l := range c.AddedLinks { // those of new nodes go with them
		errs = append(errs, c.unplugged(context.Background(), l.A), c.unplugged(context.Background(), l.B))
	}
	for _, n := range c.Added {
		errs = append(errs, s.removeNode(n))
	}
	c.running.mu.Lock()
	c.running.Processes = s.Processes
	c.running.mu.Unlock()
	return errors.Join(append(errs, c.running.save())...)
}

// converge waits for the sessions and paths of all.
func (c *change) converge(ctx context.Context) error { return c.run.converge(ctx) }
