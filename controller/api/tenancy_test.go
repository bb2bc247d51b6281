package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weft-sdn/weft/controller/api/client"
	"github.com/weft-sdn/weft/controller/intent"
)

func TestRoutersAndGroupsAreResources(t *testing.T) {
	b := newBench(t)
	b.blue()
	groups, routers := b.events(t.Context(), "/v1/securitygroups?watch=true"), b.events(t.Context(), "/v1/tenants/blue/routers?watch=true")
	group := b.do("PUT", "/v1/tenants/blue/securitygroups/web", `{"spec":{"rules":[
		{"direction":"ingress","protocol":"tcp","ports":"8000-8080","cidr":"192.0.2.0/24"},
		{"direction":"ingress","protocol":"icmp","icmpType":0,"icmpCode":0,"group":"web"}]}}`)
	require.Equal(t, http.StatusCreated, group.status, group.body)
	require.Contains(t, group.body, `"ports":"8000-8080"`)
	require.Contains(t, group.body, `"icmpType":0`)
	port := b.ok("PUT", "/v1/tenants/blue/ports/a", `{"spec":{"network":"web","securityGroups":["web"],"qos":{"out":{"rate":"10M"},"dscp":0}}}`)
	require.Contains(t, port.body, `"qos":{"out":{"rate":"10M"},"dscp":0}`)
	router := b.do("PUT", "/v1/tenants/blue/routers/r", `{"spec":{"networks":[{"network":"web"}],"routes":[{"prefix":"0.0.0.0/0","nextHops":[{"port":"a","weight":2},{"address":"10.0.0.9"}]}]}}`)
	require.Equal(t, http.StatusCreated, router.status, router.body)
	require.Contains(t, next(t, groups).data, `"ports":"8000-8080"`)
	require.Contains(t, next(t, routers).data, `{"port":"a","weight":2}`)
	for path, r := range map[string]reply{"/v1/tenants/blue/securitygroups/web": group, "/v1/tenants/blue/routers/r": router, "/v1/tenants/blue/ports/a": port} {
		got := b.ok("GET", path, "")
		require.Equal(t, r.header.Get("ETag"), got.header.Get("ETag"))
		require.Contains(t, got.body, `"Ready"`)
		require.Equal(t, "unchanged", b.ok("PUT", path, got.body).header.Get("Weft-Action"), "what was read can be written back: %s", got.body)
	}
	var list client.List[intent.Router]
	require.NoError(t, json.Unmarshal([]byte(b.ok("GET", "/v1/routers?tenant=blue", "").body), &list))
	require.Len(t, list.Items, 1)
	require.Equal(t, "RouterList", list.Kind)
	require.NotZero(t, list.Items[0].Spec.VNI)
	objects, err := b.client().List(t.Context(), intent.KindSecurityGroup, client.ListOptions{Tenant: "blue"})
	require.NoError(t, err)
	require.Equal(t, uint32(1), objects[0].(*intent.SecurityGroup).Spec.ID)

	in := b.do("DELETE", "/v1/tenants/blue/securitygroups/web?cascade=true", "")
	require.Equal(t, http.StatusConflict, in.status)
	require.Contains(t, in.body, "SecurityGroup blue/web is in use by Port blue/a: take it out of these first")
	require.Contains(t, in.body, `"users":[{"kind":"Port","tenant":"blue","name":"a"}]`)
	var d client.Deleted
	require.NoError(t, json.Unmarshal([]byte(b.ok("DELETE", "/v1/tenants/blue?cascade=true", "").body), &d))
	require.Equal(t, []intent.Ref{{Kind: "Router", Tenant: "blue", Name: "r"}, {Kind: "Port", Tenant: "blue", Name: "a"}, {Kind: "Network", Tenant: "blue", Name: "web"},
		{Kind: "SecurityGroup", Tenant: "blue", Name: "web"}, {Kind: "Tenant", Name: "blue"}}, d.Deleted)
}

