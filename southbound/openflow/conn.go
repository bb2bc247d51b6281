package openflow

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config of a connection. The zero value is useful.
type Config struct {
	// EchoInterval is how long the switch may be silent before it is asked
	// whether it lives; after three intervals it is given up. 5 s when zero.
	EchoInterval time.Duration
	Logger       *slog.Logger
}

// Conn is a connection to one bridge. Its methods may be called from several
// goroutines.
type Conn struct {
	c        net.Conn
	log      *slog.Logger
	features Features
	xid      atomic.Uint32
	began    time.Time     // monotonic: the clock may be set meanwhile
	patience time.Duration // with a switch that reads or says nothing
	lastRead atomic.Int64  // nanoseconds after began
	done     chan struct{}
	wg       sync.WaitGroup

	writeMu sync.Mutex

	mu       sync.Mutex
	err      error
	waiting  map[uint32]*call // by transaction id
	bundle   *call            // waits for errors to any message from first to last
	first    uint32
	last     uint32
	onFlow   func(FlowUpdate)
	onPacket func(PacketIn)
	bundles  sync.Mutex // one bundle at a time
}

// call waits for the answer to one message, or for errors to a range of them.
type call struct {
	part func(kind uint8, body []byte) (last bool, err error)
	done chan error // capacity 1
}

// Dial connects to tcp:ADDRESS:PORT or unix:PATH, and agrees on version 1.5.
func Dial(ctx context.Context, endpoint string, config Config) (*Conn, error) {
	network, address, _ := strings.Cut(endpoint, ":")
	if network != "tcp" && network != "unix" {
		return nil, fmt.Errorf("endpoint %q: use tcp:ADDRESS:PORT or unix:PATH", endpoint)
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return talk(ctx, nc, config)
}

// talk begins a connection.
func talk(ctx context.Context, nc net.Conn, config Config) (*Conn, error) {
	if config.EchoInterval == 0 {
		config.EchoInterval = 5 * time.Second
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Conn{c: nc, began: time.Now(), patience: 3 * config.EchoInterval, log: config.Logger, done: make(chan struct{}), waiting: map[uint32]*call{}}
	r := bufio.NewReaderSize(nc, 4<<10) // one for each switch; a long message goes past it
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Now()) })
	err := c.agree(r)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		nc.Close()
		if ctx.Err() != nil {
			err = errors.Join(err, ctx.Err())
		}
		return nil, fmt.Errorf("OpenFlow hello: %w", err)
	}
	c.lastRead.Store(int64(time.Since(c.began)))
	c.wg.Go(func() { c.read(r) })
	c.wg.Go(func() { c.keepAlive(config.EchoInterval) })
	err = c.do(ctx, simple(typeFeaturesRequest, c.next()), func(kind uint8, body []byte) (bool, error) {
		f, err := readFeatures(body)
		c.features = f
		return true, err
	})
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("OpenFlow features: %w", err)
	}
	return c, nil
}

// agree exchanges hellos (section 6.3.1).
func (c *Conn) agree(r *bufio.Reader) error {
	if _, err := c.c.Write(hello(c.next())); err != nil {
		return err
	}
	m, err := readMessage(r)
	switch {
	case err != nil:
		return err
	case m[1] == typeError:
		e, err := readError(m[headerLen:])
		return errors.Join(e, err)
	case m[1] != typeHello:
		return fmt.Errorf("the switch began with message type %d", m[1])
	case !offers(m):
		return fmt.Errorf("the switch does not speak OpenFlow 1.5: add OpenFlow15 to the bridge's protocols")
	}
	return nil
}

// offers reports whether a hello allows version 1.5.
func offers(m []byte) bool {
	for e := m[headerLen:]; len(e) >= 4; {
		n := int(binary.BigEndian.Uint16(e[2:]))
		if n < 4 || n > len(e) {
			break
		}
		if binary.BigEndian.Uint16(e) == 1 && n >= 8 {
			return binary.BigEndian.Uint32(e[4:])>>version&1 == 1
		}
		e = e[min(len(e), (n+7)/8*8):]
	}
	return m[0] >= version
}

// readMessage reads one whole message.
func readMessage(r io.Reader) ([]byte, error) {
	var h [headerLen]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(h[2:]))
	if n < headerLen {
		return nil, fmt.Errorf("message of %d bytes", n)
	}
	m := make([]byte, n)
	copy(m, h[:])
	_, err := io.ReadFull(r, m[headerLen:])
	return m, err
}

