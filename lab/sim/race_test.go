//go:build race

package sim_test

// manyTogether is how many drivers a test runs: the race detector makes them some
// ten times as slow.
const manyTogether = 60

// together says that edges which come back at once are read at once: the race
// detector makes it one after the other.
const together = false
