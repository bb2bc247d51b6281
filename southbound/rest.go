package southbound

import "time"

// restMost bounds Rest beyond what the work took.
const restMost = 100 * time.Millisecond

// Rest is how long after the beginning of some work for a device, which took
// some time, the next may begin. What changes meanwhile goes with that: a device
// that has little to do follows each change at once, one that is behind gets few
// large changes instead of many small ones, and has as long for its own work.
func Rest(took time.Duration) time.Duration { return min(3*took, took+restMost) }
