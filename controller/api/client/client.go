package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/weft-sdn/weft/controller/intent"
	"github.com/weft-sdn/weft/southbound/leafstate"
	"github.com/weft-sdn/weft/southbound/switchstate"
)

// maxAnswer bounds what is read of one answer.
const maxAnswer = 256 << 20

// Client speaks to one controller.
type Client struct {
	endpoint string // as given
	base     string // URL without the slash at its end
	http     *http.Client
	// credential goes with each request as a bearer token; none when empty.
	credential string
}

// New returns a client of the controller at http://HOST:PORT, https://HOST:PORT
// or unix:PATH. It does not connect yet.
func New(endpoint string) (*Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 16
	c := &Client{endpoint: endpoint, http: &http.Client{Transport: t}}
	if path, ok := strings.CutPrefix(endpoint, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if path == "" {
			return nil, fmt.Errorf("endpoint %q has no path: use unix:/path/to/api.sock", endpoint)
		}
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
		c.base = "http://weft"
		return c, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("endpoint %q is not known: use http://HOST:PORT, https://HOST:PORT or unix:/path/to/api.sock", endpoint)
	}
	c.base = strings.TrimRight(endpoint, "/")
	return c, nil
}

// WithCA returns a client that trusts the certificates of a PEM file, and no others, to
// vouch for the controller.
func (c *Client) WithCA(file string) (*Client, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("certificates of the controller's authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificates of the controller's authority: %s has none in PEM", file)
	}
	t := c.http.Transport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	with := *c
	with.http = &http.Client{Transport: t}
	return &with, nil
}

// Endpoint is where the client connects, as given to New.
func (c *Client) Endpoint() string { return c.endpoint }

// ConnectError says that the controller could not be reached.
type ConnectError struct {
	Endpoint string
	Err      error
}

// Error is a sentence that names the endpoint and what to do.
func (e *ConnectError) Error() string {
	return fmt.Sprintf("no controller answers at %s: %v; start one with `weft controller`, or name the right endpoint", e.Endpoint, e.Err)
}

// Unwrap returns the cause.
func (e *ConnectError) Unwrap() error { return e.Err }

// connectError shortens what the HTTP library says.
func (c *Client) connectError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return &ConnectError{Endpoint: c.endpoint, Err: cause(err)}
}

// cause is the system's word, such as "connection refused", where there is one.
func cause(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) {
		return err
	}
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// PutOptions are conditions and manners of a Put.
type PutOptions struct {
	IfMatch  int64 // revision at which the object must be; 0 for any
	IfAbsent bool  // the object must not exist yet
	DryRun   bool  // check only
	// Wait waits until the devices confirmed the object; a Problem of
	// TypeNotApplied tells why they did not within Timeout (30 s when zero).
	Wait    bool
	Timeout time.Duration
	Force   bool // also when ports would be cut off
}

// PutResult is what a Put stored.
type PutResult struct {
	Object intent.Object // with status, and with what was allocated
	Action Action
	// Warnings are of what was done, or with DryRun would be, and is perhaps not meant.
	Warnings []string
}

// Put writes an object whole.
func (c *Client) Put(ctx context.Context, o intent.Object, opt PutOptions) (PutResult, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return PutResult{}, fmt.Errorf("write %s: %w", o.Ref(), err)
	}
	q := url.Values{}
	setBool(q, "dryRun", opt.DryRun)
	setBool(q, "force", opt.Force)
	setWait(q, opt.Wait, opt.Timeout)
	h := http.Header{"Content-Type": {"application/json"}}
	setIfMatch(h, opt.IfMatch)
	if opt.IfAbsent {
		h.Set("If-None-Match", "*")
	}
	head, b, err := c.do(ctx, http.MethodPut, Path(o.Ref()), q, h, body)
	if err != nil {
		return PutResult{}, err
	}
	got, err := decode(o.Ref().Kind, b)
	return PutResult{Object: got, Action: Action(head.Get(ActionHeader)), Warnings: head.Values(WarningHeader)}, err
}

// Get reads one object, with status.
func (c *Client) Get(ctx context.Context, r intent.Ref) (intent.Object, error) {
	_, b, err := c.do(ctx, http.MethodGet, Path(r), nil, nil, nil)
	if err != nil {
		return nil, err
	}
	return decode(r.Kind, b)
}

