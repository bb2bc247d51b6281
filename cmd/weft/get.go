package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func init() { commands = append(commands, newGetCommand) }

// getOptions are the flags of "weft get".
type getOptions struct {
	all, watch, noHeaders bool
	output                string
	network               string // of routes; so are these two
	router, external      string
	port                  string // of flows
	labels                []string
}

func newGetCommand(a *app) *cobra.Command {
	var o getOptions
	c := &cobra.Command{
		Use:   "get KIND [NAME...] | KIND/NAME... | all | switches | events | alarms | routes | flows",
		Short: "List objects with their state on the devices",
		Example: `  weft get networks -A -o wide
  weft get ports -t blue
  weft get port/vm1 -t blue -o yaml
  weft get ports -A --watch
  weft get nodes -o wide
  weft get switches -o wide
  weft get routers -t blue
  weft get sg -t blue -o wide
  weft get routes -t blue --network web -o wide
  weft get routes -t blue --router main
  weft get flows -t blue --port vm1
  weft get alarms
  weft get events`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return a.get(ctx, o, args)
		},
		ValidArgsFunction: a.completeKindAndName,
	}
	f := c.Flags()
	f.BoolVarP(&o.all, "all-tenants", "A", false, "objects of all tenants")
	f.StringVarP(&o.output, "output", "o", "", "wide, json, yaml or name")
	f.StringVar(&o.network, "network", "", "routes of this network only")
	f.StringVar(&o.router, "router", "", "routes of the VRF of this router only")
	f.StringVar(&o.external, "external", "", "routes of the VRF of this external network only")
	c.MarkFlagsMutuallyExclusive("network", "router", "external")
	f.StringVar(&o.port, "port", "", "flows of this port")
	f.BoolVarP(&o.watch, "watch", "w", false, "go on and print what changes")
	f.BoolVar(&o.noHeaders, "no-headers", false, "leave out the line of titles")
	f.StringSliceVarP(&o.labels, "selector", "l", nil, "only objects with this label, as KEY=VALUE")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"wide", "json", "yaml", "name"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) get(ctx context.Context, o getOptions, args []string) error {
	if !slices.Contains([]string{"", "wide", "json", "yaml", "name"}, o.output) {
		return usageError{fmt.Errorf("output %q is not known: use wide, json, yaml or name", o.output)}
	}
	cl, err := a.client()
	if err != nil {
		return err
	}
	switch args[0] {
	case "events", "event", "ev":
		return a.getEvents(ctx, cl, o)
	case "alarms", "alarm":
		return a.getAlarms(ctx, cl, o)
	case "routes", "route":
		return a.getRoutes(ctx, cl, o)
	case "flows", "flow":
		return a.getFlows(ctx, cl, o)
	case "all":
		return a.getOnce(ctx, o, func() ([]intent.Object, error) {
			var all []intent.Object
			for _, k := range intent.Kinds() {
				objects, err := a.list1(ctx, cl, k, o)
				if err != nil {
					return nil, err
				}
				all = append(all, objects...)
			}
			return all, nil
		}, "objects", false)
	}
	if args[0] == "switches" || args[0] == "switch" {
		return a.getOnce(ctx, o, func() ([]intent.Object, error) { return a.switches(ctx, cl, o, args[1:]) }, "switches", false)
	}
	refs, kind, err := a.parseRefs(args, "all", "switches", "events", "alarms", "routes", "flows")
	if err != nil {
		return err
	}
	if len(refs) > 0 {
		return a.getOnce(ctx, o, func() ([]intent.Object, error) { return getNamed(ctx, cl, refs) }, "objects", len(refs) == 1)
	}
	return a.getOnce(ctx, o, func() ([]intent.Object, error) { return a.list1(ctx, cl, kind, o) }, kind.Plural(), false)
}

// getOnce prints what read gives; with --watch it goes on and prints what
// changes.
func (a *app) getOnce(ctx context.Context, o getOptions, read func() ([]intent.Object, error), what string, single bool) error {
	objects, err := read()
	if len(objects) > 0 || err == nil {
		err = errors.Join(err, a.show(objects, o, what, single))
	}
	if err != nil || !o.watch {
		return err
	}
	return a.follow(ctx, o, objects, read)
}

