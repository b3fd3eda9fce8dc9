package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// from compiles a FROM clause; its sources are added to at.
func (c *compiler) from(tables []ast.TableSource, at *env) (string, error) {
	var parts []string
	for _, t := range tables {
		sql, err := c.table(t, at)
		if err != nil {
			return "", located(err, t.Position())
		}
		if _, ok := t.(*ast.Join); ok && len(tables) > 1 {
			sql = "(" + sql + ")"
		}
		parts = append(parts, sql)
	}
	seen := map[string]bool{}
	for _, s := range at.sources {
		key := strings.ToLower(s.schema + "." + s.name)
		if s.name != "" && seen[key] {
			return "", message(s.pos, 1013, "The objects \"%s\" and \"%s\" in the FROM clause have the same exposed names. Use correlation names to distinguish them.", s.name, s.name)
		}
		seen[key] = true
	}
	return strings.Join(parts, " JOIN "), nil
}

// table compiles one table source.
func (c *compiler) table(t ast.TableSource, at *env) (string, error) {
	switch t := t.(type) {
	case *ast.TableRef:
		return c.tableRef(t, at)
	case *ast.TableVariable:
		tab, ok := c.scope.Catalog.Table("", t.Name)
		if !ok {
			return "", message(t.Pos, 1087, "Must declare the table variable \"%s\".", t.Name)
		}
		return c.baseTable(t.Pos, tab, orElse(t.Alias, t.Name), t.Alias != "", at)
	case *ast.DerivedTable:
		q, err := c.query(t.Query, outside(at), queryUse{subquery: true})
		if err != nil {
			return "", err
		}
		return c.derived(t.Pos, q, t.Alias, names(t.Columns), at)
	case *ast.ValuesTable:
		return c.valuesTable(t, at)
	case *ast.FunctionTable:
		return c.functionTable(t, at)
	case *ast.Join:
		return c.join(t, at)
	default:
		return "", refuse(t.Position(), strings.TrimPrefix(fmt.Sprintf("%T", t), "*ast."))
	}
}

// outside is what a derived table sees: the queries about its own.
func outside(at *env) *env { return at.parent }

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}

func names(list []ast.Ident) []string {
	var out []string
	for _, i := range list {
		out = append(out, i.Name)
	}
	return out
}

// qualified checks the database and server of a name.
func (c *compiler) qualified(n ast.Name) error {
	temporary := strings.HasPrefix(n.Object, "#") && strings.EqualFold(n.Database, "tempdb")
	if n.Server != "" || n.Database != "" && !strings.EqualFold(n.Database, c.scope.Database) && !temporary {
		full := strings.ReplaceAll(strings.ReplaceAll(n.String(), "[", ""), "]", "")
		return message(n.Pos, 40515, "Reference to database and/or server name in '%s' is not supported in this version of SQL Server.", full)
	}
	return nil
}

func (c *compiler) tableRef(t *ast.TableRef, at *env) (string, error) {
	if t.Name.Schema == "" && t.Name.Database == "" {
		if def, scope := c.with.find(t.Name.Object); def != nil {
			return c.commonTable(t, def, scope, at)
		}
	}
	if err := c.qualified(t.Name); err != nil {
		return "", err
	}
	schema := t.Name.Schema
	if tab, ok := c.scope.Catalog.Table(schema, t.Name.Object); ok {
		sql, err := c.baseTable(t.Pos, tab, orElse(t.Alias, tab.Name), t.Alias != "", at)
		if err == nil && t.Alias == "" {
			at.sources[len(at.sources)-1].written = schema
		}
		return sql, err
	}
	if v, ok := c.scope.Catalog.View(schema, t.Name.Object); ok {
		return c.view(t, v, at)
	}
	if sys, ok := c.scope.Catalog.System(schema, t.Name.Object); ok {
		return c.system(t.Pos, sys, nil, orElse(t.Alias, sys.Name), t.Alias != "", at)
	}
	return "", c.unknownObject(t.Name)
}

func (c *compiler) unknownObject(n ast.Name) error {
	full := strings.TrimPrefix(multi(ast.Name{Database: n.Database, Schema: n.Schema}, n.Object), ".")
	return message(n.Pos, 208, "Invalid object name '%s'.", full)
}

func (c *compiler) baseTable(pos ast.Pos, tab *catalog.Table, name string, aliased bool, at *env) (string, error) {
	a := c.alias()
	s, err := c.tableSource(tab, name, a+".")
	if err != nil {
		return "", err
	}
	s.pos = pos
	if aliased {
		s.schema = ""
	}
	if !tab.Temporary {
		s.use = c.use(Use{Schema: tab.Schema, Name: tab.Name, ObjectID: tab.ObjectID, Action: "SELECT"})
	}
	at.sources = append(at.sources, s)
	return stored(tab) + " AS " + a, nil
}