// Await waits until the devices confirmed the object at the revision at least
// (0: at its present one), timeout at most (30 s when zero), and returns it. A
// Problem of TypeNotApplied tells why they did not.
func (c *Client) Await(ctx context.Context, r intent.Ref, revision int64, timeout time.Duration) (intent.Object, error) {
	q := url.Values{}
	setWait(q, true, timeout)
	if revision != 0 {
		q.Set("revision", strconv.FormatInt(revision, 10))
	}
	_, b, err := c.do(ctx, http.MethodGet, Path(r), q, nil, nil)
	if err != nil {
		return nil, err
	}
	return decode(r.Kind, b)
}

// DeleteOptions are conditions and manners of a Delete.
type DeleteOptions struct {
	IfMatch int64 // revision at which the object must be; 0 for any
	Cascade bool  // delete what belongs to the object too
	DryRun  bool  // check only
	Force   bool  // also when ports would be cut off
}

// Delete removes an object and, with Cascade, what belongs to it; it tells what it
// removed.
func (c *Client) Delete(ctx context.Context, r intent.Ref, opt DeleteOptions) ([]intent.Ref, error) {
	q, h := url.Values{}, http.Header{}
	setBool(q, "cascade", opt.Cascade)
	setBool(q, "dryRun", opt.DryRun)
	setBool(q, "force", opt.Force)
	setIfMatch(h, opt.IfMatch)
	_, b, err := c.do(ctx, http.MethodDelete, Path(r), q, h, nil)
	if err != nil {
		return nil, err
	}
	var d Deleted
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("delete %s: the controller's answer can't be read: %w", r, err)
	}
	return d.Deleted, nil
}

// ListOptions choose what List returns.
type ListOptions struct {
	Tenant  string            // networks and ports of one tenant
	Network string            // ports of one network
	Node    string            // ports on one node
	Labels  map[string]string // objects that have all of these
	Limit   int               // objects per page; 500 when zero
}

func (o ListOptions) query() url.Values {
	q := url.Values{}
	for k, v := range map[string]string{"tenant": o.Tenant, "network": o.Network, "node": o.Node} {
		if v != "" {
			q.Set(k, v)
		}
	}
	for k, v := range o.Labels {
		q.Add("label", k+"="+v)
	}
	return q
}

// List reads all objects of a kind, at one revision, sorted by tenant and name.
func (c *Client) List(ctx context.Context, k intent.Kind, opt ListOptions) ([]intent.Object, error) {
	out, _, err := c.ListAt(ctx, k, opt)
	return out, err
}

// ListAt is List with the revision at which was read; a Watch goes on from it.
// When that revision is gone before the last page is read, it starts again.
func (c *Client) ListAt(ctx context.Context, k intent.Kind, opt ListOptions) ([]intent.Object, int64, error) {
	for again := 0; ; again++ {
		out, rev, err := c.pages(ctx, k, opt)
		if p := (*Problem)(nil); errors.As(err, &p) && p.Type == TypeExpired && again < 3 {
			continue
		}
		return out, rev, err
	}
}

func (c *Client) pages(ctx context.Context, k intent.Kind, opt ListOptions) ([]intent.Object, int64, error) {
	q, out := opt.query(), []intent.Object{}
	if opt.Limit <= 0 {
		opt.Limit = 500
	}
	q.Set("limit", strconv.Itoa(opt.Limit))
	for {
		_, b, err := c.do(ctx, http.MethodGet, "/v1/"+k.Plural(), q, nil, nil)
		if err != nil {
			return nil, 0, err
		}
		var page List[json.RawMessage]
		if err := json.Unmarshal(b, &page); err != nil {
			return nil, 0, fmt.Errorf("list %s: the controller's answer can't be read: %w", k.Plural(), err)
		}
		for _, item := range page.Items {
			o, err := decode(k, item)
			if err != nil {
				return nil, 0, err
			}
			out = append(out, o)
		}
		if page.Continue == "" {
			return out, page.Revision, nil
		}
		q.Set("continue", page.Continue)
	}
}

// Events are the newest events of the controller, oldest first.
func (c *Client) Events(ctx context.Context) ([]Event, error) {
	var e Events
	err := c.get(ctx, "/v1/events", &e)
	return e.Items, err
}

