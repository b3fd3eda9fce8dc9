package compile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
	"github.com/crosskeys/crosskeys/lab/tsql/parse"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
	"github.com/crosskeys/crosskeys/lab/tsql/value/builtin"
)

// world is a small session: an in-memory database, a catalog and variables.
type world struct {
	t        *testing.T
	conn     *sqlite3.Conn
	rt       *builtin.Runtime
	tables   map[string]*catalog.Table
	views    map[string]*catalog.View
	vars     map[string]any
	types    map[string]sqltype.Type
	identity map[int32]int64
	insertID int32
	nextID   int32
	columns  []sqltype.Column
	rows     [][]any
	count    int64
	last     *Program
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := newWorldFor(t)
	w.t = t
	return w
}

func newWorldFor(t testing.TB) *world {
	t.Helper()
	conn, err := sqlite3.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	rt, err := builtin.Register(conn, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{conn: conn, rt: rt, tables: map[string]*catalog.Table{}, views: map[string]*catalog.View{}, vars: map[string]any{},
		types: map[string]sqltype.Type{"@@rowcount": value.Int}, identity: map[int32]int64{}, nextID: 100}
	next := func(ctx sqlite3.Context, arg ...sqlite3.Value) {
		id := int32(arg[0].Int64())
		tab := w.byID(id)
		for _, c := range tab.Columns {
			if c.Identity {
				v, ok := w.identity[id]
				if !ok {
					v = c.Seed
				} else {
					v += c.Increment
				}
				w.identity[id] = v
				ctx.ResultInt64(v)
			}
		}
	}
	seen := func(ctx sqlite3.Context, arg ...sqlite3.Value) {
		w.identity[int32(arg[0].Int64())] = max(w.identity[int32(arg[0].Int64())], arg[1].Int64())
		ctx.ResultValue(arg[1])
	}
	if err := errors.Join(conn.CreateFunction("ck_identity", 1, 0, next), conn.CreateFunction("ck_identity_seen", 2, 0, seen)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(rt.Close(), conn.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) byID(id int32) *catalog.Table {
	for _, t := range w.tables {
		if t.ObjectID == id {
			return t
		}
	}
	return nil
}

func key(schema, name string) string {
	if schema == "" && !strings.HasPrefix(name, "@") && !strings.HasPrefix(name, "#") {
		schema = "dbo"
	}
	return strings.ToLower(schema + "." + name)
}

func (w *world) Table(schema, name string) (*catalog.Table, bool) {
	t, ok := w.tables[key(schema, name)]
	return t, ok
}

func (w *world) View(schema, name string) (*catalog.View, bool) {
	v, ok := w.views[key(schema, name)]
	return v, ok
}

func (w *world) Procedure(string, string) (*catalog.Procedure, bool) { return nil, false }
func (w *world) System(string, string) (*catalog.System, bool)       { return nil, false }

func (w *world) scope() Scope {
	return Scope{
		Catalog: w, DefaultSchema: "dbo", Database: "app",
		Variables: func(n string) (sqltype.Type, bool) { t, ok := w.types[strings.ToLower(n)]; return t, ok },
		NewObjectID: func() int32 {
			w.nextID++
			return w.nextID
		},
		IdentityInsert: func(id int32) bool { return id == w.insertID },
		Referencing: func(t *catalog.Table) []*catalog.Table {
			var out []*catalog.Table
			for _, other := range w.tables {
				for _, fk := range other.ForeignKeys {
					if strings.EqualFold(fk.RefSchema, t.Schema) && strings.EqualFold(fk.RefTable, t.Name) {
						out = append(out, other)
						break
					}
				}
			}
			return out
		},
	}
}

func (w *world) Value(name string) (any, error) {
	if name == "@@now" {
		return time.Date(2026, 11, 24, 12, 30, 15, 123456700, time.UTC), nil
	}
	return w.vars[strings.ToLower(name)], nil
}

func (w *world) Assign(name string, v any) error {
	w.vars[strings.ToLower(name)] = v
	return nil
}

func (w *world) Columns(c []sqltype.Column) error {
	w.columns = c
	return nil
}

func (w *world) Row(v []any) error {
	w.rows = append(w.rows, v)
	return nil
}

// exec runs a batch's statements and returns the first error.
func (w *world) exec(sql string) error {
	w.t.Helper()
	b, err := parse.Batch(sql)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	for _, s := range b.Statements {
		if err := w.statement(s); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) statement(s ast.Statement) error {
	w.rows, w.columns, w.count = nil, nil, 0
	var def *Definition
	var err error
	switch s := s.(type) {
	case *ast.CreateTable:
		def, err = CreateTable(s, w.scope())
	case *ast.CreateIndex:
		def, err = CreateIndex(s, w.scope())
	case *ast.AlterTable:
		def, err = AlterTable(s, w.scope())
	case *ast.CreateView:
		def, err = CreateView(s, w.scope())
	case *ast.DropIndex:
		def, err = DropIndex(s.Items[0], w.scope())
	case *ast.DropObject:
		t, ok := w.Table(s.Names[0].Schema, s.Names[0].Object)
		if !ok {
			return errors.New("no such table")
		}
		if def, err = DropTable(s.Pos, t, w.scope()); err == nil {
			delete(w.tables, key(t.Schema, t.Name))
		}
	case *ast.Declare:
		for _, v := range s.Variables {
			if v.Table != nil {
				if def, err = TableVariable(v.Name, v.Table, w.scope()); err != nil {
					return err
				}
				continue
			}
			w.types[strings.ToLower(v.Name)] = v.Type.Type
			w.vars[strings.ToLower(v.Name)] = nil
			if v.Value != nil {
				p, err := Expression(v.Value, w.scope())
				if err != nil {
					return err
				}
				if err := w.run(p); err != nil {
					return err
				}
				got, err := value.Convert(w.rows[len(w.rows)-1][0], p.Columns[0].Type, v.Type.Type)
				if err != nil {
					return err
				}
				w.vars[strings.ToLower(v.Name)] = got
			}
		}
	default:
		p, err := Statement(s, w.scope())
		if err != nil {
			return err
		}
		if err := w.atomic(func() error { return w.run(p) }); err != nil {
			return err
		}
		if p.Into != nil {
			w.tables[key(p.Into.Schema, p.Into.Name)] = p.Into
		}
		return nil
	}
	if err != nil || def == nil {
		return err
	}
	return w.atomic(func() error { return w.define(def) })
}

func (w *world) define(def *Definition) error {
	for _, p := range def.Before {
		if err := w.run(p); err != nil {
			return err
		}
	}
	for _, ddl := range def.DDL {
		if err := w.conn.Exec(ddl); err != nil {
			return fmt.Errorf("%s: %w", ddl, err)
		}
	}
	for _, p := range def.After {
		if err := w.run(p); err != nil {
			return err
		}
	}
	if def.Table != nil {
		w.tables[key(def.Table.Schema, def.Table.Name)] = def.Table
	}
	if def.View != nil {
		w.views[key(def.View.Schema, def.View.Name)] = def.View
	}
	return nil
}

func (w *world) atomic(f func() error) (err error) {
	sp := w.conn.Savepoint()
	defer sp.Release(&err)
	return f()
}

func (w *world) run(p *Program) error {
	w.last = p
	n, err := p.Run(w.t.Context(), w.conn, w.rt, w)
	w.count = n
	return err
}

func (w *world) must(sql string) {
	w.t.Helper()
	if err := w.exec(sql); err != nil {
		w.t.Fatalf("%s\n%v\n%s", sql, err, w.sql())
	}
}

func (w *world) sql() string {
	if w.last == nil {
		return ""
	}
	var b strings.Builder
	for _, s := range w.last.Steps {
		b.WriteString(s.SQL + "\n")
	}
	return b.String()
}

// show writes the last rows down, cells parted by | and rows by line.
func (w *world) show() string {
	lines := make([]string, len(w.rows))
	for i, row := range w.rows {
		cells := make([]string, len(row))
		for j, v := range row {
			cells[j] = w.cell(v, w.columns[j].Type)
		}
		lines[i] = strings.Join(cells, "|")
	}
	return strings.Join(lines, "\n")
}

func (w *world) cell(v any, t sqltype.Type) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case string:
		return v
	case []byte:
		return fmt.Sprintf("0x%X", v)
	}
	style := value.NoStyle
	if value.IsFloat(t) {
		f, _ := v.(float64)
		return fmt.Sprint(f)
	}
	if value.IsTime(t) {
		style = 121
	}
	if value.IsMoney(t) {
		style = 2
	}
	s, err := value.ConvertStyle(v, t, value.VarChar(100), style)
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprint(s)
}

// kinds writes the last columns' types.
func (w *world) kinds() string {
	var out []string
	for _, c := range w.columns {
		out = append(out, value.Describe(c.Type))
	}
	return strings.Join(out, "|")
}

// query runs one statement and shows its rows, or its error as "number: text".
func (w *world) query(sql string) string {
	w.t.Helper()
	if err := w.exec(sql); err != nil {
		var m sqltype.Message
		if errors.As(err, &m) {
			return fmt.Sprintf("%d: %s", m.Number, m.Text)
		}
		return fmt.Sprintf("error: %v\n%s", err, w.sql())
	}
	return w.show()
}

type known struct{ sql, want, kinds string }

func check(t *testing.T, w *world, cases []known) {
	t.Helper()
	for _, k := range cases {
		t.Run(k.sql, func(t *testing.T) {
			saved := w.t
			w.t = t
			defer func() { w.t = saved }()
			got := w.query(k.sql)
			if before, after, wild := strings.Cut(k.want, "'*'"); got != k.want && (!wild || !strings.HasPrefix(got, before) || !strings.HasSuffix(got, after)) {
				t.Errorf("%s\ngot  %q\nwant %q\n%s", k.sql, got, k.want, w.sql())
			}
			if k.kinds != "" && w.kinds() != k.kinds {
				t.Errorf("%s\ntypes %s\nwant  %s", k.sql, w.kinds(), k.kinds)
			}
		})
	}
}
