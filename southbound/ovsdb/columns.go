package ovsdb

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// What a column may have (RFC 7047 section 5.1). The types remember whether the
// column was there at all.

// optional is a string, or an empty set.
type optional struct {
	there, set bool
	v          string
}

// number is an integer, or an empty set.
type number struct {
	there, set bool
	v          int
}

// set is a set of strings or UUIDs.
type set struct {
	there bool
	v     []string
}

// mapping is a map of strings.
type mapping struct {
	there bool
	kv    [][2]string
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *optional) UnmarshalJSON(b []byte) error {
	o.there = true
	s := cursor{b: b}
	var err error
	o.v, o.set, err = one(&s, (*cursor).atom)
	return err
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(b []byte) error {
	n.there = true
	s := cursor{b: b}
	var err error
	n.v, n.set, err = one(&s, (*cursor).integer)
	return err
}

// one reads an atom, or a set that has one or none.
func one[T any](s *cursor, atom func(*cursor) (T, error)) (v T, ok bool, err error) {
	if !s.set() {
		v, err = atom(s)
		return v, err == nil, err
	}
	if s.next() == ']' {
		return v, false, nil
	}
	if v, err = atom(s); err == nil && s.next() != ']' {
		err = s.bad("a set of one at most")
	}
	return v, err == nil, err
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *set) UnmarshalJSON(b []byte) error {
	c.there, c.v = true, nil
	s := cursor{b: b}
	if !s.set() {
		v, err := s.atom()
		c.v = []string{v}
		return err
	}
	for s.next() != ']' {
		v, err := s.atom()
		if err != nil {
			return err
		}
		c.v = append(c.v, v)
		s.take(',')
	}
	return nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *mapping) UnmarshalJSON(b []byte) error {
	m.there, m.kv = true, nil
	s := cursor{b: b}
	if !s.tagged("map") || !s.take('[') {
		return s.bad(`["map", [...]]`)
	}
	for s.next() != ']' {
		var p [2]string
		var err error
		if !s.take('[') {
			return s.bad("a pair")
		}
		if p[0], err = s.atom(); err != nil {
			return err
		}
		if !s.take(',') {
			return s.bad("a pair")
		}
		if p[1], err = s.atom(); err != nil {
			return err
		}
		if !s.take(']') {
			return s.bad("a pair")
		}
		m.kv = append(m.kv, p)
		s.take(',')
	}
	return nil
}

// cursor reads a column's value. What it reads is JSON for certain; only its
// shape is not.
type cursor struct {
	b []byte
	i int
}

func (s *cursor) bad(what string) error {
	return fmt.Errorf("a column has %.100s where %s is expected", s.b, what)
}

// next is the next byte that is not space, zero at the end.
func (s *cursor) next() byte {
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

func (s *cursor) take(c byte) bool {
	if s.next() != c {
		return false
	}
	s.i++
	return true
}

// tagged passes over ["TAG", if that is next; else nothing.
func (s *cursor) tagged(tag string) bool {
	at := s.i
	if s.take('[') && s.next() == '"' {
		if t, err := s.text(); err == nil && t == tag && s.take(',') {
			return true
		}
	}
	s.i = at
	return false
}

// set passes over ["set", [ if that is next; else nothing.
func (s *cursor) set() bool {
	at := s.i
	if s.tagged("set") && s.take('[') {
		return true
	}
	s.i = at
	return false
}

// atom is a string or a UUID.
func (s *cursor) atom() (string, error) {
	switch s.next() {
	case '"':
		return s.text()
	case '[':
		if !s.tagged("uuid") && !s.tagged("named-uuid") || s.next() != '"' {
			return "", s.bad("a UUID")
		}
		v, err := s.text()
		if err == nil && !s.take(']') {
			err = s.bad("a UUID")
		}
		return v, err
	}
	return "", s.bad("a string")
}

func (s *cursor) integer() (int, error) {
	s.next()
	start := s.i
	for ; s.i < len(s.b) && (s.b[s.i] == '-' || s.b[s.i] >= '0' && s.b[s.i] <= '9'); s.i++ {
	}
	v, err := strconv.Atoi(string(s.b[start:s.i]))
	if err != nil {
		return 0, s.bad("an integer")
	}
	return v, nil
}

// text reads the string that is next.
func (s *cursor) text() (string, error) {
	start, escapes := s.i, false
	for s.i++; s.i < len(s.b); s.i++ {
		switch s.b[s.i] {
		case '\\':
			escapes = true
			s.i++
		case '"':
			s.i++
			if !escapes {
				return string(s.b[start+1 : s.i-1]), nil
			}
			var v string
			err := json.Unmarshal(s.b[start:s.i], &v)
			return v, err
		}
	}
	return "", s.bad("a string")
}
