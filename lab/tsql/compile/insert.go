package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// insertion is an INSERT in the making.
type insertion struct {
	c      *compiler
	s      *ast.Insert
	t      *catalog.Table
	p      *Program
	listed []int
	// finals are the new row's values, for each of the table's columns that
	// SQLite has; from is where they come from.
	columns []int
	finals  []expr
	from    string
}

func (c *compiler) insert(s *ast.Insert) (*Program, error) {
	t, err := c.target(s.Target, "INSERT")
	if err != nil {
		return nil, err
	}
	in := &insertion{c: c, s: s, t: t, p: c.changing(t, "INSERT", sqltype.CommandInsert)}
	if s.Execute != nil {
		return nil, refuse(s.Pos, "INSERT … EXECUTE")
	}
	if err := in.list(); err != nil {
		return nil, err
	}
	if err := in.source(); err != nil {
		return nil, err
	}
	if s.OutputInto != nil || outputQueries(s.Output) {
		return in.withWork()
	}
	return in.direct()
}

// list resolves the column list.
func (in *insertion) list() error {
	seen := map[int]bool{}
	explicit := in.c.scope.IdentityInsert != nil && in.c.scope.IdentityInsert(in.t.ObjectID)
	for _, id := range in.s.Columns {
		i, err := columnIndex(in.t, id.Pos, id.Name)
		if err != nil {
			return err
		}
		if seen[i] {
			return message(id.Pos, 264, "The column name '%s' is specified more than once in the SET clause or column list of an INSERT. A column cannot be assigned more than one value in the same clause. Modify the clause to make sure that a column is updated only once. If this statement updates or inserts columns into a view, column aliasing can conceal the duplication in your code.", id.Name)
		}
		seen[i] = true
		if in.t.Columns[i].Computed != "" {
			return message(id.Pos, 271, "The column \"%s\" cannot be modified because it is either a computed column or is the result of a UNION operator.", id.Name)
		}
		if in.t.Columns[i].Identity && !explicit {
			return message(id.Pos, 544, "Cannot insert explicit value for identity column in table '%s' when IDENTITY_INSERT is set to OFF.", in.t.Name)
		}
		in.listed = append(in.listed, i)
	}
	for i, col := range in.t.Columns {
		if in.s.Columns == nil && col.Computed == "" && !col.Identity {
			in.listed = append(in.listed, i)
		}
		if col.Identity && explicit && !seen[i] && !in.s.DefaultValues {
			if in.s.Columns == nil {
				return message(in.s.Pos, 8101, "An explicit value for the identity column in table '%s' can only be specified when a column list is used and IDENTITY_INSERT is ON.", in.c.fullName(in.t))
			}
			return message(in.s.Pos, 545, "Explicit value must be specified for identity column in table '%s' either when IDENTITY_INSERT is set to ON or when a replication user is inserting into a NOT FOR REPLICATION identity column.", in.t.Name)
		}
	}
	return nil
}

// source compiles what is inserted.
func (in *insertion) source() error {
	given := map[int]expr{}
	s := in.s
	switch {
	case s.DefaultValues:
		in.listed = nil
	case s.Query != nil:
		q, err := in.c.query(s.Query, nil, queryUse{insert: true})
		if err != nil {
			return err
		}
		if err := in.width(len(q.columns)); err != nil {
			return err
		}
		for i, n := range in.listed {
			given[n] = in.outerOf(q.columns[i].expr, i)
		}
		in.from = "(" + q.sql + ") AS src"
	case len(s.Rows) == 1:
		if err := in.width(len(s.Rows[0])); err != nil {
			return err
		}
		for i, x := range s.Rows[0] {
			got, err := in.cell(x, i)
			if err != nil {
				return err
			}
			given[in.listed[i]] = got
		}
	default:
		rows, types, err := in.c.rows(s.Pos, s.Rows, nil, func(i int) (expr, error) {
			if i >= len(in.listed) {
				return expr{}, in.width(i + 1)
			}
			return in.c.defaultOf(&in.t.Columns[in.listed[i]])
		})
		if err != nil {
			return err
		}
		if err := in.width(len(types)); err != nil {
			return err
		}
		for i, n := range in.listed {
			e := in.outerOf(types[i], i)
			e.sql = fmt.Sprintf("src.column%d", i+1)
			given[n] = e
		}
		in.from = "(VALUES " + strings.Join(rows, ", ") + ") AS src"
	}
	if err := in.top(); err != nil {
		return err
	}
	return in.complete(given)
}

func (in *insertion) outerOf(e expr, i int) expr {
	out := outer(e, i)
	out.sql = "src." + out.sql
	if e.null {
		out.null = true
	}
	return out
}

