// Package load turns counters of switches into rates: what each link carries, how
// evenly the uplinks of each leaf do, and the traffic matrix between VTEPs. It is
// pure: who runs it hands it reports and the time.
//
// # Counters
//
// A switch reports counters that only rise, and by its own clock when it read them. A
// report that is lost is made up for by the next. A counter that is lower than before
// began anew, at zero: what it has now was counted since. The first report of a switch
// is where counting begins, and no traffic.
//
// What was counted between two reports is spread evenly over the time between them,
// and kept in rings of fixed length at four resolutions: see Resolutions. A rate over
// a window is made of the ring that divides the window finest, and ends where the last
// report of that switch does.
//
// # The matrix
//
// Leaves count what leaves in tunnels by port, outer source, outer destination and VNI
// (RFC 7348 section 5). A cell takes what left by ports that lead to another switch,
// so each packet counts once, at its first leaf, whatever kind of edge its VTEPs are;
// what stays on a leaf is in no cell. Bytes have the outer headers, as those of ports do.
//
// # Memory
//
// A port has 5.8 kB, a tunnel 0.6 kB, a VNI's share of a tunnel being a tunnel of its
// own; Limits bound how many there are. What has no room is counted as such.
package load