func (c *compiler) view(t *ast.TableRef, v *catalog.View, at *env) (string, error) {
	if c.depth >= maxViewDepth {
		return "", message(t.Pos, 217, "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit %d).", maxViewDepth)
	}
	def, err := parseView(v.Definition)
	if err != nil {
		return "", err
	}
	use := c.use(Use{Schema: v.Schema, Name: v.Name, ObjectID: v.ObjectID, Action: "SELECT"})
	saved := c.with
	c.with = (*commonScope)(nil).add(def.With)
	c.depth++
	q, err := c.query(def.Query, nil, queryUse{subquery: true})
	c.depth--
	c.with = saved
	if err != nil {
		return "", message(t.Pos, 4413, "Could not use view or function '%s' because of binding errors. %s", v.Schema+"."+v.Name, err)
	}
	sql, err := c.derived(t.Pos, q, orElse(t.Alias, v.Name), v.Columns, at)
	if err != nil {
		return "", err
	}
	s := at.sources[len(at.sources)-1]
	s.use = use
	if t.Alias == "" {
		s.schema = v.Schema
	}
	return sql, nil
}

// derived makes a compiled query a source.
func (c *compiler) derived(pos ast.Pos, q *compiled, name string, columns []string, at *env) (string, error) {
	a := c.alias()
	s := &source{pos: pos, name: name, sql: a + ".", use: -1}
	if columns != nil && len(columns) != len(q.columns) {
		number, word := int32(8158), "more"
		if len(columns) > len(q.columns) {
			number, word = 8159, "fewer"
		}
		return "", message(pos, number, "'%s' has %s columns than were specified in the column list.", name, word)
	}
	seen := map[string]bool{}
	for i, col := range q.columns {
		n := col.name
		if columns != nil {
			n = columns[i]
		}
		if n == "" {
			return "", message(pos, 8155, "No column name was specified for column %d of '%s'.", i+1, name)
		}
		if seen[strings.ToLower(n)] {
			return "", message(pos, 8156, "The column '%s' was specified multiple times for '%s'.", n, name)
		}
		seen[strings.ToLower(n)] = true
		e := outer(col.expr, i)
		e.sql, e.name = a+"."+e.sql, n
		s.columns = append(s.columns, column{name: n, expr: e, identity: col.identity})
	}
	at.sources = append(at.sources, s)
	return "(" + q.sql + ") AS " + a, nil
}

// valuesTable is (VALUES …) AS t(c, …).
func (c *compiler) valuesTable(t *ast.ValuesTable, at *env) (string, error) {
	rows, types, err := c.rows(t.Pos, t.Rows, outside(at), nil)
	if err != nil {
		return "", err
	}
	q := &compiled{}
	parts := make([]string, len(types))
	for i, col := range types {
		parts[i] = fmt.Sprintf("column%d AS c%d", i+1, i+1)
		q.columns = append(q.columns, output{expr: col})
	}
	q.sql = "SELECT " + strings.Join(parts, ", ") + " FROM (VALUES " + strings.Join(rows, ", ") + ")"
	return c.derived(t.Pos, q, t.Alias, names(t.Columns), at)
}

// rows compiles rows of values; the values of a column have one type. A
// DEFAULT is what defaults gives for its column.
func (c *compiler) rows(pos ast.Pos, list [][]ast.Expression, at *env, defaults func(i int) (expr, error)) ([]string, []expr, error) {
	if at == nil {
		at = &env{clause: "VALUES", noAggregate: true}
	}
	width := len(list[0])
	cells := make([][]expr, width)
	for _, row := range list {
		if len(row) != width {
			return nil, nil, message(pos, 10709, "The number of columns for each row in a table value constructor must be the same.")
		}
		for i, x := range row {
			var got expr
			var err error
			if _, ok := x.(*ast.DefaultValue); ok && defaults != nil {
				got, err = defaults(i)
			} else {
				got, err = c.expr(x, at)
			}
			if err != nil {
				return nil, nil, err
			}
			cells[i] = append(cells[i], got)
		}
	}
	types := make([]expr, width)
	for i := range cells {
		if len(cells[i]) == 1 {
			types[i] = cells[i][0]
			continue
		}
		unified, t, err := common(pos, cells[i])
		if err != nil {
			return nil, nil, err
		}
		cells[i] = unified
		types[i] = expr{typ: t, coll: unified[0].coll, explicit: unified[0].explicit}
		allNull := true
		for _, u := range unified {
			types[i].nullable = types[i].nullable || u.nullable
			allNull = allNull && u.sql == "NULL"
		}
		types[i].null = allNull
	}
	out := make([]string, len(list))
	for r := range list {
		parts := make([]string, width)
		for i := range parts {
			parts[i] = cells[i][r].nameless()
		}
		out[r] = "(" + strings.Join(parts, ", ") + ")"
	}
	return out, types, nil
}

