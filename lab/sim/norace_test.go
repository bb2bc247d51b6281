//go:build !race

package sim_test

// manyTogether is how many drivers a test runs.
const manyTogether = 500

// together says that edges which come back at once are read at once.
const together = true
