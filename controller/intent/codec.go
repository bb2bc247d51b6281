package intent

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// DecodeError is a fault in a file: where it is, in which object and field.
type DecodeError struct {
	Source string // file name
	Line   int    // 0 when unknown
	Object string // "Network blue/web", or empty
	Field  string // path such as spec.vni, or empty
	Detail string
}

// Error is source:line: object: field: what is wrong.
func (e *DecodeError) Error() string {
	parts := []string{e.Source}
	if e.Line > 0 {
		parts[0] += ":" + strconv.Itoa(e.Line)
	}
	for _, p := range []string{e.Object, e.Field, e.Detail} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ": ")
}

// Decode reads the objects of a YAML stream of any number of documents, or of
// JSON. An object of kind List stands for its items. Fields that are not known
// are refused. All faults are returned, joined, with the objects that have
// none; source names the stream in them.
func Decode(data []byte, source string) ([]Object, error) {
	d := decoder{source: source}
	y := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := y.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			d.object = ""
			line, text := YAMLFault(data, err)
			d.fail(line, "", "broken YAML: %s", text)
			break
		}
		if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
			d.document(doc.Content[0])
		}
	}
	return d.objects, errors.Join(d.errs...)
}

type decoder struct {
	source  string
	objects []Object
	errs    []error
	object  string // being decoded
	bad     bool
}

func (d *decoder) fail(line int, field, format string, args ...any) {
	d.bad = true
	d.errs = append(d.errs, &DecodeError{d.source, line, d.object, field, fmt.Sprintf(format, args...)})
}

func (d *decoder) document(n *yaml.Node) {
	d.object, d.bad = "", false
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // an empty document
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n.Line, "", "an object is expected: kind, metadata, spec")
		return
	}
	kind := value(n, "kind")
	if kind == nil {
		d.fail(n.Line, "kind", "is missing: use one of %s", kindNames())
		return
	}
	if strings.HasSuffix(kind.Value, "List") {
		d.list(n, kind.Value)
		return
	}
	o, err := New(Kind(kind.Value))
	if err != nil {
		d.fail(kind.Line, "kind", "%q is not known: use one of %s", kind.Value, kindNames())
		return
	}
	r := Ref{Kind: o.Ref().Kind}
	if m := value(n, "metadata"); m != nil {
		for f, to := range map[string]*string{"name": &r.Name, "tenant": &r.Tenant} {
			if v := value(m, f); v != nil {
				*to = v.Value
			}
		}
	}
	d.object = r.String()
	if r.Kind.Tenanted() && r.Tenant == "" {
		d.object = string(r.Kind) + " " + r.Name
	}
	d.into(n, reflect.ValueOf(o).Elem(), "")
	if !d.bad {
		d.zeroes(o, value(n, "spec"))
	}
	if !d.bad {
		d.objects = append(d.objects, o)
	}
}

// zeroes refuses what is given as zero or empty where that would mean the same
// as left out: nobody who writes it means that.
func (d *decoder) zeroes(o Object, spec *yaml.Node) {
	vni := func(v VNI) {
		if n := value(spec, "vni"); n != nil && v == 0 {
			d.fail(n.Line, "spec.vni", "%s is outside 1..%d; leave it out to have one allocated", n.Value, MaxVNI)
		}
	}
	switch o := o.(type) {
	case *Network:
		vni(o.Spec.VNI)
		d.eachEmpty(spec, "acls", "to mean the whole network", "subnet")
	case *NetworkACL:
		d.eachEmpty(spec, "rules", "to match any", "protocol", "ports", "sourcePorts", "icmpType", "icmpCode", "source", "destination")
	case *Router:
		vni(o.Spec.VNI)
		imports := value(spec, "imports")
		for i := 0; imports != nil && i < len(imports.Content); i++ {
			d.emptyList(fmt.Sprintf("spec.imports[%d].prefixes", i), value(imports.Content[i], "prefixes"), "all subnets")
		}
	case *ExternalNetwork:
		vni(o.Spec.VNI)
		d.emptyList("spec.import", value(spec, "import"), "all")
	case *Port:
		if n := value(value(spec, "binding"), "vlan"); n != nil && o.Spec.Binding.VLAN == 0 {
			d.fail(n.Line, "spec.binding.vlan", "%s is outside 1..4094; leave it out for untagged frames", n.Value)
		}
	case *SecurityGroup:
		if n := value(spec, "id"); n != nil && o.Spec.ID == 0 {
			d.fail(n.Line, "spec.id", "%s is outside 1..%d; leave it out to have one allocated", n.Value, MaxGroupID)
		}
		d.eachEmpty(spec, "rules", "to allow any", "protocol", "ports", "icmpType", "icmpCode", "cidr", "group")
	}
}

// emptyList refuses a filter that is there and empty: left out it takes
// everything, which a template without a value must not.
func (d *decoder) emptyList(field string, n *yaml.Node, all string) {
	if n != nil && len(n.Content) == 0 && n.Kind != yaml.AliasNode {
		d.fail(n.Line, field, "is empty: leave it out to take %s", all)
	}
}

// eachEmpty refuses fields in the items of a list that are there and empty: left
// out they mean everything, which a template without a value must not.
func (d *decoder) eachEmpty(spec *yaml.Node, list, why string, fields ...string) {
	items := value(spec, list)
	for i := 0; items != nil && i < len(items.Content); i++ {
		item := items.Content[i]
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		for _, f := range fields {
			if n := value(item, f); n != nil && n.Kind == yaml.ScalarNode && (n.Value == "" || n.Tag == "!!null") {
				d.fail(n.Line, fmt.Sprintf("spec.%s[%d].%s", list, i, f), "is empty: leave it out %s", why)
			}
		}
	}
}