func (in *insertion) cell(x ast.Expression, i int) (expr, error) {
	if _, ok := x.(*ast.DefaultValue); ok {
		return in.c.defaultOf(&in.t.Columns[in.listed[i]])
	}
	return in.c.expr(x, &env{clause: "VALUES", noAggregate: true})
}

// width is error 213, 109, 110, 120 or 121 when there are not as many values as
// columns.
func (in *insertion) width(n int) error {
	want := len(in.listed)
	switch {
	case n == want:
		return nil
	case in.s.Columns == nil:
		return message(in.s.Pos, 213, "Column name or number of supplied values does not match table definition.")
	case in.s.Query != nil && n < want:
		return message(in.s.Pos, 120, "The select list for the INSERT statement contains fewer items than the insert list. The number of SELECT values must match the number of INSERT columns.")
	case in.s.Query != nil:
		return message(in.s.Pos, 121, "The select list for the INSERT statement contains more items than the insert list. The number of SELECT values must match the number of INSERT columns.")
	case n < want:
		return message(in.s.Pos, 109, "There are more columns in the INSERT statement than values specified in the VALUES clause. The number of values in the VALUES clause must match the number of columns specified in the INSERT statement.")
	default:
		return message(in.s.Pos, 110, "There are fewer columns in the INSERT statement than values specified in the VALUES clause. The number of values in the VALUES clause must match the number of columns specified in the INSERT statement.")
	}
}

func (in *insertion) top() error {
	if in.s.Top == nil {
		return nil
	}
	if in.s.Top.Percent {
		return refuse(in.s.Top.Pos, "INSERT TOP … PERCENT")
	}
	n, err := in.c.count(in.s.Top.Count, 1014, "A TOP or FETCH clause contains an invalid value.")
	if err != nil {
		return err
	}
	if in.from == "" {
		in.from = "(VALUES (1)) AS src"
	}
	in.from = "(SELECT * FROM " + in.from + " LIMIT " + n + ") AS src"
	return nil
}

// complete gives each column its value: the given one, the next identity, the
// default.
func (in *insertion) complete(given map[int]expr) error {
	for _, i := range physical(in.t) {
		col := &in.t.Columns[i]
		e, ok := given[i]
		switch {
		case ok && col.Identity:
			e, err := in.c.storing(in.s.Pos, in.t, col, e, "INSERT")
			if err != nil {
				return err
			}
			e.sql = fmt.Sprintf("ck_identity_seen(%d, %s)", in.t.ObjectID, e.sql)
			in.p.Identity = true
			in.columns, in.finals = append(in.columns, i), append(in.finals, e)
			continue
		case ok:
		case col.Identity:
			id := expr{sql: fmt.Sprintf("ck_identity(%d)", in.t.ObjectID), typ: col.Type, single: true}
			if col.Type.Kind == sqltype.Decimal {
				return refuse(in.s.Pos, "IDENTITY of type decimal")
			}
			in.p.Identity = true
			in.columns, in.finals = append(in.columns, i), append(in.finals, id)
			continue
		default:
			var err error
			if e, err = in.c.defaultOf(col); err != nil {
				return err
			}
		}
		got, err := in.c.storing(in.s.Pos, in.t, col, e, "INSERT")
		if err != nil {
			return err
		}
		in.columns, in.finals = append(in.columns, i), append(in.finals, got)
	}
	return nil
}

// selecting is the query of the new rows, their columns called n1, n2 ….
func (in *insertion) selecting() string {
	parts := make([]string, len(in.finals))
	for k, e := range in.finals {
		parts[k] = fmt.Sprintf("%s AS n%d", e.sql, in.columns[k]+1)
	}
	sql := "SELECT " + strings.Join(parts, ", ")
	if in.from != "" {
		sql += " FROM " + in.from
	}
	// With a limit SQLite neither merges this query with the one about it nor
	// evaluates its values twice.
	return sql + " LIMIT -1"
}

// direct inserts with one statement.
func (in *insertion) direct() (*Program, error) {
	row, err := in.c.rowSource(in.t, "", func(i int) string { return fmt.Sprintf("r.n%d", i+1) })
	if err != nil {
		return nil, err
	}
	guards, err := in.c.guards(in.t, row, "INSERT", nil)
	if err != nil {
		return nil, err
	}
	into := "INSERT INTO " + stored(in.t) + " (" + columnNames(in.t, in.columns) + ") "
	sql := into
	switch {
	case len(guards) > 0:
		parts := make([]string, len(in.columns))
		for k, i := range in.columns {
			parts[k] = fmt.Sprintf("r.n%d", i+1)
		}
		sql += "SELECT " + strings.Join(parts, ", ") + " FROM (" + in.selecting() + ") AS r WHERE " + strings.Join(guards, " AND ") + " LIMIT -1"
	case in.from == "":
		parts := make([]string, len(in.finals))
		for k, e := range in.finals {
			parts[k] = e.sql
		}
		sql += "VALUES (" + strings.Join(parts, ", ") + ")"
	default:
		sql += in.selecting()
	}
	step := Step{SQL: sql, Counts: true}
	if in.s.Output != nil {
		if err := in.returning(&step); err != nil {
			return nil, err
		}
	}
	step.Binds = in.c.binds
	if step.Diagnose, err = in.c.diagnose(in.t, "WITH w AS ("+in.diagnosed()+") ", "w", "1"); err != nil {
		return nil, err
	}
	in.p.Steps = append(in.p.Steps, step)
	return in.p, in.selfReferences()
}