// Alarms are all alarms, the oldest first.
func (c *Client) Alarms(ctx context.Context) ([]Alarm, error) {
	var a Alarms
	err := c.get(ctx, "/v1/alarms", &a)
	return a.Items, err
}

// ClearAlarm ends an alarm that does not end by itself.
func (c *Client) ClearAlarm(ctx context.Context, id string) error {
	_, _, err := c.do(ctx, http.MethodDelete, "/v1/alarms/"+url.PathEscape(id), nil, nil, nil)
	return err
}

// Routes is the table of a network's VNI, or of the L3VNI of a router or an
// external network.
func (c *Client) Routes(ctx context.Context, of intent.Ref) (Routes, error) {
	var r Routes
	err := c.get(ctx, Path(of)+"/routes", &r)
	return r, err
}

// ReportSwitch tells the controller what ports a switch has. leaf says that the switch
// is an EVPN leaf that the controller serves.
func (c *Client) ReportSwitch(ctx context.Context, node string, r switchstate.Report) (leaf bool, err error) {
	body, err := json.Marshal(r)
	if err != nil {
		return false, fmt.Errorf("report switch %s: %w", node, err)
	}
	h := http.Header{"Content-Type": {"application/json"}}
	_, b, err := c.do(ctx, http.MethodPost, Path(intent.Ref{Kind: intent.KindNode, Name: node})+"/switch/report", nil, h, body)
	if err != nil {
		return false, err
	}
	var a SwitchReported
	if err := json.Unmarshal(b, &a); err != nil {
		return false, fmt.Errorf("report switch %s: the controller's answer can't be read: %w", node, err)
	}
	return a.Leaf, nil
}

// SwitchState asks what a switch is to be as a part of the underlay, and waits until
// that is another state than that of the revision since. ok is false when nothing
// changed for a while: ask again. The serial number is that of the
// agent's box. Of a state whose version is newer than switchstate.Version only the head
// is read.
func (c *Client) SwitchState(ctx context.Context, node, serial string, since uint64) (s switchstate.State, ok bool, err error) {
	q := url.Values{"since": {strconv.FormatUint(since, 10)}, "serial": {serial}}
	_, b, err := c.do(ctx, http.MethodGet, Path(intent.Ref{Kind: intent.KindNode, Name: node})+"/state", q, nil, nil)
	if err != nil || len(b) == 0 {
		return s, false, err
	}
	if s, err = switchstate.Decode(b); err != nil {
		return s, false, fmt.Errorf("state of switch %s: the controller's answer can't be read: %w", node, err)
	}
	return s, true, nil
}

// ReportLoad tells the controller what a switch has counted.
func (c *Client) ReportLoad(ctx context.Context, node string, r switchstate.Load) (a switchstate.LoadAnswer, err error) {
	body, err := json.Marshal(r)
	if err != nil {
		return a, fmt.Errorf("report load of %s: %w", node, err)
	}
	h := http.Header{"Content-Type": {"application/json"}}
	_, b, err := c.do(ctx, http.MethodPost, Path(intent.Ref{Kind: intent.KindNode, Name: node})+"/switch/load", nil, h, body)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return a, fmt.Errorf("report load of %s: the controller's answer can't be read: %w", node, err)
	}
	return a, nil
}

// Switch is what a switch's agent reported last.
func (c *Client) Switch(ctx context.Context, node string) (Switch, error) {
	var out Switch
	err := c.get(ctx, Path(intent.Ref{Kind: intent.KindNode, Name: node})+"/switch", &out)
	return out, err
}

// Cabling is how the intended links are wired, as far as switches report.
func (c *Client) Cabling(ctx context.Context) (Cabling, error) {
	var out Cabling
	err := c.get(ctx, "/v1/fabric/cabling", &out)
	return out, err
}

// Policy is what the security groups of a port say together, with the counters of
// its device.
func (c *Client) Policy(ctx context.Context, port intent.Ref) (Policy, error) {
	var p Policy
	err := c.get(ctx, Path(port)+"/policy", &p)
	return p, err
}

// Flows are the flows of a port on its device, in words.
func (c *Client) Flows(ctx context.Context, port intent.Ref) (Flows, error) {
	var f Flows
	err := c.get(ctx, Path(port)+"/flows", &f)
	return f, err
}

