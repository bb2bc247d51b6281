package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
)

// History are the last changes of the store, the newest first.
type History struct {
	Items []Revision `json:"items" nullable:"false"`
	// Oldest is how far back a rollback can go.
	Oldest int64 `json:"oldest" doc:"Oldest revision that can be gone back to: what was before it is compacted"`
}

// Revision is one transaction of the store.
type Revision struct {
	Revision int64     `json:"revision"`
	At       time.Time `json:"at,omitzero" doc:"When it was written"`
	Note     string    `json:"note,omitempty" doc:"What it was, when it was no plain write"`
	Changes  []Touched `json:"changes" nullable:"false"`
}

// Touched is an object of a Revision.
type Touched struct {
	Ref    intent.Ref `json:"ref"`
	Action string     `json:"action" enum:"created,changed,deleted"`
}

// Rollback asks to make everything what it was.
type Rollback struct {
	Revision int64 `json:"revision" minimum:"1" doc:"Revision to go back to"`
	DryRun   bool  `json:"dryRun,omitempty" doc:"Only tell what would change"`
	Force    bool  `json:"force,omitempty" doc:"Also when ports that are in use would go or be cut off"`
	Objects  bool  `json:"objects,omitempty" doc:"Answer with the objects as they are and as they were"`
}

// RolledBack tells what a rollback changed, or would.
type RolledBack struct {
	Changes      []RollbackChange `json:"changes" nullable:"false" doc:"Deletions first"`
	Transactions int              `json:"transactions" doc:"How many transactions of the store it takes: with more than one, what is between can be seen"`
}

// RollbackChange is one object of a rollback.
type RollbackChange struct {
	Ref    intent.Ref      `json:"ref"`
	Action string          `json:"action" enum:"created,changed,deleted"`
	Now    json.RawMessage `json:"now,omitempty" doc:"The object as it is"`
	Then   json.RawMessage `json:"then,omitempty" doc:"The object as it was"`
}

// Objects decodes a change's object as it is and as it was; nil for none.
func (r *RollbackChange) Objects() (now, then intent.Object, err error) {
	one := func(raw json.RawMessage) (intent.Object, error) {
		if len(raw) == 0 {
			return nil, nil
		}
		return decode(r.Ref.Kind, raw)
	}
	if now, err = one(r.Now); err != nil {
		return nil, nil, err
	}
	then, err = one(r.Then)
	return now, then, err
}

// History lists the last changes: limit of them (20 when zero), older than before
// (0: the newest).
func (c *Client) History(ctx context.Context, limit int, before int64) (History, error) {
	q := url.Values{}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	if before > 0 {
		q.Set("before", strconv.FormatInt(before, 10))
	}
	var h History
	path := "/v1/history"
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return h, c.get(ctx, path, &h)
}

// Rollback makes all objects what they were at a revision.
func (c *Client) Rollback(ctx context.Context, r Rollback) (RolledBack, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return RolledBack{}, fmt.Errorf("roll back: %w", err)
	}
	_, b, err := c.do(ctx, http.MethodPost, "/v1/rollback", nil, http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return RolledBack{}, err
	}
	var out RolledBack
	if err := json.Unmarshal(b, &out); err != nil {
		return RolledBack{}, fmt.Errorf("roll back: the controller's answer can't be read: %w", err)
	}
	return out, nil
}
