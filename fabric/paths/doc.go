// Package paths compares, for any two places of a fabric, three sets of equal-cost
// paths: the intended one, which follows from the graph; the learned one, which the
// switches' routing protocols have; and the programmed one, by which their kernels send
// packets. The second and third are walked hop by hop through what each switch reports.
//
// What is intended on each switch is found by breadth first search from the
// destination, as routing protocols do: with eBGP a switch refuses a path that has its
// own AS in it (RFC 4271 section 9.1.2, RFC 7938 section 5.2.2), so that no path leads
// down to a leaf and up again, while IS-IS takes the shortest way whatever it is. As
// long as no link is down that is [topology.Graph.Paths].
//
// Links that are down are left out of what can be used, and differences that follow
// from that are told as such.
package paths
