package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/weft-sdn/weft/controller/intent"
)

// Of one request of Apply: objects, and bytes of them, below what the controller
// takes.
const (
	applyObjects = 500
	applyBytes   = 900 << 10
)

// ApplyOptions are manners of Apply.
type ApplyOptions struct {
	DryRun bool // check only
	Force  bool // also when ports would be cut off
}

// Apply writes objects, whose kinds must be filled in, each as Put does, by few
// requests. It calls done for
// each, in their order: what was done with it, or the Problem why it was
// refused. Its error is that of a request, after which the rest was not sent.
func (c *Client) Apply(ctx context.Context, objects []intent.Object, opt ApplyOptions, done func(AppliedItem)) error {
	var (
		body Apply
		size int
	)
	flush := func() error {
		if len(body.Items) == 0 {
			return nil
		}
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		q := url.Values{}
		setBool(q, "dryRun", opt.DryRun)
		setBool(q, "force", opt.Force)
		_, b, err = c.do(ctx, http.MethodPost, "/v1/apply", q, http.Header{"Content-Type": {"application/json"}}, b)
		if err != nil {
			return err
		}
		var out Applied
		if err := json.Unmarshal(b, &out); err != nil || len(out.Items) != len(body.Items) {
			return fmt.Errorf("the controller's answer to %d objects can't be read: %w", len(body.Items), err)
		}
		for _, i := range out.Items {
			done(i)
		}
		body.Items, size = nil, 0
		return nil
	}
	items, err := marshalAll(objects)
	if err != nil {
		return err
	}
	for i, b := range items {
		n, bytes := 1, len(b)
		if group(objects, i) && !group(objects, i-1) {
			// Groups that follow one another may name each other.
			for ; group(objects, i+n); n++ {
				bytes += len(items[i+n]) + 1
			}
		}
		if len(body.Items)+n > applyObjects || size+bytes > applyBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		body.Items, size = append(body.Items, b), size+len(b)+1
	}
	return flush()
}

func marshalAll(objects []intent.Object) ([]json.RawMessage, error) {
	out := make([]json.RawMessage, len(objects))
	for i, o := range objects {
		b, err := json.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", o.Ref(), err)
		}
		out[i] = b
	}
	return out, nil
}

// group reports whether there is a security group at an index.
func group(objects []intent.Object, i int) bool {
	return i >= 0 && i < len(objects) && objects[i].Ref().Kind == intent.KindSecurityGroup
}
