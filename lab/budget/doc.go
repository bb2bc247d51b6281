// Package budget holds what the program costs, as far as it can be counted:
// allocations, flow-mods and rows that are sent, writes of the store, bytes.
// Times are left out: they are the machine's and the neighbours'.
//
// A package has its counts in TestBudget, behind the build tag budget, and the
// figures that were agreed on in testdata/budget.json beside it. `make
// bench-check` compares: a count that is higher fails, and so does one that is
// not in the file or no longer counted. `make bench-check UPDATE=1` writes the
// files anew; the change is then read in the diff.
package budget
