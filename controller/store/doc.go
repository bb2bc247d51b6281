// Package store keeps the intent objects in etcd. It is the only package that
// imports etcd.
//
// Each object is one key, its value JSON without what the key says already, its
// revision the key's ModRevision:
//
//	/weft/v1/<kinds>/[<tenant>/]<name>
//
// What only one object may have is a claim, a key whose value is the owner:
//
//	/weft/claim/vni/<vni>
//	/weft/claim/mac/<tenant>/<network>/<mac>
//	/weft/claim/addr/<tenant>/<network>/<address>
//	/weft/claim/bind/<node>/<interface>[@<vlan>]
//	/weft/claim/iface/<iface-id>
//	/weft/claim/link/<node>/<interface>
//	/weft/claim/vtep/<address>
//	/weft/claim/group/<number>
//	/weft/claim/router/<tenant>/<network>/
//	/weft/claim/outside/<external network>/<address>
//	/weft/claim/floating/<tenant>/<port>/<fixed address>
//	/weft/claim/fabricpeer/<address>
//
// VNIs of networks and L3VNIs of routers and external networks are claimed from
// one space, floating IPs and source addresses of nodes too. A router
// claims its address in each subnet of its networks like a port does; since
// these follow from both, whichever of router and network changes writes them.
// The MAC claims of a network also list its ports. Other keys only list what
// names an object, so that it is not deleted meanwhile; their last part is the
// one that names, so nobody else can have them:
//
//	/weft/claim/member/<tenant>/<group>/<port>
//	/weft/claim/rule/<tenant>/<group>/<group whose rules name it>
//	/weft/claim/hop/<tenant>/<port>/<router whose routes name it>
//	/weft/claim/border/<node>/<external network>
//	/weft/claim/source/<external network>/<node with addresses of it>
//	/weft/claim/external/<external network>/<kinds>/<tenant>/<name>
//	/weft/claim/advertise/<external network>/<prefix>/<tenant>/<router>
//	/weft/claim/export/<route target>/<tenant>/<router>
//	/weft/claim/import/<its number as a VNI>/<route target>/<tenant>/<router>
//	/weft/claim/stretch/<tenant>/<network>/<interconnect that stretches it>
//
// Each of these transactions also writes /weft/journal with its time. So the
// history of that key, which etcd keeps until it is compacted, lists them, and its
// revision tells whether anything was written since; Rollback relies on both.
//
// Parts of a key are percent-encoded, so that an interface such as Ethernet1/1
// stays one part.
//
// An object and its claims are written by one transaction. It compares that
// the object is as it was read, that each new claim is free, and that what the
// object names still exists, or is unchanged where it was checked against that
// (a port's network; a router's networks and next hops). A delete compares that
// nothing new names the object. New groups that name each other are written by
// one transaction. A transaction that loses a race
// runs again on fresh reads, so no lock is held anywhere, any number of
// controllers may write at once, and a process killed at any instant leaves
// either all of a change or nothing.
//
// Single writes that wait at the same time go by common transactions, since each
// one waits for the disk: what comes while one is under way is the next. Of those
// together each still has its own conditions and its own answer, and one that is
// refused does not hold back the others.
//
// Values that a spec leaves out are chosen from a short list of free values
// kept in memory; the list is only a hint, the claim decides. It is filled by
// one scan per thousand allocations.
//
// Without endpoints the package runs etcd inside the process, on a Unix socket
// in a directory that only the user may enter, with fsync on. Both cases use
// the same client.
package store