// LeafState asks what a leaf is to have, and waits until that is another state
// than that of the revision since. ok is false when nothing changed for a
// while: ask again.
func (c *Client) LeafState(ctx context.Context, node string, since uint64) (s leafstate.State, ok bool, err error) {
	q := url.Values{"since": {strconv.FormatUint(since, 10)}}
	_, b, err := c.do(ctx, http.MethodGet, Path(intent.Ref{Kind: intent.KindNode, Name: node})+"/leaf", q, nil, nil)
	if err != nil || len(b) == 0 {
		return s, false, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, false, fmt.Errorf("state of leaf %s: the controller's answer can't be read: %w", node, err)
	}
	return s, true, nil
}

// ReportLeaf tells what a leaf has; full says that the next report must be.
func (c *Client) ReportLeaf(ctx context.Context, node string, r leafstate.Report) (full bool, err error) {
	body, err := json.Marshal(r)
	if err != nil {
		return false, fmt.Errorf("report leaf %s: %w", node, err)
	}
	h := http.Header{"Content-Type": {"application/json"}}
	_, b, err := c.do(ctx, http.MethodPost, Path(intent.Ref{Kind: intent.KindNode, Name: node})+"/leaf/report", nil, h, body)
	if err != nil {
		return false, err
	}
	var a Reported
	if err := json.Unmarshal(b, &a); err != nil {
		return false, fmt.Errorf("report leaf %s: the controller's answer can't be read: %w", node, err)
	}
	return a.Full, nil
}

// Version asks what the controller is.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var v Version
	err := c.get(ctx, "/v1/version", &v)
	return v, err
}

// Ready is nil when the controller reaches its store and has loaded the intent.
func (c *Client) Ready(ctx context.Context) error {
	_, _, err := c.do(ctx, http.MethodGet, "/readyz", nil, nil, nil)
	return err
}

// Health tells what is wrong with a controller that runs.
func (c *Client) Health(ctx context.Context) (Health, error) {
	var h Health
	err := c.get(ctx, "/healthz", &h)
	return h, err
}

// CompactStore forgets the objects' history and gives its space back; a store
// that was over its quota takes writes again then.
func (c *Client) CompactStore(ctx context.Context) error {
	_, _, err := c.do(ctx, http.MethodPost, "/v1/store/compact", nil, nil, nil)
	return err
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	_, b, err := c.do(ctx, http.MethodGet, path, nil, nil, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: the controller's answer can't be read: %w", path, err)
	}
	return nil
}

func setBool(q url.Values, name string, v bool) {
	if v {
		q.Set(name, "true")
	}
}

func setWait(q url.Values, wait bool, timeout time.Duration) {
	if !wait {
		return
	}
	q.Set("wait", "applied")
	if timeout > 0 {
		q.Set("timeout", timeout.String())
	}
}

func setIfMatch(h http.Header, rev int64) {
	if rev != 0 {
		h.Set("If-Match", strconv.Quote(strconv.FormatInt(rev, 10)))
	}
}

func (c *Client) request(ctx context.Context, method, path string, q url.Values, h http.Header, body []byte) (*http.Response, error) {
	u := c.base + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, u, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	for k, v := range h {
		r.Header[k] = v
	}
	if c.credential != "" {
		r.Header.Set("Authorization", "Bearer "+c.credential)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.connectError(err)
	}
	return resp, nil
}

func (c *Client) do(ctx context.Context, method, path string, q url.Values, h http.Header, body []byte) (http.Header, []byte, error) {
	resp, err := c.request(ctx, method, path, q, h, body)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, nil, c.connectError(err)
	}
	if resp.StatusCode >= 300 {
		return nil, nil, c.problem(resp, b)
	}
	return resp.Header, b, nil
}

// problem makes an error of an answer that is not a success.
func (c *Client) problem(resp *http.Response, body []byte) error {
	p := &Problem{}
	if json.Unmarshal(body, p) != nil || p.Title == "" && p.Detail == "" {
		p = &Problem{Type: "about:blank", Title: http.StatusText(resp.StatusCode),
			Detail: fmt.Sprintf("%s answered %s; is it a Weft controller?", c.endpoint, resp.Status)}
	}
	p.Status = resp.StatusCode
	return p
}
