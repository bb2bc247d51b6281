//go:build !race

package sim_test

// manyTogether is how many drivers a test runs.
const manyTogether = 500
