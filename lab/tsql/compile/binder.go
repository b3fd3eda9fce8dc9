package compile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// compiler compiles one statement.
type compiler struct {
	scope   Scope
	binds   []Bind
	aliases int
	uses    []Use
	with    *commonScope
	// depth is how deep views lie in each other.
	depth int
	// sets are the variables that the select list which is compiled sets.
	sets *settingList
	// maxRecursion is OPTION (MAXRECURSION n).
	maxRecursion int64
}

// maxViewDepth is how deep views may lie in each other (error 253's limit).
const maxViewDepth = 32

func newCompiler(scope Scope) *compiler { return &compiler{scope: scope, maxRecursion: 100} }

// column is a column of a source.
type column struct {
	name string
	expr expr
	// identity and computed describe a base table's column.
	identity bool
	computed bool
	hidden   bool // not in *
}

// source is a table of a FROM clause.
type source struct {
	pos     ast.Pos
	name    string // the name by which columns refer to it
	schema  string // of a table without an alias
	written string // the schema that was written before its name
	sql     string // what stands before its columns in SQLite, with the dot
	columns []column
	table   *catalog.Table
	use     int // index of its Use, -1 for none
}

// env is what names in a query mean.
type env struct {
	parent  *env
	sources []*source
	// grouped is not nil in a query that groups: the texts of the
	// expressions that it groups by.
	grouped map[string]bool
	// clause names the part of the query, for errors 8120, 8121, 8127.
	clause string
	// aggregate says that an aggregate's argument is being compiled.
	aggregate bool
	// noAggregate is the error for an aggregate that stands where none may.
	noAggregate bool
	windowed    bool // window functions are allowed
}

func (c *compiler) alias() string {
	c.aliases++
	return fmt.Sprintf("s%d", c.aliases)
}

