package topology

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const emptyFile = "the file is empty: a topology has a name and nodes"

// decode reads the one document of a file.
func decode(data []byte) (*yaml.Node, *Fault) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	doc, next := new(yaml.Node), new(yaml.Node)
	switch err := d.Decode(doc); {
	case errors.Is(err, io.EOF):
		return nil, &Fault{Line: 1, Text: emptyFile}
	case err != nil:
		return nil, yamlFault(data, err)
	case len(doc.Content) == 0 || isNull(doc.Content[0]):
		return nil, &Fault{Line: 1, Text: emptyFile}
	}
	switch err := d.Decode(next); {
	case err == nil:
		return nil, &Fault{Line: max(next.Line, 1), Text: "a second document begins here: a topology file has one"}
	case !errors.Is(err, io.EOF):
		return nil, yamlFault(data, err)
	}
	return doc, nil
}

var (
	yamlMessage = regexp.MustCompile(`^yaml: (?:line (\d+): )?((?s:.*))$`)
	// Messages of the library's parser, the others being of its scanner: it
	// counts their lines from zero, and those of a block are where the block
	// begins.
	flowMessage  = regexp.MustCompile(`^did not find expected (<document start>|<stream-start>|',' or|node content)`)
	blockMessage = regexp.MustCompile(`^did not find expected ('-' indicator|key)`)
	noAnchor     = regexp.MustCompile(`^unknown anchor '(.*)' referenced`)
)

// yamlFault finds the line of what the library complains about.
func yamlFault(data []byte, err error) *Fault {
	m := yamlMessage.FindStringSubmatch(err.Error())
	if m == nil {
		return &Fault{Line: 1, Text: "this is not YAML: " + err.Error()}
	}
	f := &Fault{Line: 1, Text: "this is not YAML: " + m[2]}
	if n, err := strconv.Atoi(m[1]); err == nil {
		f.Line = n
	}
	switch anchor := noAnchor.FindStringSubmatch(m[2]); {
	case anchor != nil:
		if before, _, ok := bytes.Cut(data, []byte("*"+anchor[1])); ok {
			f.Line = 1 + bytes.Count(before, []byte("\n"))
		}
	case flowMessage.MatchString(m[2]):
		f.Line++
	case blockMessage.MatchString(m[2]):
		f.Line = firstBroken(data, m[2])
	}
	return f
}

// firstBroken is the first line with which the text above is refused for that
// reason.
func firstBroken(data []byte, message string) int {
	lines := bytes.SplitAfter(data, []byte("\n"))
	return sort.Search(len(lines)-1, func(i int) bool {
		var n yaml.Node
		err := yaml.Unmarshal(bytes.Join(lines[:i+1], nil), &n)
		return err != nil && strings.HasSuffix(err.Error(), message)
	}) + 1
}
