// Package probe sends real packets between the hosts of a lab and counts
// every copy that arrives anywhere.
//
// A Field opens UDP sockets inside the hosts' network namespaces; all of them
// belong to this one process, so what was sent and what arrived is known
// without asking anybody. Each datagram's payload names the run, its source,
// its destination and its number. Tenants may use the same addresses, so who
// got a datagram is judged by the payload alone: a datagram that reaches
// another host than the one it names is a leak, a second copy is a duplicate.
//
// Check tries all ordered pairs of hosts against what intent expects of them.
// Broadcast does so for broadcast and IPv6 multicast, and reads VXLAN packets
// on the hypervisors' uplinks (RFC 7348) to see that no copy goes to a VTEP
// that does not have the network. Continuous counts losses while something
// else happens. Underlay sends between the switches' loopbacks and counts
// which uplinks the flows take (RFC 2992).
package probe
