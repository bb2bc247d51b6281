// Command report runs "go test -json" and says how far it is.
//
//	report [-least DURATION] go test -json [flags] PACKAGE...
//
// go test prints nothing of a package until the package has ended, which for tests
// with real fabrics takes minutes; with -v it prints everything. Of each test, report
// prints one line when it ends, and one now and then while a long one runs; of one
// that fails all that it said; at the end the tests that took longest, and in short why
// tests failed.
//
// Its exit status is the command's. It is 1 also when a test was skipped, for then
// something is not shown, and when no test has run at all.
//
// The stream of events is that of "go doc test2json".
package main