// Features are what the switch said of itself.
func (c *Conn) Features() Features { return c.features }

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the connection ended.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and waits for its goroutines.
func (c *Conn) Close() {
	c.end(net.ErrClosed)
	c.wg.Wait()
}

// end ends the connection once.
func (c *Conn) end(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	waiting, bundle := c.waiting, c.bundle
	c.waiting, c.bundle = nil, nil
	c.mu.Unlock()
	c.c.Close()
	close(c.done)
	for _, w := range waiting {
		w.finish(err)
	}
	if bundle != nil {
		bundle.finish(err)
	}
}

func (w *call) finish(err error) {
	select {
	case w.done <- err:
	default:
	}
}

func (c *Conn) next() uint32 { return c.xid.Add(1) }

// read hands messages to those who wait for them until the connection ends.
func (c *Conn) read(r *bufio.Reader) {
	for {
		m, err := readMessage(r)
		if err == nil {
			c.lastRead.Store(int64(time.Since(c.began)))
			err = c.take(m)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the switch closed the connection")
			}
			c.end(err)
			return
		}
	}
}

// take handles one message. An error ends the connection.
func (c *Conn) take(m []byte) error {
	kind, xid, body := m[1], binary.BigEndian.Uint32(m[4:]), m[headerLen:]
	switch kind {
	case typeEchoRequest:
		return c.write(simple(typeEchoReply, xid, body...))
	case typeEchoReply:
		return nil
	case typePacketIn:
		c.mu.Lock()
		f := c.onPacket
		c.mu.Unlock()
		p, err := readPacketIn(body)
		if err == nil && f != nil {
			f(p)
		}
		return err
	case typeMultipartReply:
		if k, _, rest, err := readMultipart(body); err != nil {
			return err
		} else if k == multipartFlowMonitor {
			return c.updates(xid, rest)
		}
	}
	c.mu.Lock()
	w := c.waiting[xid]
	if w == nil && c.bundle != nil && xid-c.first <= c.last-c.first {
		w = c.bundle
	}
	c.mu.Unlock()
	if w == nil {
		if kind == typeError {
			if e, err := readError(body); err == nil {
				c.log.Warn("the switch reports an error that answers nothing", "err", e)
			}
		}
		return nil // asynchronous messages that nobody asked for
	}
	if kind == typeError {
		e, err := readError(body)
		if err != nil {
			return err
		}
		w.finish(&refusal{xid, e})
		return nil
	}
	last, err := w.part(kind, body)
	if err != nil {
		err = fmt.Errorf("message of type %d: %w", kind, err)
		w.finish(err)
		return err
	}
	if last {
		w.finish(nil)
	}
	return nil
}

// refusal is an error of the switch together with the message that it answers.
type refusal struct {
	xid uint32
	err *Error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func (c *Conn) write(b []byte) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	// A switch that reads nothing must not hold up for ever who writes to it.
	if err := c.c.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
		return err
	}
	_, err := c.c.Write(b)
	return err
}

// do sends a message and waits for its whole answer.
func (c *Conn) do(ctx context.Context, m []byte, part func(uint8, []byte) (bool, error)) error {
	w := &call{part: part, done: make(chan error, 1)}
	xid := binary.BigEndian.Uint32(m[4:])
	if err := c.await(w, xid); err != nil {
		return err
	}
	defer c.forget(xid)
	if err := c.write(m); err != nil {
		c.end(err)
	}
	return c.wait(ctx, w)
}

func (c *Conn) await(w *call, xid uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.waiting[xid] = w
	return nil
}

func (c *Conn) forget(xid uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, xid)
}

// awaitBundle makes w wait for errors to the messages of a bundle; there is one
// bundle at a time.
func (c *Conn) awaitBundle(w *call, first, last uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.bundle, c.first, c.last = w, first, last
	return nil
}

func (c *Conn) forgetBundle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bundle = nil
}

func (c *Conn) wait(ctx context.Context, w *call) error {
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// keepAlive asks a silent switch whether it lives.
func (c *Conn) keepAlive(every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-t.C:
		}
		silent := time.Since(c.began) - time.Duration(c.lastRead.Load())
		if silent > c.patience {
			c.end(fmt.Errorf("the switch has been silent for %s", silent.Round(time.Second)))
			return
		}
		if silent > every/2 {
			if err := c.write(simple(typeEchoRequest, c.next())); err != nil {
				c.end(err)
			}
		}
	}
}
