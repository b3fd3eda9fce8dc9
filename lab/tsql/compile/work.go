package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// What is done with a row of a work table.
const (
	actInsert = 1
	actUpdate = 2
	actDelete = 3
)

// work is a change by way of a temporary table, which holds for each row what
// is to be done (act), the row's number (rid), its old values (o1, o2 …) and
// its new ones (n1, n2 …): so all is known before anything is changed, keys
// are unique only when all rows are in, and OUTPUT can show both sides.
type work struct {
	c       *compiler
	t       *catalog.Table
	p       *Program
	name    string
	verb    string
	inserts bool
	updates bool
	deletes bool
	touched map[int]bool // columns that are updated
	depth   int          // of cascades
	silent  bool         // its rows are not the statement's
	before  []Step       // checks of the work table
	assign  *Step        // UPDATE's SET of variables
}

// maxCascade is how deep deletions may cascade; SQL Server refuses cycles.
const maxCascade = 16

func (c *compiler) work(t *catalog.Table, p *Program) *work {
	return &work{c: c, t: t, p: p, name: "ck_work", touched: map[int]bool{}}
}

func (w *work) table() string { return "temp." + w.name }

func (w *work) add(sql string, counts bool) *Step {
	w.p.Steps = append(w.p.Steps, Step{SQL: sql, Binds: w.c.binds, Counts: counts && !w.silent})
	return &w.p.Steps[len(w.p.Steps)-1]
}

// finish carries the change out: sql is the work table's query; extra are the
// sources that OUTPUT sees beside INSERTED and DELETED.
func (w *work) finish(sql string, output, into *ast.Output, extra []*source) (*Program, error) {
	w.add("DROP TABLE IF EXISTS "+w.table(), false)
	w.add("CREATE TABLE "+w.table()+" AS "+sql, false)
	w.p.Steps = append(w.p.Steps, w.before...)
	if err := w.apply(); err != nil {
		return nil, err
	}
	if w.assign != nil {
		w.p.Steps = append(w.p.Steps, *w.assign)
	}
	for _, o := range []*ast.Output{into, output} {
		if o == nil {
			continue
		}
		if err := w.output(o, extra); err != nil {
			return nil, err
		}
	}
	w.add("DROP TABLE "+w.table(), false)
	// Binds may have been added since the first step was written.
	for i := range w.p.Steps {
		w.p.Steps[i].Binds = w.c.binds
		for k := range w.p.Steps[i].Diagnose {
			w.p.Steps[i].Diagnose[k].Binds = w.c.binds
		}
	}
	return w.p, nil
}

// apply checks and changes.
func (w *work) apply() error {
	if w.inserts || w.updates {
		if err := w.checks(); err != nil {
			return err
		}
	}
	rid := rowID(w.t)
	if w.deletes {
		w.add(fmt.Sprintf("DELETE FROM %s WHERE %s IN (SELECT rid FROM %s WHERE act = %d)", stored(w.t), rid, w.table(), actDelete), true)
	}
	if w.updates {
		if err := w.update(rid); err != nil {
			return err
		}
	}
	if w.inserts {
		if err := w.insert(actInsert, false, true); err != nil {
			return err
		}
	}
	return w.keys()
}

// checks are the check constraints and foreign keys of new rows.
func (w *work) checks() error {
	row, err := w.c.rowSource(w.t, "", func(i int) string { return fmt.Sprintf("w.n%d", i+1) })
	if err != nil {
		return err
	}
	touched := w.touched
	if w.inserts {
		touched = nil
	}
	guards, err := w.c.guards(w.t, row, w.verb, touched)
	if err != nil || len(guards) == 0 {
		return err
	}
	w.add(fmt.Sprintf("SELECT count(*) FROM %s AS w WHERE act IN (%d, %d) AND %s", w.table(), actInsert, actUpdate, strings.Join(guards, " AND ")), false)
	return nil
}

// update writes the new values; when a key is among them the rows are taken
// out and put in again, since SQLite looks at keys row by row.
func (w *work) update(rid string) error {
	list, err := uniques(w.t)
	if err != nil {
		return err
	}
	keys := false
	for _, k := range list {
		for _, n := range k.columns {
			keys = keys || w.touched[n] || w.t.Columns[n].Computed != ""
		}
		keys = keys || k.where != ""
	}
	if keys {
		w.add(fmt.Sprintf("DELETE FROM %s WHERE %s IN (SELECT rid FROM %s WHERE act = %d)", stored(w.t), rid, w.table(), actUpdate), false)
		return w.insert(actUpdate, integerKey(w.t) < 0, true)
	}
	var sets []string
	for _, i := range physical(w.t) {
		if w.touched[i] {
			sets = append(sets, fmt.Sprintf("%s = w.n%d", quote(w.t.Columns[i].Name), i+1))
		}
	}
	w.add(fmt.Sprintf("UPDATE %s AS t SET %s FROM %s AS w WHERE t.%s = w.rid AND w.act = %d", stored(w.t), strings.Join(sets, ", "), w.table(), rid, actUpdate), true)
	return nil
}

