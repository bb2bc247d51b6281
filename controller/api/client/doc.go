// Package client speaks to a Weft controller's REST interface.
//
// It also holds the types that are on the wire besides the intent objects, so
// that it needs nothing of the server: Problem (RFC 9457), List, Event.
//
// A Client is safe for concurrent use. Errors are a *Problem when the
// controller answered, and a *ConnectError when it could not be reached.
package client
