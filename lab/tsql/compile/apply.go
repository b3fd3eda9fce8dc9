package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/value/builtin"
)

// apply is CROSS APPLY and OUTER APPLY. SQLite's derived tables see nothing of
// the tables beside them, but the arguments of its table-valued functions do:
// the query's rows are packed into one value there, and unpacked again.
func (c *compiler) apply(t *ast.Join, at *env) (string, error) {
	l, err := c.table(t.L, at)
	if err != nil {
		return "", err
	}
	middle := len(at.sources)
	r, err := c.applied(t.R, at)
	if err != nil {
		return "", err
	}
	if t.Kind == ast.OuterApply {
		makeNullable(at.sources[middle:])
		return l + " LEFT JOIN " + r + " ON 1", nil
	}
	return l + " JOIN " + r, nil
}

// applied is the right side of an APPLY.
func (c *compiler) applied(t ast.TableSource, at *env) (string, error) {
	// The query sees what stands to the left of it, and the queries about.
	inner := &env{parent: &env{parent: at.parent, sources: at.sources, clause: "FROM", noAggregate: true}}
	switch t := t.(type) {
	case *ast.DerivedTable:
		q, err := c.query(t.Query, inner.parent, queryUse{subquery: true})
		if err != nil {
			return "", err
		}
		return c.packed(t.Pos, q, t.Alias, names(t.Columns), at)
	case *ast.ValuesTable:
		sql, err := c.valuesTable(t, inner)
		if err != nil {
			return "", err
		}
		s := inner.sources[0]
		q := &compiled{sql: "SELECT * FROM " + sql}
		for _, col := range s.columns {
			q.columns = append(q.columns, output{name: col.name, expr: col.expr})
		}
		return c.packed(t.Pos, q, t.Alias, nil, at)
	case *ast.Join:
		return "", refuse(t.Pos, "APPLY of a join")
	default:
		return c.table(t, at)
	}
}

// packed is a query's rows by way of one value.
func (c *compiler) packed(pos ast.Pos, q *compiled, name string, columns []string, at *env) (string, error) {
	if len(q.columns) > builtin.PackedColumns {
		return "", refuse(pos, "APPLY of more than 128 columns")
	}
	parts := make([]string, len(q.columns))
	for i := range parts {
		parts[i] = fmt.Sprintf("c%d", i+1)
	}
	if _, err := c.derived(pos, q, name, columns, at); err != nil {
		return "", err
	}
	alias := strings.TrimSuffix(at.sources[len(at.sources)-1].sql, ".")
	return fmt.Sprintf("%s((SELECT %s(%s) FROM (%s))) AS %s", builtin.Rows, builtin.Pack, strings.Join(parts, ", "), q.sql, alias), nil
}