func (c *compiler) functionTable(t *ast.FunctionTable, at *env) (string, error) {
	if strings.EqualFold(t.Name.Object, "STRING_SPLIT") && t.Name.Schema == "" {
		return c.stringSplit(t, at)
	}
	sys, ok := c.scope.Catalog.System(t.Name.Schema, t.Name.Object)
	if !ok {
		if t.Schema != nil || t.Name.Schema == "" {
			return "", refuse(t.Pos, strings.ToUpper(t.Name.Object))
		}
		return "", c.unknownObject(t.Name)
	}
	return c.system(t.Pos, sys, t.Args, orElse(t.Alias, sys.Name), t.Alias != "", at)
}

// system is a system view or table-valued function.
func (c *compiler) system(pos ast.Pos, sys *catalog.System, args []ast.Expression, name string, aliased bool, at *env) (string, error) {
	if len(args) > len(sys.Args) {
		return "", message(pos, 8144, "Procedure or function %s has too many arguments specified.", sys.Name)
	}
	if len(args) < len(sys.Args) {
		return "", message(pos, 313, "An insufficient number of arguments were supplied for the procedure or function %s.", sys.Name)
	}
	var parts []string
	for i, x := range args {
		got, err := c.expr(x, &env{parent: at, clause: "FROM", noAggregate: true})
		if err != nil {
			return "", err
		}
		if got, err = assign(pos, got, sys.Args[i].Type); err != nil {
			return "", err
		}
		parts = append(parts, got.sql)
	}
	a := c.alias()
	s := &source{pos: pos, name: name, sql: a + ".", use: c.use(Use{Schema: sys.Schema, Name: sys.Name, Action: "SELECT"})}
	if !aliased {
		s.schema = sys.Schema
	}
	for _, col := range sys.Columns {
		e := baseColumn(a+".", col)
		e.base = false
		s.columns = append(s.columns, column{name: col.Name, expr: e})
	}
	at.sources = append(at.sources, s)
	sql := quote(sys.Stored)
	if len(parts) > 0 {
		sql += "(" + strings.Join(parts, ", ") + ")"
	}
	return sql + " AS " + a, nil
}

// stringSplit is STRING_SPLIT, by way of a JSON array.
func (c *compiler) stringSplit(t *ast.FunctionTable, at *env) (string, error) {
	if len(t.Args) != 2 {
		return "", refuse(t.Pos, "STRING_SPLIT with an ordinal")
	}
	var got [2]expr
	for i, x := range t.Args {
		v, err := c.expr(x, &env{parent: at, clause: "FROM", noAggregate: true})
		if err != nil {
			return "", err
		}
		if got[i], err = asText(t.Pos, v, "string_split", i+1); err != nil {
			return "", err
		}
	}
	a := c.alias()
	split := call("split", "", value.NVarChar(sqltype.Max), got[0], got[1])
	s := &source{pos: t.Pos, name: orElse(t.Alias, "STRING_SPLIT"), sql: a + ".", use: -1}
	col := expr{sql: a + ".value", typ: got[0].typ, nullable: true, coll: value.Collation, name: "value"}
	s.columns = []column{{name: orElse(strings.Join(names(t.Columns), ""), "value"), expr: col}}
	at.sources = append(at.sources, s)
	return "json_each(" + split.sql + ") AS " + a, nil
}

var joins = map[ast.JoinKind]string{ast.InnerJoin: " JOIN ", ast.LeftJoin: " LEFT JOIN ", ast.RightJoin: " RIGHT JOIN ", ast.FullJoin: " FULL JOIN ", ast.CrossJoin: " JOIN "}

func (c *compiler) join(t *ast.Join, at *env) (string, error) {
	if t.Kind == ast.CrossApply || t.Kind == ast.OuterApply {
		return c.apply(t, at)
	}
	first := len(at.sources)
	l, err := c.table(t.L, at)
	if err != nil {
		return "", err
	}
	middle := len(at.sources)
	r, err := c.table(t.R, at)
	if err != nil {
		return "", err
	}
	if _, ok := t.R.(*ast.Join); ok {
		r = "(" + r + ")"
	}
	sql := l + joins[t.Kind] + r
	if t.On != nil {
		// ON sees the tables of this join alone, and those of queries about.
		on := &env{parent: at.parent, sources: at.sources[first:], clause: "ON", noAggregate: true}
		cond, err := c.predicate(t.On, on)
		if err != nil {
			return "", err
		}
		sql += " ON " + cond
	}
	if t.Kind == ast.LeftJoin || t.Kind == ast.FullJoin {
		makeNullable(at.sources[middle:])
	}
	if t.Kind == ast.RightJoin || t.Kind == ast.FullJoin {
		makeNullable(at.sources[first:middle])
	}
	return sql, nil
}

// makeNullable says of the columns of a join's outer side that they may be
// NULL.
func makeNullable(sources []*source) {
	for _, s := range sources {
		for i := range s.columns {
			s.columns[i].expr.nullable = true
		}
	}
}
