package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weft-sdn/weft/controller/intent"
)

// Causes to test for with errors.Is. Faults of the object itself, or in what
// it names, are intent.FieldErrors.
var (
	ErrNotFound  = errors.New("does not exist")                        // NotFoundError
	ErrConflict  = errors.New("value in use")                          // ConflictError
	ErrRevision  = errors.New("revision does not match")               // RevisionError
	ErrExhausted = errors.New("nothing is free")                       // ExhaustedError
	ErrInUse     = errors.New("in use")                                // InUseError
	ErrCompacted = errors.New("revision is gone")                      // CompactedError
	ErrGone      = errors.New("revision is not there")                 // GoneError
	ErrExpired   = errors.New("continue token expired: list again")    // List
	ErrToken     = errors.New("continue token is not valid")           // List
	ErrBusy      = errors.New("gave up after losing too many races")   // Put, Delete
	ErrFull      = errors.New("the store is over its quota")           // any write
	ErrReadOnly  = errors.New("the store takes no writes")             // any write
	ErrBroken    = errors.New("stored object can't be read")           // Broken, BrokenError
	ErrLocked    = errors.New("data directory is in use by a process") // LockedError
)

// NotFoundError says that an object does not exist.
type NotFoundError struct{ Object intent.Ref }

func (e *NotFoundError) Error() string        { return e.Object.String() + " does not exist" }
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// ConflictError says that a value may belong to one object only and belongs
// to another.
type ConflictError struct {
	Object intent.Ref // that was to be written
	Field  string     // JSON path, such as spec.vni
	Value  string
	Owner  intent.Ref // that has the value
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s: %s: %s is in use by %s", e.Object, e.Field, e.Value, e.Owner)
}
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// RevisionError says that an object is not at the revision that the writer
// knows. Have is zero when the object does not exist, Want when the writer
// expects that.
type RevisionError struct {
	Object     intent.Ref
	Want, Have int64
}

func (e *RevisionError) Error() string {
	switch {
	case e.Want == 0:
		return fmt.Sprintf("%s exists already, at revision %d", e.Object, e.Have)
	case e.Have == 0:
		return fmt.Sprintf("%s does not exist; revision %d was expected", e.Object, e.Want)
	}
	return fmt.Sprintf("%s is at revision %d, not %d: read it again", e.Object, e.Have, e.Want)
}
func (e *RevisionError) Is(target error) bool { return target == ErrRevision }

// ExhaustedError says that a value was to be chosen and none is free. It is
// also an intent.FieldErrors for errors.As.
type ExhaustedError struct {
	Object intent.Ref
	Field  string // that was left out
	Detail string // what has nothing free, and what to do
}

func (e *ExhaustedError) Error() string        { return e.Unwrap().Error() }
func (e *ExhaustedError) Is(target error) bool { return target == ErrExhausted }

// Unwrap gives the fault of the field.
func (e *ExhaustedError) Unwrap() error {
	return intent.FieldErrors{{Object: e.Object, Field: e.Field, Detail: e.Detail}}
}

// InUseError says that an object can't be deleted because others name it.
type InUseError struct {
	Object intent.Ref
	By     []intent.Ref // the first few, directly dependent
	Total  int          // all of them
	// Holders is how many of them, the first ones, don't belong to the object:
	// a cascade does not delete them.
	Holders int
	Moving  bool // they are ports on their way to the object, a node
}

func (e *InUseError) Error() string {
	if e.Moving {
		return fmt.Sprintf("%s is where %s is moving to: wait until it is there, or leave out its spec.requested", e.Object, e.By[0])
	}
	names := make([]string, len(e.By))
	for i, r := range e.By {
		names[i] = r.String()
	}
	more := ""
	if n := e.Total - len(e.By); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	todo := "delete these first, or delete with cascade"
	switch {
	case e.Holders == e.Total && e.Object.Kind == intent.KindRouter:
		todo = "delete these first"
	case e.Holders > 0 && e.Holders == e.Total:
		todo = "take it out of these first"
		if anyFloating(e.By) {
			todo = "give these something else, or delete them first"
		}
	case e.Holders == 0 && e.Object.Kind == intent.KindSecurityGroup:
		todo = "take it out of their rules first, or delete these groups too with cascade"
	case e.Holders > 0:
		todo = fmt.Sprintf("take it out of %s first, then delete the others, or delete with cascade", strings.Join(names[:min(e.Holders, len(names))], ", "))
	}
	return fmt.Sprintf("%s is in use by %s%s: %s", e.Object, strings.Join(names, ", "), more, todo)
}
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// anyFloating reports whether any of these is a floating IP, which can't be without
// a port and an external network.
func anyFloating(refs []intent.Ref) bool {
	return slices.ContainsFunc(refs, func(r intent.Ref) bool { return r.Kind == intent.KindFloatingIP })
}

// CompactedError ends a watch whose start is no longer, or not yet, in the
// store: read a snapshot and watch from its revision.
type CompactedError struct {
	After   int64 // revision the watch was to go on from
	Current int64 // the store's revision now
}

func (e *CompactedError) Error() string {
	return fmt.Sprintf("changes after revision %d are gone; the store is at revision %d: read a snapshot", e.After, e.Current)
}
func (e *CompactedError) Is(target error) bool { return target == ErrCompacted }

// GoneError says that the objects can't be read as they were at a revision.
type GoneError struct {
	Revision int64 // that was asked for
	// Oldest and Current are the first and the last that can be.
	Oldest, Current int64
}

func (e *GoneError) Error() string {
	if e.Revision > e.Current {
		return fmt.Sprintf("revision %d has not been yet: the store is at revision %d", e.Revision, e.Current)
	}
	return fmt.Sprintf("revision %d is compacted: the oldest that the store can go back to is %d; what is older is only in backups", e.Revision, e.Oldest)
}
func (e *GoneError) Is(target error) bool { return target == ErrGone }

// LockedError says that another process has the data directory.
type LockedError struct {
	Dir string
	PID string // of the other process, when known
}

func (e *LockedError) Error() string {
	by := "another process"
	if e.PID != "" {
		by = "process " + e.PID
	}
	return fmt.Sprintf("data directory %s is in use by %s: stop it, or use another directory", e.Dir, by)
}
func (e *LockedError) Is(target error) bool { return target == ErrLocked }
