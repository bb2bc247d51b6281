package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
)

// record is an object as it is stored. Kind, tenant, name and version are the
// key's, the revision is that of the key, and status is never stored.
type record[S any] struct {
	Version string            `json:"apiVersion,omitempty"` // only when it is not intent.APIVersion
	Labels  map[string]string `json:"labels,omitempty"`
	Created int64             `json:"created,omitempty"` // seconds since 1970
	Spec    S                 `json:"spec"`
}

func pack[S any](m *intent.Metadata, spec S) ([]byte, error) {
	r := record[S]{Labels: m.Labels, Spec: spec}
	if m.Created != nil {
		r.Created = m.Created.Unix()
	}
	return json.Marshal(&r)
}

func unpack[S any](r intent.Ref, rev int64, value []byte, m *intent.Metadata, spec *S) error {
	var in record[S]
	if err := json.Unmarshal(value, &in); err != nil {
		return err
	}
	if in.Version != "" && in.Version != intent.APIVersion {
		return fmt.Errorf("its version is %q, and this program knows %q only", in.Version, intent.APIVersion)
	}
	*m = intent.Metadata{Name: r.Name, Tenant: r.Tenant, Labels: in.Labels, Revision: rev}
	if in.Created != 0 {
		t := time.Unix(in.Created, 0).UTC()
		m.Created = &t
	}
	*spec = in.Spec
	return nil
}

// encode writes an object as it is stored.
func encode(o intent.Object) ([]byte, error) {
	switch o := o.(type) {
	case *intent.Tenant:
		return pack(&o.Metadata, &o.Spec)
	case *intent.Node:
		return pack(&o.Metadata, &o.Spec)
	case *intent.Link:
		return pack(&o.Metadata, &o.Spec)
	case *intent.Network:
		return pack(&o.Metadata, &o.Spec)
	case *intent.NetworkACL:
		return pack(&o.Metadata, &o.Spec)
	case *intent.Port:
		return pack(&o.Metadata, &o.Spec)
	case *intent.SecurityGroup:
		return pack(&o.Metadata, &o.Spec)
	case *intent.Router:
		return pack(&o.Metadata, &o.Spec)
	case *intent.ExternalNetwork:
		return pack(&o.Metadata, &o.Spec)
	case *intent.FloatingIP:
		return pack(&o.Metadata, &o.Spec)
	case *intent.Fabric:
		return pack(&o.Metadata, &o.Spec)
	case *intent.Interconnect:
		return pack(&o.Metadata, &o.Spec)
	case *intent.SteeringPolicy:
		return pack(&o.Metadata, &o.Spec)
	}
	return nil, fmt.Errorf("%T is not an object of the store", o)
}

func decode(r intent.Ref, value []byte, rev int64) (intent.Object, error) {
	o, err := intent.New(r.Kind)
	if err != nil {
		return nil, err
	}
	switch o := o.(type) {
	case *intent.Tenant:
		err = unpack(r, rev, value, &o.Metadata, &o.Spec)
	case *intent.Node:
		err = unpack(r, rev, value, &o.Metadata, &o.Spec)
	case *intent.Link:
		err = unpack(r, rev, value, &o.Metadata, &o.Spec)
	case *intent.Network:
		err = unpack(r, rev, value, &o.Metadata, &o.Spec)
	case *intent.NetworkACL:
		err = unpack(r, rev, value, &o.Metadata, &o.Spec)
	case *intent.Port:
		err = unpack(r, rev, value, &o.Metadata, &o.Spec)
	case *intent.SecurityGroup:
		err = unpack(r, rev, value, &o.Metadata, &o.Spec)
	case *intent.Router:
		err = unpack(r, rev, value, &o.Metadata, &o.Spec)
	case *intent.ExternalNetwork:
		err = unpack(r, rev, value, &o.Metadata, &o.Spec)
	case *intent.FloatingIP:
		err = unpack(r, rev, value, &o.Metadata, &o.Spec)
	case *intent.Fabric:
		err = unpack(r, rev, value, &o.Metadata, &o.Spec)
	case *intent.Interconnect:
		err = unpack(r, rev, value, &o.Metadata, &o.Spec)
	case *intent.SteeringPolicy:
		err = unpack(r, rev, value, &o.Metadata, &o.Spec)
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

// whole checks that a stored object has what is allocated before it is stored.
func whole(o intent.Object) error {
	switch o := o.(type) {
	case *intent.Network:
		if o.Spec.VNI == 0 {
			return errors.New("it has no VNI")
		}
	case *intent.Port:
		if o.Spec.MAC.IsZero() || o.Spec.Network == "" {
			return errors.New("it has no MAC address or network")
		}
	case *intent.SecurityGroup:
		if o.Spec.ID == 0 {
			return errors.New("it has no number")
		}
	case *intent.Router:
		if o.Spec.VNI == 0 {
			return errors.New("it has no VNI")
		}
	case *intent.ExternalNetwork:
		if o.Spec.VNI == 0 {
			return errors.New("it has no VNI")
		}
	case *intent.FloatingIP:
		if !o.Spec.Address.IsValid() || !o.Spec.Fixed.IsValid() {
			return errors.New("it has no address")
		}
	}
	return nil
}

// clone copies an object as it would be stored.
func clone(o intent.Object) (intent.Object, error) {
	b, err := encode(o)
	if err != nil {
		return nil, err
	}
	return decode(o.Ref(), b, 0)
}

// encodeRef writes the owner of a claim: "Port blue/vm1", "Node leaf1".
func encodeRef(r intent.Ref) string { return r.String() }

// decodeRef reads what encodeRef wrote; a damaged claim has no owner to name.
func decodeRef(b []byte) intent.Ref {
	kind, name, _ := strings.Cut(string(b), " ")
	r := intent.Ref{Kind: intent.Kind(kind), Name: name}
	if r.Kind.Tenanted() {
		r.Tenant, r.Name, _ = strings.Cut(name, "/")
	}
	return r
}
