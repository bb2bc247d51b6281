package api

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

// object is a pointer to one of the intent types.
type object[T any] interface {
	*T
	intent.Object
}

// read parses a body strictly: what the schema does not have is refused, and
// each field at fault is named.
func read[T any, P object[T]](s *Server, schema *huma.Schema, ref intent.Ref, body []byte) (P, error) {
	var raw any
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, syntax(body, err)
	}
	res := &huma.ValidateResult{}
	path := huma.NewPathBuffer(make([]byte, 0, 64), 0)
	huma.Validate(s.api.OpenAPI().Components.Schemas, schema, path, huma.ModeWriteToServer, raw, res)
	if err := faults(reflect.TypeFor[T](), ref, raw, res.Errors); err != nil {
		return nil, err
	}
	o := P(new(T))
	if err := json.Unmarshal(body, o); err != nil {
		return nil, syntax(body, err)
	}
	return o, name(o, ref)
}

// faults joins what the schema and the types find wrong, sorted by field; of
// two faults in one field the type's is the clearer.
func faults(t reflect.Type, ref intent.Ref, raw any, found []error) error {
	byField := map[string]string{}
	for _, err := range found {
		d := &huma.ErrorDetail{Message: err.Error()}
		if e, ok := err.(huma.ErrorDetailer); ok {
			d = e.ErrorDetail()
		}
		field := d.Location
		if field == "" {
			field = "(object)"
		}
		byField[field] = plain(d.Message)
	}
	f := intent.NewFaults(ref)
	texts(f, "", t, raw)
	var typed intent.FieldErrors
	errors.As(f.Err(), &typed)
	for _, e := range typed {
		byField[e.Field] = e.Detail
	}
	f = intent.NewFaults(ref)
	for _, field := range slices.Sorted(maps.Keys(byField)) {
		f.Add(field, "%s", byField[field])
	}
	return f.Err()
}

var exponent = regexp.MustCompile(`[0-9.]+e\+[0-9]+`)

// plain says what the schema demands in words that people use.
func plain(msg string) string {
	if msg == "unexpected property" {
		return "is not a known field"
	}
	return exponent.ReplaceAllStringFunc(msg, func(s string) string {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return s
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	})
}

// name puts the name of the path into the object, unless it has another.
func name(o intent.Object, ref intent.Ref) error {
	f, m := intent.NewFaults(ref), o.Meta()
	if m.Name != "" && m.Name != ref.Name {
		f.Add("metadata.name", "is %q where the path says %q", m.Name, ref.Name)
	}
	if m.Tenant != "" && ref.Kind.Tenanted() && m.Tenant != ref.Tenant {
		f.Add("metadata.tenant", "is %q where the path says %q", m.Tenant, ref.Tenant)
	}
	m.Name = ref.Name
	if ref.Kind.Tenanted() {
		m.Tenant = ref.Tenant
	}
	return f.Err()
}

// syntax tells where JSON is malformed.
func syntax(body []byte, err error) error {
	if len(body) == 0 {
		return malformed("the body is empty: send the object as JSON")
	}
	var (
		se *json.SyntaxError
		te *json.UnmarshalTypeError
		at int64
	)
	switch {
	case errors.As(err, &se):
		at = se.Offset
	case errors.As(err, &te):
		at = te.Offset
	}
	at = min(at, int64(len(body)))
	line := 1 + strings.Count(string(body[:at]), "\n")
	p := malformed("the body is not valid JSON at byte %d, line %d: %v", at, line, err)
	p.Errors = []client.ProblemField{{Location: "body", Message: fmt.Sprintf("byte %d: %v", at, err)}}
	return p
}

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

// unreadable says why a string can't be a value of a type.
func unreadable(t reflect.Type, s string, err error) string {
	switch t {
	case reflect.TypeFor[netip.Prefix]():
		return fmt.Sprintf("%q is not a subnet like 10.0.0.0/24", s)
	case reflect.TypeFor[netip.Addr]():
		return fmt.Sprintf("%q is not an IPv4 or IPv6 address", s)
	}
	return err.Error()
}

// texts checks the strings that become addresses and the like, which a schema
// can't, so that each one at fault is named.
func texts(f *intent.Faults, path string, t reflect.Type, v any) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(textType) {
		if s, ok := v.(string); ok {
			if err := reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
				f.Add(path, "%s", unreadable(t, s, err))
			}
		}
		return
	}
	switch t.Kind() {
	case reflect.Slice:
		list, _ := v.([]any)
		for i, e := range list {
			texts(f, fmt.Sprintf("%s[%d]", path, i), t.Elem(), e)
		}
	case reflect.Struct:
		m, _ := v.(map[string]any)
		for _, field := range reflect.VisibleFields(t) {
			key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if e, ok := m[key]; ok && key != "" {
				texts(f, strings.TrimPrefix(path+"."+key, "."), field.Type, e)
			}
		}
	}
}
