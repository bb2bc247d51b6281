// Package demand is the traffic matrix: how much goes from where to where, and
// for whom. It is pure.
//
// # Files
//
// A matrix is CSV (RFC 4180) with a header line. Columns are found by name, in
// any order:
//
//	from,to      nodes of the fabric; needed
//	rate         bit/s, or with a unit: 250M, 1.5G; needed
//	tenant       whose traffic it is; may be empty
//	flows        how many flows it consists of, all of one size; empty for so
//	             many that they can be divided at will
//
// A line that starts with # is a remark. All that is wrong is told with its line,
// nodes that the fabric does not have by name.
package demand
