package tsql

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// systemView is a system view of the interpreter's or the host's, as an
// eponymous virtual table of the session's connection.
type systemView struct {
	View
	objectID int32
	// own answers the rows of the interpreter's views.
	own func(s *Session) ([][]any, error)
}

// registerViews makes all system views known to the connection.
func (s *Session) registerViews() error {
	s.views = map[string]*systemView{}
	for _, v := range ownViews() {
		if err := s.registerView(v); err != nil {
			return err
		}
	}
	for _, v := range s.options.Host.Views() {
		if err := s.registerView(&systemView{View: v}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) registerView(v *systemView) error {
	name := lower(v.System.Schema) + "." + lower(v.System.Name)
	v.System.Stored = "ck_" + strings.ReplaceAll(name, ".", "_")
	hash := fnv.New32a()
	hash.Write([]byte(name))
	v.objectID = -int32(hash.Sum32()>>2) - 1
	s.views[name] = v
	connect := func(db *sqlite3.Conn, _, _, _ string, _ ...string) (*viewTable, error) {
		if err := db.DeclareVTab(v.declaration()); err != nil {
			return nil, err
		}
		return &viewTable{s: s, view: v}, nil
	}
	//lint:ignore SA1019 the generic method needs Go 1.27
	err := sqlite3.CreateModule(s.conn, v.System.Stored, nil, connect) //nolint:staticcheck // likewise
	if err != nil {
		return fmt.Errorf("register system view %s: %w", name, err)
	}
	return nil
}

// declaration is the virtual table's, with the arguments as hidden columns
// after the others.
func (v *systemView) declaration() string {
	var b strings.Builder
	b.WriteString("CREATE TABLE x(")
	for i, c := range v.System.Columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(sqlite3.QuoteIdentifier(c.Name))
	}
	for i := range v.System.Args {
		fmt.Fprintf(&b, ", ck_arg%d HIDDEN", i+1)
	}
	b.WriteString(")")
	return b.String()
}

// viewTable is a system view as a virtual table.
type viewTable struct {
	s    *Session
	view *systemView
}

// BestIndex takes the arguments of a function: each must be given by an equality.
func (t *viewTable) BestIndex(info *sqlite3.IndexInfo) error {
	columns := len(t.view.System.Columns)
	next := 1
	mask := 0
	for i, c := range info.Constraint {
		if c.Column < columns || c.Op != sqlite3.INDEX_CONSTRAINT_EQ {
			continue
		}
		if !c.Usable {
			return sqlite3.CONSTRAINT
		}
		arg := c.Column - columns
		if mask&(1<<arg) != 0 {
			continue
		}
		mask |= 1 << arg
		info.ConstraintUsage[i] = sqlite3.IndexConstraintUsage{ArgvIndex: next, Omit: true}
		info.IdxStr += string(rune('a' + arg))
		next++
	}
	info.EstimatedCost = 1000
	info.EstimatedRows = 100
	if mask != 0 {
		info.EstimatedCost = 100
	}
	return nil
}

// Open begins a scan.
func (t *viewTable) Open() (sqlite3.VTabCursor, error) { return &viewCursor{table: t}, nil }

// viewCursor is a scan of a system view: all rows, made at its beginning.
type viewCursor struct {
	table *viewTable
	rows  [][]any
	args  []any
	at    int
}

// Filter makes the rows.
func (c *viewCursor) Filter(_ int, idx string, raw ...sqlite3.Value) error {
	v := c.table.view
	c.args = make([]any, len(v.System.Args))
	for i, letter := range idx {
		n := int(letter - 'a')
		arg, err := value.Arg(raw[i], v.System.Args[n].Type)
		if err != nil {
			return fmt.Errorf("read an argument of %s: %w", v.System.Name, err)
		}
		c.args[n] = arg
	}
	var err error
	c.at = 0
	c.rows, err = c.table.s.viewRows(v, c.args)
	if err != nil && c.table.s.fatal == nil {
		c.table.s.fatal = err
	}
	return err
}

// viewRows asks for a view's rows.
func (s *Session) viewRows(v *systemView, args []any) ([][]any, error) {
	if v.own != nil {
		return v.own(s)
	}
	ctx := s.requestCtx.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	return v.Rows(ctx, s.info(), args)
}

// Next goes to the next row.
func (c *viewCursor) Next() error {
	c.at++
	return nil
}

// EOF says that there are no more rows.
func (c *viewCursor) EOF() bool { return c.at >= len(c.rows) }

// Column answers a column of the row.
func (c *viewCursor) Column(ctx sqlite3.Context, n int) error {
	columns := c.table.view.System.Columns
	if n >= len(columns) {
		arg := n - len(columns)
		value.Result(ctx, c.table.view.System.Args[arg].Type, c.args[arg])
		return nil
	}
	row := c.rows[c.at]
	if n >= len(row) || row[n] == nil {
		ctx.ResultNull()
		return nil
	}
	value.Result(ctx, columns[n].Type, row[n])
	return nil
}

// RowID is the row's number.
func (c *viewCursor) RowID() (int64, error) { return int64(c.at), nil }

// column makes a system view's column; all are nullable, as most are in SQL
// Server.
func column(name string, t sqltype.Type) sqltype.Column {
	return sqltype.Column{Name: name, Type: t, Nullable: true}
}
