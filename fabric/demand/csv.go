package demand

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-sdn/weft/topology"
)

// maxFaults are collected before a file is given up.
const maxFaults = 1000

var columns = []string{"from", "to", "tenant", "flows", "rate"}

// parser reads a file and collects what is wrong.
type parser struct {
	source string
	node   func(string) error
	column map[string]int
	seen   map[Key]int // line
	faults topology.Faults
	out    []Demand
}

// Parse reads a matrix. node tells what is wrong with a node, nil when traffic can
// begin and end there; source names the file in errors, which are
// topology.Faults: all that is wrong, by line.
func Parse(data []byte, source string, node func(string) error) (Matrix, error) {
	p := &parser{source: source, node: node, seen: map[Key]int{}}
	r := csv.NewReader(bytes.NewReader(data))
	r.Comment, r.TrimLeadingSpace, r.ReuseRecord = '#', true, true
	header, err := r.Read()
	switch {
	case errors.Is(err, io.EOF):
		return Matrix{}, fmt.Errorf("%s: the file is empty: a line like %q is expected first", source, strings.Join(columns, ","))
	case err != nil:
		return Matrix{}, p.broken(err)
	}
	line, _ := r.FieldPos(0)
	if !p.header(line, header) {
		return Matrix{}, p.faults
	}
	for len(p.faults) < maxFaults {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			p.faults = append(p.faults, p.broken(err).(topology.Fault))
			var bad *csv.ParseError
			if errors.As(err, &bad) && errors.Is(bad.Err, csv.ErrFieldCount) {
				continue
			}
			break
		}
		line, _ := r.FieldPos(0)
		p.record(line, record)
	}
	if len(p.faults) > 0 {
		return Matrix{}, p.faults
	}
	return New(p.out)
}

// broken is what the CSV library says, in our words.
func (p *parser) broken(err error) error {
	var bad *csv.ParseError
	if !errors.As(err, &bad) {
		return topology.Fault{Source: p.source, Line: 1, Text: err.Error()}
	}
	text := "broken CSV: " + bad.Err.Error()
	if errors.Is(bad.Err, csv.ErrFieldCount) {
		text = "the line has more or fewer fields than the header"
	}
	return topology.Fault{Source: p.source, Line: bad.Line, Text: text}
}

func (p *parser) fault(line int, format string, args ...any) {
	p.faults = append(p.faults, topology.Fault{Source: p.source, Line: line, Text: fmt.Sprintf(format, args...)})
}

func (p *parser) header(line int, names []string) bool {
	p.column = map[string]int{}
	for i, n := range names {
		n = strings.ToLower(strings.TrimSpace(n))
		if !slices.Contains(columns, n) {
			p.fault(line, "column %q is not one of %s", n, strings.Join(columns, ", "))
			continue
		}
		if _, ok := p.column[n]; ok {
			p.fault(line, "column %s is there twice", n)
		}
		p.column[n] = i
	}
	for _, n := range []string{"from", "to", "rate"} {
		if _, ok := p.column[n]; !ok {
			p.fault(line, "column %s is missing: the first line names the columns", n)
		}
	}
	return len(p.faults) == 0
}

// field is a column of a line, empty when the file has no such column.
func (p *parser) field(record []string, name string) string {
	if i, ok := p.column[name]; ok {
		return strings.Clone(strings.TrimSpace(record[i]))
	}
	return ""
}

func (p *parser) record(line int, record []string) {
	before := len(p.faults)
	d := Demand{Key: Key{p.field(record, "from"), p.field(record, "to"), p.field(record, "tenant")}}
	for _, end := range []struct{ column, name string }{{"from", d.From}, {"to", d.To}} {
		if end.name == "" {
			p.fault(line, "%s is empty", end.column)
		} else if err := p.node(end.name); err != nil {
			p.fault(line, "%s: %s", end.column, err)
		}
	}
	if d.From == d.To && d.From != "" {
		p.fault(line, "the traffic goes from %s to itself", d.From)
	}
	var err error
	if d.Rate, err = ParseRate(p.field(record, "rate")); err != nil {
		p.fault(line, "rate: %s", err)
	}
	if s := p.field(record, "flows"); s != "" {
		if d.Flows, err = strconv.Atoi(s); err != nil || d.Flows < 1 || d.Flows > math.MaxInt32 {
			p.fault(line, "flows: %q is not a number of flows: leave it empty when they are many", s)
		}
	}
	if first, ok := p.seen[d.Key]; ok {
		p.fault(line, "%s is given already in line %d", d.Key, first)
	}
	if len(p.faults) == before {
		p.seen[d.Key] = line
		p.out = append(p.out, d)
	}
}

// units of rates, the largest first.
var units = []struct {
	letter string
	by     float64
}{{"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}}

// maxRate is far above any link, and low enough for sums of it.
const maxRate = 1e18

// ParseRate reads bits per second: 250M, 1.5G, 64000. Units are powers of 1,000.
func ParseRate(s string) (float64, error) {
	number, by := s, 1.0
	for _, u := range units {
		if rest, ok := strings.CutSuffix(strings.Replace(s, "K", "k", 1), u.letter); ok {
			number, by = rest, u.by
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v >= 0) || v*by > maxRate || strings.ContainsAny(number, "xXpP_") {
		return 0, fmt.Errorf("%q is not a rate: use bits per second, like 250M or 1.5G", s)
	}
	return v * by, nil
}

// FormatRate writes bits per second with a unit, so that ParseRate reads the same
// value.
func FormatRate(v float64) string {
	for _, u := range units {
		if v >= u.by {
			s := strconv.FormatFloat(v/u.by, 'f', -1, 64) + u.letter
			if back, err := ParseRate(s); err == nil && back == v {
				return s
			}
			break
		}
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// CSV writes the matrix as Parse reads it.
func (m Matrix) CSV() []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(columns) // a Buffer takes all
	for _, d := range m.Demands {
		flows := ""
		if d.Flows > 0 {
			flows = strconv.Itoa(d.Flows)
		}
		_ = w.Write([]string{d.From, d.To, d.Tenant, flows, FormatRate(d.Rate)})
	}
	w.Flush()
	return b.Bytes()
}
