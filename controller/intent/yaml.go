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
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var (
	yamlMessage = regexp.MustCompile(`^yaml: (?:line (\d+): )?((?s:.*))$`)
	// Messages of the library's parser, the others being of its scanner: it
	// counts their lines from zero, and those of a block are where the block
	// begins.
	flowMessage  = regexp.MustCompile(`^did not find expected (<document start>|<stream-start>|',' or|node content)`)
	blockMessage = regexp.MustCompile(`^did not find expected ('-' indicator|key)`)
	noAnchor     = regexp.MustCompile(`^unknown anchor '(.*)' referenced`)
)

// YAMLFault finds the line, from 1, of what the YAML library complains about in
// data, and the complaint without it.
func YAMLFault(data []byte, err error) (line int, text string) {
	m := yamlMessage.FindStringSubmatch(err.Error())
	if m == nil {
		return 1, err.Error()
	}
	line, text = 1, m[2]
	if n, err := strconv.Atoi(m[1]); err == nil {
		line = n
	}
	switch anchor := noAnchor.FindStringSubmatch(text); {
	case anchor != nil:
		if before, _, ok := bytes.Cut(data, []byte("*"+anchor[1])); ok {
			line = 1 + bytes.Count(before, []byte("\n"))
		}
	case flowMessage.MatchString(text):
		line++
	case blockMessage.MatchString(text):
		line = firstBroken(data, text)
	}
	return line, text
}

// firstBroken is the first line with which the text above is refused for that
// reason.
func firstBroken(data []byte, message string) int {
	lines := bytes.SplitAfter(data, []byte("\n"))
	return sort.Search(len(lines)-1, func(i int) bool {
		d := yaml.NewDecoder(bytes.NewReader(bytes.Join(lines[:i+1], nil)))
		for {
			var n yaml.Node
			if err := d.Decode(&n); err != nil {
				return !errors.Is(err, io.EOF) && strings.HasSuffix(err.Error(), message)
			}
		}
	}) + 1
}

// EncodeYAML writes objects as a YAML stream that Decode reads.
func EncodeYAML(objects ...Object) ([]byte, error) {
	var b bytes.Buffer
	for i, o := range objects {
		n, err := encode(reflect.ValueOf(o), "")
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", o.Ref(), err)
		}
		if i > 0 {
			b.WriteString("---\n")
		}
		e := yaml.NewEncoder(&b)
		e.SetIndent(2)
		if err := errors.Join(e.Encode(n), e.Close()); err != nil {
			return nil, fmt.Errorf("encode %s: %w", o.Ref(), err)
		}
	}
	return b.Bytes(), nil
}

// encode makes the node of a value of our types. The library's own way leaves
// out addresses that are set, as it takes a struct without exported fields for
// empty.
func encode(v reflect.Value, options string) (*yaml.Node, error) {
	if v.Kind() == reflect.Pointer {
		return encode(v.Elem(), options)
	}
	if t, ok := v.Interface().(encoding.TextMarshaler); ok {
		b, err := t.MarshalText()
		return text(string(b)), err
	}
	switch v.Kind() {
	case reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		return n, encodeFields(n, v)
	case reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		if strings.Contains(options, "flow") {
			n.Style = yaml.FlowStyle
		}
		for i := range v.Len() {
			c, err := encode(v.Index(i), "")
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, c)
		}
		return n, nil
	case reflect.Map:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, k := range slices.SortedFunc(slices.Values(v.MapKeys()), func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) }) {
			c, err := encode(v.MapIndex(k), "")
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, text(k.String()), c)
		}
		return n, nil
	case reflect.String:
		return text(v.String()), nil
	case reflect.Bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v.Bool())}, nil
	case reflect.Int, reflect.Int64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(v.Int(), 10)}, nil
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatUint(v.Uint(), 10)}, nil
	}
	return nil, fmt.Errorf("no YAML for %s", v.Type())
}

func encodeFields(n *yaml.Node, v reflect.Value) error {
	for i := range v.NumField() {
		name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		f := v.Field(i)
		switch {
		case options == "inline":
			if err := encodeFields(n, f); err != nil {
				return err
			}
		case name == "" || strings.Contains(options, "omitempty") && empty(f):
		default:
			c, err := encode(f, options)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			n.Content = append(n.Content, text(name), c)
		}
	}
	return nil
}

func empty(v reflect.Value) bool {
	if k := v.Kind(); k == reflect.Slice || k == reflect.Map {
		return v.Len() == 0
	}
	return v.IsZero()
}

// text is a string's node, in quotes where YAML 1.1 would read a truth value.
func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off":
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}
