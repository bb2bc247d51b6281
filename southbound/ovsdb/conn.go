package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/ovn-org/libovsdb/cache"
	"github.com/ovn-org/libovsdb/client"
	"github.com/ovn-org/libovsdb/model"
	"github.com/ovn-org/libovsdb/ovsdb"
)

// Times of a connection.
const (
	connectTime  = 5 * time.Second // to connect and read the tables
	transactTime = 10 * time.Second
	echoEvery    = 5 * time.Second
	echoTime     = 5 * time.Second
)

// Causes why there is no connection, or why a change was not made.
var (
	ErrClosed  = errors.New("the server closed the connection")
	ErrSilent  = errors.New("the server does not answer")
	ErrRefused = errors.New("the database refused the change")
)

// Conn is one connection to one database. Its methods may be called from
// several goroutines.
type Conn struct {
	client  client.Client
	rows    *cache.TableCache // kept: the client drops it with the connection
	changed chan struct{}     // capacity 1

	ctx  context.Context // ends with the connection
	lose context.CancelCauseFunc
	wg   sync.WaitGroup
}

// Dial connects to tcp:ADDRESS:PORT or unix:PATH and reads the tables that have
// a model, of each the model's columns only. Models are pointers to structs, by
// table.
func Dial(ctx context.Context, endpoint, database string, models map[string]model.Model) (*Conn, error) {
	if err := checkEndpoint(endpoint); err != nil {
		return nil, err
	}
	m, err := model.NewClientDBModel(database, models)
	if err != nil {
		return nil, err
	}
	quiet := logr.Discard() // else libovsdb prints every row
	cl, err := client.NewOVSDBClient(m, client.WithEndpoint(endpoint), client.WithLogger(&quiet))
	if err != nil {
		return nil, err
	}
	c := &Conn{client: cl, changed: make(chan struct{}, 1)}
	c.ctx, c.lose = context.WithCancelCause(context.Background())
	c.wg.Go(func() { // before connecting: the client tells only those who wait already
		select {
		case <-cl.DisconnectNotify():
			c.lose(ErrClosed)
		case <-c.ctx.Done():
		}
	})
	dial, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	if err := c.open(dial, models); err != nil {
		c.Close()
		if dial.Err() != nil && ctx.Err() == nil {
			return nil, fmt.Errorf("%w within %s", ErrSilent, connectTime)
		}
		return nil, cause(err)
	}
	c.wg.Go(c.probe)
	return c, nil
}

// checkEndpoint refuses what libovsdb would take for its default endpoint.
func checkEndpoint(endpoint string) error {
	network, address, _ := strings.Cut(endpoint, ":")
	switch network {
	case "tcp":
		if _, port, err := net.SplitHostPort(address); err == nil && port != "" {
			return nil
		}
	case "unix":
		if strings.HasPrefix(address, "/") {
			return nil
		}
	}
	return fmt.Errorf("endpoint %q: use tcp:ADDRESS:PORT or unix:/PATH", endpoint)
}

// open connects and starts to follow the tables.
func (c *Conn) open(ctx context.Context, models map[string]model.Model) error {
	if err := c.client.Connect(ctx); err != nil {
		return err
	}
	note := func() {
		select {
		case c.changed <- struct{}{}:
		default:
		}
	}
	c.rows = c.client.Cache()
	c.rows.AddEventHandler(&cache.EventHandlerFuncs{
		AddFunc:    func(string, model.Model) { note() },
		UpdateFunc: func(string, model.Model, model.Model) { note() },
		DeleteFunc: func(string, model.Model) { note() },
	})
	// Not the method "since": with it libovsdb loses errors of its cache
	// instead of disconnecting.
	monitor := &client.Monitor{Method: ovsdb.ConditionalMonitorRPC}
	for table, m := range models {
		monitor.Tables = append(monitor.Tables, client.TableMonitor{Table: table, Fields: columns(m)})
	}
	_, err := c.client.Monitor(ctx, monitor)
	return err
}

// columns lists the columns of a model. Named none, libovsdb asks for all that
// the server has, the statistics that change every few seconds among them.
func columns(m model.Model) []string {
	t := reflect.TypeOf(m).Elem()
	var names []string
	for i := range t.NumField() {
		if c := t.Field(i).Tag.Get("ovsdb"); c != "" && c != "_uuid" {
			names = append(names, c)
		}
	}
	return names
}

// cause gives the words of the system or server; the layers of libovsdb above
// them repeat the endpoint.
func cause(err error) error {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, client.ErrNotConnected) {
		return ErrClosed
	}
	for {
		in := errors.Unwrap(err)
		if in == nil {
			return err
		}
		err = in
	}
}

// probe asks a server now and then whether it lives.
func (c *Conn) probe() {
	t := time.NewTicker(echoEvery)
	defer t.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-t.C:
		}
		ctx, cancel := context.WithTimeout(c.ctx, echoTime)
		err := c.client.Echo(ctx)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			c.lose(fmt.Errorf("%w since %s", ErrSilent, echoTime))
		default:
			c.lose(ErrClosed)
		}
		cancel()
	}
}

// Changed receives after rows changed.
func (c *Conn) Changed() <-chan struct{} { return c.changed }

// Done is closed when the connection is lost.
func (c *Conn) Done() <-chan struct{} { return c.ctx.Done() }

// Err says why the connection was lost, nil while it is there.
func (c *Conn) Err() error { return context.Cause(c.ctx) }

// Close ends the connection.
func (c *Conn) Close() {
	c.lose(net.ErrClosed)
	c.wg.Wait()
	c.client.Close()
}

// Transact runs operations as one transaction. The error is ErrRefused with
// the server's own words, or why the connection was lost.
func (c *Conn) Transact(ctx context.Context, ops []ovsdb.Operation) error {
	ctx, cancel := context.WithTimeout(ctx, transactTime)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	results, err := c.client.Transact(ctx, ops...)
	switch {
	case err == nil:
	case c.Err() != nil:
		return c.Err()
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		c.lose(fmt.Errorf("%w since %s", ErrSilent, transactTime))
		return c.Err()
	default:
		return cause(err)
	}
	return refusal(results, ops)
}

// transaction collects operations.
type transaction struct {
	conn *Conn
	ops  []ovsdb.Operation
	err  error
}

func (t *transaction) add(ops []ovsdb.Operation, err error) {
	t.ops, t.err = append(t.ops, ops...), errors.Join(t.err, err)
}

func (t *transaction) create(rows ...model.Model) { t.add(t.conn.client.Create(rows...)) }

func (t *transaction) update(row model.Model, fields ...any) {
	t.add(t.conn.client.Where(row).Update(row, fields...))
}

// table returns the rows of a table by UUID. They must not be written to.
func table[M any](c *Conn, name string) map[string]*M {
	rows := map[string]*M{}
	for uuid, row := range c.rows.Table(name).RowsShallow() {
		rows[uuid] = row.(*M)
	}
	return rows
}
