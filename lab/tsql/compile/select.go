package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// selection is a SELECT in the making.
type selection struct {
	c       *compiler
	s       *ast.Select
	use     queryUse
	at      *env
	from    string
	where   string
	groups  []string
	having  string
	columns []output
	items   []string
	order   []string // ORDER BY's elements
	keys    []string // and what they sort by, without direction
	byName  []bool   // whether that is an output column
}

func (c *compiler) selectQuery(s *ast.Select, orderBy []ast.OrderItem, limit string, e *env, use queryUse) (*compiled, error) {
	q := &selection{c: c, s: s, use: use, at: &env{parent: e, clause: "SELECT"}}
	if s.Into != nil && !use.statement {
		return nil, message(s.Pos, 156, "Incorrect syntax near the keyword 'INTO'.")
	}
	var err error
	if q.from, err = c.from(s.From, q.at); err != nil {
		return nil, err
	}
	if s.Where != nil {
		at := *q.at
		at.noAggregate, at.clause = true, "WHERE"
		if q.where, err = c.predicate(s.Where, &at); err != nil {
			return nil, err
		}
	}
	if err := q.group(orderBy); err != nil {
		return nil, err
	}
	if err := q.list(); err != nil {
		return nil, err
	}
	if s.Having != nil {
		at := *q.at
		at.clause = "HAVING"
		if q.having, err = c.predicate(s.Having, &at); err != nil {
			return nil, err
		}
	}
	if err := q.sort(orderBy); err != nil {
		return nil, err
	}
	return q.finish(limit)
}

// group compiles GROUP BY, and makes the query one that groups when it has
// aggregates.
func (q *selection) group(orderBy []ast.OrderItem) error {
	grouped := map[string]bool{}
	at := *q.at
	at.noAggregate, at.clause = true, "GROUP BY"
	for _, g := range q.s.GroupBy {
		switch g.Kind {
		case ast.GroupExpression:
		case ast.GroupRollup:
			return refuse(g.Pos, "ROLLUP")
		case ast.GroupCube:
			return refuse(g.Pos, "CUBE")
		case ast.GroupSets:
			return refuse(g.Pos, "GROUPING SETS")
		default:
			return refuse(g.Pos, "GROUP BY ()")
		}
		switch g.Expr.(type) {
		case *ast.Literal, *ast.Variable:
			return message(g.Pos, 164, "Each GROUP BY expression must contain at least one column that is not an outer reference.")
		case *ast.Subquery:
			return message(g.Pos, 144, "Cannot use an aggregate or a subquery in an expression used for the group by list of a GROUP BY clause.")
		}
		got, err := q.c.expr(g.Expr, &at)
		if err != nil {
			return err
		}
		grouped[got.sql] = true
		q.groups = append(q.groups, got.keyed())
	}
	groups := len(q.s.GroupBy) > 0 || q.s.Having != nil
	for _, item := range q.s.Items {
		groups = groups || item.Expr != nil && hasAggregate(item.Expr)
	}
	for _, item := range orderBy {
		groups = groups || hasAggregate(item.Expr)
	}
	if groups {
		q.at.grouped = grouped
	}
	return nil
}

// list compiles the select list.
func (q *selection) list() error {
	q.at.windowed = true
	q.c.sets = q.settingOf()
	defer func() { q.c.sets = nil }()
	assigns := 0
	for _, item := range q.s.Items {
		if item.Star {
			if err := q.star(item); err != nil {
				return err
			}
			continue
		}
		got, err := q.c.expr(item.Expr, q.at)
		if err != nil {
			return err
		}
		out := output{name: item.Alias, expr: got}
		if ref, ok := item.Expr.(*ast.ColumnRef); ok {
			if out.name == "" {
				out.name = got.name
			}
			out.identity, out.readOnly = q.columnFacts(ref)
		}
		if item.Variable != "" {
			assigns++
			if out, err = q.assignment(item, got); err != nil {
				return err
			}
		}
		q.add(out)
	}
	switch {
	case assigns > 0 && !q.use.statement:
		return message(q.s.Pos, 102, "Incorrect syntax near '='.")
	case assigns > 0 && assigns < len(q.s.Items):
		return message(q.s.Pos, 141, "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval operations.")
	}
	return nil
}

// columnFacts says whether a column is an identity or computed.
func (q *selection) columnFacts(ref *ast.ColumnRef) (identity, readOnly bool) {
	for _, s := range q.at.sources {
		if ref.Table != nil && !q.c.names(*ref.Table, s) {
			continue
		}
		for _, col := range s.columns {
			if strings.EqualFold(col.name, ref.Column) {
				return col.identity, col.computed
			}
		}
	}
	return false, false
}

