package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// changeSource is the FROM clause of an UPDATE or DELETE, with its target in
// it.
type changeSource struct {
	at     *env
	from   string
	target *source
	where  string
	joined bool // a row of the target may turn up more than once
	// through are the columns of a common table that are the target's own;
	// nil when the target is not changed by way of one.
	through map[string]bool
}

// changeFrom compiles FROM and WHERE of an UPDATE or DELETE.
func (c *compiler) changeFrom(target ast.TableSource, from []ast.TableSource, where ast.Predicate, verb string) (*changeSource, error) {
	if ref, ok := target.(*ast.TableRef); ok && len(from) == 0 && ref.Name.Schema == "" {
		if def, scope := c.with.find(ref.Name.Object); def != nil {
			return c.changeCommon(ref, def, scope, where, verb)
		}
	}
	out := &changeSource{at: &env{clause: "WHERE", noAggregate: true}}
	if len(from) > 0 {
		sql, err := c.from(from, out.at)
		if err != nil {
			return nil, err
		}
		out.from, out.joined = sql, true
		if out.target, err = c.targetIn(target, out.at); err != nil {
			return nil, err
		}
	}
	if out.target == nil {
		t, err := c.target(target, verb)
		if err != nil {
			return nil, err
		}
		alias := ""
		if ref, ok := target.(*ast.TableRef); ok {
			alias = ref.Alias
		}
		sql, err := c.baseTable(target.Position(), t, orElse(alias, t.Name), alias != "", out.at)
		if err != nil {
			return nil, err
		}
		out.target = out.at.sources[len(out.at.sources)-1]
		if out.from != "" {
			sql = out.from + " JOIN " + sql
		}
		out.from = sql
	}
	if where != nil {
		var err error
		if out.where, err = c.predicate(where, out.at); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// targetIn finds the target of a change in its FROM clause, by its alias or by
// its name.
func (c *compiler) targetIn(target ast.TableSource, at *env) (*source, error) {
	name, schema := "", ""
	switch t := target.(type) {
	case *ast.TableRef:
		name, schema = t.Name.Object, t.Name.Schema
	case *ast.TableVariable:
		name = t.Name
	}
	for _, s := range at.sources {
		if schema == "" && sameName(s.name, name) {
			if s.table == nil {
				return nil, refuse(target.Position(), "change of a view or derived table")
			}
			return s, nil
		}
	}
	var found *source
	for _, s := range at.sources {
		if s.table != nil && sameName(s.table.Name, name) && (schema == "" || sameName(s.table.Schema, schema)) {
			if found != nil {
				return nil, message(target.Position(), 8154, "The table '%s' is ambiguous.", name)
			}
			found = s
		}
	}
	return found, nil
}

// setting is UPDATE's SET, or MERGE's: the new value of each column that is
// set.
func (c *compiler) setting(list []ast.Assignment, s *source, e *env, verb string) (map[int]expr, error) {
	t := s.table
	out := map[int]expr{}
	at := *e
	at.clause = "SET"
	for _, a := range list {
		if a.Column == nil {
			continue // a variable alone
		}
		if a.Column.Table != nil && !c.names(*a.Column.Table, s) && !sameName(a.Column.Table.Object, t.Name) {
			return nil, message(a.Pos, 4104, "The multi-part identifier \"%s\" could not be bound.", multi(*a.Column.Table, a.Column.Column))
		}
		i, err := columnIndex(t, a.Column.Pos, a.Column.Column)
		if err != nil {
			return nil, err
		}
		col := &t.Columns[i]
		switch {
		case col.Identity:
			return nil, message(a.Pos, 8102, "Cannot update identity column '%s'.", col.Name)
		case col.Computed != "":
			return nil, message(a.Pos, 271, "The column \"%s\" cannot be modified because it is either a computed column or is the result of a UNION operator.", col.Name)
		}
		if _, twice := out[i]; twice {
			return nil, message(a.Pos, 264, "The column name '%s' is specified more than once in the SET clause or column list of an INSERT. A column cannot be assigned more than one value in the same clause. Modify the clause to make sure that a column is updated only once. If this statement updates or inserts columns into a view, column aliasing can conceal the duplication in your code.", col.Name)
		}
		var got expr
		if _, ok := a.Value.(*ast.DefaultValue); ok {
			got, err = c.defaultOf(col)
		} else {
			got, err = c.expr(a.Value, &at)
		}
		if err != nil {
			return nil, err
		}
		if a.Op != "" {
			if got, err = operate(a.Pos, a.Op, s.columns[i].expr, got); err != nil {
				return nil, err
			}
		}
		if out[i], err = c.storing(a.Pos, t, col, got, verb); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *compiler) update(s *ast.Update) (*Program, error) {
	if s.CurrentOf != "" {
		return nil, refuse(s.Pos, "WHERE CURRENT OF")
	}
	src, err := c.changeFrom(s.Target, s.From, s.Where, "UPDATE")
	if err != nil {
		return nil, err
	}
	t := src.target.table
	p := c.changing(t, "UPDATE", sqltype.CommandUpdate)
	set, err := c.setting(s.Set, src.target, src.at, "UPDATE")
	if err != nil {
		return nil, err
	}
	for i := range set {
		if src.through != nil && !contains(keysOf(src.through), t.Columns[i].Name) {
			return nil, message(s.Pos, 4406, "Update or insert of view or function '%s' failed because it contains a derived or constant field.", src.target.name)
		}
	}
	if !src.joined && c.simpleUpdate(s, t, set) {
		return c.updateDirect(s, p, src, set)
	}
	w := c.work(t, p)
	w.verb, w.updates = "UPDATE", true
	if len(set) == 0 {
		return nil, refuse(s.Pos, "UPDATE … SET of variables alone")
	}
	parts := []string{fmt.Sprintf("%d AS act, %s%s AS rid", actUpdate, src.target.sql, rowID(t))}
	for _, i := range physical(t) {
		now := src.target.columns[i].expr
		next, ok := set[i]
		if !ok {
			next = now
		}
		w.touched[i] = ok
		parts = append(parts, fmt.Sprintf("%s AS o%d, %s AS n%d", now.sql, i+1, next.sql, i+1))
	}
	variables, err := c.setVariables(s.Set, src)
	if err != nil {
		return nil, err
	}
	parts = append(parts, variables.parts...)
	w.assign = variables.step(w.table())
	sql, extra, err := c.changed(src, parts, s.Top, s.Output != nil || s.OutputInto != nil)
	if err != nil {
		return nil, err
	}
	return w.finish(sql, s.Output, s.OutputInto, extra)
}

func keysOf(m map[string]bool) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}

// changed is the query of the work table of an UPDATE or DELETE; extra are the
// other tables' columns for OUTPUT, as it has them.
func (c *compiler) changed(src *changeSource, parts []string, top *ast.Top, output bool) (string, []*source, error) {
	var extra []*source
	n := 0
	for _, s := range src.at.sources {
		if s == src.target || !output || src.through != nil {
			continue
		}
		copied := *s
		copied.columns = nil
		for _, col := range s.columns {
			n++
			parts = append(parts, fmt.Sprintf("%s AS x%d", col.expr.sql, n))
			e := col.expr
			e.sql, e.base, e.constant = fmt.Sprintf("w.x%d", n), false, nil
			col.expr = e
			copied.columns = append(copied.columns, col)
		}
		extra = append(extra, &copied)
	}
	sql := "SELECT " + strings.Join(parts, ", ") + " FROM " + src.from + " WHERE "
	rid := src.target.sql + rowID(src.target.table)
	if src.where != "" {
		sql += src.where + " AND "
	}
	sql += rid + " IS NOT NULL"
	if src.joined {
		sql += " GROUP BY " + rid
	}
	if top != nil {
		if top.Percent {
			return "", nil, refuse(top.Pos, "TOP … PERCENT of a change")
		}
		limit, err := c.count(top.Count, 1014, "A TOP or FETCH clause contains an invalid value.")
		if err != nil {
			return "", nil, err
		}
		sql += " LIMIT " + limit
	}
	return sql, extra, nil
}

// simpleUpdate says whether one UPDATE of SQLite does it: its values come from
// the row itself, and no key is at stake.
func (c *compiler) simpleUpdate(s *ast.Update, t *catalog.Table, set map[int]expr) bool {
	if len(s.From) > 0 || s.Top != nil || s.OutputInto != nil || outputQueries(s.Output) {
		return false
	}
	for _, a := range s.Set {
		if a.Variable != "" || hasQuery(a.Value) {
			return false
		}
	}
	if s.Output != nil && outputMentions(s.Output, "deleted") {
		return false
	}
	list, err := uniques(t)
	if err != nil {
		return false
	}
	for _, k := range list {
		if k.where != "" {
			return false
		}
		for _, n := range k.columns {
			if _, ok := set[n]; ok || t.Columns[n].Computed != "" {
				return false
			}
		}
	}
	for i := range t.ForeignKeys {
		if selfReference(t, &t.ForeignKeys[i]) {
			return false
		}
	}
	// A key that others refer to is unique, so it has been found above.
	return true
}

// outputMentions says whether an OUTPUT clause names one of its two tables.
func outputMentions(o *ast.Output, table string) bool {
	found := false
	for _, item := range o.Items {
		if item.Star && item.Table != nil && sameName(item.Table.Object, table) {
			found = true
		}
		if item.Expr == nil {
			continue
		}
		walk(item.Expr, func(n ast.Node) bool {
			if ref, ok := n.(*ast.ColumnRef); ok && ref.Table != nil && sameName(ref.Table.Object, table) {
				found = true
			}
			return true
		})
	}
	return found
}

func (c *compiler) updateDirect(s *ast.Update, p *Program, src *changeSource, set map[int]expr) (*Program, error) {
	t := src.target.table
	row, err := c.rowSource(t, "", func(i int) string {
		if e, ok := set[i]; ok {
			return "(" + e.sql + ")"
		}
		return src.target.columns[i].expr.sql
	})
	if err != nil {
		return nil, err
	}
	touched := map[int]bool{}
	for i := range set {
		touched[i] = true
	}
	guards, err := c.guards(t, row, "UPDATE", touched)
	if err != nil {
		return nil, err
	}
	var sets []string
	for _, i := range physical(t) {
		e, ok := set[i]
		if !ok {
			continue
		}
		sql := e.sql
		if len(guards) > 0 && len(sets) == 0 {
			sql = "CASE WHEN " + strings.Join(guards, " AND ") + " THEN " + sql + " END"
		}
		sets = append(sets, quote(t.Columns[i].Name)+" = "+sql)
	}
	step := Step{SQL: "UPDATE " + src.from + " SET " + strings.Join(sets, ", "), Counts: true}
	if src.where != "" {
		step.SQL += " WHERE " + src.where
	}
	if s.Output != nil {
		inserted, err := c.rowSource(t, "inserted", func(i int) string { return quote(t.Columns[i].Name) })
		if err != nil {
			return nil, err
		}
		if err := c.returning(p, &step, s.Output, inserted); err != nil {
			return nil, err
		}
	}
	step.Binds = c.binds
	p.Steps = append(p.Steps, step)
	return p, nil
}
