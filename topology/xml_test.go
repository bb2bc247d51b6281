package topology_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"testing"
)

// checkXML reads a document to its end.
func checkXML(t testing.TB, doc []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(doc))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("not XML: %s\n%s", err, doc)
		}
	}
}
