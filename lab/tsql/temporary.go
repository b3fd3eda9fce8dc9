package tsql

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// keptTable is a table variable's definition and rows: they outlive a
// rollback.
type keptTable struct {
	id       int32
	last     int64 // of its identity column
	identity bool  // there is such a value
	sql      []string
	name     string
	rows     [][]any
}

// keepTableVariables copies the table variables that a rollback would undo.
// Source: https://learn.microsoft.com/sql/t-sql/data-types/table-transact-sql ("table variables aren't affected by transaction rollbacks")
func (s *Session) keepTableVariables() ([]keptTable, error) {
	var all []keptTable
	for f := s.frame; f != nil; f = f.parent {
		for _, t := range f.tables {
			if t == nil {
				continue
			}
			kept, err := s.keepTable(t)
			if err != nil {
				return nil, s.fromEngine(err)
			}
			all = append(all, kept)
		}
	}
	return all, nil
}

func (s *Session) keepTable(t *catalog.Table) (keptTable, error) {
	kept := keptTable{name: t.Stored, id: t.ObjectID}
	var err error
	if kept.last, kept.identity, err = s.lastIdentity("temp", t.ObjectID); err != nil {
		return kept, err
	}
	err = s.each(`SELECT sql FROM temp.sqlite_schema WHERE sql IS NOT NULL AND tbl_name = `+sqlite3.Quote(t.Stored)+` ORDER BY type = 'table' DESC`, func(row []any) {
		if sql, ok := row[0].(string); ok {
			kept.sql = append(kept.sql, inTemp(sql))
		}
	})
	if err != nil {
		return kept, err
	}
	err = s.each(`SELECT * FROM temp.`+sqlite3.QuoteIdentifier(t.Stored), func(row []any) { kept.rows = append(kept.rows, row) })
	return kept, err
}

// inTemp writes a definition of temp's schema so that it makes the same there.
func inTemp(sql string) string {
	for _, prefix := range []string{"CREATE TABLE ", "CREATE UNIQUE INDEX ", "CREATE INDEX "} {
		if rest, ok := strings.CutPrefix(sql, prefix); ok {
			return prefix + "temp." + rest
		}
	}
	return sql
}

func (s *Session) restoreTableVariables(all []keptTable) error {
	return s.shield(func() error {
		for _, kept := range all {
			if err := s.restoreTable(kept); err != nil {
				return s.fromEngine(fmt.Errorf("restore a table variable: %w", err))
			}
		}
		return nil
	})
}

func (s *Session) restoreTable(kept keptTable) error {
	name := "temp." + sqlite3.QuoteIdentifier(kept.name)
	if err := s.conn.Exec("DROP TABLE IF EXISTS " + name); err != nil {
		return err
	}
	for _, sql := range kept.sql {
		if err := s.conn.Exec(sql); err != nil {
			return err
		}
	}
	for _, row := range kept.rows {
		if err := s.insertRaw(name, row); err != nil {
			return err
		}
	}
	if kept.identity {
		return s.saveIdentity("temp", kept.id, kept.last)
	}
	return nil
}

func (s *Session) insertRaw(table string, row []any) error {
	stmt, _, err := s.conn.Prepare("INSERT INTO " + table + " VALUES (" + strings.TrimSuffix(strings.Repeat("?,", len(row)), ",") + ")")
	if err != nil {
		return err
	}
	for i, v := range row {
		if err == nil {
			err = bindRaw(stmt, i+1, v)
		}
	}
	if err == nil {
		err = stmt.Exec()
	}
	return errors.Join(err, stmt.Close())
}

func bindRaw(stmt *sqlite3.Stmt, i int, v any) error {
	switch v := v.(type) {
	case int64:
		return stmt.BindInt64(i, v)
	case float64:
		return stmt.BindFloat(i, v)
	case string:
		return stmt.BindText(i, v)
	case []byte:
		if len(v) == 0 {
			return stmt.BindZeroBlob(i, 0)
		}
		return stmt.BindBlob(i, v)
	default:
		return stmt.BindNull(i)
	}
}

// each runs a query of the session's own and hands out its rows in SQLite's
// types.
func (s *Session) each(sql string, f func(row []any)) error {
	stmt, _, err := s.conn.Prepare(sql)
	if err != nil {
		return err
	}
	for stmt.Step() {
		row := make([]any, stmt.ColumnCount())
		for i := range row {
			row[i] = columnRaw(stmt, i)
		}
		f(row)
	}
	return errors.Join(stmt.Err(), stmt.Close())
}

func columnRaw(stmt *sqlite3.Stmt, i int) any {
	switch stmt.ColumnType(i) {
	case sqlite3.INTEGER:
		return stmt.ColumnInt64(i)
	case sqlite3.FLOAT:
		return stmt.ColumnFloat(i)
	case sqlite3.TEXT:
		return stmt.ColumnText(i)
	case sqlite3.BLOB:
		return stmt.ColumnBlob(i, []byte{})
	default:
		return nil
	}
}

// setTemporary brings back the list of # tables that a rollback brought back.
func (s *Session) setTemporary(tables map[string]*temporaryTable) {
	if maps.Equal(s.temporary, tables) {
		return
	}
	s.temporary = maps.Clone(tables)
	if s.temporary == nil {
		s.temporary = map[string]*temporaryTable{}
	}
	s.tables++
}

// temporaryHere says whether a # table of that name was made in the frame that
// runs: its name is taken there. One of an outer frame can be hidden.
// Source: https://learn.microsoft.com/sql/t-sql/statements/create-table-transact-sql#temporary-tables
func (s *Session) temporaryHere(name string) bool {
	t, ok := s.temporary[lower(name)]
	return ok && t.level == s.frame.level
}

// forgetTemporary takes a # table off the list; what it hid is seen again.
func (s *Session) forgetTemporary(name string) {
	t, ok := s.temporary[name]
	switch {
	case !ok:
	case t.outer != nil:
		s.temporary[name] = t.outer
	default:
		delete(s.temporary, name)
	}
}

// dropFrameTables drops what ends with a frame: its table variables and the #
// tables that were made in it.
func (s *Session) dropFrameTables(f *frame) error {
	var names []string
	for _, t := range f.tables {
		if t != nil {
			names = append(names, t.Stored)
		}
	}
	for name, t := range maps.Clone(s.temporary) {
		for ; t != nil && t.level >= f.level && f.parent != nil; t = t.outer {
			names = append(names, t.table.Stored)
			s.forgetTemporary(name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	s.tables++
	return s.shield(func() error { return s.dropTemp(names) })
}

func (s *Session) dropTemp(names []string) error {
	for _, name := range names {
		if err := s.conn.Exec("DROP TABLE IF EXISTS temp." + sqlite3.QuoteIdentifier(name)); err != nil {
			return s.fromEngine(fmt.Errorf("drop a temporary table: %w", err))
		}
	}
	return nil
}