// quote writes a name in SQLite.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// text writes a string in SQLite.
func text(s string) string {
	if strings.ContainsRune(s, 0) {
		return fmt.Sprintf("CAST(x'%x' AS TEXT)", s)
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// bind is the parameter of a variable or system value.
func (c *compiler) bind(name string, t sqltype.Type) string {
	for i, b := range c.binds {
		if strings.EqualFold(b.Name, name) {
			return fmt.Sprintf("?%d", i+1)
		}
	}
	c.binds = append(c.binds, Bind{Name: name, Type: t})
	return fmt.Sprintf("?%d", len(c.binds))
}

// find resolves a column in an environment and those about it.
func (c *compiler) find(ref *ast.ColumnRef, e *env) (expr, *source, *env, error) {
	for at := e; at != nil; at = at.parent {
		got, src, err := c.findIn(ref, at)
		if err != nil {
			return expr{}, nil, nil, err
		}
		if src != nil {
			return got, src, at, nil
		}
	}
	if ref.Table != nil {
		return expr{}, nil, nil, message(ref.Pos, 4104, "The multi-part identifier \"%s\" could not be bound.", multi(*ref.Table, ref.Column))
	}
	return expr{}, nil, nil, message(ref.Pos, 207, "Invalid column name '%s'.", ref.Column)
}

// multi is a column's name as errors write it.
func multi(n ast.Name, column string) string {
	parts := []string{}
	for _, p := range []string{n.Server, n.Database, n.Schema, n.Object} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(append(parts, column), ".")
}

func (c *compiler) findIn(ref *ast.ColumnRef, e *env) (expr, *source, error) {
	var found *source
	var got expr
	known := false
	for _, s := range e.sources {
		if ref.Table != nil && !c.names(*ref.Table, s) {
			continue
		}
		known = known || ref.Table != nil
		for i := range s.columns {
			if !strings.EqualFold(s.columns[i].name, ref.Column) {
				continue
			}
			if found != nil {
				return expr{}, nil, message(ref.Pos, 209, "Ambiguous column name '%s'.", ref.Column)
			}
			found, got = s, s.columns[i].expr
			c.note(s, s.columns[i].name)
		}
	}
	if known && found == nil {
		return expr{}, nil, message(ref.Pos, 207, "Invalid column name '%s'.", ref.Column)
	}
	return got, found, nil
}

// note remembers that a column of a source is read.
func (c *compiler) note(s *source, name string) {
	if s.use < 0 || s.use >= len(c.uses) {
		return
	}
	u := &c.uses[s.use]
	for _, have := range u.Columns {
		if have == name {
			return
		}
	}
	u.Columns = append(u.Columns, name)
}

// names says whether a qualifier means a source.
func (c *compiler) names(n ast.Name, s *source) bool {
	if !strings.EqualFold(n.Object, s.name) {
		return false
	}
	if n.Schema == "" {
		return true
	}
	return s.schema != "" && strings.EqualFold(n.Schema, s.schema) && (n.Database == "" || strings.EqualFold(n.Database, c.scope.Database))
}

// use enters an object among those that the program touches.
func (c *compiler) use(u Use) int {
	if c.depth > 0 {
		// What a view reads is the view's owner's to read.
		return -1
	}
	c.uses = append(c.uses, u)
	return len(c.uses) - 1
}

// tableSource is a base table as a source.
func (c *compiler) tableSource(t *catalog.Table, name, prefix string) (*source, error) {
	s := &source{name: name, sql: prefix, table: t, use: -1, schema: t.Schema}
	for _, col := range t.Columns {
		s.columns = append(s.columns, column{name: col.Name, identity: col.Identity, computed: col.Computed != "", expr: baseColumn(prefix, col.Column)})
	}
	for i, col := range t.Columns {
		if col.Computed == "" {
			continue
		}
		e, err := c.tableText(col.Computed, s)
		if err != nil {
			return nil, err
		}
		e.typ, e.sql = col.Type, e.to(col.Type).sql
		e.base = false
		s.columns[i].expr = e
	}
	return s, nil
}

// baseColumn is a stored column.
func baseColumn(prefix string, col sqltype.Column) expr {
	return expr{sql: prefix + quote(col.Name), typ: col.Type, nullable: col.Nullable, coll: collationOf(col.Type), base: true, name: col.Name}
}

// tableText compiles T-SQL that a table's definition keeps: a default, a
// computed column. Its names are the table's columns.
func (c *compiler) tableText(sql string, s *source) (expr, error) {
	e, err := parseExpression(sql)
	if err != nil {
		return expr{}, err
	}
	at := &env{clause: "definition", noAggregate: true}
	if s != nil {
		at.sources = []*source{s}
	}
	saved := c.with
	c.with = nil
	defer func() { c.with = saved }()
	return c.expr(e, at)
}

// tableCheck compiles the text of a check constraint or a filter.
func (c *compiler) tableCheck(sql string, s *source) (string, error) {
	p, err := parsePredicate(sql)
	if err != nil {
		return "", err
	}
	saved := c.with
	c.with = nil
	defer func() { c.with = saved }()
	return c.predicate(p, &env{clause: "definition", noAggregate: true, sources: []*source{s}})
}

// stored is a table's name in SQLite, with its schema there.
func stored(t *catalog.Table) string {
	if t.Temporary {
		return "temp." + quote(t.Stored)
	}
	return "main." + quote(t.Stored)
}

// objectName is a table's name in errors.
func objectName(t *catalog.Table) string {
	if t.Schema == "" {
		return t.Name
	}
	return t.Schema + "." + t.Name
}

// rowID is the name by which SQLite knows a table's row.
func rowID(t *catalog.Table) string {
	for _, name := range []string{"rowid", "_rowid_", "oid"} {
		taken := false
		for _, col := range t.Columns {
			taken = taken || strings.EqualFold(col.Name, name)
		}
		if !taken {
			return name
		}
	}
	return "rowid"
}

// located gives an error that has no line the line of a place.
func located(err error, pos ast.Pos) error {
	var m sqltype.Message
	if errors.As(err, &m) && m.Line == 0 {
		m.Line = int32(pos.Line)
		return m
	}
	return err
}

// collationOf is the SQLite collation under which values of a type compare.
func collationOf(t sqltype.Type) string {
	switch {
	case value.IsString(t):
		return value.Collation
	case t.Kind == sqltype.DateTimeOffset:
		return value.OffsetCollation
	default:
		return ""
	}
}
