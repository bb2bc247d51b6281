// Package congestion splits traffic over given ways so that the most utilised
// link is utilised least: minimum congestion over restricted paths.
//
// It knows links by number and nothing of a fabric. It is pure.
//
// # Ways
//
// What the source of traffic can choose is its first link; what follows is not
// its choice. So a way is one link and a tail: the part of the traffic that each
// further link gets, as plain ECMP splits it. Tails are shared by all sources,
// which keeps a fabric of 1,000 leaves in memory.
//
// # Solve
//
// Minimises a smooth form of the maximum, ln(sum of exp(eta*u))/eta over the
// utilisations u of the links, which is above the maximum by ln(links)/eta at
// most. The derivative gives each link a length; for one commodity at a time,
// traffic is moved from its longest way to its shortest, never farther than where
// the two are equally long, so each move makes the sum smaller. Eta grows until
// the gap that was asked for is reached. This is the exponential potential of
// Plotkin, Shmoys and Tardos (1995) and Garg and Koenemann (2007), with moves by
// pairs of ways in place of whole phases, so that it can begin with what is there
// and touch little.
//
// The bound is not a theorem about the number of rounds but a certificate: for
// any lengths of the links, no split has a maximum below
//
//	(sum over commodities of demand * shortest way) / (sum over links of capacity * length)
//
// which is weak duality of the linear program, and can be checked by whoever
// doubts it (Problem.Bound).
//
// # Exact
//
// The linear program itself, by a revised simplex that keeps one basic way per
// commodity aside (generalised upper bounds, Dantzig and Van Slyke 1967) and has
// rows only for the links that are at the maximum. It ends with lengths for which
// the bound equals the utilisation.
//
// # Weights
//
// Hardware holds small integers. Reduce finds the smallest that are near enough,
// in the sense of WCMP (Zhou et al., EuroSys 2014): no way gets more than 1+error
// of its part. Weights reduces all splits and mends what rounding did to the most
// utilised links.
package congestion
