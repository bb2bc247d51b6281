package store

import (
	"encoding/json"
	"fmt"

	"github.com/weft-sdn/weft/controller/intent"
)

// encode writes an object as it is stored: without revision, which is the
// key's, and without status, which is never stored.
func encode(o intent.Object) ([]byte, error) {
	switch o := o.(type) {
	case *intent.Tenant:
		c := *o
		c.Header, c.Metadata.Revision, c.Status = header(intent.KindTenant), 0, nil
		return json.Marshal(&c)
	case *intent.Node:
		c := *o
		c.Header, c.Metadata.Revision, c.Status = header(intent.KindNode), 0, nil
		return json.Marshal(&c)
	case *intent.Link:
		c := *o
		c.Header, c.Metadata.Revision, c.Status = header(intent.KindLink), 0, nil
		return json.Marshal(&c)
	case *intent.Network:
		c := *o
		c.Header, c.Metadata.Revision, c.Status = header(intent.KindNetwork), 0, nil
		return json.Marshal(&c)
	case *intent.Port:
		c := *o
		c.Header, c.Metadata.Revision, c.Status = header(intent.KindPort), 0, nil
		return json.Marshal(&c)
	}
	return nil, fmt.Errorf("%T is not an object of the store", o)
}

func header(k intent.Kind) intent.Header {
	return intent.Header{APIVersion: intent.APIVersion, Kind: k}
}

func decode(r intent.Ref, value []byte, rev int64) (intent.Object, error) {
	o, err := intent.New(r.Kind)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(value, o); err != nil {
		return nil, err
	}
	if v := version(o); v != intent.APIVersion {
		return nil, fmt.Errorf("its version is %q, and this program knows %q only", v, intent.APIVersion)
	}
	if got := o.Ref(); got != r {
		return nil, fmt.Errorf("its key is that of another object: it says that it is %s", got)
	}
	o.Meta().Revision = rev
	return o, nil
}

// version is the apiVersion that an object has.
func version(o intent.Object) string {
	switch o := o.(type) {
	case *intent.Tenant:
		return o.APIVersion
	case *intent.Node:
		return o.APIVersion
	case *intent.Link:
		return o.APIVersion
	case *intent.Network:
		return o.APIVersion
	case *intent.Port:
		return o.APIVersion
	}
	return ""
}

// clone copies an object as it would be stored.
func clone(o intent.Object) (intent.Object, error) {
	b, err := encode(o)
	if err != nil {
		return nil, err
	}
	return decode(o.Ref(), b, 0)
}

// encodeRef writes the owner of a claim.
func encodeRef(r intent.Ref) string {
	b, _ := json.Marshal(r) // three strings
	return string(b)
}

func decodeRef(b []byte) intent.Ref {
	var r intent.Ref
	_ = json.Unmarshal(b, &r) // a damaged claim has no owner to name
	return r
}
