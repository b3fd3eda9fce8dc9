package tsql

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// counter is an identity column's while a statement fills it.
type counter struct {
	schema    string // main or temp
	last      int64
	some      bool // there was a value before
	seed      int64
	increment int64
	kind      sqltype.Type
	changed   bool
}

// identityColumn is a table's identity column, nil if it has none.
func identityColumn(t *catalog.Table) *catalog.Column {
	for i := range t.Columns {
		if t.Columns[i].Identity {
			return &t.Columns[i]
		}
	}
	return nil
}

// counterOf answers a table's counter, read when the statement first needs it.
func (s *Session) counterOf(id int32) (*counter, error) {
	if c, ok := s.identities[id]; ok {
		return c, nil
	}
	t, ok := s.tableByID(id)
	if !ok || identityColumn(t) == nil {
		return nil, fmt.Errorf("find the identity column of table %d", id)
	}
	column := identityColumn(t)
	c := &counter{schema: "main", seed: column.Seed, increment: column.Increment, kind: column.Type}
	if t.Temporary {
		c.schema = "temp"
	}
	var err error
	if c.last, c.some, err = s.lastIdentity(c.schema, id); err != nil {
		return nil, err
	}
	if s.identities == nil {
		s.identities = map[int32]*counter{}
	}
	s.identities[id] = c
	return c, nil
}

// lastIdentity reads the last value of a table's identity column, if there was one.
func (s *Session) lastIdentity(schema string, id int32) (last int64, some bool, err error) {
	stmt, err := s.statement("SELECT last FROM " + schema + ".ck_identity WHERE object_id = ?1")
	if err != nil {
		return 0, false, err
	}
	if err = stmt.BindInt64(1, int64(id)); err != nil {
		return 0, false, s.fromEngine(err)
	}
	if some = stmt.Step(); some {
		last = stmt.ColumnInt64(0)
	}
	return last, some, s.fromEngine(errors.Join(stmt.Err(), stmt.Reset()))
}

// saveIdentity stores the last value of a table's identity column.
func (s *Session) saveIdentity(schema string, id int32, last int64) error {
	stmt, err := s.statement("INSERT INTO " + schema + ".ck_identity (object_id, last) VALUES (?1, ?2) ON CONFLICT (object_id) DO UPDATE SET last = excluded.last")
	if err != nil {
		return err
	}
	err = errors.Join(stmt.BindInt64(1, int64(id)), stmt.BindInt64(2, last))
	if err == nil {
		err = stmt.Exec()
	}
	if err != nil {
		return s.fromEngine(fmt.Errorf("store an identity value: %w", err))
	}
	return nil
}

// forgetIdentity starts a table's identity column again at its seed.
func (s *Session) forgetIdentity(t *catalog.Table) error {
	if identityColumn(t) == nil {
		return nil
	}
	schema := "main"
	if t.Temporary {
		schema = "temp"
	}
	delete(s.consumed, t.ObjectID)
	err := s.conn.Exec(fmt.Sprintf("DELETE FROM %s.ck_identity WHERE object_id = %d", schema, t.ObjectID))
	return s.fromEngine(err)
}

// tableByID finds a table of the database or of the session.
func (s *Session) tableByID(id int32) (*catalog.Table, bool) {
	if o, ok := s.definitions.objects[id]; ok && o.Table != nil {
		return o.Table, true
	}
	for _, t := range s.temporary {
		if t.table.ObjectID == id {
			return t.table, true
		}
	}
	for _, t := range s.frame.tables {
		if t != nil && t.ObjectID == id {
			return t, true
		}
	}
	return nil, false
}

