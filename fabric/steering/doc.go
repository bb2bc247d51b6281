// Package steering decides which links of a fabric carry what: it lays a traffic
// matrix on a network, says what each link carries under ECMP, under policies and
// with the best weights, with anything down, and follows a changing demand. It is
// pure.
//
// # What can be chosen
//
// A leaf chooses its first link for each destination, by the weights of a group of
// next hops; what follows is plain ECMP of the switches above. So a way is a first
// link, and behind it what ECMP makes of it. Ways are the shortest paths of package
// topology less those that eBGP does not have: no two switches of one ASN, so that no
// leaf carries transit between spines (see package fabric).
//
// What is steered together is a cell: the traffic from a leaf to a VTEP, of a
// tenant. What a hypervisor sends is its leaf's, as the leaf is where it is steered.
//
// # Rules
//
// Policies are heard by priority, then the narrower scope first. The first that pins,
// weighs or hands over to the optimiser decides; those that avoid take ways away,
// unless one of higher priority decides. What no policy decides stays on ECMP. When
// all that the rules leave is down, ECMP serves: the covering route stays in place
// beside what is injected.
//
// # Flows
//
// A cell may say of how many flows it is. Then the hash of ECMP is played: each flow
// takes one way. A cell of one flow is an elephant that can't be divided; it is
// given one way. More flows of one cell can't be told apart by routes.
//
// # The controller
//
// Controller is a state machine in virtual time. It averages the demand, has the
// optimiser begin with what is there, and acts only when the gain is worth it, on
// cells that were not changed within the hold time, and on no more traffic than a
// share per step. It looks at demand, not at utilisation, which its own changes
// would move: so it has nothing to swing with.
package steering
