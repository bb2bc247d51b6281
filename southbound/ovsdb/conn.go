package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"reflect"
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
	echoEvery    = 3 * time.Second
	echoTime     = 6 * time.Second
)

// Conn is one connection to one database.
type Conn struct {
	client  client.Client
	changed chan struct{} // capacity 1
	lost    chan error    // capacity 1
}

// Dial connects to tcp:ADDRESS:PORT or unix:PATH and reads tables of the model.
func Dial(ctx context.Context, endpoint string, m model.ClientDBModel, tables ...model.Model) (*Conn, error) {
	quiet := logr.Discard()
	cl, err := client.NewOVSDBClient(m, client.WithEndpoint(endpoint), client.WithLogger(&quiet))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	if err := cl.Connect(ctx); err != nil {
		cl.Close()
		return nil, cause(err)
	}
	c := &Conn{client: cl, changed: make(chan struct{}, 1), lost: make(chan error, 1)}
	note := func() {
		select {
		case c.changed <- struct{}{}:
		default:
		}
	}
	cl.Cache().AddEventHandler(&cache.EventHandlerFuncs{
		AddFunc:    func(string, model.Model) { note() },
		UpdateFunc: func(string, model.Model, model.Model) { note() },
		DeleteFunc: func(string, model.Model) { note() },
	})
	if _, err := cl.Monitor(ctx, cl.NewMonitor(columns(tables)...)); err != nil {
		cl.Close()
		return nil, fmt.Errorf("read the tables: %w", cause(err))
	}
	return c, nil
}

// columns asks for the columns that the models have, and no others: the server
// would send those too, and they can't be stored.
func columns(tables []model.Model) []client.MonitorOption {
	var out []client.MonitorOption
	for _, t := range tables {
		row := reflect.ValueOf(t)
		var fields []any
		for i := range row.Elem().NumField() {
			if tag := row.Elem().Type().Field(i).Tag.Get("ovsdb"); tag != "" && tag != "_uuid" {
				fields = append(fields, row.Elem().Field(i).Addr().Interface())
			}
		}
		out = append(out, client.WithTable(row.Interface(), fields...))
	}
	return out
}

// cause gives the innermost error, which has the system's or server's words;
// the layers above only repeat the endpoint.
func cause(err error) error {
	for {
		in := errors.Unwrap(err)
		if in == nil {
			return err
		}
		err = in
	}
}

// Changed receives after rows changed.
func (c *Conn) Changed() <-chan struct{} { return c.changed }

// Watch blocks until the connection is lost or ctx ends, and says why.
func (c *Conn) Watch(ctx context.Context) error {
	gone := c.client.DisconnectNotify()
	t := time.NewTicker(echoEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-gone:
			return errors.New("the server closed the connection")
		case <-t.C:
			e, cancel := context.WithTimeout(ctx, echoTime)
			err := c.client.Echo(e)
			cancel()
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("the server does not answer: %w", err)
			}
		}
	}
}

// Close ends the connection.
func (c *Conn) Close() { c.client.Close() }

// Transact runs operations as one transaction. The error has the server's own
// words.
func (c *Conn) Transact(ctx context.Context, ops []ovsdb.Operation) error {
	ctx, cancel := context.WithTimeout(ctx, transactTime)
	defer cancel()
	results, err := c.client.Transact(ctx, ops...)
	if err != nil {
		return err
	}
	failed, err := ovsdb.CheckOperationResults(results, ops)
	for _, f := range failed {
		err = errors.Join(err, f)
	}
	return err
}

// list returns all rows of a table.
func list[M any](c *Conn) ([]M, error) {
	var rows []M
	ctx, cancel := context.WithTimeout(context.Background(), transactTime) // reads memory only
	defer cancel()
	if err := c.client.List(ctx, &rows); err != nil {
		return nil, fmt.Errorf("table of %s: %w", reflect.TypeFor[M]().Name(), err)
	}
	return rows, nil
}
