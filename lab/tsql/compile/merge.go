package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// merging is a MERGE in the making.
type merging struct {
	c      *compiler
	s      *ast.Merge
	t      *catalog.Table
	p      *Program
	w      *work
	target *source
	source []*source // of USING
	both   *env
}

// branch is a WHEN clause: its condition, what is done, the new values.
type branch struct {
	cond   string
	act    int
	values map[int]expr
}

func (c *compiler) merge(s *ast.Merge) (*Program, error) {
	t, err := c.target(s.Target, "MERGE")
	if err != nil {
		return nil, err
	}
	if s.Top != nil {
		return nil, refuse(s.Top.Pos, "MERGE TOP")
	}
	m := &merging{c: c, s: s, t: t, p: c.changing(t, "UPDATE", sqltype.CommandMerge), both: &env{clause: "MERGE", noAggregate: true}}
	m.w = c.work(t, m.p)
	m.w.verb = "MERGE"
	alias := ""
	if ref, ok := s.Target.(*ast.TableRef); ok {
		alias = ref.Alias
	}
	targetSQL, err := c.baseTable(s.Target.Position(), t, orElse(alias, t.Name), alias != "", m.both)
	if err != nil {
		return nil, err
	}
	m.target = m.both.sources[0]
	using, err := c.from([]ast.TableSource{s.Using}, m.both)
	if err != nil {
		return nil, err
	}
	m.source = m.both.sources[1:]
	on, err := c.predicate(s.On, m.both)
	if err != nil {
		return nil, err
	}
	rid := m.target.sql + rowID(t)
	matched, unmatched, missing, err := m.branches(rid)
	if err != nil {
		return nil, err
	}
	sql := m.query(append(matched, unmatched...), false, fmt.Sprintf("(%s) LEFT JOIN %s ON %s", using, targetSQL, on))
	if len(missing) > 0 {
		sql += " UNION ALL " + m.query(missing, true, fmt.Sprintf("%s WHERE NOT EXISTS (SELECT 1 FROM %s WHERE %s)", targetSQL, using, on))
	}
	m.w.before = []Step{{
		SQL:  fmt.Sprintf("SELECT 1 FROM %s WHERE act IN (%d, %d) GROUP BY rid HAVING count(*) > 1 LIMIT 1", m.w.table(), actUpdate, actDelete),
		Rows: FailOnRow, Fail: twice,
	}}
	return m.w.finish(sql, s.Output, s.OutputInto, m.outputSources())
}

// twice is error 8672.
func twice([]any) sqltype.Message {
	return sqltype.Message{Number: 8672, State: 1, Class: 16, Text: "The MERGE statement attempted to UPDATE or DELETE the same row more than once. This happens when a target row matches more than one source row. A MERGE statement cannot UPDATE/DELETE the same row of the target table multiple times. Refine the ON clause to ensure a target row matches at most one source row, or use the GROUP BY clause to group the source rows."}
}

// branches compiles the WHEN clauses by what they match.
func (m *merging) branches(rid string) (matched, unmatched, missing []branch, err error) {
	for _, when := range m.s.Whens {
		at := m.both
		switch when.Match {
		case ast.NotMatchedByTarget:
			at = &env{clause: "MERGE", noAggregate: true, sources: m.source}
		case ast.NotMatchedBySource:
			at = &env{clause: "MERGE", noAggregate: true, sources: []*source{m.target}}
		default:
		}
		b := branch{cond: "1"}
		if when.And != nil {
			if b.cond, err = m.c.predicate(when.And, at); err != nil {
				return nil, nil, nil, err
			}
		}
		if err = m.action(when, &b, at); err != nil {
			return nil, nil, nil, err
		}
		switch when.Match {
		case ast.NotMatchedByTarget:
			b.cond = rid + " IS NULL AND " + b.cond
			unmatched = append(unmatched, b)
		case ast.NotMatchedBySource:
			missing = append(missing, b)
		default:
			b.cond = rid + " IS NOT NULL AND " + b.cond
			matched = append(matched, b)
		}
	}
	return matched, unmatched, missing, nil
}