// list decodes the items of a List, or of what the REST interface lists.
func (d *decoder) list(n *yaml.Node, kind string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch k.Value {
		case "items":
			if v.Kind != yaml.SequenceNode {
				d.fail(v.Line, "items", "a list is expected")
				continue
			}
			for _, item := range v.Content {
				d.document(item)
			}
			d.object = ""
		case "apiVersion", "kind", "metadata", "revision", "continue", "remaining":
		default:
			d.fail(k.Line, k.Value, "is not a field of a %s: use items", kind)
		}
	}
	if value(n, "items") == nil {
		d.fail(n.Line, "items", "is missing: a %s has items", kind)
	}
}

func kindNames() string {
	s := make([]string, 0, len(Kinds()))
	for _, k := range Kinds() {
		s = append(s, string(k))
	}
	return strings.Join(s, ", ")
}

// value finds a key of a mapping.
func value(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// into decodes a node into a value of our types; path names it in errors.
func (d *decoder) into(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		d.into(n, v.Elem(), path)
		return
	}
	if t, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if n.Kind != yaml.ScalarNode {
			d.fail(n.Line, path, "a single value is expected")
		} else if err := t.UnmarshalText([]byte(n.Value)); err != nil {
			d.fail(n.Line, path, "%q is not %s", n.Value, expected(v))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.fail(n.Line, path, "a list is expected")
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, c := range n.Content {
			d.into(c, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Map:
		d.labels(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

func expected(v reflect.Value) string {
	switch v.Interface().(type) {
	case MAC:
		return "a MAC address like 02:00:00:00:00:01"
	case PortRange:
		return "a port like 80 or a range like 8000-8080"
	}
	switch v.Type().String() {
	case "netip.Addr":
		return "an IP address"
	case "netip.Prefix":
		return "a subnet like 10.0.0.0/24"
	case "time.Time":
		return "a time like 2006-01-02T15:04:05Z"
	}
	return "a " + v.Type().String()
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n.Line, path, "a mapping is expected")
		return
	}
	fields := map[string]reflect.Value{}
	collect(v, fields)
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		f, ok := fields[key.Value]
		switch {
		case !ok:
			d.fail(key.Line, at, "is not a field: use one of %s", strings.Join(names(fields), ", "))
		case seen[key.Value]:
			d.fail(key.Line, at, "is given twice")
		default:
			d.into(n.Content[i+1], f, at)
		}
		seen[key.Value] = true
	}
}

// collect lists a struct's fields by their name in files.
func collect(v reflect.Value, to map[string]reflect.Value) {
	for i := range v.NumField() {
		name, opt, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if opt == "inline" {
			collect(v.Field(i), to)
		} else if name != "" {
			to[name] = v.Field(i)
		}
	}
}

func names(fields map[string]reflect.Value) []string {
	var out []string
	for n := range fields {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

func (d *decoder) labels(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n.Line, path, "a mapping is expected")
		return
	}
	m := reflect.MakeMap(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		if m.MapIndex(reflect.ValueOf(n.Content[i].Value)).IsValid() {
			d.fail(n.Content[i].Line, path+"."+n.Content[i].Value, "is given twice")
			continue
		}
		e := reflect.New(v.Type().Elem()).Elem()
		d.scalar(n.Content[i+1], e, path+"."+n.Content[i].Value)
		m.SetMapIndex(reflect.ValueOf(n.Content[i].Value), e)
	}
	v.Set(m)
}

var integer = regexp.MustCompile(`^[-+]?[0-9]+$`)

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n.Line, path, "a single value is expected")
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, 64)
		if err != nil {
			d.fail(n.Line, path, "%q is not a whole number", n.Value)
			return
		}
		v.SetInt(i)
	case reflect.Bool:
		if n.Value != "true" && n.Value != "false" {
			d.fail(n.Line, path, "%q is not true or false", n.Value)
			return
		}
		v.SetBool(n.Value == "true")
	case reflect.Uint8:
		u, err := strconv.ParseUint(n.Value, 10, 8)
		if err != nil {
			d.fail(n.Line, path, "%q is not a whole number from 0 to 255", n.Value)
			return
		}
		v.SetUint(u)
	case reflect.Uint16:
		u, err := strconv.ParseUint(n.Value, 10, 16)
		if err != nil {
			d.fail(n.Line, path, "%q is not a whole number from 0 to 65535", n.Value)
			return
		}
		v.SetUint(u)
	case reflect.Uint32:
		u, err := strconv.ParseUint(n.Value, 10, 32)
		if number := integer.MatchString(n.Value); err != nil && number && v.Type() == reflect.TypeFor[VNI]() {
			d.fail(n.Line, path, "%s is outside 1..%d", n.Value, MaxVNI)
			return
		}
		if err != nil {
			d.fail(n.Line, path, "%q is not a whole number from 0 to 4294967295", n.Value)
			return
		}
		v.SetUint(u)
	case reflect.Uint64:
		u, err := strconv.ParseUint(n.Value, 10, 64)
		if err != nil {
			d.fail(n.Line, path, "%q is not a whole number from 0 to 18446744073709551615", n.Value)
			return
		}
		v.SetUint(u)
	default:
		d.fail(n.Line, path, "can't be given in a file")
	}
}
