package topology

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// A drawing with marks is XML, has each mark once, and draws what it does not know
// about as ever.
func TestMarks(t *testing.T) {
	file, err := Generate(GenerateParams{Name: "dc", Spines: 2, Leaves: 2, ParallelLinks: 2, ServersPerLeaf: 1})
	if err != nil {
		t.Fatal(err)
	}
	g := file.Graph
	plain := string(g.SVG())
	if with := string(g.SVGWith(Marks{Title: "dc"})); strings.Count(with, "<path") != strings.Count(plain, "<path") || strings.Count(with, "<rect") != strings.Count(plain, "<rect") {
		t.Error("without marks another drawing")
	}
	m := Marks{
		Title: "what <fails>", Legend: []Mark{{Colour: "#010203", Label: "bad & worse"}},
		Nodes: map[string]Mark{"spine1": {Colour: "#0a0b0c", Label: "node label", Tip: "node tip"}, "nobody": {Label: "of nobody"}},
		Links: map[string]Mark{g.Links[1].String(): {Colour: "#0d0e0f", Label: "link label", Tip: "link tip"}, "a - b": {Label: "of no link"}},
	}
	svg := string(g.SVGWith(m))
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"node label", "node tip", "link label", "link tip", `stroke="#0a0b0c"`, `stroke="#0d0e0f"`, "bad &amp; worse"} {
		if n := strings.Count(svg, want); n != 1 {
			t.Errorf("%q is there %d times", want, n)
		}
	}
	for _, not := range []string{"of nobody", "of no link", "<fails>"} {
		if strings.Contains(svg, not) {
			t.Errorf("%q is there", not)
		}
	}
}