func (q *selection) add(out output) {
	q.columns = append(q.columns, out)
	n := len(q.columns)
	sql := out.expr.sql
	if q.s.Distinct {
		sql = out.expr.collated()
	}
	q.items = append(q.items, fmt.Sprintf("%s AS c%d", sql, n))
}

func (q *selection) star(item ast.SelectItem) error {
	found := false
	for _, s := range q.at.sources {
		if item.Table != nil && !q.c.names(*item.Table, s) {
			continue
		}
		found = true
		for _, col := range s.columns {
			if col.hidden {
				continue
			}
			got, err := q.c.columnRef(&ast.ColumnRef{Pos: item.Pos, Table: &ast.Name{Schema: s.schema, Object: s.name}, Column: col.name}, q.at)
			if s.name == "" || err != nil && q.at.grouped == nil {
				// A source without a name, or with two columns of one name.
				got = col.expr
				q.c.note(s, col.name)
			} else if err != nil {
				return err
			}
			q.add(output{name: col.name, expr: got, identity: col.identity, readOnly: col.computed})
		}
	}
	switch {
	case !found && item.Table != nil:
		return message(item.Pos, 107, "The column prefix '%s' does not match with a table name or alias name used in the query.", item.Table.Object)
	case !found && !q.use.exists:
		return message(item.Pos, 263, "Must specify table to select from.")
	case !found:
		q.add(output{expr: intLiteral(1)})
	}
	return nil
}

// sort compiles ORDER BY.
func (q *selection) sort(orderBy []ast.OrderItem) error {
	at := *q.at
	at.clause = "ORDER BY"
	for i, item := range orderBy {
		key, err := q.sortKey(item, &at, i)
		if err != nil {
			return err
		}
		q.order = append(q.order, key.collate()+direction(item))
		q.keys = append(q.keys, key.keyed())
		q.byName = append(q.byName, isOutput(key.sql))
	}
	return nil
}

func (q *selection) sortKey(item ast.OrderItem, at *env, i int) (expr, error) {
	if l, ok := item.Expr.(*ast.Literal); ok {
		if l.Kind != ast.Integer {
			return expr{}, message(item.Pos, 408, "A constant expression was encountered in the ORDER BY list, position %d.", i+1)
		}
		n, err := ordinal(l, len(q.columns))
		if err != nil {
			return expr{}, err
		}
		return outer(q.columns[n-1].expr, n-1), nil
	}
	if ref, ok := item.Expr.(*ast.ColumnRef); ok && ref.Table == nil {
		found := -1
		for n, col := range q.columns {
			if !strings.EqualFold(col.name, ref.Column) {
				continue
			}
			// Ambiguous even when both are the same column of the same table.
			if found >= 0 {
				return expr{}, message(ref.Pos, 209, "Ambiguous column name '%s'.", ref.Column)
			}
			found = n
		}
		if found >= 0 {
			return outer(q.columns[found].expr, found), nil
		}
	}
	got, err := q.c.expr(item.Expr, at)
	if err != nil {
		return expr{}, err
	}
	if q.s.Distinct {
		for n, col := range q.columns {
			if col.expr.sql == got.sql {
				return outer(col.expr, n), nil
			}
		}
		return expr{}, message(item.Pos, 145, "ORDER BY items must appear in the select list if SELECT DISTINCT is specified.")
	}
	if got.constant != nil || got.null {
		return expr{}, message(item.Pos, 408, "A constant expression was encountered in the ORDER BY list, position %d.", i+1)
	}
	return got, nil
}

