package sim

import (
	"encoding/json"
	"fmt"
	"slices"
)

// operation is one operation of a transaction (RFC 7047 section 5.2).
type operation struct {
	Op        string  `json:"op"`
	Table     string  `json:"table"`
	Row       row     `json:"row"`
	Where     [][]any `json:"where"`
	Mutations [][]any `json:"mutations"`
	UUID      string  `json:"uuid"`
	UUIDName  string  `json:"uuid-name"`
}

// sets are the columns whose changes update2 tells as a difference, as the
// elements that came or went.
var sets = map[string]bool{"Bridge/ports": true, "Bridge/controller": true, "Bridge/protocols": true, "Port/interfaces": true, "Open_vSwitch/bridges": true}

// maps are the columns that are maps: of these a change is told by its pairs.
var mapColumns = map[string]bool{"external_ids": true, "other_config": true, "options": true}

// transaction is one that is being made. Rows are written at once: what is
// refused here is refused before anything was written, in check.
type transaction struct {
	db    *database
	names map[string]string // UUIDs of new rows by their names
	told  updates
	wrote bool
}

// transact makes a transaction, tells all clients and then answers, and then
// does what ovs-vswitchd would do about new interfaces.
func (d *dbConn) transact(r request) error {
	var params []json.RawMessage
	if json.Unmarshal(r.Params, &params) != nil || len(params) < 1 {
		return errRequest
	}
	t := &transaction{db: &d.db, names: map[string]string{}}
	ops := make([]operation, len(params)-1)
	for i := range ops {
		if json.Unmarshal(params[i+1], &ops[i]) != nil {
			return errRequest
		}
	}
	if bad := t.check(ops); bad != nil {
		d.mu.Lock()
		d.stats.Refused++
		d.mu.Unlock()
		return d.result(r.ID, bad)
	}
	results := []any{}
	for i := range ops {
		results = append(results, t.do(&ops[i]))
	}
	text, err := json.Marshal(results)
	if err != nil {
		return err
	}
	if t.wrote {
		d.mu.Lock()
		d.stats.Transactions++
		d.mu.Unlock()
		d.farm.transactions.Add(1)
		d.tell(t.told)
	}
	if err := d.result(r.ID, text); err != nil {
		return err
	}
	if opened := d.db.open(); len(opened.kind) > 0 {
		d.tell(opened)
	}
	return nil
}

// check names new rows and says which operation can't be done, as the result
// of the transaction.
func (t *transaction) check(ops []operation) json.RawMessage {
	for i := range ops {
		o := &ops[i]
		ok := t.db.rows[o.Table] != nil
		switch o.Op {
		case "insert":
			id := o.UUID
			if id == "" {
				id = t.db.newUUID()
			}
			o.UUID = id
			if o.UUIDName != "" {
				t.names[o.UUIDName] = id
			}
		case "update", "mutate", "delete":
		default:
			ok = false
		}
		if !ok {
			b, _ := json.Marshal([]any{map[string]string{"error": "not supported", "details": fmt.Sprintf("simulated edges don't %s in table %s", o.Op, o.Table)}})
			return b
		}
	}
	return nil
}

// resolve replaces the names of new rows by their UUIDs.
func (t *transaction) resolve(v any) any {
	l, ok := v.([]any)
	if !ok {
		return v
	}
	if len(l) == 2 && l[0] == "named-uuid" {
		if name, ok := l[1].(string); ok && t.names[name] != "" {
			return ref(t.names[name])
		}
	}
	out := make([]any, len(l))
	for i := range l {
		out[i] = t.resolve(l[i])
	}
	return out
}

func (t *transaction) do(o *operation) any {
	if o.Op == "insert" {
		r := row{}
		for k, v := range o.Row {
			r[k] = t.resolve(v)
		}
		t.db.rows[o.Table][o.UUID] = r
		t.told.add(o.Table, o.UUID, "insert", r)
		t.wrote = true
		return map[string]any{"uuid": ref(o.UUID)}
	}
	count := 0
	for id, r := range t.db.rows[o.Table] {
		if !t.matches(id, r, o.Where) {
			continue
		}
		count++
		switch o.Op {
		case "update":
			for k, v := range o.Row {
				t.write(o.Table, id, r, k, t.resolve(v))
			}
		case "mutate":
			for _, m := range o.Mutations {
				t.mutate(o.Table, id, r, m)
			}
		case "delete":
			delete(t.db.rows[o.Table], id)
			t.told.add(o.Table, id, "delete", nil)
			t.wrote = true
		}
	}
	return map[string]any{"count": count}
}

