package intent

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What is wrong with a policy by itself is told with its field.
func TestSteeringPoliciesAreValidated(t *testing.T) {
	for spec, want := range map[string]string{
		"{}":                                              "spec: exactly one of pin, avoid, weight, auto and freeze is expected, there are 0",
		"{freeze: true, auto: {}}":                        "there are 2",
		"{freeze: true, scope: {to: l1}}":                 "spec.scope: must be left out: a freeze is of the whole fabric",
		"{pin: {via: [s1, s1]}}":                          "spec.pin.via[1]: s1 is given twice",
		"{pin: {via: ['']}}":                              "spec.pin.via[0]: is empty",
		"{avoid: {links: [leaf1]}}":                       `spec.avoid.links[0]: "leaf1" is not an interface like leaf1:eth2`,
		"{weight: {s1: 65}}":                              "spec.weight.s1: 65 is outside 1..64",
		"{auto: {}, scope: {network: n}}":                 "spec.scope.network: goes with tenant",
		"{auto: {}, scope: {direction: up}}":              `spec.scope.direction: "up" is not known`,
		"{auto: {}, scope: {tenant: BLUE}}":               `spec.scope.tenant: "BLUE" is not a name`,
		"{auto: {}, priority: 2000000000}":                "spec.priority: 2000000000 is outside",
		"{auto: {}, scope: {from: l1, to: l1}}":           "from l1 to itself",
		"{auto: {objective: fast}}":                       `spec.auto.objective: "fast" is not known`,
		"{weight: {s1: 3, s2: 1}, until: soon}":           `spec.until: "soon" is not a time like`,
		"{weight: {s1: 3.5}}":                             `spec.weight.s1: "3.5" is not a whole number`,
		"{weight: {s1: [1]}}":                             "spec.weight.s1: a single value is expected",
		"{weight: {s1: 1, s1: 2}}":                        "spec.weight.s1: is given twice",
		"{pin: {via: [s1]}, until: 2036-01-01T00:00:00Z}": "",
	} {
		objects, err := Decode([]byte("kind: SteeringPolicy\nmetadata: {name: p}\nspec: "+spec+"\n"), "f")
		if err == nil {
			err = objects[0].Validate()
		}
		if want == "" {
			require.NoError(t, err, spec)
			text, err := EncodeYAML(objects...)
			require.NoError(t, err)
			again, err := Decode(text, "again")
			require.NoError(t, err)
			require.Equal(t, objects, again)
			continue
		}
		require.ErrorContains(t, err, want, spec)
	}
}
