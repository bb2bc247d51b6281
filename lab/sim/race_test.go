//go:build race

package sim_test

// manyTogether is how many drivers a test runs: the race detector makes them some
// ten times as slow.
const manyTogether = 60
