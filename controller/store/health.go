package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Health is how the etcd behind a store is.
type Health struct {
	Revision int64
	Size     int64 // of the largest member's data, in bytes
	InUse    int64 // of that, what is not free for new data
	Quota    int64 // that Size may reach; 0 when etcd does not tell
	// Problems say what is wrong and what to do; none when all is well.
	Problems []string
}

const (
	howToFree  = "delete what is not needed, then run `weft store compact`; reads and the data plane go on meanwhile"
	howToWrite = "give the controller's etcd user the role to write; reads and the data plane go on meanwhile"
	// nearlyFull is the part of the quota, in percent, from which on Health warns.
	nearlyFull = 80
)

// Health asks every member of etcd how it is. Its error says that none answers.
func (s *Store) Health(ctx context.Context) (Health, error) {
	rev, err := s.Revision(ctx)
	h := Health{Revision: rev}
	if err != nil {
		return h, err
	}
	full, corrupt := false, false
	alarms, err := s.client.AlarmList(ctx)
	if err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) {
		return h, fmt.Errorf("ask etcd for alarms: %w", err)
	}
	if err == nil {
		for _, a := range alarms.Alarms {
			full = full || a.Alarm == pb.AlarmType_NOSPACE
			corrupt = corrupt || a.Alarm == pb.AlarmType_CORRUPT
		}
	}
	for _, e := range s.client.Endpoints() {
		st, err := s.client.Status(ctx, e)
		if err != nil {
			h.Problems = append(h.Problems, fmt.Sprintf("etcd member %s does not answer: %v", e, err))
			continue
		}
		if st.Leader == 0 {
			h.Problems = append(h.Problems, fmt.Sprintf("etcd member %s knows no leader: start the other members", e))
		}
		if st.DbSize > h.Size {
			h.Size, h.InUse, h.Quota = st.DbSize, st.DbSizeInUse, st.DbSizeQuota
		}
	}
	switch {
	case corrupt:
		h.Problems = append(h.Problems, "etcd says that its data is corrupt and takes no writes: restore a backup")
	case full:
		h.Problems = append(h.Problems, fmt.Sprintf("the store is over its quota (%s) and takes no writes: %s", h.size(), howToFree))
	case h.Quota > 0 && h.InUse > h.Quota*nearlyFull/100:
		h.Problems = append(h.Problems, fmt.Sprintf("the store is nearly full (%s): %s", h.size(), howToFree))
	}
	return h, nil
}

func (h *Health) size() string {
	const mib = 1 << 20
	of := ""
	if h.Quota > 0 {
		of = fmt.Sprintf(" of %.1f", float64(h.Quota)/mib)
	}
	return fmt.Sprintf("%.1f%s MiB, %.1f of them in use", float64(h.Size)/mib, of, float64(h.InUse)/mib)
}

// Compact forgets the history of the objects, gives the space back and, when
// there is enough by then, lets a store that was over its quota take writes
// again. It holds up each member of etcd for as long as that takes. Watches
// that are behind start again.
func (s *Store) Compact(ctx context.Context) error {
	rev, err := s.Revision(ctx)
	if err != nil {
		return fmt.Errorf("compact store: %w", err)
	}
	if _, err := s.client.Compact(ctx, rev, clientv3.WithCompactPhysical()); err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compact store: %w", wrong(err))
	}
	for _, e := range s.client.Endpoints() {
		if _, err := s.client.Defragment(ctx, e); err != nil {
			return fmt.Errorf("defragment etcd at %s: %w", e, wrong(err))
		}
	}
	alarms, err := s.client.AlarmList(ctx)
	if err != nil {
		return fmt.Errorf("compact store: ask etcd for alarms: %w", wrong(err))
	}
	for _, a := range alarms.Alarms {
		if a.Alarm != pb.AlarmType_NOSPACE {
			continue
		}
		h, err := s.Health(ctx)
		if err != nil {
			return fmt.Errorf("compact store: %w", err)
		}
		if h.Quota > 0 && h.Size >= h.Quota {
			return fmt.Errorf("compact store: %w even without history (%s)", ErrFull, h.size())
		}
		if _, err := s.client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a)); err != nil {
			return fmt.Errorf("compact store: end etcd's alarm: %w", wrong(err))
		}
		if _, err := s.client.Do(ctx, s.stamp("deletions of a full store")); err != nil {
			return fmt.Errorf("compact store: write the journal: %w", wrong(err))
		}
	}
	return nil
}

// refusal is a write that etcd does not take in its present state.
type refusal struct {
	cause  error // ErrFull or ErrReadOnly
	action string
	err    error
}

func (r *refusal) Error() string        { return fmt.Sprintf("%v (%v): %s", r.cause, r.err, r.action) }
func (r *refusal) Is(target error) bool { return target == r.cause }
func (r *refusal) Unwrap() error        { return r.err }

// wrong tells what etcd's refusal of a write means and what to do.
func wrong(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		return &refusal{ErrFull, howToFree, err}
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return &refusal{ErrReadOnly, howToWrite, err}
	case errors.Is(err, rpctypes.ErrCorrupt), err != nil && strings.Contains(err.Error(), "corrupt cluster"):
		return &refusal{ErrReadOnly, "etcd says that its data is corrupt: restore a backup", err}
	}
	return err
}