func (t *transaction) matches(id string, r row, where [][]any) bool {
	for _, w := range where {
		if len(w) != 3 || w[1] != "==" {
			return false
		}
		column, _ := w[0].(string)
		have := r[column]
		if column == "_uuid" {
			have = ref(id)
		}
		if !same(have, t.resolve(w[2])) {
			return false
		}
	}
	return true
}

// mutate inserts into a set or deletes from one.
func (t *transaction) mutate(table, id string, r row, m []any) {
	if len(m) != 3 {
		return
	}
	column, _ := m[0].(string)
	now := elements(r[column])
	for _, e := range elements(t.resolve(m[2])) {
		at := slices.IndexFunc(now, func(x any) bool { return same(x, e) })
		switch {
		case m[1] == "insert" && at < 0:
			now = append(now, e)
		case m[1] == "delete" && at >= 0:
			now = slices.Delete(now, at, at+1)
		}
	}
	t.write(table, id, r, column, set(now...))
}

// write changes a column and notes the difference. Rows that are not referred
// to any more are removed.
func (t *transaction) write(table, id string, r row, column string, v any) {
	was := r[column]
	if same(was, v) {
		return
	}
	t.wrote = true
	r[column] = v
	diff := row{column: v}
	switch {
	case sets[table+"/"+column]:
		before, after := elements(was), elements(v)
		var d []any
		for _, e := range before {
			if !contains(after, e) {
				d = append(d, e)
				t.collect(e)
			}
		}
		for _, e := range after {
			if !contains(before, e) {
				d = append(d, e)
			}
		}
		if len(d) == 0 {
			return
		}
		diff[column] = set(d...)
	case mapColumns[column]:
		diff[column] = mapDiff(was, v)
	}
	if c, ok := t.told.kind[table][id]; ok && c.kind == "modify" {
		c.row[column] = diff[column]
		return
	}
	t.told.add(table, id, "modify", diff)
}

// collect removes a row that lost its reference, and what it alone refers to.
func (t *transaction) collect(e any) {
	l, ok := e.([]any)
	if !ok || len(l) != 2 || l[0] != "uuid" {
		return
	}
	id, _ := l[1].(string)
	for _, table := range []string{"Port", "Interface", "Controller"} {
		r, ok := t.db.rows[table][id]
		if !ok {
			continue
		}
		delete(t.db.rows[table], id)
		t.told.add(table, id, "delete", nil)
		for _, i := range elements(r["interfaces"]) {
			t.collect(i)
		}
	}
}

// mapDiff lists the pairs that came, changed (with the new value) or went.
func mapDiff(was, now any) any {
	before, after := mapPairs(was), mapPairs(now)
	d := []any{}
	for _, p := range before {
		if !slices.ContainsFunc(after, func(q any) bool { return same(p.([]any)[0], q.([]any)[0]) }) {
			d = append(d, p)
		}
	}
	for _, p := range after {
		if !contains(before, p) {
			d = append(d, p)
		}
	}
	return []any{"map", d}
}

func mapPairs(v any) []any {
	if l, ok := v.([]any); ok && len(l) == 2 && l[0] == "map" {
		p, _ := l[1].([]any)
		return p
	}
	return nil
}

// open gives port numbers to the interfaces that have none, as ovs-vswitchd
// does: the number that is asked for, or a free one above those of Plug.
func (d *database) open() updates {
	var u updates
	for id, r := range d.rows["Interface"] {
		if r["ofport"] != nil {
			continue
		}
		d.made++
		n := any(30000 + d.made)
		if want := r["ofport_request"]; want != nil && len(elements(want)) == 1 {
			n = elements(want)[0]
		}
		if r["name"] == bridgeName {
			n = 65534
		}
		r["ofport"], r["link_state"], r["admin_state"] = n, "up", "up"
		u.add("Interface", id, "modify", row{"ofport": n, "link_state": "up", "admin_state": "up"})
	}
	return u
}
