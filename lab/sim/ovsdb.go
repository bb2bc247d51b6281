package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/weft-sdn/weft/southbound/ovsdb/vswitchdb"
)

// databaseName is the name of the one database.
const databaseName = "Open_vSwitch"

// schema is the part of the database's schema that Weft's models have.
var schema = sync.OnceValue(func() json.RawMessage {
	b, err := json.Marshal(vswitchdb.Schema())
	if err != nil {
		panic(fmt.Sprintf("the generated schema can't be written: %v", err)) // never: it is a constant
	}
	return b
})

// request is what a client sends (RFC 7047 section 4): a request, or an answer
// to one of ours, which has no method.
type request struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	ID     json.RawMessage `json:"id"`
}

// dbConn is one OVSDB connection of an edge.
type dbConn struct {
	*Edge
	conn    net.Conn
	cookie  json.RawMessage // of the monitor; nil before there is one
	monitor map[string]map[string]bool
}

// serveOVSDB answers until the connection ends.
func (e *Edge) serveOVSDB(c net.Conn) {
	e.mu.Lock()
	e.stats.OVSDBConnects++
	e.mu.Unlock()
	e.farm.ovsdbConns.Add(1)
	d := &dbConn{Edge: e, conn: c}
	defer func() {
		e.dbMu.Lock()
		defer e.dbMu.Unlock()
		delete(e.db.clients, d)
	}()
	in := json.NewDecoder(c)
	for {
		var r request
		e.pause(false)
		if in.Decode(&r) != nil {
			return
		}
		e.pause(false)
		if r.Method == "" {
			continue
		}
		if d.answer(r) != nil {
			return
		}
	}
}

// writeTime is how long a client may take no answer before it is given up.
const writeTime = 30 * time.Second

func (d *dbConn) write(b []byte) error {
	_ = d.conn.SetWriteDeadline(time.Now().Add(writeTime))
	_, err := d.conn.Write(append(b, '\n'))
	return err
}

// result answers a request. The caller holds the database's lock, so that
// answers and updates keep their order.
func (d *dbConn) result(id, result json.RawMessage) error {
	b := append([]byte(`{"id":`), id...)
	b = append(b, `,"error":null,"result":`...)
	b = append(b, result...)
	return d.write(append(b, '}'))
}

var errRequest = errors.New("malformed OVSDB request")

func (d *dbConn) answer(r request) error {
	d.dbMu.Lock()
	defer d.dbMu.Unlock()
	switch r.Method {
	case "echo":
		return d.result(r.ID, r.Params)
	case "list_dbs":
		return d.result(r.ID, json.RawMessage(`["`+databaseName+`"]`))
	case "get_schema":
		return d.result(r.ID, schema())
	case "monitor_cond", "monitor_cond_since":
		return d.startMonitor(r)
	case "transact":
		return d.transact(r)
	}
	d.mu.Lock()
	d.stats.Refused++
	d.mu.Unlock()
	return d.write(append(append([]byte(`{"id":`), r.ID...), `,"result":null,"error":"unknown method"}`...))
}

// startMonitor answers with all rows and has later changes sent.
func (d *dbConn) startMonitor(r request) error {
	var params []json.RawMessage
	var tables map[string]struct {
		Columns []string `json:"columns"`
	}
	if json.Unmarshal(r.Params, &params) != nil || len(params) < 3 || json.Unmarshal(params[2], &tables) != nil {
		return errRequest
	}
	d.cookie, d.monitor = params[1], map[string]map[string]bool{}
	for t, m := range tables {
		columns := map[string]bool{}
		for _, c := range m.Columns {
			columns[c] = true
		}
		d.monitor[t] = columns
	}
	if d.db.clients == nil {
		d.db.clients = map[*dbConn]struct{}{}
	}
	d.db.clients[d] = struct{}{}
	all := d.render(d.db.everything())
	if r.Method == "monitor_cond_since" {
		all = append(append([]byte(`[false,"00000000-0000-0000-0000-000000000000",`), all...), ']')
	}
	return d.result(r.ID, all)
}

// notify tells a client of changes, as far as it monitors the tables.
func (d *dbConn) notify(u updates) {
	body := d.render(u)
	if len(body) == len("{}") {
		return
	}
	b := append([]byte(`{"id":null,"method":"update2","params":[`), d.cookie...)
	b = append(append(b, ','), body...)
	if d.write(append(b, `]}`...)) != nil {
		d.conn.Close()
	}
}

// tell tells all clients. The caller holds the database's lock.
func (e *Edge) tell(u updates) {
	for c := range e.db.clients {
		c.notify(u)
	}
}