// insert puts the rows of an act in, under their old number if asked.
func (w *work) insert(act int, numbered, counts bool) error {
	columns := physical(w.t)
	names, values := columnNames(w.t, columns), make([]string, len(columns))
	for k, i := range columns {
		values[k] = fmt.Sprintf("n%d", i+1)
	}
	all := strings.Join(values, ", ")
	if numbered {
		names, all = rowID(w.t)+", "+names, "rid, "+all
	}
	diagnose, err := w.c.diagnose(w.t, "", w.table(), fmt.Sprintf("$.act IN (%d, %d)", actInsert, actUpdate))
	if err != nil {
		return err
	}
	step := w.add(fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s WHERE act = %d", stored(w.t), names, all, w.table(), act), counts)
	step.Diagnose = diagnose
	return nil
}

// keys checks foreign keys once the rows are changed: of the table to itself,
// and of other tables to rows that are gone.
func (w *work) keys() error {
	if w.inserts || w.updates {
		steps, err := w.c.selfChecks(w.t, w.verb)
		if err != nil {
			return err
		}
		w.p.Steps = append(w.p.Steps, steps...)
	}
	if !w.deletes && !w.updates {
		return nil
	}
	for _, child := range w.c.referencing(w.t) {
		for i := range child.ForeignKeys {
			fk := &child.ForeignKeys[i]
			if !sameName(fk.RefSchema, w.t.Schema) || !sameName(fk.RefTable, w.t.Name) {
				continue
			}
			if err := w.key(child, fk); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *compiler) referencing(t *catalog.Table) []*catalog.Table {
	if c.scope.Referencing == nil || t.Temporary {
		return nil
	}
	return c.scope.Referencing(t)
}

// key sees to the rows of a table whose foreign key refers to rows that are
// gone.
func (w *work) key(child *catalog.Table, fk *catalog.ForeignKey) error {
	a := w.c.alias()
	row, err := w.c.tableSource(child, "", a+".")
	if err != nil {
		return err
	}
	gone, touched, err := w.gone(child, fk, row)
	if err != nil {
		return err
	}
	here, err := w.c.references(child, fk, w.t, row)
	if err != nil {
		return err
	}
	if w.deletes && fk.OnDelete != "" && fk.OnDelete != "NO_ACTION" {
		if err := w.cascade(child, fk, row, a, gone+" AND NOT "+here); err != nil {
			return err
		}
	}
	if !w.deletes && !touched {
		return nil
	}
	kind := "REFERENCE"
	if selfReference(child, fk) {
		kind = "SAME TABLE REFERENCE"
	}
	words := w.c.conflict(w.verb, kind, fk.Name, child, fk.Columns)
	w.p.Steps = append(w.p.Steps, failing(fmt.Sprintf("SELECT 1 FROM %s AS %s WHERE %s AND NOT %s LIMIT 1", stored(child), a, gone, here), w.c.binds, words))
	return nil
}

// gone is the condition that a child's row refers to a row that the change
// took away; touched says whether an update may do that.
func (w *work) gone(child *catalog.Table, fk *catalog.ForeignKey, row *source) (cond string, touched bool, err error) {
	var equals []string
	for i, name := range fk.Columns {
		n, err := columnIndex(child, ast.Pos{}, name)
		if err != nil {
			return "", false, err
		}
		p, err := columnIndex(w.t, ast.Pos{}, fk.RefCols[i])
		if err != nil {
			return "", false, err
		}
		touched = touched || w.touched[p]
		old := baseColumn("w.", w.t.Columns[p].Column)
		old.sql, old.base = fmt.Sprintf("w.o%d", p+1), false
		equal, err := compare(ast.Pos{}, "=", row.columns[n].expr, old)
		if err != nil {
			return "", false, err
		}
		equals = append(equals, equal)
	}
	return fmt.Sprintf("EXISTS (SELECT 1 FROM %s AS w WHERE w.act IN (%d, %d) AND %s)", w.table(), actUpdate, actDelete, strings.Join(equals, " AND ")), touched, nil
}

// cascade deletes or empties the rows of a child.
func (w *work) cascade(child *catalog.Table, fk *catalog.ForeignKey, row *source, a, where string) error {
	if w.depth >= maxCascade {
		return refuse(ast.Pos{}, "ON DELETE CASCADE deeper than 16 tables")
	}
	next := &work{c: w.c, t: child, p: w.p, name: fmt.Sprintf("ck_work%s", w.c.alias()), verb: w.verb, touched: map[int]bool{}, depth: w.depth + 1, silent: true}
	act := actDelete
	fill := map[int]expr{}
	if fk.OnDelete != "CASCADE" {
		act = actUpdate
		for _, name := range fk.Columns {
			n, err := columnIndex(child, ast.Pos{}, name)
			if err != nil {
				return err
			}
			e := expr{sql: "NULL", typ: child.Columns[n].Type, null: true, nullable: true}
			if fk.OnDelete == "SET_DEFAULT" {
				if e, err = w.c.defaultOf(&child.Columns[n]); err != nil {
					return err
				}
			}
			if fill[n], err = w.c.storing(ast.Pos{}, child, &child.Columns[n], e, "UPDATE"); err != nil {
				return err
			}
			next.touched[n] = true
		}
	}
	next.deletes, next.updates = act == actDelete, act == actUpdate
	parts := []string{fmt.Sprintf("%d AS act, %s.%s AS rid", act, a, rowID(child))}
	for _, i := range physical(child) {
		parts = append(parts, fmt.Sprintf("%s AS o%d", row.columns[i].expr.sql, i+1))
		if act == actUpdate {
			e, ok := fill[i]
			if !ok {
				e = row.columns[i].expr
			}
			parts = append(parts, fmt.Sprintf("%s AS n%d", e.sql, i+1))
		}
	}
	next.add("DROP TABLE IF EXISTS "+next.table(), false)
	next.add(fmt.Sprintf("CREATE TABLE %s AS SELECT %s FROM %s AS %s WHERE %s", next.table(), strings.Join(parts, ", "), stored(child), a, where), false)
	if err := next.apply(); err != nil {
		return err
	}
	next.add("DROP TABLE "+next.table(), false)
	return nil
}

// output sends or stores what an OUTPUT clause asks for.
func (w *work) output(o *ast.Output, extra []*source) error {
	var rows []*source
	if w.inserts || w.updates {
		s, err := w.c.rowSource(w.t, "inserted", func(i int) string { return fmt.Sprintf("w.n%d", i+1) })
		if err != nil {
			return err
		}
		rows = append(rows, s)
	}
	if w.deletes || w.updates {
		s, err := w.c.rowSource(w.t, "deleted", func(i int) string { return fmt.Sprintf("w.o%d", i+1) })
		if err != nil {
			return err
		}
		rows = append(rows, s)
	}
	if w.verb == "MERGE" {
		makeNullable(rows)
		action := fmt.Sprintf("CASE w.act WHEN %d THEN 'INSERT' WHEN %d THEN 'UPDATE' ELSE 'DELETE' END", actInsert, actUpdate)
		rows = append(rows, &source{name: "$", use: -1, columns: []column{{name: "$action", hidden: true, expr: expr{sql: action, typ: sqltype.Type{Kind: sqltype.NVarChar, Length: 10}, coll: collationOf(sqltype.Type{Kind: sqltype.NVarChar}), name: "$action"}}}})
	}
	q, err := w.c.outputList(o, append(rows, extra...)...)
	if err != nil {
		return err
	}
	from := fmt.Sprintf(" FROM %s AS w WHERE w.act IN (%d, %d, %d)", w.table(), actInsert, actUpdate, actDelete)
	if o.Into == nil {
		w.p.Columns = q.result()
		step := w.add(q.sql+from, false)
		step.Rows, step.Types = ReturnRows, q.types()
		return nil
	}
	return w.outputInto(o, q, from)
}

// outputInto inserts an OUTPUT clause's rows into a table.
func (w *work) outputInto(o *ast.Output, q *compiled, from string) error {
	t, err := w.c.target(o.Into, "OUTPUT INTO")
	if err != nil {
		return err
	}
	if len(t.ForeignKeys) > 0 || len(t.Checks) > 0 {
		return message(o.Pos, 332, "The target table '%s' of the OUTPUT INTO clause cannot have any enabled check constraints or any enabled rules. Found check constraint or rule.", objectName(t))
	}
	w.c.changing(t, "INSERT", 0)
	in := &insertion{c: w.c, s: &ast.Insert{Span: ast.Span{Pos: o.Pos}, Columns: o.Columns}, t: t, p: w.p}
	if err := in.list(); err != nil {
		return err
	}
	if err := in.width(len(q.columns)); err != nil {
		return err
	}
	given := map[int]expr{}
	for i, n := range in.listed {
		given[n] = in.outerOf(q.columns[i].expr, i)
	}
	in.from = "(" + q.sql + from + ") AS src"
	identity := w.p.Identity
	if err := in.complete(given); err != nil {
		return err
	}
	w.p.Identity = identity
	w.p.Writes = w.p.Writes || !t.Temporary
	w.add("INSERT INTO "+stored(t)+" ("+columnNames(t, in.columns)+") "+in.selecting(), false)
	return nil
}