// Each field at fault is named, in the words of the object and not of the
// schema where the object has some.
func TestTenancyProblems(t *testing.T) {
	b := newBench(t)
	b.blue()
	for _, c := range []struct {
		path, body string
		want       map[string]string
	}{
		{"securitygroups/g", `{"spec":{"rules":[{"direction":"ingress","protocol":"icmp","ports":"80"}]}}`, map[string]string{"spec.rules[0].ports": "goes with tcp, udp and sctp: icmp has no ports"}},
		{"securitygroups/g", `{"spec":{"rules":[{"direction":"ingress","protocol":"tcp","ports":"90-80"}]}}`, map[string]string{"spec.rules[0].ports": `"90-80" is not a port like 80 or a range like 8000-8080`}},
		{"securitygroups/g", `{"spec":{"rules":[{"direction":"ingress","protocol":"tcp","ports":80}]}}`, map[string]string{"spec.rules[0].ports": "expected string"}},
		{"securitygroups/g", `{"spec":{"rules":[{"direction":"ingress","protocol":"tcp","ports":""}]}}`, map[string]string{"spec.rules[0].ports": "expected string to be a port like 80 or a range like 8000-8080"}},
		{"securitygroups/g", `{"spec":{"rules":[{"direction":"ingress","cidr":""}]}}`, map[string]string{"spec.rules[0].cidr": "expected string to be a prefix like 192.0.2.0/24"}},
		{"securitygroups/g", `{"spec":{"rules":[{"direction":"ingress","group":""}]}}`, map[string]string{"spec.rules[0].group": "expected length >= 1"}},
		{"securitygroups/g", `{"spec":{"rules":[{"direction":"ingress","cidr":"10.0.0.1/24"},{"direction":"in","protocol":"quic","icmpType":256}]}}`, map[string]string{
			"spec.rules[1].direction": `expected value to be one of "ingress, egress"`, "spec.rules[1].protocol": "expected string to be tcp, udp, sctp, icmp, icmpv6 or a number from 0 to 255", "spec.rules[1].icmpType": "expected number <= 255"}},
		{"securitygroups/g", `{"spec":{"rules":[{"direction":"ingress","cidr":"10.0.0.1/24"}]}}`, map[string]string{"spec.rules[0].cidr": "10.0.0.1/24 has host bits set: use 10.0.0.0/24"}},
		{"routers/r", `{"spec":{"routes":[{"prefix":"ten","nextHops":[{"address":"x","weight":0}]}]}}`, map[string]string{
			"spec.routes[0].prefix": `"ten" is not a subnet like 10.0.0.0/24`, "spec.routes[0].nextHops[0].address": `"x" is not an IPv4 or IPv6 address`, "spec.routes[0].nextHops[0].weight": "expected number >= 1"}},
		{"routers/r", `{"spec":{"networks":[{"network":"web","gateways":["10.9.0.1"]}]}}`, map[string]string{"spec.networks[0].gateways[0]": "10.9.0.1 is outside the subnets [10.0.0.0/24] of Network blue/web"}},
		{"ports/p", `{"spec":{"network":"web","qos":{"out":{"rate":"fast"},"dscp":64}}}`, map[string]string{"spec.qos.out.rate": "expected string to be a number of bits like 500k, 10M or 1G", "spec.qos.dscp": "expected number <= 63"}},
		{"ports/p", `{"spec":{"network":"web","securityGroups":["nope"]}}`, map[string]string{"spec.securityGroups[0]": `names an unknown security group "nope" of tenant blue`}},
		{"networks/n", `{"spec":{"subnets":["10.5.0.0/24"],"dhcp":{"routes":[{"prefix":"fd00::/64","via":"10.5.0.1"}]}}}`, map[string]string{"spec.dhcp.routes[0].prefix": "expected string to be an IPv4 prefix like 192.0.2.0/24"}},
	} {
		r := b.do("PUT", "/v1/tenants/blue/"+c.path, c.body)
		require.Equal(t, http.StatusUnprocessableEntity, r.status, r.body)
		var p client.Problem
		require.NoError(t, json.Unmarshal([]byte(r.body), &p))
		got := map[string]string{}
		for _, e := range p.Errors {
			got[e.Field] = e.Message
		}
		require.Equal(t, c.want, got, c.body)
	}
}