// finish puts the parts together.
func (q *selection) finish(limit string) (*compiled, error) {
	out := &compiled{columns: q.columns, ordered: len(q.order) > 0, into: q.s.Into}
	out.single = len(q.s.From) == 0 && len(q.s.GroupBy) == 0 || q.at.grouped != nil && len(q.s.GroupBy) == 0
	var b strings.Builder
	b.WriteString("SELECT ")
	byGroup := q.s.Distinct && looseColumns(q.columns)
	if q.s.Distinct && !byGroup {
		b.WriteString("DISTINCT ")
	}
	b.WriteString(strings.Join(q.items, ", "))
	ranked := q.s.Top != nil && (q.s.Top.Percent || q.s.Top.WithTies)
	if ranked && !q.s.Distinct {
		for i, k := range q.keys {
			if !q.byName[i] {
				fmt.Fprintf(&b, ", %s AS k%d", k, i+1)
			}
		}
	}
	whole := q.having != "" && len(q.groups) == 0
	if whole {
		// SQLite wants an aggregate in the list, beside the one of HAVING.
		b.WriteString(", count(*) AS h")
	}
	if q.use.depth != nil {
		b.WriteString(", " + q.use.depth())
	}
	if q.from != "" {
		b.WriteString(" FROM " + q.from)
	}
	if q.where != "" {
		b.WriteString(" WHERE " + q.where)
	}
	if len(q.groups) > 0 {
		b.WriteString(" GROUP BY " + strings.Join(q.groups, ", "))
	}
	if q.having != "" {
		b.WriteString(" HAVING " + q.having)
	}
	if whole {
		// One row at most: there is no order.
		inner := b.String()
		b.Reset()
		b.WriteString("SELECT " + outputNames(q.columns) + " FROM (" + inner + ")")
		q.order = nil
	}
	if byGroup {
		inner := b.String()
		b.Reset()
		b.WriteString(distinctByGroup(inner, q.columns))
	}
	if ranked {
		return q.ranked(out, b.String())
	}
	if len(q.order) > 0 {
		b.WriteString(" ORDER BY " + strings.Join(q.order, ", "))
	}
	if q.s.Top != nil {
		if limit != "" {
			return nil, message(q.s.Pos, 10741, "A TOP can not be used in the same query or sub-query as a OFFSET.")
		}
		n, err := q.c.count(q.s.Top.Count, 1014, "A TOP or FETCH clause contains an invalid value.")
		if err != nil {
			return nil, err
		}
		out.single = out.single || n == "1" || n == "0"
		limit = " LIMIT " + n
	} else if limit == "" && len(q.order) > 0 && q.use.insert {
		// SQLite drops the order of a subquery that has no limit.
		limit = " LIMIT -1"
	}
	b.WriteString(limit)
	out.sql = b.String()
	return out, nil
}

// outputNames writes the names of output columns.
func outputNames(columns []output) string {
	names := make([]string, len(columns))
	for i := range names {
		names[i] = fmt.Sprintf("c%d", i+1)
	}
	return strings.Join(names, ", ")
}

// looseColumns says whether rows can be equal without being the same.
func looseColumns(columns []output) bool {
	for _, col := range columns {
		if loose(col.expr.typ) {
			return true
		}
	}
	return false
}

// distinctByGroup is DISTINCT where SQLite's own would tell too much apart.
func distinctByGroup(inner string, columns []output) string {
	names, keys := make([]string, len(columns)), make([]string, len(columns))
	for i, col := range columns {
		e := outer(col.expr, i)
		names[i], keys[i] = e.sql, e.keyed()
	}
	return "SELECT " + strings.Join(names, ", ") + " FROM (" + inner + ") GROUP BY " + strings.Join(keys, ", ")
}

// ranked is TOP (n) PERCENT and TOP (n) WITH TIES.
func (q *selection) ranked(out *compiled, inner string) (*compiled, error) {
	top := q.s.Top
	if top.WithTies && len(q.order) == 0 {
		return nil, message(top.Pos, 1062, "The TOP N WITH TIES clause is not allowed without a corresponding ORDER BY clause.")
	}
	var order []string
	for i := range q.keys {
		key := q.keys[i]
		if !q.byName[i] {
			key = fmt.Sprintf("k%d", i+1) + keyCollation(key)
		}
		if strings.HasSuffix(q.order[i], " DESC") {
			key += " DESC"
		}
		order = append(order, key)
	}
	by := ""
	if len(order) > 0 {
		by = " ORDER BY " + strings.Join(order, ", ")
	}
	function := "row_number()"
	if top.WithTies {
		function = "rank()"
	}
	cond := ""
	if top.Percent {
		p, err := q.c.expr(top.Count, &env{clause: "TOP"})
		if err != nil {
			return nil, err
		}
		if p, err = assign(top.Pos, p, value.Float); err != nil {
			return nil, err
		}
		cond = fmt.Sprintf("(r - 1) * 100.0 < n * %s", p.sql)
	} else {
		n, err := q.c.count(top.Count, 1014, "A TOP or FETCH clause contains an invalid value.")
		if err != nil {
			return nil, err
		}
		cond = "r <= " + n
	}
	out.sql = fmt.Sprintf("SELECT %s FROM (SELECT *, %s OVER (%s) AS r, count(*) OVER () AS n FROM (%s)) WHERE %s ORDER BY r",
		outputNames(q.columns), function, strings.TrimSpace(by), inner, cond)
	return out, nil
}

// isOutput says whether a sort key is an output column, c1, c2 ….
func isOutput(sql string) bool {
	return len(sql) > 1 && sql[0] == 'c' && strings.Trim(sql[1:], "0123456789") == ""
}

// keyCollation is the COLLATE at the end of a sort key.
func keyCollation(key string) string {
	at := strings.LastIndex(key, ") COLLATE ")
	if at < 0 || strings.ContainsAny(key[at+len(") COLLATE "):], " ()") {
		return ""
	}
	return key[at+1:]
}
