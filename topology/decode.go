package topology

import (
	"bytes"
	"errors"
	"io"

	"go.yaml.in/yaml/v3"

	"github.com/weft-sdn/weft/controller/intent"
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

// yamlFault finds the line of what the library complains about.
func yamlFault(data []byte, err error) *Fault {
	line, text := intent.YAMLFault(data, err)
	return &Fault{Line: line, Text: "this is not YAML: " + text}
}