// The patterns of the document accept what the types accept.
func TestPatternsOfTheDocument(t *testing.T) {
	b := newBench(t)
	schemas := b.server.api.OpenAPI().Components.Schemas.Map()
	for _, c := range []struct {
		schema, field string
		good, bad     []string
	}{
		{"SecurityRule", "ports", []string{"80", "1-65535"}, []string{"", "a", "80-", "-80", "1-2-3"}},
		{"SecurityRule", "protocol", []string{"tcp", "icmpv6", "0", "255"}, []string{"", "TCP", "quic", "1000"}},
		{"SecurityRule", "cidr", []string{"10.0.0.0/8", "fd00::/8", "::/0", "2001:DB8::/32"}, []string{"", "10.0.0.0", "ten/8", "10.0.0.0/"}},
		{"StaticRoute", "prefix", []string{"0.0.0.0/0", "::/0"}, []string{"", "default"}},
		{"RateLimit", "rate", []string{"500k", "10M", "1G", "64000"}, []string{"", "10m", "1.5G", "10 M"}},
	} {
		s := schemas[c.schema].Properties[c.field]
		require.Equal(t, "string", s.Type, c.field)
		re := regexp.MustCompile(s.Pattern)
		for _, v := range c.good {
			require.True(t, re.MatchString(v), "%s %q", c.field, v)
		}
		for _, v := range c.bad {
			require.False(t, re.MatchString(v), "%s %q", c.field, v)
		}
	}
}

func TestApplyOfGroupsThatNameEachOther(t *testing.T) {
	b := newBench(t)
	b.blue()
	r := b.ok("POST", "/v1/apply", `{"items":[
		{"kind":"Router","metadata":{"name":"r","tenant":"blue"},"spec":{"networks":[{"network":"web"}],"routes":[{"prefix":"0.0.0.0/0","nextHops":[{"port":"p"}]}]}},
		{"kind":"Port","metadata":{"name":"p","tenant":"blue"},"spec":{"network":"web","securityGroups":["a"]}},
		{"kind":"SecurityGroup","metadata":{"name":"a","tenant":"blue"},"spec":{"rules":[{"direction":"ingress","group":"b"}]}},
		{"kind":"SecurityGroup","metadata":{"name":"b","tenant":"blue"},"spec":{"rules":[{"direction":"ingress","group":"a"}]}}]}`)
	var out client.Applied
	require.NoError(t, json.Unmarshal([]byte(r.body), &out))
	for _, i := range out.Items {
		require.Equal(t, client.Created, i.Action, r.body)
	}
}

// Groups that name each other are sent by one request, wherever they are among
// the objects.
func TestClientKeepsGroupsTogether(t *testing.T) {
	b := newBench(t)
	b.ok("PUT", "/v1/tenants/blue", `{}`)
	for _, before := range []int{0, 1, 498, 499, 500} {
		var objects []intent.Object
		for i := range before {
			objects = append(objects, &intent.Network{Header: intent.Header{Kind: intent.KindNetwork}, Metadata: intent.Metadata{Name: fmt.Sprintf("n%d", i), Tenant: "blue"}})
		}
		for i, names := range []string{"b", "c", "a"} {
			objects = append(objects, &intent.SecurityGroup{Header: intent.Header{Kind: intent.KindSecurityGroup},
				Metadata: intent.Metadata{Name: fmt.Sprintf("%c%d", 'a'+i, before), Tenant: "blue"},
				Spec:     intent.SecurityGroupSpec{Rules: []intent.SecurityRule{{Direction: intent.Ingress, Group: fmt.Sprintf("%s%d", names, before)}}}})
		}
		n := 0
		require.NoError(t, b.client().Apply(t.Context(), objects, client.ApplyOptions{}, func(i client.AppliedItem) {
			require.Nil(t, i.Problem, "%d before: %v", before, i.Problem)
			n++
		}))
		require.Equal(t, len(objects), n)
	}
}

