package fabric

import (
	"cmp"
	"strings"
)

// Natural compares names as people do: digits by their value, so that leaf9
// comes before leaf10. It orders all names: only equal names compare as equal.
func Natural(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		xd, yd := digits(x), digits(y)
		if xd == "" || yd == "" {
			if x[0] != y[0] {
				return cmp.Compare(x[0], y[0])
			}
			x, y = x[1:], y[1:]
			continue
		}
		xn, yn := strings.TrimLeft(xd, "0"), strings.TrimLeft(yd, "0")
		if c := cmp.Or(cmp.Compare(len(xn), len(yn)), cmp.Compare(xn, yn)); c != 0 {
			return c
		}
		x, y = x[len(xd):], y[len(yd):]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(a, b))
}

// digits are the digits at the start of s.
func digits(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
}