// action compiles what a WHEN clause does.
func (m *merging) action(when ast.MergeWhen, b *branch, at *env) error {
	switch {
	case when.Delete:
		b.act, m.w.deletes = actDelete, true
		return nil
	case len(when.Set) > 0:
		b.act, m.w.updates = actUpdate, true
		set, err := m.c.setting(when.Set, m.target, at, "UPDATE")
		if err != nil {
			return err
		}
		b.values = map[int]expr{}
		for _, i := range physical(m.t) {
			e, ok := set[i]
			if !ok {
				e = m.target.columns[i].expr
			}
			m.w.touched[i] = m.w.touched[i] || ok
			b.values[i] = e
		}
		return nil
	default:
		b.act, m.w.inserts = actInsert, true
		return m.insertion(when, b, at)
	}
}

func (m *merging) insertion(when ast.MergeWhen, b *branch, at *env) error {
	in := &insertion{c: m.c, t: m.t, p: m.p, s: &ast.Insert{Span: ast.Span{Pos: when.Pos}, Columns: when.Columns, DefaultValues: when.DefaultValues}}
	if err := in.list(); err != nil {
		return err
	}
	given := map[int]expr{}
	if !when.DefaultValues {
		if err := in.width(len(when.Values)); err != nil {
			return err
		}
		for i, x := range when.Values {
			var got expr
			var err error
			if _, ok := x.(*ast.DefaultValue); ok {
				got, err = m.c.defaultOf(&m.t.Columns[in.listed[i]])
			} else {
				got, err = m.c.expr(x, at)
			}
			if err != nil {
				return err
			}
			given[in.listed[i]] = got
		}
	}
	if err := in.complete(given); err != nil {
		return err
	}
	b.values = map[int]expr{}
	for k, i := range in.columns {
		b.values[i] = in.finals[k]
	}
	return nil
}

// query is the part of the work table's query for some branches; missing says
// that there is no source row.
func (m *merging) query(list []branch, missing bool, from string) string {
	choose := func(value func(b branch) string) string {
		var s strings.Builder
		s.WriteString("CASE")
		n := 0
		for _, b := range list {
			v := value(b)
			if v == "" {
				v = "NULL"
			}
			fmt.Fprintf(&s, " WHEN %s THEN %s", b.cond, v)
			n++
		}
		if n == 0 {
			return "NULL"
		}
		return s.String() + " END"
	}
	parts := []string{
		choose(func(b branch) string { return fmt.Sprint(b.act) }) + " AS act",
		m.target.sql + rowID(m.t) + " AS rid",
	}
	for _, i := range physical(m.t) {
		parts = append(parts, fmt.Sprintf("%s AS o%d", m.target.columns[i].expr.sql, i+1))
		parts = append(parts, choose(func(b branch) string { return b.values[i].sql })+fmt.Sprintf(" AS n%d", i+1))
	}
	n := 0
	for _, s := range m.source {
		for _, col := range s.columns {
			n++
			sql := col.expr.sql
			if missing {
				sql = "NULL"
			}
			parts = append(parts, fmt.Sprintf("%s AS x%d", sql, n))
		}
	}
	return "SELECT " + strings.Join(parts, ", ") + " FROM " + from
}

// outputSources are USING's columns as OUTPUT has them.
func (m *merging) outputSources() []*source {
	var out []*source
	n := 0
	for _, s := range m.source {
		copied := *s
		copied.columns = nil
		for _, col := range s.columns {
			n++
			e := col.expr
			e.sql, e.base, e.constant, e.nullable = fmt.Sprintf("w.x%d", n), false, nil, true
			col.expr = e
			copied.columns = append(copied.columns, col)
		}
		out = append(out, &copied)
	}
	return out
}
