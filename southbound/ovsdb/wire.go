package ovsdb

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ovn-org/libovsdb/ovsdb"
)

// maxMessage bounds what one JSON-RPC message may have, in bytes: a database of
// a hundred thousand interfaces has less.
const maxMessage = 64 << 20

// keptBuffer is the largest buffer that is kept for other messages, in bytes.
const keptBuffer = 32 << 10

// wire is one connection to a hypervisor's Open_vSwitch database (RFC 7047) with
// the columns in memory that a VSwitch needs. It does what Conn does, for one
// schema, without reflection and without a queue of events: there is one for
// each hypervisor, and what it costs is paid ten thousand times.
type wire struct {
	conn    net.Conn
	changed chan struct{} // capacity 1

	ctx  context.Context // ends with the connection
	lose context.CancelCauseFunc
	wg   sync.WaitGroup

	writing sync.Mutex

	mu      sync.Mutex
	calls   uint64
	waiting map[uint64]call
	tables  tables
}

// call waits for an answer.
type call struct {
	// then takes the answer before any later message is read.
	then func(json.RawMessage) error
	done chan answer // capacity 1
}

type answer struct {
	result json.RawMessage
	err    error
}

// message is any JSON-RPC message (RFC 7047 section 4).
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// dialWire connects to tcp:ADDRESS:PORT or unix:PATH and reads the tables.
func dialWire(ctx context.Context, endpoint string) (*wire, error) {
	if err := checkEndpoint(endpoint); err != nil {
		return nil, err
	}
	dial, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	silent := func(err error) error {
		if dial.Err() != nil && ctx.Err() == nil {
			return fmt.Errorf("%w within %s", ErrSilent, connectTime)
		}
		return err
	}
	network, address, _ := strings.Cut(endpoint, ":")
	conn, err := new(net.Dialer).DialContext(dial, network, address)
	if err != nil {
		return nil, silent(cause(err))
	}
	w := &wire{conn: conn, changed: make(chan struct{}, 1), waiting: map[uint64]call{}}
	w.ctx, w.lose = context.WithCancelCause(context.Background())
	w.wg.Go(w.read)
	if _, err := w.call(dial, "monitor_cond", w.load, databaseName, nil, monitored()); err != nil {
		w.Close()
		return nil, silent(err)
	}
	w.wg.Go(w.probe)
	return w, nil
}

// databaseName is the name of Open vSwitch's database.
const databaseName = "Open_vSwitch"

// Changed receives after rows changed.
func (w *wire) Changed() <-chan struct{} { return w.changed }

// Done is closed when the connection is lost.
func (w *wire) Done() <-chan struct{} { return w.ctx.Done() }

// Err says why the connection was lost, nil while it is there.
func (w *wire) Err() error { return context.Cause(w.ctx) }

// Close ends the connection.
func (w *wire) Close() {
	w.lost(net.ErrClosed)
	w.wg.Wait()
}

func (w *wire) lost(err error) {
	w.lose(err)
	w.conn.Close()
}

// Transact runs operations as one transaction. The error is ErrRefused with the
// server's own words, or why the connection was lost. What it changed is in
// memory when it returns: the server tells of it before it answers (RFC 7047
// section 4.1.6).
func (w *wire) Transact(ctx context.Context, ops []ovsdb.Operation) error {
	ctx, cancel := context.WithTimeout(ctx, transactTime)
	defer cancel()
	params := make([]any, 1, 1+len(ops))
	params[0] = databaseName
	for _, op := range ops {
		params = append(params, op)
	}
	raw, err := w.call(ctx, "transact", nil, params...)
	switch {
	case err == nil:
	case w.Err() != nil:
		return w.Err()
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		w.lost(fmt.Errorf("%w since %s", ErrSilent, transactTime))
		return w.Err()
	default:
		return err
	}
	var results []ovsdb.OperationResult
	if err := json.Unmarshal(raw, &results); err != nil {
		w.lost(fmt.Errorf("%w: the results of a transaction: %v", errMalformed, err))
		return w.Err()
	}
	return refusal(results, ops)
}

// refusal is ErrRefused with the server's words, nil when it did all.
func refusal(results []ovsdb.OperationResult, ops []ovsdb.Operation) error {
	failed, err := ovsdb.CheckOperationResults(results, ops)
	if err == nil {
		return nil
	}
	words := make([]string, len(failed))
	for i, f := range failed {
		words[i] = f.Error()
	}
	if len(failed) == 0 {
		words = []string{err.Error()}
	}
	return fmt.Errorf("%w: %s", ErrRefused, strings.Join(words, "; "))
}

// call sends a request and waits for its answer.
func (w *wire) call(ctx context.Context, method string, then func(json.RawMessage) error, params ...any) (json.RawMessage, error) {
	c := call{then: then, done: make(chan answer, 1)}
	w.mu.Lock()
	w.calls++
	id := w.calls
	w.waiting[id] = c
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.waiting, id)
		w.mu.Unlock()
	}()
	if params == nil {
		params = []any{}
	}
	if err := w.send(map[string]any{"id": id, "method": method, "params": params}); err != nil {
		return nil, err
	}
	select {
	case a := <-c.done:
		return a.result, a.err
	case <-w.ctx.Done():
		return nil, w.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// send writes one message, within transactTime.
func (w *wire) send(m any) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	w.writing.Lock()
	defer w.writing.Unlock()
	_ = w.conn.SetWriteDeadline(time.Now().Add(transactTime))
	if _, err := w.conn.Write(b); err != nil {
		w.lost(cause(err))
		return w.Err()
	}
	return nil
}

