package main

import (
	"runtime/debug"
)

// release is set by the linker: -X main.release=v1.2.3.
var release = "dev"

func version() string { return release }

// commit is the source's revision, when the build knows it.
func commit() string {
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return ""
}