// parseKind reads a kind. More are the words that the command takes beside kinds.
func parseKind(word string, more []string) (intent.Kind, error) {
	k, err := intent.ParseKind(word)
	if err == nil {
		return k, nil
	}
	known := &cobra.Command{}
	for _, k := range intent.Kinds() {
		known.AddCommand(&cobra.Command{Use: k.Plural(), Run: func(*cobra.Command, []string) {}})
	}
	for _, w := range more {
		known.AddCommand(&cobra.Command{Use: w, Run: func(*cobra.Command, []string) {}})
	}
	if like := meant(known, word); like != "" {
		return "", usageError{fmt.Errorf("unknown kind %q%s", word, like)}
	}
	if len(more) > 0 {
		err = fmt.Errorf("%w, %s; see weft get --help", err, strings.Join(more, ", "))
	}
	return "", usageError{err}
}

// parseRefs reads KIND, KIND NAME... or KIND/NAME...; without names refs is
// empty. More are the words that the command takes in place of KIND.
func (a *app) parseRefs(args []string, more ...string) (refs []intent.Ref, kind intent.Kind, err error) {
	tenant, err := a.tenant()
	if err != nil {
		return nil, "", err
	}
	add := func(k, name string) error {
		kind, err = parseKind(k, nil)
		if err != nil {
			return err
		}
		r := intent.Ref{Kind: kind, Name: name}
		if kind.Tenanted() {
			if tenant == "" {
				return usageError{fmt.Errorf("%s/%s: say of which tenant with -t", strings.ToLower(string(kind)), name)}
			}
			r.Tenant = tenant
		}
		refs = append(refs, r)
		return nil
	}
	if strings.Contains(args[0], "/") {
		for _, s := range args {
			k, name, ok := strings.Cut(s, "/")
			if !ok {
				return nil, "", usageError{fmt.Errorf("%q: give KIND/NAME for all or for none", s)}
			}
			if err := add(k, name); err != nil {
				return nil, "", err
			}
		}
		return refs, kind, nil
	}
	if kind, err = parseKind(args[0], more); err != nil {
		return nil, "", err
	}
	for _, name := range args[1:] {
		if err := add(args[0], name); err != nil {
			return nil, "", err
		}
	}
	return refs, kind, nil
}

func getNamed(ctx context.Context, cl *client.Client, refs []intent.Ref) ([]intent.Object, error) {
	var errs []error
	var found []intent.Object
	for _, r := range refs {
		obj, err := cl.Get(ctx, r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, obj)
	}
	return found, errors.Join(errs...)
}

// list1 lists one kind as the flags say.
func (a *app) list1(ctx context.Context, cl *client.Client, k intent.Kind, o getOptions) ([]intent.Object, error) {
	opt := client.ListOptions{Labels: map[string]string{}}
	for _, l := range o.labels {
		key, v, ok := strings.Cut(l, "=")
		if !ok {
			return nil, usageError{fmt.Errorf("selector %q: use KEY=VALUE", l)}
		}
		opt.Labels[key] = v
	}
	if k.Tenanted() && !o.all {
		t, err := a.tenant()
		if err != nil {
			return nil, err
		}
		opt.Tenant = t // every tenant when none is in force
	}
	return cl.List(ctx, k, opt)
}

// switches are the nodes that are switches, all or those of some names. A name that is
// of none is an error beside the others.
func (a *app) switches(ctx context.Context, cl *client.Client, o getOptions, names []string) ([]intent.Object, error) {
	if len(names) == 0 {
		all, err := a.list1(ctx, cl, intent.KindNode, o)
		return slices.DeleteFunc(all, func(n intent.Object) bool { return !n.(*intent.Node).Spec.Role.Switch() }), err
	}
	var refs []intent.Ref
	for _, name := range names {
		refs = append(refs, intent.Ref{Kind: intent.KindNode, Name: name})
	}
	found, err := getNamed(ctx, cl, refs)
	errs := []error{err}
	found = slices.DeleteFunc(found, func(o intent.Object) bool {
		n := o.(*intent.Node)
		if n.Spec.Role.Switch() {
			return false
		}
		errs = append(errs, fmt.Errorf("%s is no switch but a %s: weft get node %s", n.Ref(), n.Spec.Role, n.Metadata.Name))
		return true
	})
	return found, errors.Join(errs...)
}

// watchEvery is how often a watch asks: status comes from the devices and has
// no revision that could be waited for.
const watchEvery = 500 * time.Millisecond