// nextIdentity is the SQLite function ck_identity: the value for a new row.
func (s *Session) nextIdentity(ctx sqlite3.Context, args ...sqlite3.Value) {
	c, err := s.counterOf(int32(args[0].Int64()))
	if err != nil {
		value.Raise(ctx, err)
		return
	}
	next := c.seed
	if c.some {
		next = c.last + c.increment
	}
	if c.kind.Kind != sqltype.Decimal && !value.InRange(next, c.kind) || c.some && (next > c.last) != (c.increment > 0) {
		value.Raise(ctx, message(8115, "Arithmetic overflow error converting IDENTITY to data type %s.", value.Name(c.kind)))
		return
	}
	s.seen(c, next)
	ctx.ResultInt64(next)
}

// explicitIdentity is the SQLite function ck_identity_seen: a value that the
// statement gives itself.
func (s *Session) explicitIdentity(ctx sqlite3.Context, args ...sqlite3.Value) {
	c, err := s.counterOf(int32(args[0].Int64()))
	if err != nil {
		value.Raise(ctx, err)
		return
	}
	n := args[1].Int64()
	if !c.some || (n > c.last) == (c.increment > 0) && n != c.last {
		s.seen(c, n)
	}
	s.setIdentity(n)
	ctx.ResultValue(args[1])
}

func (s *Session) seen(c *counter, n int64) {
	c.last, c.some, c.changed = n, true, true
	s.setIdentity(n)
}

func (s *Session) setIdentity(n int64) {
	v := sqltype.Number{Unscaled: bigInt(n)}
	s.identity = v
	s.frame.scopeIdentity = v
}

// consume notes the counters that a statement has moved, whether it went well
// or not: an identity value that was given is gone, although its row may be rolled back.
// Source: https://learn.microsoft.com/sql/t-sql/functions/scope-identity-transact-sql ("Failed statements and transactions can
// change the current identity for a table")
func (s *Session) consume() {
	for id, c := range s.identities {
		if !c.changed {
			continue
		}
		if s.consumed == nil {
			s.consumed = map[int32]*counter{}
		}
		kept := *c
		s.consumed[id] = &kept
	}
}

// consumeWait is how long a session waits for its turn to note what it has
// consumed. After that the values are given again, which breaks no promise.
const consumeWait = time.Second

// afterRollback stores the consumed values again. It opens a transaction of
// its own when none is open; that it may come after another session's is no
// harm, as the counter only ever moves on.
//
//nolint:contextcheck // it must not end with the request, nor wait for long
func (s *Session) afterRollback() error {
	if len(s.consumed) == 0 || s.options.Database.ReadOnly() {
		return nil
	}
	return s.shield(func() error {
		if !s.conn.GetAutocommit() {
			return s.moveOn()
		}
		ctx, cancel := context.WithTimeout(context.Background(), consumeWait)
		defer cancel()
		old := s.conn.SetInterrupt(ctx)
		defer s.conn.SetInterrupt(old)
		if err := s.control("BEGIN IMMEDIATE"); err != nil {
			return nil // another session writes, or the database has ended
		}
		err := s.moveOn()
		if err != nil {
			return errors.Join(err, s.leave("ROLLBACK"))
		}
		return s.leave("COMMIT")
	})
}

// moveOn moves the stored counters of the tables that are still there on to
// the consumed values.
func (s *Session) moveOn() error {
	if err := s.refresh(); err != nil {
		return err
	}
	for id, c := range s.consumed {
		if _, there := s.tableByID(id); !there {
			continue
		}
		last, some, err := s.lastIdentity(c.schema, id)
		if err != nil {
			return err
		}
		if some && (last == c.last || (last > c.last) == (c.increment > 0)) {
			continue
		}
		if err := s.saveIdentity(c.schema, id, c.last); err != nil {
			return err
		}
	}
	return nil
}

// saveIdentities stores the counters that a statement has moved.
func (s *Session) saveIdentities() error {
	for id, c := range s.identities {
		if !c.changed {
			continue
		}
		if err := s.saveIdentity(c.schema, id, c.last); err != nil {
			return err
		}
		c.changed = false
	}
	return nil
}
