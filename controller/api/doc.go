// Package api is the controller's northbound REST interface.
//
// Objects are resources: PUT writes one whole and may be repeated, GET reads
// one or a page of a kind, DELETE removes one. An object's ETag is its store
// revision; If-Match and If-None-Match make a write conditional. Status is
// asked from the engine when an object is read; it is never stored, and what a
// body says of it is ignored, as are metadata.revision and metadata.created.
//
// A watch is a collection read with ?watch=true: server-sent events (WHATWG
// HTML section 9.2) from a revision on. Only the last event of a revision
// carries an id, so that a client which reconnects with Last-Event-ID misses
// nothing; it may see changes of one revision twice. A client that does not
// read is cut off, and what is kept for it is bounded: see stream.
//
// Errors are problem details (RFC 9457) whose detail is a sentence for people
// and whose errors name each field at fault; type is for programs.
//
// The OpenAPI 3.1 document comes from the intent types and the operations'
// inputs by huma, which this package alone imports; /docs shows it.
package api