// diagnosed is the query of the new rows for diagnosis: it must not take
// identity values, which are new in any case.
func (in *insertion) diagnosed() string {
	saved := in.finals
	in.finals = append([]expr{}, saved...)
	for k, e := range in.finals {
		if strings.HasPrefix(e.sql, "ck_identity(") {
			in.finals[k].sql = "randomblob(16)" // equal to no other
		}
	}
	sql := in.selecting()
	in.finals = saved
	return sql
}

// returning is OUTPUT to the client by way of RETURNING.
func (in *insertion) returning(step *Step) error {
	row, err := in.c.rowSource(in.t, "inserted", func(i int) string { return quote(in.t.Columns[i].Name) })
	if err != nil {
		return err
	}
	return in.c.returning(in.p, step, in.s.Output, row)
}

// returning adds an OUTPUT clause to a step as RETURNING.
func (c *compiler) returning(p *Program, step *Step, o *ast.Output, rows ...*source) error {
	q, err := c.outputList(o, rows...)
	if err != nil {
		return err
	}
	p.Columns = q.result()
	step.Types, step.Rows = q.types(), ReturnRows
	step.SQL += " RETURNING " + strings.TrimPrefix(q.sql, "SELECT ")
	return nil
}

// outputList compiles the items of an OUTPUT clause.
func (c *compiler) outputList(o *ast.Output, rows ...*source) (*compiled, error) {
	q := &selection{c: c, s: &ast.Select{Pos: o.Pos, Items: o.Items}, at: &env{clause: "OUTPUT", noAggregate: true, sources: rows}}
	if err := q.list(); err != nil {
		return nil, err
	}
	for i := range q.columns {
		q.columns[i].identity = false
	}
	return &compiled{sql: "SELECT " + strings.Join(q.items, ", "), columns: q.columns}, nil
}

// selfReferences checks foreign keys from the table to itself once the rows
// are in.
func (in *insertion) selfReferences() error {
	steps, err := in.c.selfChecks(in.t, "INSERT")
	in.p.Steps = append(in.p.Steps, steps...)
	return err
}

// selfChecks are steps that check the whole table's foreign keys to itself.
func (c *compiler) selfChecks(t *catalog.Table, verb string) ([]Step, error) {
	var out []Step
	for i := range t.ForeignKeys {
		fk := &t.ForeignKeys[i]
		if !selfReference(t, fk) {
			continue
		}
		step, err := c.orphans(t, fk, t, c.conflict(verb, "FOREIGN KEY SAME TABLE", fk.Name, t, fk.RefCols))
		if err != nil {
			return nil, err
		}
		out = append(out, step)
	}
	return out, nil
}

// orphans is a step that fails when some row's foreign key has no row.
func (c *compiler) orphans(t *catalog.Table, fk *catalog.ForeignKey, parent *catalog.Table, words string) (Step, error) {
	a := c.alias()
	row, err := c.tableSource(t, "", a+".")
	if err != nil {
		return Step{}, err
	}
	cond, err := c.references(t, fk, parent, row)
	if err != nil {
		return Step{}, err
	}
	return failing(fmt.Sprintf("SELECT 1 FROM %s AS %s WHERE NOT %s LIMIT 1", stored(t), a, cond), c.binds, words), nil
}

// failing is a step whose first row is error 547.
func failing(sql string, binds []Bind, words string) Step {
	return Step{SQL: sql, Binds: binds, Rows: FailOnRow, Fail: func([]any) sqltype.Message {
		return sqltype.Message{Number: 547, State: 0, Class: 16, Text: words}
	}}
}

// outputQueries says whether an OUTPUT clause has subqueries.
func outputQueries(o *ast.Output) bool {
	if o == nil {
		return false
	}
	for _, item := range o.Items {
		if item.Expr != nil && hasQuery(item.Expr) {
			return true
		}
	}
	return false
}

// withWork inserts by way of a work table.
func (in *insertion) withWork() (*Program, error) {
	w := in.c.work(in.t, in.p)
	w.verb, w.inserts = "INSERT", true
	sql := fmt.Sprintf("SELECT 1 AS act, NULL AS rid, r.* FROM (%s) AS r", in.selecting())
	return w.finish(sql, in.s.Output, in.s.OutputInto, nil)
}