// External networks are the operator's and floating IPs a tenant's; both are
// read, written back, watched and deleted as all else.
func TestExternalNetworksAndFloatingIPsAreResources(t *testing.T) {
	b := newBench(t)
	b.blue()
	external, floating := b.events(t.Context(), "/v1/externalnetworks?watch=true"), b.events(t.Context(), "/v1/tenants/blue/floatingips?watch=true")
	b.ok("PUT", "/v1/nodes/border", `{"spec":{"role":"border","asn":65001,"loopback":"10.9.0.1","vtep":"10.9.0.1","evpn":{}}}`)
	ext := b.do("PUT", "/v1/externalnetworks/internet", `{"spec":{"pools":["203.0.113.0/24"],"borders":[{"node":"border","peers":[{"address":"192.0.2.1","asn":64999,"interface":"eth3","local":"192.0.2.0/31","bfd":true}]}]}}`)
	require.Equal(t, http.StatusCreated, ext.status, ext.body)
	b.ok("PUT", "/v1/tenants/blue/ports/a", `{"spec":{"network":"web"}}`)
	b.ok("PUT", "/v1/tenants/blue/routers/r", `{"spec":{"networks":[{"network":"web"}],"external":{"network":"internet","snat":true},"imports":[{"routeTarget":"65000:900","prefixes":["10.9.0.0/24"]}]}}`)
	fip := b.do("PUT", "/v1/tenants/blue/floatingips/f", `{"spec":{"external":"internet","port":"a"}}`)
	require.Equal(t, http.StatusCreated, fip.status, fip.body)
	require.Contains(t, fip.body, `"address":"203.0.113.1"`)
	require.Contains(t, next(t, external).data, `"local":"192.0.2.0/31"`)
	require.Contains(t, next(t, floating).data, `"fixed":"10.0.0.`)
	for _, path := range []string{"/v1/externalnetworks/internet", "/v1/tenants/blue/floatingips/f", "/v1/tenants/blue/routers/r"} {
		got := b.ok("GET", path, "")
		require.Equal(t, "unchanged", b.ok("PUT", path, got.body).header.Get("Weft-Action"), "what was read can be written back: %s", got.body)
	}
	in := b.do("DELETE", "/v1/externalnetworks/internet?cascade=true", "")
	require.Equal(t, http.StatusConflict, in.status)
	require.Contains(t, in.body, "ExternalNetwork internet is in use by FloatingIP blue/f, Router blue/r: give these something else, or delete them first")
	used := b.do("PUT", "/v1/tenants/blue/floatingips/g", `{"spec":{"external":"internet","port":"a","address":"203.0.113.1"}}`)
	require.Equal(t, http.StatusConflict, used.status, used.body)
	require.Contains(t, used.body, "203.0.113.1 is in use by FloatingIP blue/f")
	bad := b.do("PUT", "/v1/tenants/blue/routers/r", `{"spec":{"imports":[{"routeTarget":"x"}]}}`)
	require.Equal(t, http.StatusUnprocessableEntity, bad.status, bad.body)
	require.Contains(t, bad.body, `\"x\" is not a route target like`)
	empty := b.do("PUT", "/v1/tenants/blue/routers/r", `{"spec":{"imports":[{"routeTarget":"1:1","prefixes":[]}]}}`)
	require.Equal(t, http.StatusUnprocessableEntity, empty.status, empty.body)
}