// follow prints each object that is new or looks different, until Ctrl-C.
func (a *app) follow(ctx context.Context, o getOptions, known []intent.Object, read func() ([]intent.Object, error)) error {
	o.noHeaders = true
	seen := map[intent.Ref]string{}
	note := func(obj intent.Object) bool {
		b, err := json.Marshal(obj)
		changed := err != nil || seen[obj.Ref()] != string(b)
		seen[obj.Ref()] = string(b)
		return changed
	}
	for _, obj := range known {
		note(obj)
	}
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		now, err := read()
		if ctx.Err() != nil {
			return nil
		}
		var p *client.Problem
		if err != nil && !(errors.As(err, &p) && p.Status == http.StatusNotFound) {
			return err
		}
		here := map[intent.Ref]bool{}
		for _, obj := range now {
			here[obj.Ref()] = true
			if note(obj) {
				if err := a.show([]intent.Object{obj}, o, "", true); err != nil {
					return err
				}
			}
		}
		for r := range seen {
			if !here[r] {
				delete(seen, r)
				fmt.Fprintf(a.err, "%s deleted\n", shortRef(r))
			}
		}
	}
}

// shortRef is kind/name, as kubectl writes it.
func shortRef(r intent.Ref) string { return strings.ToLower(string(r.Kind)) + "/" + r.Name }

// show prints objects in the form asked for.
func (a *app) show(objects []intent.Object, o getOptions, what string, single bool) error {
	switch o.output {
	case "json":
		var v any = map[string]any{"apiVersion": intent.APIVersion, "kind": "List", "items": objects}
		if single {
			v = objects[0]
		} else if len(objects) == 0 {
			v = map[string]any{"apiVersion": intent.APIVersion, "kind": "List", "items": []any{}}
		}
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		return e.Encode(v)
	case "yaml":
		b, err := intent.EncodeYAML(objects...)
		if err == nil {
			_, err = a.out.Write(b)
		}
		return err
	case "name":
		for _, obj := range objects {
			fmt.Fprintln(a.out, shortRef(obj.Ref()))
		}
		return nil
	}
	if len(objects) == 0 {
		fmt.Fprintf(a.err, "No %s found.\n", what)
		return nil
	}
	// A table for each kind.
	for len(objects) > 0 {
		k := objects[0].Ref().Kind
		var same, rest []intent.Object
		for _, obj := range objects {
			if obj.Ref().Kind == k {
				same = append(same, obj)
			} else {
				rest = append(rest, obj)
			}
		}
		t := tableOf(k, same, o.output == "wide")
		if err := t.print(a.out, !o.noHeaders); err != nil {
			return err
		}
		if objects = rest; len(rest) > 0 && !o.noHeaders {
			fmt.Fprintln(a.out)
		}
	}
	return nil
}

func (a *app) getEvents(ctx context.Context, cl *client.Client, o getOptions) error {
	if o.output == "yaml" || o.output == "name" {
		return usageError{fmt.Errorf("events can't be printed as %s: use json", o.output)}
	}
	events, err := cl.Events(ctx)
	if err != nil {
		return err
	}
	if o.output == "json" {
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		return e.Encode(client.Events{Items: events})
	}
	t := table{header: []string{"TIME", "SEVERITY", "DEVICE", "OBJECT", "REASON", "MESSAGE"}}
	for _, e := range events {
		t.add(e.Time.Format("15:04:05.000"), e.Severity, e.Device, e.Object, e.Reason, e.Message)
	}
	return t.print(a.out, !o.noHeaders)
}

// completeTenants and completeKindAndName ask the controller for names.
func (a *app) completeTenants(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.names(c.Context(), intent.KindTenant), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeKindAndName(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		var out []string
		for _, k := range intent.Kinds() {
			out = append(out, k.Plural())
		}
		return append(out, "switches", "events", "alarms", "routes", "flows"), cobra.ShellCompDirectiveNoFileComp
	}
	k, err := intent.ParseKind(args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.names(c.Context(), k), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) names(ctx context.Context, k intent.Kind) []string {
	cl, err := a.client()
	if err != nil {
		return nil
	}
	var opt client.ListOptions
	if k.Tenanted() {
		opt.Tenant, _ = a.tenant() // a completion has nowhere to put an error
	}
	objects, err := cl.List(ctx, k, opt)
	if err != nil {
		return nil
	}
	var out []string
	for _, o := range objects {
		out = append(out, o.Ref().Name)
	}
	return out
}
