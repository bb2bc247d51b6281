package api

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
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
	f := intent.NewFaults(ref)
	for _, err := range res.Errors {
		d := &huma.ErrorDetail{Message: err.Error()}
		if e, ok := err.(huma.ErrorDetailer); ok {
			d = e.ErrorDetail()
		}
		f.Add(d.Location, "%s", d.Message)
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	texts(f, "", reflect.TypeFor[T](), raw)
	if err := f.Err(); err != nil {
		return nil, err
	}
	o := P(new(T))
	if err := json.Unmarshal(body, o); err != nil {
		return nil, syntax(body, err)
	}
	return o, name(o, ref)
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

// texts checks the strings that become addresses and the like, which a schema
// can't, so that each one at fault is named. The value is as the schema says.
func texts(f *intent.Faults, path string, t reflect.Type, v any) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(textType) {
		if s, ok := v.(string); ok {
			if err := reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
				f.Add(path, "%q can't be read: %v", s, err)
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