// probe asks a server now and then whether it lives.
func (w *wire) probe() {
	t := time.NewTicker(echoEvery)
	defer t.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-t.C:
		}
		ctx, cancel := context.WithTimeout(w.ctx, echoTime)
		if _, err := w.call(ctx, "echo", nil); err != nil && ctx.Err() != nil {
			w.lost(fmt.Errorf("%w since %s", ErrSilent, echoTime))
		}
		cancel()
	}
}

// buffers are lent to connections while they have a message in hand.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// read takes messages in until the connection ends.
func (w *wire) read() {
	in := bufio.NewReaderSize(w.conn, 4<<10)
	for {
		if _, err := in.Peek(1); err != nil { // wait without a buffer
			w.lost(ended(err))
			return
		}
		b := buffers.Get().(*[]byte)
		msg, err := frame(in, (*b)[:0])
		if err == nil {
			err = w.take(msg)
		}
		if cap(msg) <= keptBuffer {
			*b = msg[:0]
			buffers.Put(b)
		}
		if err != nil {
			w.lost(ended(err))
			return
		}
	}
}

// ended is why reading ended: a server that hangs up, however, is ErrClosed.
func ended(err error) error {
	var n net.Error
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &n) {
		return ErrClosed
	}
	return err
}

var errMalformed = errors.New("the server sent what is not RFC 7047")

// frame appends the next JSON object to b: up to the brace that closes it. It
// returns b as far as it came in any case.
func frame(in *bufio.Reader, b []byte) ([]byte, error) {
	depth, quoted, escaped := 0, false, false
	for {
		if _, err := in.Peek(1); err != nil {
			if len(b) > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return b, err
		}
		chunk, _ := in.Peek(in.Buffered())
		for i, c := range chunk {
			switch {
			case escaped:
				escaped = false
			case quoted:
				escaped, quoted = c == '\\', c != '"'
			case c == '"' && depth > 0:
				quoted = true
			case c == '{' || c == '[' && depth > 0:
				depth++
			case c == '}' || c == ']':
				if depth--; depth == 0 {
					b = append(b, chunk[:i+1]...)
					_, err := in.Discard(i + 1)
					return b, err
				}
			}
			if depth <= 0 && c != ' ' && c != '\n' && c != '\r' && c != '\t' {
				return b, fmt.Errorf("%w: a message begins with %q", errMalformed, c)
			}
		}
		if b = append(b, chunk...); len(b) > maxMessage {
			return b, fmt.Errorf("%w: a message of more than %d bytes", errMalformed, maxMessage)
		}
		if _, err := in.Discard(len(chunk)); err != nil {
			return b, err
		}
	}
}

// take acts on one message.
func (w *wire) take(b []byte) error {
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("%w: %v", errMalformed, err)
	}
	switch m.Method {
	case "":
		return w.answered(m)
	case "echo":
		return w.answer(m, m.Params, nil)
	case "update2":
		var params []json.RawMessage
		if err := json.Unmarshal(m.Params, &params); err != nil || len(params) != 2 {
			return fmt.Errorf("%w: an update2 without a monitor and its rows", errMalformed)
		}
		if err := w.load(params[1]); err != nil {
			return err
		}
		return w.answer(m, []any{}, nil)
	}
	return w.answer(m, nil, "unknown method")
}

// answer answers a request; a notification, which has no id, is not answered.
func (w *wire) answer(m message, result, err any) error {
	if len(m.ID) == 0 || string(m.ID) == "null" {
		return nil
	}
	return w.send(map[string]any{"id": m.ID, "result": result, "error": err})
}

// answered hands an answer to who waits for it.
func (w *wire) answered(m message) error {
	id, err := strconv.ParseUint(string(m.ID), 10, 64)
	if err != nil {
		return fmt.Errorf("%w: an answer to request %s", errMalformed, m.ID)
	}
	w.mu.Lock()
	c, ok := w.waiting[id]
	delete(w.waiting, id)
	w.mu.Unlock()
	if !ok {
		return nil // nobody waits any more
	}
	a := answer{result: m.Result}
	if len(m.Error) > 0 && string(m.Error) != "null" {
		a.err = errors.New(rpcWords(m.Error))
	} else if c.then != nil {
		err = c.then(m.Result)
		a.err = err
	}
	c.done <- a
	return err
}

// rpcWords are the words of an error: of a string, or of an object with error
// and details (RFC 7047 section 3.1).
func rpcWords(b json.RawMessage) string {
	var s string
	if json.Unmarshal(b, &s) == nil {
		return s
	}
	var o struct{ Error, Details string }
	if json.Unmarshal(b, &o) == nil && o.Error != "" {
		return strings.TrimSuffix(o.Error+": "+o.Details, ": ")
	}
	return string(b)
}

// load takes rows in, those that there are at first or changes of them.
func (w *wire) load(raw json.RawMessage) error {
	var u updates
	if err := json.Unmarshal(raw, &u); err != nil {
		return fmt.Errorf("%w: %v", errMalformed, err)
	}
	w.mu.Lock()
	err := w.tables.apply(&u)
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
	return err
}
